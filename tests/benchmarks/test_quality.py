"""Quality of every shipped model on a fixed part of the shipped held-out set.

Four notes of every instrument family and eight clips of music, drawn by hash, so that the whole takes about a minute.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.audio_io import resample
from eval.corpora import Clip, open_corpus
from eval.metrics import METRICS, chosen
from eval.metrics.scoring import score_batch
from models import registry
from models.registry import System
from tests.benchmarks.plugin import Quality

pytestmark = pytest.mark.benchmark

HELD_OUT = Path(__file__).resolve().parents[2] / "eval" / "corpora" / "heldout"
SEED = 20261121
NOTES_PER_FAMILY = 4
MUSIC_CLIPS = 8


def draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{SEED} {text}".encode()).digest()[:4])


@cache
def clips(part: str) -> tuple[Clip, ...]:
    drawn = sorted(open_corpus(HELD_OUT / part).clips(split="test"), key=lambda clip: draw(clip.clip_id))
    if part == "music":
        return tuple(drawn[:MUSIC_CLIPS])
    families: dict[str, list[Clip]] = defaultdict(list)
    for clip in drawn:
        families[clip.labels["instrument_family_str"]].append(clip)
    return tuple(clip for family in sorted(families) for clip in families[family][:NOTES_PER_FAMILY])


def reconstruct(system: System, waveform: np.ndarray, rate: int, seed: int) -> torch.Tensor:
    """The clip after the model, at its own rate and length."""
    inner = system.sample_rate_hz or rate
    entering = waveform if inner == rate else resample(waveform, rate, inner)
    leaving = system.reconstruct(torch.from_numpy(entering), sample_rate_hz=inner, seeds=[seed]).numpy()
    if inner != rate:
        leaving = resample(leaving, inner, rate)
    held = np.zeros_like(waveform)
    length = min(held.shape[-1], leaving.shape[-1])
    held[:, :length] = leaving[:, :length]
    return torch.from_numpy(held)


SYSTEMS = [
    entry.name
    for entry in registry.MODELS.values()
    if entry.kind == "system" and (entry.checkpoint is None or (registry.SHIPPED / entry.checkpoint).is_dir())
]


def measure(name: str, part: str) -> dict[str, dict[str, Any]]:
    system = registry.load(name)
    values: dict[str, list[float]] = {metric: [] for metric in chosen(())}
    for clip in clips(part):
        audio = clip.load()
        estimate = reconstruct(system, audio.waveform, audio.sample_rate_hz, draw(clip.clip_id))
        scores = score_batch(
            estimate, torch.from_numpy(audio.waveform), sample_rate_hz=audio.sample_rate_hz, names=chosen(())
        )[0]
        for metric, score in scores.items():
            if score.value is not None:
                values[metric].append(score.value)
    return {
        metric: {
            "mean": math.fsum(found) / len(found) if found else None,
            "n_ok": len(found),
            "higher_is_better": METRICS[metric].higher_is_better,
        }
        for metric, found in values.items()
    }


@pytest.mark.parametrize("part", ["notes", "music"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_model(quality: Quality, name: str, part: str) -> None:
    quality(f"{name} on {part}", lambda: measure(name, part))
