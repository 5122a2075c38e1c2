"""How alike two waveforms are once a delay and a turned polarity are forgiven, and how large these were.

One search gives three metrics, so that an estimate that comes late is not taken for a bad one, nor a late one for good.

* :func:`aligned_correlation`: correlation at the best delay.
* :func:`alignment_delay`: that delay.
* :func:`alignment_polarity`: the sign of the correlation there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eval.metrics.lags import lagged_products
from eval.metrics.pairs import per_clip


class Alignment(NamedTuple):
    """Where an estimate matches its reference best.

    Attributes:
        delay_samples: By how much the estimate comes late; negative where it comes early.
        polarity: 1 or −1.
        correlation: Cosine of the angle between the overlapping parts, after the polarity, in ``[0, 1]``.
    """

    delay_samples: int
    polarity: int
    correlation: float


def align(estimate: Tensor, reference: Tensor, *, max_delay_samples: int) -> Alignment | None:
    """Delay and polarity at which one clip matches another best.

    The delay is where the sum of the products of the overlapping samples is largest in magnitude, the smallest such
    delay where several are equal. Signals are zero outside the clip, so that of the equivalent delays of a periodic
    signal the one with the longest overlap wins.

    Args:
        estimate: Synthesised waveform, shape ``(time,)``.
        reference: Recorded waveform, same shape and sample rate.
        max_delay_samples: Largest delay to look at, either way; at most ``time − 1`` is used.

    Returns:
        The best alignment; ``None`` where no delay gives any correlation, because a signal is silent.

    Raises:
        ValueError: If ``max_delay_samples`` is negative.
    """
    if max_delay_samples < 0:
        raise ValueError(f"max_delay_samples is {max_delay_samples}; it has to be at least 0")
    late, still = (signal.detach().cpu().to(torch.float64).numpy() for signal in (estimate, reference))
    reach = min(max_delay_samples, still.size - 1)
    padded = np.concatenate([np.zeros(reach), late])
    (products,) = lagged_products(still, [padded], 2 * reach + 1)
    strengths = np.abs(products)
    # Rounding must not decide between equal delays.
    near = np.flatnonzero(strengths >= strengths.max() * (1 - 1e-12)) - reach
    delay = int(near[np.lexsort((near, np.abs(near)))[0]])
    overlap = still.size - abs(delay)
    a = late[max(0, delay) :][:overlap]
    b = still[max(0, -delay) :][:overlap]
    product = float(np.add.reduce(a * b))
    energies = float(np.add.reduce(a * a)) * float(np.add.reduce(b * b))
    if not energies or not product:
        return None
    correlation = min(1.0, abs(product) / math.sqrt(energies))
    return Alignment(delay, 1 if product > 0 else -1, correlation)


def _measure(estimate: Tensor, reference: Tensor, sample_rate_hz: int, max_delay_s: float, field: str) -> Tensor:
    reach = round(max_delay_s * sample_rate_hz)

    def value(e: Tensor, r: Tensor) -> Tensor:
        found = align(e, r, max_delay_samples=reach)
        number = math.nan if found is None else float(getattr(found, field))
        return torch.tensor(number, dtype=torch.float64, device=e.device)

    return per_clip(estimate, reference, value)


def aligned_correlation(
    estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, max_delay_s: float = 0.1
) -> Tensor:
    """Correlation of the overlapping parts at the best delay and polarity, ``|⟨ŷ, y⟩| / (‖ŷ‖·‖y‖)``.

    One for a delayed, turned or scaled copy; higher is better. No mean is taken off. Symmetric up to equal maxima.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        max_delay_s: Largest delay to look at, either way, in seconds.

    Returns:
        Correlation per clip, shape ``(...)``, float64, in ``[0, 1]``; ``nan`` where nothing correlates at any delay.

    Raises:
        ValueError: If the shapes differ, there is no sample, or ``max_delay_s`` is negative.

    Source:
        Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE TASSP 24(4), 1976,
        without weighting.
    """
    return _measure(estimate, reference, sample_rate_hz, max_delay_s, "correlation")


def alignment_delay(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, max_delay_s: float = 0.1) -> Tensor:
    """Length of the delay at which the estimate matches best, in either direction.

    Zero for equal signals; lower is better; symmetric up to equal maxima. :func:`align` tells early from late. A delay
    of a tone is known up to whole periods only.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        max_delay_s: Largest delay to look at, either way, in seconds.

    Returns:
        Delay in milliseconds per clip, shape ``(...)``, float64, in ``[0, 1000·max_delay_s]`` and a whole number of
        samples; ``nan`` where nothing correlates at any delay.

    Raises:
        ValueError: If the shapes differ, there is no sample, or ``max_delay_s`` is negative.

    Source:
        Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE TASSP 24(4), 1976,
        without weighting.
    """
    samples = _measure(estimate, reference, sample_rate_hz, max_delay_s, "delay_samples")
    return samples.abs() * (1000 / sample_rate_hz)


def alignment_polarity(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, max_delay_s: float = 0.1) -> Tensor:
    """Sign of the correlation at the best delay: 1 where the polarity is kept, −1 where it is turned.

    Its mean over clips tells how many are turned. A delay of half a period and a turned tone are the same; the smaller
    delay decides.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        max_delay_s: Largest delay to look at, either way, in seconds.

    Returns:
        Sign per clip, shape ``(...)``, float64, −1 or 1; ``nan`` where nothing correlates at any delay.

    Raises:
        ValueError: If the shapes differ, there is no sample, or ``max_delay_s`` is negative.

    Source:
        The sign of the maximum of Knapp and Carter, "The generalized correlation method for estimation of time delay",
        IEEE TASSP 24(4), 1976.
    """
    return _measure(estimate, reference, sample_rate_hz, max_delay_s, "polarity")
