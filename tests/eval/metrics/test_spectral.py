"""Spectral metrics against auraloss, librosa and known answers."""

from __future__ import annotations

import math

import auraloss
import librosa
import numpy as np
import pytest
import torch

from eval.metrics.spectral import (
    band_log_spectral_distance,
    linear_magnitude_l1,
    linear_magnitude_mse,
    log_magnitude_mse,
    log_mel_l1,
    log_spectral_distance,
    log_stft_magnitude,
    multi_resolution_stft,
    spectral_convergence,
)
from tests.signals import harmonic, noise

RATE = 16_000


def pair(seed: int, duration_s: float = 0.4, level: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    reference = harmonic(110.0 * (1 + seed % 5), duration_s, amplitude=0.4) + noise(
        duration_s, amplitude=0.01, seed=seed
    )
    estimate = 0.9 * reference + noise(duration_s, amplitude=0.02, seed=100 + seed)
    return torch.from_numpy(level * estimate).double(), torch.from_numpy(level * reference).double()


PAIRS = [(0, 1.0), (1, 0.3), (2, 1e-2), (3, 1e-4), (4, 2.0)]


def anchor(**weights: object) -> torch.nn.Module:
    """auraloss' loss with its window in float64: the one it builds is rounded to float32."""
    loss = auraloss.freq.STFTLoss(2048, 512, 2048, **weights)
    loss.window = torch.hann_window(2048, dtype=torch.float64)
    return loss


@pytest.mark.parametrize(("seed", "level"), PAIRS)
def test_one_resolution_equals_auraloss(seed: int, level: float) -> None:
    estimate, reference = pair(seed, level=level)
    batch = (estimate[None, None], reference[None, None])
    # auraloss clamps the power at 1e-8, which is a floor of 1e-4 under the magnitude of every term.
    sc = anchor(w_log_mag=0.0)(*batch)
    log = anchor(w_sc=0.0)(*batch)
    torch.testing.assert_close(spectral_convergence(estimate, reference, floor=1e-4), sc, rtol=1e-10, atol=0)
    torch.testing.assert_close(log_stft_magnitude(estimate, reference), log, rtol=1e-10, atol=0)


def test_linear_term_equals_auraloss_without_its_clamp() -> None:
    estimate, reference = pair(0)
    linear = anchor(w_sc=0.0, w_log_mag=0.0, w_lin_mag=1.0, eps=0.0)(estimate[None, None], reference[None, None])
    torch.testing.assert_close(linear_magnitude_l1(estimate, reference), linear, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("seed", "level"), PAIRS)
def test_multi_resolution_equals_auraloss(seed: int, level: float) -> None:
    estimate, reference = pair(seed, level=level)
    loss = auraloss.freq.MultiResolutionSTFTLoss()
    for part in loss.stft_losses:
        part.window = torch.hann_window(part.win_length, dtype=torch.float64)
    expected = loss(estimate[None, None], reference[None, None])
    torch.testing.assert_close(multi_resolution_stft(estimate, reference), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_log_mel_equals_auraloss(n_mels: int) -> None:
    estimate, reference = pair(1)
    loss = auraloss.freq.MelSTFTLoss(RATE, 2048, 512, 2048, n_mels=n_mels, w_sc=0.0)
    loss.window = torch.hann_window(2048, dtype=torch.float64)
    loss.fb = loss.fb.double()
    expected = loss(estimate[None, None], reference[None, None])
    # auraloss puts its clamp of 1e-8 under the power before the mel bands, we put 1e-5 under the bands; neither is
    # reached here. Its filters are rounded to float32.
    ours = log_mel_l1(estimate, reference, sample_rate_hz=RATE, n_mels=n_mels)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


def test_log_mel_equals_librosa_with_zeros_at_the_edges() -> None:
    estimate, reference = pair(2)
    mels = [
        np.maximum(
            librosa.feature.melspectrogram(
                y=signal.numpy(), sr=RATE, n_fft=1024, hop_length=256, power=1.0, n_mels=80, fmax=7000.0
            ),
            1e-5,
        )
        for signal in (estimate, reference)
    ]
    expected = np.abs(np.log(mels[0]) - np.log(mels[1])).mean()
    ours = log_mel_l1(
        estimate,
        reference,
        sample_rate_hz=RATE,
        n_fft=1024,
        hop_length=256,
        win_length=1024,
        n_mels=80,
        f_max_hz=7000.0,
        pad_mode="constant",
    )
    assert float(ours) == pytest.approx(expected, rel=1e-6)


def test_log_spectral_distance_equals_its_formula_on_librosas_spectrograms() -> None:
    estimate, reference = pair(3)
    power = [
        np.abs(librosa.stft(s.numpy(), n_fft=2048, hop_length=512, pad_mode="reflect", dtype=np.complex128)) ** 2
        for s in (estimate, reference)
    ]
    gap_db = 10 * np.log10(np.maximum(power[0], 1e-8)) - 10 * np.log10(np.maximum(power[1], 1e-8))
    expected = np.sqrt((gap_db**2).mean(axis=0)).mean()
    assert float(log_spectral_distance(estimate, reference)) == pytest.approx(expected, rel=1e-10)


def test_convergence_is_per_clip_where_auraloss_mixes_the_batch() -> None:
    loud, quiet = pair(0), (0.01 * pair(1)[0], 0.02 * pair(1)[1])
    estimate, reference = torch.stack([loud[0], quiet[0]]), torch.stack([loud[1], quiet[1]])
    ours = spectral_convergence(estimate, reference, floor=1e-4)
    mixed = anchor(w_log_mag=0.0)(estimate[:, None], reference[:, None])
    assert abs(float(ours.mean()) - float(mixed)) > 0.01 * float(mixed)
    for index, single in enumerate((loud, quiet)):
        expected = anchor(w_log_mag=0.0)(single[0][None, None], single[1][None, None])
        torch.testing.assert_close(ours[index], expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_gain_costs_its_logarithm(gain: float) -> None:
    _, reference = pair(0)
    for value in (
        log_stft_magnitude(gain * reference, reference),
        log_mel_l1(gain * reference, reference, sample_rate_hz=RATE),
    ):
        assert float(value) == pytest.approx(abs(math.log(gain)), rel=1e-9)
    assert float(log_spectral_distance(gain * reference, reference)) == pytest.approx(
        abs(20 * math.log10(gain)), rel=1e-9
    )
    assert float(spectral_convergence(gain * reference, reference)) == pytest.approx(abs(1 - gain), rel=1e-12)


def test_convergence_and_multi_resolution_are_not_symmetric() -> None:
    _, reference = pair(0)
    assert float(spectral_convergence(2 * reference, reference)) == pytest.approx(1.0)
    assert float(spectral_convergence(reference, 2 * reference)) == pytest.approx(0.5)
    assert float(multi_resolution_stft(2 * reference, reference)) != pytest.approx(
        float(multi_resolution_stft(reference, 2 * reference)), rel=1e-3
    )


def test_polarity_costs_nothing() -> None:
    _, reference = pair(2)
    for metric in (spectral_convergence, linear_magnitude_l1, log_stft_magnitude, multi_resolution_stft):
        assert float(metric(-reference, reference)) == 0.0


def test_silence_and_dither_compare_as_nearly_equal() -> None:
    silence = torch.zeros(8000, dtype=torch.float64)
    dither = torch.from_numpy(np.round(noise(0.5, amplitude=0.5, seed=1)) / 32768).double()
    assert float(log_stft_magnitude(silence, silence)) == 0.0
    assert float(log_stft_magnitude(dither, silence)) < 6


@pytest.mark.parametrize("metric", [log_stft_magnitude, log_spectral_distance, multi_resolution_stft])
def test_a_logarithm_without_a_floor_is_refused(metric: object) -> None:
    with pytest.raises(ValueError, match="floor"):
        metric(torch.zeros(4096), torch.zeros(4096), floor=0.0)  # type: ignore[operator]


def test_many_random_and_adversarial_pairs_equal_auraloss() -> None:
    generator = torch.Generator().manual_seed(0)
    loss = auraloss.freq.MultiResolutionSTFTLoss()
    for part in loss.stft_losses:
        part.window = torch.hann_window(part.win_length, dtype=torch.float64)
    ramps = {
        "step": torch.ones(2400).double(),
        "click": torch.nn.functional.one_hot(torch.tensor(1200), 2400).double(),
        "saturated": torch.sign(torch.randn(2400, generator=generator)).double(),
        "nearly silent": 1e-9 * torch.randn(2400, generator=generator).double(),
    }
    for name, signal in ramps.items():
        other = torch.randn(2400, generator=generator).double()
        for estimate, reference in ((signal, other), (other, signal), (signal, 0.5 * signal)):
            expected = loss(estimate[None, None], reference[None, None])
            ours = multi_resolution_stft(estimate, reference)
            torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-12, msg=name)


def test_mean_squares_equal_their_formulas_on_torchs_spectrograms() -> None:
    estimate, reference = pair(4)
    window = torch.hann_window(2048, dtype=torch.float64)
    made, wanted = (torch.stft(s, 2048, 512, window=window, return_complex=True).abs() for s in (estimate, reference))
    linear = (made - wanted).square().mean()
    log = (made.clamp(min=1e-4).log() - wanted.clamp(min=1e-4).log()).square().mean()
    torch.testing.assert_close(linear_magnitude_mse(estimate, reference), linear, rtol=1e-9, atol=0)
    torch.testing.assert_close(log_magnitude_mse(estimate, reference), log, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 500.0), (500.0, 2000.0), (2000.0, 8000.0), (2000.0, None)])
def test_bands_are_parts_of_the_spectrum(low: float, high: float | None) -> None:
    estimate, reference = pair(1)
    window = torch.hann_window(2048, dtype=torch.float64)
    logs = [
        20 * torch.stft(s, 2048, 512, window=window, return_complex=True).abs().clamp(min=1e-4).log10()
        for s in (estimate, reference)
    ]
    frequencies = torch.arange(1025) * RATE / 2048
    inside = (frequencies >= low) & ((frequencies < high) if high not in (None, 8000.0) else frequencies >= 0)
    expected = (logs[0] - logs[1])[inside].square().mean(0).sqrt().mean()
    found = band_log_spectral_distance(estimate, reference, sample_rate_hz=RATE, low_hz=low, high_hz=high)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_bands_above_half_the_rate_have_no_value() -> None:
    estimate, reference = pair(1)
    for low, high in ((8000.0, None), (5000.0, 9000.0), (9000.0, 10_000.0)):
        assert math.isnan(
            band_log_spectral_distance(estimate, reference, sample_rate_hz=RATE, low_hz=low, high_hz=high)
        )
    with pytest.raises(ValueError, match="0 ≤ low_hz < high_hz"):
        band_log_spectral_distance(estimate, reference, sample_rate_hz=RATE, low_hz=500.0, high_hz=500.0)
    with pytest.raises(ValueError, match="no bin"):
        band_log_spectral_distance(estimate, reference, sample_rate_hz=RATE, low_hz=1.0, high_hz=2.0)


def test_single_precision_is_close_and_still_perfect_for_equal_signals() -> None:
    estimate, reference = pair(0)
    wide = float(multi_resolution_stft(estimate, reference))
    narrow = float(multi_resolution_stft(estimate, reference, precision="float32"))
    assert narrow == pytest.approx(wide, rel=1e-5)
    assert narrow != wide
    assert float(multi_resolution_stft(reference, reference, precision="float32")) == 0.0
