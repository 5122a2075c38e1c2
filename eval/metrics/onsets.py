"""Where notes begin, and how many of the beginnings two clips share.

* :func:`onset_times`: beginnings of notes by peaks of the spectral flux, as librosa finds them.
* :func:`matched_events`: how many events of two lists can be paired within a window.
* :func:`onset_f1`: the F-measure of an estimate's onsets against the reference's.

The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Stft, mel_filters
from eval.metrics.pairs import per_clip
from eval.metrics.spectra import Floats, spectra

__all__ = ["matched_events", "onset_f1", "onset_times"]

_RANGE_DB = 80.0
_LOWEST_POWER = 1e-10
_AROUND_PEAK_S, _AROUND_MEAN_S, _WAIT_S, _RISE = 0.03, 0.10, 0.03, 0.07


def onset_times(
    waveform: Floats, sample_rate_hz: int, *, n_fft: int = 2048, hop_length: int = 512, n_mels: int = 128
) -> Floats:
    """Beginnings of notes.

    The strength of a frame is the mean rise of its mel bands (power, dB, 80 dB range) over the frame before, scaled to
    0 to 1. A frame is an onset if none in the 30 ms before is stronger, it lies 0.07 above the mean of 100 ms to both
    sides, and the last onset is more than 30 ms ago.

    Args:
        waveform: Shape ``(time,)``, finite, at least ``n_fft`` samples.
        sample_rate_hz: Its rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        n_mels: Number of mel bands.

    Returns:
        Times in seconds, ascending.

    Raises:
        ValueError: If the clip is shorter than ``n_fft``.

    Source:
        Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013, with the parameters and
        without the filter of librosa's defaults.
    """
    settings = Stft(n_fft, hop_length, n_fft, "constant")
    filters = mel_filters(sample_rate_hz, n_fft, n_mels).T
    power = np.concatenate(
        [np.matmul(np.square(s.real) + np.square(s.imag), filters) for s in spectra(waveform, settings)]
    )
    level = 10 * np.log10(np.maximum(power, _LOWEST_POWER))
    level = np.maximum(level, level.max() - _RANGE_DB)
    rise = np.maximum(0.0, np.diff(level, axis=0)).mean(axis=1)
    lead = 1 + n_fft // (2 * hop_length)
    strength = np.concatenate((np.zeros(lead), rise))[: len(level)]
    strength -= strength.min()
    highest = float(strength.max())
    if not highest > 0:
        return np.zeros(0)
    frames = _peaks(strength / highest, sample_rate_hz / hop_length).astype(np.float64)
    return frames * (hop_length / sample_rate_hz)


def _peaks(strength: Floats, frames_per_second: float) -> NDArray[np.intp]:
    before = math.floor(_AROUND_PEAK_S * frames_per_second)
    around = math.floor(_AROUND_MEAN_S * frames_per_second)
    wait = math.floor(_WAIT_S * frames_per_second)
    found: list[int] = []
    frame = 0
    while frame < strength.size:
        value = strength[frame]
        near = strength[max(0, frame - before) : frame + 1]
        wide = strength[max(0, frame - around) : frame + around + 1]
        if value == near.max() and value >= wide.mean() + _RISE:
            found.append(frame)
            frame += wait
        frame += 1
    return np.array(found, dtype=np.intp)


def matched_events(estimate: Floats, reference: Floats, window_s: float = 0.05) -> int:
    """Largest number of pairs of an estimated and a reference event that lie within a window.

    No event is in two pairs. Both lists run through time, so pairing each estimate with the earliest reference that is
    still free and near enough is the largest matching.

    Args:
        estimate: Times in seconds, ascending.
        reference: The same.
        window_s: Largest distance of a pair, included.

    Returns:
        Number of pairs.
    """
    pairs = place = 0
    for time in estimate.tolist():
        while place < reference.size and reference[place] < time - window_s:
            place += 1
        if place < reference.size and reference[place] <= time + window_s:
            pairs += 1
            place += 1
    return pairs


def onset_f1(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    window_s: float = 0.05,
    n_fft: int = 2048,
    hop_length: int = 512,
    n_mels: int = 128,
) -> Tensor:
    """F-measure of the onsets of an estimate against those found in the reference.

    Twice the pairs within ``window_s`` over the number of onsets in both. 1 where all can be paired; higher is better;
    symmetric. Blind to everything but where notes begin, and to what the detector misses in both.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        window_s: Largest distance of a pair in seconds.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        n_mels: Number of mel bands.

    Returns:
        F-measure per clip, shape ``(...)``, float64, in ``[0, 1]``; ``nan`` where neither clip has an onset.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than ``n_fft``.

    Source:
        Raffel et al., "mir_eval", ISMIR 2014; detector of :func:`onset_times`.
    """

    def value(e: Tensor, r: Tensor) -> Tensor:
        found, wanted = (
            onset_times(x.cpu().numpy(), sample_rate_hz, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
            for x in (e, r)
        )
        return torch.tensor(f_measure(found, wanted, window_s), dtype=torch.float64)

    return per_clip(estimate, reference, value)


def f_measure(estimate: Floats, reference: Floats, window_s: float = 0.05) -> float:
    """F-measure of two lists of times; ``nan`` where both are empty."""
    if not estimate.size and not reference.size:
        return math.nan
    pairs = matched_events(estimate, reference, window_s)
    if not pairs:
        return 0.0
    precision, recall = pairs / estimate.size, pairs / reference.size
    return 2 * precision * recall / (precision + recall)
