"""Fundamental frequency of an estimate against that of its reference, frame by frame.

Both are found by pYIN (:func:`eval.metrics.yin.pyin`) with the same settings. A frame is voiced where pYIN says so.

* :func:`f0_error`: distance in cents over the frames voiced in both, its mean or median, octaves folded or not.
* :func:`voicing_error`, :func:`voicing_f1`: whether the same frames are voiced.
* :func:`raw_pitch_accuracy`: share of the reference's voiced frames whose pitch is right.

For one voice or instrument at a time: of a chord pYIN finds one note or none. Metrics that follow each other on the
same clips share the tracks. The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.pairs import per_clip
from eval.metrics.yin import PitchTrack, YinSettings, pyin

__all__ = ["f0_error", "raw_pitch_accuracy", "voicing_error", "voicing_f1"]

_STATISTICS = ("mean", "median")
_TRACKS_KEPT = 6
Track = TypeVar("Track")
_local = threading.local()


def f0_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    statistic: str = "mean",
    fold_octaves: bool = False,
    f_min_hz: float = 65.40639132514966,
    f_max_hz: float = 2093.004522404789,
    frame_length: int = 2048,
) -> Tensor:
    """Distance of the fundamental frequency, ``|1200·log2(f̂ / f)|``, over the frames voiced in both signals.

    Zero for equal pitch; lower is better; symmetric; read on pYIN's grid of 10 cents. Frames voiced in only one signal
    are :func:`voicing_error`'s concern: an estimate that is voiced only where it is right scores 0 here.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        statistic: ``"mean"`` or ``"median"`` over frames.
        fold_octaves: Whether an error of whole octaves counts as none; the distance is then at most 600 cents.
        f_min_hz: Lowest frequency looked for; the default is C2.
        f_max_hz: Highest, at most half the sample rate; the default is C7.
        frame_length: Length of a frame in samples, doubled until two periods of ``f_min_hz`` fit; frames step by a
            quarter of it.

    Returns:
        Distance in cents per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where no frame is voiced in both.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Mauch and Dixon, "pYIN", ICASSP 2014; Poliner et al., "Melody transcription from music audio", IEEE TASLP 15(4),
        2007, for the folding.
    """
    if statistic not in _STATISTICS:
        raise ValueError(f"statistic is {statistic!r}; known: {', '.join(_STATISTICS)}")

    def value(ours: PitchTrack, theirs: PitchTrack) -> float:
        both = ours.voiced & theirs.voiced
        if not both.any():
            return math.nan
        cents = _cents(ours.f0_hz[both], theirs.f0_hz[both], fold_octaves)
        return float(np.median(cents) if statistic == "median" else cents.mean())

    return _compare(estimate, reference, sample_rate_hz, f_min_hz, f_max_hz, frame_length, value)


def voicing_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    f_min_hz: float = 65.40639132514966,
    f_max_hz: float = 2093.004522404789,
    frame_length: int = 2048,
) -> Tensor:
    """Share of frames that are voiced in one signal and not in the other.

    Zero for equal voicing; lower is better; symmetric. Blind to pitch.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        f_min_hz: Lowest frequency looked for; the default is C2.
        f_max_hz: Highest, at most half the sample rate; the default is C7.
        frame_length: Length of a frame in samples, as in :func:`f0_error`.

    Returns:
        Share per clip, shape ``(...)``, float64, in ``[0, 1]``.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Mauch and Dixon, "pYIN", ICASSP 2014.
    """

    def value(ours: PitchTrack, theirs: PitchTrack) -> float:
        return float(np.mean(ours.voiced != theirs.voiced))

    return _compare(estimate, reference, sample_rate_hz, f_min_hz, f_max_hz, frame_length, value)


def voicing_f1(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    f_min_hz: float = 65.40639132514966,
    f_max_hz: float = 2093.004522404789,
    frame_length: int = 2048,
) -> Tensor:
    """F-measure of the voiced frames, ``2·both / (ours + theirs)``.

    1 for equal voicing; higher is better; symmetric. Blind to pitch.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        f_min_hz: Lowest frequency looked for; the default is C2.
        f_max_hz: Highest, at most half the sample rate; the default is C7.
        frame_length: Length of a frame in samples, as in :func:`f0_error`.

    Returns:
        F-measure per clip, shape ``(...)``, float64, in ``[0, 1]``; ``nan`` where no frame of either is voiced.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Morrison et al., "Chunked autoregressive GAN for conditional waveform synthesis", ICLR 2022, with pYIN and per
        clip.
    """

    def value(ours: PitchTrack, theirs: PitchTrack) -> float:
        voiced = int(ours.voiced.sum()) + int(theirs.voiced.sum())
        return 2 * int((ours.voiced & theirs.voiced).sum()) / voiced if voiced else math.nan

    return _compare(estimate, reference, sample_rate_hz, f_min_hz, f_max_hz, frame_length, value)


def raw_pitch_accuracy(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    cents: float = 50.0,
    fold_octaves: bool = False,
    f_min_hz: float = 65.40639132514966,
    f_max_hz: float = 2093.004522404789,
    frame_length: int = 2048,
) -> Tensor:
    """Share of the reference's voiced frames in which the estimate is voiced and its pitch less than ``cents`` off.

    1 for equal pitch; higher is better; not symmetric: what the estimate adds where the reference is silent costs
    nothing.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        cents: Distance that is too far.
        fold_octaves: Whether an error of whole octaves counts as none (raw chroma accuracy).
        f_min_hz: Lowest frequency looked for; the default is C2.
        f_max_hz: Highest, at most half the sample rate; the default is C7.
        frame_length: Length of a frame in samples, as in :func:`f0_error`.

    Returns:
        Share per clip, shape ``(...)``, float64, in ``[0, 1]``; ``nan`` where no frame of the reference is voiced.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Poliner et al., "Melody transcription from music audio", IEEE TASLP 15(4), 2007, as in mir_eval.
    """

    def value(ours: PitchTrack, theirs: PitchTrack) -> float:
        voiced = int(theirs.voiced.sum())
        if not voiced:
            return math.nan
        both = ours.voiced & theirs.voiced
        # On pYIN's grid distances of exactly 50 cents occur, and rounding has to decide them as it does there.
        heard, wanted = (1200 * np.log2(track.f0_hz[both] / 10) for track in (ours, theirs))
        gaps = np.abs(wanted - heard)
        if fold_octaves:
            gaps = np.abs(gaps - 1200 * np.floor(gaps / 1200 + 0.5))
        return int((gaps < cents).sum()) / voiced

    return _compare(estimate, reference, sample_rate_hz, f_min_hz, f_max_hz, frame_length, value)


def _cents(ours: NDArray[np.float64], theirs: NDArray[np.float64], fold_octaves: bool) -> NDArray[np.float64]:
    cents: NDArray[np.float64] = 1200 * np.log2(ours / theirs)
    if fold_octaves:
        cents = cents - 1200 * np.round(cents / 1200)
    magnitude: NDArray[np.float64] = np.abs(cents)
    return magnitude


def _compare(
    estimate: Tensor,
    reference: Tensor,
    sample_rate_hz: int,
    f_min_hz: float,
    f_max_hz: float,
    frame_length: int,
    value: Callable[[PitchTrack, PitchTrack], float],
) -> Tensor:
    while f_min_hz > 0 and sample_rate_hz / f_min_hz >= frame_length // 2:
        frame_length *= 2
    settings = YinSettings(sample_rate_hz, f_min_hz, f_max_hz, frame_length)

    def of_pair(e: Tensor, r: Tensor) -> Tensor:
        return torch.tensor(value(_track(e, settings), _track(r, settings)), dtype=torch.float64)

    return per_clip(estimate, reference, of_pair)


def _track(clip: Tensor, settings: YinSettings) -> PitchTrack:
    return kept_track(clip, settings, lambda samples: pyin(samples, settings))


def kept_track(clip: Tensor, key: Hashable, make: Callable[[NDArray[np.float64]], Track]) -> Track:
    """A track of a clip; those of the last few clips are kept, under the hash of their samples.

    Args:
        clip: Float64, shape ``(time,)``.
        key: What tells this kind of track from others.
        make: Makes it from the samples.
    """
    samples = clip.cpu().numpy()
    kept: OrderedDict[tuple[bytes, Hashable], Any] | None = getattr(_local, "tracks", None)
    if kept is None:
        kept = _local.tracks = OrderedDict()
    place = (hashlib.blake2b(samples.data, digest_size=16).digest(), key)
    if place in kept:
        kept.move_to_end(place)
    else:
        kept[place] = make(samples)
        if len(kept) > _TRACKS_KEPT:
            kept.popitem(last=False)
    found: Track = kept[place]
    return found
