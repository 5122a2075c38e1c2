import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.sets import SET_METRICS, chosen, definition, definition_sha256, set_metric
from eval.sets.definition import SetMetric
from eval.sets.scoring import affordable, score_classes, score_embeddings
from models.errors import InputError

OF_EMBEDDINGS = [row.name for row in SET_METRICS.values() if row.input == "embeddings"]
# Enough clips for every metric, and few enough repetitions to wait for.
FEW = {"permutations": 19, "splits": 6}


def gaussians(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_table_is_whole() -> None:
    for row in SET_METRICS.values():
        module, _, function = row.target.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function)), row.name
        assert row.title and row.unit and row.value_range and row.blind_to and row.source, row.name
        assert json.loads(json.dumps(definition(row.name)))["version"] == row.version
    assert len({definition_sha256(name) for name in SET_METRICS}) == len(SET_METRICS)
    assert chosen(()) == [row.name for row in SET_METRICS.values() if row.input != "codes"]
    assert chosen(["codes", "coverage"])[-1] == "coverage"
    assert set(chosen(["all"])) == set(SET_METRICS)
    with pytest.raises(InputError, match="unknown metric of sets 'fad'; known: kernel_distance"):
        set_metric("fad")
    with pytest.raises(ValueError, match="input"):
        SetMetric("a", "A", "m:f", "pictures", "1", False, "", "", "")
    with pytest.raises(ValueError, match="begins with an interval"):
        SetMetric("a", "A", "m:f", "embeddings", "1", False, "above 0", "", "")


def test_the_table_tells_the_limits_of_every_value() -> None:
    expected = {
        "kernel_distance": (-math.inf, 200.0),
        "frechet_distance": (0.0, math.inf),
        "density": (0.0, math.inf),
        "coverage": (0.0, 1.0),
        "inception_score_family": (1.0, 11.0),
        "pitch_entropy": (0.0, math.log(128)),
        "bin_divergence": (0.0, math.log(2)),
        "top_code_share": (-math.inf, 1.0),
    }
    assert {name: SET_METRICS[name].limits for name in expected} == expected


def test_an_interval_stays_within_what_the_metric_can_be() -> None:
    y = gaussians(60, 4, 1)
    # Sparse sets whose measures lie at their ends, where the jackknife's symmetric interval would leave the range.
    spread = np.concatenate([gaussians(50, 4, 2), gaussians(10, 4, 3) + 9.0])
    seen = set()
    for x in (spread, y + 1e-3, gaussians(60, 4, 4) + 2.5):
        for name in ("density", "coverage", "precision", "recall"):
            score = score_embeddings(name, x, y, permutations=0, splits=0)
            least, largest = SET_METRICS[name].limits
            assert least <= score.low <= score.value <= score.high <= largest, name
            seen |= {end for end in (score.low, score.high) if end in (0.0, 1.0)}
    assert seen == {0.0, 1.0}
    sure = np.full((30, 11), 1e-4)
    sure[:, 0], sure[:2, 0], sure[:2, 5] = 0.999, 1e-4, 0.999
    score = score_classes("inception_score_family", sure)
    assert score.low == 1.0 < score.value < score.high


def test_table_imports_nothing_heavy() -> None:
    code = "import sys, eval.sets; print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if "infinity" in n else ()) for n in OF_EMBEDDINGS]
)
def test_every_metric_has_all_that_belongs_to_it(name: str) -> None:
    x, y = gaussians(70, 4, 0) + 1.5, gaussians(90, 4, 1)
    score = score_embeddings(name, x, y, seed=3, **FEW)
    assert score.status == "ok", score.reason
    assert (score.n_estimate, score.n_reference, score.seed) == (70, 90, 3)
    assert score.p_value == pytest.approx(1 / 20)
    assert (score.low is None) == (not SET_METRICS[name].smooth)
    if score.low is not None:
        assert score.low < score.value < score.high
    assert (score.floor.n_estimate, score.floor.n_reference, score.floor.splits) == (45, 45, 6)
    assert score.floor.low <= score.floor.mean <= score.floor.high
    better = SET_METRICS[name].higher_is_better
    assert (score.floor.at_floor_size < score.floor.mean) == better
    json.dumps(score.as_row(), allow_nan=False)
    # Neither the order of the clips nor a second run changes anything.
    order = np.random.default_rng(0).permutation(70)
    assert score_embeddings(name, x[order], y[::-1], seed=3, **FEW) == score


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_bad_sets_have_a_status_and_no_number(name: str) -> None:
    x = gaussians(70, 4, 0)
    cases = {
        "undefined": [(x[:1], x), (x[:0], x), (x, x[:3]), (x, np.full((70, 4), 0.1))],
        "failed": [(np.where(x > 1, np.nan, x), x), (x, x * np.inf), (x, x[:, :2])],
    }
    for status, pairs in cases.items():
        for estimate, reference in pairs:
            score = score_embeddings(name, estimate, reference, **FEW)
            assert (score.value, score.status) == (None, status), (name, score)
            assert score.reason
            assert score.p_value is score.low is score.floor is None


def test_p_is_uniform_for_equal_distributions() -> None:
    found = [
        score_embeddings("kernel_distance", gaussians(15, 3, i), gaussians(20, 3, 500 + i), permutations=99, splits=0)
        for i in range(200)
    ]
    p = np.array([score.p_value for score in found])
    assert 0.015 <= (p <= 0.05).mean() <= 0.1
    assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.11)


def expected_kernel(shift: float, other: float) -> float:
    """Mean of ``(x . y / 3 + 1)^3`` for unit Gaussians in three dimensions whose means lie on the first axis."""
    first, squares = shift * other, shift**2 + other**2
    second = first**2 + squares + 3.0
    third = first**3 + 3.0 * first * (squares + 3.0) + 6.0 * first
    return 1.0 + first + second / 3.0 + third / 27.0


def test_interval_covers_the_true_distance() -> None:
    truth = expected_kernel(1.0, 1.0) + expected_kernel(0.0, 0.0) - 2.0 * expected_kernel(1.0, 0.0)
    shift = np.array([1.0, 0.0, 0.0])
    hits = 0
    for i in range(60):
        x, y = gaussians(60, 3, i) + shift, gaussians(60, 3, 1_000 + i)
        score = score_embeddings("polynomial_distance", x, y, permutations=0, splits=0)
        hits += score.low <= truth <= score.high
    assert hits >= 52


def test_repetitions_follow_the_sizes_alone() -> None:
    kernel, frechet = set_metric("kernel_distance"), set_metric("frechet_distance")
    assert affordable(kernel, 500, 500, 64, 999) == 999
    assert affordable(frechet, 200, 200, 64, 199) == 199
    assert affordable(frechet, 5_000, 5_000, 2_048, 199) == 0
    score = score_embeddings("frechet_distance", gaussians(20, 3, 0), gaussians(20, 3, 1), permutations=0, splits=0)
    assert (score.p_value, score.p_method, score.floor) == (None, "not asked for", None)


def test_a_small_reference_has_no_floor() -> None:
    score = score_embeddings("frechet_distance", gaussians(40, 6, 0), gaussians(10, 6, 1), **FEW)
    assert score.status == "ok"
    assert score.floor.mean is None
    assert "5 clips, 6 dimensions" in score.floor.reason


def distributions(n: int, sharpness: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(12, sharpness), size=n)


def test_classes_have_intervals_p_and_floor() -> None:
    sure, vague = distributions(60, 0.05, 0), distributions(50, 3.0, 1)
    for name in ("inception_score_family", "pitch_entropy"):
        score = score_classes(name, vague, sure, permutations=99, splits=20, seed=1)
        assert score.status == "ok"
        assert score.p_value == pytest.approx(0.01)
        assert score.low < score.value < score.high
        assert (score.floor.n_estimate, score.floor.n_reference) == (50, 0)
        assert score.facts["reference_value"] == pytest.approx(score.floor.mean, rel=0.15)
        assert score_classes(name, vague[::-1], sure, permutations=99, splits=20, seed=1) == score
    alone = score_classes("pitch_entropy", vague)
    assert (alone.p_value, alone.floor, alone.n_reference) == (None, None, 0)


def test_accuracy_needs_labels() -> None:
    p = np.eye(12)[np.arange(40) % 12]
    labels = np.arange(40) % 12
    assert score_classes("pitch_accuracy", p).status == "skipped"
    wrong = np.where(np.arange(40) < 20, labels, (labels + 1) % 12)
    score = score_classes("pitch_accuracy", p, p, labels=wrong, reference_labels=labels, permutations=99, splits=5)
    assert (score.value, score.floor.mean) == (0.5, 1.0)
    assert score.p_value == pytest.approx(0.01)
    assert score.low < 0.5 < score.high
    bad = score_classes("pitch_accuracy", p, labels=[0])
    assert (bad.status, bad.value) == ("failed", None)
    assert score_classes("inception_score_pitch", p[:1]).status == "undefined"
    assert dataclasses.asdict(score)["metric"] == "pitch_accuracy"


@pytest.mark.parametrize("name", [name for name in OF_EMBEDDINGS if "infinity" not in name])
def test_estimates_of_the_very_clips_are_held_against_other_clips(name: str) -> None:
    clips = gaussians(80, 4, 0)
    better = SET_METRICS[name].higher_is_better
    same = score_embeddings(name, clips, clips, seed=3, paired=True, **FEW)
    # Where nothing changed, no swap makes a difference, and the estimates are the floor itself.
    assert same.p_value == 1.0 and same.floor.at_floor_size == pytest.approx(same.floor.mean)
    moved = clips + 1.5 + 0.1 * gaussians(80, 4, 1)
    far = score_embeddings(name, moved, clips, seed=3, paired=True, **FEW)
    assert far.p_value == pytest.approx(1 / 20) and "swaps" in far.p_method
    assert (far.floor.at_floor_size < far.floor.mean) == better
    if far.low is not None:
        assert far.low < far.value < far.high
    order = np.random.default_rng(0).permutation(80)
    assert score_embeddings(name, moved[order], clips[order], seed=3, paired=True, **FEW) == far


def test_p_of_paired_sets_is_uniform_where_nothing_is_different() -> None:
    found = []
    for i in range(60):
        clips = gaussians(20, 3, i)
        pair = [clips + 0.3 * gaussians(20, 3, 100 * k + i) for k in (1, 2)]
        score = score_embeddings("kernel_distance", *pair, permutations=99, splits=0, paired=True)
        found.append(score.p_value)
    assert 0.35 < np.mean(found) < 0.65 and np.mean(np.array(found) <= 0.1) < 0.25


def test_a_small_change_of_every_clip_is_found_when_clips_are_paired() -> None:
    clips = gaussians(60, 4, 0)
    moved = clips + 0.15
    assert score_embeddings("frechet_distance", moved, clips, permutations=99, splits=0).p_value > 0.1
    assert score_embeddings("frechet_distance", moved, clips, permutations=99, splits=0, paired=True).p_value == 0.01


def test_paired_sets_have_one_estimate_a_clip_and_no_extrapolation() -> None:
    with pytest.raises(ValueError, match="30 estimates of 40 clips"):
        score_embeddings("kernel_distance", gaussians(30, 3, 0), gaussians(40, 3, 1), paired=True)
    with pytest.raises(ValueError, match="30 estimates of 40 clips"):
        score_classes("pitch_entropy", distributions(30, 1.0, 0), distributions(40, 1.0, 1), paired=True)
    score = score_embeddings("frechet_distance_infinity", gaussians(90, 3, 0), gaussians(90, 3, 0), paired=True)
    assert (score.status, score.value) == ("skipped", None) and "independent" in str(score.reason)


def test_paired_classes_are_swapped_within_clips() -> None:
    sure = distributions(60, 0.05, 0)
    vague = 0.99 * sure + 0.01 / 12
    assert score_classes("pitch_entropy", vague, sure, permutations=99, splits=5).p_value > 0.05
    paired = score_classes("pitch_entropy", vague, sure, permutations=99, splits=5, paired=True)
    assert paired.p_value == pytest.approx(0.01) and "swaps" in paired.p_method
    order = np.random.default_rng(0).permutation(60)
    assert score_classes("pitch_entropy", vague[order], sure[order], permutations=99, splits=5, paired=True) == paired
