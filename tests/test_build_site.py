from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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


def _get(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def _until(address: str, path: str, holds: Callable[[int, bytes], bool]) -> bytes:
    for _ in range(150):
        status, _, body = _get(address, path)
        if holds(status, body):
            return body
        time.sleep(0.2)
    pytest.fail(f"{path} did not change: {status} {body[-300:]!r}")


def test_the_server_follows_edits_shows_errors_and_sends_ranges(companion: Path) -> None:
    command = [sys.executable, str(ROOT / "build_site.py"), "--source", str(companion)]
    command += ["--render-only", "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            address = next(line for line in served.stdout if line.startswith("serving ")).split()[1]
            text = companion / "about.md"
            good = text.read_text(encoding="utf-8")
            assert b"/_reload.js" in _get(address, "/about.html")[2]
            text.write_text(good + "\nfresh words\n", encoding="utf-8")
            _until(address, "/about.html", lambda status, body: status == 200 and b"fresh words" in body)
            text.write_text(good + "\n{% nosuch %}\n", encoding="utf-8")
            body = _until(address, "/about.html", lambda status, _: status == 500)
            assert b"nosuch" in body and b"about.md" in body and b"&gt; " in body
            assert b"fresh words" in (companion / "_site" / "about.html").read_bytes()
            text.write_text(good, encoding="utf-8")
            _until(address, "/about.html", lambda status, body: status == 200 and b"fresh words" not in body)
            clip = next((companion / "_site" / "assets" / "audio" / "tones").glob("*.wav"))
            status, headers, body = _get(address, f"/assets/audio/tones/{clip.name}", Range="bytes=0-1")
            assert (status, headers["content-type"], body) == (206, "audio/wav", b"RI")
            assert headers["content-range"] == f"bytes 0-1/{clip.stat().st_size}"
        finally:
            served.send_signal(signal.SIGINT)
            assert served.wait(20) == 130


def test_new_makes_a_companion_that_can_be_heard_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    done = _run("new", str(folder), "--title", "Ours")
    assert done.returncode == 0, done.stderr
    assert "next: python build_site.py" in done.stdout
    assert _run("--source", str(folder), "--render-only").returncode == 0
    assert (folder / "_site" / "listen" / "samples.html").is_file()
    again = _run("new", str(folder))
    assert again.returncode == 2 and "not empty" in again.stderr
    audio = tmp_path / "audio"
    for system in ("reference", "ours"):
        shutil.copytree(folder / "recordings" / "original", audio / system)
    put = _run("new", str(folder), "--from-audio", str(audio))
    assert put.returncode == 0, put.stderr
    assert "Reference, Ours" in put.stdout
    assert _run("--source", str(folder), "--render-only").returncode == 0
    assert "Reference" in (folder / "_site" / "listen" / "samples.html").read_text(encoding="utf-8")


def test_explain_says_why(companion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--source", str(companion), "--render-only", "--explain"]
    assert build_site.main(command) == 0
    assert "index.html: nothing is remembered of it" in capsys.readouterr().out
    text = companion / "about.md"
    text.write_text(text.read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    assert build_site.main(command) == 0
    out = capsys.readouterr().out
    assert "about.html: the text about.md changed" in out
    assert "not rendered: nothing that they read has changed" in out
