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


class Kernel(Protocol):
    """Operations that write into ``out`` and return it."""

    def tile_frames(self, n_fft: int, frames: int) -> int:
        """Number of frames of each signal to work on at once."""

    def from_tensor(self, row: Tensor) -> Array:
        """The clip as an array of this kind."""

    def constant(self, values: NDArray[np.float64], *, single: bool = False) -> Array:
        """A constant as an array of this kind."""

    def buffer(self, name: str, shape: tuple[int, ...], *, complex_values: bool = False, single: bool = False) -> Array:
        """Scratch space under a name, float64 or complex128, with ``single`` half as wide; its content is undefined."""

    def like(self, name: str, values: Array) -> Array:
        """Scratch space of the shape and type of a real array."""

    def segments(self, signal: Array, length: int, hop_length: int) -> Array:
        """View of all segments of ``length`` samples, ``hop_length`` apart, shape ``(segments, length)``."""

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

    # Large enough to hide the cost of a call, small enough for frames and spectra to stay in the cache.
    _TILE_SAMPLES = 65_536

    def __init__(self) -> None:
        self._space: dict[tuple[str, torch.dtype], Array] = {}
        self._views: dict[tuple[str, tuple[int, ...], torch.dtype], Array] = {}
        self._floors: dict[tuple[float, tuple[int, ...], Any], Array] = {}
        self._constants: dict[int, tuple[Array, Array]] = {}

    def tile_frames(self, n_fft: int, frames: int) -> int:
        return min(frames, max(1, self._TILE_SAMPLES // (2 * n_fft)))

    def from_tensor(self, row: Tensor) -> Array:
        return row.numpy()

    def constant(self, values: NDArray[np.float64], *, single: bool = False) -> Array:
        if not single:
            return values
        kept, narrow = self._constants.get(id(values), (None, None))
        if kept is not values:
            if len(self._constants) > 200:
                self._constants.clear()
            narrow = values.astype(np.float32)
            self._constants[id(values)] = (values, narrow)
        return narrow

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

    def segments(self, signal: Array, length: int, hop_length: int) -> Array:
        count = 1 + (signal.size - length) // hop_length
        (stride,) = signal.strides
        return np.ndarray((count, length), signal.dtype, signal, 0, (hop_length * stride, stride))

    def multiply(self, a: Array, b: Array, out: Array) -> Array:
        return np.multiply(a, b, out=out)

    def rfft(self, frames: Array, out: Array) -> Array:
        if frames.dtype == np.float32:
            # NumPy's transform is no faster in single precision than in double, torch's is three times as fast.
            torch.fft.rfft(torch.from_numpy(frames), out=torch.from_numpy(out))
            return out
        return np.fft.rfft(frames, out=out)

    def magnitude(self, spectrum: Array, out: Array) -> Array:
        return np.abs(spectrum, out=out)

    def subtract(self, a: Array, b: Array, out: Array) -> Array:
        return np.subtract(a, b, out=out)

    def divide(self, a: Array, b: Array, out: Array) -> Array:
        return np.divide(a, b, out=out)

    def at_least(self, a: Array, floor: float, out: Array) -> Array:
        # The maximum of two arrays is vectorised, that of an array and a number is not.
        key = (floor, a.shape, a.dtype)
        floors = self._floors.get(key)
        if floors is None:
            if len(self._floors) > 100:
                self._floors.clear()
            floors = self._floors[key] = np.full(a.shape, floor, dtype=a.dtype)
        return np.maximum(a, floors, out=out)

    def log(self, a: Array, out: Array) -> Array:
        return np.log(a, out=out)

    def absolute(self, a: Array, out: Array) -> Array:
        return np.abs(a, out=out)

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        return np.matmul(a, b, out=out)

    def cumulate(self, a: Array, out: Array) -> Array:
        return np.cumsum(a, axis=-1, out=out)

    def row_totals(self, a: Array) -> Array:
        return np.add.reduce(a, axis=-1)

    def row_peaks(self, a: Array) -> Array:
        return np.maximum.reduce(a, axis=-1)

    def total(self, a: Array) -> Any:
        return np.add.reduce(a, axis=None)

    def dot(self, a: Array, b: Array) -> Any:
        # np.dot would hand a long signal to several threads and add up in another order.
        return np.add.reduce(np.multiply(a, b, out=self.buffer("product", a.shape)))

    def total_squares(self, a: Array) -> Any:
        return np.add.reduce(np.vecdot(a, a), axis=None)

    def total_root_mean_squares(self, a: Array) -> Any:
        return np.add.reduce(np.sqrt(np.vecdot(a, a) / a.shape[-1]), axis=None)

    def to_tensor(self, sums: list[Any]) -> Tensor:
        return torch.tensor([float(value) for value in sums], dtype=torch.float64)


class _CudaKernel:
    """Operations on torch tensors of one CUDA device, whose caching allocator already reuses memory."""

    _TILE_SAMPLES = 1 << 24

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def tile_frames(self, n_fft: int, frames: int) -> int:
        return min(frames, max(1, self._TILE_SAMPLES // (2 * n_fft)))

    def from_tensor(self, row: Tensor) -> Array:
        return row

    def constant(self, values: NDArray[np.float64], *, single: bool = False) -> Array:
        return torch.from_numpy(values.copy()).to(self._device, torch.float32 if single else torch.float64)

    def buffer(self, name: str, shape: tuple[int, ...], *, complex_values: bool = False, single: bool = False) -> Array:
        return torch.zeros(shape, dtype=_DTYPES[complex_values, single], device=self._device)

    def like(self, name: str, values: Array) -> Array:
        return torch.zeros_like(values)

    def segments(self, signal: Array, length: int, hop_length: int) -> Array:
        return signal.unfold(0, length, hop_length)

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
