"""Metrics of sets over the outputs in a results store, as an evaluation publishes them.

Each system's outputs stand against the very clips that they were made from, paired clip by clip (`eval.sets.scoring`
says what that changes). What was measured is kept in the store under a hash of everything that it depends on: the
samples of the clips and of the outputs, the embedding, the definitions of the metrics, the settings and the code. Only
what changed is measured again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from eval.protocols import Progress, Silent
from eval.results import OutputRow, ResultsStore
from eval.sets import SET_METRICS, Undefined, chosen, definition_sha256
from eval.sets.definition import CLASSIFIER
from models.errors import AudioError, EarwitnessError

if TYPE_CHECKING:
    from eval.corpora import Clip
    from eval.sets.comparing import EmbeddedSet, Sound
    from eval.sets.embeddings import Embedding

EMBEDDINGS = ("log_mel",)
METRICS = (
    "kernel_distance",
    "frechet_distance",
    "density",
    "coverage",
    "different_bins",
    "bin_divergence",
    "pitch_accuracy",
    "pitch_entropy",
    "inception_score_pitch",
    "inception_score_family",
    "codes",
)
"""What is measured where nothing else is asked for. An embedding gives those of them that it can."""
PERMUTATIONS = 99
SPLITS = 30
MOST_CLIPS = 2_000
"""Clips of a larger set are drawn by a hash of their ids, so that time and memory stay bounded."""

_CODE = ("eval/sets", "eval/metrics/frontend.py", "eval/audio_io.py", "eval/stats/intervals.py", "eval/stats/draws.py")
_OF_LAYER = "kernel_distance"
"""Of distances the classifier's layer gives this one; its answers say the rest."""
_VERSIONS = ("numpy", "scipy", "soxr", "torch")


@dataclasses.dataclass(frozen=True)
class SetSettings:
    """What is measured of whole sets.

    Attributes:
        embeddings: Names or files of embeddings.
        metrics: Names of metrics, or of their inputs.
        permutations: Divisions for p.
        splits: Divisions for the floor.
        seed: Seed of all draws.
    """

    embeddings: tuple[str, ...] = EMBEDDINGS
    metrics: tuple[str, ...] = METRICS
    permutations: int = PERMUTATIONS
    splits: int = SPLITS
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """Metrics in order.

        Raises:
            InputError: If one is unknown.
        """
        return chosen(self.metrics)


@dataclasses.dataclass(frozen=True)
class MeasuredSets:
    """What was measured.

    Attributes:
        rows: JSON-ready rows, each with its ``model`` and ``key``.
        embeddings: Descriptions of the embeddings by name.
    """

    rows: Sequence[Mapping[str, Any]]
    embeddings: Mapping[str, Mapping[str, object]]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """One model under one embedding, or its codes where there is none."""

    model: str
    embedding: Embedding | None
    facts: Mapping[str, Any]
    key: str


def fact_hash(facts: Mapping[str, Any]) -> str:
    """Key of what was measured: SHA-256 of everything that it depends on, as canonical JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def set_facts(clips: Mapping[str, str | None], outputs: Iterable[OutputRow], **others: Any) -> dict[str, Any]:
    """Clips and outputs as the facts of a measurement name them.

    Args:
        clips: Clip to the hash of its samples.
        outputs: Outputs of one model.
        **others: What else the measurement depends on.
    """
    made = [[row.clip_id, row.status, row.pcm_sha256] for row in outputs if row.clip_id in clips]
    return {
        **others,
        "clips_sha256": hashlib.sha256(json.dumps(sorted(clips.items())).encode()).hexdigest(),
        "outputs_sha256": hashlib.sha256(json.dumps(sorted(made)).encode()).hexdigest(),
    }


def drawn(clip_ids: Sequence[str], seed: int, most: int = MOST_CLIPS) -> list[str]:
    """At most so many of some clips, in their order."""
    if len(clip_ids) <= most:
        return list(clip_ids)
    taken = set(sorted(clip_ids, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:most])
    return [name for name in clip_ids if name in taken]


def measure_sets(
    store: ResultsStore,
    clips: Callable[[], Iterable[Clip]],
    clip_ids: Sequence[str],
    models: Sequence[str],
    settings: SetSettings,
    *,
    system: Callable[[str], Any],
    system_key: Callable[[str], str],
    codebook_size: Callable[[str], int],
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
) -> MeasuredSets:
    """Set metrics of the outputs of some models.

    Args:
        store: Where the outputs are, and where what was measured is kept.
        clips: The clips that they were made from.
        clip_ids: Which of them count.
        models: Names as in the store.
        settings: What to measure.
        system: Loads the system of a model, for metrics of codes.
        system_key: Hash of its weights and code.
        codebook_size: Number of codes in each of its codebooks.
        device: Where networks compute.
        workers: Pieces of work side by side; no number depends on it.
        progress: Whoever watches.

    Raises:
        InputError: If a metric or embedding is unknown.
        CheckpointError: If the weights of an embedding cannot be used.
    """
    from eval.sets.embeddings import open_embedding

    progress = progress or Silent()
    names = settings.names
    opened = [open_embedding(name, device=device) for name in settings.embeddings]
    known = {name: store.clip(name).pcm_sha256 for name in drawn(clip_ids, settings.seed)}
    outputs = {model: {row.clip_id: row for row in store.outputs(model) if row.clip_id in known} for model in models}
    pieces = list(_pieces(names, opened, known, outputs, settings, system_key))
    found = {piece.key: store.set_rows(piece.key) for piece in pieces}
    # Codes take longest, and what takes longest is begun first.
    todo = sorted((p for p in pieces if found[p.key] is None), key=lambda piece: piece.embedding is not None)
    if todo:
        work = _Work(store, clips, known, outputs, settings, names, system, codebook_size, device)
        progress.start("measure sets", len(todo))
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="sets") as pool:
            wanted = {piece.embedding.name: piece.embedding for piece in todo if piece.embedding is not None}
            list(pool.map(work.reference, wanted.values()))
            for piece, rows in zip(todo, pool.map(work.measure, todo), strict=True):
                store.add_set(piece.key, piece.facts, rows)
                found[piece.key] = store.set_rows(piece.key)
                progress.advance(1)
        progress.finish()
    store.keep_sets(found)
    rows = [{"model": p.model, "key": p.key, **row} for p in pieces for row in found[p.key] or ()]
    return MeasuredSets(rows, {embedding.name: embedding.describe() for embedding in opened})


def _pieces(
    names: Sequence[str],
    opened: Sequence[Embedding],
    clips: Mapping[str, str | None],
    outputs: Mapping[str, Mapping[str, OutputRow]],
    settings: SetSettings,
    system_key: Callable[[str], str],
) -> Iterator[_Piece]:
    from eval.runner import code_sha256

    shared = {
        "settings": {
            key: value for key, value in dataclasses.asdict(settings).items() if key not in ("embeddings", "metrics")
        },
        "code": {path: code_sha256(path) for path in _CODE},
        "versions": {name: importlib.metadata.version(name).partition("+")[0] for name in _VERSIONS},
    }
    for model, made in outputs.items():
        for embedding in opened:
            facts = set_facts(
                clips, made.values(), **shared, model=model, embedding=embedding.describe(),
                metrics={name: definition_sha256(name) for name in names if SET_METRICS[name].input != "codes"},
            )  # fmt: skip
            yield _Piece(model, embedding, facts, fact_hash(facts))
        if any(SET_METRICS[name].input == "codes" for name in names):
            asked = {name: definition_sha256(name) for name in names if SET_METRICS[name].input == "codes"}
            facts = set_facts(clips, (), **shared, model=model, system=system_key(model), metrics=asked)
            yield _Piece(model, None, facts, fact_hash(facts))


class _Work:
    """Measures pieces; the reference is read and embedded once an embedding."""

    def __init__(
        self,
        store: ResultsStore,
        clips: Callable[[], Iterable[Clip]],
        known: Mapping[str, str | None],
        outputs: Mapping[str, Mapping[str, OutputRow]],
        settings: SetSettings,
        names: Sequence[str],
        system: Callable[[str], Any],
        codebook_size: Callable[[str], int],
        device: str,
    ) -> None:
        self.store, self.clips, self.known, self.outputs = store, clips, known, outputs
        self.settings, self.names = settings, names
        self.system, self.codebook_size = system, codebook_size
        self.device = device
        self.references: dict[str, EmbeddedSet] = {}
        self.labels = {name: _pitch(store.clip(name).labels) for name in known}

    def reference(self, embedding: Embedding) -> None:
        """Read and embed the recorded clips."""
        from eval.sets.comparing import embed_set

        self.references[embedding.name] = embed_set(self._recorded(), embedding)

    def measure(self, piece: _Piece) -> list[dict[str, Any]]:
        """Rows of a piece."""
        if piece.embedding is None:
            return self._codes(piece.model)
        return self._embedded(piece.model, piece.embedding)

    def _recorded(self) -> Iterator[Sound]:
        from eval.sets.comparing import Sound

        for clip in self.clips():
            if clip.clip_id not in self.known:
                continue
            try:
                audio = clip.load()
            except (AudioError, EarwitnessError) as error:
                yield Sound(clip.clip_id, None, 0, error=str(error))
                continue
            yield Sound(clip.clip_id, audio.waveform[0], audio.sample_rate_hz, self.labels[clip.clip_id])

    def _made(self, model: str) -> Iterator[Sound]:
        from eval import audio_io
        from eval.sets.comparing import Sound

        for name in self.known:
            row = self.outputs[model].get(name)
            if row is None or row.status != "ok" or row.path is None:
                yield Sound(name, None, 0, error=(row.error if row else None) or "there is no output")
                continue
            try:
                audio = audio_io.read(self.store.folder / row.path)
            except AudioError as error:
                yield Sound(name, None, 0, error=str(error))
                continue
            yield Sound(name, audio.waveform[0], audio.sample_rate_hz, self.labels[name])

    def _embedded(self, model: str, embedding: Embedding) -> list[dict[str, Any]]:
        from eval.sets.comparing import compare, embed_set

        made, wanted = embed_set(self._made(model), embedding), self.references[embedding.name]
        rows: list[dict[str, Any]] = []
        for name in self.names:
            row = SET_METRICS[name]
            if row.input == "codes" or (
                embedding.name == CLASSIFIER and row.input == "embeddings" and name != _OF_LAYER
            ):
                continue
            found = compare(
                made, wanted, embedding, metrics=[name], seed=self.settings.seed,
                permutations=self.settings.permutations, splits=self.settings.splits, paired=True,
            )  # fmt: skip
            rows += found.as_rows()
        return rows

    def _codes(self, model: str) -> list[dict[str, Any]]:
        import torch

        from eval import audio_io
        from eval.sets.comparing import code_rows

        system = self.system(model)

        def at_rate() -> Iterator[Sound]:
            for sound in self._recorded():
                rate = system.sample_rate_hz or sound.sample_rate_hz
                if sound.waveform is not None and sound.sample_rate_hz != rate:
                    clip = audio_io.resample(sound.waveform, sound.sample_rate_hz, rate)
                    sound = dataclasses.replace(sound, waveform=clip, sample_rate_hz=rate)
                yield sound

        try:
            with torch.no_grad():
                first = next((sound for sound in at_rate() if sound.waveform is not None), None)
                # Most systems have no codes, which one clip tells.
                if first is None or not code_rows(system, [first], self.codebook_size(model), device=self.device):
                    return []
                rows = code_rows(system, at_rate(), self.codebook_size(model), device=self.device)
        except Undefined:
            return []
        return [row for row in rows if row["metric"] in self.names or row["metric"] == "code_rate"]


def _pitch(labels: Mapping[str, Any]) -> int | None:
    pitch = labels.get("pitch")
    return pitch if isinstance(pitch, int) and not isinstance(pitch, bool) and 0 <= pitch < 128 else None


def document(measured: MeasuredSets, settings: SetSettings, categories: Mapping[str, str]) -> dict[str, Any]:
    """The part ``sets`` of a results document."""
    rows = []
    for row in measured.rows:
        known = SET_METRICS.get(str(row["metric"]))
        floor = row.get("floor")
        rows.append(
            {
                "category": categories[str(row["model"])],
                "metric": row["metric"],
                "title": known.title if known is not None else "Bit rate of the codes",
                "unit": row["unit"],
                "higher_is_better": row["higher_is_better"],
                "embedding": row.get("embedding"),
                **({"level": row["level"]} if "level" in row else {}),
                "value": row["value"],
                "status": row["status"],
                "reason": row.get("reason"),
                "n_estimate": row["n_estimate"],
                "n_reference": row.get("n_reference", 0),
                "left_out": sum(
                    int(count)
                    for side in ("left_out_estimate", "left_out_reference")
                    for count in row.get(side, {}).values()
                ),
                "low": row.get("low"),
                "high": row.get("high"),
                "interval": row.get("interval", "none: counted, not drawn"),
                "p": row.get("p_value"),
                "permutations": row.get("permutations", 0),
                "floor": floor,
                "definition_sha256": row.get("definition_sha256"),
                "key": row["key"],
            }
        )
    return {
        "seed": settings.seed,
        "permutations": settings.permutations,
        "splits": settings.splits,
        "embeddings": {name: dict(about) for name, about in measured.embeddings.items()},
        "rows": rows,
    }
