"""Products of two signals at many delays, block by block.

One long transform would need many times the memory of the clip and leave the cache; a sum over blocks needs a few
kilobytes at any length, and only as many delays as are asked for are computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Samples = NDArray[np.float64]

# Below this a transform is too short to pay for its call, above it leaves the cache.
_SMALLEST_TRANSFORM = 4096


def lagged_products(fixed: Samples, others: list[Samples], count: int) -> list[Samples]:
    """``Σ_n fixed[n] · other[n + l]`` for the delays ``l = 0 … count − 1``, signals being zero outside.

    Args:
        fixed: Signal that stays, shape ``(time,)``.
        others: Signals that are shifted, each of the same shape or longer.
        count: Number of delays.

    Returns:
        For each of ``others`` the sums, shape ``(count,)``.
    """
    size = fft.next_fast_len(max(_SMALLEST_TRANSFORM, 4 * count), real=True)
    block = size - count + 1
    spectra = [np.zeros(size // 2 + 1, dtype=np.complex128) for _ in others]
    space = np.zeros(size)
    for start in range(0, fixed.size, block):
        piece = fixed[start : start + block]
        space[: piece.size] = piece
        space[piece.size :] = 0
        still = np.conj(fft.rfft(space))
        for spectrum, other in zip(spectra, others, strict=True):
            segment = other[start : start + size]
            if segment.size < size:
                space[: segment.size] = segment
                space[segment.size :] = 0
                segment = space
            spectrum += still * fft.rfft(segment)
    return [np.ascontiguousarray(fft.irfft(spectrum, size)[:count]) for spectrum in spectra]
