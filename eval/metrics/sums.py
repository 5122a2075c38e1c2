"""Sums over the bins of a pair of spectrograms, taken tile by tile.

Every spectral metric of the table is a formula over a few of these sums. Stated so, metrics that look at the same
transform share it: :func:`spectral_sums` transforms each clip once per setting and works on tiles of frames that stay
in the cache (:mod:`eval.metrics.tiles`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.kernels import kernel_for
from eval.metrics.quantities import QUANTITIES
from eval.metrics.tiles import Bank, tiles


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
        estimate: Float64, shape ``(time,)``, contiguous, on the CPU or a CUDA device.
        reference: The same.
        requests: What to sum; a request that occurs twice is summed once.

    Returns:
        The sums as float64 scalars, and the seconds spent per transform setting (on a CUDA device, the seconds until
        its work was queued).

    Raises:
        ValueError: If the clip is shorter than a transform.
    """
    kernel = kernel_for(reference.device)
    pair = (kernel.from_tensor(estimate), kernel.from_tensor(reference))
    sums: dict[Request, Tensor] = {}
    seconds: dict[Stft, float] = {}
    for settings in dict.fromkeys(request.stft for request in requests):
        started = time.perf_counter()
        wanted = [request for request in dict.fromkeys(requests) if request.stft == settings]
        banks = {mel: Bank(kernel, mel, settings) for mel in {r.mel for r in wanted if r.mel is not None}}
        work = [(QUANTITIES[r.quantity], r.floor, None if r.mel is None else banks[r.mel], r.numbers) for r in wanted]
        totals: list[Any] = [0.0] * len(wanted)
        for tile in tiles(kernel, pair, settings):
            for index, (quantity, floor, bank, numbers) in enumerate(work):
                part = quantity(tile, floor, bank, numbers)
                totals[index] = totals[index] + (part if isinstance(part, Tensor) else float(part))
        sums.update(zip(wanted, kernel.to_tensor(totals), strict=True))
        seconds[settings] = time.perf_counter() - started
    return sums, seconds
