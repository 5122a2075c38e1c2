"""Ranks of several systems: how sure they are, which systems cannot be told apart, and a critical difference.

Everything here looks at the clips on which every system has a value.

Source:
    Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons", Journal of Computational and
    Graphical Statistics 13(2), 2004; Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7,
    2006.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from eval.stats.draws import Floats, drawn_sums, whole_numbers
from eval.stats.intervals import check_settings, holm

_EXACT_UNITS = 13


@dataclass(frozen=True)
class Ranking:
    """Ranks of systems by their means on the common clips, 1 the best.

    Attributes:
        names: Systems in the given order; the other fields follow it.
        means: Mean of each system.
        ranks: Rank of each system; systems with equal means share the mean of their ranks.
        low: Best rank in the interval; ``None`` where there is none.
        high: Worst rank in the interval.
        p_values: p of the sign-flip test of each pair ``(i, j)``, ``i < j``, Holm-corrected over the pairs.
        letters: Systems with a letter in common cannot be told apart; ``a`` is the group of the best.
        n: Number of common clips.
        units: Number of units that were drawn: clips, or groups where groups were given.
        alpha: Level of the tests behind the letters.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    ranks: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    p_values: Mapping[tuple[int, int], float]
    letters: tuple[str, ...]
    n: int
    units: int
    alpha: float


@dataclass(frozen=True)
class CriticalDifference:
    """What a critical-difference diagram shows.

    Attributes:
        names: Systems, best average rank first.
        average_ranks: Average rank of each over the blocks.
        critical_difference: Average ranks further apart than this differ (Nemenyi).
        statistic: Friedman's chi-squared, corrected for ties; ``None`` where all ranks are tied.
        p_value: Its p.
        blocks: Number of blocks: clips, or groups (by their mean) where groups were given.
        alpha: Level of the critical difference.
        bars: Runs of systems, as positions ``(first, last)``, within one critical difference.
    """

    names: tuple[str, ...]
    average_ranks: tuple[float, ...]
    critical_difference: float
    statistic: float | None
    p_value: float | None
    blocks: int
    alpha: float
    bars: tuple[tuple[int, int], ...]


Columns = Mapping[str, Sequence[float | None]]


def rankings(
    tables: Sequence[Columns],
    higher_is_better: Sequence[bool],
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    alpha: float = 0.05,
    resamples: int = 10_000,
    permutations: int = 10_000,
    seed: int,
    threads: int = 1,
) -> list[Ranking | None]:
    """Rank systems metric by metric, with the draws made once for all of them.

    Args:
        tables: One mapping a metric: system to its values in the order of the clips, ``None`` where there is none.
        higher_is_better: One entry a metric.
        groups: Group of each clip; whole groups are drawn and flipped then.
        level: Probability of the intervals of ranks (percentiles of the ranks under the bootstrap).
        alpha: Level of the tests that part systems into groups.
        resamples: Number of bootstrap draws.
        permutations: Number of random sign flips. With at most 13 units all flips are counted instead.
        seed: Seed of draws and flips.
        threads: How many threads work at it; no number depends on it.

    Returns:
        One ranking a metric; ``None`` where fewer than two systems have values or no clip has all of them.
        Systems without any value are left out.

    Raises:
        ValueError: If lengths differ, a value is not finite, or a setting is out of range.
    """
    check_settings(level, resamples)
    if not 0 < alpha < 1 or permutations < 1:
        raise ValueError(f"alpha is {alpha}, permutations {permutations}; between 0 and 1, and at least 1, are needed")
    if len(tables) != len(higher_is_better):
        raise ValueError(f"there are {len(tables)} tables and {len(higher_is_better)} directions")
    common = [_common(table, groups) for table in tables]
    kept = [index for index, found in enumerate(common) if found is not None]
    units = [_joint_units(*found[1:]) for found in common if found is not None]
    whole: list[Floats] = []
    flipped: list[Floats] = []
    steps: list[float] = []
    for sums, sizes in units:
        centred, step = _whole_with_one_unit(sums - sizes[:, None] * (sums.sum(axis=0) / sizes.sum()))
        whole.append(np.concatenate([centred, sizes[:, None]], axis=1))
        steps.append(step)
        flipped.append(_whole_with_one_unit(sums)[0])
    drawn = drawn_sums(whole, draws=resamples, seed=[seed, 3], kind="resample", threads=threads)
    many = [index for index, table in enumerate(flipped) if len(table) > _EXACT_UNITS]
    signs = dict(
        zip(
            many,
            drawn_sums([flipped[i] for i in many], draws=permutations, seed=[seed, 4], kind="flip", threads=threads),
            strict=True,
        )
    )
    results: list[Ranking | None] = [None] * len(tables)
    for position, index in enumerate(kept):
        found = common[index]
        assert found is not None
        names, values, _ = found
        sums, sizes = units[position]
        p_values = _pair_p_values(flipped[position], signs.get(position), permutations)
        means = sums.sum(axis=0) / sizes.sum()
        ranks = average_ranks(_signed(means, higher_is_better[index])[None])[0]
        low: tuple[float | None, ...] = (None,) * len(names)
        high = low
        if len(sizes) > 1:
            offsets = drawn[position][:, :-1] / drawn[position][:, -1:] * steps[position]
            under = average_ranks(_signed(means + offsets, higher_is_better[index]))
            low = tuple(np.quantile(under, (1 - level) / 2, axis=0, method="lower").tolist())
            high = tuple(np.quantile(under, (1 + level) / 2, axis=0, method="higher").tolist())
        apart = {pair for pair, p in p_values.items() if p < alpha}
        results[index] = Ranking(
            names=names,
            means=tuple(means.tolist()),
            ranks=tuple(ranks.tolist()),
            low=low,
            high=high,
            p_values=p_values,
            letters=tuple(letters(ranks.tolist(), apart)),
            n=values.shape[0],
            units=len(sizes),
            alpha=alpha,
        )
    return results


def letters(ranks: Sequence[float], apart: set[tuple[int, int]]) -> list[str]:
    """Compact letter display: systems share a letter unless they differ.

    Args:
        ranks: Rank of each system; letters go from the best on.
        apart: Pairs ``(i, j)``, ``i < j``, of systems that differ.

    >>> letters([1, 2, 3], {(0, 2)})
    ['a', 'ab', 'b']
    """
    sets = [frozenset(range(len(ranks)))]
    for first, second in sorted(apart):
        split: list[frozenset[int]] = []
        for held in sets:
            split += [held - {first}, held - {second}] if first in held and second in held else [held]
        sets = [held for held in dict.fromkeys(split) if not any(held < other for other in split)]
    sets.sort(key=lambda held: sorted((ranks[i], i) for i in held))
    return ["".join(_letter(number) for number, held in enumerate(sets) if i in held) for i in range(len(ranks))]


def average_ranks(values: Floats) -> Floats:
    """Ranks along the last axis, the smallest value 1, equal values sharing the mean of their ranks."""
    smaller = (values[..., None, :] < values[..., :, None]).sum(axis=-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(axis=-1)
    ranks: Floats = smaller + (equal + 1) / 2
    return ranks


def critical_difference(
    columns: Columns, *, higher_is_better: bool, groups: Sequence[Hashable] | None = None, alpha: float = 0.05
) -> CriticalDifference | None:
    """Friedman's test over blocks and Nemenyi's critical difference of average ranks.

    Args:
        columns: System to its values in the order of the clips, ``None`` where there is none.
        higher_is_better: Direction of the values.
        groups: Group of each clip. The blocks are the groups' means then, since clips of a group are not independent.
        alpha: Level.

    Returns:
        What a diagram shows; ``None`` for fewer than two systems with values or fewer than two blocks.

    Raises:
        ValueError: If lengths differ, a value is not finite, or ``alpha`` is out of range.
    """
    from scipy.special import chdtrc

    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it has to lie between 0 and 1")
    found = _common(columns, groups)
    if found is None:
        return None
    names, values, held = found
    if held is not None:
        members: dict[Hashable, list[int]] = {}
        for index, group in enumerate(held):
            members.setdefault(group, []).append(index)
        values = np.array(
            [[math.fsum(values[rows, k]) / len(rows) for k in range(len(names))] for rows in members.values()]
        )
    blocks, k = values.shape
    if blocks < 2:
        return None
    ranks = average_ranks(_signed(values, higher_is_better))
    average = ranks.mean(axis=0)
    spread = float(((ranks - (k + 1) / 2) ** 2).sum())
    statistic = p_value = None
    if spread > 0:
        # With ranks as they are, ties included, this equals the usual form with its correction for ties.
        statistic = float((k - 1) * blocks**2 * ((average - (k + 1) / 2) ** 2).sum() / spread)
        p_value = float(chdtrc(k - 1, statistic))
    width = _nemenyi(k, alpha) * math.sqrt(k * (k + 1) / (6 * blocks))
    order = sorted(range(k), key=lambda i: (average[i], i))
    sorted_ranks = [float(average[i]) for i in order]
    return CriticalDifference(
        names=tuple(names[i] for i in order),
        average_ranks=tuple(sorted_ranks),
        critical_difference=width,
        statistic=statistic,
        p_value=p_value,
        blocks=blocks,
        alpha=alpha,
        bars=tuple(_bars(sorted_ranks, width)),
    )


def _bars(ranks: Sequence[float], width: float) -> list[tuple[int, int]]:
    bars: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] <= width)
        if last > first and not (bars and bars[-1][1] >= last):
            bars.append((first, last))
    return bars


@cache
def _nemenyi(systems: int, alpha: float) -> float:
    """Quantile of the range of so many standard normal numbers, over the root of two."""
    from scipy.special import ndtr

    # The trapezium rule is exact to rounding for a smooth function that dies away at both ends.
    z = np.linspace(-9.0, 9.0, 721)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        below = systems * float((density * (ndtr(z) - ndtr(z - middle)) ** (systems - 1)).sum())
        low, high = (middle, high) if below < 1 - alpha else (low, middle)
    return high / math.sqrt(2)


def _letter(number: int) -> str:
    text = ""
    while number >= 0:
        number, rest = divmod(number, 26)
        text = chr(ord("a") + rest) + text
        number -= 1
    return text if len(text) == 1 else f"({text})"


def _signed(values: Floats, higher_is_better: bool) -> Floats:
    return -values if higher_is_better else values


def _common(
    columns: Columns, groups: Sequence[Hashable] | None
) -> tuple[tuple[str, ...], Floats, Sequence[Hashable] | None] | None:
    """Systems with values, their values on the clips that all of them have, and those clips' groups."""
    lengths = {len(column) for column in columns.values()} | (set() if groups is None else {len(groups)})
    if len(lengths) > 1:
        raise ValueError(f"columns and groups have lengths {', '.join(map(str, sorted(lengths)))}; one is needed")
    names = tuple(name for name, column in columns.items() if any(value is not None for value in column))
    if len(names) < 2:
        return None
    table = np.array([[math.nan if v is None else v for v in columns[name]] for name in names], dtype=np.float64).T
    absent = np.array([[v is None for v in columns[name]] for name in names]).T
    if not np.isfinite(table[~absent]).all():
        raise ValueError("values contain NaN or infinity; leave clips without a value out")
    rows = np.flatnonzero(~absent.any(axis=1))
    if rows.size == 0:
        return None
    return names, table[rows], None if groups is None else [groups[i] for i in rows.tolist()]


def _joint_units(values: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sums of every system and number of clips of each unit, in an order that does not depend on that of the input."""
    if groups is None:
        sums, sizes = values, np.ones(len(values))
    else:
        members: dict[Hashable, list[int]] = {}
        for index, group in enumerate(groups):
            members.setdefault(group, []).append(index)
        sums = np.array([[math.fsum(column) for column in values[rows].T] for rows in members.values()])
        sizes = np.array([float(len(rows)) for rows in members.values()])
    order = np.lexsort((sizes, *sums.T[::-1]))
    return sums[order], sizes[order]


def _whole_with_one_unit(sums: Floats) -> tuple[Floats, float]:
    """Whole numbers and their unit, one for all systems, so that their sums can be compared and subtracted."""
    largest = np.abs(sums).max(initial=0.0) or 1.0
    whole, unit = whole_numbers(np.concatenate([sums, np.full((1, sums.shape[1]), largest)]))
    return whole[:-1], float(unit[0])


def _pair_p_values(table: Floats, taken: Floats | None, permutations: int) -> dict[tuple[int, int], float]:
    units, systems = table.shape
    pairs = list(combinations(range(systems), 2))
    total = table.sum(axis=0)
    if taken is None:
        chosen = (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float64)
        taken, extra = chosen @ table, 0
    else:
        extra = 1
    raw = []
    for first, second in pairs:
        whole = total[first] - total[second]
        gaps = whole - 2 * (taken[:, first] - taken[:, second])
        # Sums that are equal but for the rounding to whole numbers count as equal.
        count = int((np.abs(gaps) >= abs(whole) - 2 * units).sum())
        raw.append((count + extra) / (len(taken) + extra))
    return dict(zip(pairs, holm(raw), strict=True))
