from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from eval.results import ClipRow, OutputRow, ResultsStore, ScoreRow
from models.errors import EarwitnessError, OutputError, StoreError


def clip(name: str = "c") -> ClipRow:
    return ClipRow(name, "key", f"{name}.wav", 16_000, 32_000, "group", {"pitch": 60, "name": "ü"}, "pcm")


def output(name: str = "c", model: str = "m", value: float | None = 1.5) -> OutputRow:
    score = ScoreRow("si_sdr", "mk", value, "ok" if value is not None else "undefined", None, 0.01)
    return OutputRow(name, model, "ok-key", "ok", None, f"outputs/m/{name}.wav", "pcm2", 0.1, 2.0, "run", (score,))


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    with ResultsStore(tmp_path / "new" / "folder") as store:
        store.add([clip()], [output()])
        assert store.clip("c") == clip()
        assert store.clip("c").duration_s == 2.0
        assert next(store.outputs("m", with_scores=True)).scores == [*output().scores]
        assert store.output_key("c", "m") == ("ok-key", "ok", "outputs/m/c.wav")
        assert store.output_key("c", "other") is None
        assert store.values("m", "si_sdr") == {"c": (1.5, "ok", None)}
    with ResultsStore(tmp_path / "new" / "folder") as store:
        assert store.clip_key("c") == ("key", "pcm")


def test_a_new_output_takes_its_old_scores_away(tmp_path: Path) -> None:
    with ResultsStore(tmp_path) as store:
        store.add([clip()], [output()])
        store.add([], [OutputRow("c", "m", "new", "failed", "why")])
        assert store.scores("c", "m") == []
        assert store.values("m", "si_sdr") == {}


def test_a_piece_of_work_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    with ResultsStore(tmp_path) as store:
        broken = OutputRow("d", "m", "k", "ok", scores=(ScoreRow("x", "k", 1.0, None, None, 0.0),))  # type: ignore[arg-type]
        with pytest.raises(StoreError):
            store.add([clip("c"), clip("d")], [output("c"), broken])
        assert store.clip_key("c") is None and store.output_key("c", "m") is None
        store.add([clip("c")], [output("c")])


def test_runs_keep_their_settings(tmp_path: Path) -> None:
    with ResultsStore(tmp_path) as store:
        store.add_run("one", "2026-01-01T00:00:00Z", "cmd", {"seed": 1})
        assert store.run_document("one") is None
        store.finish_run("one", {"wall_s": 2.0})
        store.add_run("two", "2026-01-01T00:00:01Z", "cmd", {"seed": 2})
        assert store.run_document("one") == {"wall_s": 2.0}
    with sqlite3.connect(tmp_path / "results.sqlite") as db:
        assert [row[0] for row in db.execute("SELECT settings FROM runs ORDER BY run_id")] == [
            '{"seed": 1}',
            '{"seed": 2}',
        ]
    db.close()


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with ResultsStore(tmp_path), pytest.raises(StoreError, match="another run"):
        ResultsStore(tmp_path)
    ResultsStore(tmp_path).close()


def test_files_that_are_no_store(tmp_path: Path) -> None:
    cases: dict[str, tuple[type[EarwitnessError], str]] = {}
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "results.sqlite").write_text("not a database at all" * 300)
    cases["text"] = StoreError, "not a usable results store"
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / "results.sqlite") as db:
        db.execute("CREATE TABLE cats (name TEXT)")
    db.close()
    cases["other"] = StoreError, "something else"
    ResultsStore(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer" / "results.sqlite") as db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    cases["newer"] = StoreError, "schema_version is 99, need 1"
    (tmp_path / "file").write_text("in the way")
    cases["file"] = OutputError, "cannot be made"
    cases["file/below"] = OutputError, "cannot be made"
    for name, (kind, text) in cases.items():
        with pytest.raises(kind, match=text) as caught:
            ResultsStore(tmp_path / name)
        assert name.partition("/")[0] in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    with ResultsStore(tmp_path) as store:
        store.add([clip(f"c{n}") for n in range(300)], [output(f"c{n}") for n in range(300)])
    path = tmp_path / "results.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="not a usable results store"), ResultsStore(tmp_path) as store:
        store.clip("c5")
