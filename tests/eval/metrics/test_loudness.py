"""Loudness and true peak against the recommendation, scipy and pyloudnorm."""

from __future__ import annotations

import math

import numpy as np
import pyloudnorm
import pytest
import torch
from scipy.signal import resample, sosfilt

from eval.metrics import bs1770
from eval.metrics.loudness import integrated_loudness, loudness_difference, true_peak
from tests.signals import chirp, noise, silence, tone

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]


def loudness(signal: object, rate: int) -> float:
    return float(integrated_loudness(torch.as_tensor(np.asarray(signal)), sample_rate_hz=rate))


@pytest.mark.parametrize("rate", RATES)
def test_a_full_scale_sine_reads_minus_three(rate: int) -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(2 * rate) / rate)
    assert loudness(sine, rate) == pytest.approx(-3.0103, abs=0.005)
    assert loudness(sine / 10, rate) == pytest.approx(-23.0103, abs=0.005)


def test_k_weighting_at_48_khz_is_the_table_of_the_recommendation() -> None:
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    high_pass = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(bs1770.k_weighting(48_000), [shelf, high_pass], atol=2e-5)


@pytest.mark.parametrize("rate", [8_000, 11_025, 48_000])
def test_blocks_give_what_the_filter_gives(rate: int) -> None:
    # Long enough for several pieces, the last of them not full.
    signal = noise(10.3, rate, amplitude=0.3).astype(np.float64)
    step = round(rate / 10)
    steps = signal.size // step
    weighted = sosfilt(bs1770.k_weighting(rate), signal)[: steps * step].reshape(steps, step)
    found = bs1770._step_energies(signal, rate, step, steps)
    np.testing.assert_allclose(found, np.square(weighted).sum(axis=1), rtol=1e-10)


def test_it_agrees_with_pyloudnorm_through_the_same_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = 48_000
    signal = np.concatenate((chirp(60, 2_000, 4.0, rate), 0.05 * noise(4.0, rate), silence(2.0, rate))).astype(float)
    meter = pyloudnorm.Meter(rate)
    theirs = np.array([np.concatenate((f.b, f.a)) for f in meter._filters.values()])
    monkeypatch.setattr(bs1770, "k_weighting", lambda _: theirs)
    bs1770._blocks.cache_clear()
    ours = bs1770.integrated_loudness(signal[None], rate)
    bs1770._blocks.cache_clear()
    assert ours == pytest.approx(meter.integrated_loudness(signal), abs=1e-6)


def test_quiet_passages_are_gated_out() -> None:
    loud = tone(997, 4.0)
    assert loudness(np.concatenate((loud, silence(4.0))), 16_000) == pytest.approx(loudness(loud, 16_000), abs=0.2)
    mixed = np.concatenate((loud, tone(997, 4.0, amplitude=0.005)))
    assert loudness(mixed, 16_000) == pytest.approx(loudness(loud, 16_000), abs=0.2)


def test_loudness_that_does_not_exist_is_not_a_number() -> None:
    assert math.isnan(loudness(tone(997, 0.399), 16_000))
    assert loudness(silence(1.0), 16_000) == -math.inf
    assert loudness(tone(997, 1.0, amplitude=1e-5), 16_000) == -math.inf
    with pytest.raises(ValueError, match="4,000 Hz or more"):
        loudness(tone(), 2_000)


def test_the_difference_is_the_gain() -> None:
    signal = torch.from_numpy(noise(2.0))
    pair = torch.stack((signal, 0.5 * signal))
    found = loudness_difference(pair, signal.expand(2, -1), sample_rate_hz=16_000)
    torch.testing.assert_close(found, torch.tensor([0.0, 20 * math.log10(2)], dtype=torch.float64), rtol=0, atol=1e-6)
    swapped = loudness_difference(signal.expand(2, -1), pair, sample_rate_hz=16_000)
    torch.testing.assert_close(found, swapped, rtol=0, atol=0)
    assert math.isnan(loudness_difference(torch.zeros(16_000), signal[:16_000], sample_rate_hz=16_000))


@pytest.mark.parametrize("share", [0.05, 0.125, 0.25, 0.35])
def test_true_peak_finds_a_tone_between_the_samples(share: float) -> None:
    place = np.arange(8_000)
    fade = np.minimum(1, np.minimum(place, place[::-1]) / 500)
    signal = fade * np.sin(2 * np.pi * share * place + np.pi / 4)
    lowest = 20 * math.log10(math.cos(math.pi * share / 4)) - 0.02
    assert lowest <= float(true_peak(torch.from_numpy(signal))) <= 0.02
    assert float(true_peak(torch.from_numpy(0.5 * signal))) <= -6.0


def test_true_peak_is_that_of_the_resampled_signal() -> None:
    generator = np.random.default_rng(3)
    spectrum = np.zeros(1025, complex)
    spectrum[1:800] = generator.standard_normal(799) * np.exp(2j * np.pi * generator.random(799))
    signal = np.fft.irfft(spectrum)
    signal = signal / np.abs(signal).max() * np.sin(np.pi * np.arange(2048) / 2048) ** 0.5
    expected = 20 * np.log10(np.abs(resample(signal, 4 * 2048)).max())
    assert float(true_peak(torch.from_numpy(signal))) == pytest.approx(expected, abs=0.05)
    assert float(true_peak(torch.from_numpy(signal), oversampling=1)) == pytest.approx(
        20 * np.log10(np.abs(signal).max())
    )


def test_true_peak_looks_only_where_it_can_be() -> None:
    signal = noise(1.0).astype(np.float64)
    signal[9_000:9_002] = 1.0
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(signal, 12), 24)
    expected = max(np.abs(windows @ bs1770._interpolators(4)).max(), np.abs(signal).max())
    assert bs1770.peak(signal) == pytest.approx(expected, rel=1e-12)
    assert float(true_peak(torch.zeros(100))) == -math.inf
    with pytest.raises(ValueError, match="oversampling"):
        true_peak(torch.ones(10), oversampling=0)
