"""Variance of trainings and of clips, on tables made with known parts."""

from __future__ import annotations

import numpy as np
import pytest

from eval.stats import variance_components


def table(seed: int, seeds: int, clips: int, parts: tuple[float, float, float]) -> np.ndarray:
    draw = np.random.default_rng(seed)
    between, clip, rest = parts
    return draw.normal(0, between, (seeds, 1)) + draw.normal(0, clip, (1, clips)) + draw.normal(0, rest, (seeds, clips))


def test_the_parts_are_found_again() -> None:
    found = [variance_components(table(trial, 6, 60, (0.5, 2.0, 1.0)).tolist()) for trial in range(200)]
    for name, truth in (("seed_sd", 0.25), ("clip_sd", 4.0), ("rest_sd", 1.0)):
        assert np.mean([getattr(f, name) ** 2 for f in found]) == pytest.approx(truth, rel=0.12)


def test_clips_that_differ_widely_do_not_hide_behind_seeds() -> None:
    draws = [variance_components(table(trial, 4, 50, (0.0, 5.0, 0.1)).tolist()) for trial in range(50)]
    assert all(found.seed_sd < 0.1 and found.clip_sd > 3 for found in draws)


def test_error_says_how_far_means_scatter() -> None:
    tables = [table(trial, 5, 40, (0.5, 1.0, 1.0)) for trial in range(800)]
    found = [variance_components(rows.tolist()) for rows in tables]
    assert np.std([rows.mean() for rows in tables]) == pytest.approx(
        np.sqrt(np.mean([f.error**2 for f in found])), rel=0.08
    )
    assert np.std([rows[0].mean() for rows in tables]) == pytest.approx(
        np.sqrt(np.mean([f.error_one_seed**2 for f in found])), rel=0.08
    )
    assert all(f.error_clips_only <= f.error * (1 + 1e-12) for f in found)


def test_only_common_clips_count() -> None:
    found = variance_components([[1.0, 2.0, None, 4.0], [2.0, 3.0, 9.0, 5.0]])
    assert (found.seeds, found.clips, found.mean) == (2, 3, pytest.approx(17 / 6))
    assert found.seed_sd == pytest.approx(np.sqrt(0.5)) and found.rest_sd == pytest.approx(0.0)


def test_what_cannot_be_known_is_none() -> None:
    assert variance_components([[1.0, 2.0]]) is None
    assert variance_components([[1.0, None], [None, 2.0]]) is None
    assert variance_components([]) is None
    with pytest.raises(ValueError, match="lengths 1, 2"):
        variance_components([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="NaN"):
        variance_components([[1.0, float("nan")], [1.0, 2.0]])
