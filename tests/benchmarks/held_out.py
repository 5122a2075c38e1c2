"""The part of the shipped held-out set that the benchmarks look at: drawn by hash, so that it is always the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.audio_io import resample
from eval.corpora import Clip, open_corpus

HELD_OUT = Path(__file__).resolve().parents[2] / "eval" / "corpora" / "heldout"
SEED = 20261121
NOTES_PER_FAMILY = 1
MUSIC_CLIPS = 3
CLIP_S = 4.0


def draw(text: str) -> int:
    """A number of 32 bits that follows from a text."""
    return int.from_bytes(hashlib.sha256(f"{SEED} {text}".encode()).digest()[:4])


@cache
def clips(part: str) -> tuple[Clip, ...]:
    """A note of every family, or some clips of music."""
    drawn = sorted(open_corpus(HELD_OUT / part).clips(split="test"), key=lambda clip: draw(clip.clip_id))
    if part == "music":
        return tuple(drawn[:MUSIC_CLIPS])
    families: dict[str, list[Clip]] = defaultdict(list)
    for clip in drawn:
        families[clip.labels["instrument_family_str"]].append(clip)
    return tuple(clip for family in sorted(families) for clip in families[family][:NOTES_PER_FAMILY])


@cache
def waveforms(part: str, rate: int | None = None) -> tuple[Tensor, int]:
    """Their first four seconds as a batch, at their own rate or another, and that rate."""
    rows = []
    own = 0
    for clip in clips(part):
        audio = clip.load()
        own = audio.sample_rate_hz
        rows.append(audio.waveform[0, : round(CLIP_S * own)])
    batch: Any = np.stack(rows)
    if rate is not None and rate != own:
        batch, own = resample(batch, own, rate), rate
    return torch.from_numpy(np.ascontiguousarray(batch)), own
