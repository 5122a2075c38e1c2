"""Small priors, a small VQ-VAE-2 and small notes for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from models.checkpoint import halved, save
from models.codemap_transformer import CodemapConfig, CodemapTransformer
from models.frontends.mel_if import MelIFConfig
from models.training.data import ClipStore
from models.vqvae2 import VQVAE2, VQVAE2Config, VQVAE2System
from tests.signals import harmonic

VQVAE = VQVAE2Config(channels=16, codebook_size=32, codebook_dim=8, codebook_delay=0)
TOP = CodemapConfig(
    d_model=64, encoder_layers=1, decoder_layers=2, heads=4, feedforward=64, dropout=0.0, codebook_size=32
)
BOTTOM = dataclasses.replace(TOP, level="bottom", encoder_mask="full", decoder_layers=1)


def write_vqvae(folder: Path, seed: int = 0) -> Path:
    """Checkpoint of a small VQ-VAE-2 with codebooks of random vectors."""
    torch.manual_seed(seed)
    network = VQVAE2(VQVAE)
    network(torch.randn(2, 2, 1024, 128), torch.Generator().manual_seed(seed))
    frontend = MelIFConfig()
    card = {
        "name": "vqvae2",
        "config": dataclasses.asdict(VQVAE),
        "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
    }
    save(folder, network.state_dict(), card)
    return folder


def write_prior(folder: Path, config: CodemapConfig, vqvae: Path, seed: int = 0) -> Path:
    """Checkpoint, in half precision, of an untrained prior of the codes of a VQ-VAE-2."""
    frontend = MelIFConfig()
    card = {
        "name": f"codemap_{config.level}",
        "config": dataclasses.asdict(config),
        "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
        "vqvae": {"name": "vqvae2", "codes_sha256": VQVAE2System(checkpoint=vqvae).codes_sha256},
    }
    save(folder, halved(untrained(config, seed).state_dict()), card)
    return folder


def untrained(config: CodemapConfig, seed: int = 0) -> CodemapTransformer:
    """The network of such a checkpoint, in full precision."""
    torch.manual_seed(seed)
    return CodemapTransformer(config).train(False).requires_grad_(False)


def notes(count: int) -> ClipStore:
    """Harmonic notes of four seconds from MIDI 60 upwards, labelled as NSynth does."""
    pitches = [60 + i for i in range(count)]
    rows = [harmonic(440.0 * 2 ** ((p - 69) / 12), 4.0) for p in pitches]
    pcm = (torch.stack([torch.as_tensor(row) for row in rows]) * 32767).to(torch.int16)
    labels = tuple({"pitch": p, "instrument_family_str": "flute"} for p in pitches)
    index = torch.zeros(count, dtype=torch.int64)
    return ClipStore(pcm, tuple(f"note-{p}" for p in pitches), index, (), 16_000, labels)
