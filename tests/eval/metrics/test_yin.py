"""YIN and pYIN against librosa, frame by frame, and against tones whose pitch is known."""

from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from eval.metrics import yin as module
from eval.metrics.yin import YinSettings, pyin, yin
from tests.signals import chirp, harmonic, noise, silence, tone

C2, C7 = 65.4, 2093.0
NOTES = Path(__file__).parents[4] / "shared" / "corpora" / "notes" / "test" / "audio"


def vibrato(rate: int, duration_s: float = 0.8) -> NDArray[np.float64]:
    time = np.arange(round(duration_s * rate)) / rate
    angle = 2 * np.pi * 440 * time + 6 * np.sin(2 * np.pi * 5.5 * time)
    return np.sin(angle) + 0.4 * np.sin(2 * angle + 1) + 0.2 * np.sin(3 * angle)


SIGNALS = {
    "tone": (tone(440, 0.5, 22_050), 22_050),
    "harmonic": (harmonic(110, 0.5, 16_000), 16_000),
    "vibrato": (vibrato(22_050), 22_050),
    "chirp": (chirp(80, 1800, 0.8, 22_050), 22_050),
    "noise": (noise(0.5, 22_050), 22_050),
    "noisy tone": (tone(330, 0.6, 16_000) + noise(0.6, 16_000, amplitude=0.2), 16_000),
    "silence": (silence(0.3, 22_050), 22_050),
    "leaps": (np.concatenate([tone(hz, 0.25, 44_100) for hz in (100, 1500, 220, 222)]), 44_100),
    "pauses": (np.concatenate((tone(200, 0.3), silence(0.3), tone(800, 0.3), noise(0.2))), 16_000),
    "constant": (np.full(8000, 0.3), 16_000),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_pyin_is_librosas_frame_by_frame(name: str) -> None:
    signal, rate = SIGNALS[name]
    same_as_librosa(np.asarray(signal, np.float64), rate)


def same_as_librosa(signal: NDArray[np.float64], rate: int) -> None:
    ours = pyin(signal, YinSettings(rate, C2, C7))
    f0, voiced, probability = librosa.pyin(signal, fmin=C2, fmax=C7, sr=rate)
    np.testing.assert_array_equal(ours.voiced, voiced)
    np.testing.assert_array_equal(ours.f0_hz, f0)
    np.testing.assert_allclose(ours.voiced_probability, probability, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["vibrato", "noise"])
def test_pyin_is_librosas_with_other_frames(name: str) -> None:
    signal, rate = SIGNALS[name]
    signal = np.asarray(signal, np.float64)
    ours = pyin(signal, YinSettings(rate, 110.0, 880.0, 1024, 128, center=False))
    f0, voiced, _ = librosa.pyin(
        signal, fmin=110.0, fmax=880.0, sr=rate, frame_length=1024, hop_length=128, center=False
    )
    np.testing.assert_array_equal(ours.voiced, voiced)
    np.testing.assert_array_equal(ours.f0_hz, f0)


@pytest.mark.skipif(not NOTES.is_dir(), reason="no recordings of notes beside the repository")
def test_pyin_is_librosas_on_recordings() -> None:
    for path in sorted(NOTES.iterdir())[:120:40]:
        signal, rate = soundfile.read(path, frames=16_000)
        same_as_librosa(signal, rate)


@pytest.mark.parametrize("name", ["tone", "vibrato", "noise", "leaps", "silence"])
def test_yin_is_librosas(name: str) -> None:
    signal, rate = SIGNALS[name]
    signal = np.asarray(signal, np.float64)
    expected = librosa.yin(signal, fmin=C2, fmax=C7, sr=rate)
    # Between samples the period is the vertex of a parabola over differences as small as rounding.
    np.testing.assert_allclose(yin(signal, YinSettings(rate, C2, C7)), expected, rtol=1e-5)


def test_both_find_a_tone() -> None:
    settings = YinSettings(22_050, C2, C7)
    signal = np.asarray(tone(440, 1.0, 22_050), np.float64)
    track = pyin(signal, settings)
    assert track.voiced[2:-2].all()
    np.testing.assert_allclose(1200 * np.log2(track.f0_hz[2:-2] / 440), 0, atol=6)
    np.testing.assert_allclose(yin(signal, settings)[3:-3], 440, rtol=2e-3)


def test_the_best_path_is_that_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    bins, frames, width = 40, 60, 7
    counts = generator.integers(0, 5, frames)
    places, chances, certain = [], [], np.zeros(frames)
    observed = np.zeros((2 * bins, frames))
    for frame, count in enumerate(counts):
        place = np.sort(generator.choice(bins, count, replace=False))
        chance = generator.dirichlet(np.ones(count)) if count else np.zeros(0)
        # Every third frame leaves no chance of being unvoiced.
        chance = chance * (1.0 if frame % 3 == 0 else generator.uniform(0.2, 0.999))
        observed[place, frame] = chance
        certain[frame] = 1.0 if frame % 3 == 0 and count else chance.sum()
        places.append(place)
        chances.append(np.log(chance + np.finfo(float).tiny))
    observed[bins:] = (1 - certain) / bins
    candidates = module._Candidates(
        np.concatenate(([0], np.cumsum(counts))), np.concatenate(places), np.concatenate(chances), certain
    )
    local = librosa.sequence.transition_local(bins, width, window="triangle", wrap=False)
    transition = np.kron(librosa.sequence.transition_loop(2, 0.99), local)
    start = np.full(2 * bins, 1 / (2 * bins))
    expected = librosa.sequence.viterbi(observed, transition, p_init=start)
    found = module._likeliest_path(candidates, module._transitions(bins, width))
    np.testing.assert_array_equal(found, expected)
    monkeypatch.setattr(module, "_SEGMENT_FRAMES", 7)
    np.testing.assert_array_equal(module._likeliest_path(candidates, module._transitions(bins, width)), expected)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="f_max_hz"):
        YinSettings(8_000, 65.4, 4_001)
    with pytest.raises(ValueError, match="a period of f_min_hz = 20 needs at least"):
        YinSettings(48_000, 20, 2_000)
    with pytest.raises(ValueError, match="take a shorter hop"):
        pyin(np.zeros(32_000), YinSettings(8_000, 400, 500, 2048, 2048))
    with pytest.raises(ValueError, match="less than a frame"):
        pyin(np.zeros(100), YinSettings(16_000, C2, C7, center=False))
    with pytest.raises(ValueError, match=r"\(time,\)"):
        yin(np.zeros((2, 4096)), YinSettings(16_000, C2, C7))


def test_silence_is_not_voiced() -> None:
    track = pyin(np.zeros(16_000), YinSettings(16_000, C2, C7))
    assert not track.voiced.any()
    assert all(map(math.isnan, track.f0_hz))
