"""The front end against librosa, torch and known answers."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from eval.metrics.frontend import Mel, Stft, hann, hz_to_mel, mel_filters, mel_magnitude, mel_to_hz, stft
from tests.signals import noise, tone


@pytest.fixture
def waveform() -> np.ndarray:
    return (tone(440.0, 0.6) + noise(0.6, seed=3)).astype(np.float64)


@pytest.mark.parametrize("length", [2, 240, 600, 2048])
def test_window_is_the_periodic_hann_of_torch(length: int) -> None:
    expected = torch.hann_window(length, periodic=True, dtype=torch.float64).numpy()
    np.testing.assert_allclose(hann(length), expected, atol=1e-15)


@pytest.mark.parametrize("settings", [Stft(), Stft(1024, 120, 600), Stft(512, 50, 240), Stft(256, 100, 255)])
def test_reflect_padding_equals_torch(settings: Stft, waveform: np.ndarray) -> None:
    expected = torch.stft(
        torch.from_numpy(waveform),
        settings.n_fft,
        settings.hop_length,
        settings.win_length,
        torch.hann_window(settings.win_length, dtype=torch.float64),
        return_complex=True,
    )
    ours = stft(torch.from_numpy(waveform), settings)
    assert ours.shape == (settings.bins, settings.frames(waveform.size))
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(2048, 512, 2048), (1024, 256, 1024), (1024, 120, 600)])
def test_zero_padding_equals_librosa(n_fft: int, hop: int, win: int, waveform: np.ndarray) -> None:
    expected = librosa.stft(
        waveform, n_fft=n_fft, hop_length=hop, win_length=win, pad_mode="constant", dtype=np.complex128
    )
    ours = stft(torch.from_numpy(waveform), Stft(n_fft, hop, win, "constant")).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "low", "high"),
    [(16_000, 2048, 128, 0.0, None), (22_050, 1024, 80, 0.0, 8000.0), (44_100, 512, 40, 30.0, None)],
)
def test_mel_filters_equal_librosa(rate: int, n_fft: int, n_mels: int, low: float, high: float | None) -> None:
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=low, fmax=high, dtype=np.float64)
    ours = mel_filters(rate, n_fft, n_mels, f_min_hz=low, f_max_hz=high)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-15)


def test_mel_scale_has_slaneys_fixed_points_and_an_inverse() -> None:
    np.testing.assert_allclose(hz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0])), [0, 3, 15, 42], rtol=1e-14)
    frequencies = np.array([10.0, 999.0, 1001.0, 21_000.0])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(frequencies)), frequencies, rtol=1e-12)


def test_mel_magnitude_equals_librosa(waveform: np.ndarray) -> None:
    expected = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=2048, hop_length=512, power=1.0, n_mels=128, pad_mode="constant"
    )
    ours = mel_magnitude(torch.from_numpy(waveform), Stft(pad_mode="constant"), Mel(16_000)).numpy()
    # librosa rounds its filters to float32.
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_a_full_scale_sine_on_a_bin_reads_half_the_window_sum() -> None:
    spectrum = stft(torch.from_numpy(tone(500.0, 1.0, amplitude=1.0)), Stft()).abs()
    assert float(spectrum[64, 10]) == pytest.approx(hann(2048).sum() / 2, rel=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"n_fft": 7}, {"hop_length": 0}, {"win_length": 4096}, {"win_length": 0}, {"pad_mode": "edge"}],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Stft(**settings)  # type: ignore[arg-type]


def test_mel_edges_outside_the_spectrum_are_refused() -> None:
    with pytest.raises(ValueError, match="8000"):
        mel_filters(16_000, 2048, 80, f_max_hz=9000.0)


def test_a_clip_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="2047 samples"):
        stft(torch.zeros(2047), Stft())
