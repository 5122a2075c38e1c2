import warnings

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from sklearn.cluster import KMeans

from eval.sets import Undefined
from eval.sets.bins import (
    bin_counts,
    bin_divergence,
    bin_facts,
    different_bins,
    jensen_shannon,
    k_means,
    lloyd,
    two_proportions_p,
)


def gaussians(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def clusters(n: int, seed: int, weights: tuple[float, ...]) -> np.ndarray:
    """Points around the corners of a square, with these shares."""
    generator = np.random.default_rng(seed)
    corner = generator.choice(4, size=n, p=weights)
    return 10.0 * np.stack([corner % 2, corner // 2], 1) + generator.standard_normal((n, 2))


def test_lloyd_from_the_same_start_ends_where_sklearn_does() -> None:
    x = gaussians(300, 5, 0)
    start = x[:7].copy()
    theirs = KMeans(7, init=start, n_init=1, tol=0.0, max_iter=300, algorithm="lloyd").fit(x)
    ours = lloyd(x, start)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-12)
    np.testing.assert_array_equal(ours.labels, theirs.labels_)


def test_seeded_starts_are_as_good_as_those_of_sklearn() -> None:
    x = clusters(400, 1, (0.25, 0.25, 0.25, 0.25))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = min(KMeans(4, n_init=4, random_state=s).fit(x).inertia_ for s in range(3))
    assert k_means(x, 4, seed=0).inertia == pytest.approx(theirs, rel=1e-6)
    assert np.array_equal(k_means(x, 9, seed=5).centres, k_means(x, 9, seed=5).centres)


def test_an_empty_cell_takes_the_farthest_row() -> None:
    x = np.concatenate([gaussians(30, 2, 0), [[50.0, 50.0]]])
    found = lloyd(x, np.array([[0.0, 0.0], [1e6, 1e6]]))
    assert sorted(np.bincount(found.labels)) == [1, 30]


def test_two_proportions_is_the_chi_square_test() -> None:
    for a, n, b, m in ((12, 100, 30, 150), (0, 40, 6, 80)):
        p = scipy.stats.chi2_contingency([[a, n - a], [b, m - b]], correction=False).pvalue
        assert two_proportions_p(a, n, b, m) == pytest.approx(p, rel=1e-9)
    assert two_proportions_p(0, 10, 0, 10) == two_proportions_p(10, 10, 10, 10) == 1.0


def test_divergence_agrees_with_scipy_and_ends_at_ln_2() -> None:
    p, q = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.1, 0.2, 0.7, 0.0])
    assert jensen_shannon(p, q) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q) ** 2, rel=1e-12)
    assert jensen_shannon(p, q[::-1]) <= np.log(2)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(np.log(2))


def test_planted_shares_are_found() -> None:
    reference = clusters(600, 0, (0.25, 0.25, 0.25, 0.25))
    settings = {"most_bins": 4, "clips_per_bin": 10, "seed": 0}
    ours, theirs = bin_counts(clusters(400, 1, (0.7, 0.1, 0.1, 0.1)), reference, **settings)
    assert sorted(ours / 400)[-1] == pytest.approx(0.7, abs=0.05)
    np.testing.assert_allclose(theirs / 600, 0.25, atol=0.05)
    lost = clusters(400, 2, (0.5, 0.5, 0.0, 0.0))
    assert different_bins(lost, reference, most_bins=4) == 1.0
    assert bin_divergence(lost, reference, most_bins=4) > 0.15
    assert bin_divergence(reference, reference) == 0.0


def test_one_bin_in_twenty_differs_by_chance_unless_corrected() -> None:
    raw, corrected = [], []
    for i in range(30):
        x, y = gaussians(300, 2, 2 * i), gaussians(300, 2, 2 * i + 1)
        facts = bin_facts(x, y, most_bins=30)
        raw.append(facts["different"] / facts["bins"])
        corrected.append(facts["different_corrected"])
        assert different_bins(x, y, most_bins=30, corrected=False) == pytest.approx(raw[-1])
    assert 0.01 < np.mean(raw) < 0.12
    assert np.mean([c > 0 for c in corrected]) < 0.25


def test_bins_follow_the_size_of_the_reference() -> None:
    x = gaussians(130, 3, 0)
    assert bin_facts(x, x)["bins"] == 13
    with pytest.raises(Undefined, match="two bins need 20"):
        different_bins(x, x[:19])
    with pytest.raises(Undefined, match="different embeddings"):
        bin_divergence(x, np.zeros((60, 3)))
    with pytest.raises(ValueError, match="not finite"):
        different_bins(x * np.nan, x)
