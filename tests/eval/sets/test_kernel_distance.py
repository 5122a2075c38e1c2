import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from eval.sets import Undefined
from eval.sets.kernel_distance import GaussianPlan, kernel_distance, median_distance, polynomial_distance


def gaussians(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def unbiased(k_xx: np.ndarray, k_yy: np.ndarray, k_xy: np.ndarray) -> float:
    """The textbook sum over all pairs of different clips."""
    within = [k[~np.eye(len(k), dtype=bool)].mean() for k in (k_xx, k_yy)]
    return float(sum(within) - 2.0 * k_xy.mean())


def test_textbook_sums_agree() -> None:
    x, y = gaussians(17, 5, 0) + 40.0, 1.3 * gaussians(23, 5, 1) + 40.2
    sigma = np.median([np.linalg.norm(a - b) for i, a in enumerate(y) for b in y[i + 1 :]])
    assert median_distance(y) == pytest.approx(sigma, rel=1e-12)
    kernels = [rbf_kernel(a, b, gamma=0.5 / sigma**2) for a, b in ((x, x), (y, y), (x, y))]
    assert kernel_distance(x, y) == pytest.approx(100.0 * unbiased(*kernels), rel=1e-9)
    x, y = x - 40.0, y - 40.0
    kernels = [polynomial_kernel(a, b, degree=3, gamma=1 / 5, coef0=1.0) for a, b in ((x, x), (y, y), (x, y))]
    assert polynomial_distance(x, y) == pytest.approx(unbiased(*kernels), rel=1e-9)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = gaussians(40, 3, 0), gaussians(50, 3, 1)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("eval.sets.kernel_distance._BLOCK", 16)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_equal_distributions_are_at_zero_at_any_size() -> None:
    means = []
    for n in (20, 200):
        found = [kernel_distance(gaussians(n, 16, 2 * i), gaussians(n, 16, 2 * i + 1)) for i in range(40)]
        error = np.std(found) / 40**0.5
        assert abs(np.mean(found)) < 4 * error, n
        means.append(error)
    assert means[1] < means[0]


def test_expectation_of_shifted_gaussians() -> None:
    # E k(x, y) of unit Gaussians a shift apart: (s^2 / (s^2 + 2))^(d/2) exp(-shift^2 / (2 (s^2 + 2))).
    d, shift, n = 4, 1.0, 1_500
    x, y = gaussians(n, d, 0), gaussians(n, d, 1)
    x[:, 0] += shift
    s2 = median_distance(y) ** 2
    factor = (s2 / (s2 + 2)) ** (d / 2)
    expected = 200.0 * factor * (1.0 - np.exp(-(shift**2) / (2 * (s2 + 2))))
    assert kernel_distance(x, y) == pytest.approx(expected, rel=0.1)


def test_bandwidth_is_of_the_reference_alone() -> None:
    y = gaussians(60, 4, 1)
    plans = [GaussianPlan(gaussians(30, 4, i) * (1 + i), y, {}) for i in range(2)]
    assert plans[0].bandwidth == plans[1].bandwidth == median_distance(y)
    assert kernel_distance(2 * y[:30], y) != kernel_distance(y, 2 * y[:30])


def test_many_divisions_are_what_each_would_be() -> None:
    x, y = gaussians(12, 3, 0), gaussians(15, 3, 1)
    plan = GaussianPlan(x, y, {"scale": 100.0})
    marks = np.random.default_rng(0).random((27, 4)) < 0.5
    values = plan.many(marks, ~marks)
    kernel = rbf_kernel(plan.pool, gamma=0.5 / plan.bandwidth**2)
    for value, mark in zip(values, marks.T, strict=True):
        parts = kernel[np.ix_(mark, mark)], kernel[np.ix_(~mark, ~mark)], kernel[np.ix_(mark, ~mark)]
        assert value == pytest.approx(100.0 * unbiased(*parts), rel=1e-9, abs=1e-12)


def test_what_has_no_distance() -> None:
    x = gaussians(10, 3, 0)
    with pytest.raises(Undefined, match="1 clips"):
        kernel_distance(x[:1], x)
    with pytest.raises(Undefined, match="same embedding"):
        kernel_distance(x, np.full((10, 3), 0.1))
    with pytest.raises(Undefined, match="same embedding"):
        polynomial_distance(x, np.full((10, 3), 0.1))
    with pytest.raises(ValueError, match="not finite"):
        kernel_distance(x * np.inf, x)
