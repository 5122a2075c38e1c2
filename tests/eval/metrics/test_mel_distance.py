"""Mel distances against plain implementations of their definitions."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch

from eval.metrics.mel_distance import htk_filters, multi_scale_mel, relative_volume_mel
from tests.signals import harmonic, noise

RATE = 44_100
TRAINING = ((32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320))
EVALUATION = ((2048, 512), (150, 80))


def pair(rate: int = RATE, level: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    reference = harmonic(220.0, 0.3, rate) + noise(0.3, rate, amplitude=0.003, seed=1)
    estimate = 0.8 * reference + noise(0.3, rate, amplitude=0.02, seed=2)
    return torch.from_numpy(level * estimate).double(), torch.from_numpy(level * reference).double()


def magnitude(signal: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    shape = torch.hann_window(window, dtype=torch.float64)
    return torch.stft(signal, window, hop, window=shape, return_complex=True).abs()


def plain(
    estimate: torch.Tensor,
    reference: torch.Tensor,
    scales: tuple[tuple[int, ...], tuple[int, ...]],
    power: float,
    linear: float,
) -> float:
    total = 0.0
    for window, bands in zip(*scales, strict=True):
        filters = torch.from_numpy(librosa.filters.mel(sr=RATE, n_fft=window, n_mels=bands, dtype=np.float64))
        made, wanted = (filters @ magnitude(signal, window, window // 4) for signal in (estimate, reference))
        logs = [mel.clamp(min=1e-5).pow(power).log10() for mel in (made, wanted)]
        total += float((logs[0] - logs[1]).abs().mean()) + linear * float((made - wanted).abs().mean())
    return total


@pytest.mark.filterwarnings("ignore:Empty filters detected")
@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_multi_scale_mel_equals_plain_torch(level: float) -> None:
    estimate, reference = pair(level=level)
    ours = float(multi_scale_mel(estimate, reference, sample_rate_hz=RATE))
    assert ours == pytest.approx(plain(estimate, reference, TRAINING, 1.0, 0.0), rel=1e-9)
    windows, bands = EVALUATION
    ours = float(
        multi_scale_mel(
            estimate,
            reference,
            sample_rate_hz=RATE,
            window_lengths=windows,
            n_mels=bands,
            power=2.0,
            magnitude_weight=1.0,
        )
    )
    assert ours == pytest.approx(plain(estimate, reference, EVALUATION, 2.0, 1.0), rel=1e-9)


def test_a_gain_costs_its_decimal_logarithm_at_every_scale() -> None:
    _, reference = pair()
    # Bands without a bin compare as equal; two scales of 22 kHz have none.
    value = float(
        multi_scale_mel(0.1 * reference, reference, sample_rate_hz=RATE, window_lengths=(512, 1024), n_mels=(20, 40))
    )
    assert value == pytest.approx(2.0, rel=1e-9)


def test_single_precision_is_close() -> None:
    estimate, reference = pair()
    wide = float(multi_scale_mel(estimate, reference, sample_rate_hz=RATE))
    narrow = float(multi_scale_mel(estimate, reference, sample_rate_hz=RATE, precision="float32"))
    assert narrow == pytest.approx(wide, rel=1e-5)
    assert narrow != wide
    assert float(multi_scale_mel(reference, reference, sample_rate_hz=RATE, precision="float32")) == 0.0


def test_scales_have_to_match() -> None:
    estimate, reference = pair()
    with pytest.raises(ValueError, match="argument"):
        multi_scale_mel(estimate, reference, sample_rate_hz=RATE, n_mels=(5,))
    with pytest.raises(ValueError, match="floor"):
        multi_scale_mel(estimate, reference, sample_rate_hz=RATE, floor=0.0)


@pytest.mark.parametrize(("rate", "n_fft", "n_mels"), [(24_000, 512, 80), (24_000, 1024, 100), (44_100, 2048, 128)])
def test_htk_filters_equal_librosa(rate: int, n_fft: int, n_mels: int) -> None:
    expected = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=n_mels, htk=True, norm=None, dtype=np.float64, fmax=rate / 2 - 100
    )
    np.testing.assert_allclose(htk_filters(rate, n_fft, n_mels, rate / 2 - 100), expected, rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore:Empty filters detected")
@pytest.mark.parametrize("level", [1.0, 0.01])
def test_relative_volume_mel_equals_its_definition(level: float) -> None:
    rate = 24_000
    estimate, reference = pair(rate, level)
    filters = torch.from_numpy(
        librosa.filters.mel(sr=rate, n_fft=512, n_mels=80, htk=True, norm=None, dtype=np.float64)
    )
    scale = reference.square().mean().sqrt().clamp(min=10 ** (-25 / 20))
    window = torch.hann_window(512, dtype=torch.float64)
    # A "normalized" spectrogram is divided by the root of the energy of the window.
    made, wanted = (
        (filters @ (magnitude(s / scale, 512, 128) / window.square().sum().sqrt()).square()).sqrt()
        for s in (estimate, reference)
    )
    error = 20 * torch.log10((wanted - made).abs().clamp(min=10 ** (-120 / 20)))
    expected = (error - 20 * torch.log10(wanted.clamp(min=10 ** (-25 / 20)))).clamp(-25, 25).mean()
    ours = float(relative_volume_mel(estimate, reference, sample_rate_hz=rate))
    assert ours == pytest.approx(float(expected), rel=1e-9)


def test_relative_volume_mel_knows_its_ends() -> None:
    _, reference = pair(24_000)
    reference = reference / reference.square().mean().sqrt() * 0.1
    assert float(relative_volume_mel(reference, reference, sample_rate_hz=24_000)) == -25.0
    # An error of a tenth of every band is 20 dB under it, where the band is loud enough to count.
    tenth = float(relative_volume_mel(0.9 * reference, reference, sample_rate_hz=24_000))
    assert -25.0 < tenth <= -20.0
    assert float(relative_volume_mel(-reference, reference, sample_rate_hz=24_000)) == -25.0
    assert math.isfinite(float(relative_volume_mel(reference, torch.zeros_like(reference), sample_rate_hz=24_000)))
