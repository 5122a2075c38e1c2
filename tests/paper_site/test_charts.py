"""Where charts place their marks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paper_site.charts import AXIS_Y, RANKS_FROM, RANKS_TO, rank_diagram
from paper_site.kinds.model import training_plot
from paper_site.kinds.results import set_lines, standings
from paper_site.manifest import CriticalDifference, Metric, read_companion

METRIC = Metric("m", "A metric", "dB", False, None, {})
FOUND = CriticalDifference(
    "m", 12, 0.05, 0.9, 0.01, (("a", 1.0), ("b", 1.75), ("c", 2.5), ("d", 4.0)), (("a", "b"), ("b", "c"))
)


def test_ranks_lie_on_their_axis_and_bars_reach_from_first_to_last() -> None:
    placed = rank_diagram(FOUND, METRIC, {"a": "First", "d": "Last"})
    assert [rank for _, rank in placed.ticks] == [1, 2, 3, 4]
    assert (placed.ticks[0][0], placed.ticks[-1][0]) == (RANKS_FROM, RANKS_TO)
    step = (RANKS_TO - RANKS_FROM) / 3
    assert [mark.x for mark in placed.marks] == pytest.approx([RANKS_FROM + step * k for k in (0, 0.75, 1.5, 3)])
    assert placed.ruler[1] - placed.ruler[0] == pytest.approx(0.9 * step)
    for (start, end, _), (first, last) in zip(placed.bars, ((0, 1), (1, 2)), strict=True):
        assert start < placed.marks[first].x < placed.marks[last].x < end
    heights = [y for _, _, y in placed.bars] + [mark.y for mark in placed.marks]
    assert heights == sorted(set(heights)) and heights[0] > AXIS_Y and heights[-1] < placed.height


def test_names_stand_on_the_side_with_room() -> None:
    marks = rank_diagram(FOUND, METRIC, {}).marks
    assert [mark.anchor for mark in marks] == ["start", "start", "end", "end"]


def test_a_ruler_longer_than_the_axis_ends_with_it() -> None:
    wide = CriticalDifference("m", 3, 0.05, 9.0, None, (("a", 1.0), ("b", 2.0)), (("a", "b"),))
    assert rank_diagram(wide, METRIC, {}).ruler == (RANKS_FROM, RANKS_TO)


def test_a_diagram_says_what_it_shows() -> None:
    said = rank_diagram(FOUND, METRIC, {"a": "First", "b": "Second"}).description
    assert said.startswith("A metric: average ranks, 1 the best: First 1.00, Second 1.75, c 2.50, d 4.00.")
    assert said.endswith("Not told apart: First and Second; Second and c.")
    apart = CriticalDifference("m", 30, 0.05, 0.2, None, (("a", 1.0), ("b", 2.0)), ())
    assert rank_diagram(apart, METRIC, {}).description.endswith("All are told apart.")


def test_standings_and_sets_come_from_the_document(companion: Path) -> None:
    results = read_companion(companion).collections[0].results
    assert results is not None
    found = standings(results)
    assert [standing.metric.name for standing in found] == ["log_mel_l1", "si_sdr", "log_spectral_distance"]
    assert [(title, rank, row.tied) for title, rank, row in found[2].rows] == [
        ("Toy codec", 1.0, "a"),
        ("Toy phase recovery", 1.5, "a"),
    ]
    (line,) = set_lines(results.sets)
    assert line.floor is not None and line.floor.floor["mean"] == 0.12
    assert line.scores["phase"].shown == 2.31 and line.scores["phase"].value == 1.42


def test_an_older_document_has_neither(companion: Path) -> None:
    path = companion / "_data" / "results" / "tones.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for part in ("critical_differences", "sets", "seed_variance"):
        del document[part]
    for row in document["aggregates"]:
        for name in ("median_low", "median_high", "rank", "rank_low", "rank_high", "tied"):
            del row[name]
    path.write_text(json.dumps(document), encoding="utf-8")
    results = read_companion(companion).collections[0].results
    assert results is not None and standings(results) == [] and set_lines(results.sets) == []


def test_the_loss_of_a_training_is_drawn_where_the_run_recorded_it() -> None:
    curve = {"loss": "total", "points": [[1, 2.0, None], [2, 1.5, 1.75], [3, 1.0, None]]}
    plot = training_plot({"training_curve": curve})
    assert plot is not None and plot.groups == ("training", "validation") and plot.joined
    assert [(p.x, p.y, p.group) for p in plot.points][-1] == (2.0, 1.75, "validation")
    assert plot.y_title == "Loss (total)"
    for described in (
        {},
        {"training_curve": None},
        {"training_curve": {"points": "x"}},
        {"training_curve": {"points": [[1]]}},
    ):
        assert training_plot(described) is None
