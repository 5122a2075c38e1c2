"""From a batch of signals to pairs of single clips, which is what every metric works on.

A clip is taken out of its batch before anything is computed, so that no score can depend on the size of the batch or on
the other clips in it, and so that intermediate arrays stay small enough for the cache.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def single(row: Tensor) -> Tensor:
    """One clip, shape ``(time,)``, as contiguous float64 on the CPU or on a CUDA device."""
    row = row.detach()
    if row.device.type == "cuda":
        return row.to(torch.float64).contiguous()
    # Other backends have no float64. NumPy converts without starting threads.
    samples = row.cpu().numpy() if row.dtype != torch.bfloat16 else row.float().cpu().numpy()
    return torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float64))


def unconverted(row: Tensor) -> Tensor:
    """One clip, shape ``(time,)``, contiguous, in float64, or in float32 where it is in float32 already."""
    if row.dtype == torch.float32 and row.device.type in ("cpu", "cuda"):
        return row.detach().contiguous()
    return single(row)


def check_shapes(estimate: Tensor, reference: Tensor) -> None:
    """Refuse signals that cannot be compared sample by sample.

    Raises:
        ValueError: If the shapes differ or there is no sample.
    """
    if estimate.shape != reference.shape:
        raise ValueError(f"estimate has shape {tuple(estimate.shape)}, reference {tuple(reference.shape)}")
    if estimate.ndim == 0 or estimate.shape[-1] == 0:
        raise ValueError(f"signals of shape {tuple(estimate.shape)} have no samples")


def per_clip(
    estimate: Tensor, reference: Tensor, value: Callable[[Tensor, Tensor], Tensor], *, widen: bool = True
) -> Tensor:
    """Apply ``value`` to every pair of clips.

    Args:
        estimate: Shape ``(..., time)``.
        reference: Same shape.
        value: From two clips of shape ``(time,)`` to a scalar tensor.
        widen: Whether to hand on float32 clips as float64.

    Returns:
        Values in float64, shape ``(...)``, on the device of ``estimate``.

    Raises:
        ValueError: If the shapes differ or there is no sample.
    """
    check_shapes(estimate, reference)
    samples = estimate.shape[-1]
    clip = single if widen else unconverted
    values = [
        value(clip(e), clip(r))
        for e, r in zip(estimate.reshape(-1, samples), reference.reshape(-1, samples), strict=True)
    ]
    if not values:
        return torch.empty(estimate.shape[:-1], dtype=torch.float64, device=estimate.device)
    stacked = torch.stack(values).reshape(estimate.shape[:-1])
    return stacked if estimate.device.type not in ("cpu", "cuda") else stacked.to(estimate.device)
