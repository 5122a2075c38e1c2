"""A companion of any size, to time the site builder with: one listening table of invented rows, two players each.

``python -m tests.benchmarks.large_companion FOLDER 10000`` makes it.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from pathlib import Path

RUN = "20261121T100000Z-0a1b2c3d"
RATE_HZ = 16000
SAMPLES = 160
FAMILIES = ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "vocal")
SITE = """\
title: A large study
authors: [{name: Nobody}]
evaluation:
  - {collection: rows, title: Rows, corpus: rows, models: [codec], selection: {rule: all, count: %d, seed: 1}}
"""


def _wav(number: int, category: str) -> bytes:
    """Ten milliseconds of a tone, other bytes for every file."""
    step = 2 * math.pi * (number % 30 + 2 + 31 * (category == "original")) / SAMPLES
    samples = [round(9000 * math.sin(step * n) + number % 13 + number / 13 % 17) for n in range(SAMPLES)]
    body = struct.pack(f"<{SAMPLES}h", *samples) + b"LIST" + struct.pack("<I", 8) + f"{number:08d}".encode()
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    data = b"data" + struct.pack("<I", 2 * SAMPLES) + body
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(data)) + b"WAVE" + head + data


def _row(number: int, rows: int, root: Path) -> str:
    family = FAMILIES[number % len(FAMILIES)]
    name = f"{family}_acoustic_{number:05d}-{number % 88 + 20:03d}-100"
    lines = [
        f"{name}:",
        f"  pitch: {number % 88 + 20}",
        f"  instrument_family_str: {family}",
        "  velocity: 100",
        f"  sample_rate_hz: {RATE_HZ}",
        f"  duration_s: {SAMPLES / RATE_HZ}",
        "  bits: 16",
        "  systems:",
        "    reconstruction:",
        "      model: codec",
        "      title: Codec",
        f'      run: "{RUN}"',
        "  files:",
    ]
    for category in ("original", "reconstruction"):
        lines.append(f"    {category}:")
        path = f"assets/audio/rows/{name}-{category}.wav"
        data = _wav(number, category)
        (root / path).write_bytes(data)
        sha = hashlib.sha256(data).hexdigest()
        lines += [
            "      wav:",
            f"        path: {path}",
            f'        sha256: "{sha}"',
            f"        bytes: {len(data)}",
            f'        pcm_sha256: "{sha}"',
        ]
    lines += [
        "  loudness_lufs:",
        f"    original: {-20 - number % 7}.5",
        f"    reconstruction: {-21 - number % 5}.25",
        "  gain_db:",
        "    original: 0.0",
        "    reconstruction: 0.0",
        "  scores:",
        "    reconstruction:",
        "      log_mel_l1:",
        f"        value: {0.3 + number % 97 / 100:.4f}",
        "        status: ok",
        "      si_sdr:",
        f"        value: {10 - number % 53 / 7:.4f}",
        "        status: ok",
        "  selection:",
        "    rule: all",
        "    seed: 1",
        f"    population: {rows}",
        f"    rank: {number + 1}",
    ]
    return "\n".join(lines) + "\n"


def make_large(root: Path, rows: int) -> Path:
    """Write the companion.

    Args:
        root: Folder to make it in.
        rows: Number of clips.

    Returns:
        The folder.
    """
    for folder in ("_data/results", "_data/runs", "assets/audio/rows"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "_data" / "site.yml").write_text(SITE % rows, encoding="utf-8")
    (root / "_data" / "rows.yml").write_text("".join(_row(i, rows, root) for i in range(rows)), encoding="utf-8")
    results = {
        "schema_version": 1,
        "collection": "rows",
        "title": "Rows",
        "run": RUN,
        "corpus": {
            "name": "rows",
            "layout": "folder",
            "split": "test",
            "rule": "hash",
            "rule_text": "",
            "content_sha256": "c" * 64,
            "clips": rows,
            "groups": len(FAMILIES),
        },
        "level_policy": {"name": "row_gain", "text": "Levels are stored as they are."},
        "selection": {"rule": "all", "seed": 1, "count": rows, "population": rows, "text": f"All {rows} clips."},
        "systems": [
            {
                "category": "reconstruction",
                "model": "codec",
                "title": "Codec",
                "parameters": 1,
                "checkpoint_sha256": None,
                "n_ok": rows,
                "n_failed": 0,
            }
        ],
        "metrics": [
            {"name": "log_mel_l1", "title": "Log-mel L1", "unit": "nat", "higher_is_better": False},
            {"name": "si_sdr", "title": "SI-SDR", "unit": "dB", "higher_is_better": True},
        ],
        "aggregates": [],
        "differences": [],
        "failures": [],
    }
    for metric in results["metrics"]:  # type: ignore[attr-defined]
        metric["definition_sha256"] = hashlib.sha256(metric["name"].encode()).hexdigest()
    (root / "_data" / "results" / "rows.json").write_text(json.dumps(results), encoding="utf-8")
    record = {
        "schema_version": 1,
        "run_id": RUN,
        "command": "python build_site.py",
        "created": "2026-11-21T10:00:00Z",
        "seed": 1,
        "device": "cpu",
        "environment": {"python": "3.11"},
        "code": {"commit": "e" * 40, "dirty": False},
        "models": [{"name": "codec", "title": "Codec"}],
        "corpus": {"name": "rows", "layout": "folder", "split": "test", "rule": "hash", "content_sha256": "c" * 64},
        "metrics": {m["name"]: {"title": m["title"]} for m in results["metrics"]},  # type: ignore[attr-defined]
        "wall_s": 1.0,
        "stage_seconds": {},
        "peak_memory_bytes": 1,
        "clips": {"total": rows, "ok": rows, "failed": 0},
    }
    (root / "_data" / "runs" / f"{RUN}.json").write_text(json.dumps(record), encoding="utf-8")
    return root


if __name__ == "__main__":
    make_large(Path(sys.argv[1]), int(sys.argv[2]))
