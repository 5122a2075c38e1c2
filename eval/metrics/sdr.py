"""Signal-to-distortion ratio in which a short filter of the reference is forgiven."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from eval.metrics.lags import lagged_products
from eval.metrics.pairs import per_clip

Samples = NDArray[np.float64]


def sdr(estimate: Tensor, reference: Tensor, *, taps: int = 512, zero_mean: bool = False) -> Tensor:
    """Signal-to-distortion ratio after the best filter of ``taps`` taps from the reference to the estimate.

    The estimate is projected on the reference and its delays of up to ``taps − 1`` samples. With the share ``c`` of its
    energy that this explains the value is ``10·log10(c / (1 − c))``. Higher is better; not symmetric. Blind to gain,
    polarity, delays shorter than the filter and any filter of that length, hence to much of equalisation and of a room.

    The normal equations are solved by Cholesky's method. Where they are singular to working precision, as for a pure
    tone, the projection is taken over the eigenvectors that can be told from rounding.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        taps: Length of the filter in samples.
        zero_mean: Take the mean off both signals first.

    Returns:
        Ratio in dB per clip, shape ``(...)``, float64. ``inf`` where the rest is below the rounding of the projection
        (about 129 dB), ``-inf`` for an estimate without any part of the reference, and ``nan`` where either signal is
        silent or, with ``zero_mean``, constant.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``taps``, or ``taps`` is below 1.

    Source:
        Vincent, Gribonval and Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 14(4),
        2006; the single-source case of BSS eval, version 3.
    """
    if taps < 1:
        raise ValueError(f"taps is {taps}; a filter has at least 1")

    def value(e: Tensor, r: Tensor) -> Tensor:
        if r.numel() < taps:
            raise ValueError(f"the clip has {r.numel()} samples, the filter needs at least taps = {taps}")
        made, wanted = (signal.cpu().numpy() for signal in (e, r))
        if zero_mean:
            made, wanted = made - made.mean(), wanted - wanted.mean()
        return torch.tensor(_ratio_db(made, wanted, taps), dtype=torch.float64, device=e.device)

    return per_clip(estimate, reference, value)


def _ratio_db(estimate: Samples, reference: Samples, taps: int) -> float:
    peaks = [float(np.abs(signal).max()) for signal in (estimate, reference)]
    if not all(peaks):
        return math.nan
    # The ratio knows no gain; a common scale keeps squares of very small samples away from zero.
    estimate, reference = estimate / peaks[0], reference / peaks[1]
    energy = float(np.add.reduce(estimate * estimate))
    own, shared = lagged_products(reference, [reference, estimate], taps)
    explained = _projected(own / own[0], shared / math.sqrt(own[0])) / energy
    rest = 1 - explained
    if rest < taps * np.finfo(np.float64).eps:
        return math.inf
    return 10 * math.log10(explained / rest) if explained > 0 else -math.inf


def _projected(own: Samples, shared: Samples) -> float:
    """Energy of a projection, from the products of the basis with itself by delay and with the signal."""
    matrix = linalg.toeplitz(own)
    limit = own.size * np.finfo(np.float64).eps
    try:
        factor = linalg.cholesky(matrix, lower=True, check_finite=False)
    except linalg.LinAlgError:
        factor = None
    if factor is not None and float(np.diagonal(factor).min()) ** 2 > limit:
        half = linalg.solve_triangular(factor, shared, lower=True, check_finite=False)
        return float(np.add.reduce(half * half))
    values, vectors = linalg.eigh(matrix, check_finite=False)
    kept = values > limit * values[-1]
    parts = vectors[:, kept].T @ shared
    return float(np.add.reduce(parts * parts / values[kept]))
