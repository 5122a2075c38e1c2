"""Quality of every shipped model on a fixed part of the shipped held-out set.

Systems get the default battery on a note of every family and on clips of music, of the others see
`tests.benchmarks.generators`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from eval.audio_io import resample
from eval.metrics import METRICS, chosen
from eval.metrics.scoring import score_batch
from models import registry
from models.registry import System
from tests.benchmarks.generators import JOBS
from tests.benchmarks.held_out import clips, draw, waveforms
from tests.benchmarks.plugin import Quality

pytestmark = pytest.mark.benchmark

SYSTEMS = [entry.name for entry in registry.MODELS.values() if entry.kind == "system"]
OTHERS = [entry.name for entry in registry.MODELS.values() if entry.kind != "system"]


def reconstruct(system: System, batch: torch.Tensor, rate: int, seeds: list[int]) -> torch.Tensor:
    """The clips after the model, at their own rate and length."""
    inner = system.sample_rate_hz or rate
    entering = batch.numpy() if inner == rate else resample(batch.numpy(), rate, inner)
    leaving = system.reconstruct(torch.from_numpy(entering), sample_rate_hz=inner, seeds=seeds).numpy()
    if inner != rate:
        leaving = resample(leaving, inner, rate)
    held = np.zeros(batch.shape, np.float32)
    length = min(held.shape[-1], leaving.shape[-1])
    held[:, :length] = leaving[:, :length]
    return torch.from_numpy(held)


def measure(name: str, part: str) -> dict[str, dict[str, Any]]:
    system = registry.load(name)
    values: dict[str, list[float]] = {metric: [] for metric in chosen(())}
    batch, rate = waveforms(part)
    with torch.no_grad():
        estimate = reconstruct(system, batch, rate, [draw(clip.clip_id) for clip in clips(part)])
    for scores in score_batch(estimate, batch, sample_rate_hz=rate, names=chosen(())):
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
def test_system(quality: Quality, name: str, part: str) -> None:
    quality(f"{name} on {part}", lambda: measure(name, part))


@pytest.mark.parametrize("name", OTHERS)
def test_other_model(quality: Quality, name: str) -> None:
    quality(name, lambda: JOBS[name].quality(registry.load(name)))
