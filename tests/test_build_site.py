from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import build_site

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "tests" / "data" / "companion"


@pytest.fixture
def companion(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "companion"))


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "build_site.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = _run("--help")
        times.append(time.perf_counter() - start)
        assert done.returncode == 0
    assert min(times) < 0.5
    for option in (
        "--source",
        "--destination",
        "--corpus",
        "--layout",
        "--split",
        "--model",
        "--device",
        "--render-only",
    ):
        assert option in done.stdout


def test_rendering_says_what_it_did(companion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_site.main(["--source", str(companion), "--render-only"]) == 0
    out = capsys.readouterr().out
    assert "pages and 4 clips" in out
    assert (companion / "_site" / "index.html").is_file()
    assert build_site.main(["--source", str(companion), "--render-only"]) == 0
    assert "(0 files written" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["no folder", "broken yaml", "full destination", "unknown option"])
def test_wrong_input_exits_with_2_and_one_line(companion: Path, tmp_path: Path, fault: str) -> None:
    arguments = ["--source", str(companion), "--render-only"]
    if fault == "no folder":
        arguments[1] = str(tmp_path / "none")
    elif fault == "broken yaml":
        (companion / "_data" / "tones.yml").write_text("a: [", encoding="utf-8")
    elif fault == "full destination":
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").write_text("x", encoding="utf-8")
        arguments += ["--destination", str(tmp_path / "full")]
    else:
        arguments += ["--nosuch"]
    done = _run(*arguments)
    assert done.returncode == 2
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    if fault != "unknown option":
        assert len(done.stderr.splitlines()) == 1


def test_a_failed_evaluation_still_builds_and_exits_with_1(
    companion: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from eval import pipeline

    seen: dict[str, Any] = {}

    def fake(source: Path, **options: Any) -> SimpleNamespace:
        seen.update(options, source=source)
        return SimpleNamespace(evaluated=[], unchanged=["music"], errors=["tones: no such corpus"], warnings=[])

    monkeypatch.setattr(pipeline, "evaluate_companion", fake)
    status = build_site.main(
        ["--source", str(companion), "--model", "a", "--model", "b@c", "--device", "cpu", "--split", "x"]
    )
    captured = capsys.readouterr()
    assert status == 1
    assert "error: tones: no such corpus" in captured.err
    assert "music up to date" in captured.out
    assert (companion / "_site" / "index.html").is_file()
    assert (seen["models"], seen["device"], seen["split"]) == (["a", "b@c"], "cpu", "x")
    assert seen["command"].startswith("python build_site.py --source")


def test_an_evaluation_error_is_one_line(
    companion: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from eval import pipeline

    def fake(source: Path, **_: Any) -> None:
        raise pipeline.EarwitnessError("broken")

    monkeypatch.setattr(pipeline, "evaluate_companion", fake)
    assert build_site.main(["--source", str(companion)]) == 1
    assert "error: broken" in capsys.readouterr().err
    assert (companion / "_site" / "index.html").is_file()


def test_interrupting_exits_with_130(companion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval import pipeline

    def stop(source: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "evaluate_companion", stop)
    assert build_site.main(["--source", str(companion)]) == 130
