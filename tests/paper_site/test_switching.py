"""What the player's schedule sounds like, rendered offline by the browsers themselves: at which sample it switches, and
whether it clicks."""

from __future__ import annotations

import http.server
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

HERE = Path(__file__).resolve().parent
CORE = HERE.parent.parent / "assets" / "js" / "core.js"
PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Switching</title>
<script src="core.js"></script><script src="switching.js"></script></html>"""
COMMANDS = {
    "chromium": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
    "firefox-esr": ["--headless", "--no-remote", "--new-instance"],
}


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """Serve some files and hand on what the page sends back."""
    found: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path.strip("/"))
            self.send_response(404 if data is None else 200)
            kind = "text/javascript" if self.path.endswith(".js") else "text/html"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(data or b"")

        def do_POST(self) -> None:
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", found
    finally:
        server.shutdown()
        server.server_close()


def clip(folder: Path) -> dict[str, bytes]:
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, 16_000)
    # Vorbis keeps what lies low; noise up to 2 kHz.
    wave = np.convolve(wave, np.sinc(np.arange(-60, 61) / 4) / 4 * np.hanning(121), "same")
    files = {}
    for form in ("wav", "flac", "ogg"):
        path = folder / f"clip.{form}"
        soundfile.write(path, wave, 16_000, format=form.upper(), subtype="VORBIS" if form == "ogg" else "PCM_16")
        files[path.name] = path.read_bytes()
    return files


@pytest.mark.browser
@pytest.mark.parametrize(
    "browser",
    [
        pytest.param("chromium", marks=pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")),
        pytest.param(
            "firefox-esr",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not shutil.which("firefox-esr"), reason="needs firefox-esr"),
            ],
        ),
    ],
)
def test_the_schedule_switches_at_the_sample_and_does_not_click(browser: str, tmp_path: Path) -> None:
    files = {"": PAGE, "core.js": CORE.read_bytes(), "switching.js": (HERE / "switching.js").read_bytes()}
    with serving(files | clip(tmp_path)) as (address, answers):
        profile = tmp_path / "profile"
        profile.mkdir()
        where = [f"--user-data-dir={profile}"] if browser == "chromium" else ["--profile", str(profile)]
        extra = ["--remote-debugging-port=0"] if browser == "chromium" else []
        started = subprocess.Popen(
            [browser, *COMMANDS[browser], *extra, *where, address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            found = answers.get(timeout=100)
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
    assert "error" not in found, found["error"]
    assert ("Firefox" in found["agent"]) == (browser == "firefox-esr")
    assert len(found["rates"]) == 2
    for rate in found["rates"]:
        assert rate["switch_ms"] < 1.0 and rate["loop_ms"] < 1.0, rate
        assert rate["click_db"] < -60.0, rate
        assert rate["crossfade_error_db"] < -60.0 and rate["silent_after_stop"] < -100.0, rate
        assert rate["onset_error"] < 1e-6 and rate["peak"] <= 0.5 + 1e-4, rate
        # The measure hears what it is there for.
        assert rate["hard_cut_db"] > -30.0, rate
    assert max(found["codec_ms"]) < 1.0, found
    # A decoder may leave out the last block; the player takes lengths from the manifest.
    assert max(found["codec_s"]) - min(found["codec_s"]) < 0.02, found
