"""Quantiles against numpy and scipy, against simulation, and at their edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from eval.stats import quantile_interval, quantile_intervals


def sample(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=count)


@pytest.mark.parametrize("count", [25, 60, 201])
@pytest.mark.parametrize("q", [0.5, 0.9])
def test_interval_equals_scipys_bca(count: int, q: float) -> None:
    values = sample(count, seed=count)
    ours = quantile_interval(values, q, resamples=60_000, seed=1)

    def statistic(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.quantile(x, q, axis=axis)

    theirs = scipy.stats.bootstrap(
        (values,), statistic, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2), batch=2000
    )
    # A quantile's draws lie on few values, whose probabilities both estimate: what is compared is how the draws are
    # spread, and then the ends, which may differ by a neighbouring value.
    span = theirs.confidence_interval
    ordered = np.sort(values)
    for mine, other in ((ours.low, span.low), (ours.high, span.high)):
        assert abs(np.searchsorted(ordered, mine) - np.searchsorted(ordered, other)) <= 1
    assert ours.value == np.quantile(values, q)


@pytest.mark.parametrize("q", [0.25, 0.5])
@pytest.mark.parametrize("n", [5, 6])
def test_draws_have_the_distribution_of_all_resamples(n: int, q: float) -> None:
    from eval.stats.quantiles import _plain

    ordered = np.array([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])[:n]
    every = np.quantile(np.array(list(itertools.product(ordered, repeat=n))), q, axis=1)
    draws, left_out = _plain(ordered, q, 200_000, 3)
    for value in np.unique(every):
        share = (every == value).mean()
        assert (draws == value).mean() == pytest.approx(share, abs=5 * np.sqrt(share / 200_000))
    assert left_out == pytest.approx([np.quantile(np.delete(ordered, i), q) for i in range(n)])


@pytest.mark.parametrize("q", [0.1, 0.5, 0.75])
def test_grouped_draws_are_quantiles_of_the_drawn_groups(q: float) -> None:
    from eval.stats.draws import counted
    from eval.stats.quantiles import _Cuts, _sorted

    generator = np.random.default_rng(5)
    groups = generator.integers(0, 12, size=150)
    values = np.round(generator.normal(size=150), 1)
    ordered, units = _sorted(values, groups.tolist())
    drawn = generator.integers(0, 12, size=(40, 12), dtype=np.int32)
    found = _Cuts(ordered, units, 12, q).quantile(counted(drawn, 12, np.float32), q)
    for row, value in zip(drawn, found, strict=True):
        assert value == np.quantile(np.concatenate([ordered[units == unit] for unit in row]), q)


def test_groups_of_one_say_what_values_say() -> None:
    values = sample(80)
    alone = quantile_interval(values, seed=0, resamples=40_000)
    grouped = quantile_interval(values, seed=0, resamples=40_000, groups=range(80))
    width = alone.high - alone.low
    assert grouped.low == pytest.approx(alone.low, abs=0.1 * width)
    assert grouped.high == pytest.approx(alone.high, abs=0.1 * width)
    assert (alone.method, grouped.method) == ("BCa bootstrap over values", "BCa bootstrap over groups")


def test_copies_inside_a_group_carry_no_information() -> None:
    values = sample(31)
    once = quantile_interval(values, seed=0, groups=range(31))
    copied = quantile_interval(np.repeat(values, 5), seed=0, groups=np.repeat(np.arange(31), 5).tolist())
    assert (copied.n, copied.units) == (155, 31)
    assert copied.low == pytest.approx(once.low, abs=0.1) and copied.high == pytest.approx(once.high, abs=0.1)


def test_order_and_company_change_nothing() -> None:
    values, groups = sample(50), [index % 9 for index in range(50)]
    order = np.random.default_rng(1).permutation(50)
    shuffled = [groups[index] for index in order]
    one = quantile_interval(values, seed=4, groups=groups)
    assert one == quantile_interval(values[order], seed=4, groups=shuffled)
    many = quantile_intervals([values, values * 2, values], seed=4, groups=[groups, None, groups], threads=2)
    assert many[0] == one == many[2]
    assert many[1] == quantile_interval(values * 2, seed=4)


@pytest.mark.parametrize(
    ("values", "groups", "value", "reason"),
    [
        ([], None, None, "no values"),
        ([3.0], None, 3.0, "no interval: only one value"),
        ([0.1] * 7, None, 0.1, "no interval: all values are equal"),
        ([1.0, 2.0], ["a", "a"], 1.5, "no interval: only one group"),
    ],
)
def test_what_cannot_be_known_is_none(
    values: list[float], groups: list[str] | None, value: float | None, reason: str
) -> None:
    found = quantile_interval(values, seed=0, groups=groups)
    assert (found.value, found.low, found.high, found.resamples) == (value, None, None, 0)
    assert found.method == reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"values": [1.0, float("nan")]}, "NaN"),
        ({"values": [1.0, 2.0], "groups": ["a"]}, "2 values and 1 groups"),
        ({"values": [1.0, 2.0], "q": 1.0}, "q is 1.0"),
    ],
)
def test_wrong_input_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quantile_interval(**({"seed": 0} | arguments))  # type: ignore[arg-type]


def coverage(trials: int, clustered: bool, resamples: int) -> float:
    hits = 0
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        if clustered:
            centres = generator.normal(size=60)
            values = (centres[:, None] + generator.normal(size=(60, 5))).ravel()
            groups, truth = np.repeat(np.arange(60), 5).tolist(), 0.0
        else:
            values, groups, truth = sample(101, seed=trial), None, scipy.stats.gamma(2.0).median()
        found = quantile_interval(values, resamples=resamples, seed=trial, groups=groups)
        hits += found.low <= truth <= found.high
    return hits / trials


@pytest.mark.parametrize("clustered", [False, True])
def test_medians_cover_the_truth_about_as_often_as_they_say(clustered: bool) -> None:
    assert 0.90 < coverage(300, clustered, 500) < 0.985


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_coverage_is_93_to_97_percent(clustered: bool) -> None:
    assert 0.93 <= coverage(3000, clustered, 2000) <= 0.97
