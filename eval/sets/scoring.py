"""A metric of sets with all that belongs to it: numbers of clips, interval, permutation p, and the reference's floor.

* The **p** says how often clips dealt to the two sides at random come out at least as far apart (or as bad).
* The **interval** is a jackknife over random twentieths of the clips of either side, left out in turn: how much the
  value would move with other clips, as far as the metric can take such values.
* The **floor** is what the reference scores against itself: one half against the other, over and over. A biased
  metric depends on the number of clips, so the estimate is measured at the size of the floor as well.

Where the estimates were made from the very clips of the reference (``paired``), the two sets are not independent: each
clip lies next to its own estimate, and every distance is small whatever the crowd does. Then p comes from swapping
estimate and recording within clips, the interval leaves clips out together with their estimates, and the value at the
size of the floor holds the estimates of one half against the recordings of the other, on the divisions of the floor.

What cannot be measured has a status and a reason. Repetitions that would take too long are left out, and that is said.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.sets import SET_METRICS, SetMetric, Undefined, definition_sha256, set_metric
from eval.sets.matrices import Floats, Marks, checked
from eval.stats import mean_interval

DEFAULT_PERMUTATIONS = 999
DEFAULT_SPLITS = 100
_CALLS = 199
_CALL_SPLITS = 30
_GROUPS = 20
_LEAST_PERMUTATIONS = 99
_WORK = 2e10
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Floor:
    """What the reference scores against itself.

    Attributes:
        mean: Mean over the random divisions; ``None`` where there is none.
        low: Value that 2.5 % of the divisions lie below.
        high: Value that 2.5 % of the divisions lie above.
        n_estimate: Clips on the side of the estimate.
        n_reference: Clips on the side of the reference; 0 for metrics without one.
        splits: Number of divisions.
        at_floor_size: Mean value of the estimate over as many random parts of just these sizes: the number to hold
            against the floor. ``None`` where there is none.
        reason: Why there is no floor.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n_estimate: int = 0
    n_reference: int = 0
    splits: int = 0
    at_floor_size: float | None = None
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class SetScore:
    """One metric of one pair of sets.

    Attributes:
        metric: Name of the metric.
        value: The number, finite; ``None`` unless ``status`` is ``"ok"``.
        status: ``"ok"``; ``"undefined"`` where sound sets have no value; ``"failed"`` where an input is broken;
            ``"skipped"`` where the metric does not apply.
        reason: Why there is no value.
        n_estimate: Clips of the estimate.
        n_reference: Clips of the reference.
        low: Lower end of the 95 % interval; ``None`` where there is none.
        high: Upper end.
        interval: How the interval was made, or why there is none.
        p_value: How often a random division of all clips is at least as bad; ``None`` where it was not found.
        permutations: Divisions that were tried.
        p_method: How p was found, or why not.
        floor: What the reference scores against itself; ``None`` where the metric has none.
        facts: What else the metric says, such as its bandwidth.
        seed: Seed of all draws.
    """

    metric: str
    value: float | None
    status: str
    reason: str | None
    n_estimate: int
    n_reference: int
    low: float | None = None
    high: float | None = None
    interval: str = ""
    p_value: float | None = None
    permutations: int = 0
    p_method: str = ""
    floor: Floor | None = None
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def as_row(self) -> dict[str, object]:
        """Everything as plain JSON values, with unit, direction and hash of the definition."""
        row = SET_METRICS[self.metric]
        return {
            "metric": self.metric,
            "unit": row.unit,
            "higher_is_better": row.higher_is_better,
            "definition_sha256": definition_sha256(self.metric),
            **{key: value for key, value in dataclasses.asdict(self).items() if key != "metric"},
        }


class Plan(Protocol):
    """A metric of two sets, ready for many divisions of their clips."""

    facts: Mapping[str, object]

    def many(self, estimate: Marks, reference: Marks) -> Floats:
        """Values, shape ``(divisions,)``, for marks of shape ``(clips, divisions)``."""


class _Calls:
    """A plan that calls the function once a division."""

    def __init__(self, row: SetMetric, pool: Floats, seed: int) -> None:
        self.function, self.pool = _resolve(row.target), pool
        self.arguments: dict[str, Any] = {**row.parameters, **({"seed": seed} if row.seeded else {})}
        self.facts: Mapping[str, object] = {}

    def many(self, estimate: Marks, reference: Marks) -> Floats:
        values = [
            self.function(self.pool[estimate[:, i]], self.pool[reference[:, i]], **self.arguments)
            for i in range(estimate.shape[1])
        ]
        return np.array(values)


@lru_cache(maxsize=64)
def _resolve(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def score_embeddings(
    name: str,
    estimate: Floats,
    reference: Floats,
    *,
    seed: int = 0,
    permutations: int = DEFAULT_PERMUTATIONS,
    splits: int = DEFAULT_SPLITS,
    paired: bool = False,
) -> SetScore:
    """Score the embeddings of two sets with one metric.

    Args:
        name: A metric of embeddings.
        estimate: Embeddings of the clips of a model, shape ``(n, d)``; the order of the clips does not matter.
        reference: Embeddings of recorded clips, shape ``(m, d)``.
        seed: Seed of all draws.
        permutations: Divisions for p; 0 leaves p out.
        splits: Divisions for the floor; 0 leaves it out.
        paired: Whether a row of ``estimate`` was made from the clip of the same row of ``reference``.

    Raises:
        InputError: If the metric is unknown.
    """
    row = set_metric(name)
    if row.input != "embeddings":
        raise ValueError(f"{name} is a metric of {row.input}, not of embeddings")
    made, wanted = np.asarray(estimate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    sizes = len(made), len(wanted)
    if paired and sizes[0] != sizes[1]:
        raise ValueError(f"{sizes[0]} estimates of {sizes[1]} clips; paired sets have one estimate a clip")
    if paired and row.work == "matrices":
        reason = "extrapolation supposes independent sets, and these estimates were made from the reference's clips"
        return SetScore(name, None, "skipped", reason, *sizes, seed=seed)
    try:
        made, wanted = checked(made, wanted)
        order = np.lexsort([*made.T[::-1], *wanted.T[::-1]]) if paired else None
        made, wanted = (_in_order(m) if order is None else m[order] for m in (made, wanted))
        plan = _plan(row, made, wanted, seed)
        first = (np.arange(sum(sizes)) < sizes[0])[:, None]
        value = float(plan.many(first, ~first)[0])
        facts = dict(plan.facts)
        if row.facts:
            seeded = {"seed": seed} if row.seeded else {}
            facts |= _resolve(row.facts)(made, wanted, **row.parameters, **seeded)
    except Undefined as error:
        return SetScore(name, None, "undefined", str(error), *sizes, seed=seed)
    except (ValueError, ArithmeticError) as error:
        return SetScore(name, None, "failed", " ".join(str(error).split()), *sizes, seed=seed)
    if not math.isfinite(value):
        return SetScore(name, None, "undefined", f"the value is {value}", *sizes, seed=seed)
    dimensions = made.shape[1]
    wished = permutations if row.plan else min(permutations, _CALLS)
    tries = affordable(row, *sizes, dimensions, wished)
    repeats = affordable(row, *sizes, dimensions, splits if row.plan else min(splits, _CALL_SPLITS))
    p_value, p_method = _permutation_p(row, plan, value, sizes, tries, wished, seed, paired)
    low, high, interval = _jackknife(row, plan, value, sizes, seed, paired)
    return SetScore(
        name,
        value,
        "ok",
        None,
        *sizes,
        low=low,
        high=high,
        interval=interval,
        p_value=p_value,
        permutations=tries,
        p_method=p_method,
        floor=_floor(plan, sizes, repeats, seed, paired) if splits else None,
        facts=facts,
        seed=seed,
    )


def _in_order(matrix: Floats) -> Floats:
    """Rows in an order that follows from their numbers alone."""
    return matrix[np.lexsort(matrix.T[::-1])]


def _plan(row: SetMetric, estimate: Floats, reference: Floats, seed: int) -> Plan:
    if not row.plan:
        return _Calls(row, np.concatenate([estimate, reference]), seed)
    made: Plan = _resolve(row.plan)(estimate, reference, {**row.parameters, "measure": row.name})
    return made


def affordable(row: SetMetric, n: int, m: int, dimensions: int, wished: int) -> int:
    """How many of the wished repetitions are done: a number that depends on nothing but the sizes."""
    clips = float(n + m)
    directions = min(dimensions, int(str(row.parameters.get("directions", dimensions))))
    matrix = 5.0 * directions**3 + clips * directions**2
    work = {
        "pairs": clips**2 / 4.0,
        "neighbours": 10.0 * clips**2,
        "cells": 5e3 * clips * dimensions,
        "matrix": matrix,
        "matrices": 200.0 * matrix,
    }[row.work]
    possible = min(wished, int(_WORK / work))
    return possible if possible >= min(wished, _LEAST_PERMUTATIONS) else 0


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])


def _divisions(generator: np.random.Generator, clips: int, first: int, second: int, times: int) -> tuple[Marks, Marks]:
    """Random disjoint parts of ``first`` and ``second`` clips, marks of shape ``(clips, times)``."""
    one, other = np.zeros((clips, times), dtype=bool), np.zeros((clips, times), dtype=bool)
    for i in range(times):
        order = generator.permutation(clips)
        one[order[:first], i] = True
        other[order[first : first + second], i] = True
    return one, other


def _swaps(generator: np.random.Generator, clips: int, times: int) -> tuple[Marks, Marks]:
    """Estimate and recording swapped in a random half of so many clips, marks of shape ``(2 * clips, times)``."""
    swapped = generator.random((clips, times)) < 0.5
    return np.concatenate([~swapped, swapped]), np.concatenate([swapped, ~swapped])


def _permutation_p(
    row: SetMetric,
    plan: Plan,
    value: float,
    sizes: tuple[int, int],
    tries: int,
    wished: int,
    seed: int,
    paired: bool = False,
) -> tuple[float | None, str]:
    if tries == 0:
        return None, "not asked for" if wished == 0 else "left out: too many clips or dimensions"
    generator = _generator(seed, 1)
    marks = _swaps(generator, sizes[0], tries) if paired else _divisions(generator, sum(sizes), *sizes, tries)
    first = (np.arange(sum(sizes)) < sizes[0])[:, None]
    try:
        # A statistic with something of the reference in it, as it is, would not treat all divisions alike.
        fair = getattr(plan, "exchangeable", None)
        if fair is not None:
            plan = fair()
            value = float(plan.many(first, ~first)[0])
        found = plan.many(*marks)
    except Undefined as error:
        return None, f"left out: {error}"
    margin = 1e-12 * max(1.0, abs(value))
    worse = found <= value + margin if row.higher_is_better else found >= value - margin
    return (1.0 + float(worse.sum())) / (1.0 + tries), _p_method(tries, paired)


def _p_method(tries: int, paired: bool) -> str:
    return f"{tries} random {'swaps within clips' if paired else 'divisions of all clips'}, one-sided"


def _jackknife(
    row: SetMetric, plan: Plan, value: float, sizes: tuple[int, int], seed: int, paired: bool = False
) -> tuple[float | None, float | None, str]:
    if not row.smooth:
        return None, None, "none: the value moves in steps"
    from scipy.special import stdtrit

    n, m = sizes
    generator = _generator(seed, 2)
    variance, freedom = 0.0, 0
    for start, length in ((0, n),) if paired else ((0, n), (n, m)):
        groups = min(_GROUPS, length)
        if groups < 2:
            return None, None, "none: too few clips"
        kept = np.ones((n + m, groups), dtype=bool)
        order = start + generator.permutation(length)
        for i in range(groups):
            kept[order[i::groups], i] = False
            if paired:
                kept[n + order[i::groups], i] = False
        first = (np.arange(n + m) < n)[:, None]
        try:
            values = plan.many(kept & first, kept & ~first)
        except Undefined as error:
            return None, None, f"none: {error}"
        variance += (groups - 1) / groups * float(((values - values.mean()) ** 2).sum())
        freedom += groups - 1
    reach = float(stdtrit(freedom, 0.5 + _LEVEL / 2)) * math.sqrt(variance)
    counted = f"{min(_GROUPS, n)}" if paired else f"{min(_GROUPS, n)} + {min(_GROUPS, m)}"
    return *_possible(row, value - reach, value + reach), f"jackknife over {counted} groups of clips"


def _possible(row: SetMetric, low: float, high: float) -> tuple[float, float]:
    """An interval without what lies outside the values that the metric can take."""
    least, largest = row.limits
    return max(low, least), min(high, largest)


def _floor(plan: Plan, sizes: tuple[int, int], splits: int, seed: int, paired: bool = False) -> Floor:
    n, m = sizes
    half = m // 2
    side = min(n, half)
    if splits == 0:
        return Floor(reason="left out: too many clips or dimensions")
    if side < 2:
        return Floor(reason=f"{m} reference clips make no two halves")
    generator = _generator(seed, 3)
    none = np.zeros((n, splits), dtype=bool)
    marks = _divisions(generator, m, side, half, splits)
    if paired:
        # The very divisions of the floor: estimates of one half, recordings of the other.
        first, second = marks
    else:
        first, _ = _divisions(generator, n, side, 0, splits)
        second, _ = _divisions(generator, m, half, 0, splits)
    empty = np.zeros((m, splits), dtype=bool)
    try:
        found = plan.many(*(np.concatenate([none, part]) for part in marks))
        ours = plan.many(np.concatenate([first, empty]), np.concatenate([none, second]))
    except Undefined as error:
        return Floor(n_estimate=side, n_reference=half, reason=str(error))
    low, high = np.quantile(found, [0.025, 0.975])
    return Floor(float(found.mean()), float(low), float(high), side, half, splits, float(ours.mean()))


def score_classes(
    name: str,
    estimate: Floats,
    reference: Floats | None = None,
    *,
    labels: Sequence[int] | NDArray[np.int64] | None = None,
    reference_labels: Sequence[int] | NDArray[np.int64] | None = None,
    seed: int = 0,
    permutations: int = DEFAULT_PERMUTATIONS,
    splits: int = DEFAULT_SPLITS,
    paired: bool = False,
) -> SetScore:
    """Score the answers of a classifier about a set.

    The floor is what the reference scores in random parts of at most the estimate's size, and p how often clips dealt
    to both sides at random leave the estimate as far behind the reference.

    Args:
        name: A metric of classes.
        estimate: Probabilities for the clips of a model, shape ``(n, classes)``.
        reference: Probabilities for recorded clips; none if not given.
        labels: Wanted class of every estimate, for metrics that compare with one.
        reference_labels: The same for the reference.
        seed: Seed of all draws.
        permutations: Divisions for p.
        splits: Parts of the reference for the floor.
        paired: Whether a row of ``estimate`` was made from the clip of the same row of ``reference``.

    Raises:
        InputError: If the metric is unknown.
    """
    row = set_metric(name)
    labelled = row.input == "labelled classes"
    if row.input != "classes" and not labelled:
        raise ValueError(f"{name} is a metric of {row.input}, not of classes")
    sizes = len(estimate), 0 if reference is None else len(reference)
    if labelled and labels is None:
        return SetScore(name, None, "skipped", "the clips have no labels", *sizes, seed=seed)
    function = _resolve(row.target)

    def measured(p: Floats, wanted: NDArray[np.int64] | None) -> float:
        arguments = (p, wanted) if labelled else (p,)
        return float(function(*arguments, **row.parameters))

    theirs = None
    if paired:
        if reference is None or sizes[0] != sizes[1]:
            raise ValueError(f"{sizes[0]} estimates of {sizes[1]} clips; paired sets have one estimate a clip")
        # Wanted classes are the same on both sides, so that the rows alone settle the order.
        estimate, reference = (np.asarray(p, dtype=np.float64) for p in (estimate, reference))
        order = np.lexsort([*estimate.T[::-1], *reference.T[::-1]])
        estimate, reference = estimate[order], reference[order]
        ours = None if labels is None or not labelled else np.asarray(labels)[order]
        theirs = None if reference_labels is None or not labelled else np.asarray(reference_labels)[order]
    else:
        estimate, ours = _in_class_order(estimate, labels if labelled else None)
        if reference is not None:
            reference, theirs = _in_class_order(reference, reference_labels if labelled else None)
    try:
        value = measured(estimate, ours)
    except Undefined as error:
        return SetScore(name, None, "undefined", str(error), *sizes, seed=seed)
    except ValueError as error:
        return SetScore(name, None, "failed", str(error), *sizes, seed=seed)
    low, high, interval = _class_interval(row, estimate, ours, measured, seed)
    score = SetScore(
        name, value, "ok", None, *sizes, low=low, high=high, interval=interval, p_method="no reference", seed=seed
    )
    if reference is None or (labelled and theirs is None):
        return score
    try:
        of_reference = measured(reference, theirs)
    except (Undefined, ValueError) as error:
        return dataclasses.replace(score, p_method=f"left out: {error}", floor=Floor(reason=str(error)))
    pool = np.concatenate([estimate, reference])
    both = None if ours is None or theirs is None else np.concatenate([ours, theirs])
    sign = 1.0 if row.higher_is_better else -1.0
    gap = sign * (value - of_reference)
    worse = 0
    generator = _generator(seed, 1)
    for _ in range(permutations):
        if paired:
            kept, other = (marks[:, 0] for marks in _swaps(generator, sizes[0], 1))
            parts = np.flatnonzero(kept), np.flatnonzero(other)
        else:
            order = generator.permutation(len(pool))
            parts = order[: sizes[0]], order[sizes[0] :]
        a, b = (measured(pool[part], None if both is None else both[part]) for part in parts)
        worse += sign * (a - b) <= gap + 1e-12
    generator = _generator(seed, 3)
    side = min(sizes)
    found = []
    for _ in range(splits):
        part = generator.permutation(sizes[1])[:side]
        found.append(measured(reference[part], None if theirs is None else theirs[part]))
    floor = None
    if found:
        ends = np.quantile(found, [0.025, 0.975])
        floor = Floor(float(np.mean(found)), float(ends[0]), float(ends[1]), side, 0, splits)
    return dataclasses.replace(
        score,
        p_value=(1.0 + worse) / (1.0 + permutations) if permutations else None,
        permutations=permutations,
        p_method=_p_method(permutations, paired) if permutations else "not asked for",
        floor=floor,
        facts={"reference_value": of_reference},
    )


def _in_class_order(
    p: Floats, labels: Sequence[int] | NDArray[np.int64] | None
) -> tuple[Floats, NDArray[np.int64] | None]:
    """Rows and labels in an order that follows from them alone; what does not fit is left to the metric to refuse."""
    p = np.asarray(p, dtype=np.float64)
    wanted = None if labels is None else np.asarray(labels)
    if p.ndim != 2 or (wanted is not None and wanted.shape != (len(p),)):
        return p, wanted
    order = np.lexsort([*p.T[::-1]] if wanted is None else [*p.T[::-1], wanted])
    return p[order], None if wanted is None else wanted[order]


def _class_interval(
    row: SetMetric, p: Floats, labels: NDArray[np.int64] | None, measured: Any, seed: int
) -> tuple[float | None, float | None, str]:
    """Bootstrap interval of a mean over clips, jackknife of what is none."""
    if not row.target.endswith(":inception_score"):
        rows = [measured(p[i : i + 1], None if labels is None else labels[i : i + 1]) for i in range(len(p))]
        found = mean_interval(rows, seed=seed)
        return found.low, found.high, found.method
    from scipy.special import stdtrit

    groups = min(_GROUPS, len(p))
    if groups < 3:
        return None, None, "none: too few clips"
    order = _generator(seed, 2).permutation(len(p))
    values = np.array([measured(np.delete(p, order[i::groups], axis=0), None) for i in range(groups)])
    deviation = math.sqrt((groups - 1) / groups * float(((values - values.mean()) ** 2).sum()))
    reach = float(stdtrit(groups - 1, 0.5 + _LEVEL / 2)) * deviation
    value = measured(p, None)
    return *_possible(row, value - reach, value + reach), f"jackknife over {groups} groups of clips"
