"""Descriptor errors against librosa, plain formulas and known answers."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch

from eval.metrics.descriptors import (
    spectral_centroid_error,
    spectral_flatness_error,
    spectral_flux_error,
    spectral_rolloff_error,
    spectral_sharpness_error,
)
from eval.metrics.frontend import Mel, Stft, mel_magnitude, stft
from eval.studies.expansion import edge_energy
from tests.signals import harmonic, noise, tone

RATE = 16_000


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    # Long enough for several tiles, so that steps across their borders count too.
    reference = harmonic(150.0, 2.5) * np.linspace(1, 0.1, 40_000) + noise(2.5, amplitude=0.01, seed=1)
    estimate = reference + noise(2.5, amplitude=0.03, seed=2) * np.linspace(0, 1, 40_000)
    return torch.from_numpy(estimate).double(), torch.from_numpy(reference).double()


def spectrogram(signal: torch.Tensor) -> np.ndarray:
    return np.abs(librosa.stft(signal.numpy(), n_fft=2048, hop_length=512, pad_mode="reflect", dtype=np.complex128))


def test_centroid_rolloff_and_flatness_equal_librosa() -> None:
    estimate, reference = pair()
    features = {
        "centroid": lambda s: librosa.feature.spectral_centroid(S=s, sr=RATE),
        "rolloff": lambda s: librosa.feature.spectral_rolloff(S=s, sr=RATE, roll_percent=0.85),
        "flatness": lambda s: librosa.feature.spectral_flatness(S=s),
    }
    expected = {
        name: np.abs(feature(spectrogram(estimate)) - feature(spectrogram(reference))).mean()
        for name, feature in features.items()
    }
    centroid = float(spectral_centroid_error(estimate, reference, sample_rate_hz=RATE))
    rolloff = float(spectral_rolloff_error(estimate, reference, sample_rate_hz=RATE))
    flatness = float(spectral_flatness_error(estimate, reference))
    assert centroid == pytest.approx(expected["centroid"], rel=1e-6)
    assert rolloff == pytest.approx(expected["rolloff"], rel=1e-6)
    assert flatness == pytest.approx(expected["flatness"], rel=1e-6)


def test_centroids_of_tones_are_their_frequencies() -> None:
    low, high = (torch.from_numpy(tone(f, 1.0)).double() for f in (1000.0, 3000.0))
    # The edges of a clip are reflected, which spreads the tone over the spectrum in two frames at each end.
    inside = float(spectral_centroid_error(high, low, sample_rate_hz=RATE))
    assert inside == pytest.approx(2000.0, rel=0.05)
    assert float(spectral_rolloff_error(high, low, sample_rate_hz=RATE)) == pytest.approx(2000.0, rel=0.05)


def test_quiet_frames_are_left_out() -> None:
    estimate, reference = (signal.clone() for signal in pair())
    loud = float(spectral_centroid_error(estimate[:20_480], reference[:20_480], sample_rate_hz=RATE))
    estimate[20_480:] = 1e-6 * torch.from_numpy(noise(2.5)).double()[20_480:]
    whole = float(spectral_centroid_error(estimate, reference, sample_rate_hz=RATE))
    assert whole == pytest.approx(loud, rel=0.15)
    for metric in (spectral_centroid_error, spectral_rolloff_error):
        assert math.isnan(metric(1e-6 * estimate, reference, sample_rate_hz=RATE))
    assert math.isnan(spectral_flatness_error(1e-6 * estimate, reference))


def test_flux_error_equals_its_formula() -> None:
    estimate, reference = pair()
    made, wanted = (np.linalg.norm(np.diff(spectrogram(s), axis=1), axis=0) for s in (estimate, reference))
    expected = np.abs(made - wanted).sum() / wanted.sum()
    assert float(spectral_flux_error(estimate, reference)) == pytest.approx(expected, rel=1e-9)
    constant = torch.full((8000,), 0.25).double()
    assert float(spectral_flux_error(constant, reference[:8000])) == pytest.approx(1.0, abs=1e-9)
    assert float(spectral_flux_error(2 * reference, reference)) == pytest.approx(1.0, rel=1e-9)


def test_sharpness_is_the_edge_energy_of_the_study_of_blur() -> None:
    estimate, reference = pair()
    edges = [
        edge_energy(mel_magnitude(s, Stft(), Mel(RATE)).clamp_min(1e-5).log()[None]) for s in (estimate, reference)
    ]
    ours = float(spectral_sharpness_error(estimate, reference, sample_rate_hz=RATE))
    assert ours == pytest.approx(abs(edges[0] / edges[1] - 1), rel=1e-9)
    assert float(spectral_sharpness_error(0.5 * reference, reference, sample_rate_hz=RATE)) < 1e-9


@pytest.mark.parametrize(
    ("hop", "win", "pad_mode"), [(512, 2048, "reflect"), (120, 600, "constant"), (700, 2048, "reflect")]
)
@pytest.mark.parametrize("samples", [2048, 2049, 5000])
def test_tiles_hold_the_transform_frame_by_frame(hop: int, win: int, pad_mode: str, samples: int) -> None:
    from eval.metrics.kernels import kernel_for
    from eval.metrics.tiles import tiles

    settings = Stft(2048, hop, win, pad_mode)
    signals = [signal[:samples] for signal in pair()]
    found = [
        tile.magnitudes().copy()
        for tile in tiles(kernel_for(torch.device("cpu")), [s.numpy() for s in signals], settings)
    ]
    joined = np.concatenate(found, axis=1)
    for row, signal in zip(joined, signals, strict=True):
        expected = stft(signal, settings).abs().T.numpy()
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-11)


def test_misuse_is_refused() -> None:
    estimate, reference = pair()
    with pytest.raises(ValueError, match="share is 1"):
        spectral_rolloff_error(estimate, reference, sample_rate_hz=RATE, share=1.0)
    with pytest.raises(ValueError, match="floor"):
        spectral_flatness_error(estimate, reference, floor=0.0)
    with pytest.raises(ValueError, match="2 bands"):
        spectral_sharpness_error(estimate, reference, sample_rate_hz=RATE, n_mels=1)
    with pytest.raises(ValueError, match="precision is 'half'"):
        Stft(precision="half")
