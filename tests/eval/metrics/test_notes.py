"""Pitch accuracy, onsets and chroma against labels, librosa and mir_eval."""

from __future__ import annotations

import math

import librosa
import mir_eval
import numpy as np
import pytest
import torch

from eval.metrics.chroma import chroma_cosine, chroma_filters
from eval.metrics.notes import midi_to_hz, pitch_accuracy
from eval.metrics.onsets import f_measure, matched_events, onset_f1, onset_times
from eval.metrics.scoring import score_batch
from tests.signals import harmonic, noise, silence

RATE = 16_000


def note(midi: float, duration_s: float = 0.8) -> np.ndarray:
    return harmonic(midi_to_hz(midi), duration_s) * np.exp(-3 * np.arange(round(duration_s * RATE)) / RATE)


def test_accuracy_asks_for_the_labelled_pitch() -> None:
    clips = torch.from_numpy(np.stack([note(60), note(60.4), note(61), note(48), noise(0.8)]))
    found = pitch_accuracy(clips, sample_rate_hz=RATE, pitch=[60, 60, 60, 48, 60])
    assert found.tolist() == [1, 1, 0, 1, 0]
    assert float(pitch_accuracy(clips[0], sample_rate_hz=RATE, pitch=60.7)) == 0
    assert float(pitch_accuracy(clips[0], sample_rate_hz=RATE, pitch=60.7, cents=80)) == 1
    assert math.isnan(pitch_accuracy(torch.zeros(8000), sample_rate_hz=RATE, pitch=60))
    with pytest.raises(ValueError, match="periodicity, spectral"):
        pitch_accuracy(clips, sample_rate_hz=RATE, pitch=60, estimators=("ear",))
    with pytest.raises(ValueError, match="one per clip"):
        pitch_accuracy(clips, sample_rate_hz=RATE, pitch=[60, 61])


def test_accuracy_is_scored_by_the_label_of_the_clip() -> None:
    clips = torch.from_numpy(np.stack([note(69), note(69), note(69)]))
    names = ["pitch_accuracy", "pitch_accuracy_periodicity", "pitch_accuracy_spectral"]
    labels = [{"pitch": 69}, {"pitch": 57}, {}]
    scores = score_batch(clips, None, sample_rate_hz=RATE, names=names, labels=labels)
    assert [[clip[name].value for name in names] for clip in scores] == [[1.0] * 3, [0.0] * 3, [None] * 3]
    assert scores[2]["pitch_accuracy"].status == "skipped"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_onsets_are_librosas(rate: int) -> None:
    generator = np.random.default_rng(rate)
    signal = 0.003 * generator.standard_normal(2 * rate)
    for start in (0.1, 0.45, 0.5, 0.95, 1.3, 1.62):
        burst = harmonic(float(generator.uniform(150, 900)), 0.3, rate) * np.exp(
            -8 * np.arange(round(0.3 * rate)) / rate
        )
        place = round(start * rate)
        signal[place : place + burst.size] += burst
    expected = librosa.onset.onset_detect(y=signal, sr=rate, units="time")
    found = onset_times(signal, rate)
    assert found.size >= 5
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert onset_times(np.zeros(rate), rate).size == 0


def test_f_measure_is_mir_evals() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        ours, theirs = (np.sort(generator.uniform(0, 1, generator.integers(1, 12))) for _ in range(2))
        expected, _, _ = mir_eval.onset.f_measure(theirs, ours, window=0.05)
        assert f_measure(ours, theirs) == pytest.approx(expected, abs=1e-12)
    # Nearest first would pair only one of these.
    assert matched_events(np.array([1.0, 1.04]), np.array([0.96, 1.01])) == 2
    assert f_measure(np.zeros(0), np.array([1.0])) == 0
    assert math.isnan(f_measure(np.zeros(0), np.zeros(0)))


def test_onset_f1_counts_shared_beginnings() -> None:
    bursts = [np.concatenate((silence(0.2), note(60, 0.3))), np.concatenate((silence(0.2), note(67, 0.3)))]
    reference = torch.from_numpy(np.concatenate(bursts))
    missing = torch.from_numpy(np.concatenate((bursts[0], silence(0.5)))).to(reference.dtype)
    assert float(onset_f1(0.3 * reference, reference, sample_rate_hz=RATE)) == 1
    wanted, heard = (onset_times(clip.double().numpy(), RATE) for clip in (reference, missing))
    expected, _, _ = mir_eval.onset.f_measure(wanted, heard)
    assert float(onset_f1(missing, reference, sample_rate_hz=RATE)) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1
    assert math.isnan(onset_f1(torch.zeros(8000), torch.zeros(8000), sample_rate_hz=RATE))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_chroma_filters_are_librosas(rate: int) -> None:
    expected = librosa.filters.chroma(sr=rate, n_fft=4096, tuning=0, dtype=np.float64)
    np.testing.assert_allclose(chroma_filters(rate, 4096), expected, rtol=1e-9, atol=1e-14)


def test_chroma_cosine_is_audiocrafts_definition() -> None:
    reference = torch.from_numpy(np.concatenate((note(60), note(64)))).double()
    estimate = torch.from_numpy(np.concatenate((note(60.5), note(67))) + noise(1.6, amplitude=0.02)).double()
    bank = torch.from_numpy(librosa.filters.chroma(sr=RATE, n_fft=4096, tuning=0, n_chroma=12).astype(np.float64))
    window = torch.hann_window(4096, dtype=torch.float64)
    vectors = []
    for clip in (estimate, reference):
        spectrum = torch.stft(clip, 4096, 1024, window=window, return_complex=True) / window.square().sum().sqrt()
        raw = bank @ spectrum.abs().square()
        vectors.append(torch.nn.functional.normalize(raw, p=torch.inf, dim=0, eps=1e-6).T)
    frames = math.ceil(reference.numel() / 1024)
    cosine = torch.nn.functional.cosine_similarity(vectors[1][:frames], vectors[0][:frames], dim=1, eps=1e-8)
    found = chroma_cosine(estimate, reference, sample_rate_hz=RATE)
    assert float(found) == pytest.approx(float(cosine.mean()), rel=1e-6)
    assert float(chroma_cosine(0.1 * reference, reference, sample_rate_hz=RATE)) == pytest.approx(1, abs=1e-5)
    octave = torch.from_numpy(np.concatenate((note(72), note(76)))).double()
    fifth = torch.from_numpy(np.concatenate((note(66), note(70)))).double()
    assert float(chroma_cosine(octave, reference, sample_rate_hz=RATE)) > 0.9
    assert float(chroma_cosine(fifth, reference, sample_rate_hz=RATE)) < 0.7
