"""SDR with a filter, SNR and segmental SNR against torchmetrics, plain formulas and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import signal_distortion_ratio, signal_noise_ratio

from eval.metrics.lags import lagged_products
from eval.metrics.sdr import sdr
from eval.metrics.waveform import segmental_snr, snr
from tests.signals import harmonic, noise, tone


def filtered_pairs() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for exponent, samples in enumerate((3000, 4096, 9001)):
        reference = torch.randn(samples, generator=generator, dtype=torch.float64)
        response = torch.randn(1, 1, 301, generator=generator, dtype=torch.float64)
        echo = torch.nn.functional.conv1d(reference[None, None], response, padding=150)[0, 0]
        gap = torch.randn(samples, generator=generator, dtype=torch.float64)
        found.append((1e-3 * (echo + 10.0**-exponent * gap), 30 * reference))
    music = torch.from_numpy(harmonic(220.0, 0.5)).double()
    found.append((music + 0.01 * torch.from_numpy(noise(0.5)).double(), music))
    return found


@pytest.mark.parametrize("taps", [1, 64, 512])
def test_sdr_equals_torchmetrics(taps: int) -> None:
    for estimate, reference in filtered_pairs():
        expected = float(signal_distortion_ratio(estimate, reference, filter_length=taps))
        assert float(sdr(estimate, reference, taps=taps)) == pytest.approx(expected, abs=1e-6)
        centred = float(signal_distortion_ratio(estimate + 1e-4, reference, filter_length=taps, zero_mean=True))
        assert float(sdr(estimate + 1e-4, reference, taps=taps, zero_mean=True)) == pytest.approx(centred, abs=1e-6)


def test_sdr_of_a_tone_is_the_projection_on_sine_and_cosine() -> None:
    # Delays of a sine span two dimensions, so the normal equations are singular.
    reference = tone(440.0, 0.5).astype(np.float64)
    reference[:600] = reference[-600:] = 0
    estimate = torch.from_numpy(reference + noise(0.5, amplitude=0.05)).double()
    value = float(sdr(estimate, torch.from_numpy(reference)))
    plain = float(snr(estimate, torch.from_numpy(reference)))
    assert plain - 0.1 < value < plain + 1.5


def test_sdr_forgives_a_short_filter_and_nothing_longer() -> None:
    reference = torch.from_numpy(noise(0.5, seed=3)).double()
    reference[-600:] = 0
    assert float(sdr(reference.roll(511), reference)) == math.inf
    assert float(sdr(reference.roll(512), reference)) < 0


def test_sdr_without_an_answer_is_not_a_number() -> None:
    signal = torch.from_numpy(noise(0.2)).double()
    zeros = torch.zeros_like(signal)
    assert float(sdr(signal, signal)) == math.inf
    assert float(sdr(-0.1 * signal, signal)) == math.inf
    assert math.isnan(sdr(zeros, signal)) and math.isnan(sdr(signal, zeros))
    with pytest.raises(ValueError, match="taps = 512"):
        sdr(signal[:511], signal[:511])
    with pytest.raises(ValueError, match="at least 1"):
        sdr(signal, signal, taps=0)


@pytest.mark.parametrize(("samples", "count"), [(5, 3), (4000, 7), (10_007, 1500)])
def test_lagged_products_are_sums_of_products(samples: int, count: int) -> None:
    draw = np.random.default_rng(1)
    fixed, other = draw.normal(size=(2, samples))
    expected = np.correlate(np.concatenate([other, np.zeros(count)]), fixed, mode="valid")[:count]
    (found,) = lagged_products(fixed, [other], count)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * samples)


def test_snr_equals_torchmetrics_with_its_eps() -> None:
    generator = torch.Generator().manual_seed(2)
    reference = torch.randn(20, 999, generator=generator, dtype=torch.float64) * torch.logspace(-4, 0, 20)[:, None]
    estimate = reference + 0.1 * torch.randn(20, 999, generator=generator, dtype=torch.float64)
    expected = signal_noise_ratio(estimate, reference)
    found = snr(estimate, reference, eps=torch.finfo(torch.float64).eps)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_snr_knows_its_limits() -> None:
    signal = torch.from_numpy(noise(0.2)).double()
    assert float(snr(-signal, signal)) == pytest.approx(20 * math.log10(0.5), rel=1e-12)
    assert float(snr(0.9 * signal, signal)) == pytest.approx(20.0, rel=1e-9)
    assert float(snr(signal, signal)) == math.inf
    assert math.isnan(snr(torch.zeros_like(signal), signal)) and math.isnan(snr(signal, torch.zeros_like(signal)))


def test_segmental_snr_is_the_mean_of_limited_frames() -> None:
    rate, length, hop = 16_000, 480, 120
    reference = torch.from_numpy(harmonic(150.0, 0.4)).double()
    reference[2000:3000] = 0
    gap = torch.from_numpy(noise(0.4, amplitude=0.02)).double()
    gap[4000:5000] = 0
    estimate = reference + gap * torch.linspace(0, 10, len(gap), dtype=torch.float64)
    window = np.hanning(length + 2)[1:-1]
    ratios = []
    for start in range(0, len(gap) - length + 1, hop):
        wanted = window * reference[start : start + length].numpy()
        error = window * (reference - estimate)[start : start + length].numpy()
        if (wanted**2).sum() > 0:
            with np.errstate(divide="ignore"):
                ratios.append(np.clip(10 * np.log10((wanted**2).sum() / (error**2).sum()), -10, 35))
    assert len(ratios) < 1 + (len(gap) - length) // hop
    assert min(ratios) == -10 and max(ratios) == 35
    assert float(segmental_snr(estimate, reference, sample_rate_hz=rate)) == pytest.approx(np.mean(ratios), rel=1e-12)


def test_segmental_snr_needs_a_frame() -> None:
    signal = torch.from_numpy(noise(0.02)).double()
    assert math.isnan(segmental_snr(0.5 * signal, signal, sample_rate_hz=16_000))
    assert float(segmental_snr(signal, signal, sample_rate_hz=8_000)) == 35
    with pytest.raises(ValueError, match="in order"):
        segmental_snr(signal, signal, sample_rate_hz=16_000, lowest_db=40.0)
