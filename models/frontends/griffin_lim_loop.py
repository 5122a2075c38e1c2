"""The rounds of Griffin-Lim for one signal on a CPU, in buffers that are used again and again.

The same arithmetic as `stft` and `istft` one after the other, with frames as rows. Fresh memory, complex magnitudes and
overlap-add by `fold` take most of the time there; here the transforms do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.frontends.stft import StftConfig, overlap_weight, padded_window

Array = NDArray[Any]

_LEAST = 1e-30


def griffin_lim_rounds(
    magnitude: Tensor, start: Tensor, config: StftConfig, *, length: int, iterations: int, momentum: float
) -> Tensor:
    """One waveform; arguments as of `griffin_lim`, which checks them, without the batch axis.

    Args:
        magnitude: Shape ``(bins, frames)``, float32 or float64.
        start: Complex numbers of magnitude one, same shape.
        config: Settings of the transform.
        length: Samples wanted.
        iterations: Rounds.
        momentum: As of the fast algorithm.
    """
    n, hop, frames = config.n_fft, config.hop_length, magnitude.shape[1]
    real = magnitude.dtype
    window = padded_window(config, real, magnitude.device).numpy()
    weight = overlap_weight(config, frames, real, magnitude.device)[0].numpy()
    wanted = np.ascontiguousarray(magnitude.numpy().T)
    spectrum = np.multiply(np.ascontiguousarray(start.numpy().T), wanted)
    rows = -(-n // hop)
    pieces = torch.empty(frames, n, dtype=real)
    summed = np.zeros((frames + rows - 1, hop), dtype=wanted.dtype)
    pad, after = config.pad_samples(), config.pad_after_samples()
    total = n + hop * (frames - 1)
    signal = np.zeros(pad + length + after, dtype=wanted.dtype)
    framed = np.lib.stride_tricks.as_strided(signal, (frames, n), (signal.itemsize * hop, signal.itemsize))
    windowed = torch.empty(frames, n, dtype=real)
    rebuilt = torch.empty(frames, n // 2 + 1, dtype=torch.from_numpy(spectrum[:1]).dtype)
    previous = np.zeros_like(spectrum)
    size = np.empty_like(wanted)
    mirrored = config.padding in ("reflect", "frame") and (pad or after)
    share = wanted.dtype.type(momentum / (1.0 + momentum))

    def synthesise() -> None:
        torch.fft.irfft(torch.from_numpy(spectrum), n=n, out=pieces)
        values = pieces.numpy()
        np.multiply(values, window, out=values)
        summed[:] = 0
        for row in range(rows):
            part = values[:, row * hop : (row + 1) * hop]
            summed[row : row + frames, : part.shape[1]] += part
        flat = summed.reshape(-1)[:total]
        np.divide(flat, weight, out=flat)
        reached = flat[pad : pad + length]
        signal[pad : pad + reached.shape[0]] = reached
        if mirrored:
            inside = signal[pad : pad + length]
            signal[:pad] = inside[1 : pad + 1][::-1]
            signal[pad + length :] = inside[length - 1 - after : length - 1][::-1]

    for count in range(iterations):
        synthesise()
        np.multiply(framed, window, out=windowed.numpy())
        torch.fft.rfft(windowed, out=rebuilt)
        values = rebuilt.numpy()
        if count:
            # The buffer of the round before last becomes the new direction.
            np.multiply(previous, share, out=previous)
            np.subtract(values, previous, out=previous)
            ahead = previous
        else:
            ahead = values
        np.abs(ahead, out=size)
        # A bin that vanished must give 0, not 0 times infinity.
        np.maximum(size, _LEAST, out=size)
        np.divide(wanted, size, out=size)
        np.multiply(ahead, size, out=spectrum)
        np.copyto(previous, values)
    synthesise()
    return torch.from_numpy(signal[pad : pad + length].copy())
