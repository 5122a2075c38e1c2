"""The checkpoint that ships with the project does its work."""

import json
import math

import pytest
import torch

from models import registry
from models.card import read_card
from models.vqvae2 import VQVAE2System
from tests.signals import harmonic


@pytest.fixture(scope="module")
def system() -> VQVAE2System:
    loaded = registry.load("vqvae2")
    assert isinstance(loaded, VQVAE2System)
    return loaded


def log_spectra(waveform: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(1024)
    return torch.stft(waveform, 1024, 256, window=window, return_complex=True).abs().clamp_min(1e-3).log()


def note(frequency_hz: float) -> torch.Tensor:
    time_s = torch.arange(64_000) / 16_000
    return torch.as_tensor(harmonic(frequency_hz, 4.0))[None] * torch.exp(-0.8 * time_s)


@pytest.mark.parametrize("frequency_hz", [131.0, 262.0, 523.0])
def test_a_note_comes_back(system: VQVAE2System, frequency_hz: float) -> None:
    x = note(frequency_hz)
    y = system.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
    error = float((log_spectra(y) - log_spectra(x)).abs().mean())
    # The trivial answers: silence, and the long-term spectrum held for the whole clip.
    silent = float((log_spectra(torch.zeros_like(x)) - log_spectra(x)).abs().mean())
    steady = float((log_spectra(x).mean(-1, keepdim=True) - log_spectra(x)).abs().mean())
    assert error < 0.5 * silent
    assert error < steady
    level_db = 20 * math.log10(float(y.norm() / x.norm()))
    assert abs(level_db) < 4.0


def test_other_notes_have_other_codes(system: VQVAE2System) -> None:
    x = torch.cat([note(131.0), note(523.0)])
    codes = system.codes(x, sample_rate_hz=16_000)
    assert int((codes["bottom"][0] != codes["bottom"][1]).sum()) > 100
    assert len(codes["bottom"].unique()) > 50


def test_silence_stays_nearly_silent(system: VQVAE2System) -> None:
    y = system.reconstruct(torch.zeros(1, 64_000), sample_rate_hz=16_000, seeds=[0])
    assert float(y.square().mean().sqrt()) < 1e-4
    assert float(y.abs().max()) < 5e-3


def test_card_says_what_it_must(system: VQVAE2System) -> None:
    card = read_card(registry.SHIPPED / "vqvae2")
    told = ["name", "config", "frontend", "step", "seed", "losses", "trained_on", "clips", "versions"]
    for field in [*told, "licence", "limitations", "credits"]:
        assert card[field], field
    assert card["config"]["channels"] == 128
    assert system.parameters == 1_778_242 + 65_536
    assert all(corpus["split"] == "train" and corpus["content_sha256"] for corpus in card["trained_on"])
    assert "/tmp" not in json.dumps(card)
    assert system.describe()["checkpoint"]["sha256"] == card["tensors_sha256"]  # type: ignore[index]
