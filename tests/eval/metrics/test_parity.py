"""A thousand pairs, ordinary and adversarial, against the libraries whose numbers are compared with ours.

Scores of melodies, onsets and loudness are held to theirs on two hundred. Both sides work in float64, where the only
differences left are orders of summation; the adaptive sums of float32 clips are held to the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import auraloss
import librosa
import mir_eval
import numpy as np
import pyloudnorm
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    signal_distortion_ratio,
    signal_noise_ratio,
)

from eval.metrics import bs1770
from eval.metrics.compat import auraloss_stft
from eval.metrics.frontend import Stft, mel_filters, stft
from eval.metrics.mel_distance import multi_scale_mel
from eval.metrics.onsets import onset_f1, onset_times
from eval.metrics.pitch import raw_pitch_accuracy, voicing_error, voicing_f1
from eval.metrics.rounding import TOLERANCE
from eval.metrics.sdr import sdr
from eval.metrics.spectral import multi_resolution_stft
from eval.metrics.waveform import si_sdr, snr
from eval.metrics.yin import YinSettings, pyin

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SAMPLES = 4_000
PAIRS = 1_000
FEWER = 200
FLOAT64_EPS = float(np.finfo(np.float64).eps)


def _clip(rng: np.random.Generator) -> NDArray[np.float64]:
    t = np.arange(SAMPLES) / RATE_HZ
    kind = rng.integers(7)
    if kind == 0:
        clip = rng.standard_normal(SAMPLES)
    elif kind == 1:
        f0 = rng.uniform(60, 900)
        clip = sum(np.sin(2 * np.pi * f0 * h * t + rng.uniform(0, 6)) / h for h in range(1, 9)) * np.exp(-4 * t)
    elif kind == 2:
        clip = np.sin(2 * np.pi * (rng.uniform(20, 300) * t + rng.uniform(100, 9000) * t * t))
    elif kind == 3:
        clip = (np.arange(SAMPLES) % rng.integers(50, 2000) == 0) * 1.0
    elif kind == 4:
        clip = np.clip(20 * np.sin(2 * np.pi * rng.uniform(50, 3000) * t), -1, 1)
    elif kind == 5:
        clip = np.where(np.arange(SAMPLES) < rng.integers(500, 3500), 0.0, rng.standard_normal(SAMPLES))
    else:
        clip = rng.uniform(-0.5, 0.5) + 0.1 * np.cumsum(rng.standard_normal(SAMPLES)) / 60
    quiet = 10 ** rng.uniform(-6, -2) * rng.standard_normal(SAMPLES)
    return np.asarray(10 ** rng.uniform(-4, 0) * (clip + quiet))


def pairs() -> Iterator[tuple[Tensor, Tensor]]:
    """Estimate and reference: another clip, a noisy, scaled, inverted, clipped, shifted or rounded copy."""
    rng = np.random.default_rng(0)
    for _ in range(PAIRS):
        reference = _clip(rng)
        level = np.sqrt(np.mean(reference**2))
        estimate = (
            lambda r, level=level: _clip(rng),
            lambda r, level=level: r + level * 10 ** rng.uniform(-5, 0) * rng.standard_normal(SAMPLES),
            lambda r, level=level: rng.uniform(0.1, 3) * r + 0.01 * level * rng.standard_normal(SAMPLES),
            lambda r, level=level: -r + 0.1 * level * rng.standard_normal(SAMPLES),
            lambda r, level=level: np.clip(r, -level, level),
            lambda r, level=level: np.roll(r, rng.integers(1, 200)),
            lambda r, level=level: np.round(r * 32767) / 32767 + 1e-6 * level * rng.standard_normal(SAMPLES),
        )[rng.integers(7)](reference)
        yield torch.from_numpy(estimate.copy()), torch.from_numpy(reference)


def hold(ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, Tensor], Tensor], *, rel: float) -> None:
    for index, (estimate, reference) in enumerate(pairs()):
        found, expected = float(ours(estimate, reference)), float(theirs(estimate, reference))
        assert found == pytest.approx(expected, rel=rel, abs=1e-12), f"pair {index}"


def _in_float64(loss: torch.nn.Module) -> torch.nn.Module:
    """auraloss builds its windows in float32."""
    for part in getattr(loss, "stft_losses", [loss]):
        part.window = torch.hann_window(part.win_length, dtype=torch.float64)
    return loss


def test_multi_resolution_stft_equals_auraloss() -> None:
    loss = _in_float64(auraloss.freq.MultiResolutionSTFTLoss())
    hold(multi_resolution_stft, lambda e, r: loss(e[None, None], r[None, None]), rel=1e-6)


def test_multi_resolution_stft_of_float32_clips_equals_that_of_the_same_clips_in_float64() -> None:
    def narrow(estimate: Tensor, reference: Tensor) -> Tensor:
        return multi_resolution_stft(estimate.float(), reference.float())

    def wide(estimate: Tensor, reference: Tensor) -> Tensor:
        return multi_resolution_stft(estimate.float().double(), reference.float().double())

    hold(narrow, wide, rel=TOLERANCE)


def test_stft_loss_equals_auraloss() -> None:
    loss = _in_float64(auraloss.freq.STFTLoss(1024, 256, 1024))
    hold(auraloss_stft, lambda e, r: loss(e[None, None], r[None, None]), rel=1e-6)


def test_multi_scale_mel_equals_plain_torch() -> None:
    scales = [
        (
            window,
            torch.hann_window(window, dtype=torch.float64),
            torch.from_numpy(mel_filters(RATE_HZ, window, bands).copy()),
        )
        for window, bands in zip((32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320), strict=True)
    ]

    def plain(estimate: Tensor, reference: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for length, window, bank in scales:
            logs = [
                (bank @ torch.stft(s, length, length // 4, window=window, return_complex=True).abs())
                .clamp_min(1e-5)
                .log10()
                for s in (estimate, reference)
            ]
            total = total + (logs[0] - logs[1]).abs().mean()
        return total

    hold(lambda e, r: multi_scale_mel(e, r, sample_rate_hz=RATE_HZ), plain, rel=1e-6)


def test_ratios_equal_torchmetrics() -> None:
    hold(lambda e, r: snr(e, r, eps=FLOAT64_EPS), signal_noise_ratio, rel=1e-6)
    hold(
        lambda e, r: si_sdr(e, r, zero_mean=False, eps=FLOAT64_EPS),
        scale_invariant_signal_distortion_ratio,
        rel=1e-6,
    )


def test_si_sdr_equals_torchmetrics_where_its_eps_does_not_count() -> None:
    for index, (estimate, reference) in enumerate(pairs()):
        expected = float(scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True))
        if abs(expected) < 50 and min(float(s.square().mean()) for s in (estimate, reference)) > 1e-6:
            assert float(si_sdr(estimate, reference)) == pytest.approx(expected, rel=1e-6, abs=1e-6), f"pair {index}"


def test_spectra_equal_librosa() -> None:
    settings = Stft(1024, 256, 1024, "constant")
    for index, (_, reference) in enumerate(pairs()):
        expected = librosa.stft(reference.numpy(), n_fft=1024, hop_length=256, dtype=np.complex128)
        found = stft(reference, settings).numpy()
        assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max(), f"pair {index}"


def test_sdr_equals_torchmetrics() -> None:
    compared = 0
    for index, (estimate, reference) in enumerate(pairs()):
        if index % 5:
            continue
        expected = float(signal_distortion_ratio(estimate, reference))
        # Beyond lie copies through a filter, whose ratio is one of rounding noises.
        if -20 < expected < 60:
            assert float(sdr(estimate, reference)) == pytest.approx(expected, abs=1e-6), f"pair {index}"
            compared += 1
    assert compared > PAIRS / 10


def melodies() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Struck notes with pauses over noise, and the same with some detuned, moved in time, an octave off or left out."""
    rng = np.random.default_rng(1)
    seconds = np.arange(RATE_HZ) / RATE_HZ
    for _ in range(FEWER):
        pair = np.zeros((2, RATE_HZ)) + 10 ** rng.uniform(-5, -2.5) * rng.standard_normal((2, RATE_HZ))
        for start in np.cumsum(rng.uniform(0.08, 0.4, 5)):
            f0_hz, decay, change = 2 ** rng.uniform(6.5, 10), rng.uniform(2, 20), rng.integers(5)
            detuned, late = (1, 2 ** rng.uniform(-0.08, 0.08), 1, 2, 1)[change], 0.06 * (change == 2)
            for clip, hz, begin in ((pair[1], f0_hz, start), (pair[0], f0_hz * detuned, start + late))[
                : 1 + (change < 4)
            ]:
                t = seconds - begin
                struck = sum(np.sin(2 * np.pi * hz * h * t) / h for h in (1, 2, 3)) * np.exp(-decay * t.clip(0))
                clip += 0.2 * struck * (t >= 0)
        yield pair[0], pair[1]


def test_melody_scores_equal_mir_eval() -> None:
    settings = YinSettings(RATE_HZ, 65.40639132514966, 2093.004522404789)
    voiced = 0
    for index, (estimate, reference) in enumerate(melodies()):
        tracks = [pyin(clip, settings) for clip in (reference, estimate)]
        if not all(track.voiced.any() for track in tracks):
            continue
        voiced += 1
        arguments = []
        for track in tracks:
            arguments += [track.voiced.astype(float), mir_eval.melody.hz2cents(np.nan_to_num(track.f0_hz))]
        pair = torch.from_numpy(estimate), torch.from_numpy(reference)
        for fold, anchor in (
            (False, mir_eval.melody.raw_pitch_accuracy),
            (True, mir_eval.melody.raw_chroma_accuracy),
        ):
            found = float(raw_pitch_accuracy(*pair, sample_rate_hz=RATE_HZ, fold_octaves=fold))
            assert found == pytest.approx(anchor(*arguments), abs=1e-12), f"pair {index}"
        both = float(np.sum(arguments[0] * arguments[2]))
        recall, false_alarm = mir_eval.melody.voicing_measures(arguments[0], arguments[2])
        expected = 2 * both / float(arguments[0].sum() + arguments[2].sum())
        assert float(voicing_f1(*pair, sample_rate_hz=RATE_HZ)) == pytest.approx(expected, abs=1e-12), f"pair {index}"
        silent = float(np.sum(1 - arguments[0]))
        wrong = (1 - recall) * float(arguments[0].sum()) + false_alarm * silent
        error = float(voicing_error(*pair, sample_rate_hz=RATE_HZ))
        assert error == pytest.approx(wrong / arguments[0].size, abs=1e-12), f"pair {index}"
    assert voiced > 0.9 * FEWER


def test_onset_scores_equal_mir_eval() -> None:
    scores = []
    for index, (estimate, reference) in enumerate(melodies()):
        found = float(onset_f1(torch.from_numpy(estimate), torch.from_numpy(reference), sample_rate_hz=RATE_HZ))
        times = [onset_times(clip, RATE_HZ) for clip in (reference, estimate)]
        if all(len(one) for one in times):
            expected, _, _ = mir_eval.onset.f_measure(*times)
            assert found == pytest.approx(expected, abs=1e-12), f"pair {index}"
            scores.append(found)
    assert len(scores) > 0.9 * FEWER
    assert 0.2 < np.mean(scores) < 0.95


def test_loudness_equals_pyloudnorm_through_its_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    gated = 0
    for index in range(FEWER):
        rate = int(rng.choice([16_000, 22_050, 44_100, 48_000]))
        # Whole steps: of a last block that is not full, the package counts more or less than there is.
        steps, channels = int(rng.integers(4, 40)), int(rng.integers(1, 3))
        levels = 10 ** rng.uniform(-3, -0.5, (steps, channels))
        clip = np.repeat(levels, rate // 10, axis=0) * rng.standard_normal((steps * (rate // 10), channels))
        meter = pyloudnorm.Meter(rate, filter_class="DeMan")
        theirs = np.array([np.concatenate((part.b, part.a)) for part in meter._filters.values()])
        monkeypatch.setattr(bs1770, "k_weighting", lambda _, theirs=theirs: theirs)
        bs1770._blocks.cache_clear()
        found = bs1770.integrated_loudness(clip.T, rate)
        assert found == pytest.approx(meter.integrated_loudness(clip), abs=1e-6), f"signal {index}"
        gated += found > 20 * np.log10(np.sqrt(np.mean(levels**2)))
    bs1770._blocks.cache_clear()
    assert gated > FEWER / 10
