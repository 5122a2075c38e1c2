"""An evaluation from its settings to results: corpus opened, systems loaded, clips run, the run recorded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.corpora import open_corpus
from eval.corpora.base import FolderCorpus
from eval.external import is_external, read_external
from eval.metrics import chosen, definition
from eval.protocols import Progress, System
from eval.results import ResultsStore
from eval.runner import Runner, RunReport, SystemEntry, code_sha256, pick_device
from eval.timing import peak_memory
from models import registry
from models.card import read_card
from models.errors import CorpusError, EarwitnessError, InputError

if TYPE_CHECKING:
    from eval.corpora import Clip

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SEED = 20261121
LISTED_CLIPS = 2_000
"""Most clips that the record of a run lists one by one; of more it holds the hash of the list alone."""


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate, and how.

    Attributes:
        corpus: Folder.
        models: ``NAME``, ``NAME@CHECKPOINT_FOLDER`` or the YAML file of a model of one's own (`eval.external`).
        split: Split of the corpus; the first of ``test``, ``valid`` and ``all`` that the rule has when None.
        rule: Rule of splitting; the corpus's default when None.
        layout: Folder layout; found out when None.
        clip_s: Cut recordings into clips of this length.
        max_clips: At most so many clips of each recording.
        limit: At most so many clips of the split, in the order of their ids.
        metrics: Names of metrics or groups; the default battery when empty.
        seed: Seed of the run.
        shard: (number from 1, of how many): only the clips of this part, by a hash of their ids.
    """

    corpus: Path
    models: tuple[str, ...]
    split: str | None = None
    rule: str | None = None
    layout: str | None = None
    clip_s: float | None = None
    max_clips: int | None = None
    limit: int | None = None
    metrics: tuple[str, ...] = ()
    seed: int = DEFAULT_SEED
    shard: tuple[int, int] | None = None

    def settings(self) -> dict[str, Any]:
        """The settings as JSON values; the corpus by its folder name, because its place does not matter."""
        given = asdict(self)
        if self.shard is None:
            del given["shard"]
        return {
            **given,
            "corpus": self.corpus.name,
            "models": [Path(text).name if is_external(text) else text for text in self.models],
            "metrics": list(self.metric_names),
        }

    @property
    def metric_names(self) -> list[str]:
        """Metrics to compute.

        Raises:
            InputError: If one is not known.
        """
        return chosen(self.metrics)


@dataclass
class OpenedCorpus:
    """A corpus with one split chosen."""

    corpus: FolderCorpus
    split: str
    rule: str
    limit: int | None = None
    shard: tuple[int, int] | None = None
    content_sha256: str = field(default="", init=False)

    def clips(self) -> Iterator[Clip]:
        """The clips of the split, or of a part of it, in the order of their ids."""
        clips = self.corpus.clips(split=self.split, rule=self.rule)
        limited = clips if self.limit is None else islice(clips, self.limit)
        if self.shard is None:
            return limited
        number, count = self.shard
        return (clip for clip in limited if shard_of(clip.clip_id, count) == number)

    def fingerprint(self) -> str:
        """Cheap hash of the files of the split."""
        return f"{self.corpus.fingerprint(split=self.split, rule=self.rule)} {self.limit}"

    def describe(self, clips: int, groups: int) -> dict[str, Any]:
        """What results say about it."""
        if not self.content_sha256:
            self.content_sha256 = self.corpus.content_sha256(split=self.split, rule=self.rule)
        facts: dict[str, Any] = {
            "name": self.corpus.name,
            "layout": self.corpus.layout,
            "split": self.split,
            "rule": self.rule,
            "rule_text": self.corpus.rules()[self.rule],
            "content_sha256": self.content_sha256,
            "clips": clips,
            "groups": groups,
            "group_means": self.corpus.group_means,
        }
        if self.corpus.clip_s is not None:
            facts["clip_s"] = self.corpus.clip_s
        if self.limit is not None:
            facts["limit"] = self.limit
        if self.shard is not None:
            facts["shard"] = list(self.shard)
        return facts


def seed_folder(output: Path, seed: int) -> Path:
    """Where the results of one of several seeds lie below the folder of all."""
    return output / f"seed_{seed}"


def shard_of(clip_id: str, count: int) -> int:
    """Number, from 1, of the part that a clip belongs to; a matter of its id alone."""
    digest = hashlib.sha256(clip_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % count + 1


def open_split(wanted: Evaluation) -> OpenedCorpus:
    """Open the corpus of an evaluation and settle split and rule.

    Raises:
        CorpusError: If there is no such corpus, rule or split.
    """
    options = {k: v for k, v in (("clip_s", wanted.clip_s), ("max_clips", wanted.max_clips)) if v is not None}
    corpus = open_corpus(wanted.corpus, layout=wanted.layout, **options)
    rule = wanted.rule or corpus.default_rule
    known = corpus.splits(rule)
    split = wanted.split or next((name for name in ("test", "valid", "all", *known) if name in known), None)
    if split is None or split not in known:
        raise CorpusError(
            f"{wanted.corpus}: no split {split!r} under rule {rule!r}; there are {', '.join(known) or 'none'}"
        )
    return OpenedCorpus(corpus, split, rule, wanted.limit, wanted.shard)


def system_entries(models: Sequence[str], device: str = "cpu") -> list[SystemEntry]:
    """Resolve ``NAME``, ``NAME@CHECKPOINT_FOLDER`` and YAML files of other models; nothing heavy is loaded yet.

    Raises:
        InputError: If a name is unknown or occurs twice, or a YAML file is wrong.
        CheckpointError: If a checkpoint is missing.
    """
    entries: list[SystemEntry] = []
    versions = " ".join(importlib.metadata.version(name).partition("+")[0] for name in ("torch", "soxr"))
    for text in models:
        if is_external(text):
            external = read_external(Path(text))
            if external.name in registry.MODELS:
                raise InputError(f"{text}: name {external.name!r} is taken by a model of the table; choose another")
            if any(entry.name == external.name for entry in entries):
                raise InputError(f"model {external.name!r} is named twice")
            load_external = partial(external.load, device)
            entries.append(SystemEntry(external.name, external.key(), load_external, external.summary))
            continue
        name, _, folder = text.partition("@")
        checkpoint = Path(folder) if folder else None
        _check_runs(name)
        key = hashlib.sha256(
            f"{registry.fingerprint(name, checkpoint)} {code_sha256('models')} {versions}".encode()
        ).hexdigest()
        column = f"{name}@{checkpoint.name}" if checkpoint else name
        if any(entry.name == column for entry in entries):
            raise InputError(f"model {column!r} is named twice")

        def load(name: str = name, checkpoint: Path | None = checkpoint) -> System:
            system: System = registry.load(name, checkpoint=checkpoint, device=device)
            return system

        entries.append(SystemEntry(column, key, load))
    if not entries:
        raise InputError(f"no model is named; known: {', '.join(registry.MODELS)}")
    return entries


def _check_runs(name: str) -> None:
    if registry.entry(name).kind == "system":
        return
    from eval.studies import study_of

    study = study_of(name)
    shown = f"; python -m eval study {study} measures it" if study else ""
    kind = registry.entry(name).kind
    raise InputError(f"model {name!r} is a {kind} and turns no clip into another{shown}")


@dataclass(frozen=True)
class Finished:
    """A finished run."""

    report: RunReport
    document: Mapping[str, Any]
    opened: OpenedCorpus
    runner: Runner


def evaluate(
    wanted: Evaluation,
    store: ResultsStore,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Finished:
    """Run an evaluation into a store.

    Args:
        wanted: What to evaluate.
        store: Where results go.
        device: ``auto``, ``cpu``, ``cuda`` …
        batch_size: Clips in a full batch.
        workers: Pieces of work side by side.
        retry_failed: Whether to try again what failed before.
        progress: Whoever watches.
        command: The command line, for the record.

    Raises:
        EarwitnessError: If the job cannot be done.
    """
    opened = open_split(wanted)
    device = pick_device(device)
    systems = system_entries(wanted.models, device)
    created = datetime.now(UTC)
    settings = wanted.settings()
    digest = hashlib.sha256(json.dumps([settings, [s.key for s in systems], str(created)]).encode()).hexdigest()
    run_id = f"{created:%Y%m%dT%H%M%SZ}-{digest[:8]}"
    store.add_run(run_id, f"{created:%Y-%m-%dT%H:%M:%SZ}", command, settings)
    runner = Runner(
        store,
        systems,
        wanted.metric_names,
        seed=wanted.seed,
        run_id=run_id,
        device=device,
        batch_size=batch_size,
        workers=workers,
        retry_failed=retry_failed,
        progress=progress,
    )
    with peak_memory(device) as memory:
        report = runner.run(opened.clips)
    if not report.clips:
        raise CorpusError(f"{wanted.corpus}: split {opened.split!r} under rule {opened.rule!r} has no clips")
    rows = [store.clip(clip_id) for clip_id in report.clip_ids]
    groups = {row.group for row in rows}
    samples = {row.clip_id: row.pcm_sha256 for row in rows}
    busy = sum(report.stage_seconds.values())
    document = {
        "schema_version": 1,
        "run_id": run_id,
        "command": command or "evaluate",
        "created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "seed": wanted.seed,
        "device": device_name(device),
        "environment": environment(),
        "code": code_state(),
        "models": model_records(wanted.models, systems),
        "corpus": opened.describe(report.clips, len(groups)),
        "metrics": {name: definition(name) for name in wanted.metric_names},
        "settings": {**settings, "batch_size": runner.batch_size, "workers": runner.workers},
        "wall_s": round(report.wall_s, 3),
        "stage_seconds": {
            **{stage: round(seconds, 3) for stage, seconds in report.stage_seconds.items()},
            "other": round(max(0.0, report.wall_s * report.workers - busy), 3),
        },
        "peak_memory_bytes": memory.bytes,
        "clips": {"total": report.clips, "ok": report.clips - report.failed_clips, "failed": report.failed_clips},
        "clip_list_sha256": clip_list_sha256(samples),
        **({"clip_list": samples} if len(samples) <= LISTED_CLIPS else {}),
        "outputs": {"computed": report.computed, "kept": report.kept, "failed": report.failed},
    }
    store.finish_run(run_id, document)
    if report.failed == report.clips * len(systems):
        raise EarwitnessError(
            f"{wanted.corpus}: none of {report.clips} clips could be scored; first: {report.first_error}"
        )
    return Finished(report, document, opened, runner)


def clip_list_sha256(samples: Mapping[str, str | None]) -> str:
    """Hash of clips by their ids and the hashes of their samples; their order does not matter."""
    digest = hashlib.sha256()
    for clip_id, pcm in sorted(samples.items()):
        digest.update(json.dumps([clip_id, pcm]).encode() + b"\n")
    return digest.hexdigest()


def model_records(models: Sequence[str], entries: Sequence[SystemEntry]) -> list[dict[str, Any]]:
    """Name, key and weights of systems, as the record of a run tells them before anything is loaded."""
    records = []
    for text, entry in zip(models, entries, strict=True):
        record: dict[str, Any] = {"name": entry.name, "key": entry.key}
        if not is_external(text):
            name, _, folder = text.partition("@")
            place = registry.checkpoint_folder(name, Path(folder) if folder else None)
            if place is not None:
                record["checkpoint"] = {"sha256": read_card(place).get("tensors_sha256")}
        records.append(record)
    return records


def describe_systems(finished: Finished) -> list[dict[str, Any]]:
    """Full descriptions of the systems of a run, loading those that had nothing to do."""
    described = []
    for name, entry in finished.runner.systems.items():
        system = finished.runner.system(entry)
        table_name, _, folder = name.partition("@")
        title = f"{system.title} ({folder})" if folder else system.title
        summary = entry.summary if entry.summary is not None else registry.entry(table_name).summary
        curve = training_curve(getattr(system, "card", None))
        timeline = {"training_curve": curve} if curve else {}
        described.append({**system.describe(), **timeline, "name": name, "title": title, "summary": summary})
    return described


def training_curve(card: Any, most: int = 60) -> dict[str, Any] | None:
    """How the loss of a checkpoint fell while it was trained, from its card; ``None`` where the card has no curve.

    Args:
        card: The card.
        most: Points at most, spread evenly; the last one is always there.

    Returns:
        ``loss``, the name of the first value of the curve, and ``points`` of step, value in training and value in
        validation, or ``None`` where that was not measured.
    """
    losses = card.get("losses") if isinstance(card, Mapping) else None
    rows = [row for row in (losses or {}).get("curve") or () if isinstance(row, Mapping) and "step" in row]
    loss = next((key for key, value in (rows[0] if rows else {}).items() if key != "step" and _is_number(value)), None)
    if loss is None:
        return None
    kept = {len(rows) - 1 - place * max(1, -(-len(rows) // most)) for place in range(most)}
    points = []
    for place, row in enumerate(rows):
        known = row.get("validation") or {}
        if (place in kept or _is_number(known.get(loss))) and _is_number(row.get(loss)):
            points.append([row["step"], row[loss], known[loss] if _is_number(known.get(loss)) else None])
    return {"loss": loss, "points": points}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def device_name(device: str) -> str:
    """A device for readers: ``cpu``, or the name of the GPU."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Versions and the machine, as far as they can change a number."""
    import torch

    versions = {}
    for package in ("torch", "numpy", "scipy", "soundfile", "soxr", "pillow"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        **versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def code_state() -> dict[str, Any]:
    """Commit, whether files differ from it, and a hash of the code itself."""
    commit: str | None = None
    dirty: bool | None = None
    if (ROOT / ".git").exists():
        try:
            commit = _git("rev-parse", "HEAD") or None
            dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
        except (OSError, subprocess.SubprocessError):
            commit, dirty = None, None
    digest = hashlib.sha256(f"{code_sha256('eval')} {code_sha256('models')}".encode()).hexdigest()
    return {"commit": commit, "dirty": dirty, "sha256": digest}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
