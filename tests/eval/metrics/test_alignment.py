"""Alignment finds delays and polarities that were put in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eval.metrics.alignment import align, aligned_correlation, alignment_delay, alignment_polarity
from tests.signals import harmonic, noise, tone

RATE = 16_000


def shifted(signal: torch.Tensor, samples: int) -> torch.Tensor:
    moved = signal.roll(samples)
    if samples > 0:
        moved[:samples] = 0
    elif samples < 0:
        moved[samples:] = 0
    return moved


@pytest.mark.parametrize("delay", [-1600, -37, 0, 1, 800])
@pytest.mark.parametrize("gain", [1.0, -0.25])
def test_a_copy_is_found(delay: int, gain: float) -> None:
    reference = torch.from_numpy(noise(0.5, seed=4)).double()
    found = align(gain * shifted(reference, delay), reference, max_delay_samples=1600)
    assert found is not None
    assert (found.delay_samples, found.polarity) == (delay, 1 if gain > 0 else -1)
    assert found.correlation == pytest.approx(1.0, abs=1e-12)


def test_the_maximum_is_that_of_the_full_correlation() -> None:
    draw = np.random.default_rng(0)
    for samples in (50, 301):
        late, still = draw.normal(size=(2, samples))
        found = align(torch.from_numpy(late), torch.from_numpy(still), max_delay_samples=20)
        full = np.correlate(late, still, mode="full")[samples - 1 - 20 : samples + 20]
        assert found is not None and found.delay_samples == int(np.abs(full).argmax()) - 20
        assert found.polarity == np.sign(full[np.abs(full).argmax()])


def test_of_the_periods_of_a_tone_the_smallest_delay_counts() -> None:
    wave = torch.from_numpy(tone(400.0, 0.5)).double()
    assert float(alignment_delay(wave, wave, sample_rate_hz=RATE)) == 0.0
    # A fifth of a period late; three tenths early with the polarity turned is the same tone.
    found = align(wave.roll(8), wave, max_delay_samples=1600)
    assert found is not None and (found.delay_samples, found.polarity) == (8, 1)


def test_metrics_report_it_apart() -> None:
    reference = torch.from_numpy(harmonic(110.0, 0.5)).double() + torch.from_numpy(noise(0.5)).double()
    estimate = torch.stack([shifted(reference, 160), -shifted(reference, -80)])
    both = torch.stack([reference, reference])
    torch.testing.assert_close(alignment_delay(estimate, both, sample_rate_hz=RATE), torch.tensor([10.0, 5.0]).double())
    assert alignment_polarity(estimate, both, sample_rate_hz=RATE).tolist() == [1.0, -1.0]
    torch.testing.assert_close(aligned_correlation(estimate, both, sample_rate_hz=RATE), torch.ones(2).double())


def test_a_delay_beyond_the_reach_is_not_found() -> None:
    reference = torch.from_numpy(noise(0.5, seed=5)).double()
    late = shifted(reference, 2000)
    assert float(alignment_delay(late, reference, sample_rate_hz=RATE)) <= 100.0
    assert float(aligned_correlation(late, reference, sample_rate_hz=RATE)) < 0.2


def test_silence_has_no_alignment() -> None:
    signal, zeros = torch.from_numpy(noise(0.1)).double(), torch.zeros(1600).double()
    assert align(signal, zeros, max_delay_samples=10) is None
    for metric in (aligned_correlation, alignment_delay, alignment_polarity):
        assert math.isnan(metric(zeros, signal, sample_rate_hz=RATE))
    with pytest.raises(ValueError, match="at least 0"):
        align(signal, signal, max_delay_samples=-1)
