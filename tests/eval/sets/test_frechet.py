import mpmath
import numpy as np
import pytest
import scipy.linalg

from eval.sets import Undefined
from eval.sets.frechet import frechet_distance, frechet_distance_infinity, frechet_from_moments, moments, root_trace


def gaussians(n: int, d: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n, d))


def covariance(d: int, seed: int, spread: float = 1.0) -> np.ndarray:
    """A covariance whose eigenvalues run from 1 down to ``spread``."""
    turn = np.linalg.qr(gaussians(d, d, seed))[0]
    return (turn * np.geomspace(1.0, spread, d)) @ turn.T


def exact(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """The distance with sixty digits."""
    with mpmath.workdps(60):
        a, b = mpmath.matrix(cov_a.tolist()), mpmath.matrix(cov_b.tolist())
        values, _ = mpmath.eigsy(a)
        lower = mpmath.cholesky(a)
        roots = mpmath.eigsy(lower.T * b * lower, eigvals_only=True)
        gap = mpmath.matrix((mean_a - mean_b).tolist())
        traces = mpmath.fsum(values) + mpmath.fsum([b[i, i] for i in range(b.rows)])
        return float((gap.T * gap)[0] + traces - 2 * mpmath.fsum([mpmath.sqrt(v) for v in roots]))


@pytest.mark.parametrize(("d", "spread"), [(2, 1.0), (5, 1e-2), (8, 1e-7)])
def test_sixty_digits_agree(d: int, spread: float) -> None:
    mean_a, mean_b = gaussians(2, d, 5)
    cov_a, cov_b = covariance(d, 1, spread), 2.0 * covariance(d, 2, spread)
    ours = frechet_from_moments(mean_a, cov_a, mean_b, cov_b)
    assert ours == pytest.approx(exact(mean_a, cov_a, mean_b, cov_b), rel=1e-10)


@pytest.mark.parametrize("d", [3, 20, 64])
def test_scipy_root_agrees(d: int) -> None:
    a, b = gaussians(4 * d, d, 1), gaussians(5 * d, d, 2, 1.3) + 0.2
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    np.testing.assert_allclose(cov_a, np.cov(a.T), rtol=1e-12, atol=1e-13)
    root = np.trace(scipy.linalg.sqrtm(cov_a @ cov_b)).real
    assert root_trace(cov_a, cov_b) == pytest.approx(root, rel=1e-8)
    theirs = float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-8)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)


def test_known_gaussians() -> None:
    # One dimension at a time: (m1 - m2)^2 + (s1 - s2)^2.
    mean_a, mean_b = np.array([1.0, 0.0, -2.0]), np.array([0.0, 0.0, 1.0])
    deviation_a, deviation_b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 0.5])
    found = frechet_from_moments(mean_a, np.diag(deviation_a**2), mean_b, np.diag(deviation_b**2))
    assert found == pytest.approx(10.0 + 9.0 + 6.25, rel=1e-12)


def test_equal_sets_are_at_zero_and_far_ones_apart() -> None:
    x = gaussians(200, 8, 3)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-12)
    assert frechet_distance(x + 1e6, x + 1e6 + 2.0) == pytest.approx(32.0, rel=1e-6)


def test_bias_goes_with_one_over_n_and_the_extrapolation_takes_it_off() -> None:
    d = 16
    reference = gaussians(4_000, d, 0)
    plain = {n: np.mean([frechet_distance(gaussians(n, d, 10 + i), reference) for i in range(8)]) for n in (125, 500)}
    assert plain[125] > 0.5
    # The reference's own share is an eighth of the smaller bias.
    assert plain[125] / plain[500] == pytest.approx(4.0, rel=0.25)
    found = [frechet_distance_infinity(gaussians(500, d, 40 + i), gaussians(500, d, 60 + i)) for i in range(6)]
    bias = np.mean([frechet_distance(gaussians(500, d, 40 + i), gaussians(500, d, 60 + i)) for i in range(6)])
    assert abs(np.mean(found)) < 0.15 * bias
    # Draws with replacement keep the bias of the pool.
    generator = np.random.default_rng(0)
    x, y = gaussians(500, d, 40), gaussians(500, d, 60)
    inverse = np.linspace(1.0, 5.0, 10)
    values = [
        np.mean(
            [frechet_distance(*(m[generator.integers(500, size=round(500 / t))] for m in (x, y))) for _ in range(4)]
        )
        for t in inverse
    ]
    assert np.polyfit(inverse, values, 1)[1] > 3 * abs(np.mean(found))


def test_directions_follow_the_reference() -> None:
    reference = gaussians(300, 6, 1) * np.array([9.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    moved = reference.copy()
    moved[:, 5] += 3.0
    assert frechet_distance(moved, reference) == pytest.approx(9.0, rel=1e-6)
    assert frechet_distance(moved, reference, directions=2) < 0.1
    moved[:, 0] += 4.0
    assert frechet_distance(moved, reference, directions=2) == pytest.approx(16.0, rel=0.05)


def test_what_has_no_distance() -> None:
    x = gaussians(50, 8, 0)
    with pytest.raises(Undefined, match="8 clips, 8 dimensions need more"):
        frechet_distance(x[:8], x)
    flat = x.copy()
    flat[:, 3] = 0.5
    with pytest.raises(Undefined, match="covariance of the reference has no full rank"):
        frechet_distance(x, flat)
    twin = x.copy()
    twin[:, 3] = 2.0 * twin[:, 4] - twin[:, 1]
    with pytest.raises(Undefined, match="covariance of the estimate has no full rank"):
        frechet_distance(twin, x)
    with pytest.raises(Undefined, match="need 34"):
        frechet_distance_infinity(x[:30], x)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(np.where(x > 2, np.nan, x), x)
    with pytest.raises(ValueError, match=r"shape \(n, d\)"):
        frechet_distance(x, x[:, :4])


def test_units_do_not_decide_the_rank() -> None:
    x, y = gaussians(60, 3, 1), gaussians(60, 3, 2)
    units = np.array([1e-6, 1.0, 1e5])
    assert frechet_distance(x * units, y * units) > 0
    assert frechet_distance(x * 1e-4, y * 1e-4) == pytest.approx(1e-8 * frechet_distance(x, y), rel=1e-9)
