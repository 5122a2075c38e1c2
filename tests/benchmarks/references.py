"""Reference operations: fixed work in other people's code that a benchmark is measured against.

Each is of the character of what it is compared with, so that both change alike from one processor to the next: vector
arithmetic beside transforms, matrix products beside networks, the interpreter beside the site. They do not call the
project, must never change, and take a few milliseconds.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import torch
from torch import Tensor


@cache
def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@cache
def _tensor(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def transforms() -> None:
    """Double-precision FFTs, magnitudes and logarithms in NumPy."""
    for _ in range(8):
        np.log(np.abs(np.fft.rfft(_noise(16, 2048)))).sum()


def torch_transforms() -> None:
    """Single-precision STFT and its inverse in torch."""
    spectrum = torch.stft(_tensor(32_000), 2048, 512, window=torch.hann_window(2048), return_complex=True)
    torch.istft(spectrum * spectrum.abs().sqrt(), 2048, 512, window=torch.hann_window(2048))


def network() -> None:
    """Convolution and matrix product in torch."""
    torch.nn.functional.conv2d(_tensor(1, 64, 64, 32), _tensor(64, 64, 3, 3), padding=1)
    torch.matmul(_tensor(512, 512), _tensor(512, 512))


def matrices() -> None:
    """Matrix products, distances and eigenvalues of a symmetric matrix in NumPy."""
    rows = _noise(200, 64)
    np.sqrt(np.abs(rows @ rows.T)).sum()
    np.linalg.eigvalsh(rows.T @ rows)


def draws() -> None:
    """Random integers, gathers and sums in NumPy."""
    indices = np.random.default_rng(0).integers(0, 200, size=(2000, 200), dtype=np.int32)
    _noise(200).take(indices).sum(axis=1)


def interpreter() -> None:
    """Dictionaries, strings and JSON in plain Python."""
    rows = [{"name": f"clip {index}", "score": index / 7, "parts": str(index).split("1")} for index in range(1500)]
    json.loads(json.dumps(rows))


def dense_steps() -> None:
    """Scalar arithmetic on short arrays, as an encoder does it: prediction, rounding, sorting."""
    for _ in range(20):
        signal = np.cumsum(_noise(4096))
        np.sort(np.rint(signal - np.roll(signal, 1) * 0.9))
