from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.summary import Table, aggregate, choose_baseline, difference, summarise
from models.errors import InputError


def table(groups: list[str] | None = None) -> Table:
    draw = np.random.default_rng(1)
    first = [(float(v), "ok", None) for v in draw.normal(1.0, 0.1, 40)]
    second = [(v + 0.5, "ok", None) for v, _, _ in first]
    holes = [None, (None, "undefined", "silent"), (None, "failed", "x"), (None, "skipped", "y"), *first[4:]]
    clip_ids = [f"c{n}" for n in range(40)]
    errors = {"a": {"c0": "/corpus/x.wav: is empty"}, "b": {}}
    return Table(clip_ids, groups or clip_ids, {"a": {"si_sdr": holes}, "b": {"si_sdr": second}}, errors)


def test_clips_without_a_value_are_counted_and_never_averaged() -> None:
    row = aggregate(table(), "a", "si_sdr", 3)
    assert (row["n_ok"], row["n_undefined"], row["n_failed"]) == (36, 2, 2)
    assert row["mean"] == pytest.approx(np.mean([v for v in table().numbers("a", "si_sdr") if v is not None]))
    assert row["low"] < row["mean"] < row["high"] and row["level"] == 0.95
    assert row == aggregate(table(), "a", "si_sdr", 3)


def test_differences_are_paired() -> None:
    row = difference(table(), "a", "b", "si_sdr", 3)
    assert row["n"] == 36 and row["mean"] == pytest.approx(-0.5)
    assert row["p"] is not None and row["p"] < 0.01


def test_clips_of_a_group_are_drawn_together() -> None:
    alone = aggregate(table(), "b", "si_sdr", 3)
    groups = [f"g{n // 10}" for n in range(40)]
    together = aggregate(table(groups), "b", "si_sdr", 3)
    assert together["groups"] == 4 and together["method"] != alone["method"]
    assert aggregate(table(["one"] * 40), "b", "si_sdr", 3)["method"] == alone["method"]


def three() -> Table:
    draw = np.random.default_rng(2)
    level = draw.normal(0.0, 1.0, 60)
    columns = {
        "good": level + 2.0 + draw.normal(0, 0.3, 60),
        "twin": level + draw.normal(0, 0.3, 60),
        "base": level + draw.normal(0, 0.3, 60),
    }
    values = {model: {"si_sdr": [(float(v), "ok", None) for v in column]} for model, column in columns.items()}
    clip_ids = [f"c{n}" for n in range(60)]
    return Table(clip_ids, clip_ids, values, {model: {} for model in columns})


def test_a_document_holds_medians_ranks_ties_and_what_the_clips_could_show() -> None:
    categories = {"good": "reconstruction", "twin": "twin", "base": "base"}
    made = summarise(three(), categories, ["si_sdr"], seed=3, baseline="base")
    good, twin, base = made["aggregates"]
    assert good["median_low"] < good["median"] < good["median_high"]
    assert (good["rank"], good["rank_low"], good["rank_high"], good["tied"]) == (1.0, 1.0, 1.0, "a")
    assert twin["tied"] == base["tied"] == "b" and {twin["rank_low"], base["rank_low"]} == {2.0}
    first, second = made["differences"]
    assert first["p_holm"] == pytest.approx(2 * first["p"]) and second["p_holm"] == second["p"] > 0.05
    assert first["d"] > 3 and first["dominance"] == 1.0 and abs(second["dominance"]) < 0.5
    assert 0 < first["detectable"] < 0.5
    (diagram,) = made["critical_differences"]
    assert diagram["average_ranks"][0] == {"category": "reconstruction", "rank": 1.0}
    assert diagram["blocks"] == 60 and [sorted(held) for held in diagram["not_told_apart"]] == [["base", "twin"]]


def test_a_single_system_has_no_rank() -> None:
    made = summarise(table(), {"a": "reconstruction"}, ["si_sdr"], seed=3, baseline=None)
    assert made["critical_differences"] == [] and made["aggregates"][0]["rank"] is None
    assert made["aggregates"][0]["tied"] == ""


def test_baseline() -> None:
    assert choose_baseline(["a", "griffin_lim", "b"]) == "griffin_lim"
    assert choose_baseline(["a", "b"]) == "b"
    assert choose_baseline(["a"]) is None
    assert choose_baseline(["a", "b"], "a") == "a"
    with pytest.raises(InputError, match="'z'"):
        choose_baseline(["a"], "z")


def test_failures_name_files_from_the_corpus_on() -> None:
    made = summarise(
        table().below(Path("/corpus")), {"a": "reconstruction", "b": "b"}, ["si_sdr"], seed=3, baseline="b"
    )
    assert made["failures"] == [{"clip": "c0", "category": "reconstruction", "error": "x.wav: is empty"}]
    assert [d["category"] for d in made["differences"]] == ["reconstruction"]
    assert made["metrics"][0]["higher_is_better"] is True
