"""Density, coverage, precision and recall: who falls into whose balls of k nearest neighbours.

A ball lies around a clip and reaches to its k-th nearest neighbour within its own set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eval.sets.definition import Undefined
from eval.sets.matrices import Floats, Marks, checked, squared_distances

MEASURES = ("density", "coverage", "precision", "recall")


def _radii(within: Floats, neighbours: int) -> Floats:
    """Squared distance of every clip to its k-th nearest other one; the diagonal holds the clip itself."""
    radii: Floats = np.partition(within, neighbours, axis=1)[:, neighbours]
    return radii


def measures(within_estimate: Floats, within_reference: Floats, between: Floats, neighbours: int) -> dict[str, float]:
    """All four measures of squared distances.

    Args:
        within_estimate: Shape ``(n, n)``.
        within_reference: Shape ``(m, m)``.
        between: Shape ``(n, m)``, a row for each estimate.
        neighbours: The k of the balls.
    """
    reached = between <= _radii(within_reference, neighbours)[None]
    reaching = between <= _radii(within_estimate, neighbours)[:, None]
    return {
        "density": float(reached.sum() / (neighbours * len(between))),
        "coverage": float(reached.any(axis=0).mean()),
        "precision": float(reached.any(axis=1).mean()),
        "recall": float(reaching.any(axis=0).mean()),
    }


class NeighbourPlan:
    """All four measures for many divisions of one pool; its distances are computed once.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        parameters: Of the table's row; ``measure`` says which of the four is wanted.

    Raises:
        Undefined: If a set has no more clips than neighbours, or the reference has no spread.
    """

    def __init__(self, estimate: Floats, reference: Floats, parameters: Mapping[str, object]) -> None:
        self.neighbours = int(str(parameters["neighbours"]))
        self.measure = str(parameters["measure"])
        made, wanted = checked(estimate, reference, self.neighbours + 1)
        if not np.ptp(wanted, axis=0).any():
            raise Undefined("all reference clips have the same embedding")
        pool = np.concatenate([made, wanted])
        self.distances = squared_distances(pool, pool)
        np.fill_diagonal(self.distances, 0.0)
        # Rounding must not make the two halves of the matrix differ.
        self.distances = np.minimum(self.distances, self.distances.T)
        self.facts: dict[str, object] = {}

    def many(self, estimate: Marks, reference: Marks) -> Floats:
        """Values, shape ``(divisions,)``, for marks of shape ``(clips, divisions)``.

        Raises:
            Undefined: If a side has no more clips than neighbours.
        """
        out = np.zeros(estimate.shape[1])
        for i in range(len(out)):
            a, b = np.flatnonzero(estimate[:, i]), np.flatnonzero(reference[:, i])
            if min(len(a), len(b)) <= self.neighbours:
                raise Undefined(f"{min(len(a), len(b))} clips on a side are too few for {self.neighbours} neighbours")
            within_a, within_b, between = (self.distances[np.ix_(*side)] for side in ((a, a), (b, b), (a, b)))
            out[i] = measures(within_a, within_b, between, self.neighbours)[self.measure]
        return out


def _measure(estimate: Floats, reference: Floats, neighbours: int, name: str) -> float:
    plan = NeighbourPlan(estimate, reference, {"neighbours": neighbours, "measure": name})
    first = (np.arange(len(estimate) + len(reference)) < len(estimate))[:, None]
    return float(plan.many(first, ~first)[0])


def density(estimate: Floats, reference: Floats, *, neighbours: int = 5) -> float:
    """How many balls of the reference an estimate falls into on average, over ``neighbours``.

    About 1 for equal distributions; above 1 where estimates crowd where the reference is dense.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        neighbours: The k of the balls.

    Raises:
        Undefined: If a set has no more clips than neighbours, or the reference has no spread.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML 2020.
    """
    return _measure(estimate, reference, neighbours, "density")


def coverage(estimate: Floats, reference: Floats, *, neighbours: int = 5) -> float:
    """Share of the balls of the reference that hold an estimate; arguments, errors and source as of `density`."""
    return _measure(estimate, reference, neighbours, "coverage")


def precision(estimate: Floats, reference: Floats, *, neighbours: int = 5) -> float:
    """Share of the estimates that lie in a ball of the reference; arguments and errors as of `density`.

    Source:
        Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", NeurIPS 2019.
    """
    return _measure(estimate, reference, neighbours, "precision")


def recall(estimate: Floats, reference: Floats, *, neighbours: int = 5) -> float:
    """Share of the reference that lies in a ball of the estimates; precision with the sets exchanged.

    Source:
        Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", NeurIPS 2019.
    """
    return _measure(estimate, reference, neighbours, "recall")
