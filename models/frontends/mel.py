"""Log-mel spectra with settings that say everything, and the named ones of the compared systems."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from models.frontends.settings import SettingsMixin, later
from models.frontends.stft import StftConfig, stft


@dataclasses.dataclass(frozen=True)
class MelConfig(SettingsMixin):
    """Settings of a log-mel spectrum.

    Attributes:
        sample_rate_hz: Rate of the waveform.
        stft: Settings of the transform underneath.
        n_mels: Bands.
        f_min_hz: Lower edge of the first band.
        f_max_hz: Upper edge of the last band; ``None`` is half the sample rate.
        scale: ``"slaney"`` (linear below 1 kHz) or ``"htk"``.
        norm: ``"slaney"`` (bands of equal area) or ``"none"`` (peaks at one).
        power: Exponent of the magnitude under the bands, 1 or 2.
        log: ``"ln"``, ``"log10"``, ``"db"`` (of the power, whatever the exponent) or ``"none"``.
        floor: Least value under the logarithm.
        floor_mode: ``"clamp"`` or ``"add"``.
        reference_db: Level that reads 0 with ``"db"``.
        range_db: With ``"db"``: levels from this much under the reference up to it are brought to [-1, 1] and all
            others clipped; 0 leaves decibels.
    """

    sample_rate_hz: int = 22_050
    stft: StftConfig = StftConfig(1024, 256, 1024, padding="frame")  # noqa: RUF009 - frozen
    n_mels: int = 80
    f_min_hz: float = 0.0
    f_max_hz: float | None = None
    scale: str = "slaney"
    norm: str = "slaney"
    power: int = 1
    log: str = "ln"
    floor: float = 1e-5
    floor_mode: str = "clamp"
    reference_db: float = later(0.0)
    range_db: float = later(0.0)

    def __post_init__(self) -> None:
        allowed = {
            "scale": ("slaney", "htk"),
            "norm": ("slaney", "none"),
            "power": (1, 2),
            "log": ("ln", "log10", "db", "none"),
            "floor_mode": ("clamp", "add"),
        }
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ValueError(f"{field} must be one of {values}, got {getattr(self, field)!r}")
        if self.log != "db" and (self.reference_db or self.range_db):
            raise ValueError(f"reference_db and range_db need log='db', got {self.log!r}")
        if self.range_db < 0:
            raise ValueError(f"range_db must be at least 0, got {self.range_db}")
        if not 0 <= self.f_min_hz < self.top_hz <= self.sample_rate_hz / 2:
            raise ValueError(f"need 0 <= f_min < f_max <= half the rate, got {self.f_min_hz}, {self.top_hz}")

    @property
    def top_hz(self) -> float:
        """Upper edge of the last band."""
        return self.sample_rate_hz / 2 if self.f_max_hz is None else self.f_max_hz


def _create_music(n_fft: int, hop_length: int, n_mels: int) -> MelConfig:
    stft_config = StftConfig(n_fft, hop_length, n_fft, window="hamming")
    return MelConfig(stft=stft_config, n_mels=n_mels, power=2, log="none", floor=0.0)


# Names under which the compared systems' settings are known; equal settings have equal hashes.
NAMED: Mapping[str, MelConfig] = MappingProxyType(
    {
        "melgan": MelConfig(log="log10"),
        "hifigan": MelConfig(f_max_hz=8_000.0),
        "melreformer": MelConfig(n_mels=128, power=2),
        "librosa": MelConfig(stft=StftConfig(), n_mels=128, power=2, log="none", floor=0.0),
        # Its generator is fed (mel + 5) / 5, which is the network's own business.
        "seungwonpark_melgan": MelConfig(stft=StftConfig(1024, 256, 1024, padding="reflect"), f_max_hz=8_000.0),
        "wmelonet": MelConfig(n_mels=128, log="log10"),
        "featuresynth": MelConfig(stft=StftConfig(1024, 256, 1024, padding="right"), n_mels=128, log="log10"),
        # The power is divided by the window's energy, 432 for 1,152 samples of Hann: 26.355 dB beside the 20 of its
        # reference level.
        "melgan_vc": MelConfig(
            sample_rate_hz=16_000,
            stft=StftConfig(1152, 192, 1152, padding="reflect"),
            n_mels=192,
            scale="htk",
            norm="none",
            power=2,
            log="db",
            floor=1e-9,
            reference_db=46.355,
            range_db=100.0,
        ),
        "create_music_sweep_512": _create_music(512, 128, 128),
        "create_music_autoencoder": _create_music(2048, 512, 512),
        "create_music_peaks": dataclasses.replace(_create_music(2048, 512, 128), power=1),
    }
)


def hz_to_mel(frequency_hz: Tensor, scale: str) -> Tensor:
    """Mel value of frequencies on the ``"slaney"`` or ``"htk"`` scale."""
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + frequency_hz / 700.0)
    linear = frequency_hz * 3.0 / 200.0
    above = 15.0 + torch.log(frequency_hz.clamp_min(1e-9) / 1000.0) * 27.0 / math.log(6.4)
    return torch.where(frequency_hz < 1000.0, linear, above)


def mel_to_hz(mel: Tensor, scale: str) -> Tensor:
    """Frequency of mel values."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp((mel - 15.0) * math.log(6.4) / 27.0))


@functools.lru_cache(maxsize=16)
def mel_filterbank(config: MelConfig) -> Tensor:
    """Triangular bands ``(n_mels, n_fft / 2 + 1)``, float64; do not write into it.

    Source:
        Slaney, "Auditory Toolbox", 1998; Young et al., "The HTK Book", 2006.
    """
    bins = torch.linspace(0.0, config.sample_rate_hz / 2, config.stft.n_fft // 2 + 1, dtype=torch.float64)
    ends = torch.tensor([config.f_min_hz, config.top_hz], dtype=torch.float64)
    low, high = hz_to_mel(ends, config.scale).tolist()
    edges = mel_to_hz(torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64), config.scale)
    width = torch.diff(edges)
    ramps = edges[:, None] - bins[None]
    rising = -ramps[:-2] / width[:-1, None]
    falling = ramps[2:] / width[1:, None]
    bands = torch.minimum(rising, falling).clamp_min(0.0)
    if config.norm == "slaney":
        bands = bands * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return bands


def compress(mel: Tensor, config: MelConfig) -> Tensor:
    """Logarithm with the floor of the settings."""
    if config.log == "none":
        return mel
    mel = mel.clamp_min(config.floor) if config.floor_mode == "clamp" else mel + config.floor
    if config.log == "db":
        level_db = (20.0 / config.power) * torch.log10(mel) - config.reference_db
        return (2.0 * level_db / config.range_db + 1.0).clamp(-1.0, 1.0) if config.range_db else level_db
    return torch.log(mel) if config.log == "ln" else torch.log10(mel)


def expand(log_mel: Tensor, config: MelConfig) -> Tensor:
    """Undo ``compress``; values at the floor stay there under ``"clamp"`` and give 0 under ``"add"``."""
    if config.log == "none":
        return log_mel
    if config.log == "db":
        level_db = 0.5 * (log_mel - 1.0) * config.range_db if config.range_db else log_mel
        mel = torch.pow(10.0, (level_db + config.reference_db) * (config.power / 20.0))
    else:
        mel = torch.exp(log_mel) if config.log == "ln" else torch.pow(10.0, log_mel)
    return mel if config.floor_mode == "clamp" else (mel - config.floor).clamp_min(0.0)


def log_mel(waveform: Tensor, config: MelConfig) -> Tensor:
    """Log-mel spectrum ``(batch, n_mels, frames)`` of a waveform ``(batch, time)``, full scale 1."""
    magnitude = stft(waveform, config.stft).abs()
    if config.power == 2:
        magnitude = magnitude.square()
    bands = mel_filterbank(config).to(device=waveform.device, dtype=waveform.dtype)
    return compress(bands @ magnitude, config)
