"""Effect sizes, detectable differences and equivalence, against scipy and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from eval.stats import effect_size, equivalence, smallest_difference, standard_error


def gaps(count: int = 40, seed: int = 0, mean: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, count)


def test_effect_size_of_known_numbers() -> None:
    found = effect_size([1.0, 2.0, 3.0, -2.0])
    assert found.d == pytest.approx(1.0 / np.std([1, 2, 3, -2], ddof=1))
    assert found.dominance == 0.5 and found.n == 4
    assert effect_size([-1.0, -2.0, -3.0, 2.0]).d == pytest.approx(-found.d)
    assert effect_size(1000 * gaps()).d == pytest.approx(effect_size(gaps()).d)


def test_effect_size_that_cannot_be_known() -> None:
    assert effect_size([]).dominance is None
    assert effect_size([2.0]).d is None and effect_size([2.0]).dominance == 1.0
    assert effect_size([0.1] * 9).d is None
    assert effect_size([0.0] * 9).dominance == 0.0
    with pytest.raises(ValueError, match="NaN"):
        effect_size([math.nan])


def test_standard_error_equals_scipys() -> None:
    values = gaps()
    error, freedom = standard_error(values)
    assert (error, freedom) == (pytest.approx(scipy.stats.sem(values)), 39)
    assert standard_error(values, range(40))[0] == pytest.approx(error)


def test_standard_error_of_groups_is_that_of_their_means() -> None:
    values = gaps(60)
    groups = np.repeat(np.arange(12), 5).tolist()
    error, freedom = standard_error(values, groups)
    assert error == pytest.approx(scipy.stats.sem(values.reshape(12, 5).mean(axis=1)))
    assert freedom == 11
    # Copies of a clip say nothing new.
    assert standard_error(np.repeat(values, 3), np.repeat(np.arange(60), 3).tolist())[0] == pytest.approx(
        standard_error(values)[0]
    )
    assert math.isnan(standard_error([1.0])[0])


def test_difference_that_can_be_shown_is_shown_four_times_in_five() -> None:
    draw = np.random.default_rng(8)
    clips = draw.normal(size=40)
    least = smallest_difference(clips)
    samples = draw.normal(least, clips.std(ddof=1), size=(4000, 40))
    found = scipy.stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05
    # Three standard errors of 4000 trials are 0.019.
    assert found.mean() == pytest.approx(0.8, abs=0.019)


def test_more_tests_and_fewer_groups_show_less() -> None:
    values = gaps(60)
    alone = smallest_difference(values)
    assert alone is not None and alone > 0
    assert smallest_difference(values, tests=10) > alone
    clustered = (np.random.default_rng(2).normal(size=12)[:, None] + 0.1 * gaps(60).reshape(12, 5)).ravel()
    groups = np.repeat(np.arange(12), 5).tolist()
    assert smallest_difference(clustered, groups=groups) > 1.8 * smallest_difference(clustered)
    assert smallest_difference([1.0]) is None
    assert smallest_difference([1.0, 2.0], groups=["a", "a"]) is None
    with pytest.raises(ValueError, match="power 1"):
        smallest_difference(values, power=1.0)
    with pytest.raises(ValueError, match="2 values and 1 groups"):
        smallest_difference([1.0, 2.0], groups=["a"])


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.0])
def test_one_sided_tests_equal_scipys(margin: float) -> None:
    values = gaps()
    found = equivalence(values, margin)
    above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert (found.p_above, found.p_below) == (pytest.approx(above), pytest.approx(below))
    assert found.p_value == max(found.p_above, found.p_below)
    assert (found.n, found.units) == (40, 40)


def test_no_difference_found_is_no_evidence_of_none() -> None:
    few = gaps(5, 3, mean=0.0)
    assert scipy.stats.ttest_1samp(few, 0.0).pvalue > 0.05 and equivalence(few, 0.1).p_value > 0.05
    assert equivalence(gaps(4000, 4, mean=0.0), 0.1).p_value < 0.01


def test_equivalence_errs_as_often_as_it_says() -> None:
    # At the margin itself "no worse" is wrong, and may be found in one of twenty trials.
    found = [equivalence(gaps(30, trial, mean=-0.5), 0.5).p_above for trial in range(3000)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.013)


def test_equivalence_at_its_edges() -> None:
    same = equivalence([0.0] * 10, 0.1)
    assert same.p_value == 0.0
    assert equivalence([0.2] * 10, 0.1).p_value == 1.0
    assert equivalence([0.2], 0.1).p_value is None
    assert equivalence([], 0.1).units == 0
    for margin in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="margin"):
            equivalence([1.0, 2.0], margin)
