"""How far single precision may move the sums of a tile.

A transform in float32 leaves noise in every bin that is white over a frame and follows the level of the frame, and a
bin that stands out of its frame is rounded by a share of its own. Where a bin is much weaker than its frame, or two
spectrograms are nearly equal, a gap between magnitudes is then partly noise, and noise makes a gap larger on average:
the mean of ``|d + n|`` over the noise exceeds ``|d|`` by at most ``σ² / (|d| + σ)``. What is left of the noise's sign
adds up like that of independent groups of a few bins. The functions here estimate both over the frames of
:attr:`Tile.sample`, beside the sum itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from eval.metrics.frontend import Mel, mel_filters
from eval.metrics.kernels import Array
from eval.metrics.tiles import Bank, Tile

TOLERANCE = 3e-6
"""Share of a sum that the noise of single precision may add to a tile."""

_NOISE = 1.5e-7
"""Noise of a bin over the root mean square of its frame; 0.4e-7 to 1.5e-7 for tones, clicks, noise and music."""

_ROUNDED = 2.0**-24
"""Noise of a bin over its own magnitude; of a tone it is more than that of the frame."""

_GROUPED = 4.0
"""Root of the number of neighbouring bins that err alike."""

_NEAR = 0.01
"""Mean gap in nepers under which two spectrograms count as nearly equal; they are always taken in double precision."""

_LEAST = 1e-18

Numbers = tuple[float, ...]
Bound = Callable[[Tile, float, Bank | None, Numbers], tuple[float, float]]


def stands_in_single(tile: Tile, quantity: str, floor: float, bank: Bank | None, numbers: Numbers) -> bool:
    """Whether a sum over this tile of a pair, computed in float32, may be kept."""
    added, total = BOUNDS[quantity](tile, floor, bank, numbers)
    # Written so that NaN, as of a broken signal, fails.
    return bool(added <= TOLERANCE * total)


def _noise(tile: Tile, floor: float = 0.0) -> Array:
    """Noise of the bins of the sampled frames, shape ``(2, frames, 1)``."""

    def make() -> Array:
        frames = tile.magnitudes(floor)[:, tile.sample]
        return (_LEAST + _NOISE * np.sqrt(np.vecdot(frames, frames) / frames.shape[-1]))[..., None]

    return tile.kept(("noise", floor), make)


def _relative_noise(tile: Tile, floor: float) -> Array:
    """Noise of the logarithm of the ratio of two bins, shape ``(frames, bins)``."""

    def make() -> Array:
        relative = _noise(tile, floor) / tile.magnitudes(floor)[:, tile.sample]
        return np.add(relative[0], relative[1], out=relative[0])

    return tile.kept(("relative noise", floor), make)


def _spread(tile: Tile) -> float:
    """What the sign of the noise adds, in roots of the sum of its squares; a sum over all frames evens out more."""
    return _GROUPED * math.sqrt(len(range(*tile.sample.indices(tile.frames))) / tile.frames)


def _of_gaps(tile: Tile, gaps: Array, noise: Array) -> tuple[float, float]:
    sizes = np.abs(gaps)
    total = float(np.add.reduce(sizes, axis=None))
    sizes += noise
    np.divide(noise, sizes, out=sizes)
    noise = np.broadcast_to(noise, sizes.shape)
    bias = float(np.add.reduce(np.vecdot(sizes, noise)))
    return bias + _spread(tile) * math.sqrt(float(np.add.reduce(np.vecdot(noise, noise)))), total


def _nothing(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    return 0.0, 0.0


def _error_energy(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    gaps, noise = tile.difference(floor)[tile.sample], _noise(tile, floor)
    bins = gaps.shape[-1]
    energies, shares = np.vecdot(gaps, gaps), np.add.reduce(noise * noise)[:, 0]
    total, bias = float(np.add.reduce(energies)), bins * float(np.add.reduce(shares))
    white = float(np.vdot(energies, shares))
    # No bin is larger than its frame, which settles most pairs at once.
    most = white * (1 + bins * (_ROUNDED / _NOISE) ** 2)
    if bias + 2 * _spread(tile) * math.sqrt(most) > TOLERANCE * total:
        loud = gaps * tile.magnitudes(floor)[:, tile.sample]
        most = white + _ROUNDED**2 * float(np.add.reduce(np.vecdot(loud, loud), axis=None))
    return bias + 2 * _spread(tile) * math.sqrt(most), total


def _absolute_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    noise = _noise(tile, floor)
    return _of_gaps(tile, tile.difference(floor)[tile.sample], noise[0] + noise[1])


def _log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    gaps = tile.log_ratio(floor)[tile.sample]
    if float(np.abs(gaps).mean()) < _NEAR:
        return math.inf, 0.0
    return _of_gaps(tile, gaps, _relative_noise(tile, floor))


def _log_error_energy(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    gaps, noise = tile.log_ratio(floor)[tile.sample], _relative_noise(tile, floor)
    added, total = float(np.add.reduce(np.vecdot(noise, noise))), float(np.add.reduce(np.vecdot(gaps, gaps)))
    return added + 2 * _spread(tile) * math.sqrt(added * total / gaps.size), total


def _frame_log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    columns = slice(int(numbers[0]), int(numbers[1])) if numbers else slice(None)
    gaps, noise = tile.log_ratio(floor)[tile.sample, columns], _relative_noise(tile, floor)[:, columns]
    lengths, added = np.sqrt(np.vecdot(gaps, gaps)), np.vecdot(noise, noise)
    bias = float(np.add.reduce(added / (lengths + np.sqrt(added))))
    spread = math.sqrt(float(np.add.reduce(added)) / gaps.shape[-1])
    return bias + _spread(tile) * spread, float(np.add.reduce(lengths))


def _band_noise(tile: Tile, bank: Bank) -> Array:
    """Noise of the bands of the sampled frames, shape ``(2, frames, n_mels)``."""
    return tile.kept(
        ("band noise", bank.mel), lambda: _noise(tile) * _band_gains(bank.mel, tile.settings.n_fft) + _LEAST
    )


def _mel_log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    assert bank is not None
    relative = _band_noise(tile, bank) / tile.bands(bank, floor)[:, tile.sample]
    return _of_gaps(tile, tile.band_log_ratio(bank, floor)[tile.sample], relative[0] + relative[1])


def _mel_absolute_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> tuple[float, float]:
    assert bank is not None
    bands, noise = tile.bands(bank, floor)[:, tile.sample], _band_noise(tile, bank)
    return _of_gaps(tile, bands[1] - bands[0], noise[0] + noise[1])


@lru_cache(maxsize=32)
def _band_gains(mel: Mel, n_fft: int) -> NDArray[np.float32]:
    """Noise of each band over that of a bin."""
    weights = mel_filters(mel.sample_rate_hz, n_fft, mel.n_mels, f_min_hz=mel.f_min_hz, f_max_hz=mel.f_max_hz)
    together = weights.sum(axis=1)
    gains: NDArray[np.float32] = np.minimum(together, 2 * np.sqrt(np.vecdot(weights, weights))).astype("float32")
    return gains


BOUNDS: Mapping[str, Bound] = {
    "reference_energy": _nothing,
    "error_energy": _error_energy,
    "absolute_error": _absolute_error,
    "log_error": _log_error,
    "log_error_energy": _log_error_energy,
    "frame_log_error": _frame_log_error,
    "mel_log_error": _mel_log_error,
    "mel_absolute_error": _mel_absolute_error,
}
"""Bound and sum over the sampled frames, for the quantities that may be taken in single precision."""
