import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from eval.sets import Undefined
from eval.sets.neighbours import NeighbourPlan, coverage, density, precision, recall


def gaussians(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_nearest_neighbours_of_sklearn_agree(k: int) -> None:
    estimate, reference = 1.2 * gaussians(40, 4, 0) + 0.3, gaussians(55, 4, 1)
    radii = {}
    for name, side in (("estimate", estimate), ("reference", reference)):
        # The first neighbour that sklearn finds of a row is the row itself.
        radii[name] = NearestNeighbors(n_neighbors=k + 1).fit(side).kneighbors(side)[0][:, -1]
    gap = np.linalg.norm(estimate[:, None] - reference[None], axis=-1)
    inside = gap <= radii["reference"][None]
    assert density(estimate, reference, neighbours=k) == pytest.approx(inside.sum(1).mean() / k)
    assert coverage(estimate, reference, neighbours=k) == pytest.approx(inside.any(0).mean())
    assert precision(estimate, reference, neighbours=k) == pytest.approx(inside.any(1).mean())
    assert recall(estimate, reference, neighbours=k) == pytest.approx((gap <= radii["estimate"][:, None]).any(0).mean())


def test_equal_and_far_sets() -> None:
    x = gaussians(50, 3, 0)
    assert [f(x, x) for f in (coverage, precision, recall)] == [1.0, 1.0, 1.0]
    assert [f(x + 100.0, x) for f in (density, coverage, precision, recall)] == [0.0] * 4


def test_density_of_equal_distributions_is_about_one() -> None:
    found = [density(gaussians(100, 8, 2 * i), gaussians(100, 8, 2 * i + 1)) for i in range(20)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.1)


def test_a_lost_mode_costs_recall_and_coverage_but_not_precision() -> None:
    reference = np.concatenate([gaussians(100, 3, 0), gaussians(100, 3, 1) + 20.0])
    collapsed = gaussians(200, 3, 2)
    assert precision(collapsed, reference) > 0.9
    assert recall(collapsed, reference) < 0.6
    assert coverage(collapsed, reference) < 0.6
    assert precision(collapsed, reference) == recall(reference, collapsed)


def test_divisions_are_what_each_would_be() -> None:
    x, y = gaussians(20, 3, 0), gaussians(30, 3, 1)
    pool, marks = np.concatenate([x, y]), np.random.default_rng(2).random((50, 3)) < 0.4
    for name, function in (("density", density), ("coverage", coverage)):
        plan = NeighbourPlan(x, y, {"neighbours": 5, "measure": name})
        wanted = [function(pool[m], pool[~m]) for m in marks.T]
        np.testing.assert_allclose(plan.many(marks, ~marks), wanted)


def test_what_has_no_value() -> None:
    x = gaussians(10, 3, 0)
    with pytest.raises(Undefined, match="5 clips, this metric needs 6"):
        coverage(x[:5], x)
    with pytest.raises(Undefined, match="same embedding"):
        density(x, np.full((10, 3), 0.1))
    with pytest.raises(ValueError, match="not finite"):
        precision(x, x * np.nan)
