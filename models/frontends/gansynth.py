"""GANSynth's pictures: log-mel power and instantaneous frequency in [-1, 1], 2 x 1,024 x 128 for four seconds.

Against the modified pictures of `models.frontends.mel_if`: 3,072 zeros stand before the sound and none after it, the
window is periodic, DC is dropped and Nyquist kept, the mel axis has its break at 700 Hz, there is no threshold, and
both channels go through a fixed linear map and are clipped.

Without the mel the way back is exact but for DC and what rounding leaves: unwrapped phases can be summed up again. With
it, the transposed mel matrix smears the treble.

Source:
    Engel et al., "GANSynth: Adversarial Neural Audio Synthesis", 2019, and its public code.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from models.frontends.mel_if import MelIFConfig, inverse_mel_matrix, mel_matrix, unwrap
from models.frontends.settings import SettingsMixin
from models.frontends.stft import StftConfig, istft, stft


@dataclasses.dataclass(frozen=True)
class GANSynthConfig(SettingsMixin):
    """Settings of the pictures; the defaults are the published ones.

    Attributes:
        sample_rate_hz: Rate of the waveform.
        n_fft: Window and FFT length, samples.
        hop_length: Step between frames, samples.
        n_frames: Columns of a picture.
        n_samples: Waveform length of one picture.
        break_hz: Break frequency of the mel scale; its factor Q = 1,127 follows from 1,000 Hz being 1,000 mel.
        mel: Whether the frequency axis is mel; if not, rows are STFT bins.
        floor: Added inside the logarithms.
        magnitude_scale: Factor on the log power.
        magnitude_offset: Added to that.
        frequency_scale: Factor on the instantaneous frequency, which is in units of half the frame rate.
        clip: Whether both channels are clipped to [-1, 1].
    """

    sample_rate_hz: int = 16_000
    n_fft: int = 2048
    hop_length: int = 512
    n_frames: int = 128
    n_samples: int = 64_000
    break_hz: float = 700.0
    mel: bool = True
    floor: float = 1e-6
    magnitude_scale: float = 0.0661371661726
    magnitude_offset: float = 0.113718730221
    frequency_scale: float = 0.8
    clip: bool = True

    def __post_init__(self) -> None:
        if self.pad_front_samples < 0:
            raise ValueError(
                f"{self.n_samples} samples do not fit {self.n_frames} frames of {self.n_fft} every {self.hop_length}"
            )

    @property
    def n_bins(self) -> int:
        """Rows of a picture: the STFT bins without DC."""
        return self.n_fft // 2

    @property
    def pad_front_samples(self) -> int:
        """Zeros before the sound, 3,072 as published: what the frames need beyond it."""
        return (self.n_frames - 1) * self.hop_length + self.n_fft - self.n_samples


class GANSynthPicture(nn.Module):
    """Waveform to picture and back.

    Args:
        config: Settings.
        dtype: Precision of the computation; sums of unwrapped phases need float64.
    """

    matrix: Tensor
    inverse_matrix: Tensor
    taper: Tensor

    def __init__(self, config: GANSynthConfig | None = None, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.config = config = config or GANSynthConfig()
        self.dtype = dtype
        self.stft = StftConfig(config.n_fft, config.hop_length, config.n_fft, padding="none")
        if config.mel:
            axis = MelIFConfig(
                sample_rate_hz=config.sample_rate_hz, n_fft=config.n_fft, break_hz=config.break_hz, min_width_bins=1.5
            )
            # The published matrix was made for bins from DC on but is applied to those from the next one on; with its
            # first column at zero, the lowest row of the picture's spectrum is lost either way.
            matrix = mel_matrix(axis)
            self.register_buffer("taper", self._taper().to(dtype), persistent=False)
            self.register_buffer("matrix", matrix.to(dtype), persistent=False)
            self.register_buffer("inverse_matrix", inverse_mel_matrix(matrix).to(dtype), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Picture ``(batch, 2, n_bins, n_frames)`` of a waveform ``(batch, n_samples)``: log power, then frequency.

        The first column of the second channel is the phase at the start.
        """
        c = self.config
        if waveform.ndim != 2 or waveform.shape[1] != c.n_samples:
            raise ValueError(f"waveform must have shape (batch, {c.n_samples}), got {tuple(waveform.shape)}")
        padded = nn.functional.pad(waveform.to(self.dtype), (c.pad_front_samples, 0))
        spectrum = stft(padded, self.stft)[:, 1:]
        power = (spectrum.abs() + c.floor).square()
        phase = unwrap(spectrum.angle())
        if c.mel:
            power, phase = self.matrix @ power, unwrap(self.matrix @ phase)
        frequency = torch.cat([phase[..., :1], torch.diff(phase, dim=-1)], -1) / math.pi
        level = c.magnitude_scale * torch.log(power + c.floor) + c.magnitude_offset
        picture = torch.stack([level, c.frequency_scale * frequency], 1)
        return picture.clamp(-1.0, 1.0) if c.clip else picture

    def inverse(self, picture: Tensor) -> Tensor:
        """Waveform ``(batch, n_samples)`` of a picture."""
        c = self.config
        expected = (2, c.n_bins, c.n_frames)
        if picture.ndim != 4 or tuple(picture.shape[1:]) != expected:
            raise ValueError(f"picture must have shape (batch, {expected}), got {tuple(picture.shape)}")
        picture = picture.to(self.dtype)
        power = torch.exp((picture[:, 0] - c.magnitude_offset) / c.magnitude_scale)
        phase = (picture[:, 1] / c.frequency_scale * math.pi).cumsum(-1)
        if c.mel:
            magnitude = (self.inverse_matrix @ power).clamp_min(0.0).sqrt()
            phase = self.inverse_matrix @ phase
        else:
            magnitude = ((power - c.floor).clamp_min(0.0).sqrt() - c.floor).clamp_min(0.0)
        spectrum = torch.polar(magnitude, phase)
        spectrum = torch.cat([torch.zeros_like(spectrum[:, :1]), spectrum], 1)
        total = c.pad_front_samples + c.n_samples
        waveform = istft(spectrum, self.stft, length=total)[:, c.pad_front_samples :]
        return waveform * self.taper if c.mel else waveform

    def _taper(self) -> Tensor:
        """Factor on the samples: the last few lie under the end of one window, which would blow up any error."""
        c = self.config
        square = torch.hann_window(c.n_fft, dtype=torch.float64).square()
        cover = torch.zeros(c.pad_front_samples + c.n_samples, dtype=torch.float64)
        for frame in range(c.n_frames):
            cover[frame * c.hop_length : frame * c.hop_length + c.n_fft] += square
        return (cover / (0.01 * cover.max())).clamp_max(1.0)[c.pad_front_samples :]
