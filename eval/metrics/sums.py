"""Sums over the bins of a pair of spectrograms, taken tile by tile.

Every spectral metric of the table is a formula over a few of these sums. Stated so, metrics that look at the same
transform share it: :func:`spectral_sums` transforms each clip once per setting and works on tiles of frames that stay
in the cache (:mod:`eval.metrics.tiles`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.kernels import kernel_for
from eval.metrics.quantities import QUANTITIES
from eval.metrics.rounding import BOUNDS, stands_in_single
from eval.metrics.tiles import Bank, Clips, Spectrogram, Tile


@dataclass(frozen=True)
class Request:
    """One sum over a pair of magnitude spectrograms.

    Attributes:
        stft: The transform.
        quantity: Key of :data:`eval.metrics.quantities.QUANTITIES`.
        floor: Magnitudes (or mel bands) below are raised to it first.
        mel: Filter bank, for the quantities over mel bands.
        numbers: What else the quantity needs to know, in its order.
    """

    stft: Stft
    quantity: str
    floor: float = 0.0
    mel: Mel | None = None
    numbers: tuple[float, ...] = ()


class Plan(NamedTuple):
    """A metric as sums and a formula.

    Attributes:
        requests: The sums it needs.
        combine: From these sums, as scalar tensors in the order of ``requests``, and the number of samples of the clip
            to the value.
    """

    requests: tuple[Request, ...]
    combine: Callable[[Sequence[Tensor], int], Tensor]


def spectral_sums(
    estimate: Tensor, reference: Tensor, requests: Sequence[Request]
) -> tuple[dict[Request, Tensor], dict[Stft, float]]:
    """Take all requested sums over one pair of clips.

    Args:
        estimate: Float64 or float32, shape ``(time,)``, contiguous, on the CPU or a CUDA device.
        reference: The same.
        requests: What to sum; a request that occurs twice is summed once.

    Returns:
        The sums as float64 scalars, and the seconds spent per transform setting (on a CUDA device, the seconds until
        its work was queued).

    Raises:
        ValueError: If the clip is shorter than a transform.
    """
    kernel = kernel_for(reference.device)
    pair = Clips(kernel, (kernel.from_tensor(estimate), kernel.from_tensor(reference)))
    # Who hands over float64 wants its digits.
    adaptive = kernel.estimates_rounding and estimate.dtype == reference.dtype == torch.float32
    sums: dict[Request, Tensor] = {}
    seconds: dict[Stft, float] = {}
    for settings in dict.fromkeys(request.stft for request in requests):
        started = time.perf_counter()
        wanted = [request for request in dict.fromkeys(requests) if request.stft == settings]
        banks = {mel: Bank(mel, settings) for mel in {r.mel for r in wanted if r.mel is not None}}
        work = [(r.quantity, r.floor, None if r.mel is None else banks[r.mel], r.numbers) for r in wanted]
        totals = _totals(Spectrogram(kernel, pair, settings), work, settings.precision, adaptive=adaptive)
        sums.update(zip(wanted, kernel.to_tensor(totals), strict=True))
        seconds[settings] = time.perf_counter() - started
    return sums, seconds


_Work = list[tuple[str, float, Bank | None, tuple[float, ...]]]


def _totals(spectrogram: Spectrogram, work: _Work, precision: str, *, adaptive: bool) -> list[Any]:
    """Sums over all tiles; what becomes of one does not depend on the others."""
    totals: list[Any] = [0.0] * len(work)
    pace = [_Pace(adaptive and precision == "adaptive" and quantity in BOUNDS) for quantity, *_ in work]
    floors = {floor for _, floor, *_ in work}
    shared = floors.pop() if len(floors) == 1 and all(bank is None for _, _, bank, _ in work) else 0.0
    for first, last in spectrogram.spans:
        left = list(range(len(work)))
        if precision == "float32" or any(one.ready() for one in pace):
            tile = spectrogram.tile(first, last, single=True, floor=shared)
            taken = left if precision == "float32" else [index for index in left if pace[index].ready()]
            for index in taken:
                if precision == "float32" or pace[index].stands(stands_in_single(tile, *work[index])):
                    totals[index] = totals[index] + _part(tile, *work[index])
                    left = [other for other in left if other != index]
        for one in pace:
            one.step()
        if left:
            tile = spectrogram.tile(first, last, single=False, floor=shared)
            for index in left:
                totals[index] = totals[index] + _part(tile, *work[index])
    return totals


class _Pace:
    """Which tiles of a sum to try in single precision: after every failure, fewer of those that follow."""

    def __init__(self, willing: bool) -> None:
        self._wait = 0.0 if willing else math.inf
        self._failures = 0

    def ready(self) -> bool:
        return not self._wait

    def stands(self, found: bool) -> bool:
        if not found:
            self._failures += 1
            self._wait = 2.0**self._failures
        return found

    def step(self) -> None:
        self._wait = max(0.0, self._wait - 1)


def _part(tile: Tile, quantity: str, floor: float, bank: Bank | None, numbers: tuple[float, ...]) -> Any:
    part = QUANTITIES[quantity](tile, floor, bank, numbers)
    return part if isinstance(part, Tensor) else float(part)
