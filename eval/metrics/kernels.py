"""The few array operations of the spectral metrics, for NumPy and for torch on a CUDA device.

On the CPU NumPy's complex magnitude and logarithm are several times faster than torch's, with ``out=`` nothing is
allocated inside the loop over tiles, and no operation in double precision starts threads of its own: clips are small,
and threads that wait for each other cost more than they save as soon as the cores have other work. Both classes have
the same methods, so the metrics are written once.

Arrays are float64, or float32 where a front end asks for single precision; sums are passed on in float64.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = Any  # numpy.ndarray on the CPU, torch.Tensor on a CUDA device


_DTYPES = {
    (False, False): torch.float64,
    (True, False): torch.complex128,
    (False, True): torch.float32,
    (True, True): torch.complex64,
}


# Length of the rows in which long sums are taken.
_ROW = 1024


class Kernel(Protocol):
    """Operations that write into ``out`` and return it.

    Attributes:
        estimates_rounding: Whether its arrays are NumPy's, on which :mod:`eval.metrics.rounding` works.
    """

    estimates_rounding: bool

    def tile_frames(self, n_fft: int, frames: int, *, single: bool = False) -> int:
        """Number of frames of each signal of a pair to work on at once."""

    def from_tensor(self, row: Tensor) -> Array:
        """The clip as an array of this kind."""

    def constant(self, values: NDArray[np.float64], *, single: bool = False) -> Array:
        """A constant as an array of this kind."""

    def buffer(self, name: str, shape: tuple[int, ...], *, complex_values: bool = False, single: bool = False) -> Array:
        """Scratch space under a name, float64 or complex128, with ``single`` half as wide; its content is undefined."""

    def like(self, name: str, values: Array) -> Array:
        """Scratch space of the shape and type of a real array."""

    def converted(self, name: str, signal: Array, *, single: bool) -> Array:
        """The signal in float64, or with ``single`` in float32; itself where it is, else in scratch space."""

    def segments(self, signal: Array, length: int, hop_length: int) -> Array:
        """View of all segments of ``length`` samples, ``hop_length`` apart, shape ``(segments, length)``."""

    def pieces(self, signals: Sequence[Array]) -> Iterator[list[Array]]:
        """Signals of one length in float64, piece by piece; a piece is valid until the next one is asked for."""

    def multiply(self, a: Array, b: Array, out: Array) -> Array:
        """Product."""

    def rfft(self, frames: Array, out: Array) -> Array:
        """Real FFT over the last axis."""

    def magnitude(self, spectrum: Array, out: Array) -> Array:
        """Absolute value of a complex array."""

    def subtract(self, a: Array, b: Array, out: Array) -> Array:
        """Difference."""

    def divide(self, a: Array, b: Array, out: Array) -> Array:
        """Quotient."""

    def at_least(self, a: Array, floor: float, out: Array) -> Array:
        """Elementwise maximum with a number."""

    def log(self, a: Array, out: Array) -> Array:
        """Natural logarithm."""

    def absolute(self, a: Array, out: Array) -> Array:
        """Absolute value of a real array."""

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """Matrix product; of several matrices and one, each by itself."""

    def cumulate(self, a: Array, out: Array) -> Array:
        """Running sum over the last axis."""

    def row_totals(self, a: Array) -> Array:
        """Sum over the last axis."""

    def row_peaks(self, a: Array) -> Array:
        """Largest element over the last axis."""

    def total(self, a: Array) -> Any:
        """Sum of all elements."""

    def dot(self, a: Array, b: Array) -> Any:
        """Sum of the products of all elements of two arrays of one axis."""

    def total_squares(self, a: Array) -> Any:
        """Sum of the squares of all elements."""

    def total_root_mean_squares(self, a: Array) -> Any:
        """Sum over rows of the root mean square of the row."""

    def to_tensor(self, sums: list[Any]) -> Tensor:
        """Accumulated sums as a float64 tensor of shape ``(len(sums),)``."""


class _NumpyKernel:
    """Operations on NumPy arrays with scratch space that is kept between calls; one per thread."""

    # Large enough to hide the cost of a call, and of the tables that every call of the transform makes anew; small
    # enough for frames and spectra to stay in the cache.
    _TILE_BYTES = 1 << 20
    _PIECE = 1 << 15

    estimates_rounding = True

    def __init__(self) -> None:
        self._space: dict[tuple[str, torch.dtype], Array] = {}
        self._views: dict[tuple[str, tuple[int, ...], torch.dtype], Array] = {}
        self._constants: dict[tuple[int, bool], tuple[Array, Array]] = {}
        self._ones = (np.ones(_ROW), np.ones(_ROW, dtype=np.float32))

    def tile_frames(self, n_fft: int, frames: int, *, single: bool = False) -> int:
        most = max(1, self._TILE_BYTES // ((4 if single else 8) * 2 * n_fft))
        # Tiles of one size, so that none is a small rest.
        return -(-frames // -(-frames // most))

    def from_tensor(self, row: Tensor) -> Array:
        return row.numpy()

    def constant(self, values: NDArray[np.float64], *, single: bool = False) -> Array:
        key = (id(values), single)
        kept, copy = self._constants.get(key, (None, None))
        if kept is not values:
            if len(self._constants) > 400:
                self._constants.clear()
            # Torch takes arrays that may be written to only.
            copy = values.astype(np.float32 if single else np.float64)
            self._constants[key] = (values, copy)
        return copy

    def buffer(self, name: str, shape: tuple[int, ...], *, complex_values: bool = False, single: bool = False) -> Array:
        dtype = _DTYPES[complex_values, single]
        key = (name, shape, dtype)
        view = self._views.get(key)
        if view is None:
            size = math.prod(shape)
            space = self._space.get((name, dtype))
            if space is None or space.size < size:
                # torch aligns to 64 bytes, which keeps vector code on the same path for every buffer.
                space = self._space[name, dtype] = torch.zeros(size, dtype=dtype).numpy()
                self._views = {k: v for k, v in self._views.items() if (k[0], k[2]) != (name, dtype)}
            elif len(self._views) > 1000:
                self._views.clear()
            view = self._views[key] = space[:size].reshape(shape)
        return view

    def like(self, name: str, values: Array) -> Array:
        return self.buffer(name, values.shape, single=values.dtype == np.float32)

    def converted(self, name: str, signal: Array, *, single: bool) -> Array:
        if signal.dtype == (np.float32 if single else np.float64):
            return signal
        out = self.buffer(name, signal.shape, single=single)
        out[:] = signal
        return out

    def segments(self, signal: Array, length: int, hop_length: int) -> Array:
        count = 1 + (signal.size - length) // hop_length
        (stride,) = signal.strides
        return np.ndarray((count, length), signal.dtype, signal, 0, (hop_length * stride, stride))

    def pieces(self, signals: Sequence[Array]) -> Iterator[list[Array]]:
        for first in range(0, signals[0].size, self._PIECE):
            parts = [signal[first : first + self._PIECE] for signal in signals]
            yield [self.converted(f"piece {row}", part, single=False) for row, part in enumerate(parts)]

    def multiply(self, a: Array, b: Array, out: Array) -> Array:
        # Torch is up to three times as fast on rows of overlapping segments.
        torch.mul(
            torch.from_numpy(a), torch.from_numpy(b) if isinstance(b, np.ndarray) else b, out=torch.from_numpy(out)
        )
        return out

    def rfft(self, frames: Array, out: Array) -> Array:
        # Twice as fast as NumPy's, in single precision three times; a row's result does not depend on where it stands.
        torch.fft.rfft(torch.from_numpy(frames), out=torch.from_numpy(out))
        return out

    def magnitude(self, spectrum: Array, out: Array) -> Array:
        return np.abs(spectrum, out=out)

    def subtract(self, a: Array, b: Array, out: Array) -> Array:
        return np.subtract(a, b, out=out)

    def divide(self, a: Array, b: Array, out: Array) -> Array:
        return np.divide(a, b, out=out)

    def at_least(self, a: Array, floor: float, out: Array) -> Array:
        torch.clamp(torch.from_numpy(a), min=floor, out=torch.from_numpy(out))
        return out

    def log(self, a: Array, out: Array) -> Array:
        if a.dtype == np.float64:
            return np.log(a, out=out)
        torch.log(torch.from_numpy(a), out=torch.from_numpy(out))
        return out

    def absolute(self, a: Array, out: Array) -> Array:
        return np.abs(a, out=out)

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        if a.ndim == b.ndim:
            return np.matmul(a, b, out=out)
        factor = torch.from_numpy(b)
        # A product each: one for all would round equal rows differently, by where they stand in it.
        for left, product in zip(a, out, strict=True):
            torch.mm(torch.from_numpy(left), factor, out=torch.from_numpy(product))
        return out

    def cumulate(self, a: Array, out: Array) -> Array:
        return np.cumsum(a, axis=-1, out=out)

    def row_totals(self, a: Array) -> Array:
        return np.add.reduce(a, axis=-1)

    def row_peaks(self, a: Array) -> Array:
        return np.maximum.reduce(a, axis=-1)

    def total(self, a: Array) -> Any:
        if not a.flags.c_contiguous:
            return np.add.reduce(a, axis=None, dtype=np.float64)
        # A product with ones is vectorised better than a sum.
        flat = a.reshape(-1)
        whole = flat.size // _ROW * _ROW
        ones = self._ones[a.dtype == np.float32]
        rest = np.add.reduce(flat[whole:], dtype=np.float64)
        return rest + np.add.reduce(np.vecdot(flat[:whole].reshape(-1, _ROW), ones), dtype=np.float64)

    def dot(self, a: Array, b: Array) -> Any:
        # In rows: of a long signal BLAS would give a part to each thread and add up in another order.
        whole = a.size // _ROW * _ROW
        rest = np.vecdot(a[whole:], b[whole:])
        return rest + np.add.reduce(np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW)))

    def total_squares(self, a: Array) -> Any:
        return np.add.reduce(np.vecdot(a, a), axis=None)

    def total_root_mean_squares(self, a: Array) -> Any:
        return np.add.reduce(np.sqrt(np.vecdot(a, a) / a.shape[-1]), axis=None)

    def to_tensor(self, sums: list[Any]) -> Tensor:
        return torch.tensor([float(value) for value in sums], dtype=torch.float64)


class _CudaKernel:
    """Operations on torch tensors of one CUDA device, whose caching allocator already reuses memory."""

    estimates_rounding = False
    _TILE_SAMPLES = 1 << 24

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def tile_frames(self, n_fft: int, frames: int, *, single: bool = False) -> int:
        return min(frames, max(1, self._TILE_SAMPLES // (2 * n_fft)))

    def from_tensor(self, row: Tensor) -> Array:
        return row

    def constant(self, values: NDArray[np.float64], *, single: bool = False) -> Array:
        return torch.from_numpy(values.copy()).to(self._device, torch.float32 if single else torch.float64)

    def buffer(self, name: str, shape: tuple[int, ...], *, complex_values: bool = False, single: bool = False) -> Array:
        return torch.zeros(shape, dtype=_DTYPES[complex_values, single], device=self._device)

    def like(self, name: str, values: Array) -> Array:
        return torch.zeros_like(values)

    def converted(self, name: str, signal: Array, *, single: bool) -> Array:
        return signal.to(torch.float32 if single else torch.float64)

    def segments(self, signal: Array, length: int, hop_length: int) -> Array:
        return signal.unfold(0, length, hop_length)

    def pieces(self, signals: Sequence[Array]) -> Iterator[list[Array]]:
        yield [signal.to(torch.float64) for signal in signals]

    def multiply(self, a: Array, b: Array, out: Array) -> Array:
        return torch.mul(a, b, out=out)

    def rfft(self, frames: Array, out: Array) -> Array:
        return torch.fft.rfft(frames, out=out)

    def magnitude(self, spectrum: Array, out: Array) -> Array:
        return torch.abs(spectrum, out=out)

    def subtract(self, a: Array, b: Array, out: Array) -> Array:
        return torch.sub(a, b, out=out)

    def divide(self, a: Array, b: Array, out: Array) -> Array:
        return torch.div(a, b, out=out)

    def at_least(self, a: Array, floor: float, out: Array) -> Array:
        return torch.clamp(a, min=floor, out=out)

    def log(self, a: Array, out: Array) -> Array:
        return torch.log(a, out=out)

    def absolute(self, a: Array, out: Array) -> Array:
        return torch.abs(a, out=out)

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        return torch.matmul(a, b, out=out) if a.ndim == b.ndim else torch.bmm(a, b.expand(len(a), *b.shape), out=out)

    def cumulate(self, a: Array, out: Array) -> Array:
        return torch.cumsum(a, -1, out=out)

    def row_totals(self, a: Array) -> Array:
        return a.sum(-1)

    def row_peaks(self, a: Array) -> Array:
        return a.amax(-1)

    def total(self, a: Array) -> Any:
        return a.sum()

    def dot(self, a: Array, b: Array) -> Any:
        return (a * b).sum()

    def total_squares(self, a: Array) -> Any:
        return a.square().sum()

    def total_root_mean_squares(self, a: Array) -> Any:
        return a.square().mean(dim=-1).sqrt().sum()

    def to_tensor(self, sums: list[Any]) -> Tensor:
        return torch.stack([torch.as_tensor(value, dtype=torch.float64, device=self._device) for value in sums])


_local = threading.local()


def kernel_for(device: torch.device) -> Kernel:
    """The operations for a device; scratch space belongs to the calling thread."""
    if device.type == "cuda":
        return _CudaKernel(device)
    held: _NumpyKernel | None = getattr(_local, "kernel", None)
    if held is None:
        held = _local.kernel = _NumpyKernel()
    return held
