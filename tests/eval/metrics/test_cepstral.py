"""Mel-cepstral distortion against SciPy's cosine transform, a plain search of the path and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dct

from eval.metrics.cepstral import cheapest_path, mel_cepstral_distortion, mel_cepstral_distortion_dtw
from eval.metrics.frontend import Mel, Stft, mel_magnitude
from tests.signals import chirp, harmonic, noise

RATE = 16_000


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    reference = torch.from_numpy(harmonic(150.0, 1.0) + noise(1.0, amplitude=0.01, seed=1)).double()
    return reference + torch.from_numpy(noise(1.0, amplitude=0.02, seed=2)).double(), reference


def cepstra(signal: torch.Tensor) -> np.ndarray:
    levels = mel_magnitude(signal, Stft(), Mel(RATE, 80)).clamp_min(1e-5).log().numpy()
    return dct(levels, type=2, axis=0)[1:14].T / 80


def test_distortion_equals_its_formula() -> None:
    estimate, reference = pair()
    gap = cepstra(estimate) - cepstra(reference)
    expected = (10 / math.log(10) * np.sqrt(2 * (gap**2).sum(axis=1))).mean()
    assert float(mel_cepstral_distortion(estimate, reference, sample_rate_hz=RATE)) == pytest.approx(expected, rel=1e-9)


def test_all_terms_give_the_distance_of_the_bands_in_decibels() -> None:
    estimate, reference = pair()
    gaps = [20 * mel_magnitude(s, Stft(), Mel(RATE, 20)).clamp_min(1e-5).log10() for s in (estimate, reference)]
    gap = gaps[0] - gaps[1]
    level_free = gap - gap.mean(0)
    expected = float(level_free.square().mean(0).sqrt().mean())
    ours = mel_cepstral_distortion(estimate, reference, sample_rate_hz=RATE, n_mels=20, n_coefficients=19)
    assert float(ours) == pytest.approx(expected, rel=1e-9)


def test_gain_costs_nothing() -> None:
    _, reference = pair()
    assert float(mel_cepstral_distortion(0.5 * reference, reference, sample_rate_hz=RATE)) < 1e-12
    assert float(mel_cepstral_distortion_dtw(0.5 * reference, reference, sample_rate_hz=RATE)) < 1e-12


@pytest.mark.parametrize(("frames", "band"), [(1, 3), (2, 0), (7, 2), (12, 100), (25, 6)])
def test_the_path_is_the_cheapest(frames: int, band: int) -> None:
    draw = np.random.default_rng(frames)
    one, other = draw.normal(size=(2, frames, 3))
    distance = np.linalg.norm(one[:, None] - other[None], axis=-1)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i in range(frames):
        for j in range(max(0, i - band), min(frames, i + band + 1)):
            before = [best[place] for place in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if place in best]
            cost, pairs = min(before, default=(0.0, 0))
            best[i, j] = (cost + distance[i, j], pairs + 1)
    cost, pairs = best[frames - 1, frames - 1]
    total, steps = cheapest_path(one, other, band=band)
    assert total == pytest.approx(cost, rel=1e-12)
    assert steps == pairs


def test_warping_forgives_a_delay_within_its_reach() -> None:
    reference = torch.from_numpy(chirp(200.0, 5000.0, 1.5)).double()
    late = reference.roll(2048)
    late[:2048] = reference[0]
    plain = float(mel_cepstral_distortion(late, reference, sample_rate_hz=RATE))
    warped = float(mel_cepstral_distortion_dtw(late, reference, sample_rate_hz=RATE))
    tight = float(mel_cepstral_distortion_dtw(late, reference, sample_rate_hz=RATE, max_shift_s=0.0))
    assert warped < 0.5 * plain
    assert tight == pytest.approx(plain, rel=1e-9)


def test_misuse_is_refused() -> None:
    estimate, reference = pair()
    with pytest.raises(ValueError, match="n_coefficients is 80"):
        mel_cepstral_distortion(estimate, reference, sample_rate_hz=RATE, n_coefficients=80)
    with pytest.raises(ValueError, match="max_shift_s"):
        mel_cepstral_distortion_dtw(estimate, reference, sample_rate_hz=RATE, max_shift_s=-1.0)
    with pytest.raises(ValueError, match="shapes"):
        cheapest_path(np.zeros((3, 2)), np.zeros((4, 2)), band=1)
