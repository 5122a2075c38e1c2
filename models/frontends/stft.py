"""Short-time Fourier transform with settings that say everything.

Five conventions of framing meet in the compared systems, hence ``padding``:

``"zeros"``    centred frames over zeros, ``1 + n // hop`` frames (librosa's default)
``"reflect"``  centred frames over a mirrored signal, ``1 + n // hop`` frames (torch's default)
``"frame"``    mirrored by ``(n_fft - hop) / 2`` on both sides, ``n // hop`` frames (MelGAN, HiFi-GAN)
``"right"``    ``(n_fft - hop) / 2`` zeros after the signal, none before (featuresynth)
``"none"``     whole windows only, ``1 + (n - n_fft) // hop`` frames
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from models.frontends.settings import SettingsMixin, later

PADDINGS = ("zeros", "reflect", "frame", "right", "none")
WINDOWS = ("hann", "hamming")


@dataclasses.dataclass(frozen=True)
class StftConfig(SettingsMixin):
    """Settings of an STFT.

    Attributes:
        n_fft: FFT length, samples, even.
        hop_length: Step between frames, samples.
        win_length: Window length, samples, at most ``n_fft``; centred in the FFT.
        periodic: Periodic window (the usual one) or symmetric.
        padding: One of ``PADDINGS``, see the module text.
        window: One of ``WINDOWS``.
    """

    n_fft: int = 2048
    hop_length: int = 512
    win_length: int = 2048
    periodic: bool = True
    padding: str = "zeros"
    window: str = later("hann")

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.n_fft % 2 or not 0 < self.win_length <= self.n_fft:
            raise ValueError(f"need an even n_fft >= win_length > 0, got {self.n_fft} and {self.win_length}")
        if not 0 < self.hop_length <= self.win_length:
            raise ValueError(f"need 0 < hop_length <= win_length, got {self.hop_length}")
        if self.padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {self.padding!r}")
        if self.window not in WINDOWS:
            raise ValueError(f"window must be one of {', '.join(WINDOWS)}, got {self.window!r}")

    def pad_samples(self) -> int:
        """Samples added before the signal; as many come after it, unless only the right side is filled up."""
        fixed = {"none": 0, "right": 0, "frame": (self.n_fft - self.hop_length) // 2}
        return fixed.get(self.padding, self.n_fft // 2)

    def pad_after_samples(self) -> int:
        """Samples added after the signal."""
        return (self.n_fft - self.hop_length) // 2 if self.padding == "right" else self.pad_samples()

    def frames(self, samples: int) -> int:
        """Number of frames of a signal."""
        return 1 + (samples + self.pad_samples() + self.pad_after_samples() - self.n_fft) // self.hop_length


@functools.lru_cache(maxsize=32)
def _window(config: StftConfig, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Built in float64: a float32 window alone costs 5e-6 of agreement.
    make = torch.hann_window if config.window == "hann" else torch.hamming_window
    window = make(config.win_length, periodic=config.periodic, dtype=torch.float64)
    return window.to(device=device, dtype=dtype)


def padded_window(config: StftConfig, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Window in the middle of ``n_fft`` samples."""
    window = _window(config, dtype, device)
    left = (config.n_fft - config.win_length) // 2
    return torch.nn.functional.pad(window, (left, config.n_fft - config.win_length - left))


def stft(waveform: Tensor, config: StftConfig) -> Tensor:
    """Complex spectrum ``(batch, n_fft / 2 + 1, frames)`` of a waveform ``(batch, time)``.

    Raises:
        ValueError: If the waveform is not two-dimensional or too short for its padding.
    """
    if waveform.ndim != 2:
        raise ValueError(f"waveform must have shape (batch, time), got {tuple(waveform.shape)}")
    pad, after = config.pad_samples(), config.pad_after_samples()
    least = {"none": config.n_fft, "right": config.n_fft - after, "zeros": 1}
    needed = least.get(config.padding, pad + 1)
    if waveform.shape[1] < needed:
        raise ValueError(f"waveform of {waveform.shape[1]} samples is too short, need {needed}")
    if after:
        mode = "constant" if config.padding in ("zeros", "right") else "reflect"
        waveform = torch.nn.functional.pad(waveform[:, None], (pad, after), mode=mode)[:, 0]
    window = _window(config, waveform.dtype, waveform.device)
    return torch.stft(
        waveform,
        config.n_fft,
        config.hop_length,
        config.win_length,
        window=window,
        center=False,
        return_complex=True,
    )


def istft(spectrum: Tensor, config: StftConfig, *, length: int) -> Tensor:
    """Waveform ``(batch, length)`` whose STFT is nearest to a spectrum, by weighted overlap-add.

    Args:
        spectrum: Complex, shape ``(batch, n_fft / 2 + 1, frames)``.
        config: Settings that the spectrum was made with.
        length: Samples wanted; what the frames do not reach is zero.
    """
    n, hop, frames = config.n_fft, config.hop_length, spectrum.shape[-1]
    window = padded_window(config, spectrum.real.dtype, spectrum.device)
    total = n + hop * (frames - 1)
    pieces = torch.fft.irfft(spectrum, n=n, dim=1) * window[None, :, None]
    out = _overlap_add(pieces, total, n, hop)
    weight = overlap_weight(config, frames, out.dtype, out.device)
    out = out / weight
    start = config.pad_samples()
    out = out[:, start : start + length]
    return torch.nn.functional.pad(out, (0, length - out.shape[1]))


def _overlap_add(pieces: Tensor, total: int, n: int, hop: int) -> Tensor:
    folded = torch.nn.functional.fold(pieces, (1, total), (1, n), stride=(1, hop))
    return folded[:, 0, 0]


@functools.lru_cache(maxsize=64)
def overlap_weight(config: StftConfig, frames: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sum of the squared windows at every sample of the overlapping frames, 1 where they vanish."""
    n, hop = config.n_fft, config.hop_length
    window = padded_window(config, torch.float64, torch.device("cpu"))
    squares = window.square()[None, :, None].expand(1, -1, frames)
    weight = _overlap_add(squares, n + hop * (frames - 1), n, hop)
    return torch.where(weight > 1e-10, weight, 1.0).to(device=device, dtype=dtype)
