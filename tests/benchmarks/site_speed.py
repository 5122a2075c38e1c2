"""Time the site builder on a companion of any size: cold, nothing to do, one edit of the manifest.

``python -m tests.benchmarks.site_speed 1000 10000`` prints a table. Every build is a process of its own, started as a
user starts it; times are the least of some rounds, so that other work on the machine counts as little as possible.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.large_companion import make_large

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """One build: seconds on the clock and of processor time, and the most memory that it held."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def build_once(source: Path) -> Timing:
    """Build a companion in a process of its own.

    Raises:
        RuntimeError: If the build fails.
    """
    started = time.perf_counter()
    command = [sys.executable, str(ROOT / "build_site.py"), "--source", str(source), "--render-only"]
    process = os.posix_spawn(sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)])
    _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) not in {0, 120}:  # 120: nowhere to print to
        raise RuntimeError(f"{source} was not built")
    return Timing(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _least(timings: list[Timing]) -> Timing:
    return Timing(*(min(getattr(t, name) for t in timings) for name in ("wall_s", "cpu_s", "peak_mib")))


def measure(rows: int, rounds: int = ROUNDS) -> dict[str, Timing]:
    """Time the builder on a companion with one listening table.

    Args:
        rows: Clips, each with two players.
        rounds: Builds of each kind.

    Returns:
        What was done to its timing.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = make_large(Path(folder) / "companion", rows)
        manifest = source / "_data" / "rows.yml"
        cold, nothing, edited = [], [], []
        for number in range(rounds):
            shutil.rmtree(source / "_site", ignore_errors=True)
            shutil.rmtree(source / ".cache", ignore_errors=True)
            cold.append(build_once(source))
            build_once(source)
            nothing.append(build_once(source))
            text = manifest.read_text(encoding="utf-8")
            manifest.write_text(text.replace("velocity: 100", f"velocity: {number}", 1), encoding="utf-8")
            edited.append(build_once(source))
    return {"cold": _least(cold), "nothing to do": _least(nothing), "one edit": _least(edited)}


def main(sizes: list[int]) -> None:
    """Print a table of timings."""
    print("| rows | build | seconds | processor s | peak MiB |\n|---|---|---|---|---|")
    for rows in sizes:
        for what, timing in measure(rows).items():
            print(f"| {rows} | {what} | {timing.wall_s:.2f} | {timing.cpu_s:.2f} | {timing.peak_mib:.0f} |")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1000])
