"""Windows, short-time Fourier transforms and mel filters of the metrics.

A measuring stick of its own: it shares no code with the front ends of the models, so that a change there cannot move a
score. Nothing is implicit: every parameter that differs between libraries is a field or an argument.

* The Hann window is periodic and built in float64.
* A frame is centred on its time; the edges are padded by ``n_fft // 2`` samples, by reflection (as ``torch.stft`` does)
  or with zeros (as librosa does).
* A window shorter than ``n_fft`` stands in the middle of the frame.
* Mel filters are triangles on Slaney's scale, each scaled to unit area in Hz (Slaney's norm), as librosa's default.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PAD_MODES = ("reflect", "constant")
PRECISIONS = ("float64", "float32", "adaptive")


@dataclass(frozen=True)
class Stft:
    """Settings of a centred short-time Fourier transform.

    Attributes:
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the periodic Hann window in samples, at most ``n_fft``.
        pad_mode: ``"reflect"`` or ``"constant"`` (zeros) at the edges.
        precision: ``"float64"``, or ``"float32"`` for spectral sums at twice the speed; there, bins 130 dB below the
            strongest of their frame are rounding noise, which the logarithmic metrics see. ``"adaptive"`` takes
            a stretch of frames of float32 signals in float32, and again in float64 where the noise could move a sum by
            a few millionths; for float64 signals and on a CUDA device it is float64.
    """

    n_fft: int = 2048
    hop_length: int = 512
    win_length: int = 2048
    pad_mode: str = "reflect"
    precision: str = "float64"

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.n_fft % 2:
            raise ValueError(f"n_fft is {self.n_fft}; it has to be even and at least 2")
        if self.hop_length < 1:
            raise ValueError(f"hop_length is {self.hop_length}; it has to be at least 1")
        if not 1 <= self.win_length <= self.n_fft:
            raise ValueError(f"win_length is {self.win_length}; it has to lie in 1…n_fft = {self.n_fft}")
        if self.pad_mode not in PAD_MODES:
            raise ValueError(f"pad_mode is {self.pad_mode!r}; known: {', '.join(PAD_MODES)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; known: {', '.join(PRECISIONS)}")

    @property
    def bins(self) -> int:
        """Frequencies from 0 to half the sample rate, both included."""
        return self.n_fft // 2 + 1

    @property
    def offset_samples(self) -> int:
        """Zeros before the window inside a frame."""
        return (self.n_fft - self.win_length) // 2

    def frames(self, samples: int) -> int:
        """Number of frames for a clip of ``samples`` samples."""
        return 1 + samples // self.hop_length

    def check(self, samples: int) -> None:
        """Refuse a clip that is shorter than one frame.

        Raises:
            ValueError: If it is.
        """
        if samples < self.n_fft:
            raise ValueError(f"the clip has {samples} samples, the transform needs at least n_fft = {self.n_fft}")


@dataclass(frozen=True)
class Mel:
    """Settings of a mel filter bank over the bins of a transform.

    Attributes:
        sample_rate_hz: Sample rate of the signal.
        n_mels: Number of bands.
        f_min_hz: Lower edge of the first band.
        f_max_hz: Upper edge of the last band; half the sample rate when ``None``.
    """

    sample_rate_hz: int
    n_mels: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float | None = None


@lru_cache(maxsize=32)
def hann(win_length: int) -> NDArray[np.float64]:
    """Periodic Hann window, ``0.5 − 0.5·cos(2πn/win_length)``, in float64; read-only."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win_length) / win_length)
    window.setflags(write=False)
    return window


def hz_to_mel(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale: linear (3 mel per 200 Hz) up to 1 kHz, then logarithmic (27 mel per factor of 6.4)."""
    linear = 3 * frequency_hz / 200
    logarithmic = 15 + 27 * np.log(np.maximum(frequency_hz, 1000) / 1000) / np.log(6.4)
    return np.where(frequency_hz < 1000, linear, logarithmic)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of :func:`hz_to_mel`."""
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


@lru_cache(maxsize=32)
def mel_filters(
    sample_rate_hz: int,
    n_fft: int,
    n_mels: int = 128,
    *,
    f_min_hz: float = 0.0,
    f_max_hz: float | None = None,
) -> NDArray[np.float64]:
    """Mel filter bank with Slaney's scale and norm, equal to ``librosa.filters.mel`` in float64.

    Args:
        sample_rate_hz: Sample rate of the signal.
        n_fft: Length of the transform.
        n_mels: Number of bands.
        f_min_hz: Lower edge of the first band.
        f_max_hz: Upper edge of the last band; half the sample rate when ``None``.

    Returns:
        Weights of shape ``(n_mels, n_fft // 2 + 1)``, read-only. At low sample rates or many bands some rows are zero:
        no bin falls into these bands, and they compare as equal.

    Raises:
        ValueError: If the edges do not satisfy ``0 ≤ f_min_hz < f_max_hz ≤ sample_rate_hz / 2``.

    Source:
        Slaney, "Auditory toolbox", Interval Research technical report 1998-010.
    """
    top_hz = sample_rate_hz / 2 if f_max_hz is None else f_max_hz
    if not 0 <= f_min_hz < top_hz <= sample_rate_hz / 2:
        raise ValueError(f"mel edges {f_min_hz}…{top_hz} Hz do not lie in 0…{sample_rate_hz / 2} Hz")
    low, high = hz_to_mel(np.array([f_min_hz, top_hz]))
    edges = mel_to_hz(np.linspace(low, high, n_mels + 2))
    centres = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    widths = np.diff(edges)
    slopes = edges[:, None] - centres[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    weights = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    weights.setflags(write=False)
    return weights


def stft(waveform: Tensor, settings: Stft) -> Tensor:
    """Short-time Fourier transform in float64.

    Args:
        waveform: Shape ``(..., time)``.
        settings: The transform.

    Returns:
        Complex spectrum, complex128, shape ``(..., bins, frames)``.

    Raises:
        ValueError: If the clip is shorter than ``n_fft``.
    """
    settings.check(waveform.shape[-1])
    flat = waveform.to(torch.float64).reshape(-1, 1, waveform.shape[-1])
    half = settings.n_fft // 2
    padded = torch.nn.functional.pad(flat, (half, half), mode=settings.pad_mode)[:, 0]
    frames = padded.unfold(-1, settings.n_fft, settings.hop_length)
    window = torch.zeros(settings.n_fft, dtype=torch.float64)
    start = settings.offset_samples
    window[start : start + settings.win_length] = torch.from_numpy(hann(settings.win_length).copy())
    spectrum: Tensor = torch.fft.rfft(frames * window.to(frames.device))
    return spectrum.transpose(-1, -2).reshape(*waveform.shape[:-1], settings.bins, -1)


def mel_magnitude(waveform: Tensor, settings: Stft, mel: Mel) -> Tensor:
    """Mel bands of the magnitude spectrum (power 1), float64, shape ``(..., n_mels, frames)``."""
    weights = mel_filters(mel.sample_rate_hz, settings.n_fft, mel.n_mels, f_min_hz=mel.f_min_hz, f_max_hz=mel.f_max_hz)
    bank = torch.from_numpy(weights.copy()).to(waveform.device)
    return torch.matmul(bank, stft(waveform, settings).abs())
