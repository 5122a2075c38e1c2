"""The sums that metrics are formulas of: functions of a tile of a pair of spectrograms, added up over its tiles.

``X`` is the reference's magnitude, ``X̂`` the estimate's, both after the floor; ``M`` and ``M̂`` are mel bands of them.
Every function takes a tile, a floor, a filter bank (``None`` where the request names none) and the request's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics.frontend import hann
from eval.metrics.kernels import Array
from eval.metrics.tiles import Bank, Tile

Numbers = tuple[float, ...]
Quantity = Callable[[Tile, float, Bank | None, Numbers], Any]


def _bank(bank: Bank | None) -> Bank:
    if bank is None:
        raise ValueError("this quantity needs a mel filter bank")
    return bank


def _reference_energy(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    return tile.kernel.total_squares(tile.magnitudes(floor)[1])


def _error_energy(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    return tile.kernel.total_squares(tile.difference(floor))


def _absolute_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    difference = tile.difference(floor)
    return tile.kernel.total(tile.kernel.absolute(difference, tile.scratch(difference)))


def _log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    ratio = tile.log_ratio(floor)
    return tile.kernel.total(tile.kernel.absolute(ratio, tile.scratch(ratio)))


def _log_error_energy(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    return tile.kernel.total_squares(tile.log_ratio(floor))


def _offset_log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    magnitudes = tile.magnitudes(floor) + numbers[0]
    ratio = tile.kernel.divide(magnitudes[1], magnitudes[0], magnitudes[1])
    return tile.kernel.total(tile.kernel.absolute(tile.kernel.log(ratio, ratio), ratio))


def _frame_log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    ratio = tile.log_ratio(floor)
    if numbers:
        ratio = ratio[:, int(numbers[0]) : int(numbers[1])]
    return tile.kernel.total_root_mean_squares(ratio)


def _mel_log_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    ratio = tile.band_log_ratio(_bank(bank), floor)
    return tile.kernel.total(tile.kernel.absolute(ratio, tile.scratch(ratio)))


def _mel_absolute_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    bands = tile.bands(_bank(bank), floor)
    gap = tile.kernel.subtract(bands[1], bands[0], tile.scratch(bands[0]))
    return tile.kernel.total(tile.kernel.absolute(gap, gap))


def _cepstral_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    ratio = tile.band_log_ratio(_bank(bank), floor)
    basis = tile.kernel.constant(cosines(int(ratio.shape[-1]), int(numbers[0])))
    cepstra = tile.kernel.matmul(ratio, basis, tile.kernel.buffer("cepstra", (int(ratio.shape[0]), int(numbers[0]))))
    # The root of the sum, from the root of the mean.
    return math.sqrt(numbers[0]) * tile.kernel.total_root_mean_squares(cepstra)


@lru_cache(maxsize=16)
def cosines(n_mels: int, count: int) -> NDArray[np.float64]:
    """Basis that turns a log spectrum on bands into the terms 1 … ``count`` of its cosine series, read-only.

    Shape ``(n_mels, count)``: with ``c = L @ cosines`` the best approximation of ``L`` by ``count`` cosines without a
    constant is ``Σ_m c_m cos(π m (b + ½) / n_mels)``.
    """
    angles = np.pi / n_mels * np.outer(np.arange(n_mels) + 0.5, np.arange(1, count + 1))
    basis = 2 / n_mels * np.cos(angles)
    basis.setflags(write=False)
    return basis


def _sounding(tile: Tile, threshold_db: float) -> Array:
    """Frames in which the strongest bin of both signals reaches a level under a full-scale sine, 0 or 1."""
    full_scale = float(hann(tile.settings.win_length).sum()) / 2
    peaks = tile.kernel.row_peaks(tile.magnitudes())
    sounding = peaks >= full_scale * 10 ** (threshold_db / 20)
    return sounding[0] * sounding[1]


def _sounding_frames(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    return _sounding(tile, numbers[0]).sum()


def _gap_in_sounding_frames(tile: Tile, values: Array, threshold_db: float) -> Any:
    """Sum of the gaps of a value per frame; what a silent frame holds, even NaN, does not enter."""
    return abs(values[1] - values[0])[_sounding(tile, threshold_db)].sum()


def _centroid_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    magnitudes, kernel = tile.magnitudes(), tile.kernel
    bins = kernel.constant(_bin_numbers(tile.settings.bins))
    weighted = kernel.row_totals(kernel.multiply(magnitudes, bins, tile.scratch(magnitudes)))
    with np.errstate(invalid="ignore"):
        centroids = weighted / kernel.row_totals(magnitudes)
    return _gap_in_sounding_frames(tile, centroids, numbers[0])


@lru_cache(maxsize=16)
def _bin_numbers(bins: int) -> NDArray[np.float64]:
    return np.arange(bins, dtype=np.float64)


def _rolloff_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    magnitudes = tile.magnitudes()
    running = tile.kernel.cumulate(magnitudes, tile.scratch(magnitudes))
    # The first bin up to which the share is reached, as the number of bins before it.
    before = (running < numbers[1] * running[..., -1:]).sum(-1)
    return _gap_in_sounding_frames(tile, before * 1.0, numbers[0])


def _flatness_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    magnitudes, kernel = tile.magnitudes(floor), tile.kernel
    scratch = tile.scratch(magnitudes)
    bins = tile.settings.bins
    mean_log = kernel.row_totals(kernel.log(magnitudes, scratch)) / bins
    mean_power = kernel.row_totals(kernel.multiply(magnitudes, magnitudes, scratch)) / bins
    exponential = np.exp if isinstance(mean_log, np.ndarray) else type(mean_log).exp
    flatness = exponential(2 * mean_log) / mean_power
    return _gap_in_sounding_frames(tile, flatness, numbers[0])


def _fluxes(tile: Tile) -> Array:
    """Euclidean length of the step from each frame to the next, ``(signals, frames)``; 0 before the first frame."""
    if tile.carry.get("fluxes of") is not tile:
        magnitudes, kernel = tile.magnitudes(), tile.kernel
        last = tile.carry.get("last frame")
        steps = tile.scratch(magnitudes)
        kernel.subtract(magnitudes[:, 1:], magnitudes[:, :-1], steps[:, 1:])
        kernel.subtract(magnitudes[:, 0], magnitudes[:, 0] if last is None else last, steps[:, 0])
        tile.carry["last frame"] = magnitudes[:, -1] + 0
        tile.carry["fluxes of"] = tile
        tile.carry["fluxes"] = kernel.row_totals(kernel.multiply(steps, steps, steps)) ** 0.5
    return tile.carry["fluxes"]


def _flux_error(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    fluxes = _fluxes(tile)
    return abs(fluxes[1] - fluxes[0]).sum()


def _reference_flux(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    return _fluxes(tile)[1].sum()


def _mel_steps(tile: Tile, floor: float, bank: Bank | None, numbers: Numbers) -> Any:
    """``Σ|step|`` of the log-mel of one signal, from band to band or from frame to frame."""
    signal, over_time = int(numbers[0]), bool(numbers[1])
    bands = tile.log_bands(_bank(bank), floor)[signal]
    if not over_time:
        return abs(bands[:, 1:] - bands[:, :-1]).sum()
    key = ("last bands", signal, _bank(bank).mel, floor)
    last = tile.carry.get(key)
    tile.carry[key] = bands[-1] + 0
    inside = abs(bands[1:] - bands[:-1]).sum()
    return inside if last is None else inside + abs(bands[0] - last).sum()


QUANTITIES: Mapping[str, Quantity] = {
    "reference_energy": _reference_energy,  # Σ X²
    "error_energy": _error_energy,  # Σ (X − X̂)²
    "absolute_error": _absolute_error,  # Σ |X − X̂|
    "log_error": _log_error,  # Σ |ln X − ln X̂|
    "log_error_energy": _log_error_energy,  # Σ (ln X − ln X̂)²
    "offset_log_error": _offset_log_error,  # Σ |ln (X + a) − ln (X̂ + a)|
    "frame_log_error": _frame_log_error,  # Σ over frames of √(mean over bins, or bins a … b − 1, (ln X − ln X̂)²)
    "mel_log_error": _mel_log_error,  # Σ |ln M − ln M̂|
    "mel_absolute_error": _mel_absolute_error,  # Σ |M − M̂|
    "cepstral_error": _cepstral_error,  # Σ over frames of √(Σ_m (c_m − ĉ_m)²), terms 1 … a of the cosine series of ln M
    "sounding_frames": _sounding_frames,  # number of frames in which both signals reach a dB under a full-scale sine
    "centroid_error": _centroid_error,  # Σ over these of the gap of the centroids, in bins
    "rolloff_error": _rolloff_error,  # Σ over these of the gap of the bins that end the share b of the magnitude
    "flatness_error": _flatness_error,  # Σ over these of the gap of the flatnesses of the power
    "flux_error": _flux_error,  # Σ over steps from frame to frame of the gap of their lengths
    "reference_flux": _reference_flux,  # Σ over steps of the length of the reference's
    "mel_steps": _mel_steps,  # Σ |step| of ln M of signal a (0: estimate), over bands (b = 0) or frames (b = 1)
}
