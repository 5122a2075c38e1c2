"""Scores of a set of generated notes by the answers of a classifier: inception score, accuracy, entropy.

Probabilities are float64 ``(n, classes)``, each row summing to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.sets.definition import Undefined

Floats = NDArray[np.float64]

_SUM_TOLERANCE = 1e-6


def _checked(probabilities: Floats, least: int) -> Floats:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] < 2:
        raise ValueError(f"probabilities of shape (n, classes) are needed, got {p.shape}")
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1.0) > _SUM_TOLERANCE).any():
        raise ValueError("every row must hold probabilities that sum to 1")
    if len(p) < least:
        raise Undefined(f"{len(p)} clips; at least {least} are needed")
    return p


def entropies(probabilities: Floats) -> Floats:
    """Entropy of every row in nats, shape ``(n,)``."""
    p = np.asarray(probabilities, dtype=np.float64)
    logs = np.log(np.where(p > 0, p, 1.0))
    out: Floats = -(p * logs).sum(axis=-1)
    return np.maximum(out, 0.0)


def inception_score(probabilities: Floats) -> float:
    """Exponential of the mean information that a clip gives about its class: 1 to the number of classes.

    High where each clip is one class for certain and all classes occur. It knows no reference.

    Args:
        probabilities: Shape ``(n, classes)``.

    Raises:
        Undefined: If there are fewer than two clips.
        ValueError: If a row is no distribution.

    Source:
        Salimans et al., "Improved techniques for training GANs", NeurIPS 2016.

    >>> round(inception_score(np.eye(4)), 6), inception_score(np.full((4, 4), 0.25))
    (4.0, 1.0)
    """
    p = _checked(probabilities, 2)
    information = float(entropies(p.mean(axis=0))) - float(entropies(p).mean())
    return float(np.exp(max(0.0, information)))


def accuracy(probabilities: Floats, labels: Sequence[int] | NDArray[np.int64]) -> float:
    """Share of the clips whose most probable class is the labelled one.

    Args:
        probabilities: Shape ``(n, classes)``.
        labels: Wanted class of each clip.

    Raises:
        Undefined: If there is no clip.
        ValueError: If a row is no distribution, or a label is missing or no class.
    """
    p = _checked(probabilities, 1)
    wanted = np.asarray(labels)
    if wanted.shape != (len(p),) or not np.issubdtype(wanted.dtype, np.integer):
        raise ValueError(f"one whole number a clip is needed as label, got {wanted.dtype} {wanted.shape} for {len(p)}")
    if ((wanted < 0) | (wanted >= p.shape[1])).any():
        raise ValueError(f"labels must lie in 0…{p.shape[1] - 1}")
    return float((p.argmax(axis=1) == wanted).mean())


def mean_entropy(probabilities: Floats) -> float:
    """Mean entropy of the classifier's answers in nats: 0 where every clip has one class for certain.

    Args:
        probabilities: Shape ``(n, classes)``.

    Raises:
        Undefined: If there is no clip.
        ValueError: If a row is no distribution.

    Source:
        Engel et al., "GANSynth", ICLR 2019 ("pitch entropy").
    """
    return float(entropies(_checked(probabilities, 1)).mean())
