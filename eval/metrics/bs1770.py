"""Loudness and true peak of ITU-R BS.1770-4, at any sample rate, on NumPy arrays.

The recommendation prints its two filters for 48 kHz. They are taken back to their analogue prototypes and through the
bilinear transform to the rate in question; that bends the shelf a little at low rates, so the whole is scaled to pass
997 Hz with +0.691 dB, as the recommendation asks: a sine of 997 Hz at full scale in one channel reads −3.01 LUFS at
every rate.

The filters are run as matrix products over blocks of samples, with the states that link the blocks found apart, which
is several times faster than sample after sample and equal to rounding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

__all__ = ["ABSOLUTE_GATE_LUFS", "MINIMUM_RATE_HZ", "SURROUND_WEIGHTS", "integrated_loudness", "k_weighting", "peak"]

Floats = NDArray[np.float64]

ABSOLUTE_GATE_LUFS = -70.0
MINIMUM_RATE_HZ = 4000
SURROUND_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)
_OFFSET_LUFS = -0.691
_RELATIVE_GATE_LU = -10.0
_STEPS_PER_SECOND, _STEPS_PER_BLOCK = 10, 4
_SHELF_HZ, _SHELF_DB, _SHELF_Q, _SHELF_SLOPE = (
    1681.974450955533,
    3.999843853973347,
    0.7071752369554196,
    0.4996667741545416,
)
_PASS_HZ, _PASS_Q = 38.13547087602444, 0.5003270373238773

_BLOCK = 32
# Products of so many blocks are too small for BLAS libraries to start threads for.
_TILE_BLOCKS = 128
_TILES_AT_ONCE = 16


@lru_cache(maxsize=32)
def k_weighting(sample_rate_hz: int) -> Floats:
    """Second-order sections of the K-weighting, shape ``(2, 6)``: a high shelf and a high-pass."""
    k = np.tan(np.pi * _SHELF_HZ / sample_rate_hz)
    high = 10 ** (_SHELF_DB / 20)
    band = high**_SHELF_SLOPE
    below = 1 + k / _SHELF_Q + k * k
    shelf = [
        (high + band * k / _SHELF_Q + k * k) / below,
        2 * (k * k - high) / below,
        (high - band * k / _SHELF_Q + k * k) / below,
        1.0,
        2 * (k * k - 1) / below,
        (1 - k / _SHELF_Q + k * k) / below,
    ]
    k = np.tan(np.pi * _PASS_HZ / sample_rate_hz)
    below = 1 + k / _PASS_Q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / below, (1 - k / _PASS_Q + k * k) / below]
    sections = np.array([shelf, high_pass], dtype=np.float64)
    z = np.exp(-2j * np.pi * 997 / sample_rate_hz * np.arange(3))
    response = np.prod([(row[:3] @ z) / (row[3:] @ z) for row in sections])
    sections[0, :3] *= 10 ** (-_OFFSET_LUFS / 20) / abs(response)
    return sections


def integrated_loudness(waveform: NDArray[Any], sample_rate_hz: int) -> float:
    """Integrated loudness with both gates.

    Blocks of four steps follow each other by one; a step is 0.1 s to the nearest sample, and a last block that is not
    full is left out.

    Args:
        waveform: Shape ``(channels, samples)``, finite, full scale at 1; up to five channels, the fourth and fifth
            being surround channels.
        sample_rate_hz: Its rate, at least 4,000.

    Returns:
        LUFS; ``nan`` for a clip shorter than a block, ``-inf`` where no block lies above −70 LUFS.

    Raises:
        ValueError: If the rate is too low or there are more than five channels.

    Source:
        Recommendation ITU-R BS.1770-4, annex 1, 2015.
    """
    channels, samples = waveform.shape
    if sample_rate_hz < MINIMUM_RATE_HZ or channels > len(SURROUND_WEIGHTS):
        raise ValueError(
            f"loudness of {channels} channels at {sample_rate_hz} Hz is not defined here: up to five channels, "
            "4,000 Hz or more"
        )
    step = round(sample_rate_hz / _STEPS_PER_SECOND)
    steps = samples // step
    if steps < _STEPS_PER_BLOCK:
        return math.nan
    energy = np.zeros(steps)
    for weight, row in zip(SURROUND_WEIGHTS, waveform, strict=False):
        energy += weight * _step_energies(row, sample_rate_hz, step, steps)
    blocks = steps - _STEPS_PER_BLOCK + 1
    shifted = np.lib.stride_tricks.sliding_window_view(energy, blocks)
    power = shifted.sum(axis=0) / (_STEPS_PER_BLOCK * step)
    power = power[power > 10 ** ((ABSOLUTE_GATE_LUFS - _OFFSET_LUFS) / 10)]
    if not power.size:
        return -math.inf
    power = power[power > power.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
    return _OFFSET_LUFS + 10 * math.log10(float(power.mean()))


class _Blocks(NamedTuple):
    """A filter as products over blocks.

    Attributes:
        response: From the inputs of a block, and the modes at its start, to its outputs.
        drive: From the inputs to what they leave in the two modes, real and imaginary part of each.
        decay: Factor of each mode over a block.
    """

    response: Floats
    drive: Floats
    decay: NDArray[np.complex128]


@lru_cache(maxsize=32)
def _blocks(sample_rate_hz: int) -> _Blocks:
    (b, a), (d, c) = ((row[:3], row[3:]) for row in k_weighting(sample_rate_hz))
    # Both sections in the transposed direct form, the output of the first driving the second.
    first = np.array([[-a[1], 1.0], [-a[2], 0.0]])
    into_first = np.array([b[1] - a[1] * b[0], b[2] - a[2] * b[0]])
    second = np.array([[-c[1], 1.0], [-c[2], 0.0]])
    into_second = np.array([d[1] - c[1] * d[0], d[2] - c[2] * d[0]])
    matrix = np.zeros((4, 4))
    matrix[:2, :2], matrix[2:, 2:], matrix[2:, 0] = first, second, into_second
    source = np.concatenate((into_first, into_second * b[0]))
    sink = np.array([d[0], 0.0, 1.0, 0.0])
    poles, vectors = np.linalg.eig(matrix)
    # Both sections have a pair of conjugate poles: one of each pair says it all.
    chosen = np.flatnonzero(poles.imag > 0)
    modes = np.linalg.solve(vectors, source.astype(np.complex128))[chosen]
    heard = (sink @ vectors)[chosen]
    poles = poles[chosen]
    powers = poles[:, None] ** np.arange(_BLOCK)
    impulse = np.concatenate(([b[0] * d[0]], 2 * ((heard * modes) @ powers[:, : _BLOCK - 1]).real))
    response = np.zeros((_BLOCK, _BLOCK))
    for place in range(_BLOCK):
        response[place, place:] = impulse[: _BLOCK - place]
    drive = (modes[:, None] * powers[:, ::-1]).T
    ring = 2 * heard[:, None] * powers
    return _Blocks(
        np.concatenate((response, np.stack([ring[0].real, -ring[0].imag, ring[1].real, -ring[1].imag]))),
        np.stack([drive[:, 0].real, drive[:, 0].imag, drive[:, 1].real, drive[:, 1].imag], axis=1),
        poles**_BLOCK,
    )


def _step_energies(row: NDArray[Any], sample_rate_hz: int, step: int, steps: int) -> Floats:
    """Energy of the weighted signal in each step."""
    filters = _blocks(sample_rate_hz)
    energy = np.empty(steps)
    samples = steps * step
    tiles = min(_TILES_AT_ONCE, -(-samples // (_TILE_BLOCKS * _BLOCK)))
    blocks = tiles * _TILE_BLOCKS
    inputs = np.zeros((tiles, _TILE_BLOCKS, _BLOCK + 4))
    flat = inputs.reshape(blocks, _BLOCK + 4)
    arriving = np.empty((2, blocks), np.complex128)
    arriving[:, 0] = 0
    outputs = np.empty(step + blocks * _BLOCK)
    held, done = 0, 0
    for start in range(0, samples, blocks * _BLOCK):
        piece = row[start : start + blocks * _BLOCK]
        whole = piece.size // _BLOCK
        flat[:whole, :_BLOCK] = piece[: whole * _BLOCK].reshape(whole, _BLOCK)
        if whole < blocks:
            flat[whole:, :_BLOCK] = 0
            flat[whole, : piece.size - whole * _BLOCK] = piece[whole * _BLOCK :]
        driven = np.matmul(inputs[:, :, :_BLOCK], filters.drive).reshape(blocks, 4)
        for mode in (0, 1):
            left = driven[:, 2 * mode] + 1j * driven[:, 2 * mode + 1]
            arriving[mode, 1:] = left[:-1]
            reached = lfilter([1.0], [1.0, -filters.decay[mode]], arriving[mode])
            arriving[mode, 0] = reached[-1] * filters.decay[mode] + left[-1]
            flat[:, _BLOCK + 2 * mode], flat[:, _BLOCK + 2 * mode + 1] = reached.real, reached.imag
        fresh = outputs[held : held + blocks * _BLOCK].reshape(tiles, _TILE_BLOCKS, _BLOCK)
        np.matmul(inputs, filters.response, out=fresh)
        held += blocks * _BLOCK
        count = min(held // step, steps - done)
        weighted = outputs[: count * step].reshape(count, step)
        energy[done : done + count] = np.vecdot(weighted, weighted)
        done += count
        held -= count * step
        outputs[:held] = outputs[count * step : count * step + held].copy()
        if done == steps:
            break
    return energy


_HALF_TAPS = 12


@lru_cache(maxsize=8)
def _interpolators(oversampling: int) -> Floats:
    """Windowed sinc functions for the places between two samples, shape ``(2 · 12, oversampling − 1)``."""
    places = np.arange(1, oversampling) / oversampling
    distance = np.arange(1 - _HALF_TAPS, _HALF_TAPS + 1)[:, None] - places
    window = np.i0(8.0 * np.sqrt(1 - (distance / _HALF_TAPS) ** 2)) / np.i0(8.0)
    taps = np.sinc(distance) * window
    return np.asarray(taps / taps.sum(axis=0))


def peak(waveform: NDArray[Any], oversampling: int = 4) -> float:
    """Largest magnitude of the samples and of those between them.

    Args:
        waveform: Shape ``(samples,)``, finite.
        oversampling: Places looked at per sample.

    Returns:
        Magnitude, full scale at 1; silence lies on both sides of the waveform.

    Raises:
        ValueError: If ``oversampling`` is below 1 or there is no sample.
    """
    if oversampling < 1 or waveform.size == 0:
        raise ValueError(f"a peak needs samples and an oversampling of 1 or more, not {waveform.size}, {oversampling}")
    samples = np.asarray(waveform, np.float64)
    highest = float(np.abs(samples).max())
    if oversampling == 1:
        return highest
    taps = _interpolators(oversampling)
    # Between samples a signal rises above its neighbours by no more than the sum of the taps.
    reach = float(np.abs(taps).sum(axis=0).max())
    padded = np.pad(samples, _HALF_TAPS)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HALF_TAPS)
    near = np.maximum(np.abs(padded[:-1]), np.abs(padded[1:]))
    for start in range(0, len(windows), 4096):
        part = windows[start : start + 4096]
        if reach * float(near[start : start + len(part) + 2 * _HALF_TAPS - 2].max()) > highest:
            highest = max(highest, float(np.abs(np.matmul(part[None], taps)).max()))
    return highest
