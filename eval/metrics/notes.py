"""Pitch of a note, by two estimators that share nothing but the choice of loud frames.

* :func:`periodicity_pitch`: the shortest lag at which the waveform repeats itself (YIN).
* :func:`spectral_pitch`: the frequency whose first and prime multiples hold the peaks of the spectrum, and the places
  half-way between its multiples do not (after SWIPE').
* :func:`pitch_accuracy`: whether they find the pitch a clip is labelled with.

Each goes wrong in its own way: the first on noise and low partials that beat, the second on partials that are no
multiples. Where both say the same, that is the pitch. Pitches are MIDI numbers with fractions; 69 is 440 Hz, one
hundredth is a cent.

The work is done on the CPU, wherever the signals are.

Source:
    de Cheveigné and Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 111(4), 2002;
    Camacho and Harris, "A sawtooth waveform inspired pitch estimator for speech and music", JASA 124(3), 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from eval.metrics.pairs import check_shapes, single

__all__ = [
    "hz_to_midi",
    "midi_to_hz",
    "periodicity_pitch",
    "pitch_accuracy",
    "pitch_estimates",
    "spectral_pitch",
    "within_cents",
]

Floats = NDArray[np.float64]

LOWEST_MIDI = 19.0
HIGHEST_MIDI = 110.0
LOUD_DB = 20.0
"""Frames this far under the loudest one are left out."""
DIP = 0.15
"""Share of a frame's power that may differ after one period, where the first such lag is taken."""
LEAST_DIP = 0.4
"""The same for the best lag of all, where no lag is that good."""
_PRIMES = (1, 2, 3, 5, 7, 11, 13, 17, 19, 23)


def midi_to_hz(midi: float) -> float:
    """Frequency of a MIDI pitch."""
    return float(440.0 * 2.0 ** ((midi - 69.0) / 12.0))


def hz_to_midi(frequency_hz: float) -> float:
    """MIDI pitch of a frequency."""
    return 69.0 + 12.0 * math.log2(frequency_hz / 440.0)


def pitch_estimates(waveform: NDArray[np.floating], sample_rate_hz: int) -> tuple[float | None, float | None]:
    """What both estimators say, MIDI; ``None`` for no pitch.

    Args:
        waveform: Shape ``(time,)``.
        sample_rate_hz: Its rate.
    """
    return periodicity_pitch(waveform, sample_rate_hz), spectral_pitch(waveform, sample_rate_hz)


def within_cents(estimates: tuple[float | None, float | None], midi: float, cents: float = 50.0) -> bool:
    """Whether both estimates lie so near a pitch."""
    return all(found is not None and 100.0 * abs(found - midi) <= cents for found in estimates)


def _loud_frames(waveform: NDArray[np.floating], length: int, hop: int) -> Floats:
    """Frames ``(n, length)`` within ``LOUD_DB`` of the loudest, without their means; none of a silent clip."""
    samples = np.asarray(waveform, np.float64)
    if samples.ndim != 1:
        raise ValueError(f"waveform must have shape (time,), got {samples.shape}")
    if samples.size < length:
        samples = np.pad(samples, (0, length - samples.size))
    views = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    frames: Floats = views - views.mean(1, keepdims=True)
    power = np.square(frames).mean(1)
    if power.max() < 1e-12:
        return frames[:0]
    loud: Floats = frames[power >= power.max() * 10.0 ** (-LOUD_DB / 10.0)]
    return loud


def periodicity_pitch(waveform: NDArray[np.floating], sample_rate_hz: int) -> float | None:
    """MIDI pitch by periodicity, the median over loud frames; ``None`` where fewer than a third of them repeat.

    Args:
        waveform: Shape ``(time,)``.
        sample_rate_hz: Its rate.
    """
    # High periods are few samples long; between samples of twice the rate parabolas fit.
    waveform, sample_rate_hz = resample_poly(np.asarray(waveform, np.float64), 2, 1, axis=-1), 2 * sample_rate_hz
    longest = math.ceil(sample_rate_hz / midi_to_hz(LOWEST_MIDI))
    shortest = max(2, math.floor(sample_rate_hz / midi_to_hz(HIGHEST_MIDI)))
    window = 2 * longest
    frames = _loud_frames(waveform, window + longest + 1, window)
    lags = [_period(frame, window, shortest, longest) for frame in frames]
    found = [lag for lag in lags if lag is not None]
    if not found or 3 * len(found) < len(lags):
        return None
    return float(np.median([hz_to_midi(sample_rate_hz / lag) for lag in found]))


def _period(frame: Floats, window: int, shortest: int, longest: int) -> float | None:
    """Period of a frame in samples."""
    size = 1 << (frame.size - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(frame, size) * np.fft.rfft(frame[:window], size).conj(), size)[: longest + 2]
    energy = np.concatenate([[0.0], np.cumsum(np.square(frame))])
    lags = np.arange(longest + 2)
    lags = lags[lags + window <= frame.size]
    gap = energy[window] + energy[lags + window] - energy[lags] - 2.0 * product[lags]
    gap = np.maximum(gap, 0.0)
    mean = np.cumsum(gap[1:]) / lags[1:]
    relative = np.concatenate([[1.0], gap[1:] / np.maximum(mean, 1e-12)])
    inside = np.arange(shortest, min(longest, lags.size - 2) + 1)
    dips = inside[(relative[inside] <= relative[inside - 1]) & (relative[inside] < relative[inside + 1])]
    if dips.size == 0:
        return None
    deep = dips[relative[dips] < DIP]
    if deep.size:
        lag = int(deep[0])
    else:
        lag = int(dips[np.argmin(relative[dips])])
        if relative[lag] > LEAST_DIP:
            return None
    return _refined(gap, relative, lag)


def _refined(gap: Floats, relative: Floats, lag: int) -> float:
    """The period between samples: that of several periods, as far as they repeat as well, divided by their number."""
    period = lag + _vertex(gap, lag)
    count = 1
    while (count + 1) * period < gap.size - 3 and count < 8:
        near = round((count + 1) * period)
        reach = np.arange(max(1, near - 1), near + 2)
        best = int(reach[np.argmin(gap[reach])])
        if relative[best] > max(DIP, 2.0 * relative[lag]):
            break
        count += 1
        period = (best + _vertex(gap, best)) / count
    return float(period)


def _vertex(values: Floats, place: int) -> float:
    """Where between the neighbours the parabola through three values turns, -0.5 to 0.5."""
    if not 0 < place < values.size - 1:
        return 0.0
    a, b, c = values[place - 1 : place + 2]
    bend = a - 2.0 * b + c
    return float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5)) if abs(bend) > 1e-12 else 0.0


def spectral_pitch(waveform: NDArray[np.floating], sample_rate_hz: int) -> float | None:
    """MIDI pitch by the peaks of the mean power spectrum over loud frames; ``None`` for silence and noise.

    Args:
        waveform: Shape ``(time,)``.
        sample_rate_hz: Its rate.
    """
    length = 1 << round(math.log2(0.4 * sample_rate_hz))
    frames = _loud_frames(waveform, length, length // 2)
    if frames.shape[0] == 0:
        return None
    size = 4 * length
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(length), size))).mean(0)
    level = np.sqrt(np.sqrt(power))
    # Ripples at 100 dB under the peak are those of the window.
    level = np.maximum(level - level.max() * 10.0 ** (-60.0 / 40.0), 0.0)
    bin_hz = sample_rate_hz / size
    candidates = np.arange(LOWEST_MIDI, HIGHEST_MIDI, 0.1)
    frequency = 440.0 * 2.0 ** ((candidates - 69.0) / 12.0)
    nearby = _widest(level, max(1, round(1.0 / (bin_hz * length / sample_rate_hz))))
    score, weight = np.zeros(frequency.size), np.zeros(frequency.size)
    for harmonic in _PRIMES:
        there = harmonic * frequency < 0.45 * sample_rate_hz
        w = harmonic**-0.5 * there
        score += w * _at(nearby, harmonic * frequency, bin_hz)
        # Half of what lies to either side counts against it.
        for side in (-0.5, 0.5):
            score -= 0.5 * w * _at(level, (harmonic + side) * frequency, bin_hz)
        weight += np.square(w)
    score = score / np.sqrt(weight)
    best = int(np.argmax(score))
    total = float(np.sqrt(np.square(level).mean()))
    if score[best] <= 2.0 * total:
        return None
    return hz_to_midi(_tuned(level, float(frequency[best]), bin_hz, sample_rate_hz))


def _widest(level: Floats, reach: int) -> Floats:
    """Largest value within ``reach`` places of each."""
    padded = np.pad(level, reach)
    wide: Floats = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)
    return wide


def _at(level: Floats, frequency_hz: Floats, bin_hz: float) -> Floats:
    """Values at frequencies, 0 outside."""
    place = np.rint(frequency_hz / bin_hz).astype(np.int64)
    inside = place < level.size
    return np.where(inside, level[np.where(inside, place, 0)], 0.0)


def _tuned(level: Floats, frequency_hz: float, bin_hz: float, sample_rate_hz: int) -> float:
    """The frequency from the exact places of its first partials, weighted by their level."""
    places, weights = [], []
    for harmonic in range(1, 6):
        if harmonic * frequency_hz >= 0.45 * sample_rate_hz:
            break
        width = 2.0 ** (1.0 / 12.0)
        low = max(1, math.floor(harmonic * frequency_hz / width / bin_hz))
        high = min(level.size - 2, math.ceil(harmonic * frequency_hz * width / bin_hz))
        if high <= low:
            continue
        peak = low + int(np.argmax(level[low : high + 1]))
        if peak in (low, high) or level[peak] <= 0.0:
            continue
        places.append((peak + _vertex(level, peak)) * bin_hz / harmonic)
        weights.append(float(level[peak]) * harmonic)
    return float(np.average(places, weights=weights)) if places else frequency_hz


_ESTIMATORS = {"periodicity": periodicity_pitch, "spectral": spectral_pitch}


def pitch_accuracy(
    estimate: Tensor,
    *,
    sample_rate_hz: int,
    pitch: float | Sequence[float] | Tensor,
    cents: float = 50.0,
    estimators: Sequence[str] = ("periodicity", "spectral"),
) -> Tensor:
    """Whether a note has the pitch it should have.

    1 where every estimator finds a pitch within ``cents`` of the label, 0 where one finds another or none: a note
    without a pitch is a wrong note. The mean over clips is the pitch accuracy. Higher is better. For single notes;
    timbre, level and everything but the pitch of the loud frames is left out of account.

    Args:
        estimate: Waveform, shape ``(..., time)``, full scale at 1.
        sample_rate_hz: Its rate.
        pitch: MIDI number, one for all clips or one for each, shape ``(...)``.
        cents: Largest distance, included.
        estimators: ``"periodicity"``, ``"spectral"`` or both.

    Returns:
        1 or 0 per clip, shape ``(...)``, float64; ``nan`` for a clip of zeros.

    Raises:
        ValueError: If there is no sample, a label is not a number or there are more or fewer than clips, or an
            estimator is unknown.

    Source:
        Engel et al., "GANSynth", ICLR 2019, with two estimators in place of its classifier, which was not released.
    """
    check_shapes(estimate, estimate)
    if not estimators or not set(estimators) <= set(_ESTIMATORS):
        raise ValueError(f"estimators are {tuple(estimators)}; known: {', '.join(_ESTIMATORS)}")
    labels = torch.as_tensor(pitch, dtype=torch.float64, device="cpu")
    if not torch.isfinite(labels).all() or (labels.ndim and labels.shape != estimate.shape[:-1]):
        raise ValueError(f"pitch has shape {tuple(labels.shape)}; finite MIDI numbers, one or one per clip, are needed")
    rows = estimate.reshape(-1, estimate.shape[-1])
    values = []
    for row, label in zip(rows, labels.expand(estimate.shape[:-1]).reshape(-1).tolist(), strict=True):
        samples = single(row).cpu().numpy()
        if not samples.any():
            values.append(math.nan)
            continue
        found = [_ESTIMATORS[name](samples, sample_rate_hz) for name in estimators]
        values.append(float(all(midi is not None and 100.0 * abs(midi - label) <= cents for midi in found)))
    return torch.tensor(values, dtype=torch.float64, device=estimate.device).reshape(estimate.shape[:-1])
