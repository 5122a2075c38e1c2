"""Intervals against scipy, against simulation, and at their edges."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import scipy.stats

from eval.stats import holm, mean_interval, mean_intervals, paired_difference, paired_differences


def sample(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=count)


@pytest.mark.parametrize("count", [12, 60, 200])
def test_interval_equals_scipys_bca(count: int) -> None:
    values = sample(count)
    ours = mean_interval(values, resamples=40_000, seed=1)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    # Both draw at random: the ends agree within a few of their standard errors.
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)
    assert ours.method == "BCa bootstrap over values"
    # A skewed sample has a longer upper arm; a plain normal interval has not.
    assert ours.high - ours.mean > ours.mean - ours.low


def test_mean_and_median_are_those_of_numpy() -> None:
    values = sample(31)
    interval = mean_interval(values, seed=0, resamples=10)
    assert interval.mean == pytest.approx(values.mean(), rel=1e-14)
    assert interval.median == np.median(values)
    assert (interval.n, interval.units, interval.resamples, interval.seed) == (31, 31, 10, 0)


def test_same_seed_same_interval_in_any_order() -> None:
    values, groups = sample(50), [index % 9 for index in range(50)]
    order = np.random.default_rng(1).permutation(50)
    assert mean_interval(values, seed=4) == mean_interval(values[order], seed=4)
    assert mean_interval(values, seed=4) != mean_interval(values, seed=5)
    shuffled = [groups[index] for index in order]
    assert mean_interval(values, seed=4, groups=groups) == mean_interval(values[order], seed=4, groups=shuffled)


def test_groups_of_one_are_values() -> None:
    values = sample(40)
    alone, grouped = mean_interval(values, seed=0), mean_interval(values, seed=0, groups=range(40))
    assert (alone.low, alone.high) == (grouped.low, grouped.high)
    assert grouped.method == "BCa bootstrap over groups"


def test_copies_inside_a_group_carry_no_information() -> None:
    values = sample(25)
    once = mean_interval(values, seed=0)
    copied = mean_interval(np.repeat(values, 8), seed=0, groups=np.repeat(np.arange(25), 8).tolist())
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)
    assert (copied.n, copied.units) == (200, 25)
    naive = mean_interval(np.repeat(values, 8), seed=0)
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_the_mean_is_over_clips_when_groups_differ_in_size() -> None:
    interval = mean_interval([1.0, 1.0, 1.0, 5.0, 2.0], seed=0, groups=["a", "a", "a", "b", "c"])
    assert interval.mean == 2.0
    assert interval.low <= 2.0 <= interval.high


@pytest.mark.parametrize(
    ("values", "groups", "mean", "reason"),
    [
        ([], None, None, "no values"),
        ([3.0], None, 3.0, "no interval: only one value"),
        ([0.1] * 7, None, 0.1, "no interval: all values are equal"),
        ([1.0, 2.0], ["a", "a"], 1.5, "no interval: only one group"),
        ([1.0, 3.0, 3.0, 1.0], ["a", "a", "b", "b"], 2.0, "no interval: all groups are equal"),
    ],
)
def test_what_cannot_be_known_is_none(
    values: list[float], groups: list[str] | None, mean: float | None, reason: str
) -> None:
    interval = mean_interval(values, seed=0, groups=groups)
    assert interval.mean == (None if mean is None else pytest.approx(mean))
    assert (interval.low, interval.high, interval.resamples) == (None, None, 0)
    assert interval.method == reason
    assert interval.n == len(values)


def test_results_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        mean_interval([1.0, 2.0], seed=0).mean = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"values": [1.0, float("nan")]}, "NaN"),
        ({"values": [1.0, 2.0], "groups": ["a"]}, "2 values and 1 groups"),
        ({"values": [1.0, 2.0], "level": 95}, "level is 95"),
        ({"values": [1.0, 2.0], "resamples": 0}, "resamples is 0"),
        ({"values": [[1.0, 2.0]]}, "one axis"),
    ],
)
def test_wrong_input_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mean_interval(**({"seed": 0} | arguments))  # type: ignore[arg-type]


def coverage(trials: int, count: int, resamples: int) -> float:
    truth, hits = 2.0, 0
    for trial in range(trials):
        interval = mean_interval(sample(count, seed=trial), resamples=resamples, seed=trial)
        hits += interval.low <= truth <= interval.high
    return hits / trials


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # Four standard errors of 400 trials are 0.044.
    assert 0.90 < coverage(400, 60, 600) < 0.985


@pytest.mark.slow
def test_coverage_is_93_to_97_percent() -> None:
    assert 0.93 <= coverage(4000, 100, 2000) <= 0.97


def test_cluster_intervals_cover_where_naive_ones_do_not() -> None:
    hits = {"clustered": 0, "naive": 0}
    trials = 200
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        centres = generator.normal(size=30)
        values = (centres[:, None] + 0.3 * generator.normal(size=(30, 6))).ravel()
        groups = np.repeat(np.arange(30), 6).tolist()
        for name, held in (("clustered", groups), ("naive", None)):
            interval = mean_interval(values, resamples=500, seed=trial, groups=held)
            hits[name] += interval.low <= 0.0 <= interval.high
    assert hits["clustered"] > 0.88 * trials
    assert hits["naive"] < 0.75 * trials


def test_a_whole_table_takes_less_than_two_seconds() -> None:
    tables = np.random.default_rng(0).normal(size=(40, 200))
    started = time.process_time()
    for index, values in enumerate(tables):
        mean_interval(values, seed=index)
    assert time.process_time() - started < 2.0


def test_difference_is_that_of_the_pairs_both_have() -> None:
    a = [1.0, 2.0, None, 4.0, 8.0, 3.0]
    b = [0.5, 1.0, 3.0, None, 5.0, 2.5]
    result = paired_difference(a, b, seed=0)
    assert (result.n, result.dropped) == (4, 2)
    assert result.mean == pytest.approx((0.5 + 1 + 3 + 0.5) / 4)
    assert result.low is not None
    assert result.p_method == "exact sign-flip test, 16 flips"
    # All differences have one sign: of 16 flips, two are as extreme.
    assert result.p_value == 2 / 16


@pytest.mark.parametrize("count", [10, 40])
def test_p_equals_scipys_permutation_test(count: int) -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(0.4, 1.0, count), generator.normal(0.0, 1.0, count)
    ours = paired_difference(a.tolist(), b.tolist(), seed=0, permutations=40_000)
    theirs = scipy.stats.permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=40_000,
        rng=np.random.default_rng(1),
    )
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.0 if count == 10 else 0.012)


def test_swapping_the_systems_turns_the_sign_only() -> None:
    a, b = sample(50, 1).tolist(), sample(50, 2).tolist()
    forth, back = paired_difference(a, b, seed=0), paired_difference(b, a, seed=0)
    assert forth.mean == pytest.approx(-back.mean)
    assert forth.p_value == pytest.approx(back.p_value, abs=0.02)


def test_groups_are_flipped_together() -> None:
    gaps = np.repeat([1.0, 2.0, 1.5], 20)
    zeros = [0.0] * 60
    together = paired_difference(gaps.tolist(), zeros, seed=0, groups=np.repeat([0, 1, 2], 20).tolist())
    assert together.p_value == 2 / 8
    assert paired_difference(gaps.tolist(), zeros, seed=0).p_value == pytest.approx(1 / 10_001)


def test_edges_of_differences() -> None:
    nothing = paired_difference([None], [1.0], seed=0)
    assert (nothing.n, nothing.mean, nothing.p_value, nothing.p_method) == (0, None, None, "no pairs")
    equal = paired_difference([1.0] * 20, [1.0] * 20, seed=0)
    assert (equal.mean, equal.low, equal.p_value) == (0.0, None, 1.0)
    one = paired_difference([2.0], [1.0], seed=0)
    assert (one.mean, one.low, one.p_value) == (1.0, None, 1.0)
    with pytest.raises(ValueError, match="a has 1 values, b 2"):
        paired_difference([1.0], [1.0, 2.0], seed=0)
    with pytest.raises(ValueError, match="permutations"):
        paired_difference([1.0], [1.0], seed=0, permutations=0)


def test_p_values_are_uniform_without_a_difference() -> None:
    p_values = [
        paired_difference(
            np.random.default_rng(trial).normal(size=20).tolist(),
            [0.0] * 20,
            seed=trial,
            resamples=10,
            permutations=200,
        ).p_value
        for trial in range(300)
    ]
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_holms_correction() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_many_columns_say_what_each_says_alone() -> None:
    columns = [sample(n, n) for n in (30, 30, 31, 1, 0, 30)] + [np.full(30, 2.0)]
    groups = [None, [i % 7 for i in range(30)], None, None, None, [i // 4 for i in range(30)], None]
    alone = [mean_interval(c, seed=4, groups=g) for c, g in zip(columns, groups, strict=True)]
    assert mean_intervals(columns, seed=4, groups=groups) == alone
    pairs = [(sample(30, k).tolist(), sample(30, k + 9).tolist()) for k in range(4)]
    pairs[2][0][5] = None
    single = [paired_difference(a, b, seed=4, groups=groups[1]) for a, b in pairs]
    assert paired_differences(pairs, seed=4, groups=groups[1]) == single


def test_no_bit_depends_on_threads_or_company() -> None:
    columns = [sample(3000, k) for k in range(5)]
    one = mean_intervals(columns, seed=1, resamples=2000)
    assert mean_intervals(columns, seed=1, resamples=2000, threads=3) == one
    assert mean_intervals(columns[3:4], seed=1, resamples=2000) == one[3:4]
    pairs = [(c.tolist(), columns[0].tolist()) for c in columns[1:]]
    tests = paired_differences(pairs, seed=1, resamples=100, permutations=2000)
    assert paired_differences(pairs, seed=1, resamples=100, permutations=2000, threads=2) == tests
    assert paired_differences(pairs[2:3], seed=1, resamples=100, permutations=2000) == tests[2:3]


def test_draws_that_equal_the_mean_count_as_such() -> None:
    # Half of the clips are right: draws below the mean are as many as above, and the interval is symmetric.
    found = mean_interval([0.0, 0.1] * 30, seed=0, resamples=40_000)
    assert found.high - found.mean == pytest.approx(found.mean - found.low, abs=0.1 / 60 + 1e-12)
    values = [0.1 * (i % 7) for i in range(60)]
    plain, scaled = mean_interval(values, seed=3), mean_interval([10 * v for v in values], seed=3)
    assert (scaled.low, scaled.high) == pytest.approx((10 * plain.low, 10 * plain.high), rel=1e-12)


def test_tiny_and_huge_values_keep_their_intervals() -> None:
    values = sample(40)
    plain = mean_interval(values, seed=0)
    for scale in (1e-300, 1e-20, 1e20, 1e300):
        scaled = mean_interval(values * scale, seed=0)
        assert scaled.low == pytest.approx(plain.low * scale, rel=1e-9)
        assert scaled.high == pytest.approx(plain.high * scale, rel=1e-9)


# Ends of two intervals, one of groups, of a difference with its p: what documents of the first version state.
GOLDEN = (
    5.599889077704469, 7.158140979175898, 5.382467584487939, 7.239892161634949, -7.2060711742374775,
    -3.9433585444701857, 9.999000099990002e-05,
)  # fmt: skip


def test_numbers_stay_those_that_documents_were_made_with() -> None:
    values = [((7 * i * i + 3 * i) % 101 + i / 7) ** 0.5 for i in range(40)]
    alone = mean_interval(values, seed=11)
    grouped = mean_interval(values, seed=11, groups=[i // 3 for i in range(40)])
    gap = paired_difference(values, [x * x / 4 for x in values], seed=11)
    found = (alone.low, alone.high, grouped.low, grouped.high, gap.low, gap.high, gap.p_value)
    assert found == pytest.approx(GOLDEN, rel=1e-11)


@pytest.mark.slow
def test_eight_systems_thirty_metrics_and_five_thousand_clips_take_ten_seconds_on_two_cores() -> None:
    table = np.random.default_rng(0).gamma(2.0, size=(30, 8, 5000))
    started = time.process_time()
    mean_intervals([column for metric in table for column in metric], seed=0)
    paired_differences([(m[k].tolist(), m[0].tolist()) for m in table for k in range(1, 8)], seed=0)
    assert time.process_time() - started < 20.0
