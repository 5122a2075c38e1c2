"""Fréchet distance between two Gaussians fitted to embeddings, and its extrapolation to endless sets.

``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``. The trace of the root is the sum of the roots of the eigenvalues of
the symmetric ``L1' C2 L1`` with ``C1 = L1 L1'``; where these spread so far that their roots would lose digits, it is
the sum of the singular values of ``L1' L2``, which loses none.

The distance of two finite samples of one distribution is above 0, by what goes with one over the number of clips.
The extrapolation measures smaller and smaller parts of both sets, drawn without replacement, and follows the line back.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigvalsh, svdvals

from eval.sets.definition import Undefined
from eval.sets.matrices import Floats, checked

_LEAST_SPREAD = 1e-12
_ROUNDINGS = 8
_LOST = 1e-11
_RANK = 1e-12
_CLIPS_PER_DIRECTION = 2


def moments(matrix: Floats) -> tuple[Floats, Floats]:
    """Mean ``(d,)`` and unbiased covariance ``(d, d)`` of the rows."""
    mean = matrix.mean(axis=0)
    gap = matrix - mean
    return mean, gap.T @ gap / (len(matrix) - 1)


def root_trace(covariance_a: Floats, covariance_b: Floats) -> float:
    """Trace of the root of the product of two positive definite matrices.

    Raises:
        Undefined: If one has no full rank.
    """
    lower = _factor(covariance_a, "estimate")
    other = _factor(covariance_b, "reference")
    values = eigvalsh(lower.T @ covariance_b @ lower, driver="evr", check_finite=False)
    if values[0] > _LEAST_SPREAD * values[-1]:
        roots = np.sqrt(values)
        # An eigenvalue is known to a few roundings of the largest, its root to that over twice the root.
        lost = _ROUNDINGS * np.finfo(np.float64).eps * values[-1] * (0.5 / roots).sum()
        if lost < _LOST * roots.sum():
            return float(roots.sum())
    return float(svdvals(lower.T @ other, check_finite=False).sum())


def _factor(covariance: Floats, name: str) -> Floats:
    try:
        lower: Floats = cholesky(covariance, lower=True, check_finite=False)
    except LinAlgError:
        lower = np.zeros_like(covariance)
    diagonal = np.diagonal(lower)
    # Pivot against the variance of its own number, so that units do not matter.
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    if not (spread > 0).all() or (diagonal / spread).min() < np.sqrt(_RANK):
        raise Undefined(f"the covariance of the {name} has no full rank in {len(covariance)} dimensions")
    return lower


def frechet_from_moments(mean_a: Floats, covariance_a: Floats, mean_b: Floats, covariance_b: Floats) -> float:
    """Fréchet distance of two Gaussians.

    Raises:
        Undefined: If a covariance has no full rank.

    >>> frechet_from_moments(np.zeros(2), np.eye(2), np.array([3.0, 0.0]), 4.0 * np.eye(2))
    11.0
    """
    gap = mean_a - mean_b
    traces = float(np.trace(covariance_a) + np.trace(covariance_b))
    return float(gap @ gap) + traces - 2.0 * root_trace(covariance_a, covariance_b)


def frechet_distance(estimate: Floats, reference: Floats, *, directions: int | None = None) -> float:
    """Fréchet distance of two sets; above 0 for equal distributions by a bias that goes with 1 / n.

    Symmetric, unless ``directions`` are chosen, which follow the reference.

    Args:
        estimate: Embeddings of the clips of a model, shape ``(n, d)``.
        reference: Embeddings of recorded clips, shape ``(m, d)``.
        directions: Look only at so many principal components of the reference; all dimensions for None.

    Returns:
        The distance, 0 or above, in squared units of the embedding.

    Raises:
        Undefined: If a set has no more clips than dimensions, or a covariance has no full rank.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982; Kilgour et al.,
        "Fréchet audio distance", Interspeech 2019.
    """
    made, wanted = checked(estimate, reference)
    made, wanted = _projected(made, wanted, directions)
    for name, matrix in (("estimate", made), ("reference", wanted)):
        if len(matrix) <= matrix.shape[1]:
            raise Undefined(f"the {name} has {len(matrix)} clips, {matrix.shape[1]} dimensions need more than that")
    return max(0.0, frechet_from_moments(*moments(made), *moments(wanted)))


def _projected(made: Floats, wanted: Floats, directions: int | None) -> tuple[Floats, Floats]:
    if directions is None or directions >= wanted.shape[1]:
        return made, wanted
    centre, covariance = moments(wanted)
    axes = np.linalg.eigh(covariance)[1][:, -directions:]
    return (made - centre) @ axes, (wanted - centre) @ axes


def frechet_distance_infinity(
    estimate: Floats,
    reference: Floats,
    *,
    seed: int = 0,
    points: int = 10,
    draws: int = 4,
    directions: int | None = None,
) -> float:
    """Fréchet distance extrapolated to endless sets.

    Both sets shrink to the same share ``t``; the line through the distances over ``1 / t`` is followed to 0.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        seed: Seed of the parts.
        points: Shares that are measured, evenly spaced in ``1 / t`` from 1 on.
        draws: Parts for each share below 1.
        directions: See `frechet_distance`.

    Returns:
        The distance; it may fall below 0 by chance.

    Raises:
        Undefined: If a set has fewer than four clips a dimension, or a covariance has no full rank.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Chong and Forsyth, "Effectively unbiased FID and inception score and where to find them", CVPR 2020, whose
        draws with replacement are replaced by draws without.
    """
    made, wanted = _projected(*checked(estimate, reference), directions)
    least = _CLIPS_PER_DIRECTION * made.shape[1] + 1
    for name, matrix in (("estimate", made), ("reference", wanted)):
        if len(matrix) < 2 * least:
            raise Undefined(f"the {name} has {len(matrix)} clips, {made.shape[1]} dimensions need {2 * least}")
    generator = np.random.default_rng(seed)
    steepest = min(5.0, min(len(made), len(wanted)) / least)
    places, values = [], []
    for inverse in np.linspace(1.0, steepest, points):
        parts = [round(len(matrix) / inverse) for matrix in (made, wanted)]
        found = [
            frechet_from_moments(
                *moments(made[generator.permutation(len(made))[: parts[0]]]),
                *moments(wanted[generator.permutation(len(wanted))[: parts[1]]]),
            )
            for _ in range(1 if inverse == 1.0 else draws)
        ]
        places.append(0.5 * (len(made) / parts[0] + len(wanted) / parts[1]))
        values.append(float(np.mean(found)))
    return float(np.polyfit(places, values, 1)[1])
