"""Reproduction: the same evaluation gives the same values, and what differs is named by its stage."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from eval import corpora
from eval import reproduce as module
from eval.evaluation import Evaluation, evaluate
from eval.reproduce import DIFFERENT, EQUAL, STAGES, WITHIN, Reproduction, lines, reproduce
from eval.results import ResultsStore
from models import registry
from models.errors import InputError
from models.registry import ModelEntry
from tests.eval.fakes import make_folder, write
from tests.signals import tone


@pytest.fixture(autouse=True)
def toy_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries = {"halver": ModelEntry("halver", "Halver", "tests.eval.fakes:Halver", "A toy.", None)}
    monkeypatch.setattr(registry, "MODELS", MappingProxyType(entries))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three clips through a model that halves them."""
    folder = make_folder(tmp_path / "tones", 3)
    wanted = Evaluation(
        corpus=folder, models=("halver",), split="all", rule="none", metrics=("waveform_l1", "log_mel_l1")
    )
    with ResultsStore(tmp_path / "s") as made:
        evaluate(wanted, made, device="cpu", workers=1, command=f"python -m eval run --corpus {folder}")
    return tmp_path / "s"


def again(store: Path, **options: Any) -> Reproduction:
    return reproduce(store, workers=1, **options)


def edit(store: Path, statement: str) -> None:
    with sqlite3.connect(store / "results.sqlite") as db:
        db.execute(statement)
    db.close()


def edit_record(store: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with sqlite3.connect(store / "results.sqlite") as db:
        document = json.loads(db.execute("SELECT document FROM runs").fetchone()[0])
        change(document)
        db.execute("UPDATE runs SET document = ?", (json.dumps(document),))
    db.close()


def test_the_same_evaluation_gives_the_same_values(store: Path, tmp_path: Path) -> None:
    before = (store / "results.sqlite").read_bytes()
    done = again(store, output=tmp_path / "new")
    assert (done.verdict, done.stage, done.compared, done.equal) == (EQUAL, "", 6, 6)
    assert (done.outputs, done.other_outputs, done.deviations) == (3, 0, [])
    assert lines(done)[-1] == "reproduced: equal"
    assert (tmp_path / "new" / "results.sqlite").is_file()
    assert (store / "results.sqlite").read_bytes() == before
    with pytest.raises(InputError, match="holds results already"):
        again(store, output=tmp_path / "new")


def test_rounding_is_within_tolerance_and_more_is_not(store: Path) -> None:
    edit(store, "UPDATE scores SET value = value * (1 + 1e-7) WHERE metric = 'waveform_l1'")
    done = again(store)
    assert (done.verdict, done.within, done.equal, done.stage) == (WITHIN, 3, 3, STAGES[2])
    assert again(store, tolerance=0.0, limit=1).verdict == DIFFERENT
    edit(store, "UPDATE scores SET value = value * 1.01 WHERE metric = 'waveform_l1' AND clip_id LIKE '%1'")
    done = again(store)
    assert (done.verdict, len(done.deviations)) == (DIFFERENT, 1)
    assert done.deviations[0].clip == "clip_0001" and done.deviations[0].relative == pytest.approx(0.01, rel=0.02)
    assert any(STAGES[2] in line for line in lines(done))


def test_other_output_is_the_models_stage(store: Path) -> None:
    edit(store, "UPDATE outputs SET pcm_sha256 = 'other' WHERE clip_id LIKE '%2'")
    edit(store, "UPDATE scores SET value = value + 1 WHERE clip_id LIKE '%2'")
    edit_record(store, lambda d: d["environment"].update(torch="0.1"))
    done = again(store)
    assert (done.verdict, done.stage, done.other_outputs) == (DIFFERENT, STAGES[1], 1)
    text = "\n".join(lines(done))
    assert "first stage that differs: the model's output" in text and "environment: torch: 0.1 → " in text


def test_a_status_that_changed_is_different(store: Path) -> None:
    edit(
        store, "UPDATE scores SET value = NULL, status = 'undefined' WHERE clip_id LIKE '%0' AND metric = 'log_mel_l1'"
    )
    done = again(store)
    assert done.verdict == DIFFERENT and done.deviations[0].before == "undefined"


def test_other_recordings_are_refused(store: Path, tmp_path: Path) -> None:
    write(tmp_path / "tones" / "clip_0001.wav", tone(999, 0.3, 16_000))
    with pytest.raises(InputError, match="these are other recordings"):
        again(store)


def test_recordings_elsewhere(store: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "tones"
    moved.parent.mkdir()
    shutil.move(tmp_path / "tones", moved)
    with pytest.raises(InputError, match="--corpus"):
        again(store)
    assert again(store, corpus=moved).verdict == EQUAL


def test_other_weights_and_definitions_are_refused(store: Path) -> None:
    edit_record(store, lambda d: d["models"][0].update(checkpoint={"sha256": "e" * 64}))
    with pytest.raises(InputError, match=r"models\.halver: weights are eeeeeeeeeeee"):
        again(store)
    edit_record(store, lambda d: d["metrics"]["waveform_l1"].update(version=99))
    with pytest.raises(InputError, match=r"metrics\.waveform_l1: its definition"):
        again(store)


def test_records_that_cannot_be_run(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        again(tmp_path / "missing")
    with pytest.raises(InputError, match="tolerance is 2"):
        again(store, tolerance=2)
    with pytest.raises(InputError, match="in the place of no system"):
        again(store, models=["other@x"])
    edit_record(store, lambda d: d["settings"].update(models=["nosuch"]))
    with pytest.raises(InputError, match="'nosuch' is unknown"):
        again(store)
    edit_record(store, lambda d: d.update(study="coding"))
    with pytest.raises(InputError, match="python -m eval study coding"):
        again(store)
    edit(store, "UPDATE runs SET document = NULL")
    with pytest.raises(InputError, match="record of its run is missing"):
        again(store)


def test_the_shipped_recordings_are_found_by_name(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_record(store, lambda d: d.update(command="python build_site.py"))
    with pytest.raises(InputError, match="--corpus"):
        again(store)
    assert corpora.HELD_OUT.name == "heldout"
    monkeypatch.setattr(module, "HELD_OUT", tmp_path)
    assert again(store, limit=1).compared == 2
