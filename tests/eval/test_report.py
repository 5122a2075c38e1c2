"""Tables of results: the numbers are those of the statistics, and every format says them rightly."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.recorded import open_recorded
from eval.report import COLUMNS, SET_COLUMNS, latex_text, make_report, parse_margins, render, write_report
from eval.results import ResultsStore
from eval.stats import equivalence, mean_interval, paired_difference, quantile_interval, variance_components
from eval.summary import summarise
from models.errors import InputError
from tests.eval.stores import run_record, write_store


def values(seed: int = 0, count: int = 40) -> dict[str, dict[str, list[float | str | None]]]:
    draw = np.random.default_rng(seed)
    clips = draw.normal(0.0, 1.0, count)
    made: dict[str, dict[str, list[float | str | None]]] = {}
    for model, gain in (("good", 2.0), ("twin", 0.0), ("base", 0.0)):
        first = (clips + gain + draw.normal(0, 0.3, count)).tolist()
        made[model] = {"si_sdr": first, "log_mel_l1": np.abs(draw.normal(1, 0.1, count)).tolist()}
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = values()
    made["twin"]["si_sdr"][3] = "silence"
    return write_store(tmp_path_factory.mktemp("store") / "s", made, groups=[f"g{i // 4}" for i in range(40)])


def test_numbers_are_those_of_the_statistics(store: Path) -> None:
    report = make_report(store, baseline="base")
    groups = [f"g{i // 4}" for i in range(40)]
    made = values()
    line = report.of("si_sdr")[0]
    mean = mean_interval(made["good"]["si_sdr"], seed=5, groups=groups)
    median = quantile_interval(made["good"]["si_sdr"], seed=5, groups=groups)
    gap = paired_difference(made["good"]["si_sdr"], made["base"]["si_sdr"], seed=5, groups=groups)
    assert (line.model, line.n, line.groups, line.baseline) == ("good", 40, 10, "base")
    assert (line.mean, line.low, line.high) == (mean.mean, mean.low, mean.high)
    assert (line.median, line.median_low, line.median_high) == (median.value, median.low, median.high)
    assert (line.difference, line.difference_low, line.p) == (gap.mean, gap.low, gap.p_value)
    # Four comparisons in the table: two systems, two metrics.
    assert line.p_holm == pytest.approx(min(1.0, 4 * gap.p_value))
    assert line.d > 3 and line.dominance > 0.9 and 0 < line.detectable < 1
    assert (line.rank, line.rank_low, line.rank_high, line.tied) == (1, 1, 1, "a")
    twin, base = report.of("si_sdr")[1:]
    assert (twin.n, twin.n_undefined, twin.pairs) == (39, 1, 39)
    assert twin.tied == base.tied == "b" and base.baseline == "" and base.p is None
    assert "39 clips" in " ".join(report.notes["si_sdr"])


def test_a_document_says_what_its_store_says(tmp_path: Path) -> None:
    made = values()
    categories = {"good": "reconstruction", "twin": "twin", "base": "base"}
    metrics = ["si_sdr", "log_mel_l1"]
    record = run_record(list(made), metrics, 40)
    folder = write_store(tmp_path / "s", made)
    table = open_recorded(folder).rows.table(models=list(made))  # type: ignore[union-attr]
    document = {
        "schema_version": 1, "collection": "toys", "title": "Toys", "run": record["run_id"],
        "corpus": record["corpus"], "level_policy": {"name": "n", "text": "t"},
        "selection": {"rule": "all", "count": 0, "population": 40, "text": "t"},
        "systems": [
            {"category": c, "model": m, "title": m, "parameters": 0, "checkpoint_sha256": None, "n_ok": 40,
             "n_failed": 0}
            for m, c in categories.items()
        ],
        **summarise(table, categories, metrics, seed=5, baseline="base"),
    }  # fmt: skip
    path = tmp_path / "toys.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    ours, theirs = make_report(path), make_report(folder, baseline="base", metrics=metrics)
    assert ours.lines == theirs.lines and len(ours.lines) == 6
    assert ours.notes["si_sdr"] == theirs.notes["si_sdr"]
    one = make_report(path, metrics=["si_sdr"])
    assert one.lines == make_report(folder, baseline="base", metrics=["si_sdr"]).lines
    for row in document["aggregates"]:
        for name in ("median_low", "median_high", "rank", "rank_low", "rank_high", "tied"):
            del row[name]
    path.write_text(json.dumps(document), encoding="utf-8")
    older = make_report(path)
    assert older.lines[0].rank is None and "older" in older.notes[""][0]


def test_a_seed_and_a_number_of_threads(store: Path) -> None:
    one = make_report(store, metrics=["si_sdr"], threads=1)
    assert make_report(store, metrics=["si_sdr"], threads=2).lines == one.lines
    assert make_report(store, metrics=["si_sdr"], seed=99).lines != one.lines


def test_checkpoints_of_one_model_show_their_variance(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    made = {f"net@{k}": {"si_sdr": (k + draw.normal(0, 0.1, 20)).tolist()} for k in range(3)}
    notes = make_report(write_store(tmp_path / "s", made)).notes["si_sdr"]
    found = re.search(r"net, 3 checkpoints on 20 common clips: .* between checkpoints ([0-9.]+), ", " ".join(notes))
    assert found is not None and float(found[1]) == pytest.approx(1.0, abs=0.1)


def test_text_has_a_table_a_metric(store: Path) -> None:
    text = render(make_report(store), "text")
    assert text.startswith("40 clips of toys, split all\n")
    assert "si_sdr (dB, higher is better)\n" in text and "log_mel_l1 (Np, lower is better)\n" in text
    assert "critical difference" in text and "10 groups of clips" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_csv_is_complete_and_safe(tmp_path: Path) -> None:
    made = {"=cmd()": {"si_sdr": [1.5, 2.25]}, "b": {"si_sdr": [-1.0, 2.0]}}
    report = make_report(write_store(tmp_path / "s", made))
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 2
    assert rows[0]["model"] == "'=cmd()" and float(rows[0]["mean"]) == 1.875
    assert rows[1]["baseline"] == "" and float(rows[0]["difference"]) == pytest.approx(1.375)


def test_latex_is_escaped(tmp_path: Path) -> None:
    made = {r"a_b&50%{x}\$#^~": {"si_sdr": [1.5, 2.25]}, "b": {"si_sdr": [-1.0, 2.0]}}
    text = render(make_report(write_store(tmp_path / "s", made)), "latex")
    assert r"a\_b\&50\%\{x\}\textbackslash{}\$\#\textasciicircum{}\textasciitilde{}" in text
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{l", r"\label{tab:si-sdr}"):
        assert part in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 3 and len({line.replace(r"\&", "").count("&") for line in body}) == 1


def test_latex_letters() -> None:
    assert latex_text("-1.5 [−2, 3]") == "$-$1.5 {[}$-$2, 3{]}"
    assert latex_text("FS² < 3–4 a-b") == "FS$^2$ $<$ 3--4 a-b"


def test_markdown_is_escaped(tmp_path: Path) -> None:
    made = {"a|b_c*": {"si_sdr": [1.5, 2.25]}, "<b>": {"si_sdr": [-1.0, 2.0]}}
    text = render(make_report(write_store(tmp_path / "s", made)), "markdown")
    assert r"| a\|b\_c\* |" in text and r"| \<b\> |" in text


def test_no_terminal_obeys_a_name(tmp_path: Path) -> None:
    made = {"a\x1b[2J": {"si_sdr": [1.5, 2.25]}, "b": {"si_sdr": [-1.0, 2.0]}}
    report = make_report(write_store(tmp_path / "s", made))
    assert all("\x1b" not in render(report, form) for form in ("text", "csv", "latex", "markdown"))


def test_parquet_needs_its_package_and_a_file(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report(store)
    with pytest.raises(InputError, match="--output"):
        write_report(report, "parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"earwitness\[tables\]"):
        write_report(report, "parquet", tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_parquet_holds_every_column(store: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'tables' is not installed")
    report = make_report(store)
    write_report(report, "parquet", tmp_path / "x.parquet")
    rows = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert rows == [{name: getattr(line, name) for name in COLUMNS} for line in report.lines]


def test_files_are_written_whole_or_not_at_all(store: Path, tmp_path: Path) -> None:
    report = make_report(store)
    assert write_report(report, "csv", tmp_path / "x.csv") is None
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == render(report, "csv")
    for path in (tmp_path, tmp_path / "no" / "x.csv"):
        with pytest.raises(InputError, match=path.name):
            write_report(report, "csv", path)


def test_metrics_and_baselines_that_are_not_there(store: Path) -> None:
    assert [line.metric for line in make_report(store, metrics=["si_sdr"]).lines] == ["si_sdr"] * 3
    with pytest.raises(InputError, match="waveform_l1"):
        make_report(store, metrics=["waveform_l1"])
    with pytest.raises(InputError, match="'z'"):
        make_report(store, baseline="z")


def test_files_that_are_no_results(tmp_path: Path, store: Path) -> None:
    (tmp_path / "empty").mkdir()
    whole = (store / "results.sqlite").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.sqlite").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "results.sqlite").write_bytes(b"junk" * 100)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "results.sqlite").write_bytes(b"")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.sqlite").write_bytes(whole)
    with sqlite3.connect(tmp_path / "old" / "results.sqlite") as db:
        db.execute("UPDATE meta SET value = '0'")
    db.close()
    (tmp_path / "cut.json").write_text('{"schema_version": 1, "aggr')
    (tmp_path / "other.json").write_text('{"schema_version": 2}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "neither.json").write_text('{"schema_version": 1}')
    cases = {
        "missing": "no such file",
        "empty": "no results store",
        "cut": "not a usable results store",
        "junk": "not a usable results store",
        "none": "is empty",
        "old": "schema_version is 0, need 1",
        "cut.json": "not JSON",
        "other.json": "schema_version is 2, need 1",
        "list.json": "not a document of ours",
        "neither.json": "neither",
    }
    for name, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            make_report(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_store_without_outputs_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "s", {"a": {"si_sdr": [1.0]}})
    with sqlite3.connect(tmp_path / "s" / "results.sqlite") as db:
        db.execute("DELETE FROM outputs")
    db.close()
    with pytest.raises(InputError, match="holds no outputs"):
        make_report(tmp_path / "s")


def test_reading_leaves_a_store_as_it_is(store: Path) -> None:
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    make_report(store, metrics=["si_sdr"])
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def seed_stores_of(root: Path, shifts: list[float]) -> list[Path]:
    """One store a seed: the same clips, each seed with a shift of its own."""
    clips = np.random.default_rng(0).normal(0.0, 2.0, 30)
    paths = []
    for seed, shift in enumerate(shifts):
        draw = np.random.default_rng(10 + seed)
        made = {
            "net": {"si_sdr": (clips + shift + draw.normal(0, 0.1, 30)).tolist()},
            "base": {"si_sdr": (clips - 5 + draw.normal(0, 0.1, 30)).tolist()},
        }
        paths.append(write_store(root / f"seed_{seed}", made, seed=seed))
    return paths


def test_seeds_are_kept_apart_from_clips(tmp_path: Path) -> None:
    paths = seed_stores_of(tmp_path / "s", [0.0, 1.0, 2.0])
    report = make_report(tmp_path / "s", baseline="base")
    assert make_report(paths, baseline="base").lines == report.lines
    net, base = report.of("si_sdr")
    assert net.seeds == 3 and net.seed_sd == pytest.approx(1.0, abs=0.1) and net.clip_sd == pytest.approx(2.0, abs=0.5)
    assert base.seed_sd is not None and base.seed_sd < 0.1
    rows = [open_recorded(path).rows.table().numbers("net", "si_sdr") for path in paths]  # type: ignore[union-attr]
    parts = variance_components(rows)
    assert parts is not None and net.error_one_seed == parts.error_one_seed and net.mean == pytest.approx(parts.mean)
    assert "sd of seeds" in render(report, "text") and "means over 3 seeds" in report.notes[""][-1]


def test_a_clip_that_one_seed_has_no_value_for_has_none(tmp_path: Path) -> None:
    first = write_store(tmp_path / "a", {"m": {"si_sdr": [1.0, 2.0, 3.0]}}, seed=1)
    second = write_store(tmp_path / "b", {"m": {"si_sdr": [3.0, "silence", 5.0]}}, seed=2)
    line = make_report([first, second]).lines[0]
    assert (line.n, line.n_undefined, line.mean) == (2, 1, 3.0)


def test_stores_of_one_seed_are_no_two_seeds(tmp_path: Path) -> None:
    paths = [write_store(tmp_path / name, {"m": {"si_sdr": [1.0, 2.0]}}) for name in ("a", "b")]
    with pytest.raises(InputError, match="has the seed 5 as"):
        make_report(paths)
    write_store(tmp_path / "c", {"other": {"si_sdr": [1.0, 2.0]}}, seed=6)
    with pytest.raises(InputError, match="no scores of common systems"):
        make_report([paths[0], tmp_path / "c"])


def test_equivalence_is_tested_against_a_margin(store: Path) -> None:
    report = make_report(store, baseline="base", margins={"si_sdr": 0.5})
    good, twin, base = report.of("si_sdr")
    groups = [f"g{i // 4}" for i in range(40)]
    made = values()
    gaps = np.array(made["good"]["si_sdr"]) - np.array(made["base"]["si_sdr"])
    test = equivalence(gaps, 0.5, groups=groups)
    assert (good.margin, good.p_equivalent, good.p_not_worse) == (0.5, test.p_value, test.p_above)
    # Higher is better: far above is not equivalent, but no worse.
    assert good.p_equivalent > 0.99 and good.p_not_worse < 0.001
    assert twin.p_equivalent < 0.01 and twin.p_not_worse < 0.01
    assert base.p_equivalent is None and report.of("log_mel_l1")[0].p_equivalent is None
    assert "p (equivalent)" in render(report, "markdown") and "±0.5 dB" in report.notes["si_sdr"][0]


def test_not_worse_follows_the_direction(store: Path) -> None:
    line = make_report(store, baseline="base", margins={"log_mel_l1": 0.1}).of("log_mel_l1")[0]
    table = open_recorded(store).rows.table()  # type: ignore[union-attr]
    pairs = zip(table.numbers("good", "log_mel_l1"), table.numbers("base", "log_mel_l1"), strict=True)
    test = equivalence([x - y for x, y in pairs], 0.1, groups=table.groups)  # type: ignore[operator]
    assert line.p_not_worse == test.p_below


@pytest.mark.parametrize("text", ["si_sdr", "si_sdr=", "si_sdr=0", "si_sdr=-1", "si_sdr=nan", "=1"])
def test_margins_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="margin above 0"):
        parse_margins([text])


def test_equivalence_needs_a_second_system_and_a_known_metric(tmp_path: Path, store: Path) -> None:
    assert parse_margins(["si_sdr=0.5"]) == {"si_sdr": 0.5}
    with pytest.raises(InputError, match="no second system"):
        make_report(write_store(tmp_path / "s", {"m": {"si_sdr": [1.0, 2.0]}}), margins={"si_sdr": 1.0})
    with pytest.raises(InputError, match="no metric 'pesq'"):
        make_report(store, margins={"pesq": 1.0})


def _with_sets(folder: Path) -> Path:
    write_store(folder, values())
    row = {
        "metric": "kernel_distance", "embedding": "log_mel", "value": 0.5, "status": "ok", "low": 0.25, "high": 0.75,
        "n_estimate": 40, "p_value": 0.01, "floor": {"mean": 0.125, "low": -0.5, "high": 1.0, "at_floor_size": 0.625},
    }  # fmt: skip
    empty = {**row, "value": None, "low": None, "high": None, "status": "undefined", "floor": None, "p_value": None}
    with ResultsStore(folder) as store:
        store.add_set("k1", {"model": "twin"}, [empty])
        store.add_set("k2", {"model": "good"}, [row])
    return folder


def test_sets_stand_below_the_metrics(tmp_path: Path) -> None:
    folder = _with_sets(tmp_path / "s")
    report = make_report(folder)
    assert [entry["model"] for entry in report.sets] == ["good", "twin"]
    line = next(line for line in render(report, "text").splitlines() if line.startswith("  kernel_distance"))
    assert line.split()[2:] == ["good", "40", "0.50", "[0.25,", "0.75]", "0.625", "0.1", "[-0.5,", "1.0]", "0.010"]
    assert "| undefined |" in render(report, "markdown")
    latex = render(report, "latex")
    assert r"\label{tab:sets}" in latex and r"kernel\_distance & log\_mel & good & 40 & 0.50 {[}0.25, 0.75{]}" in latex
    assert make_report(folder, metrics=["si_sdr"]).sets == []


def test_sets_have_a_file_of_their_own_beside_the_rows(tmp_path: Path) -> None:
    folder = _with_sets(tmp_path / "s")
    write_report(make_report(folder), "csv", tmp_path / "x.csv")
    assert len((tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()) == 7
    found = list(csv.DictReader(io.StringIO((tmp_path / "x.sets.csv").read_text(encoding="utf-8"))))
    assert tuple(found[0]) == SET_COLUMNS
    picked = [(r["model"], r["embedding"], r["value"], r["status"], r["p"], r["floor_high"]) for r in found]
    assert picked == [("good", "log_mel", "0.5", "ok", "0.01", "1.0"), ("twin", "log_mel", "", "undefined", "", "")]
    write_report(make_report(folder, metrics=["si_sdr"]), "csv", tmp_path / "y.csv")
    assert not (tmp_path / "y.sets.csv").exists()


def test_sets_in_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'tables' is not installed")
    write_report(make_report(_with_sets(tmp_path / "s")), "parquet", tmp_path / "x.parquet")
    rows = parquet.read_table(tmp_path / "x.sets.parquet").to_pylist()
    assert tuple(rows[0]) == SET_COLUMNS
    assert [(row["model"], row["value"], row["at_floor_size"]) for row in rows] == [
        ("good", 0.5, 0.625), ("twin", None, None),
    ]  # fmt: skip
