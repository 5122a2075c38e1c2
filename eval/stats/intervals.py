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
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NORMAL = NormalDist()
_CHUNK = 1 << 20
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
    _check(level, resamples)
    numbers = _numbers(values)
    if numbers.size == 0:
        return Interval(None, None, None, None, 0, "no values", level, 0, seed, 0)
    sums, sizes = _units(numbers, groups)
    low, high, method = _bca(sums, sizes, level, resamples, seed, grouped=groups is not None)
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
        units=sums.size,
    )


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
    _check(level, resamples)
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; at least 1 is needed")
    if len(a) != len(b) or (groups is not None and len(groups) != len(a)):
        raise ValueError(f"a has {len(a)} values, b {len(b)}" + ("" if groups is None else f", groups {len(groups)}"))
    kept = [index for index, (x, y) in enumerate(zip(a, b, strict=True)) if x is not None and y is not None]
    left = _numbers([value for value in (a[i] for i in kept) if value is not None])
    right = _numbers([value for value in (b[i] for i in kept) if value is not None])
    gaps = left - right
    kept_groups = None if groups is None else [groups[i] for i in kept]
    interval = mean_interval(gaps, level=level, resamples=resamples, seed=seed, groups=kept_groups)
    p_value, p_method = None, "no pairs"
    if gaps.size:
        p_value, p_method = _sign_flip(_units(gaps, kept_groups)[0], permutations, seed)
    return Difference(
        **{name: getattr(interval, name) for name in Interval.__dataclass_fields__},
        dropped=len(a) - len(kept),
        p_value=p_value,
        p_method=p_method,
    )


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


def _check(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it has to lie between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed")


def _numbers(values: Sequence[float] | Floats) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"values have shape {numbers.shape}; one axis is needed")
    if not np.isfinite(numbers).all():
        raise ValueError("values contain NaN or infinity; leave clips without a value out")
    return numbers


def _units(numbers: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
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


def _bca(
    sums: Floats, sizes: Floats, level: float, resamples: int, seed: int, *, grouped: bool
) -> tuple[float | None, float | None, str]:
    noun = "group" if grouped else "value"
    if sums.size < 2:
        return None, None, f"no interval: only one {noun}"
    mean = sums.sum() / sizes.sum()
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    deviations = left_out.mean() - left_out
    spread = float((deviations**2).sum())
    # Equal values leave rounding errors behind, which are no spread.
    if spread <= (1e-14 * max(abs(mean), np.abs(sums / sizes).max())) ** 2:
        return None, None, f"no interval: all {noun}s are equal"
    draws = _draw_means(sums, sizes, resamples, seed)
    below = ((draws < mean).sum() + (draws <= mean).sum()) / (2 * resamples)
    tails = ((1 - level) / 2, (1 + level) / 2)
    method = f"BCa bootstrap over {noun}s"
    if 0 < below < 1:
        bias = _NORMAL.inv_cdf(float(below))
        acceleration = float((deviations**3).sum()) / (6 * spread**1.5)
        shifted = [bias + _NORMAL.inv_cdf(tail) for tail in tails]
        tails = (
            _NORMAL.cdf(bias + shifted[0] / (1 - acceleration * shifted[0])),
            _NORMAL.cdf(bias + shifted[1] / (1 - acceleration * shifted[1])),
        )
    else:
        method = f"percentile bootstrap over {noun}s (the bias of BCa is infinite)"
    low, high = np.quantile(draws, tails)
    return float(low), float(high), method


def _draw_means(sums: Floats, sizes: Floats, resamples: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // sums.size)
    equal = bool((sizes == sizes[0]).all())
    means = np.empty(resamples)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(0, sums.size, size=(stop - start, sums.size), dtype=np.int32)
        total = sums.take(drawn).sum(axis=1)
        weight = sizes[0] * sums.size if equal else sizes.take(drawn).sum(axis=1)
        means[start:stop] = total / weight
    return means


def _sign_flip(sums: Floats, permutations: int, seed: int) -> tuple[float, str]:
    observed = abs(sums.sum()) * (1 - 1e-12)
    if sums.size <= _EXACT_UNITS:
        signs = 1 - 2 * (np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1)
        count = int((np.abs((signs * sums).sum(axis=1)) >= observed).sum())
        return count / len(signs), f"exact sign-flip test, {len(signs)} flips"
    generator = np.random.default_rng([seed, 1])
    rows = max(1, _CHUNK // sums.size)
    count = 0
    for start in range(0, permutations, rows):
        stop = min(start + rows, permutations)
        flips = generator.integers(0, 2, size=(stop - start, sums.size), dtype=np.int8)
        count += int((np.abs(sums.sum() - 2 * np.where(flips, sums, 0.0).sum(axis=1)) >= observed).sum())
    return (count + 1) / (permutations + 1), f"sign-flip test, {permutations} random flips"
