"""Loudness and true peak as metrics of waveforms.

Both follow ITU-R BS.1770-4 and are blind to everything but level.

* :func:`loudness_difference`: how far two clips lie apart in loudness.
* :func:`true_peak`: the level of a clip's highest point, between samples too.

The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eval.metrics import bs1770
from eval.metrics.pairs import per_clip

__all__ = ["integrated_loudness", "loudness_difference", "true_peak"]


def integrated_loudness(estimate: Tensor, *, sample_rate_hz: int) -> Tensor:
    """Integrated loudness of each clip.

    Args:
        estimate: Waveform of one channel, shape ``(..., time)``, full scale at 1.
        sample_rate_hz: Its rate, at least 4,000.

    Returns:
        Loudness in LUFS per clip, shape ``(...)``, float64: −3.01 for a full-scale sine of 997 Hz, ``-inf`` where
        nothing lies above −70 LUFS, ``nan`` for a clip shorter than 0.4 s.

    Raises:
        ValueError: If the rate is too low or there is no sample.

    Source:
        Recommendation ITU-R BS.1770-4, annex 1, 2015.
    """

    def value(e: Tensor, _: Tensor) -> Tensor:
        return _scalar(bs1770.integrated_loudness(e.cpu().numpy()[None], sample_rate_hz))

    return per_clip(estimate, estimate, value)


def loudness_difference(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int) -> Tensor:
    """Gap between the integrated loudness of two clips, ``|L̂ − L|``.

    Zero for equal loudness; lower is better; symmetric. A gain of ``g`` dB on one signal costs ``|g|`` LU, apart from
    what it moves across the gates.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both, at least 4,000.

    Returns:
        Gap in LU per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where a clip has no loudness: shorter than
        0.4 s, or nothing in it above −70 LUFS.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the rate is too low.

    Source:
        Recommendation ITU-R BS.1770-4, annex 1, 2015.
    """

    def value(e: Tensor, r: Tensor) -> Tensor:
        levels = [bs1770.integrated_loudness(signal.cpu().numpy()[None], sample_rate_hz) for signal in (e, r)]
        return _scalar(abs(levels[0] - levels[1]) if all(map(math.isfinite, levels)) else math.nan)

    return per_clip(estimate, reference, value)


def true_peak(estimate: Tensor, *, oversampling: int = 4) -> Tensor:
    """Level of the highest point of a waveform, between its samples too.

    The waveform is interpolated by a sinc function of 24 samples under a Kaiser window; the recommendation leaves the
    filter open. At four places a sample, a tone at half the sample rate can lie 0.7 dB higher than it reads, one at a
    quarter 0.2 dB. Above 0 dB a converter or an encoder clips although no sample does.

    Args:
        estimate: Waveform, shape ``(..., time)``, full scale at 1.
        oversampling: Places looked at per sample.

    Returns:
        Level in dBTP per clip, shape ``(...)``, float64; ``-inf`` for digital silence.

    Raises:
        ValueError: If there is no sample or ``oversampling`` is below 1.

    Source:
        Recommendation ITU-R BS.1770-4, annex 2, 2015.
    """

    def value(e: Tensor, _: Tensor) -> Tensor:
        highest = bs1770.peak(e.cpu().numpy(), oversampling)
        return _scalar(20 * math.log10(highest) if highest > 0 else -math.inf)

    return per_clip(estimate, estimate, value)


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
