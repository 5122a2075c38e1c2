"""Octave bands of a waveform, each at a rate of its own, and back: one Fourier transform of the whole clip, cut up.

Five bands at 22,050 Hz are 5,512 to 11,025 Hz at 22,050 Hz, then 2,756 to 5,512 Hz at 11,025 Hz, and so on down to
0 to 689 Hz at 1,378 Hz. Two kinds of cut:

``exact``      the bin at the edge of two bands belongs to the upper one; recomposition gives the waveform back up to
               rounding, and a tone has in its band the amplitude that it has in the waveform.
``published``  that bin is in both and so counts twice in the sum, once with its full value and once with the part that
               is real; white noise of 8,192 samples comes back with a signal-to-error ratio of 33 dB on average and
               30 dB now and then. The transforms are orthonormal, so that a tone grows by the square root of two with
               every halving of the rate.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from models.frontends.settings import SettingsMixin

# Of the filters in `join_locally`.
REACH_SAMPLES = 2048


@dataclasses.dataclass(frozen=True)
class BandSplitConfig(SettingsMixin):
    """Settings of a band split.

    Attributes:
        bands: Number of octave bands; the lowest one takes the rest down to 0 Hz.
        exact: Whether the split can be undone, see the module text.
    """

    bands: int = 5
    exact: bool = True

    def __post_init__(self) -> None:
        if self.bands < 1:
            raise ValueError(f"bands must be at least 1, got {self.bands}")

    @property
    def multiple(self) -> int:
        """Number of samples whose multiples can be split without padding."""
        return 1 << self.bands

    def padded(self, samples: int) -> int:
        """Least length at or above ``samples`` that can be split."""
        return -(-samples // self.multiple) * self.multiple


def split_bands(waveform: Tensor, config: BandSplitConfig) -> list[Tensor]:
    """Bands of a waveform, the highest first.

    Args:
        waveform: Shape ``(batch, time)``; zeros are appended up to ``config.padded(time)``.
        config: Settings.

    Returns:
        Tensors ``(batch, padded / 2**i)``.

    Raises:
        ValueError: If the waveform has another shape or no sample.

    Source:
        Vinyard, "music-synthesis", 2020 (the published kind).
    """
    if waveform.ndim != 2 or waveform.shape[1] < 1:
        raise ValueError(f"waveform must have shape (batch, time >= 1), got {tuple(waveform.shape)}")
    size = config.padded(waveform.shape[1])
    spectrum = torch.fft.rfft(waveform, n=size)
    bands = []
    for i in range(config.bands):
        length = size // 2**i
        low, high = _bins(length, top=i == 0, bottom=i == config.bands - 1, config=config)
        part = torch.zeros(waveform.shape[0], length // 2 + 1, dtype=spectrum.dtype, device=spectrum.device)
        part[:, low:high] = spectrum[:, low:high]
        bands.append(torch.fft.irfft(part, n=length) * _gain(length / size, config))
    return bands


def join_bands(bands: Sequence[Tensor], config: BandSplitConfig, *, length: int | None = None) -> Tensor:
    """Waveform ``(batch, length)`` that is the sum of bands, the highest first.

    Args:
        bands: As `split_bands` gives them; what lies outside of a band's own range is left out.
        config: Settings.
        length: Samples to keep; all by default.

    Raises:
        ValueError: If number or lengths of the bands do not fit.
    """
    size = _check(bands, config)
    parts = []
    for i, band in enumerate(bands):
        low, high = _bins(size >> i, top=i == 0, bottom=i == config.bands - 1, config=config)
        part = torch.fft.rfft(band)[:, low:high] / _gain(2.0**-i, config)
        parts.append(torch.nn.functional.pad(part, (low, size // 2 + 1 - high)))
    joined: Tensor = torch.fft.irfft(torch.stack(parts).sum(0), n=size)
    return joined if length is None else joined[:, :length]


def join_locally(bands: Sequence[Tensor], config: BandSplitConfig) -> Tensor:
    """Waveform ``(batch, time)`` of bands as by `join_bands`, but by filters of finite length.

    A sample depends on `REACH_SAMPLES` samples on either side only, so that a clip can be joined piece by piece. The
    filters pass from one band to the next over about 30 Hz in place of one bin of the transform.

    Args:
        bands: The highest first.
        config: Settings.

    Raises:
        ValueError: If number or lengths of the bands do not fit.
    """
    size = _check(bands, config)
    total = size + 2 * REACH_SAMPLES
    spectrum: Tensor | None = None
    for i, band in enumerate(bands):
        spread = band.new_zeros(band.shape[0], size)
        spread[:, :: 1 << i] = band / _gain(2.0**-i, config)
        part = torch.fft.rfft(spread, n=total) * _response(total, i, config.bands).to(band)
        spectrum = part if spectrum is None else spectrum + part
    joined: Tensor = torch.fft.irfft(spectrum, n=total)[:, :size]
    return joined


@functools.lru_cache(maxsize=64)
def _response(total: int, band: int, bands: int) -> Tensor:
    place = torch.arange(-REACH_SAMPLES, REACH_SAMPLES + 1, dtype=torch.float64)
    window = torch.kaiser_window(2 * REACH_SAMPLES + 1, periodic=False, beta=8.0, dtype=torch.float64)

    def low_pass(band: int) -> Tensor:
        # Everything below the upper edge of a band; the filters of all bands add up to a single tap.
        if band == 0:
            return (place == 0).double()
        return torch.sinc(place * 2.0**-band) * 2.0**-band * window

    taps = low_pass(band) - (low_pass(band + 1) if band < bands - 1 else 0.0)
    around = torch.zeros(total, dtype=torch.float64)
    around[place.long() % total] = taps
    response: Tensor = torch.fft.rfft(around).real
    return response


def _check(bands: Sequence[Tensor], config: BandSplitConfig) -> int:
    size = bands[0].shape[-1] if bands else 0
    shapes = [tuple(band.shape) for band in bands]
    if len(bands) != config.bands or size % config.multiple or any(s[-1] != size >> i for i, s in enumerate(shapes)):
        raise ValueError(f"need {config.bands} bands, each half as long as the one before, got shapes {shapes}")
    return int(size)


def _bins(length: int, *, top: bool, bottom: bool, config: BandSplitConfig) -> tuple[int, int]:
    low = 0 if bottom else length // 4
    return low, length // 2 + (1 if top or not config.exact else 0)


def _gain(ratio: float, config: BandSplitConfig) -> float:
    return ratio if config.exact else math.sqrt(ratio)
