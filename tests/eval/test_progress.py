from __future__ import annotations

import io

import pytest

from eval.progress import Bar, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (-5, "0:00"), (754, "12:34")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_bar_says_clips_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    stream = Terminal()
    bar = Bar(stream)
    bar.start("evaluate", 40)
    now = 105.0
    bar.advance(10, failed=2)
    assert bar.line() == "evaluate [######..................] 10/40 clips, 2.0 clips/s, 0:15 left, 2 failed"
    bar.note("a line")
    bar.advance(30)
    bar.finish()
    text = stream.getvalue()
    assert text.endswith("40/40 clips, 8.0 clips/s, took 0:05, 2 failed\n")
    assert "\r\x1b[Ka line\n" in text


def test_a_file_gets_few_lines_without_control_characters() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.start("x", 1000)
    for _ in range(1000):
        bar.advance(1)
    bar.finish()
    bar.start("nothing", 0)
    bar.finish()
    assert stream.getvalue().count("\n") == 1 and "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()
