"""Kernel distances: the unbiased squared maximum mean discrepancy with a Gaussian or a polynomial kernel.

``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over all pairs of different clips. Its expectation is 0 for equal
distributions at any number of clips, so it may fall below 0 by chance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np

from eval.sets.definition import Undefined
from eval.sets.matrices import Floats, Marks, checked, squared_distances

_BLOCK = 1024
_LEAST_CLIPS = 10
_MOST_FOR_MEDIAN = 4096

Kernel = Callable[[Floats, Floats], Floats]


def median_distance(reference: Floats) -> float:
    """Median Euclidean distance between different clips of a set, the bandwidth of its Gaussian kernel.

    Of more than 4,096 clips, 4,096 evenly spaced ones are taken.

    Raises:
        Undefined: If at least half of all pairs coincide.
    """
    n = len(reference)
    if n > _MOST_FOR_MEDIAN:
        reference = reference[np.linspace(0, n - 1, _MOST_FOR_MEDIAN).round().astype(int)]
    upper = np.triu_indices(len(reference), 1)
    median = float(np.sqrt(np.median(squared_distances(reference, reference)[upper])))
    scale = float(np.abs(reference - reference.mean(axis=0)).max())
    # Equal rows come out a few roundings apart from each other.
    if median <= 1e-7 * scale or median == 0.0:
        raise Undefined("at least half of all pairs of reference clips have the same embedding")
    return median


def gaussian(bandwidth: float) -> Kernel:
    """``exp(-|x - y|^2 / (2 bandwidth^2))``."""
    return lambda a, b: np.exp(squared_distances(a, b) / (-2.0 * bandwidth**2))


def polynomial(degree: int) -> Kernel:
    """``(x . y / d + 1)^degree``."""
    return lambda a, b: (a @ b.T / a.shape[1] + 1.0) ** degree


def discrepancies(pool: Floats, estimate: Marks, reference: Marks, kernel: Kernel) -> Floats:
    """Unbiased squared discrepancies of many divisions of one pool of clips.

    Args:
        pool: Embeddings, shape ``(clips, d)``.
        estimate: Which clips are on the one side, shape ``(clips, divisions)``.
        reference: Which are on the other side, same shape.
        kernel: Function of two matrices.

    Returns:
        Shape ``(divisions,)``; each side needs two clips or more.
    """
    x, y = estimate.astype(np.float64), reference.astype(np.float64)
    sums = np.zeros((3, x.shape[1]))
    own = np.zeros(len(pool))
    for start in range(0, len(pool), _BLOCK):
        rows = slice(start, start + _BLOCK)
        gram = kernel(pool[rows], pool)
        own[rows] = gram[np.arange(len(gram)), np.arange(start, start + len(gram))]
        towards_x, towards_y = gram @ x, gram @ y
        sums += [(x[rows] * towards_x).sum(0), (y[rows] * towards_y).sum(0), (x[rows] * towards_y).sum(0)]
    n, m = x.sum(0), y.sum(0)
    within_x = (sums[0] - own @ x) / (n * (n - 1))
    within_y = (sums[1] - own @ y) / (m * (m - 1))
    out: Floats = within_x + within_y - 2.0 * sums[2] / (n * m)
    return out


class GaussianPlan:
    """`kernel_distance` for many divisions of one pool, with the bandwidth of the reference as it is.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        parameters: Of the table's row.

    Raises:
        Undefined: If a set is too small or the reference has no spread.
    """

    def __init__(self, estimate: Floats, reference: Floats, parameters: Mapping[str, float]) -> None:
        made, wanted = checked(estimate, reference, _LEAST_CLIPS)
        self.bandwidth = median_distance(wanted)
        # The kernel sees differences only, and these keep more digits around the origin.
        self.pool = np.concatenate([made, wanted]) - wanted.mean(axis=0)
        self.scale = float(parameters.get("scale", 100.0))
        self.facts: dict[str, object] = {"bandwidth": self.bandwidth}

    def many(self, estimate: Marks, reference: Marks) -> Floats:
        """Values, shape ``(divisions,)``, for marks of shape ``(clips, divisions)``."""
        return self.scale * discrepancies(self.pool, estimate, reference, gaussian(self.bandwidth))

    def exchangeable(self) -> GaussianPlan:
        """The plan with the bandwidth of all clips together, which favours no side: what a permutation test needs."""
        plan = copy.copy(self)
        plan.bandwidth = median_distance(self.pool)
        return plan


class PolynomialPlan:
    """`polynomial_distance` for many divisions of one pool.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        parameters: Of the table's row.

    Raises:
        Undefined: If a set is too small or has no spread.
    """

    def __init__(self, estimate: Floats, reference: Floats, parameters: Mapping[str, int]) -> None:
        made, wanted = checked(estimate, reference, _LEAST_CLIPS)
        if not np.ptp(wanted, axis=0).any():
            raise Undefined("all reference clips have the same embedding")
        self.pool = np.concatenate([made, wanted])
        self.degree = int(parameters.get("degree", 3))
        self.facts: dict[str, object] = {}

    def many(self, estimate: Marks, reference: Marks) -> Floats:
        """Values, shape ``(divisions,)``, for marks of shape ``(clips, divisions)``."""
        return discrepancies(self.pool, estimate, reference, polynomial(self.degree))


def _sides(n: int, m: int) -> tuple[Marks, Marks]:
    first = (np.arange(n + m) < n)[:, None]
    return first, ~first


def kernel_distance(estimate: Floats, reference: Floats, *, scale: float = 100.0) -> float:
    """Kernel audio distance: the unbiased squared discrepancy with a Gaussian kernel, times ``scale``.

    About 0 for equal distributions at any number of clips. Not symmetric: the bandwidth is the median distance within
    the reference, so that one reference judges all systems alike.

    Args:
        estimate: Embeddings of the clips of a model, shape ``(n, d)``.
        reference: Embeddings of recorded clips, shape ``(m, d)``.
        scale: Factor on the discrepancy.

    Raises:
        Undefined: If a set has fewer than ten clips, or the reference has no spread.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Gretton et al., "A kernel two-sample test", JMLR 13, 2012; Chung et al., "KAD: no more FAD!", ICML 2025.
    """
    plan = GaussianPlan(estimate, reference, {"scale": scale})
    return float(plan.many(*_sides(len(estimate), len(reference)))[0])


def polynomial_distance(estimate: Floats, reference: Floats, *, degree: int = 3) -> float:
    """Unbiased squared discrepancy with the kernel ``(x . y / d + 1)^degree``; symmetric.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        degree: Of the polynomial.

    Raises:
        Undefined: If a set has fewer than ten clips, or the reference has no spread.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Bińkowski et al., "Demystifying MMD GANs", ICLR 2018.
    """
    plan = PolynomialPlan(estimate, reference, {"degree": degree})
    return float(plan.many(*_sides(len(estimate), len(reference)))[0])
