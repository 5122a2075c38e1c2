"""The figures that the project sets itself, measured: ``python -m tests.benchmarks.figures [site] [memory]``.

``site`` copies the project without its products and times the main job in the copy: the first run, a second run with
nothing changed, a run after one line of a manifest and one line of ``site.yml`` changed; from the run records of the
first it takes the share of the harness's time that models, metrics and encoders had. ``memory`` runs the harness over
100 and over 5,000 short clips and compares the peaks. Together they take about ten minutes; one line is printed per
figure, with its target, and the exit status is 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
PRODUCTS = (".*", "_site", "_results", "__pycache__", "runs", "results", "audio", "images", "tests", "node_modules")
USEFUL_STAGES = ("model", "metrics", "encode")


class Figures:
    """Prints figures and remembers whether one was missed."""

    def __init__(self) -> None:
        self.missed = False

    def show(self, words: str, value: float, unit: str, limit: float, *, at_least: bool = False) -> None:
        met = value >= limit if at_least else value <= limit
        self.missed |= not met
        target = f"{'at least' if at_least else 'at most'} {limit:g} {unit}".strip()
        print(f"{words}: {value:.3g} {unit} ({target}: {'met' if met else 'MISSED'})", flush=True)


def timed(*command: str | Path, cwd: Path) -> float:
    """Wall seconds of a command that has to succeed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return time.perf_counter() - started


def change_line(path: Path, pattern: str, replacement: str) -> None:
    """Change the first line that a pattern fits."""
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    if not count:
        sys.exit(f"error: {path}: no line fits {pattern!r}")
    path.write_text(text, encoding="utf-8")


def site(figures: Figures, scratch: Path) -> None:
    """Seconds of the main job, and where the harness spends its time."""
    copy = scratch / "project"
    shutil.copytree(PROJECT, copy, ignore=lambda folder, names: products(Path(folder), names))
    figures.show("main job, first run", timed("build_site.py", cwd=copy), "s", 180)
    figures.show("main job, nothing changed", timed("build_site.py", cwd=copy), "s", 2)
    change_line(copy / "_data" / "site.yml", r"^subtitle: .*$", "subtitle: Another subtitle")
    figures.show("main job, one line of site.yml changed", timed("build_site.py", cwd=copy), "s", 3)
    for record in sorted((copy / "_data" / "runs").glob("*.json")):
        run = json.loads(record.read_text(encoding="utf-8"))
        stages = {name: seconds for name, seconds in run["stage_seconds"].items() if name != "export"}
        useful = sum(stages.get(name, 0.0) for name in USEFUL_STAGES)
        words = f"harness, {run['clips']['total']} clips: share of model, metrics and encoders"
        figures.show(words, 100 * useful / sum(stages.values()), "%", 85, at_least=True)
    manifest = copy / "_data" / "reconstructions.yml"
    change_line(manifest, r"^( +)velocity: .*$", r"\1velocity: 1")
    figures.show("site, one line of a manifest changed", timed("build_site.py", cwd=copy), "s", 3)


def products(folder: Path, names: list[str]) -> set[str]:
    """What a fresh copy leaves out."""
    if folder == PROJECT:
        return set(shutil.ignore_patterns(*PRODUCTS)(str(folder), names))
    if folder.parent == PROJECT and folder.name in ("_data", "assets"):
        generated = {name for name in names if name.endswith(".yml") and name != "site.yml"}
        return generated | set(names) & {"runs", "results", "studies", "audio", "images"}
    return {name for name in names if name == "__pycache__"}


def memory(figures: Figures, scratch: Path) -> None:
    """Peak memory of the harness over few and over many clips."""
    peaks = {count: peak_of_run(scratch, count) for count in (100, 5000)}
    for count, peak in peaks.items():
        print(f"harness over {count} clips: peak {peak / 2**20:.0f} MB")
    figures.show("memory at 5,000 clips against 100", peaks[5000] / peaks[100], "", 1.1)


def peak_of_run(scratch: Path, count: int) -> int:
    """Peak resident bytes of one run of the harness over noise of a quarter of a second."""
    from eval.audio_io import write_float

    corpus = scratch / f"clips-{count}"
    corpus.mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        waveform = (0.1 * generator.standard_normal((1, 4000))).astype(np.float32)
        write_float(corpus / f"{index:05d}.wav", waveform, 16_000)
    command = [
        sys.executable,
        "-m",
        "eval",
        "run",
        "--model",
        "griffin_lim",
        "--corpus",
        str(corpus),
        "--layout",
        "folder",
    ]
    command += ["--rule", "none", "--output", str(scratch / f"results-{count}"), "--workers", "2"]
    with (scratch / f"log-{count}.txt").open("wb") as log:
        child = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = (scratch / f"log-{count}.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
        sys.exit(f"error: the harness ended with {child.returncode}: {tail}")
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024


PARTS = {"site": site, "memory": memory}


def main() -> int:
    """Measure the chosen parts; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.figures", description="Measure the set figures.")
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="site, memory (default: both)")
    chosen = parser.parse_args().part or list(PARTS)
    figures = Figures()
    for part in chosen:
        with tempfile.TemporaryDirectory(prefix="figures-") as scratch:
            PARTS[part](figures, Path(scratch))
    return 1 if figures.missed else 0


if __name__ == "__main__":
    sys.exit(main())
