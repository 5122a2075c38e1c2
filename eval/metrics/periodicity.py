"""Pitch, voicing and periodicity errors as two vocoders state them, for comparison with their tables only.

The vocoders take frequency and periodicity of a frame from CREPE, a network of 89 MB that is no part of this project.
Who has its output for both signals gets their numbers from :func:`vocos_sums` and :func:`cargan_sums`, which hold their
thresholds and formulas. The metrics of the table put an estimator of our own in its place, YIN's, over the same frames:
their formulas stay, their numbers do not, and compare with each other alone.

* :func:`vocos_voicing`: a frame is voiced from a periodicity of 0.21 on.
* :func:`cargan_voicing`: voiced stretches begin at 0.19, need 0.31 somewhere, and more where the pitch is unusual. The
  project adds its sums up over the whole test set: ``sum`` of :class:`VoicingSums` does that.

The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.pairs import per_clip
from eval.metrics.pitch import kept_track
from eval.metrics.yin import YinSettings, yin_periodicity

__all__ = ["PeriodicityTrack", "VoicingSums", "cargan_sums", "cargan_voicing", "vocos_sums", "vocos_voicing"]

Floats = NDArray[np.float64]

_RATE_HZ = 16_000
_FRAME = 1024
_VOCOS_THRESHOLD = 0.21
_SILENCE_DB = -60.0
_REFERENCE_DB = 20.0
# Step and reflected margin of CARGAN's frames, which are 256 samples at 22,050 Hz.
_CARGAN_HOP = 185
_CARGAN_MARGIN = (_FRAME - _CARGAN_HOP) // 2
_STATISTICS = ("periodicity_rmse", "pitch_rmse_cents", "f1")


class PeriodicityTrack(NamedTuple):
    """What an estimator says of each frame, voiced or not.

    Attributes:
        f0_hz: Fundamental frequency in Hz, shape ``(frames,)``.
        periodicity: How periodic the frame is, 0 to 1, same shape; 0 where the frame is silent.
    """

    f0_hz: Floats
    periodicity: Floats


@dataclass(frozen=True)
class VoicingSums:
    """Sums over the frames of one clip, or with ``+`` of several.

    Attributes:
        frames: Number of frames.
        voiced: Frames voiced in both signals.
        voiced_estimate: Frames voiced in the estimate.
        voiced_reference: Frames voiced in the reference.
        periodicity: Squared differences of the periodicities.
        cents: Squared differences in cents over the frames voiced in both.
    """

    frames: int = 0
    voiced: int = 0
    voiced_estimate: int = 0
    voiced_reference: int = 0
    periodicity: float = 0.0
    cents: float = 0.0

    def __add__(self, other: VoicingSums) -> VoicingSums:
        return VoicingSums(
            self.frames + other.frames,
            self.voiced + other.voiced,
            self.voiced_estimate + other.voiced_estimate,
            self.voiced_reference + other.voiced_reference,
            self.periodicity + other.periodicity,
            self.cents + other.cents,
        )

    @property
    def periodicity_rmse(self) -> float:
        """Root mean square difference of the periodicities; ``nan`` without a frame."""
        return math.sqrt(self.periodicity / self.frames) if self.frames else math.nan

    @property
    def pitch_rmse_cents(self) -> float:
        """Root mean square distance of the pitch; ``nan`` where no frame is voiced in both signals."""
        return math.sqrt(self.cents / self.voiced) if self.voiced else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of the voiced frames; ``nan`` where no frame is voiced in both."""
        return 2 * self.voiced / (self.voiced_estimate + self.voiced_reference) if self.voiced else math.nan


def vocos_sums(estimate: PeriodicityTrack, reference: PeriodicityTrack) -> VoicingSums:
    """Sums of a pair of tracks with Vocos' threshold of 0.21.

    Args:
        estimate: Track of the synthesised clip.
        reference: Track of the recorded clip, with as many frames.

    Raises:
        ValueError: If the tracks differ in length.

    Source:
        Vocos, ``metrics/periodicity.py``, commit c859e3b.
    """
    return _sums(estimate, reference, *(track.periodicity >= _VOCOS_THRESHOLD for track in (estimate, reference)))


def cargan_sums(estimate: PeriodicityTrack, reference: PeriodicityTrack) -> VoicingSums:
    """Sums of a pair of tracks with CARGAN's hysteresis.

    Args:
        estimate: Track of the synthesised clip.
        reference: Track of the recorded clip, with as many frames.

    Raises:
        ValueError: If the tracks differ in length.

    Source:
        CARGAN, ``cargan/evaluate/objective/metrics.py``, commit 61051fa, with ``torchcrepe.threshold.Hysteresis``.
    """
    return _sums(estimate, reference, _hysteresis(estimate), _hysteresis(reference))


def _sums(
    estimate: PeriodicityTrack,
    reference: PeriodicityTrack,
    ours: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
) -> VoicingSums:
    shapes = {values.shape for values in (*estimate, *reference)}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"tracks of shapes {sorted(shapes)}; all of one shape (frames,) are needed")
    both = ours & theirs
    cents = 1200 * np.log2(estimate.f0_hz[both] / reference.f0_hz[both])
    gap = estimate.periodicity - reference.periodicity
    return VoicingSums(
        ours.size, int(both.sum()), int(ours.sum()), int(theirs.sum()), float(gap @ gap), float(cents @ cents)
    )


def _hysteresis(
    track: PeriodicityTrack, lower: float = 0.19, upper: float = 0.31, width: float = 0.2, deviations: float = 1.7
) -> NDArray[np.bool_]:
    """Voiced frames: periodic enough for how far their pitch lies from the others', in stretches that reach ``upper``.

    A stretch that the clip begins with is kept as it is.
    """
    periodicity = track.periodicity
    likely = periodicity >= lower
    if not likely.any():
        return likely
    pitch = np.where(likely, np.log2(track.f0_hz), np.nan)
    away = np.square((pitch - np.nanmean(pitch)) / (np.nanstd(pitch) or 1.0))
    needed = lower + np.clip(width * (away - deviations**2), 0, 1 - lower)
    needed[np.isnan(needed)] = lower
    above = periodicity > needed
    frame, last = 0, len(periodicity) - 1
    while frame < last:
        if not (periodicity[frame] < needed[frame] and above[frame + 1]):
            frame += 1
            continue
        end = frame + 1
        while end <= last and above[end]:
            end += 1
        if not (periodicity[frame + 1 : end] > upper).any():
            needed[frame + 1 : end] = 1
        frame = end
    voiced: NDArray[np.bool_] = (periodicity >= needed) & ~np.isnan(away)
    return voiced


def vocos_voicing(
    estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, statistic: str = "periodicity_rmse"
) -> Tensor:
    """A periodicity, pitch or voicing error by Vocos' formulas, on YIN's periodicity instead of CREPE's.

    Both signals are brought to 16 kHz. Frames are 1,024 samples with a step of 10 ms and no margins, frequencies 50 to
    550 Hz. A frame whose A-weighted level, the mean over bins, is below −60 dB has a periodicity of 0, and one of 0.21
    is voiced. Symmetric. The estimator differs from the published one, so the numbers compare with each other only.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        statistic: ``"periodicity_rmse"``, the root mean square difference of the periodicities over all frames (0 for
            equal signals, lower is better); ``"pitch_rmse_cents"``, that of the pitch over the frames voiced in both
            (the same); or ``"f1"``, the F-measure of the voiced frames (1 for equal signals, higher is better).

    Returns:
        Value per clip, shape ``(...)``, float64; ``nan`` where no frame is voiced in both signals (but for the
        periodicity), and where the clip is shorter than a frame.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the statistic is unknown.

    Source:
        Vocos, ``metrics/periodicity.py``, commit c859e3b; YIN's frequency and normalised difference in place of CREPE.
    """
    return _statistic(estimate, reference, sample_rate_hz, statistic, cargan=False)


def cargan_voicing(
    estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, statistic: str = "periodicity_rmse"
) -> Tensor:
    """A periodicity, pitch or voicing error by CARGAN's formulas, on YIN's periodicity instead of CREPE's, per clip.

    Both signals are brought to 16 kHz and reflected by 419 samples at each end. Frames are 1,024 samples with a step of
    185 (256 at 22,050 Hz), frequencies 50 to 550 Hz. A frame whose A-weighted level is below −60 dB has a periodicity
    of 0. Voiced frames are found by hysteresis between 0.19 and 0.31. Symmetric. The estimator differs from the
    published one, and the project adds its sums over the whole set: the numbers compare with each other only.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        statistic: As in :func:`vocos_voicing`.

    Returns:
        Value per clip, shape ``(...)``, float64; ``nan`` where no frame is voiced in both signals (but for the
        periodicity), and where the clip is shorter than a frame.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the statistic is unknown.

    Source:
        Morrison et al., "Chunked autoregressive GAN for conditional waveform synthesis", ICLR 2022, and its program,
        commit 61051fa; YIN's frequency and normalised difference in place of CREPE.
    """
    return _statistic(estimate, reference, sample_rate_hz, statistic, cargan=True)


def _statistic(estimate: Tensor, reference: Tensor, sample_rate_hz: int, statistic: str, *, cargan: bool) -> Tensor:
    if statistic not in _STATISTICS:
        raise ValueError(f"statistic is {statistic!r}; known: {', '.join(_STATISTICS)}")

    def value(e: Tensor, r: Tensor) -> Tensor:
        tracks = [
            kept_track(
                clip, ("cargan" if cargan else "vocos", sample_rate_hz), lambda s: _track(s, sample_rate_hz, cargan)
            )
            for clip in (e, r)
        ]
        sums = cargan_sums(*tracks) if cargan else vocos_sums(*tracks)
        return torch.tensor(getattr(sums, statistic), dtype=torch.float64)

    return per_clip(estimate, reference, value)


def _track(samples: Floats, sample_rate_hz: int, cargan: bool) -> PeriodicityTrack:
    clip = samples if sample_rate_hz == _RATE_HZ else soxr.resample(samples, sample_rate_hz, _RATE_HZ, quality="VHQ")
    if clip.size < _FRAME:
        return PeriodicityTrack(np.zeros(0), np.zeros(0))
    if cargan:
        clip = np.pad(clip, _CARGAN_MARGIN, mode="reflect")
    hop = _CARGAN_HOP if cargan else _RATE_HZ // 100
    settings = YinSettings(_RATE_HZ, 50.0, 550.0, _FRAME, hop, center=False)
    f0, periodicity = yin_periodicity(clip, settings)
    frames = np.lib.stride_tricks.sliding_window_view(clip, _FRAME)[::hop]
    levels = _levels(frames, least_db=-100.0 if cargan else -math.inf)
    # Where nothing moves, every lag is a period.
    silent = (levels < _SILENCE_DB) | (np.ptp(frames, axis=1) == 0)
    return PeriodicityTrack(f0, np.where(silent, 0.0, periodicity))


def _levels(frames: Floats, least_db: float) -> Floats:
    """A-weighted level of each frame in dB: the mean over bins, each at most 80 dB below the loudest of the clip."""
    spectra = np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)))
    power_db = 10 * np.log10(np.maximum(np.square(np.abs(spectra)), 1e-10))
    weighted = np.maximum(power_db, power_db.max() - 80) + _a_weights() - _REFERENCE_DB
    levels: Floats = np.maximum(weighted, least_db).mean(axis=1)
    return levels


@lru_cache(maxsize=1)
def _a_weights() -> Floats:
    """A-weighting of the bins in dB, at least −80 (IEC 61672)."""
    squares = np.square(np.fft.rfftfreq(_FRAME, 1 / _RATE_HZ))
    first, second, third, fourth = np.square([20.598997, 107.65265, 737.86223, 12194.217])
    with np.errstate(divide="ignore"):
        gain = fourth * squares**2 / ((squares + first) * (squares + fourth))
        gain = gain / np.sqrt((squares + second) * (squares + third))
        weights: Floats = np.maximum(20 * np.log10(gain) + 2.0, -80.0)
    return weights
