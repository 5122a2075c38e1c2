"""Distances between smoothed spectral envelopes, with and without forgiving changes of tempo.

The envelope of a frame is the cosine series of its log-mel bands, cut off after a few terms and without the constant,
which is the level. Definitions in use differ in nearly everything (mel cepstra of LPC or of a vocoder's envelope, order
13 to 39, with or without the level and silence), so values compare only within one definition.

* :func:`mel_cepstral_distortion`: frame against frame.
* :func:`mel_cepstral_distortion_dtw`: along the cheapest path through both.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.pairs import per_clip
from eval.metrics.quantities import cosines
from eval.metrics.spectral import evaluate_plan
from eval.metrics.sums import Plan, Request
from eval.metrics.tiles import log_mel_frames

Frames = NDArray[np.float64]

_DB = 10 * math.sqrt(2) / math.log(10)


def _check(n_mels: int, n_coefficients: int, floor: float) -> None:
    if not 1 <= n_coefficients < n_mels:
        raise ValueError(f"n_coefficients is {n_coefficients}; it has to lie in 1…n_mels − 1 = {n_mels - 1}")
    if not floor > 0:
        raise ValueError(f"floor is {floor}; a logarithm needs one above 0")


def mel_cepstral_distortion_plan(
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    n_mels: int = 80,
    n_coefficients: int = 13,
    floor: float = 1e-5,
) -> Plan:
    """:func:`mel_cepstral_distortion` as sums."""
    _check(n_mels, n_coefficients, floor)
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    request = Request(settings, "cepstral_error", floor, Mel(sample_rate_hz, n_mels), (float(n_coefficients),))
    return Plan((request,), lambda sums, samples: _DB * sums[0] / settings.frames(samples))


def mel_cepstral_distortion(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    n_mels: int = 80,
    n_coefficients: int = 13,
    floor: float = 1e-5,
) -> Tensor:
    """Distance of the mel cepstra, frame by frame: ``(10 / ln 10) · √(2 Σ_d (c_d − ĉ_d)²)``, averaged over frames.

    ``c_1 … c_n`` are the terms of the cosine series of ``ln max(M, floor)`` over the mel bands of the magnitude; the
    constant is left out. The value is then the root-mean-square distance of the smoothed envelopes in dB. Zero for
    equal signals; lower is better; symmetric; blind to the gain of either signal above the floor.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        n_mels: Number of bands from 0 Hz to half the sample rate, Slaney's scale and norm.
        n_coefficients: Number of terms of the series, without the constant.
        floor: Smallest band magnitude told apart from zero.

    Returns:
        Distance in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", IEEE PACRIM 1993.
    """
    plan = mel_cepstral_distortion_plan(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        n_mels=n_mels,
        n_coefficients=n_coefficients,
        floor=floor,
    )
    return evaluate_plan(plan, estimate, reference)


def mel_cepstral_distortion_dtw(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    n_mels: int = 80,
    n_coefficients: int = 13,
    floor: float = 1e-5,
    max_shift_s: float = 0.5,
) -> Tensor:
    """:func:`mel_cepstral_distortion` along the cheapest monotone path through the frames of both signals.

    The path goes from the first pair of frames to the last by steps of one frame in either signal or in both, stays
    within ``max_shift_s`` of equal times, and has the smallest sum of distances of all such paths, found exactly. The
    value is the mean over the pairs on the path; of equally cheap paths the one with more double steps counts. Zero for
    equal signals; lower is better; symmetric. Forgives shifts and uneven tempo; also forgives a wrong rhythm.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        n_mels: Number of bands from 0 Hz to half the sample rate, Slaney's scale and norm.
        n_coefficients: Number of terms of the series, without the constant.
        floor: Smallest band magnitude told apart from zero.
        max_shift_s: Largest distance in time of two frames that are compared, in seconds.

    Returns:
        Distance in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE TASSP 26(1),
        1978, symmetric without weights, on Kubichek's distance.
    """
    _check(n_mels, n_coefficients, floor)
    if max_shift_s < 0:
        raise ValueError(f"max_shift_s is {max_shift_s}; it has to be at least 0")
    settings, mel = Stft(n_fft, hop_length, win_length, pad_mode), Mel(sample_rate_hz, n_mels)
    basis = cosines(n_mels, n_coefficients)

    def value(e: Tensor, r: Tensor) -> Tensor:
        cepstra = [log_mel_frames(signal, settings, mel, floor).cpu().numpy() @ basis for signal in (e, r)]
        total, steps = cheapest_path(*cepstra, band=math.floor(max_shift_s * sample_rate_hz / hop_length))
        return torch.tensor(_DB * total / steps, dtype=torch.float64, device=e.device)

    return per_clip(estimate, reference, value)


def cheapest_path(one: Frames, other: Frames, *, band: int) -> tuple[float, int]:
    """Sum of the Euclidean distances along the cheapest monotone path through two sequences of one length.

    Args:
        one: Shape ``(frames, dimensions)``.
        other: Same shape.
        band: Largest difference of the positions of a pair.

    Returns:
        The sum, and the number of pairs on the path.

    Raises:
        ValueError: If the shapes differ or there is no frame.
    """
    if one.shape != other.shape or not len(one):
        raise ValueError(f"sequences of shapes {one.shape} and {other.shape}; equal ones with frames are needed")
    frames = len(one)
    width = min(band, frames - 1)
    # Pairs (i, j) with i + j = k depend on k − 1 and k − 2 only and are worked out together. They are kept by i − j,
    # with a border on each side that no path may enter.
    size = 2 * width + 3
    costs = [np.full(size, np.inf) for _ in range(3)]
    lengths = [np.zeros(size, dtype=np.int64) for _ in range(3)]
    backwards = np.ascontiguousarray(other[::-1])
    for k in range(2 * frames - 1):
        reach = min(width, k, 2 * (frames - 1) - k)
        reach -= (reach + k) % 2
        shifts = slice(width + 1 - reach, width + 2 + reach, 2)
        count, first = reach + 1, (k - reach) // 2
        last = frames - 1 - (k + reach) // 2
        gap = one[first : first + count] - backwards[last : last + count]
        distance = np.sqrt(np.add.reduce(gap * gap, axis=-1))
        cost, before, twice = costs[k % 3], costs[(k - 1) % 3], costs[(k - 2) % 3]
        length, before_length, twice_length = lengths[k % 3], lengths[(k - 1) % 3], lengths[(k - 2) % 3]
        cost.fill(np.inf)
        if not k:
            cost[shifts], length[shifts] = distance, 1
            continue
        below = slice(shifts.start - 1, shifts.stop - 1, 2)
        above = slice(shifts.start + 1, shifts.stop + 1, 2)
        best, steps = twice[shifts].copy(), twice_length[shifts].copy()
        for side in (below, above):
            better = before[side] < best
            best = np.where(better, before[side], best)
            steps = np.where(better, before_length[side], steps)
        cost[shifts], length[shifts] = best + distance, steps + 1
    final = (2 * frames - 2) % 3
    return float(costs[final][width + 1]), int(lengths[final][width + 1])
