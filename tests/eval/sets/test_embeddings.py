from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.fft

from eval.sets import Undefined
from eval.sets.embeddings import (
    EMBEDDINGS,
    STATISTICS,
    decibels,
    log_mel_statistics,
    mel_power,
    mfcc_statistics,
    modulation_statistics,
    open_embedding,
    power_spectrogram,
)
from models.errors import InputError
from tests.signals import harmonic, noise, tone

RATE_HZ = 16_000


@pytest.mark.parametrize("name", list(STATISTICS))
def test_size_repeatability_and_description(name: str) -> None:
    embedding = open_embedding(name)
    clip = np.asarray(harmonic(220.0, 3.0), dtype=np.float32)[: 3 * RATE_HZ]
    vector = embedding.embed(clip, RATE_HZ).values
    assert vector.shape == (STATISTICS[name].dimensions,)
    assert vector.dtype == np.float64
    assert np.isfinite(vector).all()
    assert np.array_equal(vector, embedding.embed(clip.copy(), RATE_HZ).values)
    facts = embedding.describe()
    assert facts["dimensions"] == len(vector)
    assert len(str(facts["sha256"])) == 64
    assert name in EMBEDDINGS


@pytest.mark.parametrize("name", list(STATISTICS))
def test_what_has_no_vector(name: str) -> None:
    embedding = STATISTICS[name]
    with pytest.raises(Undefined, match="silent"):
        embedding.embed(np.zeros(4 * RATE_HZ), RATE_HZ)
    with pytest.raises(Undefined, match="100 samples"):
        embedding.embed(np.ones(100), RATE_HZ)
    with pytest.raises(ValueError, match="not finite"):
        embedding.embed(np.full(4 * RATE_HZ, np.nan), RATE_HZ)
    with pytest.raises(ValueError, match=r"\(time,\)"):
        embedding.embed(np.ones((2, 4 * RATE_HZ)), RATE_HZ)
    with pytest.raises(ValueError, match="15200 Hz"):
        embedding.embed(np.ones(4 * RATE_HZ), 8_000)


def test_a_full_scale_sine_peaks_at_one() -> None:
    for rate in (16_000, 44_100):
        clip = np.asarray(tone(1_000.0, 1.0, rate), dtype=np.float64)
        power = power_spectrogram(clip / np.abs(clip).max(), rate, 0.064, 0.016)
        assert power[5].max() == pytest.approx(1.0, abs=0.01)


def test_mel_agrees_with_librosa() -> None:
    clip = np.asarray(noise(1.0), dtype=np.float64)
    bands = librosa.filters.mel(sr=RATE_HZ, n_fft=1024, n_mels=32, fmin=40.0, fmax=7_600.0, dtype=np.float64)
    spectrum = np.abs(librosa.stft(clip, n_fft=1024, hop_length=256, center=False)) ** 2
    wanted = (bands / bands.sum(1, keepdims=True)) @ spectrum * (2.0 / scipy.signal.get_window("hann", 1024).sum()) ** 2
    np.testing.assert_allclose(mel_power(clip, RATE_HZ, 32).T, wanted, rtol=1e-8)


def test_cosine_transform_agrees_with_scipy() -> None:
    clip = np.asarray(harmonic(180.0, 1.0), dtype=np.float64)
    coefficients = scipy.fft.dct(decibels(mel_power(clip, RATE_HZ, 40)), norm="ortho", axis=1)[:, 1:21]
    wanted = np.concatenate([coefficients.mean(0), coefficients.std(0)])
    np.testing.assert_allclose(mfcc_statistics(clip, RATE_HZ), wanted, rtol=1e-9, atol=1e-9)


def test_gain_moves_the_level_alone() -> None:
    clip = np.asarray(harmonic(180.0, 1.0), dtype=np.float64)
    gap = log_mel_statistics(clip, RATE_HZ) - log_mel_statistics(0.1 * clip, RATE_HZ)
    np.testing.assert_allclose(gap, [20.0] * 32 + [0.0] * 32, atol=1e-9)
    for name in ("mfcc", "chroma", "modulation"):
        ours, quieter = (STATISTICS[name].embed(np.tile(clip * g, 3), RATE_HZ).values for g in (1.0, 0.1))
        np.testing.assert_allclose(ours, quieter, atol=1e-8)


def test_chroma_hears_the_pitch_class_in_any_octave() -> None:
    for octave in (220.0, 440.0, 880.0):
        vector = STATISTICS["chroma"].embed(np.asarray(tone(octave, 1.0)), RATE_HZ).values
        assert int(vector[:12].argmax()) == 9
        assert vector[9] == pytest.approx(1.0, abs=1e-6)


def test_modulation_finds_a_tremolo() -> None:
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    carrier = np.random.default_rng(0).standard_normal(len(time_s))
    trembling = (1.0 + 0.9 * np.sin(2 * np.pi * 6.0 * time_s)) * carrier
    found = modulation_statistics(trembling, RATE_HZ).reshape(8, 8)
    # Bands of 0.5 … 32 Hz by factors of 1.68: 6 Hz lies in the fifth.
    assert (found.argmax(axis=1) == 4).all()
    assert (found[:, 4] - modulation_statistics(carrier, RATE_HZ).reshape(8, 8)[:, 4] > 6.0).all()


def test_vectors_hardly_depend_on_the_sample_rate() -> None:
    def made(rate: int) -> np.ndarray:
        return np.asarray(harmonic(220.0, 3.0, rate), dtype=np.float64)

    for name in ("mfcc", "chroma"):
        a, b = (STATISTICS[name].embed(made(rate), rate).values for rate in (16_000, 32_000))
        assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(a), name


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'vggish' is unknown; known: log_mel, mfcc, chroma, modulation, note_class"):
        open_embedding("vggish")
    with pytest.raises(InputError, match="no such file"):
        open_embedding(str(tmp_path / "vggish.ts"))
