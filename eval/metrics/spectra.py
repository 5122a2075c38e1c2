"""Complex spectra of one clip, a few frames at a time, as NumPy arrays.

The transform is that of :mod:`eval.metrics.frontend`: periodic Hann window, centred frames, no scaling.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eval.metrics.frontend import Stft, hann

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

_TILE_SAMPLES = 65_536


def window(settings: Stft) -> Floats:
    """Window of the transform, ``(n_fft,)``, with the zeros around it."""
    start = settings.offset_samples
    return np.pad(hann(settings.win_length), (start, settings.n_fft - settings.win_length - start))


def spectra(signal: Floats, settings: Stft, *, overlap: int = 0) -> Iterator[Complex]:
    """Spectra ``(frames, bins)`` in order.

    Args:
        signal: Shape ``(time,)``.
        settings: The transform.
        overlap: How many frames each array repeats of the one before.

    Raises:
        ValueError: If the clip is shorter than the transform.
    """
    settings.check(signal.size)
    padded = np.pad(signal, settings.n_fft // 2, mode=settings.pad_mode)  # type: ignore[call-overload]
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    shape = window(settings)
    size = max(1, _TILE_SAMPLES // settings.n_fft)
    kept: Complex | None = None
    for first in range(0, len(frames), size):
        found = np.fft.rfft(frames[first : first + size] * shape)
        if kept is not None:
            found = np.concatenate((kept, found))
        kept = found[len(found) - overlap :] if overlap else None
        yield found
