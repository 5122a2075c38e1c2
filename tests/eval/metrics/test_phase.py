"""Metrics of phase against their definitions written out, and against signals whose phase is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eval.metrics.frontend import Stft, stft
from eval.metrics.phase import (
    border_phase_coherence,
    group_delay_error,
    instantaneous_frequency_error,
    phase_inconsistency,
    spectrogram_inconsistency,
)
from tests.signals import chirp, click, harmonic, noise, tone

RATE = 16_000


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    reference = harmonic(220, 0.7) + chirp(100, 6_000, 0.7) + noise(0.7, amplitude=0.01, seed=seed)
    estimate = 0.7 * reference + noise(0.7, amplitude=0.05, seed=seed + 1)
    return torch.from_numpy(estimate).double(), torch.from_numpy(reference).double()


def wrapped(angle: torch.Tensor) -> torch.Tensor:
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


@pytest.mark.parametrize("axis", [-1, -2])
def test_step_errors_are_their_definition(axis: int) -> None:
    estimate, reference = pair()
    ours, theirs = stft(estimate, Stft()), stft(reference, Stft())
    size = theirs.shape[axis]
    weights = theirs.abs().narrow(axis, 0, size - 1) * theirs.abs().narrow(axis, 1, size - 1)
    gap = wrapped(torch.diff(ours.angle(), dim=axis) - torch.diff(theirs.angle(), dim=axis)).abs()
    mean = float((weights * gap).sum() / weights.sum())
    if axis == -1:
        found = instantaneous_frequency_error(estimate, reference, sample_rate_hz=RATE)
        assert float(found) == pytest.approx(mean * RATE / (2 * math.pi * 512), rel=1e-9)
    else:
        found = group_delay_error(estimate, reference, sample_rate_hz=RATE)
        assert float(found) == pytest.approx(mean * 2048 / (2 * math.pi) / RATE * 1000, rel=1e-9)


def test_a_detuned_tone_reads_its_distance() -> None:
    reference = torch.from_numpy(tone(1000, 1.0).astype(np.float64))
    for off in (0.5, 3.0, 10.0):
        estimate = torch.from_numpy(tone(1000 + off, 1.0).astype(np.float64))
        found = instantaneous_frequency_error(estimate, reference, sample_rate_hz=RATE)
        assert float(found) == pytest.approx(off, rel=0.1)


def test_a_delayed_click_reads_its_delay() -> None:
    reference = torch.from_numpy(click(0.5)).double()
    for delay in (3, 40):
        found = group_delay_error(torch.roll(reference, delay), reference, sample_rate_hz=RATE)
        assert float(found) == pytest.approx(1000 * delay / RATE, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "best"),
    [(instantaneous_frequency_error, 0.0), (group_delay_error, 0.0), (border_phase_coherence, 1.0)],
)
def test_gain_and_polarity_change_nothing(function: object, best: float) -> None:
    estimate, reference = pair()
    plain = function(estimate, reference, sample_rate_hz=RATE)  # type: ignore[operator]
    turned = function(-0.01 * estimate, 3 * reference, sample_rate_hz=RATE)  # type: ignore[operator]
    torch.testing.assert_close(plain, turned, rtol=1e-9, atol=0)
    same = function(-2 * reference, reference, sample_rate_hz=RATE)  # type: ignore[operator]
    assert float(same) == pytest.approx(best, abs=1e-6)
    assert abs(float(plain) - best) > 1e-3
    assert math.isnan(function(estimate, 0 * reference, sample_rate_hz=RATE))  # type: ignore[operator]


def test_an_estimate_without_phase_counts_as_random() -> None:
    _, reference = pair()
    nothing = torch.zeros_like(reference)
    quarter = RATE / 512 / 4
    assert float(instantaneous_frequency_error(nothing, reference, sample_rate_hz=RATE)) == pytest.approx(quarter)
    assert float(group_delay_error(nothing, reference, sample_rate_hz=RATE)) == pytest.approx(1000 * 512 / RATE)
    assert float(border_phase_coherence(nothing, reference, sample_rate_hz=RATE)) == 0.0


def test_border_coherence_is_its_definition() -> None:
    estimate, reference = pair()
    ours, theirs = stft(estimate, Stft()), stft(reference, Stft())
    weight = kept = 0.0
    for above, below in ((64, 63), (65, 62), (256, 255), (257, 254)):
        weights = theirs[above].abs() * theirs[below].abs()
        turn = (ours[above].angle() - ours[below].angle()) - (theirs[above].angle() - theirs[below].angle())
        weight += float(weights.sum())
        kept += float((weights * torch.cos(turn)).sum())
    found = border_phase_coherence(estimate, reference, sample_rate_hz=RATE, edges_hz=(500.0, 2000.0, 8000.0))
    assert float(found) == pytest.approx(kept / weight, rel=1e-9)


def test_a_band_turned_by_itself_shows_at_its_border_only() -> None:
    reference = torch.from_numpy(noise(1.0)).double()
    spectrum = torch.fft.rfft(reference)
    spectrum[2000:] *= torch.exp(torch.tensor(0.5j * math.pi, dtype=torch.complex128))
    estimate = torch.fft.irfft(spectrum, reference.numel())
    at = border_phase_coherence(estimate, reference, sample_rate_hz=RATE, edges_hz=(2000.0,))
    beside = border_phase_coherence(estimate, reference, sample_rate_hz=RATE, edges_hz=(3000.0,))
    assert float(beside) > 0.99
    assert float(at) < 0.6
    assert math.isnan(border_phase_coherence(estimate, reference, sample_rate_hz=RATE, edges_hz=(9000.0,)))


def test_the_spectrogram_of_a_signal_is_consistent() -> None:
    _, reference = pair()
    padded = torch.nn.functional.pad(reference, (1024, 1024))
    spectrum = stft(padded, Stft(pad_mode="constant"))
    assert float(spectrogram_inconsistency(spectrum)) == -math.inf
    turned = spectrum * torch.exp(torch.tensor(1j))
    # A constant turn is the spectrogram of a turned signal, but for the bins at 0 and half the rate.
    assert float(spectrogram_inconsistency(turned)) < -30
    stacked = spectrogram_inconsistency(torch.stack((spectrum, turned)))
    assert stacked.shape == (2,)
    assert float(stacked[1]) == float(spectrogram_inconsistency(turned))


def test_inconsistency_is_the_distance_to_the_nearest_signal() -> None:
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.randn(33, 9, dtype=torch.complex128, generator=generator)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(64, dtype=torch.float64) / 64)
    samples = 64 + 8 * 16
    # Every signal of one sample, transformed; the nearest combination in the least-squares sense.
    basis = torch.eye(samples, dtype=torch.float64).unfold(-1, 64, 16) * window
    matrix = torch.fft.rfft(basis).reshape(samples, -1).T
    target = spectrum.T.reshape(-1)
    # The signal is real and its spectrum counts twice but at both ends.
    scale = torch.full((33,), math.sqrt(2), dtype=torch.float64)
    scale[0] = scale[-1] = 1
    scale = scale.repeat(9)
    both = torch.cat(((matrix * scale[:, None]).real, (matrix * scale[:, None]).imag))
    wanted = torch.cat(((target * scale).real, (target * scale).imag))
    nearest = torch.linalg.pinv(both) @ wanted
    left = matrix @ nearest.to(torch.complex128) - target
    expected = 20 * math.log10(float(left.norm() / target.norm()))
    found = spectrogram_inconsistency(spectrum, n_fft=64, hop_length=16, win_length=64)
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_phases_that_fit_are_told_from_random_ones() -> None:
    estimate, reference = pair()
    assert float(phase_inconsistency(reference, reference)) == -math.inf
    fitting = float(phase_inconsistency(estimate, reference))
    random = float(phase_inconsistency(torch.from_numpy(noise(0.7)).double(), reference))
    assert fitting < random - 3
    assert -12 < random < 0
    assert math.isnan(phase_inconsistency(estimate, 0 * reference))


def test_spectra_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="complex"):
        spectrogram_inconsistency(torch.zeros(1025, 4))
    with pytest.raises(ValueError, match=r"\(\.\.\., 1025, frames\)"):
        spectrogram_inconsistency(torch.zeros(513, 4, dtype=torch.complex64))
    with pytest.raises(ValueError, match="overlap"):
        spectrogram_inconsistency(torch.zeros(1025, 4, dtype=torch.complex64), hop_length=2048)
    assert math.isnan(spectrogram_inconsistency(torch.zeros(1025, 4, dtype=torch.complex64)))
    with pytest.raises(ValueError, match="edges_hz"):
        border_phase_coherence(torch.ones(4096), torch.ones(4096), sample_rate_hz=RATE, edges_hz=())
