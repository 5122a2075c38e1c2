"""Bootstrap intervals of medians and other quantiles, of values alone or in groups.

A quantile is that of NumPy's default: linear between the two values beside position ``q · (n − 1)``. The interval is
BCa as for means. Without groups no values are drawn: where the k-th smallest of n draws with replacement lies is known
(``⌊n · U⌋`` with ``U`` from a beta distribution), so that one draw costs two numbers instead of n. With groups whole
groups are drawn and each draw's quantile is found from counts of values below a few cuts.

Source:
    Efron, "Better bootstrap confidence intervals", JASA 82(397), 1987; David and Nagaraja, "Order Statistics", 2003.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.stats.draws import Floats, counted, resampled_positions
from eval.stats.intervals import bca_ends, check_settings, finite_numbers, jackknife

Integers = NDArray[np.int64]
_ROWS = 1 << 18

# Standard deviations of a draw's quantile, in places, up to which the cuts stand close together.
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class QuantileInterval:
    """A quantile and how well it is known.

    Attributes:
        value: The quantile of all values; ``None`` without values.
        low: Lower end; ``None`` where there is none.
        high: Upper end; ``None`` where there is none.
        q: Which quantile, 0.5 for the median.
        n: Number of values.
        units: Number of units that were drawn: values, or groups where groups were given.
        method: How the interval was made, or why there is none, in words.
        level: Probability the interval is made for.
        resamples: Number of bootstrap draws; 0 where there is no interval.
        seed: Seed of the draws.
    """

    value: float | None
    low: float | None
    high: float | None
    q: float
    n: int
    units: int
    method: str
    level: float = 0.95
    resamples: int = 0
    seed: int = 0


def quantile_interval(
    values: Sequence[float] | Floats,
    q: float = 0.5,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> QuantileInterval:
    """Quantile of ``values`` with a BCa bootstrap interval.

    Args:
        values: Finite numbers, one per clip.
        q: Which quantile, strictly between 0 and 1.
        level: Probability that the interval should cover the true quantile.
        resamples: Number of bootstrap draws.
        seed: Seed of the draws.
        groups: Group of each value. Whole groups are drawn then, and the quantile is still that over clips.

    Returns:
        The interval. ``low`` and ``high`` are ``None`` for fewer than two units or values without spread.

    Raises:
        ValueError: If a value is not finite, the lengths differ, or ``q``, ``level`` or ``resamples`` is out of range.
    """
    return quantile_intervals([values], q, level=level, resamples=resamples, seed=seed, groups=[groups])[0]


def quantile_intervals(
    columns: Sequence[Sequence[float] | Floats],
    q: float = 0.5,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int,
    groups: Sequence[Sequence[Hashable] | None] | None = None,
    threads: int = 1,
) -> list[QuantileInterval]:
    """What :func:`quantile_interval` says of each of many columns; no number depends on ``threads``."""
    check_settings(level, resamples)
    if not 0 < q < 1:
        raise ValueError(f"q is {q}; it has to lie between 0 and 1")
    held = [None] * len(columns) if groups is None else list(groups)
    if len(held) != len(columns):
        raise ValueError(f"there are {len(columns)} columns and {len(held)} sequences of groups")

    numbers = [finite_numbers(column) for column in columns]
    ready = [_sorted(column, group) for column, group in zip(numbers, held, strict=True)]
    drawn: dict[int, tuple[Floats, Floats]] = {}
    by_units: dict[int, list[int]] = {}
    for index, (ordered, units) in enumerate(ready):
        if units is not None and _has_spread(ordered, units):
            by_units.setdefault(int(units.max()) + 1, []).append(index)
    for count, members in by_units.items():
        cuts = [_Cuts(ready[index][0], ready[index][1], count, q) for index in members]  # type: ignore[arg-type]
        found = _grouped(cuts, count, q, resamples, seed, threads)
        drawn |= dict(zip(members, found, strict=True))

    def one(index: int) -> QuantileInterval:
        return _one(*ready[index], q, drawn.get(index), level, resamples, seed)

    if threads <= 1 or len(columns) < 2:
        return [one(index) for index in range(len(columns))]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(columns))))


def _has_spread(ordered: Floats, units: Integers | None) -> bool:
    many = ordered.size > 1 if units is None else units.size > 0 and int(units.max()) > 0
    return many and bool(ordered[0] != ordered[-1])


def _one(
    ordered: Floats,
    units: Integers | None,
    q: float,
    grouped: tuple[Floats, Floats] | None,
    level: float,
    resamples: int,
    seed: int,
) -> QuantileInterval:
    if ordered.size == 0:
        return QuantileInterval(None, None, None, q, 0, 0, "no values", level, 0, seed)
    noun = "value" if units is None else "group"
    count = ordered.size if units is None else int(units.max()) + 1
    value = float(np.quantile(ordered, q))
    low = high = None
    if count < 2:
        method = f"no interval: only one {noun}"
    elif not _has_spread(ordered, units):
        method = "no interval: all values are equal"
    else:
        draws, left_out = _plain(ordered, q, resamples, seed) if grouped is None else grouped
        # A quantile that no single unit moves has no skewness that could be estimated, and gets an acceleration of 0.
        _, acceleration = jackknife(left_out)
        low, high, name = bca_ends(draws, value, acceleration, level)
        method = name.format(noun=noun)
    made = 0 if low is None else resamples
    return QuantileInterval(value, low, high, q, ordered.size, count, method, level, made, seed)


def _sorted(numbers: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Integers | None]:
    """Values in order, and for each the number of its group, neither of which depends on the order of the input."""
    if groups is None:
        return np.sort(numbers), None
    if len(groups) != numbers.size:
        raise ValueError(f"there are {numbers.size} values and {len(groups)} groups")
    if not numbers.size:
        return numbers, np.empty(0, dtype=np.int64)
    members: dict[Hashable, list[float]] = {}
    for group, value in zip(groups, numbers.tolist(), strict=True):
        members.setdefault(group, []).append(value)
    ranked = sorted(sorted(held) for held in members.values())
    values = np.concatenate([np.asarray(held) for held in ranked])
    units = np.repeat(np.arange(len(ranked)), [len(held) for held in ranked])
    order = np.lexsort((units, values))
    return values[order], units[order]


def _between(lower: Floats, upper: Floats, share: Floats | float) -> Floats:
    # As NumPy does it, from the nearer end, so that a draw of the data itself gives the data's quantile to the bit.
    gap = upper - lower
    return np.where(np.asarray(share) >= 0.5, upper - gap * (1 - share), lower + gap * share)


def _plain(ordered: Floats, q: float, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Quantiles of draws and of all values but one."""
    n = ordered.size
    position = q * (n - 1)
    k = int(np.floor(position))
    generator = np.random.default_rng([seed, 2])
    first = generator.beta(k + 1, n - k, size=resamples)
    # The next of the n − k − 1 draws above the k-th smallest is the least of so many uniform numbers above it.
    second = first
    if k + 1 < n:
        second = first + (1 - first) * -np.expm1(np.log1p(-generator.random(resamples)) / (n - k - 1))
    lower, upper = (ordered[np.minimum((n * u).astype(np.int64), n - 1)] for u in (first, second))
    draws = _between(lower, upper, position - k)
    position = q * (n - 2)
    k = int(np.floor(position))
    out = np.arange(n)
    lower = ordered[k + (out <= k)]
    upper = ordered[np.minimum(k + 1 + (out <= k + 1), n - 1)]
    return draws, _between(lower, upper, position - k)


def _grouped(
    columns: Sequence[_Cuts], count: int, q: float, resamples: int, seed: int, threads: int
) -> list[tuple[Floats, Floats]]:
    """Quantiles of draws of groups and of all groups but one, for columns with one number of groups."""
    draws = [np.empty(resamples) for _ in columns]
    left_out = [np.empty(count) for _ in columns]
    dtype = np.float32 if all(cuts.dtype is np.float32 for cuts in columns) else np.float64
    rows = max(1, _ROWS // count)

    def fill(targets: Sequence[Floats], weights: NDArray[np.floating]) -> None:
        for cuts, target in zip(columns, targets, strict=True):
            target[:] = cuts.quantile(weights, q)

    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[None]] = deque()
        for start, drawn in resampled_positions(count, resamples, [seed, 2]):
            for first in range(0, len(drawn), rows):
                weights = counted(drawn[first : first + rows], count, dtype)
                place = slice(start + first, start + first + len(weights))
                running.append(pool.submit(fill, [held[place] for held in draws], weights))
                if len(running) > threads:
                    running.popleft().result()
        for first in range(0, count, rows):
            weights = np.ones((min(rows, count - first), count), dtype=dtype)
            weights[np.arange(len(weights)), first + np.arange(len(weights))] = 0
            place = slice(first, first + len(weights))
            running.append(pool.submit(fill, [held[place] for held in left_out], weights))
        for future in running:
            future.result()
    return list(zip(draws, left_out, strict=True))


class _Cuts:
    """Finds quantiles of weighted values: first between which cuts they lie, then at which value.

    All counts are whole numbers, exact in the type that the products are made in. The cuts stand close together where
    nearly all draws have their quantile, and the long ends before and after are one block each.
    """

    def __init__(self, ordered: Floats, units: Integers, count: int, q: float) -> None:
        self.ordered = ordered
        self.units = units
        n = ordered.size
        sizes = np.bincount(units, minlength=count)
        self.dtype: type = np.float32 if int(sizes.max()) * count < 2**24 else np.float64
        middle = int(q * (n - 1))
        below = np.bincount(units[: middle + 1], minlength=count)
        reach = int(_DEVIATIONS * np.sqrt(((below - q * sizes) ** 2).sum())) + 1
        first, last = max(0, middle - reach), min(n, middle + reach + 1)
        self.width = max(1, int(np.sqrt((last - first) / 2)))
        last -= (last - first) % self.width
        self.first = int(first > 0)
        self.edges = np.unique(np.concatenate([[0], np.arange(first, last + 1, self.width), [n]]))
        self.even = (last - first) // self.width
        blocks = np.zeros((count, self.edges.size - 1), dtype=self.dtype)
        np.add.at(blocks, (units, np.repeat(np.arange(self.edges.size - 1), np.diff(self.edges))), 1)
        self.blocks = blocks

    def quantile(self, weights: NDArray[np.floating], q: float) -> Floats:
        """Quantile of every row's values, a value being there as often as its unit's weight says."""
        below = np.cumsum(weights @ self.blocks, axis=1)
        position = q * (below[:, -1].astype(np.float64) - 1)
        lower = np.floor(position)
        first, second = self._at(weights, below, lower)
        return _between(first, np.where(position > lower, second, first), position - lower)

    def _at(self, weights: NDArray[np.floating], below: NDArray[np.floating], place: Floats) -> tuple[Floats, Floats]:
        """Values at a place and at the one after it (at the last place itself where there is none)."""
        first = np.empty(len(weights))
        second = np.empty(len(weights))
        block = (below <= place[:, None]).sum(axis=1)
        inner = (block >= self.first) & (block < self.first + self.even)
        late: list[NDArray[np.int64]] = []
        # The even blocks at once, the ends one after the other.
        for rows in (np.flatnonzero(inner), *(np.flatnonzero(block == end) for end in np.unique(block[~inner]))):
            if not rows.size:
                continue
            starts = self.edges[block[rows]]
            width = int(self.edges[block[rows[0]] + 1] - starts[0])
            inside = np.cumsum(weights[rows[:, None], self.units[starts[:, None] + np.arange(width)]], axis=1)
            before = np.where(block[rows] > 0, below[rows, block[rows] - 1], 0).astype(np.float64)
            wanted = (place[rows] - before)[:, None]
            first[rows] = self.ordered[starts + (inside <= wanted).sum(axis=1)]
            after = (inside <= wanted + 1).sum(axis=1)
            second[rows] = self.ordered[starts + np.minimum(after, width - 1)]
            late.append(rows[after == width])
        beyond = np.concatenate(late)
        # The next value lies in another block, or there is none.
        beyond = beyond[place[beyond] + 1 < below[beyond, -1]]
        if beyond.size:
            second[beyond] = self._at(weights[beyond], below[beyond], place[beyond] + 1)[0]
        return first, second
