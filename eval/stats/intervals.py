"""Bootstrap intervals of means and of paired differences.

The interval is the bias-corrected and accelerated bootstrap (BCa). Where clips come in groups (an instrument, a work, a
speaker), whole groups are drawn, since clips of one group resemble each other and an interval that took them as
independent would be too narrow. What cannot be estimated is ``None``: no interval is made up for one clip, one group or
values without spread. With few units (below about 15) every bootstrap interval is too narrow; ``n`` stands beside it.

Everything is seeded, and the order of the values does not matter.

Source:
    Efron, "Better bootstrap confidence intervals", JASA 82(397), 1987.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from eval.stats.draws import Floats, drawn_sums, whole_numbers

_NORMAL = NormalDist()
_EXACT_UNITS = 13


@dataclass(frozen=True)
class Interval:
    """A mean and how well it is known.

    Attributes:
        mean: Mean over all values; ``None`` without values.
        median: Median over all values; ``None`` without values.
        low: Lower end of the interval of the mean; ``None`` where there is none.
        high: Upper end; ``None`` where there is none.
        n: Number of values.
        method: How the interval was made, or why there is none, in words.
        level: Probability the interval is made for.
        resamples: Number of bootstrap draws; 0 where there is no interval.
        seed: Seed of the draws.
        units: Number of units that were drawn: values, or groups where groups were given.
    """

    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    level: float = 0.95
    resamples: int = 0
    seed: int = 0
    units: int = 0


@dataclass(frozen=True)
class Difference(Interval):
    """Mean of ``a − b`` over the pairs in which both have a value.

    Attributes:
        dropped: Pairs left out because a value was missing.
        p_value: Two-sided p of the sign-flip permutation test of "no difference"; ``None`` without pairs.
        p_method: ``"exact"`` or the number of random flips, in words.
    """

    dropped: int = 0
    p_value: float | None = None
    p_method: str = ""


def mean_interval(
    values: Sequence[float] | Floats,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Mean of ``values`` with a BCa bootstrap interval.

    Args:
        values: Finite numbers, one per clip.
        level: Probability that the interval should cover the true mean.
        resamples: Number of bootstrap draws.
        seed: Seed of the draws.
        groups: Group of each value. Whole groups are drawn then, and the mean is still that over clips.

    Returns:
        The interval. ``low`` and ``high`` are ``None`` for fewer than two units or values without spread.

    Raises:
        ValueError: If a value is not finite, the lengths differ, or ``level`` or ``resamples`` is out of range.
    """
    return mean_intervals([values], level=level, resamples=resamples, seed=seed, groups=[groups])[0]


def mean_intervals(
    columns: Sequence[Sequence[float] | Floats],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int,
    groups: Sequence[Sequence[Hashable] | None] | None = None,
    threads: int = 1,
) -> list[Interval]:
    """What :func:`mean_interval` says of each of many columns, with the draws made once for all of them.

    Args:
        columns: Finite numbers, one sequence a metric and system; lengths may differ.
        level: Probability that an interval should cover the true mean.
        resamples: Number of bootstrap draws.
        seed: Seed of the draws.
        groups: For each column the group of each value, or ``None``.
        threads: How many threads work at it; no number depends on it.

    Returns:
        One interval a column, the same to the last bit as one call a column.

    Raises:
        ValueError: As :func:`mean_interval`.
    """
    check_settings(level, resamples)
    held = [None] * len(columns) if groups is None else list(groups)
    if len(held) != len(columns):
        raise ValueError(f"there are {len(columns)} columns and {len(held)} sequences of groups")
    numbers = [finite_numbers(column) for column in columns]
    made = [_units(column, group) if column.size else _NOTHING for column, group in zip(numbers, held, strict=True)]
    spans = _bca(made, level, resamples, seed, [group is not None for group in held], threads)
    return [
        _interval(column, units, span, level, resamples, seed)
        for column, units, span in zip(numbers, made, spans, strict=True)
    ]


def paired_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    permutations: int = 10_000,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> Difference:
    """Mean of ``a − b`` over clips that both systems have a value for, with interval and permutation test.

    Args:
        a: Values of one system, in the order of the clips; ``None`` where there is none.
        b: Values of the other, in the same order.
        level: Probability that the interval should cover the true difference.
        resamples: Number of bootstrap draws.
        permutations: Number of random sign flips. With at most 13 units all flips are counted instead.
        seed: Seed of draws and flips.
        groups: Group of each clip; whole groups are drawn and flipped then.

    Returns:
        The difference. The test asks how often flipping the signs of the differences at random gives a mean at least
        as far from zero; its p is never 0.

    Raises:
        ValueError: As :func:`mean_interval`, or if ``a`` and ``b`` differ in length.
    """
    return paired_differences(
        [(a, b)], level=level, resamples=resamples, permutations=permutations, seed=seed, groups=groups
    )[0]


def paired_differences(
    pairs: Sequence[tuple[Sequence[float | None], Sequence[float | None]]],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    permutations: int = 10_000,
    seed: int,
    groups: Sequence[Hashable] | None = None,
    threads: int = 1,
) -> list[Difference]:
    """What :func:`paired_difference` says of each of many pairs of columns over the same clips.

    Args:
        pairs: ``a`` and ``b`` of each difference.
        level: Probability that an interval should cover the true difference.
        resamples: Number of bootstrap draws.
        permutations: Number of random sign flips.
        seed: Seed of draws and flips.
        groups: Group of each clip.
        threads: How many threads work at it; no number depends on it.

    Returns:
        One difference a pair, the same to the last bit as one call a pair.

    Raises:
        ValueError: As :func:`paired_difference`.
    """
    check_settings(level, resamples)
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; at least 1 is needed")
    gaps: list[Floats] = []
    held: list[Sequence[Hashable] | None] = []
    dropped: list[int] = []
    for a, b in pairs:
        if len(a) != len(b) or (groups is not None and len(groups) != len(a)):
            raise ValueError(
                f"a has {len(a)} values, b {len(b)}" + ("" if groups is None else f", groups {len(groups)}")
            )
        kept = [index for index, (x, y) in enumerate(zip(a, b, strict=True)) if x is not None and y is not None]
        left, right = (finite_numbers([column[i] for i in kept]) for column in (a, b))  # type: ignore[misc]
        gaps.append(left - right)
        held.append(None if groups is None else [groups[i] for i in kept])
        dropped.append(len(a) - len(kept))
    made = [_units(column, group) if column.size else _NOTHING for column, group in zip(gaps, held, strict=True)]
    spans = _bca(made, level, resamples, seed, [groups is not None] * len(made), threads)
    tests = _sign_flips([sums for sums, _ in made], permutations, seed, threads)
    found = []
    for column, units, span, test, lost in zip(gaps, made, spans, tests, dropped, strict=True):
        interval = _interval(column, units, span, level, resamples, seed)
        found.append(
            Difference(
                **{name: getattr(interval, name) for name in Interval.__dataclass_fields__},
                dropped=lost,
                p_value=test[0],
                p_method=test[1],
            )
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of several p-values, in the given order.

    Rejecting where the corrected value is below ``α`` keeps the chance of any false rejection below ``α``.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def check_settings(level: float, resamples: int) -> None:
    """Raise ``ValueError`` unless a level is a probability and there is at least one draw."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it has to lie between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed")


def finite_numbers(values: Sequence[float] | Floats) -> Floats:
    """Values as a float64 array; ``ValueError`` unless they have one axis and all are finite."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"values have shape {numbers.shape}; one axis is needed")
    if not np.isfinite(numbers).all():
        raise ValueError("values contain NaN or infinity; leave clips without a value out")
    return numbers


_Units = tuple[Floats, Floats]
_Span = tuple[float | None, float | None, str]
_NOTHING: _Units = (np.empty(0), np.empty(0))


def _units(numbers: Floats, groups: Sequence[Hashable] | None) -> _Units:
    """Sum and number of values of each unit that is drawn, in an order that does not depend on that of the input."""
    if groups is None:
        return np.sort(numbers), np.ones(numbers.size)
    if len(groups) != numbers.size:
        raise ValueError(f"there are {numbers.size} values and {len(groups)} groups")
    members: dict[Hashable, list[float]] = {}
    for group, value in zip(groups, numbers.tolist(), strict=True):
        members.setdefault(group, []).append(value)
    units = sorted((math.fsum(held), float(len(held))) for held in members.values())
    return np.array([unit[0] for unit in units]), np.array([unit[1] for unit in units])


def _interval(numbers: Floats, units: _Units, span: _Span, level: float, resamples: int, seed: int) -> Interval:
    if numbers.size == 0:
        return Interval(None, None, None, None, 0, "no values", level, 0, seed, 0)
    low, high, method = span
    return Interval(
        mean=math.fsum(numbers) / numbers.size,
        median=float(np.median(numbers)),
        low=low,
        high=high,
        n=numbers.size,
        method=method,
        level=level,
        resamples=0 if low is None else resamples,
        seed=seed,
        units=units[0].size,
    )


def _bca(
    columns: Sequence[_Units], level: float, resamples: int, seed: int, grouped: Sequence[bool], threads: int
) -> list[_Span]:
    """Ends and method of the interval of the mean of each column of units."""
    spans: list[_Span] = [(None, None, "no values")] * len(columns)
    tables: list[Floats] = []
    rest: list[tuple[int, float, float, Floats, Floats]] = []
    for index, (sums, sizes) in enumerate(columns):
        noun = "group" if grouped[index] else "value"
        if sums.size < 2:
            spans[index] = (None, None, f"no interval: only one {noun}")
            continue
        mean = sums.sum() / sizes.sum()
        left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
        spread, acceleration = jackknife(left_out)
        # Equal values leave rounding errors behind, which are no spread.
        if spread <= 1e-14 * max(abs(mean), np.abs(sums / sizes).max()):
            spans[index] = (None, None, f"no interval: all {noun}s are equal")
            continue
        whole, unit = whole_numbers((sums - mean * sizes)[:, None])
        even = bool((sizes == sizes[0]).all())
        tables.append(whole if even else np.concatenate([whole, sizes[:, None]], axis=1))
        rest.append((index, mean, acceleration, unit, sizes))
    for (index, mean, acceleration, unit, sizes), sums, table in zip(
        rest, drawn_sums(tables, draws=resamples, seed=seed, kind="resample", threads=threads), tables, strict=True
    ):
        weight = sums[:, 1] if sums.shape[1] == 2 else sizes.sum()
        offsets = sums[:, 0] / weight
        centre = table[:, 0].sum() / sizes.sum()
        # Draws that give the mean itself but for the rounding to whole numbers count as equal to it.
        offsets[np.abs(offsets - centre) <= len(table) / np.min(weight)] = centre
        noun = "group" if grouped[index] else "value"
        low, high, name = bca_ends(offsets, centre, acceleration, level)
        ends = mean + np.array([low, high]) * unit[0]
        spans[index] = (float(ends[0]), float(ends[1]), f"{name.format(noun=noun)}")
    return spans


def jackknife(left_out: Floats) -> tuple[float, float]:
    """Spread and acceleration of a statistic, from its values without each unit in turn."""
    deviations = left_out.mean() - left_out
    largest = float(np.abs(deviations).max())
    if largest == 0:
        return 0.0, 0.0
    # Relative to the largest, so that no power of a very small or large number is lost.
    deviations = deviations / largest
    squares = float((deviations**2).sum())
    return largest * math.sqrt(squares), float((deviations**3).sum()) / (6 * squares**1.5)


def bca_ends(draws: Floats, observed: float, acceleration: float, level: float) -> tuple[float, float, str]:
    """Ends of a BCa interval from draws of a statistic, and the method's name with ``{noun}`` for what was drawn.

    Args:
        draws: Values of the statistic under the draws.
        observed: Its value on the data.
        acceleration: Skewness of the jackknife values over six.
        level: Probability the interval is made for.
    """
    below = ((draws < observed).sum() + (draws <= observed).sum()) / (2 * draws.size)
    tails = ((1 - level) / 2, (1 + level) / 2)
    name = "BCa bootstrap over {noun}s"
    if 0 < below < 1:
        bias = _NORMAL.inv_cdf(float(below))
        shifted = [bias + _NORMAL.inv_cdf(tail) for tail in tails]
        tails = (
            _NORMAL.cdf(bias + shifted[0] / (1 - acceleration * shifted[0])),
            _NORMAL.cdf(bias + shifted[1] / (1 - acceleration * shifted[1])),
        )
    else:
        name = "percentile bootstrap over {noun}s (the bias of BCa is infinite)"
    low, high = np.quantile(draws, tails)
    return float(low), float(high), name


def _sign_flips(
    columns: Sequence[Floats], permutations: int, seed: int, threads: int
) -> list[tuple[float | None, str]]:
    """Two-sided p of the sign-flip test of each column of units, and how it was found."""
    tests: list[tuple[float | None, str]] = [(None, "no pairs")] * len(columns)
    many = [index for index, sums in enumerate(columns) if sums.size > _EXACT_UNITS]
    for index, sums in enumerate(columns):
        if 0 < sums.size <= _EXACT_UNITS:
            observed = abs(sums.sum()) * (1 - 1e-12)
            signs = 1 - 2 * (np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1)
            count = int((np.abs((signs * sums).sum(axis=1)) >= observed).sum())
            tests[index] = count / len(signs), f"exact sign-flip test, {len(signs)} flips"
    tables = [whole_numbers(columns[index][:, None])[0] for index in many]
    turned = drawn_sums(tables, draws=permutations, seed=[seed, 1], kind="flip", threads=threads)
    for index, table, sums in zip(many, tables, turned, strict=True):
        total = table.sum()
        # Sums that are equal but for the rounding to whole numbers count as equal.
        count = int((np.abs(total - 2 * sums[:, 0]) >= abs(total) - len(table)).sum())
        tests[index] = (count + 1) / (permutations + 1), f"sign-flip test, {permutations} random flips"
    return tests
