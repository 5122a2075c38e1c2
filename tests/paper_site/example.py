"""Make a small companion of invented systems and tones, in the form in which the evaluation writes one.

``python -m tests.paper_site.example tests/data/companion`` makes the committed one again.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from PIL import Image

RUN = "20261121T100000Z-0a1b2c3d"
HOSTILE = "<script>alert('x')</script> & \"quoted\" ../../Ünïcode"
SYSTEMS = {"reconstruction": ("codec", "Toy codec"), "phase": ("phase", "Toy phase recovery")}
METRICS = {
    "log_mel_l1": ("Log-mel L1", "nat", False),
    "si_sdr": ("SI-SDR", "dB", True),
    "log_spectral_distance": ("Log-spectral distance", "dB", False),
}
CLIPS = {
    "brass_acoustic_046-069-075": ("brass", 69),
    "flute_acoustic_002-077-100": ("flute", 77),
    HOSTILE: ("<b>string</b>", 48),
}
WORST = {"mallet_acoustic_047-096-025": ("mallet", 96)}
SITE = """\
title: A study of tones
short_title: Tones
subtitle: An example companion
authors:
  - name: The example's authors
description: Two toy systems turn tones into tones.
licence: MIT
links:
  - {label: Code, url: "https://example.org/code"}
evaluation:
  - collection: tones
    title: Single tones
    corpus: tones
    layout: nsynth
    split: test
    rule: corpus
    models: [codec, phase]
    selection: {rule: random, count: 3, seed: 7}
    worst: {count: 1, metric: log_mel_l1, model: codec}
    bits: 16
"""

ABOUT = """\
---
title: About the tones
---
{{ page.title }} has {{ site.data.tones | length }} rows; $E = mc^2$.

<table>
{% for sample in site.data.tones %}

  <tr>
    <td>{{ sample[1].instrument_family_str }}</td>
    <td>{{ sample[1].pitch }}</td>
    <td><a href="{{ site.baseurl }}/{{ sample[1].files.original.ogg.path }}">{{ sample[0] }}</a></td>
  </tr>
{% endfor %}
</table>

| id | pitch |
|----|-------|
{% for sample in site.data.tones %}
| {{ sample[0] }} | {{ sample[1].pitch }} |
{% endfor %}
"""
CODEC = """\
---
title: Toy codec
summary: Bends every tone a little.
---
It minimises $$\\lVert x - \\hat{x} \\rVert_1$$ over the reals $\\mathbb{R}$.
"""


def safe(name: str) -> str:
    kept = "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "-" for c in name)
    return kept if kept == name else f"{kept[:24]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tone(pitch: int, category: str, duration_s: float, rate: int) -> np.ndarray:
    time = np.arange(round(duration_s * rate)) / rate
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    bend = {"original": 1.0, "reconstruction": 1.003, "phase": 0.995}[category]
    partials = sum(np.sin(2 * np.pi * hertz * bend * k * time) / k for k in range(1, 5) if hertz * k < rate / 2)
    level = {"original": 0.4, "reconstruction": 0.3, "phase": 0.15}[category]
    return np.asarray(level * partials * np.exp(-time / duration_s) / 2, dtype=np.float32)


def _audio(root: Path, collection: str, name: str, category: str, wave: np.ndarray, rate: int) -> dict[str, Any]:
    files = {}
    folder = root / "assets" / "audio" / collection
    folder.mkdir(parents=True, exist_ok=True)
    for form, kind in (("ogg", "VORBIS"), ("flac", "PCM_16"), ("wav", "PCM_16")):
        path = folder / f"{safe(name)}-{category}.{form}"
        soundfile.write(path, wave, rate, format=form.upper(), subtype=kind)
        files[form] = {
            "path": path.relative_to(root).as_posix(),
            "sha256": _sha(path),
            "bytes": path.stat().st_size,
            "pcm_sha256": hashlib.sha256(wave.tobytes()).hexdigest(),
        }
    return files


def _pictures(root: Path, collection: str, name: str, category: str, wave: np.ndarray) -> dict[str, Any]:
    folder = root / "assets" / "images" / collection
    folder.mkdir(parents=True, exist_ok=True)
    window = 256
    frames = np.stack([wave[i : i + window] * np.hanning(window) for i in range(0, len(wave) - window, window // 4)])
    level = 20 * np.log10(np.abs(np.fft.rfft(frames)).T[::-1] + 1e-4)
    grey = np.clip((level + 80) / 120, 0, 1)
    entry: dict[str, Any] = {}
    for theme in ("light", "dark"):
        shade = 1 - grey if theme == "light" else grey
        path = folder / f"{safe(name)}-{category}-spectrogram-{theme}.png"
        Image.fromarray((255 * shade).astype(np.uint8)).resize((240, 120)).save(path)
        entry[theme] = path.relative_to(root).as_posix()
    return {"spectrogram": {**entry, "alt": f"Spectrogram of {name}, {category}", "plot": {"left": 0.0, "right": 1.0}}}


def _scores(rng: random.Random, pitch: int, category: str) -> dict[str, Any]:
    shift = {"reconstruction": 0.0, "phase": 0.4}[category]
    scores: dict[str, Any] = {
        "log_mel_l1": {"value": round(0.4 + shift + rng.random() / 10, 6), "status": "ok"},
        "si_sdr": {"value": round(12 - 20 * shift + rng.random(), 6), "status": "ok"},
        "log_spectral_distance": {"value": round(6 + 4 * shift + rng.random(), 6), "status": "ok"},
    }
    if pitch == 48:
        scores["si_sdr"] = {"value": None, "status": "undefined", "reason": "the reference is silent"}
    return scores


def _collection(root: Path, name: str, clips: dict[str, tuple[str, int]], duration_s: float, rule: str) -> None:
    rng = random.Random(5)
    document: dict[str, Any] = {}
    rate = 8000
    for rank, (clip, (family, pitch)) in enumerate(clips.items()):
        waves = {c: _tone(pitch, c, duration_s, rate) for c in ("original", *SYSTEMS)}
        level = {c: round(10 * math.log10(float(np.mean(w**2)) + 1e-12), 2) for c, w in waves.items()}
        document[clip] = {
            "instrument_family_str": family,
            "pitch": pitch,
            "velocity": 75,
            "instrument_source_str": "acoustic",
            "sample_rate_hz": rate,
            "duration_s": duration_s,
            "systems": {
                **{c: {"model": m, "title": t, "run": RUN} for c, (m, t) in SYSTEMS.items()},
            },
            "files": {c: _audio(root, name, clip, c, w, rate) for c, w in waves.items()},
            "loudness_lufs": level,
            "gain_db": dict.fromkeys(waves, 0.0),
            "scores": {c: _scores(rng, pitch, c) for c in SYSTEMS},
            "pictures": {c: _pictures(root, name, clip, c, w) for c, w in waves.items()},
            "selection": {"rule": rule, "seed": 7 if rule == "random" else None, "population": 12, "rank": rank + 1},
        }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    (root / "_data" / f"{name}.yml").write_text(text, encoding="utf-8")


def _aggregate(category: str, metric: str, mean: float, half: float) -> dict[str, Any]:
    return {
        "category": category,
        "metric": metric,
        "n_ok": 12,
        "n_undefined": 0,
        "n_failed": 0,
        "mean": mean,
        "median": mean,
        "low": mean - half,
        "high": mean + half,
        "level": 0.95,
        "method": "BCa bootstrap",
        "resamples": 10000,
        "seed": 7,
    }


def sets_document() -> dict[str, Any]:
    """What was measured of the example's outputs as whole sets."""

    def row(category: str, metric: str, value: float | None, **fields: Any) -> dict[str, Any]:
        return {
            "category": category,
            "metric": metric,
            "title": metric.replace("_", " ").capitalize(),
            "unit": "1",
            "higher_is_better": metric == "coverage",
            "embedding": "log_mel",
            "value": value,
            "status": "ok" if value is not None else "undefined",
            "reason": None if value is not None else "the reference has 12 clips, two bins need 20",
            "n_estimate": 11,
            "n_reference": 11,
            "left_out": 1,
            "low": None,
            "high": None,
            "interval": "jackknife over 11 groups of clips",
            "p": None,
            "permutations": 99,
            "floor": None,
            "definition_sha256": "f" * 64,
            "key": "a" * 64,
            **fields,
        }

    floor = {"mean": 0.12, "low": -0.4, "high": 0.9, "n_estimate": 5, "n_reference": 6, "splits": 30, "reason": None}
    codes = {"embedding": None, "interval": "none: counted, not drawn", "higher_is_better": True, "n_reference": 0}
    return {
        "seed": 7,
        "permutations": 99,
        "splits": 30,
        "embeddings": {"log_mel": {"name": "log_mel", "version": 1, "dimensions": 64, "sha256": "b" * 64}},
        "rows": [
            row(
                category, "kernel_distance", value, low=value - 0.3, high=value + 0.3, p=p,
                floor={**floor, "at_floor_size": other},
            )
            for category, value, p, other in (("reconstruction", -0.61, 0.25, 0.17), ("phase", 1.42, 0.01, 2.31))
        ]
        + [row(category, "different_bins", None) for category in SYSTEMS]
        + [
            row("reconstruction", "code_usage", 0.875, level="top", **codes),
            row("reconstruction", "code_rate", 1305.2, level="all", **{**codes, "unit": "bit/s"}),
        ],
    }  # fmt: skip


def results_document() -> dict[str, Any]:
    """The results of the example."""
    means = {
        ("reconstruction", "log_mel_l1"): (0.4512, 0.021),
        ("phase", "log_mel_l1"): (0.8533, 0.034),
        ("reconstruction", "si_sdr"): (12.41, 0.61),
        ("phase", "si_sdr"): (4.02, 0.55),
        ("reconstruction", "log_spectral_distance"): (6.61, 0.4),
        ("phase", "log_spectral_distance"): (6.92, 0.5),
    }
    aggregates = [_aggregate(c, m, mean, half) for (c, m), (mean, half) in means.items()]
    aggregates[2] |= {"n_ok": 10, "n_undefined": 1, "n_failed": 1}
    differences = {"log_mel_l1": (-0.402, 0.03), "si_sdr": (8.39, 0.7), "log_spectral_distance": (-0.31, 0.5)}
    for row in aggregates:
        first = row["category"] == "reconstruction"
        tied = row["metric"] == "log_spectral_distance"
        row |= {
            "median_low": row["low"] - 0.01,
            "median_high": row["high"] + 0.01,
            "rank": 1.0 if first else 2.0,
            "rank_low": 1.0 if first or tied else 2.0,
            "rank_high": 2.0 if tied or not first else 1.0,
            "tied": "a" if first or tied else "b",
        }
    return {
        "schema_version": 1,
        "collection": "tones",
        "title": "Single tones",
        "run": RUN,
        "corpus": {
            "name": "tones",
            "layout": "nsynth",
            "split": "test",
            "rule": "corpus",
            "rule_text": "The corpus's own split; no instrument occurs in two of its parts.",
            "content_sha256": "c" * 64,
            "clips": 12,
            "groups": 4,
        },
        "level_policy": {
            "name": "row",
            "text": "Peaks above full scale are turned down, original and systems of a clip by the same gain.",
        },
        "selection": {
            "rule": "random",
            "seed": 7,
            "count": 3,
            "population": 12,
            "text": "3 of 12 clips, drawn at random with the seed 7.",
        },
        "worst": {
            "rule": "worst",
            "seed": None,
            "count": 1,
            "population": 12,
            "metric": "log_mel_l1",
            "model": "codec",
            "text": "The clip of 12 on which codec has the highest Log-mel L1.",
        },
        "systems": [
            {
                "category": category,
                "model": model,
                "title": title,
                "parameters": 1234567 if model == "codec" else 0,
                "checkpoint_sha256": "d" * 64 if model == "codec" else None,
                "rtf": 0.031,
                "n_ok": 11,
                "n_failed": 1 if model == "codec" else 0,
            }
            for category, (model, title) in SYSTEMS.items()
        ],
        "metrics": [
            {
                "name": name,
                "title": title,
                "unit": unit,
                "higher_is_better": higher,
                "definition_sha256": hashlib.sha256(name.encode()).hexdigest(),
            }
            for name, (title, unit, higher) in METRICS.items()
        ],
        "aggregates": aggregates,
        "differences": [
            {
                "category": "reconstruction",
                "baseline": "phase",
                "metric": metric,
                "n": 11,
                "mean": mean,
                "low": mean - half,
                "high": mean + half,
                "p": p,
                "p_holm": min(1.0, 3 * p),
                "d": mean / half / 2,
                "dominance": 1.0 if mean > 0 else -1.0,
                "detectable": 1.4 * half,
            }
            for (metric, (mean, half)), p in zip(differences.items(), (0.00098, 0.00195, 0.21), strict=True)
        ],
        "critical_differences": [
            {
                "metric": metric,
                "blocks": 4,
                "alpha": 0.05,
                "critical_difference": 0.98,
                "statistic": 4.0,
                "p": 0.0455,
                "average_ranks": [{"category": "reconstruction", "rank": 1.0}, {"category": "phase", "rank": worse}],
                "not_told_apart": [["reconstruction", "phase"]] if worse < 1.98 else [],
            }
            for metric, worse in (("log_mel_l1", 2.0), ("si_sdr", 2.0), ("log_spectral_distance", 1.5))
        ],
        "seed_variance": [
            {
                "category": "phase",
                "metric": "si_sdr",
                "of": "seeds",
                "members": [7, 8, 9],
                "clips": 11,
                "mean": 4.1,
                "between": 0.21,
                "clip_sd": 0.87,
                "rest_sd": 0.12,
                "error": 0.3,
                "error_one_seed": 0.35,
                "error_clips_only": 0.27,
            }
        ],
        "sets": sets_document(),
        "failures": [{"clip": "silent_000-000-000", "category": "reconstruction", "error": "the clip is <silent>"}],
    }


def run_document() -> dict[str, Any]:
    """The run record of the example."""
    return {
        "schema_version": 1,
        "run_id": RUN,
        "command": "python build_site.py --model 'codec'",
        "created": "2026-11-21T10:00:00Z",
        "seed": 7,
        "device": "cpu",
        "environment": {
            "python": "3.11.7",
            "torch": "2.13.0",
            "numpy": "2.4.6",
            "soundfile": "0.14.0",
            "platform": "Linux",
            "cpu": "toy",
            "threads": 1,
        },
        "code": {"commit": "e" * 40, "dirty": False},
        "models": [
            {
                "name": "codec",
                "title": "Toy codec",
                "parameters": 1234567,
                "checkpoint": {"sha256": "d" * 64, "step": 100},
            },
            {"name": "phase", "title": "Toy phase recovery", "parameters": 0},
        ],
        "corpus": {
            "name": "tones",
            "layout": "nsynth",
            "split": "test",
            "rule": "corpus",
            "content_sha256": "c" * 64,
            "clips": 12,
        },
        "metrics": {
            name: {"title": title, "unit": unit, "higher_is_better": higher, "n_fft": 2048}
            for name, (title, unit, higher) in METRICS.items()
        },
        "wall_s": 12.5,
        "stage_seconds": {"read": 0.5, "model": 8.0, "metrics": 2.5, "encode": 1.0, "other": 0.5},
        "peak_memory_bytes": 512_000_000,
        "clips": {"total": 12, "ok": 11, "failed": 1},
    }


def clips_document(root: Path) -> dict[str, Any]:
    """Scores of all twelve clips of the example: those that are shown, and eight that are not."""
    rng = random.Random(11)
    shown: dict[str, Any] = {}
    for name in ("tones", "tones_worst"):
        document = yaml.safe_load((root / "_data" / f"{name}.yml").read_text(encoding="utf-8"))
        shown |= {clip: sample["scores"] for clip, sample in document.items()}
    clips = sorted([*shown, *(f"guitar_acoustic_{number:03d}-060-050" for number in range(8))])
    scores: dict[str, Any] = {}
    for category in SYSTEMS:
        rows = [shown[clip][category] if clip in shown else _scores(rng, 60, category) for clip in clips]
        scores[category] = {metric: [row[metric]["value"] for row in rows] for metric in METRICS}
    return {"schema_version": 1, "collection": "tones", "run": RUN, "clips": clips, "scores": scores}


def make_companion(root: Path, *, duration_s: float = 0.5, evaluated: bool = True) -> Path:
    """Write the example companion.

    Args:
        root: Folder to make it in.
        duration_s: Length of every clip.
        evaluated: Whether the evaluation has been run.

    Returns:
        The folder.
    """
    data = root / "_data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "site.yml").write_text(SITE, encoding="utf-8")
    if evaluated:
        (root / "about.md").write_text(ABOUT, encoding="utf-8")
        (root / "_models").mkdir(exist_ok=True)
        (root / "_models" / "codec.md").write_text(CODEC, encoding="utf-8")
        _collection(root, "tones", CLIPS, duration_s, "random")
        _collection(root, "tones_worst", WORST, duration_s, "worst by log_mel_l1 of codec")
        documents = (
            ("results", "tones", results_document()),
            ("clips", "tones", clips_document(root)),
            ("runs", RUN, run_document()),
        )
        for folder, name, document in documents:
            (data / folder).mkdir(exist_ok=True)
            (data / folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return root


if __name__ == "__main__":
    make_companion(Path(sys.argv[1]))
