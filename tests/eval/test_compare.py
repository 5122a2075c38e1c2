"""Comparisons: what changed is named, real losses are found, and noise is not taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.compare import BETTER, EQUAL, NOISE, UNKNOWN, WORSE, Comparison, compare, lines
from eval.metrics import definition
from models.errors import InputError
from tests.eval.stores import run_record, write_store

COUNT = 40


def clips(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10.0, 3.0, COUNT)


def pair(tmp_path: Path, shift: np.ndarray | float, **fields: Any) -> Comparison:
    write_store(tmp_path / "a", {"m": {"si_sdr": clips().tolist()}})
    write_store(tmp_path / "b", {"m": {"si_sdr": (clips() + shift).tolist()}}, **fields)
    return compare(tmp_path / "a", tmp_path / "b")


def verdict(found: Comparison, metric: str = "si_sdr") -> str:
    return next(delta.verdict for delta in found.deltas if delta.metric == metric)


def test_a_store_equals_itself(tmp_path: Path) -> None:
    found = pair(tmp_path, 0.0)
    assert found.paired and not found.changes and not found.worse
    assert {delta.verdict for delta in found.deltas} == {EQUAL}
    assert "what changed: nothing that is recorded" in lines(found)


def test_a_small_loss_on_every_clip_is_found_although_clips_differ_widely(tmp_path: Path) -> None:
    jitter = np.random.default_rng(1).normal(-0.2, 0.1, COUNT)
    found = pair(tmp_path, jitter)
    assert verdict(found) == WORSE and len(found.worse) == 1
    delta = next(delta for delta in found.deltas if delta.metric == "si_sdr")
    assert delta.difference == pytest.approx(jitter.mean()) and delta.low < delta.difference < delta.high < 0
    assert any(line.startswith("worse: si_sdr of m: ") for line in lines(found))


def test_a_gain_is_no_loss(tmp_path: Path) -> None:
    found = pair(tmp_path, np.random.default_rng(1).normal(0.2, 0.1, COUNT))
    assert verdict(found) == BETTER and not found.worse


def test_another_order_of_sums_is_no_loss(tmp_path: Path) -> None:
    found = pair(tmp_path, -1e-9 * (1 + np.random.default_rng(3).random(COUNT)))
    assert verdict(found) == EQUAL and not found.worse
    assert "equal: 2 of 2 comparisons, 1 of them but for rounding" in lines(found)


def test_a_loss_above_rounding_on_a_single_clip_is_tested(tmp_path: Path) -> None:
    shift = np.full(COUNT, -1e-9)
    shift[0] = -0.01
    assert verdict(pair(tmp_path, shift)) in (NOISE, WORSE)


def test_noise_is_no_loss(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).normal(0.0, 1.0, COUNT)
    found = pair(tmp_path, noise - noise.mean() - 0.05)
    assert verdict(found) == NOISE and not found.worse


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.3)):
        noise = np.random.default_rng(1).normal(shift, 0.1, COUNT)
        write_store(tmp_path / name, {"m": {"log_mel_l1": (clips() + (noise if shift else 0)).tolist()}})
    assert verdict(compare(tmp_path / "a", tmp_path / "b"), "log_mel_l1") == WORSE
    assert verdict(compare(tmp_path / "b", tmp_path / "a"), "log_mel_l1") == BETTER


def test_clips_that_fail_now_are_worse(tmp_path: Path) -> None:
    found = pair(tmp_path, 0.0, failed={"m": [3, 4]})
    assert verdict(found, "failed outputs") == WORSE and verdict(found) == EQUAL
    assert any("2 clips fail that did not before" in line for line in lines(found))
    back = compare(tmp_path / "b", tmp_path / "a")
    assert verdict(back, "failed outputs") == BETTER


def test_only_clips_with_the_same_recording_count(tmp_path: Path) -> None:
    import sqlite3

    write_store(tmp_path / "a", {"m": {"si_sdr": clips().tolist()}})
    write_store(tmp_path / "b", {"m": {"si_sdr": clips()[:30].tolist()}})
    with sqlite3.connect(tmp_path / "b" / "results.sqlite") as db:
        db.execute("UPDATE clips SET pcm_sha256 = 'other' WHERE clip_id < 'clip_0005'")
    db.close()
    found = compare(tmp_path / "a", tmp_path / "b")
    assert next(delta.n for delta in found.deltas if delta.metric == "si_sdr") == 25
    assert any("5 clips with one id but other samples" in note for note in found.notes)
    assert any("10 clips of" in note for note in found.notes)


def test_what_changed_is_named(tmp_path: Path) -> None:
    other = run_record(["m"], ["si_sdr"], COUNT)
    other["models"][0]["checkpoint"]["sha256"] = "e" * 64
    other["environment"]["numpy"] = "3.0"
    other["code"]["sha256"] = "f" * 64
    other["corpus"]["content_sha256"] = "0" * 64
    other["settings"]["workers"] = 9
    found = pair(tmp_path, 0.0, **{**other, "seed": 6})
    changed = {change.what: (change.before, change.after) for change in found.changes if change.numbers}
    assert changed == {
        "corpus: content_sha256": ("b" * 64, "0" * 64),
        "model m: weights": ("a" * 64, "e" * 64),
        "seed": ("5", "6"),
        "code: sha256": ("d" * 64, "f" * 64),
        "environment: numpy": ("2.0", "3.0"),
    }
    assert [change.what for change in found.changes if not change.numbers] == ["settings.workers"]


def test_a_metric_defined_otherwise_is_not_compared(tmp_path: Path) -> None:
    changed = {"si_sdr": {**definition("si_sdr"), "version": 99}}
    found = pair(tmp_path, -5.0, metrics=changed)
    assert verdict(found) == UNKNOWN and not found.worse
    assert any("si_sdr: definition" in change.what for change in found.changes)


def document(root: Path, mean: float, half: float, run: str = "r1") -> Path:
    metric = {
        "name": "si_sdr", "title": "SI-SDR", "unit": "dB", "higher_is_better": True, "definition_sha256": "a" * 64,
    }  # fmt: skip
    system = {
        "category": "reconstruction", "model": "m", "title": "M", "parameters": 1, "checkpoint_sha256": None,
        "n_ok": 40, "n_failed": 0,
    }  # fmt: skip
    row = {
        "category": "reconstruction", "metric": "si_sdr", "n_ok": 40, "n_undefined": 0, "n_failed": 0, "mean": mean,
        "median": mean, "low": mean - half, "high": mean + half, "level": 0.95, "method": "x",
    }  # fmt: skip
    text = {
        "schema_version": 1, "collection": "toys", "title": "Toys", "run": run,
        "corpus": run_record(["m"], ["si_sdr"], 40)["corpus"],
        "level_policy": {"name": "x", "text": "x"},
        "selection": {"rule": "random", "count": 1, "population": 40, "text": "x"},
        "systems": [system], "metrics": [metric], "aggregates": [row], "differences": [], "failures": [],
    }  # fmt: skip
    path = root / "_data" / "results" / "toys.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(text))
    return path


def test_documents_are_compared_by_their_intervals(tmp_path: Path) -> None:
    first = document(tmp_path / "a", 10.0, 1.0)
    near = compare(first, document(tmp_path / "b", 9.5, 1.0))
    assert not near.paired and verdict(near) == NOISE and any("not clip by clip" in note for note in near.notes)
    far = compare(first, document(tmp_path / "c", 5.0, 1.0))
    assert verdict(far) == WORSE
    # Independent means with standard errors of 1/1.96 each.
    delta = far.deltas[0]
    assert delta.high - delta.low == pytest.approx(2 * np.sqrt(2.0))
    assert verdict(compare(first, first)) == EQUAL


def test_a_store_and_a_document(tmp_path: Path) -> None:
    write_store(tmp_path / "s", {"m": {"si_sdr": clips().tolist()}}, metrics={})
    found = compare(tmp_path / "s", document(tmp_path / "d", 0.0, 1.0))
    assert not found.paired and verdict(found) == WORSE


def test_records_of_runs_alone_say_what_changed(tmp_path: Path) -> None:
    paths = []
    for name, seed in (("a", 1), ("b", 2)):
        path = tmp_path / name / "_data" / "runs" / "r.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(run_record(["m"], ["si_sdr"], 40, seed=seed)))
        paths.append(path)
    found = compare(*paths)
    assert [change.what for change in found.changes] == ["seed"] and not found.deltas
    assert any("only what changed is known" in note for note in found.notes)


def test_clips_that_changed_are_named(tmp_path: Path) -> None:
    hashes = {f"c{n}": f"{n:064x}" for n in range(8)}
    after = {"new": "f" * 64, **{name: pcm for name, pcm in hashes.items() if name != "c7"}, "c2": "e" * 64}
    paths = []
    for name, listed in (("a", hashes), ("b", after)):
        path = tmp_path / name / "_data" / "runs" / "r.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(run_record(["m"], ["si_sdr"], 8, clip_list=listed)))
        paths.append(path)
    said = [change.what for change in compare(*paths).changes]
    assert said == ["clips with other samples: c2", "clips of the first alone: c7", "clips of the second alone: new"]
    assert not compare(paths[0], paths[0]).changes


def test_noise_says_what_could_have_been_found(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).normal(0.0, 1.0, COUNT)
    found = pair(tmp_path, noise - noise.mean() - 0.05)
    delta = next(delta for delta in found.deltas if delta.metric == "si_sdr")
    # Two-sided test at 5 % with a power of 80 %: about 2.9 standard errors.
    assert delta.detectable == pytest.approx(2.9 * noise.std(ddof=1) / np.sqrt(COUNT), rel=0.02)
    assert any("could have been found" in line for line in lines(found))


def test_documents_tell_of_ranks_that_changed(tmp_path: Path) -> None:
    paths = []
    for name, rank in (("a", 1.0), ("b", 2.0)):
        path = document(tmp_path / name, 10.0, 1.0)
        text = json.loads(path.read_text())
        text["aggregates"][0]["rank"] = rank
        path.write_text(json.dumps(text))
        paths.append(path)
    assert "si_sdr of m: rank 1 before, 2 now" in compare(*paths).notes


def test_nothing_in_common(tmp_path: Path) -> None:
    write_store(tmp_path / "a", {"m": {"si_sdr": [1.0]}})
    write_store(tmp_path / "b", {"n": {"si_sdr": [1.0]}})
    with pytest.raises(InputError, match="no systems in common"):
        compare(tmp_path / "a", tmp_path / "b")
    write_store(tmp_path / "c", {"m": {"log_mel_l1": [1.0]}})
    with pytest.raises(InputError, match="no metrics in common"):
        compare(tmp_path / "a", tmp_path / "c")
    with pytest.raises(InputError, match="missing"):
        compare(tmp_path / "a", tmp_path / "missing")
