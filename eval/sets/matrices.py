"""Checks of embedding matrices, and distances between their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.sets.definition import Undefined

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


def checked(estimate: Floats, reference: Floats, least: int = 2) -> tuple[Floats, Floats]:
    """Both matrices as float64.

    Raises:
        ValueError: If shapes do not fit or a number is not finite.
        Undefined: If a set has fewer than ``least`` clips.
    """
    made, wanted = (np.asarray(m, dtype=np.float64) for m in (estimate, reference))
    if made.ndim != 2 or wanted.ndim != 2 or made.shape[1] != wanted.shape[1] or made.shape[1] < 1:
        raise ValueError(f"embeddings of shape (n, d) with one d are needed, got {made.shape} and {wanted.shape}")
    for name, matrix in (("estimate", made), ("reference", wanted)):
        if not np.isfinite(matrix).all():
            raise ValueError(f"the {name} holds embeddings that are not finite numbers")
        if len(matrix) < least:
            raise Undefined(f"the {name} has {len(matrix)} clips, this metric needs {least}")
    return made, wanted


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances ``(len(a), len(b))``, never below 0.

    Both are centred by the mean of ``b`` first, so that embeddings far from the origin lose no digits.
    """
    centre = b.mean(axis=0) if len(b) else 0.0
    a, b = a - centre, b - centre
    out: Floats = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * (a @ b.T)
    return np.maximum(out, 0.0, out=out)
