"""``pytest --benchmark`` itself, on a small suite of its own: what makes it fail, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import history
from tests.benchmarks.gate import Tolerance, judge_quality, judge_speed

PROJECT = Path(__file__).resolve().parents[2]

SUITE = """
import os
import pytest

pytestmark = pytest.mark.benchmark
FACTOR = float(os.environ.get("FACTOR", "1"))
if os.environ.get("ONCE") and not os.environ.get("EARWITNESS_SECOND_LOOK"):
    FACTOR = 1.5
ERROR = float(os.environ.get("ERROR", "0.5"))
COUNT = int(os.environ.get("COUNT", "8"))

def count(steps):
    total = 0
    for step in range(int(steps)):
        total += step
    return total

def reference():
    return count(30_000)

def test_work(speed):
    if os.environ.get("LACKING"):
        return speed.absent("hearing")
    speed(lambda: count(90_000 * FACTOR), reference, rounds=4)

def test_model(quality):
    if os.environ.get("SKIP"):
        pytest.skip("no checkpoint")
    if os.environ.get("MISSING"):
        raise FileNotFoundError("model.safetensors")
    quality("model", lambda: {
        "log_mel_l1": {"mean": ERROR, "n_ok": COUNT, "higher_is_better": False},
        "si_sdr": {"mean": 10 - ERROR, "n_ok": COUNT, "higher_is_better": True},
    })
"""


def make_project(tmp_path: Path) -> Path:
    suite = tmp_path / "tests" / "benchmarks"
    suite.mkdir(parents=True)
    (suite / "test_suite.py").write_text(SUITE, encoding="utf-8")
    (tmp_path / "tests" / "test_plain.py").write_text("def test_plain():\n    pass\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.benchmarks.plugin"]\n', encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\n"
        'testpaths = ["tests"]\n'
        'addopts = "--import-mode=importlib --strict-markers -p no:cacheprovider"\n'
        f'pythonpath = [".", {str(PROJECT)!r}]\n'
        'markers = ["benchmark: a measurement"]\n'
        'filterwarnings = ["error"]\n',
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def run(project: Path, *arguments: str, **environment: object) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=project,
        env=inherited | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def first_baseline(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_project(tmp_path_factory.mktemp("first"))
    done = run(folder, "--benchmark-update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "renewed" in done.stdout
    return baseline(folder).read_text(encoding="utf-8")


@pytest.fixture
def measured(project: Path, first_baseline: str) -> Path:
    baseline(project).write_text(first_baseline, encoding="utf-8")
    return project


def baseline(project: Path) -> Path:
    return project / "tests" / "benchmarks" / "baseline.json"


def test_plain_pytest_leaves_benchmarks_out(project: Path) -> None:
    done = run(project)
    assert done.returncode == 0
    assert "1 passed, 2 deselected" in done.stdout


def test_nothing_changed_passes(measured: Path) -> None:
    done = run(measured, "--benchmark")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert "test_plain" not in done.stdout
    entry = json.loads(baseline(measured).read_text(encoding="utf-8"))["speed"]["work"]
    assert entry["ratio"] == pytest.approx(3.0, rel=0.3)


def test_a_slowdown_of_30_per_cent_fails(measured: Path) -> None:
    done = run(measured, "--benchmark", FACTOR=1.3)
    assert done.returncode == 1
    assert "regression against the baseline" in done.stdout
    assert "worse  work" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def runs(project: Path) -> list[dict[str, Any]]:
    path = project / "_data" / "benchmarks.json"
    return history.read(path)


def test_every_complete_run_is_added_to_the_history(measured: Path) -> None:
    assert run(measured, "--benchmark", "-k", "work").returncode == 0
    assert runs(measured) == []
    assert run(measured, "--benchmark").returncode == 0
    assert run(measured, "--benchmark", ERROR=0.7).returncode == 1
    assert run(measured, "--benchmark", "--benchmark-history", "none").returncode == 0
    first, second = runs(measured)
    assert (first["passed"], second["passed"]) == (True, False)
    assert second["speed"]["work"] == pytest.approx(first["speed"]["work"], rel=0.5)
    assert first["quality"] == {"model": {"log_mel_l1": 0.5, "si_sdr": 9.5}}
    assert first["machine"]["cores"] and first["created"].endswith("Z")


def test_the_history_is_bounded_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.json"
    for number in range(history.KEPT + 3):
        history.add(path, {"id": str(number)})
    assert [one["id"] for one in history.read(path)] == [str(n) for n in range(3, history.KEPT + 3)]
    path.write_text('{"schema_version": 99, "runs": []}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"history\.json is not of version 1"):
        history.add(path, {"id": "x"})
    assert "99" in path.read_text(encoding="utf-8")


def test_work_without_its_optional_package_is_named_and_keeps_its_entry(measured: Path) -> None:
    assert run(measured, "--benchmark-update", LACKING=1).returncode == 0
    content = json.loads(baseline(measured).read_text(encoding="utf-8"))
    assert content["speed"]["work"]["ratio"] > 1
    done = run(measured, "--benchmark", LACKING=1)
    assert done.returncode == 0, done.stdout
    assert "the optional package hearing is not installed: work" in done.stdout


def test_a_rehearsal_catches_what_it_plants(measured: Path) -> None:
    done = run(measured, "--benchmark-rehearsal", "-k", "model")
    assert done.returncode == 0, done.stdout
    content = json.loads(baseline(measured).read_text(encoding="utf-8"))
    content["quality"]["model"]["log_mel_l1"]["mean"] = 5.0
    baseline(measured).write_text(json.dumps(content), encoding="utf-8")
    done = run(measured, "--benchmark-rehearsal", "-k", "model")
    assert done.returncode == 1 and "planted, and not caught" in done.stdout
    assert runs(measured) == []
    assert "take one" in run(measured, "--benchmark-rehearsal", "--benchmark-update").stderr


def test_a_benchmark_beyond_its_limit_is_looked_at_again_elsewhere(measured: Path) -> None:
    # Slow in this process alone, as an unlucky place in memory would have it.
    done = run(measured, "--benchmark", "-k", "work", ONCE=1)
    assert done.returncode == 0, done.stdout


def test_a_quality_drop_fails(measured: Path) -> None:
    done = run(measured, "--benchmark", ERROR=0.55)
    assert done.returncode == 1
    assert "worse  model log_mel_l1: 0.5 -> 0.55" in done.stdout


def test_lost_clips_fail_even_with_a_better_mean(measured: Path) -> None:
    done = run(measured, "--benchmark", ERROR=0.3, COUNT=7)
    assert done.returncode == 1
    assert "model log_mel_l1 clips: 8 -> 7" in done.stdout


def test_an_improvement_passes_with_a_hint(measured: Path) -> None:
    done = run(measured, "--benchmark", ERROR=0.3, FACTOR=0.4)
    assert done.returncode == 0, done.stdout
    assert "better  work" in done.stdout
    assert "better  model log_mel_l1" in done.stdout
    assert "renew it with pytest --benchmark-update" in done.stdout


def test_update_shows_the_difference_and_renews(measured: Path) -> None:
    done = run(measured, "--benchmark-update", ERROR=0.6)
    assert done.returncode == 0
    assert "model log_mel_l1: 0.5 -> 0.6 (+20.0%)" in done.stdout
    assert run(measured, "--benchmark", ERROR=0.6).returncode == 0


def test_a_failed_update_leaves_the_baseline_alone(measured: Path) -> None:
    before = baseline(measured).read_bytes()
    done = run(measured, "--benchmark-update", MISSING=1, FACTOR=3)
    assert done.returncode == 1
    assert "left as it was" in done.stdout
    assert baseline(measured).read_bytes() == before


def test_a_part_can_be_run_and_renewed(measured: Path) -> None:
    assert run(measured, "--benchmark", "-k", "work").returncode == 0
    assert run(measured, "--benchmark-update", "-k", "model", ERROR=0.7).returncode == 0
    content = json.loads(baseline(measured).read_text(encoding="utf-8"))
    assert content["quality"]["model"]["log_mel_l1"]["mean"] == 0.7
    assert content["speed"]["work"]["ratio"] > 1


def test_without_a_baseline_it_fails(project: Path) -> None:
    done = run(project, "--benchmark")
    assert done.returncode == 4
    assert "there is no baseline" in done.stderr
    assert "--benchmark-update" in done.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 99}'])
def test_with_a_broken_baseline_it_fails(project: Path, content: str) -> None:
    baseline(project).write_text(content, encoding="utf-8")
    done = run(project, "--benchmark")
    assert done.returncode == 4
    assert "baseline.json" in done.stderr


@pytest.mark.parametrize("how", ["SKIP", "MISSING"])
def test_a_missing_model_fails(measured: Path, how: str) -> None:
    done = run(measured, "--benchmark", **{how: 1})
    assert done.returncode == 1
    assert "test_model measured nothing" in done.stdout


def test_an_entry_without_a_benchmark_fails(measured: Path) -> None:
    content = json.loads(baseline(measured).read_text(encoding="utf-8"))
    content["speed"]["removed"] = {"ratio": 1.0}
    baseline(measured).write_text(json.dumps(content), encoding="utf-8")
    done = run(measured, "--benchmark")
    assert done.returncode == 1
    assert "the baseline has speed of removed, which no benchmark measured" in done.stdout
    assert run(measured, "--benchmark", "-k", "work").returncode == 0


def test_a_benchmark_without_an_entry_fails(measured: Path) -> None:
    content = json.loads(baseline(measured).read_text(encoding="utf-8"))
    del content["speed"]["work"]
    baseline(measured).write_text(json.dumps(content), encoding="utf-8")
    done = run(measured, "--benchmark")
    assert done.returncode == 1
    assert "no baseline entry" in done.stdout


def test_under_xdist_it_fails(measured: Path) -> None:
    # Stands in for xdist: under it pytest-benchmark measures nothing and passes.
    (measured / "many.py").write_text(
        "def pytest_addoption(parser):\n"
        "    parser.addoption('--numprocesses', dest='numprocesses', type=int)\n"
        "    parser.addoption('--dist', dest='dist', default='no')\n",
        encoding="utf-8",
    )
    done = run(measured, "-p", "many", "--benchmark", "--numprocesses", "2")
    assert done.returncode == 4
    assert "xdist" in done.stderr
    assert run(measured, "-p", "many", "--benchmark", "-k", "model").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "no:benchmark"), "needs pytest-benchmark"),
        (("--benchmark-disable",), "would measure nothing"),
        (("--benchmark-skip",), "would measure nothing"),
    ],
)
def test_switched_off_measurement_fails(measured: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(measured, "--benchmark", *arguments)
    assert done.returncode == 4
    assert words in done.stderr


def test_nothing_selected_fails(measured: Path) -> None:
    assert run(measured, "--benchmark", "-k", "nothing").returncode == 5


def test_another_machine_is_judged_loosely(measured: Path) -> None:
    content = json.loads(baseline(measured).read_text(encoding="utf-8"))
    content["machine"] = {"system": "Plan 9", "processor": "mips", "vectors": "none"}
    baseline(measured).write_text(json.dumps(content), encoding="utf-8")
    done = run(measured, "--benchmark", FACTOR=2)
    assert done.returncode == 0, done.stdout
    assert "another kind of machine" in done.stdout
    assert run(measured, "--benchmark", FACTOR=5).returncode == 1


def test_speed_limits() -> None:
    entry = {"ratio": 10.0}
    outcomes = [judge_speed("x", ratio, entry, True).outcome for ratio in (6.0, 10.0, 11.4, 11.6, 20.0, float("nan"))]
    assert outcomes == ["better", "ok", "ok", "worse", "worse", "worse"]
    assert judge_speed("x", 20.0, entry, False).outcome == "ok"
    assert judge_speed("x", 1.0, None, True).outcome == "new"


@pytest.mark.parametrize(("higher", "values"), [(False, (0.9, 1.0, 1.01, 1.1)), (True, (1.1, 1.0, 0.99, 0.9))])
def test_quality_limits_follow_the_direction(higher: bool, values: tuple[float, ...]) -> None:
    entry = {"metric": {"mean": 1.0, "n_ok": 5, "higher_is_better": higher}}
    outcomes = [
        judge_quality("m", {"metric": {"mean": mean, "n_ok": 5, "higher_is_better": higher}}, entry)[0].outcome
        for mean in values
    ]
    assert outcomes == ["better", "ok", "ok", "worse"]


def test_quality_without_a_number_is_worse() -> None:
    entry = {"metric": {"mean": 1.0, "n_ok": 5, "higher_is_better": False}}
    nothing = {"metric": {"mean": None, "n_ok": 0, "higher_is_better": False}}
    not_a_number = {"metric": {"mean": float("nan"), "n_ok": 5, "higher_is_better": False}}
    for measured in ({}, nothing, not_a_number):
        assert judge_quality("m", measured, entry)[0].outcome == "worse"
    assert [v.outcome for v in judge_quality("m", entry, nothing)] == ["better"]
    assert [v.outcome for v in judge_quality("m", {**entry, "other": entry["metric"]}, entry)] == ["ok", "new"]


def test_tolerance_is_absolute_plus_relative() -> None:
    assert Tolerance(relative=0.1, absolute=0.5).allowed(-20.0) == pytest.approx(2.5)
