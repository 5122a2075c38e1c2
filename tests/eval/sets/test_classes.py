import math

import numpy as np
import pytest
import scipy.stats

from eval.sets import Undefined
from eval.sets.classes import accuracy, entropies, inception_score, mean_entropy


def distributions(n: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=n)


def test_scipy_agrees() -> None:
    p = distributions(50, 7)
    np.testing.assert_allclose(entropies(p), scipy.stats.entropy(p, axis=1), rtol=1e-12)
    divergence = np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p])
    assert inception_score(p) == pytest.approx(math.exp(divergence), rel=1e-10)
    assert mean_entropy(p) == pytest.approx(scipy.stats.entropy(p, axis=1).mean(), rel=1e-12)


def test_ends_of_the_ranges() -> None:
    sure = np.eye(8)[np.arange(40) % 8]
    assert inception_score(sure) == pytest.approx(8.0)
    assert inception_score(sure[:1].repeat(5, 0)) == 1.0
    assert inception_score(np.full((9, 8), 1 / 8)) == pytest.approx(1.0)
    assert mean_entropy(sure) == 0.0
    assert mean_entropy(np.full((9, 8), 1 / 8)) == pytest.approx(math.log(8))
    assert accuracy(sure, np.arange(40) % 8) == 1.0
    assert accuracy(sure, [0] * 40) == pytest.approx(5 / 40)


def test_what_has_no_value() -> None:
    p = distributions(4, 3)
    with pytest.raises(Undefined):
        inception_score(p[:1])
    with pytest.raises(Undefined):
        accuracy(p[:0], np.zeros(0, dtype=int))
    for bad in (p * 2, np.where(p > 0.9, np.nan, p) * np.nan, p - 0.5, p[0]):
        with pytest.raises(ValueError):
            mean_entropy(bad)
    for labels in ([0, 1], [0, 1, 2, 3], [0.0, 1.0, 2.0, 2.0]):
        with pytest.raises(ValueError, match="label"):
            accuracy(p, labels)
