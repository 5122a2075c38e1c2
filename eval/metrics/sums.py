"""Sums over the bins of a pair of spectrograms, taken tile by tile.

Every spectral metric of the table is a formula over a few of these sums. Stated so, metrics that look at the same
transform share it: :func:`spectral_sums` transforms each clip once per setting, works on tiles of frames that stay in
the cache, and forms each intermediate (floored magnitudes, their difference, the logarithm of their ratio, mel bands)
once per tile however many metrics ask for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Mel, Stft, hann, mel_filters
from eval.metrics.kernels import Array, Kernel, kernel_for


@dataclass(frozen=True)
class Request:
    """One sum over a pair of magnitude spectrograms.

    Attributes:
        stft: The transform.
        quantity: Key of :data:`QUANTITIES`.
        floor: Magnitudes (or mel bands) below are raised to it first.
        mel: Filter bank, for the quantities over mel bands.
    """

    stft: Stft
    quantity: str
    floor: float = 0.0
    mel: Mel | None = None


class Plan(NamedTuple):
    """A metric as sums and a formula.

    Attributes:
        requests: The sums it needs.
        combine: From these sums, as scalar tensors in the order of ``requests``, and the number of samples of the clip
            to the value.
    """

    requests: tuple[Request, ...]
    combine: Callable[[Sequence[Tensor], int], Tensor]


class _Tile:
    """A few frames of both magnitude spectrograms, and what is derived from them.

    Pairs have shape ``(2, frames, bins)``, the estimate first.
    """

    def __init__(self, kernel: Kernel, magnitudes: Array) -> None:
        self.kernel = kernel
        self._magnitudes = magnitudes
        self._memo: dict[tuple[str, float], Array] = {}

    def magnitudes(self, floor: float) -> Array:
        if not floor:
            return self._magnitudes
        if ("floored", floor) not in self._memo:
            out = self._like(f"floored {floor}", self._magnitudes)
            self._memo["floored", floor] = self.kernel.at_least(self._magnitudes, floor, out)
        return self._memo["floored", floor]

    def difference(self, floor: float) -> Array:
        if ("difference", floor) not in self._memo:
            pair = self.magnitudes(floor)
            out = self._like(f"difference {floor}", pair[0])
            self._memo["difference", floor] = self.kernel.subtract(pair[1], pair[0], out)
        return self._memo["difference", floor]

    def log_ratio(self, floor: float) -> Array:
        if ("log ratio", floor) not in self._memo:
            self._memo["log ratio", floor] = self._log_ratio(self.magnitudes(floor), f"log ratio {floor}")
        return self._memo["log ratio", floor]

    def mel_log_ratio(self, bank: _Bank, floor: float) -> Array:
        _, frames, bins = self._magnitudes.shape
        values = self._magnitudes.reshape(2 * frames, bins)
        bands = self.kernel.buffer("mel", (2 * frames, bank.n_mels))
        for rows, columns, weights in bank.blocks:
            product = self.kernel.buffer("mel block", (2 * frames, rows.stop - rows.start))
            bands[:, rows] = self.kernel.matmul(values[:, columns], weights, product)
        bands = self.kernel.at_least(bands, floor, bands)
        return self._log_ratio(bands.reshape(2, frames, bank.n_mels), "mel log ratio")

    def scratch(self, like: Array) -> Array:
        """Space for a value that is used at once."""
        return self._like("scratch", like)

    def _log_ratio(self, pair: Array, name: str) -> Array:
        out = self._like(name, pair[0])
        return self.kernel.log(self.kernel.divide(pair[1], pair[0], out), out)

    def _like(self, name: str, values: Array) -> Array:
        return self.kernel.buffer(name, tuple(values.shape))


class _Bank:
    """Mel filters cut into blocks of neighbouring bands, each with the few bins it reaches."""

    def __init__(self, kernel: Kernel, mel: Mel, stft: Stft) -> None:
        self.n_mels = mel.n_mels
        self.blocks = [
            (rows, columns, kernel.constant(weights)) for rows, columns, weights in _mel_blocks(mel, stft.n_fft)
        ]


# Products of this size and a tile's frames are too small for BLAS libraries to start threads for.
_BLOCK_WEIGHTS = 8192


@lru_cache(maxsize=32)
def _mel_blocks(mel: Mel, n_fft: int) -> tuple[tuple[slice, slice, NDArray[np.float64]], ...]:
    weights = mel_filters(mel.sample_rate_hz, n_fft, mel.n_mels, f_min_hz=mel.f_min_hz, f_max_hz=mel.f_max_hz)
    blocks: list[tuple[slice, slice]] = []
    for band in range(mel.n_mels):
        if blocks:
            rows = slice(blocks[-1][0].start, band + 1)
            columns = _reached(weights[rows])
            if (rows.stop - rows.start) * (columns.stop - columns.start) <= _BLOCK_WEIGHTS:
                blocks[-1] = (rows, columns)
                continue
        rows = slice(band, band + 1)
        blocks.append((rows, _reached(weights[rows])))
    return tuple((rows, columns, np.ascontiguousarray(weights[rows, columns].T)) for rows, columns in blocks)


def _reached(weights: NDArray[np.float64]) -> slice:
    bins = np.flatnonzero(weights.any(axis=0))
    return slice(int(bins[0]), int(bins[-1]) + 1) if bins.size else slice(0, 1)


def _reference_energy(tile: _Tile, request: Request, bank: _Bank | None) -> Any:
    return tile.kernel.total_squares(tile.magnitudes(request.floor)[1])


def _error_energy(tile: _Tile, request: Request, bank: _Bank | None) -> Any:
    return tile.kernel.total_squares(tile.difference(request.floor))


def _absolute_error(tile: _Tile, request: Request, bank: _Bank | None) -> Any:
    difference = tile.difference(request.floor)
    return tile.kernel.total(tile.kernel.absolute(difference, tile.scratch(difference)))


def _log_error(tile: _Tile, request: Request, bank: _Bank | None) -> Any:
    ratio = tile.log_ratio(request.floor)
    return tile.kernel.total(tile.kernel.absolute(ratio, tile.scratch(ratio)))


def _frame_log_error(tile: _Tile, request: Request, bank: _Bank | None) -> Any:
    return tile.kernel.total_root_mean_squares(tile.log_ratio(request.floor))


def _mel_log_error(tile: _Tile, request: Request, bank: _Bank | None) -> Any:
    if bank is None:
        raise ValueError(f"the quantity {request.quantity!r} needs a mel filter bank")
    ratio = tile.mel_log_ratio(bank, request.floor)
    return tile.kernel.total(tile.kernel.absolute(ratio, ratio))


# X is the reference's magnitude, X̂ the estimate's, both after the floor.
QUANTITIES: Mapping[str, Callable[[_Tile, Request, _Bank | None], Any]] = {
    "reference_energy": _reference_energy,  # Σ X²
    "error_energy": _error_energy,  # Σ (X − X̂)²
    "absolute_error": _absolute_error,  # Σ |X − X̂|
    "log_error": _log_error,  # Σ |ln X − ln X̂|
    "frame_log_error": _frame_log_error,  # Σ over frames of √(mean over bins (ln X − ln X̂)²)
    "mel_log_error": _mel_log_error,  # Σ |ln M − ln M̂| over mel bands M
}


def spectral_sums(
    estimate: Tensor, reference: Tensor, requests: Sequence[Request]
) -> tuple[dict[Request, Tensor], dict[Stft, float]]:
    """Take all requested sums over one pair of clips.

    Args:
        estimate: Float64, shape ``(time,)``, contiguous, on the CPU or a CUDA device.
        reference: The same.
        requests: What to sum; a request that occurs twice is summed once.

    Returns:
        The sums as float64 scalars, and the seconds spent per transform setting (on a CUDA device, the seconds until
        its work was queued).

    Raises:
        ValueError: If the clip is shorter than a transform.
    """
    kernel = kernel_for(reference.device)
    pair = (kernel.from_tensor(estimate), kernel.from_tensor(reference))
    sums: dict[Request, Tensor] = {}
    seconds: dict[Stft, float] = {}
    for settings in dict.fromkeys(request.stft for request in requests):
        started = time.perf_counter()
        wanted = [request for request in dict.fromkeys(requests) if request.stft == settings]
        banks = {mel: _Bank(kernel, mel, settings) for mel in {r.mel for r in wanted if r.mel is not None}}
        totals: list[Any] = [0.0] * len(wanted)
        for tile in _tiles(kernel, pair, settings):
            for index, request in enumerate(wanted):
                bank = None if request.mel is None else banks[request.mel]
                totals[index] = totals[index] + QUANTITIES[request.quantity](tile, request, bank)
        sums.update(zip(wanted, kernel.to_tensor(totals), strict=True))
        seconds[settings] = time.perf_counter() - started
    return sums, seconds


def _tiles(kernel: Kernel, pair: tuple[Array, Array], settings: Stft) -> Iterator[_Tile]:
    samples = int(pair[0].shape[0])
    settings.check(samples)
    padded = _padded(kernel, pair, settings)
    start = settings.offset_samples
    window = kernel.constant(hann(settings.win_length))
    frames = settings.frames(samples)
    size = kernel.tile_frames(settings.n_fft, frames)
    # Scratch space starts as zeros, and under this name only the inside of the window is ever written.
    name = f"frames {settings.n_fft} {settings.win_length}"
    for first in range(0, frames, size):
        count = min(size, frames - first)
        framed = kernel.buffer(name, (2, count, settings.n_fft))
        inside = framed[:, :, start : start + settings.win_length]
        kernel.window(padded[:, start:], window, settings.hop_length, first, inside)
        spectrum = kernel.buffer("spectrum", (2, count, settings.bins), complex_values=True)
        magnitudes = kernel.buffer("magnitudes", (2, count, settings.bins))
        yield _Tile(kernel, kernel.magnitude(kernel.rfft(framed, spectrum), magnitudes))


def _padded(kernel: Kernel, pair: tuple[Array, Array], settings: Stft) -> Array:
    half = settings.n_fft // 2
    samples = int(pair[0].shape[0])
    padded = kernel.buffer("padded", (2, samples + settings.n_fft))
    for row, signal in zip(padded, pair, strict=True):
        row[half : half + samples] = signal
        if settings.pad_mode == "constant":
            row[:half] = 0
            row[half + samples :] = 0
        else:
            row[:half] = _reversed(signal[1 : half + 1])
            row[half + samples :] = _reversed(signal[samples - 1 - half : samples - 1])
    return padded


def _reversed(values: Array) -> Array:
    return torch.flip(values, (0,)) if isinstance(values, Tensor) else values[::-1]
