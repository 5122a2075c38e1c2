"""Magnitude spectrograms of one clip or of a pair, a few frames at a time.

A tile is small enough to stay in the cache and forms each intermediate (floored magnitudes, their difference, the
logarithm of their ratio, mel bands) once, however many metrics ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Mel, Stft, hann, mel_filters
from eval.metrics.kernels import Array, Kernel, kernel_for


class Tile:
    """A few frames of the magnitude spectrograms of some signals, and what is derived from them.

    Arrays have shape ``(signals, frames, bins)``; of a pair the estimate comes first.

    Attributes:
        kernel: Operations for the device.
        settings: The transform.
        single: Whether the arrays are float32.
        frames: How many there are.
        sample: A few frames, evenly spread and a window apart or more.
        carry: Whatever a quantity keeps from one tile of a clip to the next.
    """

    def __init__(
        self,
        kernel: Kernel,
        settings: Stft,
        magnitudes: Array,
        *,
        single: bool,
        sample: slice,
        carry: dict[Any, Any],
        floor: float = 0.0,
    ) -> None:
        self.kernel = kernel
        self.settings = settings
        self.single = single
        self.sample = sample
        self.carry = carry
        self.frames = int(magnitudes.shape[1])
        self._magnitudes = magnitudes
        self._floor = floor
        self._memo: dict[Any, Array] = {}

    def magnitudes(self, floor: float = 0.0) -> Array:
        """Magnitudes, those below ``floor`` raised to it."""
        if floor == self._floor:
            return self._magnitudes
        key = ("floored", floor)
        if key not in self._memo:
            out = self.kernel.like(f"floored {floor}", self._magnitudes)
            self._memo[key] = self.kernel.at_least(self._magnitudes, floor, out)
        return self._memo[key]

    def difference(self, floor: float) -> Array:
        """Magnitude of the reference less that of the estimate, ``(frames, bins)``."""
        key = ("difference", floor)
        if key not in self._memo:
            pair = self.magnitudes(floor)
            self._memo[key] = self.kernel.subtract(pair[1], pair[0], self.kernel.like(f"difference {floor}", pair[0]))
        return self._memo[key]

    def log_ratio(self, floor: float) -> Array:
        """Natural logarithm of the reference's magnitude over the estimate's, ``(frames, bins)``."""
        key = ("log ratio", floor)
        if key not in self._memo:
            self._memo[key] = self._log_ratio(self.magnitudes(floor), f"log ratio {floor}")
        return self._memo[key]

    def bands(self, bank: Bank, floor: float = 0.0) -> Array:
        """Mel bands of the magnitudes, those below ``floor`` raised to it, ``(signals, frames, n_mels)``."""
        key = ("bands", bank.mel, floor)
        if key in self._memo:
            return self._memo[key]
        signals, frames, _ = self._magnitudes.shape
        shape = (signals, frames, bank.mel.n_mels)
        out = self.kernel.buffer(f"bands {bank.mel.n_mels} {floor}", shape, single=self.single)
        if floor:
            self._memo[key] = self.kernel.at_least(self.bands(bank), floor, out)
            return out
        for rows, columns, weights in bank.blocks:
            factor = self.kernel.constant(weights, single=self.single)
            self.kernel.matmul(self._magnitudes[:, :, columns], factor, out[:, :, rows])
        self._memo[key] = out
        return out

    def band_log_ratio(self, bank: Bank, floor: float) -> Array:
        """Natural logarithm of the reference's mel bands over the estimate's, ``(frames, n_mels)``."""
        key = ("band log ratio", bank.mel, floor)
        if key not in self._memo:
            name = f"band log ratio {bank.mel.n_mels} {floor}"
            self._memo[key] = self._log_ratio(self.bands(bank, floor), name)
        return self._memo[key]

    def log_bands(self, bank: Bank, floor: float) -> Array:
        """Natural logarithm of the mel bands after the floor, ``(signals, frames, n_mels)``."""
        key = ("log bands", bank.mel, floor)
        if key not in self._memo:
            bands = self.bands(bank, floor)
            self._memo[key] = self.kernel.log(bands, self.kernel.like(f"log bands {bank.mel.n_mels} {floor}", bands))
        return self._memo[key]

    def kept(self, key: Any, make: Callable[[], Array]) -> Array:
        """A value that is made once for this tile."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def scratch(self, like: Array) -> Array:
        """Space for a value that is used at once."""
        return self.kernel.like("scratch", like)

    def _log_ratio(self, pair: Array, name: str) -> Array:
        out = self.kernel.like(name, pair[0])
        return self.kernel.log(self.kernel.divide(pair[1], pair[0], out), out)


class Bank:
    """Mel filters cut into blocks of neighbouring bands, each with the few bins it reaches.

    Attributes:
        mel: The filters.
        blocks: Bands, bins and weights, shape ``(bins, bands)``, of each block.
    """

    def __init__(self, mel: Mel, settings: Stft) -> None:
        self.mel = mel
        self.blocks = _mel_blocks(mel, settings.n_fft)


# Narrow enough to leave out most zeros of the filters, wide enough to hide the cost of a product.
_BLOCK_WEIGHTS = 2048


@lru_cache(maxsize=64)
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


# Frames to look at for an estimate over a tile.
_SAMPLED_FRAMES = 16


class Clips:
    """Signals of one length, in the precisions that are asked for.

    Args:
        kernel: Operations for the device.
        signals: Each of shape ``(time,)``, float64 or float32.
    """

    def __init__(self, kernel: Kernel, signals: Sequence[Array]) -> None:
        self.samples = int(signals[0].shape[0])
        self.count = len(signals)
        self._kernel, self._signals = kernel, signals
        self._made: dict[bool, list[Array]] = {}

    def arrays(self, *, single: bool) -> list[Array]:
        """The signals in float64, or with ``single`` in float32."""
        if single not in self._made:
            name = "narrow" if single else "wide"
            self._made[single] = [
                self._kernel.converted(f"{name} {row}", signal, single=single)
                for row, signal in enumerate(self._signals)
            ]
        return self._made[single]


class Spectrogram:
    """Magnitude spectrograms of some signals, to be asked for tile by tile.

    Args:
        kernel: Operations for the device.
        clips: The signals.
        settings: The transform.

    Attributes:
        spans: First frame of each tile and the frame after its last.

    Raises:
        ValueError: If the clips are shorter than the transform.
    """

    def __init__(self, kernel: Kernel, clips: Clips, settings: Stft) -> None:
        settings.check(clips.samples)
        self._kernel, self._clips, self._settings = kernel, clips, settings
        frames = settings.frames(clips.samples)
        size = kernel.tile_frames(settings.n_fft, frames, single=settings.precision != "float64")
        self.spans = [(first, min(frames, first + size)) for first in range(0, frames, size)]
        self._carry: dict[Any, Any] = {}
        self._stretches: dict[bool, list[tuple[int, int, list[Array]]]] = {}

    def tile(self, first: int, last: int, *, single: bool, floor: float = 0.0) -> Tile:
        """The frames from ``first`` to ``last − 1``; valid until the next tile is asked for.

        Args:
            first: First frame.
            last: The frame after the last.
            single: Whether to work in float32.
            floor: The one floor under which the magnitudes will be asked for.
        """
        kernel, settings = self._kernel, self._settings
        if single not in self._stretches:
            self._stretches[single] = list(_stretches(kernel, self._clips.arrays(single=single), settings))
        count, length = last - first, settings.win_length
        # Scratch space starts as zeros, and under this name only the part under the window is ever written. Where the
        # window stands in the frame changes phases only; at its start, rows are aligned.
        name = f"frames {settings.n_fft} {length} {self._clips.count}"
        framed = kernel.buffer(name, (self._clips.count, count, settings.n_fft), single=single)
        window = kernel.constant(hann(length), single=single)
        for begin, end, parts in self._stretches[single]:
            low, high = max(first, begin), min(last, end)
            if low < high:
                for row, part in zip(framed, parts, strict=True):
                    kernel.multiply(part[low - begin : high - begin], window, row[low - first : high - first, :length])
        shape = (self._clips.count, count, settings.bins)
        spectrum = kernel.rfft(framed, kernel.buffer("spectrum", shape, complex_values=True, single=single))
        magnitudes = kernel.magnitude(spectrum, kernel.buffer("magnitudes", shape, single=single))
        if floor:
            magnitudes = kernel.at_least(magnitudes, floor, magnitudes)
        sample = slice(None, None, max(1, length // settings.hop_length, count // _SAMPLED_FRAMES))
        return Tile(kernel, settings, magnitudes, single=single, sample=sample, carry=self._carry, floor=floor)


def tiles(kernel: Kernel, signals: Sequence[Array], settings: Stft) -> Iterator[Tile]:
    """All frames of some signals of one length, in order; a tile is valid until the next one is asked for.

    Args:
        kernel: Operations for the device.
        signals: Each of shape ``(time,)``, float64 or float32.
        settings: The transform; in float64 unless its precision is ``"float32"``.

    Raises:
        ValueError: If the clip is shorter than the transform.
    """
    spectrogram = Spectrogram(kernel, Clips(kernel, signals), settings)
    for first, last in spectrogram.spans:
        yield spectrogram.tile(first, last, single=settings.precision == "float32")


def _stretches(kernel: Kernel, signals: Sequence[Array], settings: Stft) -> Iterator[tuple[int, int, list[Array]]]:
    """Frames whose window reaches over the start of the clip, those inside, those over its end, with their segments.

    Only the edges are copied and padded, the rest is a view.
    """
    samples, hop, length = int(signals[0].shape[0]), settings.hop_length, settings.win_length
    before = settings.n_fft // 2 - settings.offset_samples
    frames = settings.frames(samples)
    inner = -(-before // hop)
    outer = min(frames, (samples - length + before) // hop + 1)
    if outer <= inner:
        inner = outer = frames
    for first, last in ((0, inner), (inner, outer), (outer, frames)):
        if first == last:
            continue
        begin, end = first * hop - before, (last - 1) * hop - before + length
        if begin >= 0 and end <= samples:
            parts = [signal[begin:end] for signal in signals]
        else:
            parts = [_padded(signal, begin, end, settings.pad_mode) for signal in signals]
        yield first, last, [kernel.segments(part, length, hop) for part in parts]


def _padded(signal: Array, begin: int, end: int, pad_mode: str) -> Array:
    """Samples ``begin … end − 1`` of a signal that is reflected or zero outside."""
    samples = int(signal.shape[0])
    places = np.arange(begin, end)
    mirrored = np.where(places < samples, np.abs(places), 2 * (samples - 1) - places)
    outside = (places < 0) | (places >= samples)
    if isinstance(signal, Tensor):
        part = signal[torch.from_numpy(mirrored).to(signal.device)]
        if pad_mode == "constant":
            part[torch.from_numpy(outside).to(signal.device)] = 0
        return part
    taken = signal[mirrored]
    if pad_mode == "constant":
        taken[outside] = 0
    return taken


def magnitude_tiles(estimate: Tensor, reference: Tensor, settings: Stft) -> Iterator[tuple[Tensor, Tensor]]:
    """Magnitude spectrograms of a pair of clips, ``(frames, bins)`` each, a few frames at a time.

    Args:
        estimate: Shape ``(time,)``, float64, contiguous, on the CPU or a CUDA device.
        reference: The same.
        settings: The transform.

    Raises:
        ValueError: If the clip is shorter than the transform.
    """
    kernel = kernel_for(reference.device)
    for tile in tiles(kernel, [kernel.from_tensor(estimate), kernel.from_tensor(reference)], settings):
        made, wanted = torch.as_tensor(tile.magnitudes())
        yield made, wanted


def log_mel_frames(waveform: Tensor, settings: Stft, mel: Mel, floor: float) -> Tensor:
    """Natural logarithm of the mel bands of the magnitude of one clip, floored.

    Args:
        waveform: Shape ``(time,)``, float64, contiguous, on the CPU or a CUDA device.
        settings: The transform.
        mel: The filters.
        floor: Smallest band magnitude told apart from zero.

    Returns:
        Shape ``(frames, n_mels)``, float64, on the device of the waveform.
    """
    kernel = kernel_for(waveform.device)
    bank = Bank(mel, settings)
    parts = [
        tile.log_bands(bank, floor)[0].copy() if not waveform.is_cuda else tile.log_bands(bank, floor)[0]
        for tile in tiles(kernel, [kernel.from_tensor(waveform)], settings)
    ]
    return torch.cat(parts) if waveform.is_cuda else torch.from_numpy(np.concatenate(parts))
