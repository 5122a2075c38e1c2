"""Modified Mel-IF pictures: log-mel power and instantaneous frequency, 2 x 1,024 x 128 for four seconds.

A picture is (log-mel, IF). The mel axis has its break at 240 Hz instead of 700 Hz, which gives the bass more
bands, and cells under the phase threshold carry no phase at all.

How the phases of the STFT bins inside one mel band become one number is a setting:

``"unwrapped"``
    as published: unwrap along time, multiply by the mel matrix, take the first difference, divide by pi.
    The rows of that matrix do not sum to one, so treble bands leave [-1, 1] and are wrapped back.
``"energy"``
    the phase advance of the band is the angle of the power-weighted sum of the bins' phase advances. It
    always lies in [-1, 1], a partial gives all bands it reaches its own frequency, and nothing is unwrapped.
    Single notes come back nearer than with ``"unwrapped"``.

Both start from phases taken at the centre of the window, not at its first sample: bins of one partial then
agree instead of alternating in sign, and averaging over them means something.

Source:
    Bazin et al., "Spectrogram Inpainting for Interactive Generation of Instrument Sounds", 2020;
    Engel et al., "GANSynth: Adversarial Neural Audio Synthesis", 2019.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from models.frontends.phase_recovery import griffin_lim
from models.frontends.settings import SettingsMixin
from models.frontends.stft import StftConfig


@dataclasses.dataclass(frozen=True)
class MelIFConfig(SettingsMixin):
    """Settings of the Mel-IF front end.

    Attributes:
        sample_rate_hz: Rate of the waveform.
        n_fft: Window and FFT length, samples.
        hop_length: Step between frames, samples.
        n_frames: Columns of a picture; ``n_samples`` gives ``1 + n_samples / hop_length`` frames, the last
            one is repeated to fill the rest.
        n_samples: Waveform length of one picture.
        break_hz: Break frequency of the mel scale; 240 here, 700 in GANSynth.
        min_width_bins: Least width of a triangle, in STFT bins.
        floor: Added inside both logarithms.
        threshold: Mel power under which a cell is silence.
        phase_mix: ``"energy"`` or ``"unwrapped"``, see the module text.
    """

    sample_rate_hz: int = 16_000
    n_fft: int = 2048
    hop_length: int = 512
    n_frames: int = 128
    n_samples: int = 64_000
    break_hz: float = 240.0
    min_width_bins: float = 1.5
    floor: float = 1e-6
    threshold: float = 2e-6
    phase_mix: str = "energy"

    @property
    def n_bins(self) -> int:
        """Rows of a picture: the STFT bins without Nyquist."""
        return self.n_fft // 2

    @property
    def quality(self) -> float:
        """Scale factor Q that puts 1,000 Hz at 1,000 mel; 608.93 for a break at 240 Hz."""
        return 1000.0 / math.log1p(1000.0 / self.break_hz)


def hz_to_mel(frequency_hz: Tensor, config: MelIFConfig) -> Tensor:
    """Mel value of a frequency: ``Q ln(1 + f / break)``."""
    return config.quality * torch.log1p(frequency_hz / config.break_hz)


def mel_to_hz(mel: Tensor, config: MelIFConfig) -> Tensor:
    """Frequency of a mel value."""
    return config.break_hz * torch.expm1(mel / config.quality)


def band_centres_hz(config: MelIFConfig) -> Tensor:
    """Centre frequency of every mel band, Hz, shape ``(n_bins,)``, float64."""
    top = hz_to_mel(torch.tensor(config.sample_rate_hz / 2, dtype=torch.float64), config)
    return mel_to_hz(torch.linspace(0.0, float(top), config.n_bins + 2, dtype=torch.float64)[1:-1], config)


def mel_matrix(config: MelIFConfig) -> Tensor:
    """Triangles linear in Hz with unit peaks, shape ``(n_bins mel, n_bins linear)``, float64.

    Every triangle is at least ``min_width_bins`` STFT bins wide; the DC column is zero.
    """
    n = config.n_bins
    nyquist = config.sample_rate_hz / 2
    linear = torch.arange(n, dtype=torch.float64) * (nyquist / (n - 1))
    top = hz_to_mel(torch.tensor(nyquist, dtype=torch.float64), config)
    edges = torch.linspace(0.0, float(top), n + 2, dtype=torch.float64)
    centre = mel_to_hz(edges[1:-1], config)
    lower, upper = mel_to_hz(edges[:-2], config), mel_to_hz(edges[2:], config)
    least = config.min_width_bins * nyquist / n
    # Widening is symmetric in mel; the half width that gives the least width in Hz follows from sinh.
    half = config.quality * torch.asinh(0.5 * least / (centre + config.break_hz))
    narrow = (upper - lower) < least
    mel_centre = edges[1:-1]
    lower = torch.where(narrow, mel_to_hz(mel_centre - half, config), lower)
    upper = torch.where(narrow, mel_to_hz(mel_centre + half, config), upper)
    rising = (linear[None] - lower[:, None]) / (centre - lower)[:, None]
    falling = (upper[:, None] - linear[None]) / (upper - centre)[:, None]
    matrix = torch.minimum(rising, falling).clamp_min(0.0)
    matrix[:, 0] = 0.0
    return matrix


def inverse_mel_matrix(matrix: Tensor) -> Tensor:
    """Approximate inverse ``(linear, mel)``: the transpose, columns scaled by ``1 / colsum(M M^T)``."""
    scale = (matrix @ matrix.T).sum(0)
    return matrix.T * torch.where(scale.abs() > 1e-8, 1.0 / scale.clamp_min(1e-8), scale)


def wrap(phase: Tensor) -> Tensor:
    """Phase in units of pi, brought into [-1, 1)."""
    return torch.remainder(phase + 1.0, 2.0) - 1.0


def unwrap(phase: Tensor) -> Tensor:
    """Radians without jumps of more than pi along the last axis, as ``numpy.unwrap``."""
    step = torch.diff(phase, dim=-1)
    wrapped = torch.remainder(step + math.pi, 2 * math.pi) - math.pi
    wrapped = torch.where((wrapped == -math.pi) & (step > 0), math.pi, wrapped)
    return torch.cat([phase[..., :1], phase[..., :1] + wrapped.cumsum(-1)], -1)


@dataclasses.dataclass(frozen=True)
class MelIFInverseConfig(SettingsMixin):
    """How a picture becomes a waveform; both at 0 is the published inverse.

    Attributes:
        sharpen_iterations: Rounds of multiplicative updates that look for linear power which gives the mel
            power back; the transposed matrix alone smears the treble over several bins.
        polish_iterations: Rounds of fast Griffin-Lim that start from the picture's own phase.
    """

    sharpen_iterations: int = 10
    polish_iterations: int = 16


class MelIF(nn.Module):
    """Waveform to Mel-IF picture and back.

    Args:
        config: Settings of the picture.
        inverse: Settings of the way back.
        dtype: Precision of the whole computation; by default float64 where phases are unwrapped and summed up
            over bands, else float32.
    """

    window: Tensor
    matrix: Tensor
    inverse_matrix: Tensor

    def __init__(
        self,
        config: MelIFConfig | None = None,
        inverse: MelIFInverseConfig | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or MelIFConfig()
        if config.phase_mix not in ("energy", "unwrapped"):
            raise ValueError(f"phase_mix must be 'energy' or 'unwrapped', got {config.phase_mix!r}")
        frames = 1 + config.n_samples // config.hop_length
        if config.n_samples % config.hop_length or not 1 < frames <= config.n_frames:
            raise ValueError(f"{config.n_samples} samples do not fit {config.n_frames} frames")
        self.filled_frames = frames
        self.inverse_config = inverse or MelIFInverseConfig()
        if dtype is None:
            dtype = torch.float32 if config.phase_mix == "energy" else torch.float64
        self.dtype = dtype
        matrix = mel_matrix(config)
        buffers = {
            "window": torch.hann_window(config.n_fft, periodic=False, dtype=torch.float64),
            "matrix": matrix,
            "inverse_matrix": inverse_mel_matrix(matrix),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.to(dtype), persistent=False)
        self.bands, self.bands_transposed = _blocks(matrix), _blocks(matrix.T)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """STFT without Nyquist, phase taken at the window's centre, ``(batch, n_bins, n_frames)`` complex."""
        c = self.config
        if waveform.ndim != 2 or waveform.shape[1] != c.n_samples:
            raise ValueError(f"waveform must have shape (batch, {c.n_samples}), got {tuple(waveform.shape)}")
        spectrum = torch.stft(
            waveform.to(self.dtype),
            c.n_fft,
            c.hop_length,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )[:, :-1]
        spectrum[:, 1::2] *= -1.0
        missing = c.n_frames - spectrum.shape[-1]
        return torch.cat([spectrum, spectrum[..., -1:].expand(-1, -1, missing)], -1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Picture ``(batch, 2, n_bins, n_frames)`` of a waveform ``(batch, n_samples)``.

        Channel 0 is the natural logarithm of the mel power, at least ``ln(threshold)``; channel 1 is the
        phase advance per frame divided by pi, its first column the phase at the start.
        """
        c = self.config
        spectrum = self.spectrum(waveform)
        power = (spectrum.abs() + c.floor).square()
        log_mel = torch.log(self.matrix @ power + c.floor)
        if c.phase_mix == "energy":
            before = torch.cat([torch.ones_like(spectrum[..., :1]), spectrum[..., :-1]], -1)
            turn = spectrum * before.conj()
            # A product of two magnitudes weighs by power; the first column has no frame before it.
            turn = torch.cat([spectrum[..., :1] * spectrum[..., :1].abs(), turn[..., 1:]], -1)
            frequency = torch.angle(torch.complex(self.matrix @ turn.real, self.matrix @ turn.imag)) / math.pi
        else:
            phase = self.matrix @ unwrap(spectrum.angle())
            phase = unwrap(phase)
            frequency = torch.cat([phase[..., :1], torch.diff(phase, dim=-1)], -1) / math.pi
        return self.mask(torch.stack([log_mel, frequency], 1))

    def mask(self, picture: Tensor) -> Tensor:
        """Silence the cells under the threshold: log-mel at the threshold, no phase."""
        limit = math.log(self.config.threshold)
        quiet = picture[:, 0] < limit
        log_mel = picture[:, 0].masked_fill(quiet, limit)
        return torch.stack([log_mel, picture[:, 1].masked_fill(quiet, 0.0)], 1)

    def inverse(self, picture: Tensor) -> Tensor:
        """Waveform ``(batch, n_samples)`` of a picture; the filled-up last frames are ignored."""
        c = self.config
        spectrum = self.inverse_spectrum(picture)[..., : self.filled_frames].clone()
        spectrum[:, 1::2] *= -1.0
        # The dropped Nyquist bin comes back as a copy of its neighbour.
        spectrum = torch.cat([spectrum, spectrum[:, -1:]], 1)
        magnitude = spectrum.abs()
        unit = torch.polar(torch.ones_like(magnitude), spectrum.angle())
        settings = StftConfig(c.n_fft, c.hop_length, c.n_fft, periodic=False, padding="reflect")
        return griffin_lim(
            magnitude,
            settings,
            length=c.n_samples,
            iterations=self.inverse_config.polish_iterations,
            start=unit,
        )

    def inverse_spectrum(self, picture: Tensor) -> Tensor:
        """Spectrum ``(batch, n_bins, n_frames)``, phase at the window's centre, that a picture stands for."""
        c = self.config
        expected = (2, c.n_bins, c.n_frames)
        if picture.ndim != 4 or tuple(picture.shape[1:]) != expected:
            raise ValueError(f"picture must have shape (batch, {expected}), got {tuple(picture.shape)}")
        picture = self.mask(picture.to(self.dtype))
        power = torch.exp(picture[:, 0])
        power = torch.where(power <= c.threshold * (1.0 + 1e-5), 0.0, power)
        magnitude = self._linear_power(power).sqrt()
        if c.phase_mix == "energy":
            turn = torch.polar(power, picture[:, 1] * math.pi)
            turn = torch.complex(self.inverse_matrix @ turn.real, self.inverse_matrix @ turn.imag)
            phase = turn.angle().cumsum(-1)
        else:
            phase = self.inverse_matrix @ (picture[:, 1] * math.pi).cumsum(-1)
        return torch.polar(magnitude, phase)

    def _linear_power(self, power: Tensor) -> Tensor:
        linear = (self.inverse_matrix @ power).clamp_min(0.0)
        tiny = 1e-9
        gain = self.matrix.sum(0)[:, None].clamp_min(tiny)
        for _ in range(self.inverse_config.sharpen_iterations):
            ratio = power / _banded_product(self.matrix, self.bands, linear).clamp_min(tiny)
            linear = linear * (_banded_product(self.matrix.T, self.bands_transposed, ratio) / gain)
        return linear


def _blocks(matrix: Tensor, rows: int = 64) -> list[tuple[int, int, int, int]]:
    """Row and column ranges that hold all of a banded matrix, ``rows`` rows at a time."""
    found = []
    for first in range(0, matrix.shape[0], rows):
        last = min(first + rows, matrix.shape[0])
        columns = matrix[first:last].any(0).nonzero()[:, 0]
        low, high = (int(columns[0]), int(columns[-1]) + 1) if columns.numel() else (0, 1)
        found.append((first, last, low, high))
    return found


def _banded_product(matrix: Tensor, blocks: list[tuple[int, int, int, int]], values: Tensor) -> Tensor:
    """``matrix @ values`` without the zeros; a GPU is faster with them."""
    if values.is_cuda:
        return matrix @ values
    return torch.cat([matrix[a:b, low:high] @ values[..., low:high, :] for a, b, low, high in blocks], -2)
