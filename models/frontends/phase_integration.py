"""A phase from magnitudes alone, by integrating the phase gradient along the ridges of a spectrogram.

With a Gaussian window the derivatives of the phase follow from those of the log magnitude; Hann and Hamming windows are
near enough to a Gaussian one of the right width. The exact way from gradient to phase takes the bins of the whole
picture one by one, loudest first, from a heap. Here each frame is joined to the one before at its peaks only, and every
other bin hangs on the peak that it climbs to from bin to bin. The climbs of all frames are found at once; what has to
follow the order of time is one look-up and one sum per frame.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.frontends.stft import StftConfig

# Time-frequency ratio of the Gaussian nearest to a window of length L, over L².
_RATIOS = {"hann": 0.25645, "hamming": 0.29794}

# Magnitudes below this share of the largest are raised to it: their logarithm is noise.
_LEAST = 1e-8

# Smallest difference of levels between a peak and its flanks, in nepers.
_STEP = 0.03


def integrated_phase(magnitude: Tensor, config: StftConfig) -> Tensor:
    """Complex numbers of magnitude one to start Griffin-Lim from.

    Args:
        magnitude: Non-negative, shape ``(batch, n_fft / 2 + 1, frames)``.
        config: Settings of the transform that the magnitude belongs to.

    Returns:
        Complex, shape of ``magnitude``. Rows do not depend on each other. The sign of the whole signal cannot be known
        from magnitudes; a row of zeros has phase zero at every bin of its first frame but for the delay of the window.

    Raises:
        ValueError: If the magnitude does not have three axes or ``n_fft / 2 + 1`` bins.

    Source:
        Průša, Balazs and Søndergaard, "A noniterative method for reconstruction of phase from STFT magnitude",
        IEEE/ACM TASLP 25(5), 2017; frame after frame as in Průša and Søndergaard, "Real-time spectrogram inversion
        using phase gradient heap integration", DAFx 2016.
    """
    bins = config.n_fft // 2 + 1
    if magnitude.ndim != 3 or magnitude.shape[1] != bins:
        raise ValueError(f"magnitude must have shape (batch, {bins}, frames), got {tuple(magnitude.shape)}")
    rows = [_row(row.detach(), config) for row in magnitude]
    return torch.stack(rows) if rows else magnitude.new_zeros(magnitude.shape, dtype=_complex(magnitude.dtype))


def _row(magnitude: Tensor, config: StftConfig) -> Tensor:
    """The phase of one signal, shape ``(bins, frames)``."""
    if magnitude.shape[1] == 0:
        return magnitude.to(_complex(magnitude.dtype))
    levels = magnitude.T.contiguous()
    loudest = float(levels.max())
    levels = levels.clamp_min(_LEAST * loudest if loudest > 0 else 1.0).log()
    peaks = _peak_reached(levels)
    across, onward = _gradients(levels, config)
    # Phase of each bin against bin 0 of its frame, then against its peak, then the step to the next frame at the peak.
    steps = torch.nn.functional.pad((across[:, 1:] + across[:, :-1]) / 2, (1, 0)).cumsum(1)
    steps = steps - steps.gather(1, peaks)
    steps[1:] += ((onward[1:] + onward[:-1]) / 2).gather(1, peaks[1:])
    steps.remainder_(2 * torch.pi)
    phase = steps
    for frame in range(1, len(phase)):
        torch.add(phase[frame - 1].index_select(0, peaks[frame]), steps[frame], out=phase[frame])
    phase = phase.to(magnitude.dtype).T
    return torch.complex(phase.cos(), phase.sin())


def _gradients(levels: Tensor, config: StftConfig) -> tuple[Tensor, Tensor]:
    """Derivatives of the phase of ``(frames, bins)`` over frequency, per bin, and over time, per frame, in radians."""
    frames, bins = levels.shape
    shape = _RATIOS[config.window] * config.win_length**2 / (config.hop_length * config.n_fft)
    across = torch.full_like(levels, -torch.pi, dtype=torch.float64)  # the window's middle lies half a frame on
    if frames > 1:
        across[1:-1] -= (levels[2:] - levels[:-2]) * (shape / 2)
        across[0] -= (levels[1] - levels[0]) * shape
        across[-1] -= (levels[-1] - levels[-2]) * shape
    carrier = torch.arange(bins, dtype=torch.float64, device=levels.device) * (
        2 * torch.pi * config.hop_length / config.n_fft
    )
    onward = carrier.repeat(frames, 1)
    onward[:, 1:-1] += (levels[:, 2:] - levels[:, :-2]) * (1 / (2 * shape))
    return across, onward


def _peak_reached(levels: Tensor) -> Tensor:
    """The local peak over frequency that each bin of ``(frames, bins)`` climbs to.

    Levels are told apart in steps, and along a plateau the way leads to its lower end: the ripples on the flat spectrum
    of a click are no peaks.
    """
    bins = levels.shape[1]
    places = torch.arange(bins, device=levels.device)
    levels = (levels / _STEP).round_()
    lower = torch.nn.functional.pad(levels[:, :-1], (1, 0), value=-torch.inf)
    upper = torch.nn.functional.pad(levels[:, 1:], (0, 1), value=-torch.inf)
    falls = (lower >= levels) & (lower >= upper)
    rises = (upper > levels) & ~falls
    # Bins that climb downwards in frequency end at the nearest bin below that does not, and the others alike.
    below = torch.where(falls, 0, places).cummax(1).values
    above = (bins - 1 - torch.where(rises, bins - 1, places)).flip(1).cummax(1).values.flip(1)
    return torch.where(falls, below, torch.where(rises, bins - 1 - above, places))


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype == torch.float64 else torch.complex64
