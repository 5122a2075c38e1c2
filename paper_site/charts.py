"""Where to draw means and intervals: positions on a common scale, so that a template only has to place marks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from paper_site.filters import fixed, number
from paper_site.manifest import Aggregate, CriticalDifference, Difference, Metric, Results

WIDTH = 1000.0


@dataclass(frozen=True)
class Mark:
    """One row of a chart; positions run from 0 to `WIDTH`, None where there is nothing to draw."""

    category: str
    title: str
    mean: float | None
    low: float | None
    high: float | None
    row: Aggregate | Difference | None


@dataclass(frozen=True)
class Chart:
    """Rows on one scale with its labelled ticks."""

    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None


def nice_ticks(low: float, high: float, wanted: int = 3, least: float = 0.0) -> list[float]:
    """Choose round numbers that span a range, no two nearer than ``least``.

    >>> nice_ticks(0.12, 0.93)
    [0.0, 0.5, 1.0]
    >>> nice_ticks(1, 3, 5, least=1.0)
    [1.0, 2.0, 3.0]
    """
    if not high > low:
        low, high = low - 0.5, high + 0.5
    rough = max((high - low) / wanted, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_texts(ticks: list[float]) -> list[str]:
    """Print ticks with the decimals that tell them apart.

    >>> tick_texts([0.0, 2.5, 5.0])
    ['0.0', '2.5', '5.0']
    """
    step = ticks[1] - ticks[0]
    decimals = max(0, min(6, -math.floor(math.log10(step) + 1e-9)))
    if round(step, decimals) != round(step, 12):
        decimals += 1
    return [number(t) if abs(t) >= 1e5 else fixed(t, decimals) for t in ticks]


def _chart(rows: list[tuple[str, str, Aggregate | Difference | None]], *, with_zero: bool) -> Chart:
    values = [
        v
        for _, _, row in rows
        if row is not None
        for v in (row.mean, row.low, row.high)
        if v is not None and math.isfinite(v)
    ]
    if with_zero:
        values.append(0.0)
    if not values:
        return Chart(tuple(Mark(c, t, None, None, None, r) for c, t, r in rows), (), None)
    ticks = nice_ticks(min(values), max(values))
    low, span = ticks[0], ticks[-1] - ticks[0]

    def place(value: float | None) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        return round((value - low) / span * WIDTH, 1)

    labels = tuple((place(t) or 0.0, text) for t, text in zip(ticks, tick_texts(ticks), strict=True))
    marks = tuple(
        Mark(c, t, place(r.mean), place(r.low), place(r.high), r) if r else Mark(c, t, None, None, None, None)
        for c, t, r in rows
    )
    return Chart(marks, labels, place(0.0) if low <= 0 <= ticks[-1] else None)


def interval_rows(results: Results, metric: Metric) -> Chart:
    """Place the means of all systems in one metric."""
    return _chart(
        [(s.category, s.title, results.aggregate(s.category, metric.name)) for s in results.systems], with_zero=False
    )


def difference_rows(results: Results, metric: Metric, baseline: str) -> Chart:
    """Place the differences of all systems to a baseline in one metric."""
    return _chart(
        [
            (s.category, s.title, results.difference(s.category, baseline, metric.name))
            for s in results.systems
            if s.category != baseline
        ],
        with_zero=True,
    )


# --- average ranks


@dataclass(frozen=True)
class RankMark:
    """A system at its average rank: ``x`` in per cent of the width, ``y`` in pixels; its name stands beside it."""

    category: str
    title: str
    rank: float
    x: float
    y: int
    dx: int
    anchor: str


@dataclass(frozen=True)
class RankDiagram:
    """A critical-difference diagram: x in per cent of the width, y in pixels, so that texts keep their size.

    Attributes:
        ticks: Position and rank of each tick.
        ruler: Ends of a line as long as the critical difference, cut off where the axis ends.
        bars: Ends and height of a line over each run of systems that are not told apart.
        marks: The systems, the best first.
        height: Height of the picture.
        description: What the picture shows, in words.
    """

    ticks: tuple[tuple[float, int], ...]
    ruler: tuple[float, float]
    bars: tuple[tuple[float, float, int], ...]
    marks: tuple[RankMark, ...]
    height: int
    description: str


RANKS_FROM, RANKS_TO = 4.0, 96.0
AXIS_Y = 36
_BAR_STEP, _ROW_STEP = 9, 22


def rank_diagram(found: CriticalDifference, metric: Metric, titles: Mapping[str, str]) -> RankDiagram:
    """Place a critical-difference diagram.

    Args:
        found: Average ranks and runs of systems that are not told apart.
        metric: What was ranked by.
        titles: Category to the title of its system.
    """
    count = max(2, len(found.ranks))

    def place(rank: float) -> float:
        return round(RANKS_FROM + (rank - 1) / (count - 1) * (RANKS_TO - RANKS_FROM), 2)

    ranks = dict(found.ranks)
    bars = tuple(
        (place(ranks[bar[0]]) - 1.0, place(ranks[bar[-1]]) + 1.0, AXIS_Y + _BAR_STEP * (number + 1))
        for number, bar in enumerate(found.bars)
    )
    first = AXIS_Y + _BAR_STEP * len(bars) + 20
    marks = tuple(
        RankMark(
            category,
            titles.get(category, category),
            rank,
            place(rank),
            first + _ROW_STEP * number,
            9 if place(rank) < 50 else -9,
            "start" if place(rank) < 50 else "end",
        )
        for number, (category, rank) in enumerate(found.ranks)
    )
    order = ", ".join(f"{mark.title} {fixed(mark.rank, 2)}" for mark in marks)
    groups = "; ".join(" and ".join(titles.get(name, name) for name in bar) for bar in found.bars)
    told = f"Not told apart: {groups}." if groups else "All are told apart."
    return RankDiagram(
        ticks=tuple((place(rank), rank) for rank in range(1, count + 1)),
        ruler=(RANKS_FROM, min(RANKS_TO, place(1 + found.width))),
        bars=bars,
        marks=marks,
        height=first + _ROW_STEP * (len(marks) - 1) + 14,
        description=f"{metric.title}: average ranks, 1 the best: {order}. {told}",
    )
