"""What an evaluation costs by clip and stage, and what that means for very many: ``python -m tests.benchmarks.scale``.

Measures on this machine, on one core, and prints the tables of ``eval/docs/scale.md``; with ``--write`` it also puts
them there, between the two marks, and lays the numbers beside it as ``scale.json``. Takes about two minutes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from eval import audio_io
from eval.corpora import HELD_OUT, open_corpus
from eval.evaluation import environment, system_entries
from eval.merge import merge_stores
from eval.metrics import chosen
from eval.results import ClipRow, OutputRow, ResultsStore, ScoreRow
from eval.runner import Runner
from tests.benchmarks.gate import write_whole
from tests.eval.fakes import Fake, as_entry, make_folder

DOCS = Path(__file__).resolve().parents[2] / "eval" / "docs"
MARKS = "<!-- measured: python -m tests.benchmarks.scale --write -->", "<!-- end -->"
MODELS = ("griffin_lim", "melgan", "vqvae2")
CLIPS = 22
STORED = 10_000
FAR = 10_000_000


def stages() -> list[dict[str, Any]]:
    """Seconds a clip by stage, of shipped systems with the default battery on held-out notes of four seconds."""
    corpus = open_corpus(HELD_OUT / "notes")
    found = []
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder, ResultsStore(Path(folder)) as store:
            entries = system_entries([name])
            runner = Runner(store, entries, chosen(()), seed=1, run_id="r", device="cpu", workers=1)
            runner.system(entries[0])
            # The first clips pay for caches and plans.
            runner.run(lambda: list(corpus.clips(split="test"))[:4])
            before = dict(runner.clock.seconds)
            clips = list(corpus.clips(split="test"))[4 : 4 + CLIPS]
            report = runner.run(lambda: iter(clips))  # noqa: B023 (called at once)
            spent = {stage: report.stage_seconds[stage] - before[stage] for stage in before}
            stored = (Path(folder) / "results.sqlite").stat().st_size
            found.append(
                {
                    "model": name,
                    "clips": report.computed,
                    **{f"{stage}_s": seconds / report.computed for stage, seconds in spent.items()},
                    "around_s": (report.wall_s - sum(spent.values())) / report.computed,
                    "wall_s": report.wall_s / report.computed,
                    "store_bytes": stored / (report.computed + 4),
                }
            )
    return found


def around(folder: Path) -> dict[str, float]:
    """What the harness costs where there is next to nothing to do, and where there is nothing."""
    corpus = open_corpus(make_folder(folder / "clips", STORED, duration_s=0.05), layout="folder")

    def run() -> float:
        with ResultsStore(folder / "store") as store:
            runner = Runner(store, [as_entry(Fake())], ["waveform_l1"], seed=1, run_id="r", workers=1)
            return runner.run(lambda: corpus.clips(split="all", rule="none")).wall_s

    first = run()
    return {"clips": STORED, "tiny_clip_s": first / STORED, "nothing_to_do_s": run()}


def store(folder: Path) -> dict[str, float]:
    """Rows a second into a store, four clips at a time with nine scores each, and from store to store."""
    names = chosen(())
    with ResultsStore(folder / "from") as filled:
        started = time.perf_counter()
        for first in range(0, STORED, 4):
            clips = [
                ClipRow(f"clip {n}", "k" * 64, f"/in/{n}.wav", 16_000, 64_000, f"g{n}", {"pitch": 60}, "p" * 64)
                for n in range(first, first + 4)
            ]
            rows = [ScoreRow(name, "m" * 64, 0.5, "ok", None, 0.001) for name in names]
            filled.add(
                clips,
                [
                    OutputRow(c.clip_id, "model", "o" * 64, "ok", None, None, "p" * 64, 0.1, 4.0, "r", rows)
                    for c in clips
                ],
            )
        written = time.perf_counter() - started
        size = (folder / "from" / "results.sqlite").stat().st_size
    with ResultsStore(folder / "into") as into:
        started = time.perf_counter()
        merge_stores(into, [folder / "from"])
        merged = time.perf_counter() - started
    rows_all = STORED * (2 + len(names))
    return {
        "clips": STORED,
        "scores_a_clip": len(names),
        "rows_a_second": rows_all / written,
        "merged_rows_a_second": rows_all / merged,
        "bytes_a_clip": size / STORED,
    }


def export(folder: Path) -> dict[str, float]:
    """Three formats beside Vorbis alone through the same library, and two threads beside one."""
    draws = np.random.default_rng(0)
    rate, seconds = 44_100, 10.0
    time_s = np.arange(round(seconds * rate)) / rate
    waveform = (0.3 * np.sin(2 * np.pi * 220 * time_s) + 0.05 * draws.standard_normal(time_s.size)).astype(np.float32)

    def vorbis() -> None:
        soundfile.write(io.BytesIO(), waveform, rate, format="OGG", subtype="VORBIS", compression_level=0.4)

    def library() -> None:
        """The same three formats and nothing else: no rounding, no hashes, no files."""
        vorbis()
        for form in ("FLAC", "WAV"):
            soundfile.write(io.BytesIO(), waveform, rate, format=form, subtype="PCM_16")

    def ours(number: int = 0) -> None:
        audio_io.write_set(folder / f"clip{number}", waveform, rate)

    def taken(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def many(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(ours, range(8)))

    ours(), library()
    turns = [(taken(ours), taken(vorbis), taken(library)) for _ in range(7)]
    mine, least, three = (min(column) for column in zip(*turns, strict=True))
    alone = min(taken(lambda: many(1)) for _ in range(2))
    beside = min(taken(lambda: many(2)) for _ in range(2))
    return {
        "vorbis_alone_audio_s_a_second": seconds / least,
        "three_formats_audio_s_a_second": seconds / mine,
        "three_formats_over_vorbis": mine / least,
        "library_three_formats_over_vorbis": three / least,
        "gain_of_a_second_thread": alone / beside / 2,
    }


def text(found: dict[str, Any]) -> str:
    """The tables."""
    host, held, kept, out = found["environment"], found["store"], found["around"], found["export"]
    lines = [
        f"Measured on {host['cpu']}, one core, Python {host['python']}, torch {host['torch']}; notes of 4 s at 16"
        " kHz, the default battery of nine metrics.",
        "",
        "| ms a clip | reading | model | metrics | encoding | harness around them | whole |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["stages"]:
        cells = [row[f"{part}_s"] for part in ("read", "model", "metrics", "encode", "around", "wall")]
        share = row["around_s"] / row["wall_s"]
        shown = [f"{1e3 * cell:.1f}" for cell in cells]
        shown[4] += f" ({share:.1%})"
        lines.append(f"| `{row['model']}` | {' | '.join(shown)} |")
    lines += [
        "",
        f"- A clip with next to nothing to do costs {1e3 * kept['tiny_clip_s']:.2f} ms; a run over"
        f" {kept['clips']:,} clips with nothing to do takes {kept['nothing_to_do_s']:.2f} s.",
        f"- The store takes {held['rows_a_second']:,.0f} rows a second and merges {held['merged_rows_a_second']:,.0f};"
        f" a clip with one model and {held['scores_a_clip']} scores is {held['scores_a_clip'] + 2} rows and"
        f" {held['bytes_a_clip'] / 1e3:.1f} kB.",
        f"- Three formats together take {out['three_formats_over_vorbis']:.2f} times as long as Vorbis alone"
        f" ({out['three_formats_audio_s_a_second']:.0f} and {out['vorbis_alone_audio_s_a_second']:.0f} s of sound a"
        f" second at 44.1 kHz), where the encoders by themselves take"
        f" {out['library_three_formats_over_vorbis']:.2f} times;"
        " the rest is rounding once, hashing, and decoding what was written. Two threads give"
        f" {2 * out['gain_of_a_second_thread']:.2f} times what one gives.",
        "",
        f"For {FAR:,} such clips that is",
        "",
        "| model | core hours | on 1,000 cores | store | outputs as 32-bit WAV |",
        "|---|---|---|---|---|",
    ]
    for row in found["stages"]:
        hours = row["wall_s"] * FAR / 3600
        lines.append(
            f"| `{row['model']}` | {hours:,.0f} | {hours / 1000:.1f} h | {held['bytes_a_clip'] * FAR / 1e9:.0f} GB"
            f" | {64_000 * 4 * FAR / 1e12:.1f} TB |"
        )
    merging_h = FAR * (held["scores_a_clip"] + 2) / held["merged_rows_a_second"] / 3600
    lines += ["", f"and {merging_h:.1f} hours for one process to merge the shards."]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description="Cost by clip and stage.")
    parser.add_argument("--write", action="store_true", help="renew eval/docs/scale.md and scale.json")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    found: dict[str, Any] = {"stages": stages()}
    for name, part in (("around", around), ("store", store), ("export", export)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = part(Path(folder))
    found["environment"] = {key: environment()[key] for key in ("cpu", "python", "torch", "platform")}
    table = text(found)
    print(table)
    if write:
        path = DOCS / "scale.md"
        head, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
        _, _, tail = rest.partition(MARKS[1])
        write_whole(path, f"{head}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{tail}")
        write_whole(DOCS / "scale.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
