from __future__ import annotations

import doctest
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

import paper_site.charts
import paper_site.filters as filters
import paper_site.formula
import paper_site.markdown
import paper_site.pages


@pytest.mark.parametrize(
    "module", [filters, paper_site.charts, paper_site.formula, paper_site.markdown, paper_site.pages]
)
def test_doctests(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


def _row(mean: float | None, low: float | None = None, high: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(mean=mean, low=low, high=high)


def test_means_have_the_decimals_that_their_interval_deserves() -> None:
    row = _row(0.41234, 0.3979, 0.4268)
    assert filters.mean_text(row) == "0.412"
    assert filters.interval_text(row) == "[0.398, 0.427]"
    wide = _row(12.41, 6.0, 18.8)
    assert (filters.mean_text(wide), filters.interval_text(wide)) == ("12.4", "[6.0, 18.8]")
    assert filters.mean_text(_row(-3.2)) == "−3.20"
    assert filters.interval_text(_row(1.0)) == ""
    assert filters.mean_text(_row(None)) == "—"
    assert "10⁻⁵" in filters.mean_text(_row(2e-5, 1e-5, 3e-5))


@pytest.mark.parametrize("status", ["undefined", "failed", "skipped"])
def test_a_status_other_than_ok_is_never_a_number(status: str) -> None:
    text = filters.score_text(SimpleNamespace(value=3.25, status=status))
    assert not any(character.isdigit() for character in text)


def test_scores() -> None:
    assert filters.score_text(SimpleNamespace(value=3.257, status="ok")) == "3.26"
    assert filters.score_text(None) == "not computed"
    assert filters.number(math.nan) == "not a number"
    assert filters.number(-math.inf) == "−∞"
    assert filters.number(None) == "—"
    assert filters.duration(3700) == "1 h 1 min"
    assert filters.size(1234) == "1 kB"
    assert filters.command(["a", "b c"]) == "a 'b c'"
    assert filters.plain({"a_b": [1, None, 0.5]}) == "A b: 1, —, 0.5000"


def test_charts_place_means_inside_their_intervals() -> None:
    rows = [("a", "A", _row(1.0, 0.5, 2.0)), ("b", "B", _row(-3.0, -4.0, -2.0)), ("c", "C", None)]
    chart = paper_site.charts._chart(rows, with_zero=True)  # type: ignore[arg-type]
    first, second, third = chart.marks
    assert first.low is not None and first.mean is not None and first.high is not None
    assert 0 <= first.low < first.mean < first.high <= paper_site.charts.WIDTH
    assert second.mean is not None and second.mean < first.mean
    assert third.mean is None
    assert chart.zero is not None and chart.zero < first.low
    positions = [x for x, _ in chart.ticks]
    gaps = {round(b - a) for a, b in pairwise(positions)}
    assert len(gaps) == 1  # the axis is drawn with equal gaps
