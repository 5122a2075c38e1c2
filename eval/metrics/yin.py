"""Fundamental frequency of a waveform, frame by frame: YIN and pYIN.

* :func:`yin`, :func:`yin_periodicity`: in each frame the first lag at which the waveform nearly repeats itself.
* :func:`pyin`: every lag that could be it, weighed over thresholds, and the likeliest path through them.

Both are defined as librosa 0.11 defines them, with its defaults, and give its numbers in float64; they share no code
with it and need neither it nor a compiler. The speed of :func:`pyin` comes from three places: the difference function
is computed for many frames at once, transitions between pitches are looked up only where they are possible, and no
path is followed through a voiced pitch that has no probability, unless the frame leaves no other.

NumPy arrays go in and come out: a frame is a few microseconds of work, and the path is found frame after frame.

Source:
    de Cheveigné and Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 111(4), 2002; Mauch
    and Dixon, "pYIN: a fundamental frequency estimator using probabilistic threshold distributions", ICASSP 2014, with
    the weights of its published program, which librosa follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.special import betainc

__all__ = ["PitchTrack", "YinSettings", "pyin", "yin", "yin_periodicity"]

Floats = NDArray[np.float64]

# Troughs are weighed for many frames at once, transforms of a few frames stay in the cache.
_TILE_FRAMES = 32
_BLOCK_FRAMES = 8
_THRESHOLDS = 100
_BETA = (2.0, 18.0)
_BOLTZMANN = 2.0
_NO_TROUGH = 0.01
_BINS_PER_SEMITONE = 10
_OCTAVES_PER_SECOND = 35.92
_SWITCH = 0.01
_TINY = float(np.finfo(np.float64).tiny)
# Values of this many frames are kept for the way back; longer clips are walked through twice.
_SEGMENT_FRAMES = 4096


@dataclass(frozen=True)
class YinSettings:
    """Frames and range of the search.

    Attributes:
        sample_rate_hz: Sample rate of the waveform.
        f_min_hz: Lowest frequency.
        f_max_hz: Highest frequency, at most half the sample rate.
        frame_length: Length of a frame in samples; a period of ``f_min_hz`` has to fit, two should.
        hop_length: Step between frames in samples; a quarter of the frame when ``None``.
        center: Whether frame ``t`` is centred on sample ``t · hop_length``, with zeros beyond the edges.
    """

    sample_rate_hz: int
    f_min_hz: float
    f_max_hz: float
    frame_length: int = 2048
    hop_length: int | None = None
    center: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"f_min_hz {self.f_min_hz} and f_max_hz {self.f_max_hz} do not satisfy "
                f"0 < f_min_hz < f_max_hz ≤ {self.sample_rate_hz / 2}"
            )
        if self.sample_rate_hz / self.f_min_hz >= self.frame_length - 1:
            raise ValueError(
                f"frame_length is {self.frame_length}; a period of f_min_hz = {self.f_min_hz} needs at least "
                f"{math.ceil(self.sample_rate_hz / self.f_min_hz) + 2} samples at {self.sample_rate_hz} Hz"
            )
        if self.hop < 1:
            raise ValueError(f"hop_length is {self.hop_length}; it has to be at least 1")

    @property
    def hop(self) -> int:
        """Step between frames in samples."""
        return self.frame_length // 4 if self.hop_length is None else self.hop_length

    @property
    def shortest(self) -> int:
        """Shortest period in samples."""
        return math.floor(self.sample_rate_hz / self.f_max_hz)

    @property
    def longest(self) -> int:
        """Longest period in samples."""
        return min(math.ceil(self.sample_rate_hz / self.f_min_hz), self.frame_length - 1)

    def frames(self, samples: int) -> int:
        """Number of frames of a clip; below 1 where not even one fits."""
        padded = samples + 2 * (self.frame_length // 2) if self.center else samples
        return (padded - self.frame_length) // self.hop + 1


class PitchTrack(NamedTuple):
    """What :func:`pyin` says of each frame.

    Attributes:
        f0_hz: Fundamental frequency on a grid of ten cents, ``nan`` where there is none.
        voiced: Whether there is one.
        voiced_probability: Probability that there is, from the frame alone.
    """

    f0_hz: Floats
    voiced: NDArray[np.bool_]
    voiced_probability: Floats


def yin(waveform: Floats, settings: YinSettings, *, threshold: float = 0.1) -> Floats:
    """Fundamental frequency of each frame by the YIN algorithm.

    Args:
        waveform: Shape ``(time,)``, finite.
        settings: Frames and range.
        threshold: Share of power that may differ after one period; where no lag is that good, the best is taken.

    Returns:
        Frequencies in Hz, shape ``(frames,)``. Every frame has one, whether it sounds or not.

    Raises:
        ValueError: If the waveform has another shape or is too short for a frame.
    """
    return yin_periodicity(waveform, settings, threshold=threshold)[0]


def yin_periodicity(waveform: Floats, settings: YinSettings, *, threshold: float = 0.1) -> tuple[Floats, Floats]:
    """Fundamental frequency of each frame by the YIN algorithm, and how well the frame repeats after one period.

    Args:
        waveform: Shape ``(time,)``, finite.
        settings: Frames and range.
        threshold: Share of power that may differ after one period; where no lag is that good, the best is taken.

    Returns:
        Frequencies in Hz, and 1 less the normalised difference at the lag that was taken, in ``[0, 1]``, about 0 for
        noise and 1 for a tone; both of shape ``(frames,)``.

    Raises:
        ValueError: If the waveform has another shape or is too short for a frame.
    """
    frames = _checked_frames(waveform, settings)
    f0, periodicity = np.empty(frames), np.empty(frames)
    for first, relative in _tiles(waveform, settings):
        good = _troughs(relative) & (relative < threshold)
        period = np.where(good.any(1), good.argmax(1), relative.argmin(1))
        rows = np.arange(len(relative))
        shifts = _vertices(relative, rows, period)
        place = slice(first, first + len(relative))
        f0[place] = settings.sample_rate_hz / (settings.shortest + period + shifts)
        periodicity[place] = np.clip(1 - relative[rows, period], 0, 1)
    return f0, periodicity


def pyin(waveform: Floats, settings: YinSettings) -> PitchTrack:
    """Fundamental frequency and voicing of each frame by the pYIN algorithm.

    Candidates are the troughs of YIN's difference function. Each of a hundred thresholds, weighed by a beta
    distribution (2, 18), shares its weight among the troughs below it, the shorter periods first (Boltzmann, 2). The
    path is the likeliest through pitches of ten cents, voiced or not, that moves at most 35.92 octaves a second and
    switches voicing with a probability of 0.01.

    Args:
        waveform: Shape ``(time,)``, finite.
        settings: Frames and range.

    Returns:
        Frequency, voicing and its probability, each of shape ``(frames,)``.

    Raises:
        ValueError: If the waveform has another shape, is too short for a frame, or a hop is longer than a path can
            follow over the range.
    """
    frames = _checked_frames(waveform, settings)
    semitones = math.log2(settings.f_max_hz / settings.f_min_hz) * 12
    bins = math.floor(12 * _BINS_PER_SEMITONE * np.log2(settings.f_max_hz / settings.f_min_hz)) + 1
    reach = round(_OCTAVES_PER_SECOND * 12 * settings.hop / settings.sample_rate_hz)
    width = reach * _BINS_PER_SEMITONE + 1
    if width > bins:
        raise ValueError(
            f"a hop of {settings.hop} samples lets the pitch move by {reach} semitones at "
            f"{settings.sample_rate_hz} Hz, more than the range of {semitones:.1f}; take a shorter hop"
        )
    candidates = _candidates(waveform, settings, frames, bins)
    states = _likeliest_path(candidates, _transitions(bins, width))
    voiced = states < bins
    grid = settings.f_min_hz * 2 ** (np.arange(bins) / (12 * _BINS_PER_SEMITONE))
    return PitchTrack(np.where(voiced, grid[states % bins], np.nan), voiced, candidates.voiced_probability)


def _checked_frames(waveform: Floats, settings: YinSettings) -> int:
    if waveform.ndim != 1:
        raise ValueError(f"waveform has shape {waveform.shape}; (time,) is needed")
    frames = settings.frames(waveform.size)
    if frames < 1 or not waveform.size:
        raise ValueError(f"the clip has {waveform.size} samples, less than a frame of {settings.frame_length}")
    return frames


def _tiles(waveform: Floats, settings: YinSettings) -> Iterator[tuple[int, Floats]]:
    """First frame and normalised difference functions ``(frames, lags)`` of a few frames at a time."""
    length, hop, longest = settings.frame_length, settings.hop, settings.longest
    samples = np.asarray(waveform, np.float64)
    if settings.center:
        samples = np.pad(samples, length // 2)
    views = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    size = next_fast_len(2 * length - 1, real=True)
    lags = np.arange(1.0, longest + 1)
    for first in range(0, len(views), _TILE_FRAMES):
        count = min(_TILE_FRAMES, len(views) - first)
        relative = np.empty((count, longest + 1 - settings.shortest))
        for start in range(0, count, _BLOCK_FRAMES):
            frames = views[first + start : first + min(count, start + _BLOCK_FRAMES)]
            spectrum = np.fft.rfft(frames, size)
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            product = np.fft.irfft(power, size)[:, : longest + 1]
            energy = np.cumsum(np.square(frames[:, :longest]), axis=1)
            gap = 2 * (product[:, :1] - product[:, 1:]) - energy
            mean = np.cumsum(gap, axis=1) / lags
            mean += _TINY
            place = relative[start : start + len(frames)]
            np.divide(gap[:, settings.shortest - 1 :], mean[:, settings.shortest - 1 :], out=place)
        yield first, relative


def _troughs(values: Floats) -> NDArray[np.bool_]:
    """Where a value lies below its left neighbour and not above the right one; at the edges, below the only one."""
    found = np.empty(values.shape, np.bool_)
    found[:, 1:-1] = (values[:, 1:-1] < values[:, :-2]) & (values[:, 1:-1] <= values[:, 2:])
    found[:, 0] = values[:, 0] < values[:, 1]
    found[:, -1] = values[:, -1] < values[:, -2]
    return found


def _vertices(values: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """Where the parabola through a value and its neighbours turns; 0 at the edges and where it is further than 1."""
    last = values.shape[1] - 1
    inside = (columns > 0) & (columns < last)
    middle = values[rows, columns]
    left, right = values[rows, np.maximum(columns - 1, 0)], values[rows, np.minimum(columns + 1, last)]
    bend = right + left - 2 * middle
    slope = (right - left) / 2
    near = inside & (np.abs(slope) < np.abs(bend))
    shifts = np.zeros(middle.shape)
    np.divide(-slope, bend, out=shifts, where=near)
    return shifts


class _Candidates(NamedTuple):
    """Pitches that a frame could have; those of frame ``t`` stand at ``starts[t]`` to ``starts[t + 1]``."""

    starts: NDArray[np.intp]
    bins: NDArray[np.intp]
    log_probability: Floats
    voiced_probability: Floats


@lru_cache(maxsize=1)
def _threshold_weights() -> tuple[Floats, Floats, Floats]:
    """Thresholds, their weights, and what the lowest trough is given for missing the first ``n`` of them."""
    thresholds = np.linspace(0, 1, _THRESHOLDS + 1)
    weights = np.diff(betainc(*_BETA, thresholds))
    missed = np.array([_NO_TROUGH * np.sum(weights[:number]) for number in range(_THRESHOLDS + 1)])
    return thresholds[1:], weights, missed


@lru_cache(maxsize=8)
def _shares(count: int) -> Floats:
    """Share of the ``k``-th of ``n`` troughs below a threshold at ``[n, k]``, for ``n`` up to ``count`` or more."""
    number = np.arange(count + 1.0)
    with np.errstate(divide="ignore"):
        scale = (1 - np.exp(-_BOLTZMANN)) / (1 - np.exp(-_BOLTZMANN * number))
    shares = np.zeros((count + 1, count + 1))
    shares[1:] = np.clip(scale[1:, None] * np.exp(-_BOLTZMANN * number), 0, 1)
    return shares


def _candidates(waveform: Floats, settings: YinSettings, frames: int, bins: int) -> _Candidates:
    counts = np.zeros(frames + 1, np.intp)
    probability = np.zeros(frames)
    places: list[NDArray[np.intp]] = []
    weights: list[Floats] = []
    for first, relative in _tiles(waveform, settings):
        rows, periods = np.nonzero(_troughs(relative))
        chances = _trough_chances(rows, relative[rows, periods], len(relative))
        likely = np.flatnonzero(chances)
        rows, periods, chances = rows[likely], periods[likely], chances[likely]
        lags = settings.shortest + periods + _vertices(relative, rows, periods)
        place = np.round(12 * _BINS_PER_SEMITONE * np.log2(settings.sample_rate_hz / lags / settings.f_min_hz))
        place = np.clip(place, 0, bins).astype(np.intp)
        # Of two periods in the same bin the longer counts, and one above the range does not.
        keep = place < bins
        keep[:-1] &= (place[:-1] != place[1:]) | (rows[:-1] != rows[1:])
        # From low to high pitches, as their probabilities are added up.
        rows, place, chances = rows[keep][::-1], place[keep][::-1], chances[keep][::-1]
        total = np.bincount(rows, chances, len(relative))
        probability[first : first + len(relative)] = np.clip(total, 0, 1)
        order = np.argsort(rows, kind="stable")
        counts[first + 1 : first + 1 + len(relative)] = np.bincount(rows, minlength=len(relative))
        places.append(place[order])
        weights.append(np.log(chances[order] + _TINY))
    return _Candidates(np.cumsum(counts), np.concatenate(places), np.concatenate(weights), probability)


def _trough_chances(rows: NDArray[np.intp], heights: Floats, frames: int) -> Floats:
    """Probability of each trough, given the frame it lies in."""
    thresholds, weights, missed = _threshold_weights()
    chances = np.zeros(rows.size)
    if not rows.size:
        return chances
    # Most troughs lie above every threshold.
    deep = np.flatnonzero(heights < thresholds[-1])
    frame_of = rows[deep]
    # Troughs below a threshold, by threshold, then by frame, then by period.
    level, trough = np.nonzero(heights[deep] < thresholds[:, None])
    group = level * frames + frame_of[trough]
    number = np.bincount(group, minlength=_THRESHOLDS * frames)
    position = np.arange(group.size) - (np.cumsum(number) - number)[group]
    number = number[group]
    table = _shares(32 * (1 + int(number.max(initial=1)) // 32))
    shares = np.zeros((deep.size, _THRESHOLDS))
    shares[trough, level] = table[number, position]
    sums = np.empty(deep.size)
    starts = np.searchsorted(frame_of, np.arange(frames + 1)).tolist()
    for start, stop in pairwise(starts):
        if start < stop:
            sums[start:stop] = shares[start:stop] @ weights
    chances[deep] = sums
    sounding, first = np.unique(rows, return_index=True)
    lowest = np.zeros(frames)
    lowest[sounding] = np.minimum.reduceat(heights, first)
    lowest_at = np.flatnonzero(heights == lowest[rows])
    lowest_at = lowest_at[np.unique(rows[lowest_at], return_index=True)[1]]
    chances[lowest_at] += missed[np.count_nonzero(heights[lowest_at, None] >= thresholds, axis=1)]
    return chances


class _Transitions(NamedTuple):
    """Logarithms of the probabilities of going from one pitch to another.

    Attributes:
        stay: Within the voicing, ``[to − from + half, to]``.
        switch: Across it.
        stay_to: The same, ``[to, from]``.
        switch_to: The same.
        leave: Across the voicing, ``[from, to − from + half]``.
        half: How many bins a pitch can move.
    """

    stay: Floats
    switch: Floats
    stay_to: Floats
    switch_to: Floats
    leave: Floats
    half: int


_NEVER = float(np.log(_TINY))


@lru_cache(maxsize=8)
def _transitions(bins: int, width: int) -> _Transitions:
    half = width // 2
    rise = np.arange(1, half + 2) / (half + 1)
    triangle = np.concatenate((rise, rise[-2::-1]))
    matrix = np.zeros((bins, bins))
    for place in range(bins):
        low, high = max(0, place - half), min(bins, place + half + 1)
        matrix[place, low:high] = triangle[low - place + half : high - place + half]
    matrix /= matrix.sum(axis=1, keepdims=True)
    found = []
    for probability in (1 - _SWITCH, _SWITCH):
        logarithm = np.log(probability * matrix + _TINY)
        band = np.full((width, bins), -np.inf)
        for offset in range(width):
            # Sources stand in order: the first of several equal ones is the lowest.
            move = offset - half
            to = np.arange(max(0, -move), min(bins, bins - move))
            band[offset, to] = logarithm[to + move, to]
        found.append((band, np.ascontiguousarray(logarithm.T)))
    edged = np.pad(found[1][1].T, ((0, 0), (half, half)), constant_values=-np.inf)
    leave = np.stack([edged[place, place : place + width] for place in range(bins)])
    return _Transitions(found[0][0], found[1][0], found[0][1], found[1][1], leave, half)


class _Walk:
    """Values of all states, frame after frame: voiced pitches first, then the same unvoiced.

    A voiced pitch without probability costs 708 nepers; the same pitch unvoiced costs 43 at most as long as the
    frame has any chance of being unvoiced, and switching there and back 9. Then no best path leads through it, and
    its value stands at −∞.
    """

    def __init__(self, candidates: _Candidates, transitions: _Transitions) -> None:
        self._candidates = candidates
        self._transitions = transitions
        self.bins = transitions.stay.shape[1]
        half = transitions.half
        self._padded = np.full((2, self.bins + 2 * half), -np.inf)
        self._inside = self._padded[:, half : half + self.bins]
        windows = np.lib.stride_tricks.sliding_window_view(self._padded, self.bins, axis=1)
        self._voiced, self._unvoiced = windows
        self._sums = np.empty(transitions.stay.shape)
        self._best_padded = np.empty(self.bins + 2 * half)
        self._reached = np.lib.stride_tricks.sliding_window_view(self._best_padded, 2 * half + 1, writeable=True)
        with np.errstate(divide="ignore"):
            self._unvoiced_log = np.log((1 - candidates.voiced_probability) / self.bins + _TINY)

    def first(self) -> Floats:
        """Values of the first frame, shape ``(2, bins)``."""
        start = np.log(1 / (2 * self.bins) + _TINY)
        values = np.full((2, self.bins), -np.inf)
        bins, logs = self._observed(0)
        if self._open(0):
            values[0] = _NEVER + start
        values[0, bins] = logs + start
        values[1] = self._unvoiced_log[0] + start
        return values

    def step(self, frame: int, before: Floats, out: Floats) -> None:
        """Values of a frame from those of the one before."""
        t = self._transitions
        self._inside[:] = before
        bins, logs = self._observed(frame)
        best = self._best_padded[t.half : t.half + self.bins]
        best[:] = self._best(self._unvoiced, t.stay)
        sources = np.flatnonzero(before[0] > -np.inf)
        if sources.size:
            self._raise_from(sources, before[0], best)
        jump = float(before.max()) + _NEVER
        np.maximum(best, jump, out=best)
        np.add(best, self._unvoiced_log[frame], out=out[1])
        if self._open(frame):
            best = np.maximum(self._best(self._voiced, t.stay), self._best(self._unvoiced, t.switch))
            values = np.full(self.bins, _NEVER)
            values[bins] = logs
            out[0] = values + np.maximum(best, jump)
            return
        out[0] = -np.inf
        if bins.size:
            best = (self._unvoiced[:, bins] + t.switch[:, bins]).max(axis=0)
            if sources.size:
                paths = before[0, sources] + t.stay_to[bins[:, None], sources]
                best = np.maximum(best, paths.max(axis=1))
            out[0, bins] = logs + np.maximum(best, jump)

    def back(self, before: Floats, state: int) -> int:
        """State of the frame before on the best path to a state."""
        voicing, place = divmod(state, self.bins)
        t = self._transitions
        rows = (t.stay_to[place], t.switch_to[place]) if voicing == 0 else (t.switch_to[place], t.stay_to[place])
        return int(np.argmax(before + np.stack(rows)))

    def _observed(self, frame: int) -> tuple[NDArray[np.intp], Floats]:
        span = slice(self._candidates.starts[frame], self._candidates.starts[frame + 1])
        return self._candidates.bins[span], self._candidates.log_probability[span]

    def _open(self, frame: int) -> bool:
        """Whether pitches without probability have to be followed."""
        return bool(self._candidates.voiced_probability[frame] >= 1)

    def _best(self, windows: Floats, logs: Floats) -> Floats:
        np.add(windows, logs, out=self._sums)
        best: Floats = np.maximum.reduce(self._sums, axis=0)
        return best

    def _raise_from(self, sources: NDArray[np.intp], values: Floats, best: Floats) -> None:
        t = self._transitions
        if 2 * sources.size > len(self._sums):
            np.maximum(best, self._best(self._voiced, t.switch), out=best)
            return
        paths = t.leave[sources] + values[sources, None]
        for source, path in zip(sources.tolist(), paths, strict=True):
            reached = self._reached[source]
            np.maximum(reached, path, out=reached)


def _likeliest_path(candidates: _Candidates, transitions: _Transitions) -> NDArray[np.intp]:
    """States of the best path; equal ones resolve to the lowest state."""
    walk = _Walk(candidates, transitions)
    frames = candidates.voiced_probability.size
    states = np.empty(frames, np.intp)
    marks = [walk.first()]
    segments = range(0, frames, _SEGMENT_FRAMES)
    values = np.empty((min(frames, _SEGMENT_FRAMES + 1), 2, walk.bins))
    for number, start in enumerate(segments):
        count = _fill(walk, values, marks[number], start, frames)
        if count == _SEGMENT_FRAMES + 1:
            marks.append(values[-1].copy())
    states[-1] = int(np.argmax(values[frames - 1 - segments[-1]]))
    for number in reversed(range(len(segments))):
        start = segments[number]
        if number < len(segments) - 1:
            _fill(walk, values, marks[number], start, frames)
        for frame in range(min(frames - 1, start + _SEGMENT_FRAMES), start, -1):
            states[frame - 1] = walk.back(values[frame - 1 - start], int(states[frame]))
    return states


def _fill(walk: _Walk, values: Floats, mark: Floats, start: int, frames: int) -> int:
    """Values from a frame on, as many as there is room and frames for."""
    values[0] = mark
    count = min(len(values), frames - start)
    for offset in range(1, count):
        walk.step(start + offset, values[offset - 1], values[offset])
    return count
