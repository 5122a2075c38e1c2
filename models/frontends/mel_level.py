"""Levels of a waveform moved towards a wanted log-mel, its phases left as they are."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from models.frontends.mel import MelConfig, expand, mel_filterbank
from models.frontends.stft import istft, stft

# Frames on either side that one round reaches: a window on the way there and one on the way back.
REACH_FRAMES = 8


@functools.lru_cache(maxsize=8)
def _spread(config: MelConfig) -> tuple[Tensor, Tensor]:
    """Bands of the front end, and how much each band says about each bin (columns sum to one, or zero)."""
    bands = mel_filterbank(config).float()
    return bands, bands / bands.sum(0, keepdim=True).clamp_min(1e-9)


def match_mel(waveform: Tensor, mel: Tensor, config: MelConfig, *, rounds: int = 1) -> Tensor:
    """Scale the bins of a waveform so that its mel comes nearer to a wanted one.

    Every bin is scaled by the geometric mean of what its bands lack, and the result is put together again; the
    overlap of frames undoes part of it, hence several rounds. Bins outside all bands keep their level.

    Args:
        waveform: Shape ``(batch, frames * hop)``.
        mel: Wanted log-mel, shape ``(batch, n_mels, frames)``, of magnitudes (power 1).
        config: Front end that the mel was made with, framed so that frames times hop is the length.
        rounds: How often; 0 gives the waveform back.

    Raises:
        ValueError: If the front end is of power, or lengths do not fit.
    """
    if config.power != 1:
        raise ValueError(f"levels are matched on magnitudes, the front end has power {config.power}")
    if config.stft.frames(waveform.shape[1]) != mel.shape[2]:
        raise ValueError(f"{waveform.shape[1]} samples do not fit {mel.shape[2]} frames")
    bands, spread = (part.to(waveform) for part in _spread(config))
    least = max(config.floor, 1e-8)
    wanted = expand(mel, config).clamp_min(least).to(waveform)
    for _ in range(rounds):
        spectrum = stft(waveform, config.stft)
        gain = torch.log(wanted / (bands @ spectrum.abs()).clamp_min(least))
        waveform = istft(spectrum * torch.exp(spread.T @ gain), config.stft, length=waveform.shape[1])
    return waveform
