"""Metrics of the fundamental frequency against mir_eval and tones whose pitch is known."""

from __future__ import annotations

import math

import mir_eval
import numpy as np
import pytest
import torch

from eval.metrics import pitch as module
from eval.metrics.pitch import f0_error, raw_pitch_accuracy, voicing_error, voicing_f1
from eval.metrics.yin import YinSettings, pyin
from tests.signals import harmonic, noise, silence

RATE = 16_000


def melody(*pitches_hz: float) -> torch.Tensor:
    """Notes of 0.35 s; a pitch of 0 is a pause."""
    parts = [harmonic(hz, 0.35) if hz else silence(0.35) for hz in pitches_hz]
    return torch.from_numpy(np.concatenate(parts)).double()


REFERENCE = melody(220, 330, 0, 440)


def test_a_detuned_melody_reads_its_distance() -> None:
    sharp = melody(*(hz * 2 ** (70 / 1200) for hz in (220, 330, 0, 440)))
    for statistic in ("mean", "median"):
        found = f0_error(sharp, REFERENCE, sample_rate_hz=RATE, statistic=statistic)
        assert float(found) == pytest.approx(70, abs=6)
        torch.testing.assert_close(
            found, f0_error(REFERENCE, sharp, sample_rate_hz=RATE, statistic=statistic), rtol=0, atol=1e-9
        )
        assert float(f0_error(REFERENCE, REFERENCE, sample_rate_hz=RATE, statistic=statistic)) == 0


def test_octaves_are_folded_where_asked() -> None:
    octave = melody(440, 660, 0, 880)
    assert float(f0_error(octave, REFERENCE, sample_rate_hz=RATE, statistic="median")) == pytest.approx(1200, abs=11)
    folded = f0_error(octave, REFERENCE, sample_rate_hz=RATE, statistic="median", fold_octaves=True)
    assert float(folded) == pytest.approx(0, abs=11)


def test_scores_are_mir_evals() -> None:
    estimate = melody(222, 660, 300, 455) + torch.from_numpy(noise(1.4, amplitude=0.01)).double()
    settings = YinSettings(RATE, 65.40639132514966, 2093.004522404789)
    ours, theirs = pyin(estimate.numpy(), settings), pyin(REFERENCE.numpy(), settings)
    arguments = []
    for track in (theirs, ours):
        cents = mir_eval.melody.hz2cents(np.nan_to_num(track.f0_hz))
        arguments += [track.voiced.astype(float), cents]
    for fold, anchor in (
        (False, mir_eval.melody.raw_pitch_accuracy), (True, mir_eval.melody.raw_chroma_accuracy)
    ):  # fmt: skip
        found = raw_pitch_accuracy(estimate, REFERENCE, sample_rate_hz=RATE, fold_octaves=fold)
        assert float(found) == pytest.approx(anchor(*arguments), abs=1e-12)
        assert 0 < float(found) < 1
    recall, _ = mir_eval.melody.voicing_measures(arguments[0], arguments[2])
    both = int((ours.voiced & theirs.voiced).sum())
    precision = both / int(ours.voiced.sum())
    expected = 2 * precision * recall / (precision + recall)
    assert float(voicing_f1(estimate, REFERENCE, sample_rate_hz=RATE)) == pytest.approx(expected, abs=1e-12)
    error = float(voicing_error(estimate, REFERENCE, sample_rate_hz=RATE))
    assert error == np.mean(ours.voiced != theirs.voiced)
    assert error > 0


def test_without_voiced_frames_there_is_no_number() -> None:
    nothing = torch.zeros_like(REFERENCE)
    assert math.isnan(f0_error(nothing, REFERENCE, sample_rate_hz=RATE))
    assert math.isnan(voicing_f1(nothing, nothing, sample_rate_hz=RATE))
    assert math.isnan(raw_pitch_accuracy(REFERENCE, nothing, sample_rate_hz=RATE))
    assert float(raw_pitch_accuracy(nothing, REFERENCE, sample_rate_hz=RATE)) == 0
    assert float(voicing_f1(nothing, REFERENCE, sample_rate_hz=RATE)) == 0
    with pytest.raises(ValueError, match="mean, median"):
        f0_error(nothing, nothing, sample_rate_hz=RATE, statistic="mode")


def test_tracks_are_kept_and_belong_to_their_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = module.pyin
    monkeypatch.setattr(module, "pyin", lambda samples, settings: calls.append(1) or real(samples, settings))
    module._local.tracks = None
    first = REFERENCE[:8000].clone()
    estimate = 0.5 * first
    before = voicing_error(estimate, first, sample_rate_hz=RATE)
    f0_error(estimate, first, sample_rate_hz=RATE)
    assert len(calls) == 2
    estimate[:] = 0
    assert float(voicing_error(estimate, first, sample_rate_hz=RATE)) > float(before)
    assert len(calls) == 3


def test_frames_grow_until_two_periods_fit() -> None:
    # At 96 kHz two periods of C2 are longer than 2,048 samples.
    clip = torch.from_numpy(harmonic(110, 0.2, 96_000)).double()
    assert float(f0_error(clip, clip, sample_rate_hz=96_000)) == 0
