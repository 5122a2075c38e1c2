from __future__ import annotations

import math

from eval.evaluation import training_curve


def test_a_training_curve_is_thinned_and_keeps_its_end_and_every_validation() -> None:
    rows = [{"step": 10 * n, "total": 1.0 / n, "elapsed_s": float(n)} for n in range(1, 1001)]
    rows[499]["validation"] = {"total": 0.5, "other": 1.0}  # type: ignore[assignment]
    found = training_curve({"losses": {"curve": rows}}, most=50)
    assert found is not None and found["loss"] == "total"
    points = found["points"]
    assert len(points) <= 51 and points[-1] == [10_000, 0.001, None]
    assert [5000, 1.0 / 500, 0.5] in points
    assert points == sorted(points)


def test_a_short_curve_is_whole_and_a_card_without_one_has_none() -> None:
    rows = [{"step": 1, "nll": 2.0}, {"step": 2, "nll": math.nan}, {"step": 3, "nll": 1.0, "validation": {"nll": 1.5}}]
    assert training_curve({"losses": {"curve": rows}}) == {"loss": "nll", "points": [[1, 2.0, None], [3, 1.0, 1.5]]}
    for losses in (None, {"curve": []}, {"curve": [{"step": 1}]}):
        assert training_curve({"losses": losses}) is None
    assert training_curve(None) is None
