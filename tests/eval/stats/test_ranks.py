"""Ranks, letters and critical differences, against scipy, published values and signals of known order."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from eval.stats import critical_difference, holm, paired_difference, rankings
from eval.stats.ranks import average_ranks, letters


def columns(count: int = 80, seed: int = 0) -> dict[str, list[float | None]]:
    draw = np.random.default_rng(seed)
    clips = draw.normal(0.0, 2.0, count)
    return {
        "good": (clips + draw.normal(1.0, 0.3, count)).tolist(),
        "same": (clips + draw.normal(0.0, 0.3, count)).tolist(),
        "alike": (clips + draw.normal(0.0, 0.3, count)).tolist(),
        "bad": (clips + draw.normal(-1.0, 0.3, count)).tolist(),
    }


def test_systems_apart_have_ranks_and_letters_of_their_own() -> None:
    found = rankings([columns()], [True], seed=0)[0]
    assert found is not None and found.names == ("good", "same", "alike", "bad")
    assert found.ranks[0] == 1 and found.ranks[3] == 4 and set(found.ranks[1:3]) == {2, 3}
    assert (found.low[0], found.high[0], found.low[1], found.high[1]) == (1, 1, 2, 3)
    assert found.letters == ("a", "b", "b", "c")
    turned = rankings([columns()], [False], seed=0)[0]
    assert turned.letters == ("c", "b", "b", "a") and turned.ranks[3] == 1


def test_pairs_are_tested_as_paired_differences_are() -> None:
    table = columns(30)
    found = rankings([table], [True], seed=0, permutations=40_000)[0]
    alone = [
        paired_difference(table[found.names[i]], table[found.names[j]], seed=1, permutations=40_000).p_value
        for i, j in found.p_values
    ]
    assert list(found.p_values.values()) == pytest.approx(holm(alone), abs=0.03)


def test_few_units_are_tested_by_all_flips() -> None:
    table = {"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 0.0, 0.0, 0.0]}
    found = rankings([table], [True], seed=0)[0]
    assert found.p_values == {(0, 1): 2 / 16} and found.letters == ("a", "a")


def test_ranks_of_draws_are_those_of_plain_resampling() -> None:
    draw = np.random.default_rng(3)
    values = draw.normal(size=(25, 3)) + np.array([0.0, 0.1, 0.3])
    found = rankings([{str(k): values[:, k].tolist() for k in range(3)}], [True], seed=0, resamples=20_000)[0]
    rows = draw.integers(0, 25, size=(20_000, 25))
    ranks = average_ranks(-values[rows].mean(axis=1))
    assert found.low == tuple(np.quantile(ranks, 0.025, axis=0, method="lower"))
    assert found.high == tuple(np.quantile(ranks, 0.975, axis=0, method="higher"))


def test_groups_are_drawn_whole() -> None:
    draw = np.random.default_rng(1)
    centres = np.repeat(draw.normal(size=(8, 2)), 25, axis=0)
    values = centres + 0.05 * draw.normal(size=(200, 2))
    table = {"a": values[:, 0].tolist(), "b": values[:, 1].tolist()}
    alone = rankings([table], [True], seed=0)[0]
    grouped = rankings([table], [True], seed=0, groups=np.repeat(np.arange(8), 25).tolist())[0]
    assert (alone.units, grouped.units, grouped.n) == (200, 8, 200)
    assert alone.letters != grouped.letters == ("a", "a")


def test_only_common_clips_count_and_systems_without_values_are_left_out() -> None:
    table = {"a": [1.0, 2.0, None, 4.0], "b": [2.0, 1.0, 9.0, 3.0], "none": [None] * 4}
    found = rankings([table], [True], seed=0)[0]
    assert (found.names, found.n) == (("a", "b"), 3)
    assert found.means == (pytest.approx(7 / 3), 2.0)
    assert rankings([{"a": [1.0], "none": [None]}, {"a": [1.0, None], "b": [None, 1.0]}], [True, True], seed=0) == [
        None,
        None,
    ]


def test_equal_systems_share_their_rank() -> None:
    values = columns()["good"]
    found = rankings([{"a": values, "b": list(values)}], [True], seed=0)[0]
    assert found.ranks == (1.5, 1.5) and found.low == found.high == (1.5, 1.5)
    assert found.letters == ("a", "a")


def test_order_company_and_threads_change_nothing() -> None:
    table, other = columns(), columns(80, 5)
    order = np.random.default_rng(9).permutation(80)
    shuffled = {name: [column[i] for i in order] for name, column in table.items()}
    alone = rankings([table], [True], seed=4)[0]
    assert rankings([shuffled], [True], seed=4)[0] == alone
    assert rankings([other, table], [False, True], seed=4, threads=2)[1] == alone


def test_letters_of_known_cases() -> None:
    assert letters([1, 2, 3], set()) == ["a", "a", "a"]
    assert letters([1, 2, 3], {(0, 1), (0, 2), (1, 2)}) == ["a", "b", "c"]
    assert letters([1, 2, 3], {(0, 2)}) == ["a", "ab", "b"]
    # From Piepho (2004): a system between two groups carries both letters, and no letter is superfluous.
    assert letters([1, 2, 3, 4], {(0, 2), (0, 3), (1, 3)}) == ["a", "ab", "bc", "c"]
    assert letters([3, 2, 1], {(0, 2)}) == ["b", "ab", "a"]


def test_letters_say_exactly_which_pairs_differ() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        count = int(draw.integers(2, 8))
        apart = {(i, j) for i in range(count) for j in range(i + 1, count) if draw.random() < 0.5}
        made = letters(list(range(count)), apart)
        for i in range(count):
            for j in range(i + 1, count):
                assert bool(set(made[i]) & set(made[j])) == ((i, j) not in apart)


def test_average_ranks_are_scipys() -> None:
    values = np.random.default_rng(0).integers(0, 4, size=(50, 6)).astype(float)
    assert average_ranks(values) == pytest.approx(scipy.stats.rankdata(values, axis=1))


@pytest.mark.parametrize("digits", [6, 0])
def test_friedman_equals_scipys(digits: int) -> None:
    table = {name: np.round(column, digits).tolist() for name, column in columns(40).items()}
    found = critical_difference(table, higher_is_better=True)
    statistic, p_value = scipy.stats.friedmanchisquare(*table.values())
    assert found.statistic == pytest.approx(statistic) and found.p_value == pytest.approx(p_value)
    assert found.names[0] == "good" and found.names[-1] == "bad"


def test_critical_difference_is_the_published_one() -> None:
    # Demšar (2006), table 5: the critical value of five systems at 0.05 is 2.728, of two 1.960.
    draw = np.random.default_rng(0)
    five = critical_difference({str(k): draw.normal(size=30).tolist() for k in range(5)}, higher_is_better=True)
    assert five.critical_difference / np.sqrt(5 * 6 / (6 * 30)) == pytest.approx(2.728, abs=6e-4)
    two = critical_difference({str(k): draw.normal(size=30).tolist() for k in range(2)}, higher_is_better=True)
    assert two.critical_difference / np.sqrt(2 * 3 / (6 * 30)) == pytest.approx(1.960, abs=6e-4)


@pytest.mark.parametrize("systems", [2, 3, 8, 20])
def test_critical_values_are_scipys(systems: int) -> None:
    from eval.stats.ranks import _nemenyi

    for alpha in (0.05, 0.1):
        found = scipy.stats.studentized_range.cdf(_nemenyi(systems, alpha) * np.sqrt(2), systems, np.inf)
        assert found == pytest.approx(1 - alpha, abs=1e-9)


def test_bars_join_what_lies_within_the_critical_difference() -> None:
    found = critical_difference(columns(), higher_is_better=True)
    assert found.bars == ((1, 2),)
    assert found.blocks == 80
    equal = critical_difference({"a": [1.0, 2.0], "b": [1.0, 2.0]}, higher_is_better=True)
    assert (equal.statistic, equal.p_value, equal.bars) == (None, None, ((0, 1),))


def test_blocks_are_groups() -> None:
    table = columns(80)
    grouped = critical_difference(table, higher_is_better=True, groups=[i // 10 for i in range(80)])
    assert grouped.blocks == 8
    assert critical_difference(table, higher_is_better=True, groups=["one"] * 80) is None


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths 1, 2"):
        rankings([{"a": [1.0], "b": [1.0, 2.0]}], [True], seed=0)
    with pytest.raises(ValueError, match="NaN"):
        critical_difference({"a": [float("nan")], "b": [1.0]}, higher_is_better=True)
    with pytest.raises(ValueError, match="1 tables and 0"):
        rankings([{}], [], seed=0)
    with pytest.raises(ValueError, match="alpha is 2"):
        critical_difference({}, higher_is_better=True, alpha=2)
