"""Two evaluations side by side: what changed between them, by how much, and whether it is more than noise.

Where both have rows per clip, the values are paired on the clips that both have and whose recordings are the same, and
a difference is more than noise when the sign-flip test says so after Holm's correction over all metrics and systems.
Otherwise only means and their intervals are there; they are held against each other as if the clips were independent,
which overlooks small changes but finds none that are not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

from eval.recorded import Recorded, StoreContents, column_name, open_recorded, shown
from eval.summary import LEVEL, RESAMPLES, clusters
from eval.summary import gaps as paired_gaps
from models.errors import InputError

ALPHA = 0.05
TOLERANCE = 1e-5
"""Largest relative difference of a clip's value that is taken for rounding, as a run again may have it."""
ROUNDED = "but for rounding"
BETTER, WORSE, NOISE, EQUAL, UNKNOWN = "better", "worse", "within noise", "equal", "not comparable"


@dataclass(frozen=True)
class Change:
    """Something that differs between the two records.

    Attributes:
        what: Field.
        before: Its value in the first; None where it has none.
        after: Its value in the second.
        numbers: Whether it can change a number.
    """

    what: str
    before: str | None
    after: str | None
    numbers: bool = True


@dataclass(frozen=True)
class Delta:
    """One metric of one system in both.

    Attributes:
        metric: Name of the metric.
        model: Name of the system.
        before: Mean in the first, over the compared clips.
        after: Mean in the second.
        difference: ``after − before``.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Compared clips; the smaller number where clips are not paired.
        p: p of "no difference", corrected for all comparisons; None where nothing could be tested.
        verdict: One of better, worse, within noise, equal, not comparable.
        reason: Why they are not comparable, or what the verdict rests on beside p.
        d: Paired Cohen's d of the change; None where values are not paired or do not spread.
        detectable: Smallest true change that one test at 5 % would have found here in four cases of five.
    """

    metric: str
    model: str
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None
    verdict: str
    reason: str = ""
    d: float | None = None
    detectable: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        first: The first record.
        second: The second.
        changes: What differs between the records.
        deltas: Metric after metric, system after system.
        paired: Whether values were paired clip by clip.
        notes: Sentences about clips left out, systems and metrics of one side only.
    """

    first: str
    second: str
    changes: Sequence[Change]
    deltas: Sequence[Delta]
    paired: bool
    notes: Sequence[str] = field(default=())

    @property
    def worse(self) -> list[Delta]:
        """What got worse by more than noise."""
        return [delta for delta in self.deltas if delta.verdict == WORSE]


def compare(first: Path, second: Path, *, seed: int = 0, threads: int | None = None) -> Comparison:
    """Compare two evaluations.

    Args:
        first: A results store, a results document or the record of a run: the state before.
        second: Another: the state after.
        seed: Seed of the draws.
        threads: Threads to work with; one a core when None. No number depends on it.

    Raises:
        InputError: If a file cannot be used or the two have no system or no metric in common.
    """
    a, b = open_recorded(first), open_recorded(second)
    changes = record_changes(a, b)
    notes: list[str] = []
    if a.rows is not None and b.rows is not None:
        deltas = _paired(a, b, a.rows, b.rows, changes, notes, seed, threads)
        paired = True
    else:
        deltas = _aggregated(a, b, notes)
        paired = False
    return Comparison(str(first), str(second), changes, deltas, paired, notes)


# --- what changed


_QUIET_SETTINGS = ("batch_size", "workers")


def record_changes(a: Recorded, b: Recorded) -> list[Change]:
    """What differs between two records, what cannot change a number last."""
    changes: list[Change] = []
    one, two = a.run or {}, b.run or {}
    if not one or not two:
        gone = " and ".join(str(r.path) for r in (a, b) if r.run is None)
        changes.append(Change(f"record of the run of {gone}", None, None, numbers=False))
    _each(changes, "corpus", _corpus(a), _corpus(b))
    changes += _clip_changes(_clips(a), _clips(b))
    models_a, models_b = _models(a), _models(b)
    for name in dict.fromkeys([*models_a, *models_b]):
        if name in models_a and name in models_b:
            _each(changes, f"model {name}", models_a[name], models_b[name])
        else:
            changes.append(Change(f"model {name}", _there(name in models_a), _there(name in models_b)))
    for name in dict.fromkeys([*a.metrics, *b.metrics]):
        mine, theirs = a.metrics.get(name), b.metrics.get(name)
        if mine is None or theirs is None:
            changes.append(Change(f"metric {name}", _there(mine is not None), _there(theirs is not None)))
        elif mine.definition != theirs.definition:
            changes.append(Change(f"metric {name}: definition", _text(mine.definition), _text(theirs.definition)))
    if one and two:
        for key in ("seed", "device"):
            _one(changes, key, one.get(key), two.get(key))
        _each(changes, "code", one.get("code", {}), two.get("code", {}))
        _each(changes, "environment", one.get("environment", {}), two.get("environment", {}))
        skipped = {"models", "metrics", "seed", "corpus", *_QUIET_SETTINGS}
        settings = [{k: v for k, v in run.get("settings", {}).items() if k not in skipped} for run in (one, two)]
        _each(changes, "settings", *settings)
        for key in _QUIET_SETTINGS:
            _one(changes, f"settings.{key}", *(run.get("settings", {}).get(key) for run in (one, two)), numbers=False)
    return sorted(changes, key=lambda change: not change.numbers)


def _there(present: bool) -> str:
    return "there" if present else "not there"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _one(changes: list[Change], what: str, before: Any, after: Any, *, numbers: bool = True) -> None:
    if before != after:
        changes.append(Change(what, _text(before), _text(after), numbers))


def _each(changes: list[Change], what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for key in dict.fromkeys([*before, *after]):
        # Whether files differ from a commit says less than the hash of the code, which stands beside it.
        numbers = (what, key) not in {("code", "commit"), ("code", "dirty"), ("environment", "cores")}
        _one(changes, f"{what}: {key}", before.get(key), after.get(key), numbers=numbers)


def _corpus(recorded: Recorded) -> Mapping[str, Any]:
    corpus = (recorded.run or recorded.results or {}).get("corpus", {})
    keys = ("name", "layout", "split", "rule", "content_sha256", "clips", "groups", "clip_s", "limit")
    if corpus and "content_sha256" not in corpus and "name" not in corpus:
        return dict(corpus)  # the record of a study has several
    return {key: corpus[key] for key in keys if key in corpus}


def _clips(recorded: Recorded) -> Mapping[str, str | None] | None:
    """Clip to the hash of its samples, as far as they are recorded one by one."""
    listed = (recorded.run or {}).get("clip_list")
    if isinstance(listed, Mapping):
        return listed
    return None if recorded.rows is None else {name: row.pcm_sha256 for name, row in recorded.rows.clips.items()}


def _clip_changes(before: Mapping[str, str | None] | None, after: Mapping[str, str | None] | None) -> list[Change]:
    """Which clips came, went or have other samples."""
    if before is None or after is None:
        return []
    found = (
        ("with other samples", [name for name in before if name in after and before[name] != after[name]]),
        ("of the first alone", [name for name in before if name not in after]),
        ("of the second alone", [name for name in after if name not in before]),
    )
    return [Change(f"clips {what}: {_named(sorted(names))}", None, None) for what, names in found if names]


def _named(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _models(recorded: Recorded) -> dict[str, dict[str, Any]]:
    """What is recorded of every system that can change what it makes."""
    found: dict[str, dict[str, Any]] = {}
    for about in (recorded.run or {}).get("models", []):
        checkpoint = about.get("checkpoint")
        frontend = about.get("frontend")
        found[str(about.get("name"))] = {
            "weights": checkpoint.get("sha256") if isinstance(checkpoint, Mapping) else None,
            "configuration": about.get("config"),
            "front end": frontend.get("sha256") if isinstance(frontend, Mapping) else None,
            "key": about.get("key"),
        }
    if not found and recorded.results is not None:
        for system in recorded.results["systems"]:
            found[system["model"]] = {"weights": system["checkpoint_sha256"]}
    if not found and recorded.rows is not None:
        found = {name: {} for name in recorded.rows.models}
    if not found and recorded.run is not None:
        found = {column_name(str(text)): {} for text in recorded.run.get("settings", {}).get("models", [])}
    return found


# --- by how much


def _common(a: Iterable[str], b: Iterable[str], what: str, notes: list[str], sides: Sequence[Path]) -> list[str]:
    mine, theirs = list(a), set(b)
    shared = [name for name in mine if name in theirs]
    for only, side in ((set(mine) - theirs, sides[0]), (theirs - set(mine), sides[1])):
        if only:
            notes.append(f"{what} of {side} alone: {', '.join(sorted(only))}")
    if not shared:
        raise InputError(f"{sides[0]} and {sides[1]} have no {what} in common")
    return shared


def _definition_changed(a: Recorded, b: Recorded, name: str) -> bool:
    mine, theirs = a.metrics[name].definition, b.metrics[name].definition
    return mine is not None and theirs is not None and mine != theirs


def _paired(
    a: Recorded,
    b: Recorded,
    mine: StoreContents,
    theirs: StoreContents,
    changes: list[Change],
    notes: list[str],
    seed: int,
    threads: int | None,
) -> list[Delta]:
    from eval.stats import effect_size, holm, paired_differences, smallest_difference
    from eval.stats.draws import default_threads

    sides = (a.path, b.path)
    models = _common(mine.models, theirs.models, "systems", notes, sides)
    metrics = _common(mine.metrics, theirs.metrics, "metrics", notes, sides)
    both = [clip for clip in mine.clip_ids if clip in theirs.clips]
    same = [clip for clip in both if mine.clips[clip].pcm_sha256 == theirs.clips[clip].pcm_sha256]
    for count, text in (
        (len(mine.clips) - len(both), f"clips of {a.path} alone"),
        (len(theirs.clips) - len(both), f"clips of {b.path} alone"),
        (len(both) - len(same), "clips with one id but other samples, left out"),
    ):
        if count:
            notes.append(f"{count} {text}")
    if not same:
        raise InputError(f"{a.path} and {b.path} have no clip in common")
    deltas = []
    for model in models:
        deltas.append(_outputs(mine, theirs, model, same, changes, notes))
    one, two = mine.table(same, models), theirs.table(same, models)
    held = clusters(one.groups)
    cells = [(model, name) for name in metrics for model in models]
    columns = [(two.numbers(*key), one.numbers(*key)) for key in cells]
    gaps = paired_differences(
        columns, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=held, threads=threads or default_threads()
    )
    usable = [
        index
        for index, (model, name) in enumerate(cells)
        if gaps[index].n and not _definition_changed(a, b, name) and gaps[index].p_value is not None
    ]
    # Values that are equal clip by clip need no test, and none should pay for them.
    exact = [index for index in usable if all(x == y for x, y in _both(columns[index]))]
    moved = [index for index in usable if index not in exact and not _rounding(_both(columns[index]))]
    p_values = dict(zip(moved, holm([float(gaps[i].p_value or 0.0) for i in moved]), strict=True))
    for index, (model, name) in enumerate(cells):
        gap = gaps[index]
        pairs = [(x, y) for x, y in zip(*columns[index], strict=True) if x is not None and y is not None]
        before, after = (
            (math.fsum(column) / len(pairs) if pairs else None for column in zip(*pairs, strict=True))
            if (pairs)
            else (None, None)
        )
        reason = ""
        if _definition_changed(a, b, name):
            verdict, reason = UNKNOWN, "the metric is defined in another way"
        elif not pairs:
            verdict, reason = UNKNOWN, "no clip has a value in both"
        elif index not in moved:
            verdict, reason = EQUAL, "" if index in exact else ROUNDED
        else:
            verdict, reason = _verdict(a, name, p_values[index], gap.mean or 0.0)
        lost = [sum(x is None for x in column) for column in columns[index]]
        if lost[0] != lost[1] and verdict != UNKNOWN:
            reason = f"{lost[0]} clips without a value, {lost[1]} before" + (f"; {reason}" if reason else "")
        apart, groups = paired_gaps(*columns[index], held)
        deltas.append(
            Delta(
                name, model, before, after, gap.mean, gap.low, gap.high, gap.n, p_values.get(index), verdict, reason,
                effect_size(apart).d, smallest_difference(apart, groups=groups),
            )
        )  # fmt: skip
    return deltas


def _both(columns: tuple[Sequence[float | None], Sequence[float | None]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(*columns, strict=True) if x is not None and y is not None]


def _rounding(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether values differ clip by clip by no more than another order of the same sums would give."""
    largest = max(max(abs(x), abs(y)) for x, y in pairs)
    return all(math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=0.1 * TOLERANCE * largest) for x, y in pairs)


def _outputs(
    mine: StoreContents,
    theirs: StoreContents,
    model: str,
    clips: Sequence[str],
    changes: list[Change],
    notes: list[str],
) -> Delta:
    """How many clips a system has an output for; a clip that fails where it did not is no noise."""
    pairs = [
        (old, new)
        for clip in clips
        if (old := mine.outputs[model].get(clip)) is not None and (new := theirs.outputs[model].get(clip)) is not None
    ]
    failed = [sum(row.status != "ok" for row in rows) for rows in zip(*pairs, strict=True)] if pairs else [0, 0]
    made = [(old, new) for old, new in pairs if old.status == new.status == "ok"]
    other = sum(old.pcm_sha256 != new.pcm_sha256 for old, new in made)
    if other:
        notes.append(f"model {model}: {other} of {len(made)} outputs have other samples")
    keys = sum(old.output_key != new.output_key for old, new in pairs)
    if keys and not other:
        changes.append(Change(f"model {model}: weights, code, seed or device (key of {keys} outputs)", None, None))
    lost = sum(old.status == "ok" and new.status != "ok" for old, new in pairs)
    verdict = WORSE if lost else BETTER if failed[1] < failed[0] else EQUAL
    return Delta(
        "failed outputs", model, float(failed[0]), float(failed[1]), float(failed[1] - failed[0]), None, None,
        len(pairs), None, verdict, f"{lost} clips fail that did not before" if lost else "",
    )  # fmt: skip


def _verdict(recorded: Recorded, name: str, p: float, difference: float) -> tuple[str, str]:
    if p >= ALPHA:
        return NOISE, ""
    higher = recorded.metrics[name].higher_is_better
    if higher is None:
        return UNKNOWN, "its direction is not recorded"
    return (BETTER if (difference > 0) == higher else WORSE), ""


def _aggregated(a: Recorded, b: Recorded, notes: list[str]) -> list[Delta]:
    from eval.stats import holm

    one, two = _means(a), _means(b)
    if one is None or two is None:
        names = " and ".join(str(r.path) for r, found in ((a, one), (b, two)) if found is None)
        notes.append(f"{names}: the record of a run without results; only what changed is known")
        return []
    sides = (a.path, b.path)
    models = _common(dict.fromkeys(m for m, _ in one), (m for m, _ in two), "systems", notes, sides)
    metrics = _common(dict.fromkeys(n for _, n in one), (n for _, n in two), "metrics", notes, sides)
    notes.append("compared by means and intervals, not clip by clip: small changes are overlooked")
    if _corpus(a).get("content_sha256") != _corpus(b).get("content_sha256"):
        notes.append("the recordings are others, which may be the reason of any difference")
    cells = [(model, name) for name in metrics for model in models if (model, name) in one and (model, name) in two]
    raw: dict[int, float] = {}
    spans: dict[int, float] = {}
    for index, key in enumerate(cells):
        errors = [_error(found[key]) for found in (one, two)]
        if errors[0] is None or errors[1] is None or _definition_changed(a, b, key[1]):
            continue
        spread = math.hypot(errors[0], errors[1])
        spans[index] = spread
        gap = two[key]["mean"] - one[key]["mean"]
        raw[index] = 1.0 if gap == 0 else 2 * NormalDist().cdf(-abs(gap) / spread)
    p_values = dict(zip(raw, holm(list(raw.values())), strict=True))
    deltas = []
    for index, (model, name) in enumerate(cells):
        before, after = one[model, name]["mean"], two[model, name]["mean"]
        gap = None if before is None or after is None else after - before
        reason = ""
        if _definition_changed(a, b, name):
            verdict, reason, gap = UNKNOWN, "the metric is defined in another way", None
        elif gap is None:
            verdict, reason = UNKNOWN, "one of both has no mean"
        elif gap == 0:
            verdict = EQUAL
        elif index not in p_values:
            verdict, reason = UNKNOWN, "one of both has no interval"
        else:
            verdict, reason = _verdict(a, name, p_values[index], gap)
        half = None if gap is None or index not in spans else NormalDist().inv_cdf((1 + LEVEL) / 2) * spans[index]
        deltas.append(
            Delta(
                name, model, before, after, gap,
                None if half is None or gap is None else gap - half,
                None if half is None or gap is None else gap + half,
                min(one[model, name]["n_ok"], two[model, name]["n_ok"]), p_values.get(index), verdict, reason,
            )
        )  # fmt: skip
        if (moved := _moved(one[model, name], two[model, name])) is not None:
            notes.append(f"{name} of {model}: {moved}")
    lost = [_failed(found) for found in (one, two)]
    for model in models:
        before, after = lost[0].get(model, 0), lost[1].get(model, 0)
        verdict = WORSE if after > before else BETTER if after < before else EQUAL
        deltas.append(
            Delta(
                "failed outputs", model, float(before), float(after), float(after - before), None, None, 0, None,
                verdict,
            )
        )  # fmt: skip
    return deltas


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """What became of a system's place among the others, where both documents state it."""
    places = [row.get("rank") for row in (before, after)]
    if places[0] is None or places[1] is None or places[0] == places[1]:
        return None
    return f"rank {places[0]:g} before, {places[1]:g} now"


_Means = Mapping[tuple[str, str], Mapping[str, Any]]


def _failed(means: _Means) -> dict[str, int]:
    found: dict[str, int] = {}
    for (model, _), row in means.items():
        found[model] = max(found.get(model, 0), int(row["n_failed"]))
    return found


def _means(recorded: Recorded) -> _Means | None:
    """Aggregates by system and metric, from a document or made from rows."""
    if recorded.results is not None:
        models = {system["category"]: system["model"] for system in recorded.results["systems"]}
        return {
            (models.get(row["category"], row["category"]), row["metric"]): row for row in recorded.results["aggregates"]
        }
    if recorded.rows is None:
        return None
    from eval.summary import aggregates

    table = recorded.rows.table()
    cells = [(model, name) for model in recorded.rows.models for name in recorded.rows.metrics]
    return dict(zip(cells, aggregates(table, cells, 0), strict=True))


def _error(row: Mapping[str, Any]) -> float | None:
    """Standard error of a mean, from its interval."""
    if row["mean"] is None or row["low"] is None or row["high"] is None:
        return None
    width = float(row["high"]) - float(row["low"])
    return width / (2 * NormalDist().inv_cdf((1 + float(row.get("level", LEVEL))) / 2)) if width > 0 else None


# --- in words


def lines(comparison: Comparison) -> list[str]:
    """A comparison as lines of text, what got worse first."""
    out = [f"before: {comparison.first}", f"after:  {comparison.second}", ""]
    out.append("what changed:" if comparison.changes else "what changed: nothing that is recorded")
    for change in comparison.changes:
        quiet = "" if change.numbers else " (changes no number)"
        if change.before is None and change.after is None:
            out.append(f"  {change.what}{quiet}")
        else:
            before, after = ("not recorded" if text is None else text for text in (change.before, change.after))
            out.append(f"  {change.what}: {_short(before)} → {_short(after)}{quiet}")
    out.append("")
    order = {WORSE: 0, BETTER: 1, NOISE: 2, UNKNOWN: 3, EQUAL: 4}
    moved = [delta for delta in comparison.deltas if delta.verdict != EQUAL]
    equal = len(comparison.deltas) - len(moved)
    for delta in sorted(moved, key=lambda delta: order[delta.verdict]):
        out.append(f"{delta.verdict}: {delta.metric} of {delta.model}: {_delta_text(delta)}")
    if equal:
        rounded = sum(delta.verdict == EQUAL and ROUNDED in delta.reason for delta in comparison.deltas)
        but = f", {rounded} of them {ROUNDED}" if rounded else ""
        out.append(f"equal: {equal} of {len(comparison.deltas)} comparisons{but}")
    out += [f"note: {note}" for note in comparison.notes]
    worse = len(comparison.worse)
    out += ["", f"{worse} of {len(comparison.deltas)} comparisons are worse by more than noise"]
    return [shown(line) for line in out]


def _short(text: str) -> str:
    whole = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if whole else text


def _delta_text(delta: Delta) -> str:
    parts = []
    if delta.before is not None and delta.after is not None:
        parts.append(f"{delta.before:.6g} → {delta.after:.6g}")
    if delta.low is not None and delta.high is not None and delta.difference is not None:
        parts.append(f"difference {delta.difference:.3g} ({delta.low:.3g} to {delta.high:.3g})")
    if delta.p is not None:
        parts.append("corrected p < 0.001" if delta.p < 0.001 else f"corrected p {delta.p:.3f}")
    if delta.d is not None and delta.verdict in (BETTER, WORSE):
        parts.append(f"d {delta.d:.2f}")
    if delta.n:
        parts.append(f"{delta.n} clips")
    if delta.detectable and delta.verdict == NOISE:
        parts.append(f"a change of {delta.detectable:.2g} could have been found")
    if delta.reason:
        parts.append(delta.reason)
    return ", ".join(parts)
