"""Where to draw means and intervals: positions on a common scale, so that a template only has to place marks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paper_site.filters import fixed, number
from paper_site.manifest import Aggregate, Difference, Metric, Results

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


def nice_ticks(low: float, high: float, wanted: int = 3) -> list[float]:
    """Choose round numbers that span a range.

    >>> nice_ticks(0.12, 0.93)
    [0.0, 0.5, 1.0]
    """
    if not high > low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / wanted
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
