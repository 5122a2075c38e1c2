"""Sounds of two made-up ensembles, and checkpoints of tiny style models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checkpoint import save
from models.siamese_style import FRONTEND, SiameseConfig, StyleEncoder
from models.style_transfer import FeatureConfig, FeatureNetwork
from models.training.data import ClipStore
from models.travel_gan import Generator, TravelConfig

RATE_HZ = 22_050
SMALL_SIAMESE = SiameseConfig(channels=16, embedding=8)
SMALL_TRAVEL = TravelConfig(
    generator_channels=16, siamese_channels=8, critic_channels=16, embedding=8, source=("Flute",), target=("Saw",)
)
SMALL_FEATURES = FeatureConfig(base=4, channels=16, depth=5)


def sound(kind: str, pitch_hz: float, samples: int, seed: int = 0) -> torch.Tensor:
    """A pure tone (Flute) or one with all partials and some noise (Saw), struck every half second."""
    time_s = torch.arange(samples, dtype=torch.float64) / RATE_HZ
    partials = range(1, 2) if kind == "Flute" else range(1, 16)
    tone = torch.stack([torch.sin(2 * torch.pi * pitch_hz * k * time_s) / k**0.5 for k in partials]).sum(0)
    out = 0.15 * tone * torch.exp(-4.0 * (time_s % 0.5))
    if kind == "Saw":
        out = out + 0.01 * torch.randn(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return out.float()


def store(samples: int = 66_150, n: int = 8) -> ClipStore:
    """Clips of both ensembles in turn."""
    kinds = [("Flute", "Saw")[i % 2] for i in range(n)]
    rows = [sound(kind, 180.0 + 40.0 * i, samples, i) for i, kind in enumerate(kinds)]
    pcm = (torch.stack(rows).clamp(-1.0, 1.0) * 32767.0).to(torch.int16)
    names = tuple(f"{kind}-{i}" for i, kind in enumerate(kinds))
    labels = tuple({"ensemble": kind} for kind in kinds)
    return ClipStore(pcm, names, torch.zeros(n, dtype=torch.long), ({"root_name": "two"},), RATE_HZ, labels)


def _save(folder: Path, name: str, config: Any, tensors: dict[str, torch.Tensor], **card: Any) -> Path:
    frontend = {"settings": FRONTEND.as_dict(), "sha256": FRONTEND.sha256()}
    save(folder, tensors, {"name": name, "config": dataclasses.asdict(config), "frontend": frontend, **card})
    return folder


def _made(network: nn.Module) -> dict[str, torch.Tensor]:
    return network.state_dict()


def siamese_checkpoint(folder: Path, **card: Any) -> Path:
    torch.manual_seed(0)
    return _save(folder, "siamese_style", SMALL_SIAMESE, _made(StyleEncoder(SMALL_SIAMESE)), **card)


def travel_checkpoint(folder: Path, **card: Any) -> Path:
    torch.manual_seed(1)
    return _save(folder, "travel_gan", SMALL_TRAVEL, _made(Generator(SMALL_TRAVEL)), **card)


def features_checkpoint(folder: Path, **card: Any) -> Path:
    torch.manual_seed(2)
    return _save(folder, "melgan_discriminator", SMALL_FEATURES, _made(FeatureNetwork(SMALL_FEATURES)), **card)
