"""Run a recorded evaluation again, from its record, and hold the new values against the recorded ones clip by clip.

What must be the same for the answer to mean anything is checked first: the recordings, by the hash of their content,
the weights, by the hash of their tensors, and the definitions of the metrics. Code and environment may differ; where
values do, they are named as what may be the reason, and the first stage whose product differs is named with them.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eval.compare import Change, record_changes
from eval.corpora import HELD_OUT
from eval.evaluation import ROOT, Evaluation, evaluate, model_records, open_split, system_entries
from eval.metrics import METRICS, definition_sha256
from eval.protocols import Progress
from eval.recorded import Recorded, StoreContents, column_name, definition_hash, open_recorded, read_store, shown
from eval.results import FILE_NAME, ResultsStore
from eval.summary import aggregates
from models.errors import CheckpointError, InputError

TOLERANCE = 1e-5
"""Largest difference between machines, relative to the larger value or to the mean size of the metric's values."""

EQUAL, WITHIN, DIFFERENT = "equal", "within tolerance", "different"
STAGES = ("reading the recordings", "the model's output", "the metric")


@dataclass(frozen=True)
class Deviation:
    """A value that came out otherwise.

    Attributes:
        model: System.
        metric: Metric; ``output`` for the output itself.
        clip: Clip; empty for a mean.
        before: The recorded value or status.
        after: The new one.
        relative: Difference relative to the scale; infinite where one of both has no value.
        stage: First stage whose product differs; empty where it cannot be told.
    """

    model: str
    metric: str
    clip: str
    before: str
    after: str
    relative: float
    stage: str = ""


@dataclass
class Reproduction:
    """What came of it.

    Attributes:
        run_id: The recorded run.
        basis: What was there to compare with, in words.
        compared: Values compared.
        equal: Values equal to the last bit.
        within: Values within the tolerance.
        deviations: Values beyond it, the largest first.
        outputs: Outputs compared by the hash of their samples.
        other_outputs: Outputs with other samples.
        other_clips: Recordings with other samples.
        changes: What differs between the records and may be the reason.
        tolerance: The tolerance.
    """

    run_id: str
    basis: str
    compared: int = 0
    equal: int = 0
    within: int = 0
    deviations: list[Deviation] = field(default_factory=list)
    outputs: int = 0
    other_outputs: int = 0
    other_clips: int = 0
    changes: Sequence[Change] = ()
    tolerance: float = TOLERANCE

    @property
    def verdict(self) -> str:
        """Equal, within tolerance or different."""
        if self.deviations:
            return DIFFERENT
        return WITHIN if self.within else EQUAL

    @property
    def stage(self) -> str:
        """First stage whose product differs; empty where none does or it cannot be told."""
        if self.other_clips:
            return STAGES[0]
        if self.other_outputs:
            return STAGES[1]
        if (self.deviations or self.within) and self.outputs:
            return STAGES[2]
        return ""


def reproduce(
    path: Path,
    *,
    corpus: Path | None = None,
    models: Sequence[str] = (),
    output: Path | None = None,
    limit: int | None = None,
    tolerance: float = TOLERANCE,
    device: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Run a recorded evaluation again and compare.

    Args:
        path: The record of a run, a results document or a results store (its last run).
        corpus: Folder of the recordings, where they are not where the record says.
        models: ``NAME@FOLDER`` or YAML files that take the place of systems of the same name in the record.
        output: Folder of the new results; a temporary one that is removed when None.
        limit: Only the first so many clips.
        tolerance: Largest relative difference that counts as the same.
        device: Device; that of the record when None.
        workers: Pieces of work side by side; no number depends on it.
        progress: Whoever watches.

    Raises:
        InputError: If the record cannot be used, or recordings, weights or definitions are not those of the record.
        EarwitnessError: If the evaluation cannot be done.
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance is {tolerance}; a number from 0 up to 1 is needed")
    recorded = open_recorded(path)
    run = recorded.run
    if run is None:
        raise InputError(f"{path}: the record of its run is missing, so there is nothing to run again from")
    if run.get("study"):
        raise InputError(f"{path}: is of a study; python -m eval study {run['study']} measures it again")
    if output is not None and (output / FILE_NAME).exists():
        raise InputError(f"{output}: holds results already; name a fresh folder")
    wanted = evaluation_of(recorded, run, corpus, models, limit)
    used = device or str(run["device"]).partition(" ")[0]
    _refuse_other_definitions(path, run, wanted)
    _refuse_other_weights(path, run, wanted)
    _refuse_other_recordings(path, run, wanted)
    # An error here is said before the long part; the record says what to run it on.
    holder: Any = tempfile.TemporaryDirectory(prefix="earwitness-") if output is None else nullcontext(output)
    with holder as place:
        with ResultsStore(Path(place)) as store:
            finished = evaluate(
                wanted, store, device=used, workers=workers, progress=progress,
                command=f"python -m eval reproduce {Path(path).name}",
            )  # fmt: skip
        made = read_store(Path(place))
        return _held_against(recorded, run, made, finished.document, tolerance, limit)


def evaluation_of(
    recorded: Recorded,
    run: Mapping[str, Any],
    corpus: Path | None = None,
    models: Sequence[str] = (),
    limit: int | None = None,
) -> Evaluation:
    """The evaluation that a record tells of.

    Raises:
        InputError: If the record lacks its settings, the corpus is not found, or a replacement names no system of it.
    """
    settings, about = run.get("settings"), run["corpus"]
    if not isinstance(settings, Mapping) or "models" not in settings or "corpus" not in settings:
        raise InputError(f"{recorded.path}: settings: the record does not say what was evaluated")
    named = {column_name(str(text)): str(text) for text in settings["models"]}
    for text in models:
        name = column_name(text)
        stem = next((old for old in named if Path(named[old]).name == Path(text).name or old == name), None)
        stem = stem or next((old for old in named if old.partition("@")[0] == name.partition("@")[0]), None)
        if stem is None:
            raise InputError(f"{text}: is in the place of no system of the record: {', '.join(named)}")
        named[stem] = text
    limits = [value for value in (settings.get("limit"), limit) if value is not None]
    return Evaluation(
        corpus=corpus or _corpus_place(recorded, run),
        models=tuple(named.values()),
        split=settings.get("split") or about.get("split"),
        rule=settings.get("rule") or about.get("rule"),
        layout=settings.get("layout") or about.get("layout"),
        clip_s=settings.get("clip_s"),
        max_clips=settings.get("max_clips"),
        limit=min(limits) if limits else None,
        metrics=tuple(settings.get("metrics", ())),
        seed=int(run["seed"]),
    )


def _corpus_place(recorded: Recorded, run: Mapping[str, Any]) -> Path:
    """Where the recordings may lie: where the command said, where the companion says, or among the shipped ones."""
    name = str(run["settings"]["corpus"])
    places: list[Path] = []
    try:
        words = shlex.split(str(run.get("command", "")))
    except ValueError:
        words = []
    for index, word in enumerate(words):
        if word == "--corpus" and index + 1 < len(words):
            places.append(Path(words[index + 1]))
        elif word.startswith("--corpus="):
            places.append(Path(word.removeprefix("--corpus=")))
    companion = recorded.path.parent.parent.parent
    try:
        site = yaml.safe_load((companion / "_data" / "site.yml").read_text(encoding="utf-8"))
        told = [Path(str(job["corpus"])) for job in site.get("evaluation") or []]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        told = []
    places += [base / place for place in told for base in (companion, ROOT)]
    places.append(HELD_OUT / name)
    for place in places:
        if place.name == name and place.is_dir():
            return place
    raise InputError(f"{recorded.path}: its corpus {name!r} is not found here; say where it is with --corpus PATH")


def _refuse_other_definitions(path: Path, run: Mapping[str, Any], wanted: Evaluation) -> None:
    for name, definition in run["metrics"].items():
        if name not in METRICS:
            raise InputError(f"{path}: metrics: {name!r} is no metric of this version; use that of the record")
        ours, theirs = definition_sha256(name), definition_hash(definition)
        if ours != theirs:
            raise InputError(
                f"{path}: metrics.{name}: its definition is {theirs[:12]} in the record and {ours[:12]} here;"
                f" check out commit {str(run['code'].get('commit'))[:12]}"
            )
    _ = wanted.metric_names


def _weights(about: Mapping[str, Any]) -> str | None:
    checkpoint = about.get("checkpoint")
    return checkpoint.get("sha256") if isinstance(checkpoint, Mapping) else None


def _refuse_other_weights(path: Path, run: Mapping[str, Any], wanted: Evaluation) -> None:
    try:
        entries = system_entries(wanted.models)
        here = {record["name"]: _weights(record) for record in model_records(wanted.models, entries)}
    except CheckpointError as error:
        raise InputError(str(error)) from None
    for about in run["models"]:
        name, theirs = str(about.get("name")), _weights(about)
        # A replacement may go by the name of its own folder.
        family = [found for found in here if found == name] or [
            found for found in here if found.partition("@")[0] == name.partition("@")[0]
        ]
        if not family:
            raise InputError(f"{path}: models: {name!r} is in the record but is not run")
        if theirs is not None and theirs not in [here[found] for found in family]:
            ours = here[family[0]]
            raise InputError(
                f"{path}: models.{name}: weights are {theirs[:12]} in the record and {str(ours)[:12]} here;"
                f" name theirs with --model {name.partition('@')[0]}@FOLDER"
            )


def _refuse_other_recordings(path: Path, run: Mapping[str, Any], wanted: Evaluation) -> None:
    opened = open_split(wanted)
    theirs = run["corpus"].get("content_sha256")
    ours = opened.corpus.content_sha256(split=opened.split, rule=opened.rule)
    if theirs is not None and theirs != ours:
        raise InputError(
            f"{wanted.corpus}: the content of split {opened.split!r} is {ours[:12]}, but {str(theirs)[:12]} in the"
            f" record {path}; these are other recordings"
        )


# --- held against each other


def _held_against(
    recorded: Recorded,
    run: Mapping[str, Any],
    made: StoreContents,
    document: Mapping[str, Any],
    tolerance: float,
    limit: int | None,
) -> Reproduction:
    after = Recorded(made.path, "store", document, None, made, recorded.metrics)
    about = ("code", "environment", "device")
    changes = [change for change in record_changes(recorded, after) if change.what.partition(":")[0] in about]
    done = Reproduction(str(run["run_id"]), "", changes=changes, tolerance=tolerance)
    new_names = dict(zip([column_name(str(t)) for t in run["settings"]["models"]], _columns(document), strict=True))
    if recorded.rows is not None:
        done.basis = "the rows of its results store, clip by clip"
        _rows_against(done, recorded.rows, made, new_names, document)
    elif recorded.results is not None:
        samples = _samples(recorded)
        done.basis = f"its means and the scores of {len(samples)} published clips"
        models = {system["category"]: system["model"] for system in recorded.results["systems"]}
        _samples_against(done, samples, made, {c: new_names.get(m, m) for c, m in models.items()})
        if limit is None:
            _means_against(done, recorded.results, made, {c: new_names.get(m, m) for c, m in models.items()})
    else:
        raise InputError(f"{recorded.path}: neither rows nor results of this run are here to compare with")
    if not done.compared:
        raise InputError(f"{recorded.path}: holds no value that the new run has, too; nothing could be compared")
    done.deviations.sort(key=lambda deviation: -deviation.relative)
    return done


def _columns(document: Mapping[str, Any]) -> list[str]:
    return [str(about["name"]) for about in document["models"]]


def _close(done: Reproduction, before: float, after: float, scale: float) -> float | None:
    """Count a pair of values; gives the relative difference where it is beyond the tolerance."""
    done.compared += 1
    if before == after:
        done.equal += 1
        return None
    relative = abs(before - after) / max(abs(before), abs(after), scale)
    if relative <= done.tolerance:
        done.within += 1
        return None
    return relative


def _rows_against(
    done: Reproduction,
    old: StoreContents,
    new: StoreContents,
    names: Mapping[str, str],
    document: Mapping[str, Any],
) -> None:
    clips = [clip for clip in new.clip_ids if clip in old.clips]
    other = {clip for clip in clips if old.clips[clip].pcm_sha256 != new.clips[clip].pcm_sha256}
    done.other_clips = len(other)
    for before, after in names.items():
        outputs_old, outputs_new = old.outputs.get(before, {}), new.outputs.get(after, {})
        moved = set()
        for clip in clips:
            one, two = outputs_old.get(clip), outputs_new.get(clip)
            if one is None or two is None:
                continue
            done.outputs += 1
            if one.pcm_sha256 != two.pcm_sha256 or one.status != two.status:
                moved.add(clip)
            if one.status != two.status:
                done.compared += 1
                done.deviations.append(
                    Deviation(before, "output", clip, one.status, two.status, float("inf"), STAGES[1])
                )
        done.other_outputs += len(moved)
        for metric in document["metrics"]:
            mine = old.scores.get(before, {}).get(metric, {})
            theirs = new.scores.get(after, {}).get(metric, {})
            sizes = [abs(row.value) for row in mine.values() if row.value is not None]
            scale = sum(sizes) / len(sizes) if sizes else 0.0
            for clip in clips:
                first, second = mine.get(clip), theirs.get(clip)
                if first is None or second is None:
                    continue
                stage = STAGES[0] if clip in other else STAGES[1] if clip in moved else STAGES[2]
                _score(
                    done, before, metric, clip, (first.value, first.status), (second.value, second.status), scale, stage
                )


def _score(
    done: Reproduction,
    model: str,
    metric: str,
    clip: str,
    before: tuple[float | None, str],
    after: tuple[float | None, str],
    scale: float,
    stage: str,
) -> None:
    if before[0] is None or after[0] is None:
        done.compared += 1
        if before[1] == after[1] and before[0] is None and after[0] is None:
            done.equal += 1
            return
        texts = [status if value is None else repr(value) for value, status in (before, after)]
        done.deviations.append(Deviation(model, metric, clip, texts[0], texts[1], float("inf"), stage))
        return
    relative = _close(done, before[0], after[0], scale)
    if relative is not None:
        done.deviations.append(Deviation(model, metric, clip, repr(before[0]), repr(after[0]), relative, stage))


def _samples(recorded: Recorded) -> dict[str, Any]:
    """Published clips of a results document, by id."""
    assert recorded.results is not None
    path = recorded.path.parent.parent / f"{recorded.results['collection']}.yml"
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _samples_against(
    done: Reproduction, samples: Mapping[str, Any], new: StoreContents, names: Mapping[str, str]
) -> None:
    for clip, sample in samples.items():
        if clip not in new.clips:
            continue
        for category, scores in sample.get("scores", {}).items():
            if sample["systems"][category].get("run") != done.run_id:
                continue
            for metric, score in scores.items():
                row = new.scores.get(names.get(category, ""), {}).get(metric, {}).get(clip)
                if row is not None:
                    model, before = names[category], (score.get("value"), score["status"])
                    _score(done, model, metric, clip, before, (row.value, row.status), 0.0, "")


def _means_against(
    done: Reproduction, results: Mapping[str, Any], new: StoreContents, names: Mapping[str, str]
) -> None:
    table = new.table()
    known = [
        row
        for row in results["aggregates"]
        if names.get(row["category"]) in new.outputs and row["metric"] in new.metrics and "seed" in row
    ]
    for seed in sorted({row["seed"] for row in known}):
        rows = [row for row in known if row["seed"] == seed]
        made = aggregates(table, [(names[row["category"]], row["metric"]) for row in rows], seed)
        for row, found in zip(rows, made, strict=True):
            scale = max((abs(row[key]) for key in ("mean", "low", "high") if row[key] is not None), default=0.0)
            for key in ("n_ok", "n_undefined", "n_failed", "mean", "median", "low", "high"):
                before, after = row[key], found[key]
                where = f"{row['metric']}, {key}"
                _score(
                    done, names[row["category"]], where, "", (before, "no value"), (after, "no value"), scale, ""
                )  # fmt: skip


# --- in words


def lines(done: Reproduction, *, most: int = 10) -> list[str]:
    """What came of it as lines of text."""
    out = [
        f"run {done.run_id}, compared with {done.basis}",
        f"{done.compared} values: {done.equal} equal, {done.within} within {done.tolerance:g},"
        f" {len(done.deviations)} different",
    ]
    if done.outputs:
        out.append(f"{done.outputs} outputs: {done.other_outputs} with other samples")
    for deviation in done.deviations[:most]:
        clip = f" of {deviation.clip}" if deviation.clip else ""
        out.append(
            f"  {deviation.model}, {deviation.metric}{clip}: {deviation.before} → {deviation.after}"
            f" (relative {deviation.relative:.2g}{', first in ' + deviation.stage if deviation.stage else ''})"
        )
    if len(done.deviations) > most:
        out.append(f"  and {len(done.deviations) - most} more")
    if done.verdict != EQUAL:
        out.append(f"first stage that differs: {done.stage or 'cannot be told without rows per clip'}")
        out.append("corpus, weights and metric definitions are those of the record")
        for change in done.changes:
            if change.numbers and (change.before or change.after):
                out.append(f"  {change.what}: {_short(change.before)} → {_short(change.after)}")
        if not any(change.numbers for change in done.changes):
            out.append("  code and environment are those of the record, too")
    out.append(f"reproduced: {done.verdict}")
    return [shown(line) for line in out]


def _short(text: str | None) -> str:
    return "not recorded" if text is None else text[:16] if len(text) == 64 else text
