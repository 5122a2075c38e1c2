"""Periodicity, pitch and voicing errors of two vocoders: thresholds and formulas on tracks, and our estimator below."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch

from eval.metrics.periodicity import (
    PeriodicityTrack,
    VoicingSums,
    _levels,
    cargan_sums,
    cargan_voicing,
    vocos_sums,
    vocos_voicing,
)
from tests.signals import harmonic, noise

RATE = 16_000
STATISTICS = ("periodicity_rmse", "pitch_rmse_cents", "f1")


def track(periodicity: list[float], f0_hz: list[float] | None = None) -> PeriodicityTrack:
    # Pitches of a slow vibrato, since one that never moves counts as none.
    places = np.arange(len(periodicity))
    return PeriodicityTrack(
        200 * 2 ** (0.01 * np.sin(places)) if f0_hz is None else np.array(f0_hz), np.array(periodicity)
    )


def test_vocos_counts_frames_by_its_threshold() -> None:
    ours = track([0.1, 0.21, 0.5, 0.9], [100.0, 200.0, 210.0, 300.0])
    theirs = track([0.3, 0.2, 0.5, 0.8], [100.0, 100.0, 200.0, 300.0])
    sums = vocos_sums(ours, theirs)
    assert (sums.frames, sums.voiced, sums.voiced_estimate, sums.voiced_reference) == (4, 2, 3, 3)
    assert sums.f1 == pytest.approx(2 / 3)
    assert sums.pitch_rmse_cents == pytest.approx(1200 * math.log2(210 / 200) / math.sqrt(2))
    assert sums.periodicity_rmse == pytest.approx(math.sqrt((0.2**2 + 0.01**2 + 0 + 0.1**2) / 4))


def test_cargan_drops_stretches_that_are_never_sure() -> None:
    sure = [0.0, 0.25, 0.32, 0.25, 0.0, 0.0, 0.25, 0.3, 0.25, 0.0]
    sums = cargan_sums(track(sure), track(sure))
    assert (sums.voiced, sums.frames) == (3, 10)
    # What a clip begins with is no transition.
    assert cargan_sums(track(sure[6:]), track(sure[6:])).voiced == 3
    assert vocos_sums(track(sure), track(sure)).voiced == 6


def test_cargan_asks_more_of_unusual_pitches() -> None:
    periodicity = [0.0, *[0.5] * 20]
    pitches = [200.0, *[200.0 + k % 2 for k in range(20)]]
    usual = track(periodicity, pitches)
    pitches[10] = 400.0
    unusual = track(periodicity, pitches)
    assert cargan_sums(usual, usual).voiced == 20
    assert cargan_sums(unusual, unusual).voiced == 19
    still = track(periodicity, [256.0] * 21)
    assert cargan_sums(still, still).voiced == 20


def test_a_pool_weighs_frames_and_not_clips() -> None:
    short, long = track([0.5] * 4, [200.0, 201.0, 200.0, 201.0]), track([0.9] * 12, [200.0, 202.0] * 6)
    pairs = [(short, track([0.3] * 4, [210.0, 211.0, 210.0, 211.0])), (long, long)]
    pool = sum((vocos_sums(ours, theirs) for ours, theirs in pairs), VoicingSums())
    assert pool.frames == 16
    assert pool.periodicity_rmse == pytest.approx(math.sqrt(4 * 0.2**2 / 16))
    cents = 1200 * np.log2(np.array([200, 201]) / np.array([210, 211]))
    assert pool.pitch_rmse_cents == pytest.approx(math.sqrt(2 * np.square(cents).sum() / 16))
    assert pool.f1 == 1


def test_without_voiced_frames_there_is_no_number() -> None:
    silent, voiced = track([0.0] * 5), track([0.9] * 5)
    for sums in (vocos_sums(silent, voiced), cargan_sums(silent, silent), VoicingSums()):
        assert math.isnan(sums.f1) and math.isnan(sums.pitch_rmse_cents)
    assert vocos_sums(silent, voiced).periodicity_rmse == pytest.approx(0.9)
    assert math.isnan(VoicingSums().periodicity_rmse)
    with pytest.raises(ValueError, match="one shape"):
        vocos_sums(silent, track([0.1]))


@pytest.mark.parametrize("hop", [160, 185])
def test_levels_are_librosas(hop: int) -> None:
    clip = np.concatenate((harmonic(220, 0.3), 1e-3 * noise(0.3), np.zeros(2000))).astype(np.float64)
    spectra = librosa.stft(clip, n_fft=1024, hop_length=hop, center=False, dtype=np.complex128)
    weights = np.maximum(librosa.A_weighting(librosa.fft_frequencies(sr=RATE, n_fft=1024)[1:]), -80.0)
    weights = np.concatenate(([-80.0], weights))[:, None] - 20
    levels = librosa.power_to_db(np.abs(spectra) ** 2) + weights
    frames = np.lib.stride_tricks.sliding_window_view(clip, 1024)[::hop]
    np.testing.assert_allclose(_levels(frames, -math.inf), levels.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(_levels(frames, -100.0), np.maximum(levels, -100).mean(axis=0), atol=1e-4)
    assert (levels < -100).any()


@pytest.mark.parametrize("measure", [vocos_voicing, cargan_voicing])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_two_tones_are_their_interval_apart(measure: object, rate: int) -> None:
    time = np.arange(rate) / rate
    # A little vibrato in both, noise that keeps most bins from being silent, and a pause that only one of them has.
    floor = noise(1.0, rate, amplitude=0.003)
    phase = 2 * np.pi * np.cumsum(200 + 4 * np.sin(2 * np.pi * 5 * time)) / rate
    reference = (sum(np.sin(k * phase) / k for k in (1, 2, 3)) / 4 + floor) * (time > 0.4)
    estimate = sum(np.sin(k * 1.02 * phase) / k for k in (1, 2, 3)) / 4 + floor
    made, wanted = torch.from_numpy(estimate), torch.from_numpy(reference)
    periodicity, cents, f1 = (
        float(measure(made, wanted, sample_rate_hz=rate, statistic=name))  # type: ignore[operator]
        for name in STATISTICS
    )
    assert cents == pytest.approx(1200 * math.log2(1.02), rel=0.05)
    assert 0.5 < periodicity < 0.7
    assert f1 == pytest.approx(2 * 0.6 / 1.6, abs=0.04)
    for name, value in zip(STATISTICS, (0, 0, 1), strict=True):
        assert float(measure(wanted, wanted, sample_rate_hz=rate, statistic=name)) == value  # type: ignore[operator]


def test_what_has_no_frame_or_no_name() -> None:
    clip = torch.from_numpy(harmonic(220, 0.06)).double()
    assert math.isnan(vocos_voicing(clip, clip, sample_rate_hz=RATE))
    with pytest.raises(ValueError, match="known: periodicity_rmse, pitch_rmse_cents, f1"):
        cargan_voicing(clip, clip, sample_rate_hz=RATE, statistic="recall")
