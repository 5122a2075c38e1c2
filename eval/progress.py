"""A progress bar for whoever runs a command: clips per second and time left."""

from __future__ import annotations

import threading
import time
from typing import TextIO

_WIDTH = 24


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


class Bar:
    """Draws one line on a terminal; elsewhere it writes a line now and then.

    Args:
        stream: Where to write, such as ``sys.stderr``.
        every_s: Shortest time between two drawings; a stream that is no terminal gets a fiftieth of them.
    """

    def __init__(self, stream: TextIO, every_s: float = 0.2) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._every_s = every_s if self._terminal else every_s * 50
        self._lock = threading.Lock()
        self._title = ""
        self._total = self._done = self._failed = 0
        self._start = self._drawn = 0.0
        self._shown = False
        self._said = -1

    def start(self, title: str, total: int) -> None:
        """A stage begins."""
        with self._lock:
            self._title, self._total, self._done, self._failed = title, total, 0, 0
            self._start = self._drawn = time.monotonic()
            self._shown = False
            self._said = -1
            if self._terminal and total:
                self._draw()

    def advance(self, clips: int, failed: int = 0) -> None:
        """Clips are done."""
        with self._lock:
            self._done += clips
            self._failed += failed
            if time.monotonic() - self._drawn >= self._every_s:
                self._draw()

    def note(self, text: str) -> None:
        """One line for the reader, above the bar."""
        with self._lock:
            if self._terminal and self._shown:
                self._stream.write("\r\x1b[K")
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def finish(self) -> None:
        """The stage is over."""
        with self._lock:
            if self._total and (self._terminal or self._said != self._done):
                self._draw(last=True)

    def line(self) -> str:
        """What the bar says now."""
        elapsed = max(1e-9, time.monotonic() - self._start)
        share = min(1.0, self._done / self._total) if self._total else 1.0
        filled = round(share * _WIDTH)
        text = f"{self._title} [{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total} clips"
        if self._done:
            rate = self._done / elapsed
            text += f", {rate:.1f} clips/s" if rate < 100 else f", {rate:.0f} clips/s"
            if self._done < self._total:
                text += f", {clock((self._total - self._done) / rate)} left"
            else:
                text += f", took {clock(elapsed)}"
        if self._failed:
            text += f", {self._failed} failed"
        return text

    def _draw(self, *, last: bool = False) -> None:
        self._drawn = time.monotonic()
        self._shown = not last
        self._said = self._done
        if self._terminal:
            self._stream.write(f"\r\x1b[K{self.line()}" + ("\n" if last else ""))
        else:
            self._stream.write(f"{self.line()}\n")
        self._stream.flush()
