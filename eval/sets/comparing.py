"""Sets of sounds, embedded and compared; the outputs in a results store are those of `eval.sets.publishing`.

A clip that has no vector (unreadable, silent, too short) is left out and counted: the report says how many and why,
since a model that falls silent must not gain by it. Sample rates are never changed in silence: an embedding that hears
one rate only has its clips brought to it, and the report says so; several rates within one comparison are refused.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import audio_io
from eval.protocols import Progress, Silent
from eval.score import audio_files, cell
from eval.sets import SET_METRICS, Undefined, chosen, definition_sha256
from eval.sets.codes import bit_rate, code_counts, code_statistics
from eval.sets.definition import CLASSIFIER
from eval.sets.embeddings import Embedding, open_embedding
from eval.sets.scoring import DEFAULT_PERMUTATIONS, DEFAULT_SPLITS, SetScore, score_classes, score_embeddings
from models.errors import AudioError, EarwitnessError, InputError

DEFAULT_EMBEDDINGS = ("log_mel",)
_NSYNTH_NAME = re.compile(r"-(\d{3})-\d{3}$")
_EMBEDDING_INPUT = "embeddings"


@dataclasses.dataclass(frozen=True)
class Sound:
    """One sound of a set.

    Attributes:
        name: What messages call it.
        waveform: float32, shape ``(time,)``; ``None`` where it could not be read.
        sample_rate_hz: Its rate.
        pitch: MIDI number that it should have, where that is known.
        error: Why it could not be read.
    """

    name: str
    waveform: NDArray[Any] | None
    sample_rate_hz: int
    pitch: int | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class EmbeddedSet:
    """Vectors of a set.

    Attributes:
        vectors: float64, shape ``(n, d)``.
        pitch: Probabilities of pitches where the embedding is the classifier, shape ``(n, 128)``.
        family: Probabilities of families, shape ``(n, 11)``.
        pitches: Wanted pitch of every clip; ``None`` where one is unknown.
        left_out: Reason to the clips without a vector.
        resampled_from_hz: Rates that were changed to the embedding's.
        names: Name of the sound of every row.
    """

    vectors: NDArray[np.float64]
    pitch: NDArray[np.float64] | None
    family: NDArray[np.float64] | None
    pitches: NDArray[np.int64] | None
    left_out: Mapping[str, Sequence[str]]
    resampled_from_hz: Sequence[int]
    names: Sequence[str] = ()

    def among(self, names: Sequence[str]) -> EmbeddedSet:
        """The same with the rows of some sounds alone, in the order of their names."""
        place = {name: index for index, name in enumerate(self.names)}
        rows = [place[name] for name in names]

        def part(values: NDArray[Any] | None) -> Any:
            return None if values is None else values[rows]

        return dataclasses.replace(
            self, vectors=part(self.vectors), pitch=part(self.pitch), family=part(self.family),
            pitches=part(self.pitches), names=tuple(names),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Scores of two sets under one embedding.

    Attributes:
        embedding: Description of the embedding.
        scores: One for each metric.
        left_out_estimate: Reason to the number of estimates without a vector.
        left_out_reference: The same for the reference.
        resampled_from_hz: Rates that were changed to the embedding's.
        first_left_out: One of the clips left out, with its reason; ``None`` where there is none.
    """

    embedding: Mapping[str, object]
    scores: Sequence[SetScore]
    left_out_estimate: Mapping[str, int]
    left_out_reference: Mapping[str, int]
    resampled_from_hz: Sequence[int]
    first_left_out: str | None = None

    def as_rows(self) -> list[dict[str, object]]:
        """One JSON-ready row for each score, each with the embedding and what was left out."""
        shared = {
            "embedding": self.embedding["name"],
            "embedding_sha256": self.embedding["sha256"],
            "left_out_estimate": dict(self.left_out_estimate),
            "left_out_reference": dict(self.left_out_reference),
            "resampled_from_hz": list(self.resampled_from_hz),
        }
        return [{**score.as_row(), **shared} for score in self.scores]


def pitch_of_name(name: str) -> int | None:
    """MIDI number in a name of NSynth's form, ``bass_electronic_018-060-075``.

    >>> pitch_of_name("notes/bass_electronic_018-060-075"), pitch_of_name("solo")
    (60, None)
    """
    found = _NSYNTH_NAME.search(name)
    return int(found.group(1)) if found is not None and int(found.group(1)) < 128 else None


def sounds_of_folder(folder: Path) -> list[Sound]:
    """Files of a folder, mixed to mono, in the order of their names; unreadable ones say why.

    Raises:
        InputError: If there is no such folder, or it holds no audio, or two files of one name.
    """
    return [_read(name, path) for name, path in sorted(audio_files(folder).items())]


def _read(name: str, path: Path, pitch: int | None = None) -> Sound:
    try:
        audio = audio_io.read(path, mono=True)
    except AudioError as error:
        return Sound(name, None, 0, error=str(error))
    return Sound(name, audio.waveform[0], audio.sample_rate_hz, pitch_of_name(name) if pitch is None else pitch)


def embed_set(sounds: Iterable[Sound], embedding: Embedding, progress: Progress | None = None) -> EmbeddedSet:
    """Vectors of some sounds, in their order; what has none is left out and listed."""
    vectors, pitches, names = [], [], []
    left_out: dict[str, list[str]] = {}
    rates: set[int] = set()
    for sound in sounds:
        try:
            if sound.waveform is None:
                raise ValueError("the file cannot be read")
            clip, rate = sound.waveform, sound.sample_rate_hz
            if embedding.sample_rate_hz is not None and rate != embedding.sample_rate_hz:
                clip = audio_io.resample(clip, rate, embedding.sample_rate_hz)
                rates.add(rate)
                rate = embedding.sample_rate_hz
            vectors.append(embedding.embed(clip, rate))
            pitches.append(sound.pitch)
            names.append(sound.name)
        except (Undefined, ValueError) as error:
            left_out.setdefault(str(error), []).append(f"{sound.name}: {sound.error or error}")
        if progress is not None:
            progress.advance(1, int(sound.waveform is None))
    stacked = np.stack([v.values for v in vectors]) if vectors else np.zeros((0, 1))
    answered = [v for v in vectors if v.pitch is not None and v.family is not None]
    known = [p for p in pitches if p is not None]
    return EmbeddedSet(
        stacked,
        np.stack([v.pitch for v in answered if v.pitch is not None]) if answered else None,
        np.stack([v.family for v in answered if v.family is not None]) if answered else None,
        np.array(known) if known and len(known) == len(pitches) else None,
        left_out,
        sorted(rates),
        tuple(names),
    )


def compare(
    estimate: EmbeddedSet,
    reference: EmbeddedSet,
    embedding: Embedding,
    *,
    metrics: Sequence[str] = (),
    seed: int = 0,
    permutations: int = DEFAULT_PERMUTATIONS,
    splits: int = DEFAULT_SPLITS,
    paired: bool = False,
) -> Comparison:
    """Scores of two embedded sets; metrics of classes where the embedding is the classifier.

    Where they are ``paired``, a sound of the estimate was made from that of the same name in the reference, and those
    that lack the other are left out.

    Raises:
        InputError: If a metric is unknown.
    """
    scores = []
    if paired:
        both = [name for name in reference.names if name in set(estimate.names)]
        estimate, reference = estimate.among(both), reference.among(both)
    settings = {"seed": seed, "permutations": permutations, "splits": splits, "paired": paired}
    for name in chosen(metrics):
        row = SET_METRICS[name]
        if row.input == _EMBEDDING_INPUT:
            scores.append(_embedding_score(name, estimate, reference, settings))
        elif row.input != "codes" and embedding.name == CLASSIFIER:
            scores.append(_class_score(name, estimate, reference, settings))
    return Comparison(
        embedding.describe(),
        scores,
        {reason: len(names) for reason, names in estimate.left_out.items()},
        {reason: len(names) for reason, names in reference.left_out.items()},
        sorted({*estimate.resampled_from_hz, *reference.resampled_from_hz}),
        next((names[0] for side in (estimate, reference) for names in side.left_out.values()), None),
    )


def _embedding_score(name: str, estimate: EmbeddedSet, reference: EmbeddedSet, settings: Mapping[str, Any]) -> SetScore:
    sizes = len(estimate.vectors), len(reference.vectors)
    for side, n in zip(("estimate", "reference"), sizes, strict=True):
        if n == 0:
            return SetScore(name, None, "undefined", f"no clip of the {side} has a vector", *sizes)
    return score_embeddings(name, estimate.vectors, reference.vectors, **settings)


def _class_score(name: str, estimate: EmbeddedSet, reference: EmbeddedSet, settings: Mapping[str, Any]) -> SetScore:
    answer = SET_METRICS[name].answer
    ours, theirs = (getattr(side, answer) for side in (estimate, reference))
    if ours is None:
        return SetScore(name, None, "undefined", "no clip of the estimate has a vector", 0, len(reference.vectors))
    labelled = SET_METRICS[name].input == "labelled classes"
    if labelled and estimate.pitches is None:
        reason = "not every estimate has a pitch; names like bass_electronic_018-060-075 tell one"
        return SetScore(name, None, "skipped", reason, len(ours), len(reference.vectors))
    labels: dict[str, Any] = {"labels": estimate.pitches, "reference_labels": reference.pitches} if labelled else {}
    return score_classes(name, ours, theirs, **labels, **settings)


def check_rates(sounds: Iterable[Sound]) -> None:
    """Hold all sounds against one sample rate.

    Raises:
        InputError: Naming two of different rates.
    """
    first: Sound | None = None
    for sound in sounds:
        if sound.waveform is None:
            continue
        if first is None:
            first = sound
        elif sound.sample_rate_hz != first.sample_rate_hz:
            raise InputError(
                f"{sound.name}: has {sound.sample_rate_hz} Hz but {first.name} has {first.sample_rate_hz} Hz; give"
                " sounds of one rate, or --resample"
            )


def compare_folders(
    reference: Path,
    estimate: Path,
    *,
    metrics: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    seed: int = 0,
    permutations: int = DEFAULT_PERMUTATIONS,
    splits: int = DEFAULT_SPLITS,
    resample_hz: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Comparison]:
    """Compare the sounds of two folders, whose names and numbers need not match.

    Args:
        reference: Folder of recorded sounds.
        estimate: Folder of a model's sounds.
        metrics: Names of metrics or inputs; all that the embedding allows when empty.
        embeddings: Names or files of embeddings; `DEFAULT_EMBEDDINGS` when empty.
        seed: Seed of all draws.
        permutations: Divisions for p.
        splits: Divisions for the floor.
        resample_hz: Bring all sounds to this rate first; several rates are refused without it.
        device: Where networks compute.
        progress: Whoever watches.

    Raises:
        InputError: If a folder, a name or the rates do not fit.
        CheckpointError: If the classifier cannot be loaded.
        EarwitnessError: If no metric could be computed.
    """
    progress = progress or Silent()
    names = chosen(metrics)
    if all(SET_METRICS[name].input == "codes" for name in names):
        raise InputError("metrics of codes need a model's codes; two folders of sounds have none")
    opened = [open_embedding(name, device=device) for name in (embeddings or DEFAULT_EMBEDDINGS)]
    sides = [sounds_of_folder(folder) for folder in (estimate, reference)]
    if resample_hz is None:
        check_rates(sound for side in sides for sound in side)
    else:
        sides = [[_resampled(sound, resample_hz) for sound in side] for side in sides]
    progress.start("embed", len(opened) * sum(map(len, sides)))
    found = []
    for embedding in opened:
        made, wanted = (embed_set(side, embedding, progress) for side in sides)
        found.append(
            compare(made, wanted, embedding, metrics=names, seed=seed, permutations=permutations, splits=splits)
        )
    progress.finish()
    if not any(score.value is not None for comparison in found for score in comparison.scores):
        reasons = [score.reason for comparison in found for score in comparison.scores if score.reason]
        first = reasons[0] if reasons else "the embedding has no metric of these names"
        raise EarwitnessError(f"{estimate}: no metric could be computed; first: {first}")
    return found


def _resampled(sound: Sound, rate: int) -> Sound:
    if sound.waveform is None or sound.sample_rate_hz == rate:
        return sound
    clip = audio_io.resample(sound.waveform, sound.sample_rate_hz, rate)
    return dataclasses.replace(sound, waveform=clip, sample_rate_hz=rate)


def rows(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """JSON-ready rows of all comparisons."""
    return [row for comparison in comparisons for row in comparison.as_rows()]


def to_json(comparisons: Sequence[Comparison], **facts: object) -> str:
    """All rows and the embeddings' descriptions as JSON text, with what else there is to say."""
    document = {
        "schema_version": 1,
        **facts,
        "embeddings": {str(c.embedding["name"]): dict(c.embedding) for c in comparisons},
        "rows": rows(comparisons),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


COLUMNS = (
    "embedding", "metric", "value", "unit", "status", "reason", "n_estimate", "n_reference", "low", "high", "interval",
    "p_value", "permutations", "floor_mean", "floor_low", "floor_high", "floor_n_estimate", "floor_n_reference",
    "at_floor_size", "left_out_estimate", "left_out_reference", "seed", "definition_sha256", "embedding_sha256",
)  # fmt: skip


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """All rows as CSV text with a header line."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    for comparison in comparisons:
        for score, row in zip(comparison.scores, comparison.as_rows(), strict=True):
            floor = {} if score.floor is None else dataclasses.asdict(score.floor)
            flat = {
                **row,
                **{f"floor_{key}": value for key, value in floor.items()},
                "at_floor_size": floor.get("at_floor_size"),
                "left_out_estimate": sum(comparison.left_out_estimate.values()),
                "left_out_reference": sum(comparison.left_out_reference.values()),
            }
            writer.writerow([cell(flat.get(column)) for column in COLUMNS])
    return sink.getvalue()


def compare_to_file(reference: Path, estimate: Path, output: Path, **settings: Any) -> list[Comparison]:
    """Compare two folders into a ``.json`` or ``.csv`` file; arguments and errors as of `compare_folders`.

    Raises:
        InputError: If the file's suffix or folder does not fit.
        OutputError: If the file cannot be written.
    """
    if output.suffix not in (".json", ".csv"):
        raise InputError(f"{output}: a file of suffix .json or .csv is needed")
    if output.is_dir() or not output.absolute().parent.is_dir():
        fault = "is a folder" if output.is_dir() else "its folder does not exist"
        raise InputError(f"{output}: {fault}; name a file in a folder that is there")
    found = compare_folders(reference, estimate, **settings)
    if output.suffix == ".csv":
        text = to_csv(found)
    else:
        text = to_json(found, reference=reference.name, estimate=estimate.name)
    audio_io.write_text(output, text)
    return found


def summary_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """The table that a reader gets, one embedding after the other."""
    lines: list[str] = []
    for comparison in comparisons:
        lines.append(f"embedding {comparison.embedding['name']}, {comparison.embedding.get('dimensions', '?')} numbers")
        if comparison.resampled_from_hz:
            rates = ", ".join(map(str, comparison.resampled_from_hz))
            lines.append(f"  resampled from {rates} Hz to {comparison.embedding.get('sample_rate_hz')} Hz")
        lines.append(
            f"  {'metric':<26} {'n':>11} {'value':>10} {'95 % interval':>21} {'p':>7} {'at floor size':>13}"
            f" {'floor, 95 % of splits':>30}"
        )
        lines += [f"  {_line(score)}" for score in comparison.scores]
    return lines


def _line(score: SetScore) -> str:
    sizes = f"{score.n_estimate}:{score.n_reference}"
    head = f"{score.metric:<26} {sizes:>11}"
    if score.value is None:
        return f"{head} {score.status}: {score.reason}"
    p = "-" if score.p_value is None else f"{score.p_value:.3g}"
    floor, matched = "-", "-"
    if score.floor is not None and score.floor.mean is not None:
        floor = f"{score.floor.mean:.4g} ({_span(score.floor.low, score.floor.high)})"
        matched = "-" if score.floor.at_floor_size is None else f"{score.floor.at_floor_size:.4g}"
    return f"{head} {score.value:>10.4g} {_span(score.low, score.high):>21} {p:>7} {matched:>13} {floor:>30}"


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def code_rows(
    system: Any, sounds: Iterable[Sound], sizes: Mapping[str, int] | int, *, device: str = "cpu"
) -> list[dict[str, object]]:
    """Statistics of the codes that a system gives some sounds, counted over all of them.

    Args:
        system: A system with ``codes``.
        sounds: The sounds, of the system's rate.
        sizes: Level to the size of its codebook, or one size for all levels.
        device: Where the system computes.

    Returns:
        A row for each metric of codes and level, with the level under ``"level"``, and one with the bit rate of each
        level and of all together under ``"all"``.

    Raises:
        InputError: If a level has no size.
        Undefined: If there are no codes.
    """
    import torch

    counts: dict[str, NDArray[np.int64]] = {}
    seconds, n = 0.0, 0
    for sound in sounds:
        if sound.waveform is None:
            continue
        waveform = torch.from_numpy(np.ascontiguousarray(sound.waveform, dtype=np.float32))[None].to(device)
        for level, codes in system.codes(waveform, sample_rate_hz=sound.sample_rate_hz).items():
            if not isinstance(sizes, int) and level not in sizes:
                raise InputError(f"level {level!r}: the size of its codebook is missing")
            size = sizes if isinstance(sizes, int) else sizes[level]
            found = code_counts([codes.cpu().numpy()], size)
            counts[level] = counts.get(level, np.zeros_like(found)) + found
        seconds += sound.waveform.shape[0] / sound.sample_rate_hz
        n += 1
    if not counts:
        raise Undefined("there are no codes")
    levels = {level: code_statistics(found, seconds=seconds) for level, found in counts.items()}
    out: list[dict[str, object]] = []
    fields = {
        "code_usage": "usage",
        "code_perplexity": "perplexity",
        "code_entropy": "entropy_corrected_bits",
        "dead_codes": "dead",
        "top_code_share": "top_share",
    }
    for level, statistics in levels.items():
        for name, attribute in fields.items():
            row = SET_METRICS[name]
            out.append(
                {
                    "metric": name,
                    "level": level,
                    "value": getattr(statistics, attribute),
                    "status": "ok",
                    "reason": None,
                    "unit": row.unit,
                    "higher_is_better": row.higher_is_better,
                    "definition_sha256": definition_sha256(name),
                    "n_estimate": n,
                    "codes": statistics.codes,
                    "size": statistics.size,
                }
            )
    rates: Iterator[tuple[str, float | None]] = iter(
        [*((level, s.rate_bit_per_s) for level, s in levels.items()), ("all", bit_rate(levels))]
    )
    out += [
        {"metric": "code_rate", "level": level, "value": rate, "unit": "bit/s", "status": "ok", "reason": None,
         "higher_is_better": None, "n_estimate": n}
        for level, rate in rates
    ]  # fmt: skip
    return out
