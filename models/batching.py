"""Rows in, rows out: the checks and the grouping that all systems share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.errors import InputError


def check_waveform(
    waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int] | None, expected_hz: int | None, name: str
) -> None:
    """Refuse what no system can work on.

    Raises:
        InputError: If the shape, the rate, the number of seeds or a sample is impossible.
    """
    if waveform.ndim != 2 or waveform.shape[1] < 1:
        raise InputError(f"{name}: waveform must have shape (batch, time >= 1), got {tuple(waveform.shape)}")
    if sample_rate_hz < 1 or (expected_hz is not None and sample_rate_hz != expected_hz):
        raise InputError(f"{name}: sample rate is {sample_rate_hz} Hz, need {expected_hz or 'at least 1'} Hz")
    if seeds is not None and len(seeds) != waveform.shape[0]:
        raise InputError(f"{name}: {len(seeds)} seeds for {waveform.shape[0]} rows, need one each")
    if not bool(torch.isfinite(waveform).all()):
        raise InputError(f"{name}: waveform holds samples that are not finite numbers")


def in_fixed_groups(rows: Tensor, group: int, work: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply ``work`` to groups of exactly ``group`` rows, the last filled up with zeros.

    Kernels may choose their order of summation by batch size; with one size only, a row comes out the same
    bit for bit whatever stands beside it.
    """
    out = []
    for start in range(0, rows.shape[0], group):
        part = rows[start : start + group]
        n = part.shape[0]
        if n < group:
            part = torch.cat([part, part.new_zeros(group - n, *part.shape[1:])])
        out.append(work(part)[:n])
    return torch.cat(out)


def cut(waveform: Tensor, length: int) -> Tensor:
    """Pieces ``(batch, pieces, length)`` of a waveform ``(batch, time)``, zeros after its end."""
    pieces = -(-waveform.shape[1] // length)
    padded = torch.nn.functional.pad(waveform, (0, pieces * length - waveform.shape[1]))
    return padded.reshape(waveform.shape[0], pieces, length)
