"""Folding: blocks of mel columns as the tokens of a sequence model, and back.

A token holds ``n`` neighbouring columns, mel-major: entry ``mel * n + column``. Folding is a bijection on whole
blocks; a rest is filled up with the front end's floor, and unfolding cuts that off again.

Source:
    MelReformer, a public repository: 32 columns of 128 bands become one token of 4,096 numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pad_to_multiple(mel: Tensor, n: int, *, floor: float) -> Tensor:
    """Fill up the time axis of ``(batch, n_mels, frames)`` with the floor to a multiple of ``n``, at least one."""
    if n < 1:
        raise ValueError(f"a block needs at least 1 column, got {n}")
    frames = mel.shape[-1]
    wanted = max(1, -(-frames // n)) * n
    return mel if wanted == frames else torch.nn.functional.pad(mel, (0, wanted - frames), value=floor)


def fold(mel: Tensor, n: int, *, floor: float) -> Tensor:
    """Tokens ``(batch, blocks, n_mels * n)`` of a mel ``(batch, n_mels, frames)`` of any length.

    >>> fold(torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]), 2, floor=0.0)
    tensor([[[1., 2., 4., 5.],
             [3., 0., 6., 0.]]])
    """
    if mel.ndim != 3:
        raise ValueError(f"mel must have shape (batch, n_mels, frames), got {tuple(mel.shape)}")
    mel = pad_to_multiple(mel, n, floor=floor)
    batch, n_mels, frames = mel.shape
    return mel.reshape(batch, n_mels, frames // n, n).transpose(1, 2).reshape(batch, frames // n, n_mels * n)


def unfold(tokens: Tensor, n: int, *, frames: int | None = None) -> Tensor:
    """Mel ``(batch, n_mels, frames)`` of tokens ``(batch, blocks, n_mels * n)``.

    Args:
        tokens: As made by `fold`.
        n: Columns in a token.
        frames: Columns to keep; all when None.

    Raises:
        ValueError: If the tokens do not hold whole columns, or fewer columns than asked for.
    """
    if n < 1 or tokens.ndim != 3 or tokens.shape[-1] % n:
        raise ValueError(f"tokens must have shape (batch, blocks, n_mels * {n}), got {tuple(tokens.shape)}")
    batch, blocks, size = tokens.shape
    if frames is not None and not 0 <= frames <= blocks * n:
        raise ValueError(f"{blocks} blocks of {n} hold {blocks * n} frames, asked for {frames}")
    mel = tokens.reshape(batch, blocks, size // n, n).transpose(1, 2).reshape(batch, size // n, blocks * n)
    return mel if frames is None else mel[..., :frames]
