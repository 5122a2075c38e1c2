"""Envelope, onset, attack and modulation on signals with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eval.metrics.envelope import attack_time_error, envelope_error, onset_time_error
from eval.metrics.modulation import modulation_spectrum_distance
from tests.signals import noise

RATE = 16_000


def note(start_s: float, rise_s: float, gain: float = 0.5) -> torch.Tensor:
    time = np.arange(RATE) / RATE
    rise = np.clip((time - start_s) / rise_s, 0, 1) * np.exp(-np.maximum(time - start_s - rise_s, 0))
    return torch.from_numpy(gain * rise * np.sin(2 * np.pi * 2000 * time))


def test_envelope_error_equals_its_formula() -> None:
    reference = torch.from_numpy(noise(0.5, seed=1)).double() * torch.linspace(1, 0, 8000).double()
    estimate = reference + torch.from_numpy(noise(0.5, amplitude=0.01, seed=2)).double()
    levels = [
        [max(1e-4, math.sqrt(np.mean(s[i : i + 320].numpy() ** 2))) for i in range(0, 8000 - 319, 80)]
        for s in (estimate, reference)
    ]
    expected = np.abs(20 * np.log10(np.array(levels[0]) / np.array(levels[1]))).mean()
    ours = float(envelope_error(estimate, reference, sample_rate_hz=RATE))
    assert ours == pytest.approx(expected, rel=1e-9)
    assert float(envelope_error(0.5 * estimate, estimate, sample_rate_hz=RATE)) == pytest.approx(6.0206, abs=1e-4)
    assert math.isnan(envelope_error(estimate[:319], reference[:319], sample_rate_hz=RATE))


@pytest.mark.parametrize("late_s", [0.005, 0.03, -0.02])
def test_a_late_note_starts_late_and_attacks_alike(late_s: float) -> None:
    reference, estimate = note(0.1, 0.05), note(0.1 + late_s, 0.05, gain=0.2)
    onset = float(onset_time_error(estimate, reference, sample_rate_hz=RATE))
    assert onset == pytest.approx(1000 * abs(late_s), abs=0.2)
    assert float(attack_time_error(estimate, reference, sample_rate_hz=RATE)) < 0.2


@pytest.mark.parametrize("rise_s", [0.02, 0.1])
def test_a_slower_attack_is_measured(rise_s: float) -> None:
    reference, estimate = note(0.1, 0.05), note(0.1, rise_s)
    # From 10 to 90 % of a straight rise.
    expected = 1000 * 0.8 * abs(rise_s - 0.05)
    assert float(attack_time_error(estimate, reference, sample_rate_hz=RATE)) == pytest.approx(expected, abs=2.0)


def test_a_note_that_sounds_from_the_first_sample_starts_there() -> None:
    loud = torch.from_numpy(noise(0.3, seed=3)).double()
    loud[1000:] *= 0.05
    assert float(onset_time_error(loud, loud, sample_rate_hz=RATE)) == 0.0
    later = torch.cat([torch.zeros(800).double(), loud[:-800]])
    assert float(onset_time_error(later, loud, sample_rate_hz=RATE)) == pytest.approx(50.0, abs=2.0)


def test_shares_have_to_rise() -> None:
    wave = note(0.1, 0.05)
    with pytest.raises(ValueError, match="rise between 0 and 1"):
        attack_time_error(wave, wave, sample_rate_hz=RATE, low=0.9, high=0.1)
    with pytest.raises(ValueError, match="step_s"):
        envelope_error(wave, wave, sample_rate_hz=RATE, step_s=0.0)


def modulated(rate_hz: float, depth: float) -> torch.Tensor:
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    return (1 + depth * torch.sin(2 * torch.pi * rate_hz * time)) * torch.from_numpy(noise(2.0, seed=4)).double()


def test_modulation_distance_knows_rate_and_depth() -> None:
    flat, slow, deep = modulated(4.0, 0.0), modulated(4.0, 0.4), modulated(4.0, 0.8)
    fast = modulated(16.0, 0.8)

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(modulation_spectrum_distance(a, b, sample_rate_hz=RATE))

    assert distance(deep, deep) == 0.0
    assert distance(0.5 * deep, deep) < 1e-9
    assert distance(flat, deep) > distance(slow, deep) > 0.1
    assert distance(fast, deep) > distance(slow, deep)
    assert distance(fast, deep) == pytest.approx(distance(deep, fast), rel=1e-12)


def test_modulation_depth_is_in_decibels() -> None:
    # One band, one octave: a level that swings by ±A dB has a depth of A / √2.
    time = torch.arange(4 * RATE, dtype=torch.float64) / RATE
    carrier = torch.sin(2 * torch.pi * 3000 * time)
    shallow, deep = (10 ** (swing / 20 * torch.sin(2 * torch.pi * 4 * time)) * 0.1 * carrier for swing in (2.0, 6.0))
    found = modulation_spectrum_distance(deep, shallow, sample_rate_hz=RATE, n_mels=1, centres_hz=(4.0,))
    assert float(found) == pytest.approx(20 * math.log10(3), abs=0.05)
    floored = modulation_spectrum_distance(
        deep, carrier, sample_rate_hz=RATE, n_mels=1, centres_hz=(4.0,), shallowest_db=1.0
    )
    # The window of 40 ms smooths the swing a little.
    assert float(floored) == pytest.approx(20 * math.log10(6 / math.sqrt(2)), abs=1.0)


def test_a_short_clip_has_no_modulation_spectrum() -> None:
    wave = modulated(4.0, 0.5)
    assert math.isnan(modulation_spectrum_distance(wave[:22_000], wave[:22_000], sample_rate_hz=RATE))
    with pytest.raises(ValueError, match="octaves"):
        modulation_spectrum_distance(wave, wave, sample_rate_hz=RATE, centres_hz=(64.0,))
