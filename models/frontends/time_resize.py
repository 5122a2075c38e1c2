"""Shrinking and stretching a mel along time.

Columns are taken as samples at the centres of equal cells, so that shrinking by ``s`` and stretching by ``s``
keep everything where it was. Shrinking by plain linear interpolation, as published, looks at two columns out of
``s`` and folds faster modulation back into the result (aliases); the area mean is the low-pass that belongs there.

Source:
    MelReformer, a public repository (linear interpolation); Catmull and Rom, "A class of local interpolating
    splines", 1974.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

SHRINKS = ("linear", "area")
STRETCHES = ("linear", "cubic")


def shrink(mel: Tensor, columns: int, kind: str = "area") -> Tensor:
    """Fewer columns of a mel ``(batch, n_mels, frames)``.

    Args:
        mel: Any values.
        columns: Columns wanted; a mel that has no more is left as it is.
        kind: ``"linear"`` (published, aliases) or ``"area"`` (mean over each cell, exact for any ratio).

    Returns:
        Shape ``(batch, n_mels, columns)``.

    Raises:
        ValueError: If the shape, the number of columns or the kind is impossible.
    """
    _check(mel, columns, kind, SHRINKS)
    if columns >= mel.shape[-1]:
        return mel
    if kind == "linear":
        return torch.nn.functional.interpolate(mel, size=columns, mode="linear", align_corners=False)
    return mel @ _area_weights(mel.shape[-1], columns).to(mel)


def stretch(mel: Tensor, frames: int, kind: str = "linear") -> Tensor:
    """More columns of a mel ``(batch, n_mels, columns)``; beyond the outer centres the outer values go on.

    Args:
        mel: Any values.
        frames: Columns wanted.
        kind: ``"linear"`` or ``"cubic"`` (Catmull-Rom, which passes through its knots and may overshoot).

    Returns:
        Shape ``(batch, n_mels, frames)``.

    Raises:
        ValueError: If the shape, the number of frames or the kind is impossible.
    """
    _check(mel, frames, kind, STRETCHES)
    if frames == mel.shape[-1]:
        return mel
    if kind == "linear":
        return torch.nn.functional.interpolate(mel, size=frames, mode="linear", align_corners=False)
    taps, weights = _catmull_rom(mel.shape[-1], frames)
    picked = mel[..., taps.to(mel.device)]
    return (picked * weights.to(mel)).sum(-1)


def _check(mel: Tensor, length: int, kind: str, kinds: tuple[str, ...]) -> None:
    if mel.ndim != 3 or mel.shape[-1] < 1:
        raise ValueError(f"mel must have shape (batch, n_mels, frames >= 1), got {tuple(mel.shape)}")
    if length < 1:
        raise ValueError(f"need at least 1 column, got {length}")
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}, got {kind!r}")


@functools.lru_cache(maxsize=32)
def _area_weights(frames: int, columns: int) -> Tensor:
    """Share of every frame in every column, ``(frames, columns)``; columns sum to one."""
    edges = torch.arange(columns + 1, dtype=torch.float64) * (frames / columns)
    left = torch.arange(frames, dtype=torch.float64)[:, None]
    overlap = torch.minimum(left + 1.0, edges[1:]) - torch.maximum(left, edges[:-1])
    return (overlap.clamp_min(0.0) * (columns / frames)).float()


@functools.lru_cache(maxsize=32)
def _catmull_rom(columns: int, frames: int) -> tuple[Tensor, Tensor]:
    """Four neighbours of every frame and their weights, each ``(frames, 4)``."""
    place = (torch.arange(frames, dtype=torch.float64) + 0.5) * (columns / frames) - 0.5
    place = place.clamp(0.0, columns - 1.0)
    base = place.floor()
    t = place - base
    weights = torch.stack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1.0 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2.0 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ],
        -1,
    )
    taps = (base[:, None].long() + torch.arange(-1, 3)).clamp(0, columns - 1)
    return taps, weights.float()
