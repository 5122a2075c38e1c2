"""Bins of the embedding space: how many hold another share of the estimates than of the reference.

The bins are the cells of a k-means clustering of the reference, seeded, so that equal sets give equal numbers. Fifty at
most, and few enough for ten reference clips in each on average.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from eval.sets.definition import Undefined
from eval.sets.matrices import Floats, checked, squared_distances
from eval.stats import holm

_ROUNDS = 100
_STARTS = 4
_NORMAL = NormalDist()
_REMEMBERED = 512


@dataclass(frozen=True)
class Clustering:
    """A k-means clustering.

    Attributes:
        centres: Shape ``(k, d)``.
        labels: Cell of every row, shape ``(n,)``.
        inertia: Sum of the squared distances to the own centre.
    """

    centres: Floats
    labels: NDArray[np.int64]
    inertia: float


_KNOWN: dict[tuple[bytes, tuple[int, ...], int, int], Clustering] = {}
_LOCK = threading.Lock()


def k_means(matrix: Floats, k: int, *, seed: int = 0, starts: int = _STARTS) -> Clustering:
    """Lloyd's algorithm from the best of some seeded k-means++ starts.

    A centre that loses all its rows takes the row that is farthest from its own.

    Args:
        matrix: Shape ``(n, d)``.
        k: Number of cells, at most the number of different rows.
        seed: Seed of the starts.
        starts: How many starts are tried.

    Raises:
        Undefined: If there are fewer different rows than cells.

    Source:
        Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    if len(np.unique(matrix, axis=0)) < k:
        raise Undefined(f"fewer than {k} different embeddings, as many as there are cells")
    generator = np.random.default_rng(seed)
    found = [lloyd(matrix, _start(matrix, k, generator)) for _ in range(starts)]
    return min(found, key=lambda clustering: clustering.inertia)


def _start(matrix: Floats, k: int, generator: np.random.Generator) -> Floats:
    chosen = [int(generator.integers(len(matrix)))]
    nearest = squared_distances(matrix, matrix[chosen])[:, 0]
    while len(chosen) < k:
        nearest[chosen] = 0.0
        chosen.append(int(np.searchsorted(np.cumsum(nearest), generator.random() * nearest.sum(), side="right")))
        nearest = np.minimum(nearest, squared_distances(matrix, matrix[chosen[-1:]])[:, 0])
    return matrix[chosen].copy()


def lloyd(matrix: Floats, centres: Floats) -> Clustering:
    """Lloyd's algorithm from given centres, until no row changes its cell (or 100 rounds)."""
    k, centres = len(centres), centres.copy()
    labels = np.full(len(matrix), -1)
    for _ in range(_ROUNDS):
        distances = squared_distances(matrix, centres)
        before, labels = labels, distances.argmin(axis=1)
        counts = np.bincount(labels, minlength=k)
        own = distances[np.arange(len(matrix)), labels]
        for empty in np.flatnonzero(counts == 0):
            row = int(np.where(counts[labels] > 1, own, -1.0).argmax())
            counts[labels[row]] -= 1
            counts[empty], labels[row], own[row] = 1, empty, 0.0
        if np.array_equal(before, labels):
            break
        onto = (labels[None] == np.arange(k)[:, None]).astype(np.float64)
        centres = (onto @ matrix) / counts[:, None]
    gap = matrix - centres[labels]
    return Clustering(centres, labels, float((gap * gap).sum()))


def bin_counts(
    estimate: Floats, reference: Floats, *, seed: int, most_bins: int, clips_per_bin: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clips of both sets in every bin, integers, shape ``(bins,)`` each.

    Raises:
        Undefined: If the reference is too small for two bins or has too few different embeddings.
    """
    made, wanted = checked(estimate, reference)
    bins = min(most_bins, len(wanted) // clips_per_bin)
    if bins < 2:
        raise Undefined(f"the reference has {len(wanted)} clips, two bins need {2 * clips_per_bin}")
    found = _clustering(wanted, bins, seed)
    nearest = squared_distances(made, found.centres).argmin(axis=1)
    return np.bincount(nearest, minlength=bins), np.bincount(found.labels, minlength=bins)


def _clustering(matrix: Floats, k: int, seed: int) -> Clustering:
    """`k_means`, remembered for a while: several metrics look at the same divisions of the same clips."""
    key = hashlib.sha256(np.ascontiguousarray(matrix).tobytes()).digest(), matrix.shape, k, seed
    with _LOCK:
        found = _KNOWN.get(key)
    if found is None:
        found = k_means(matrix, k, seed=seed)
        with _LOCK:
            _KNOWN[key] = found
            while len(_KNOWN) > _REMEMBERED:
                del _KNOWN[next(iter(_KNOWN))]
    return found


def two_proportions_p(count_a: int, n_a: int, count_b: int, n_b: int) -> float:
    """Two-sided p of the pooled z-test of two shares being equal; 1 where neither or both hold everything.

    >>> two_proportions_p(0, 10, 0, 20)
    1.0
    """
    pooled = (count_a + count_b) / (n_a + n_b)
    deviation = (pooled * (1.0 - pooled) * (1.0 / n_a + 1.0 / n_b)) ** 0.5
    if deviation == 0.0:
        return 1.0
    z = abs(count_a / n_a - count_b / n_b) / deviation
    return 2.0 * _NORMAL.cdf(-z)


def different_bins(
    estimate: Floats,
    reference: Floats,
    *,
    seed: int = 0,
    most_bins: int = 50,
    clips_per_bin: int = 10,
    alpha: float = 0.05,
    corrected: bool = True,
) -> float:
    """Share of the bins whose shares of the two sets differ significantly.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        seed: Seed of the clustering.
        most_bins: Bins at most.
        clips_per_bin: Reference clips in a bin on average, at least.
        alpha: Level of the tests.
        corrected: Whether Holm's correction keeps the chance of a single false alarm below ``alpha``; without it,
            one bin in twenty differs by chance.

    Raises:
        Undefined: If the reference is too small for two bins or has too few different embeddings.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Richardson and Weiss, "On GANs and GMMs", NeurIPS 2018.
    """
    p = _bin_p(*bin_counts(estimate, reference, seed=seed, most_bins=most_bins, clips_per_bin=clips_per_bin))
    return float(np.mean([value < alpha for value in (holm(p) if corrected else p)]))


def _bin_p(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> list[float]:
    n, m = int(ours.sum()), int(theirs.sum())
    return [two_proportions_p(int(a), n, int(b), m) for a, b in zip(ours, theirs, strict=True)]


def bin_facts(
    estimate: Floats,
    reference: Floats,
    *,
    seed: int = 0,
    most_bins: int = 50,
    clips_per_bin: int = 10,
    alpha: float = 0.05,
    corrected: bool = True,
) -> dict[str, int]:
    """Number of bins, and of the different ones with and without correction; arguments as of `different_bins`."""
    p = _bin_p(*bin_counts(estimate, reference, seed=seed, most_bins=most_bins, clips_per_bin=clips_per_bin))
    return {
        "bins": len(p),
        "different": sum(value < alpha for value in p),
        "different_corrected": sum(value < alpha for value in holm(p)),
    }


def bin_divergence(
    estimate: Floats, reference: Floats, *, seed: int = 0, most_bins: int = 50, clips_per_bin: int = 10
) -> float:
    """Jensen-Shannon divergence of the shares of both sets in the bins, in nats, 0 to ln 2.

    Args:
        estimate: Shape ``(n, d)``.
        reference: Shape ``(m, d)``.
        seed: Seed of the clustering.
        most_bins: Bins at most.
        clips_per_bin: Reference clips in a bin on average, at least.

    Raises:
        Undefined: If the reference is too small for two bins or has too few different embeddings.
        ValueError: If shapes do not fit or a number is not finite.

    Source:
        Lin, "Divergence measures based on the Shannon entropy", IEEE TIT 37(1), 1991.
    """
    ours, theirs = bin_counts(estimate, reference, seed=seed, most_bins=most_bins, clips_per_bin=clips_per_bin)
    return jensen_shannon(ours / ours.sum(), theirs / theirs.sum())


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon divergence of two distributions ``(bins,)`` in nats.

    >>> round(jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])), 4)
    0.6931
    """
    middle = 0.5 * (p + q)
    parts = []
    for share in (p, q):
        held = share > 0
        parts.append(float((share[held] * np.log(share[held] / middle[held])).sum()))
    return max(0.0, 0.5 * (parts[0] + parts[1]))
