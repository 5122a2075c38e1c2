import math
from typing import Any

import numpy as np
import pytest
import torch

from eval.studies import representation
from eval.studies.representation import (
    frequency_entropy_bits,
    measure_pictures,
    measure_rounds,
    measure_windows,
    picture_claims,
    picture_roads,
    sweep_claims,
)

RATE_HZ = 8_000
TIME_S = torch.arange(12_000) / RATE_HZ
CHORD = sum(torch.sin(2 * torch.pi * f * TIME_S) for f in (220.0, 331.0, 660.0)) * 0.2 * torch.exp(-TIME_S)


def silent(text: str) -> None:
    return None


def test_entropy_of_one_value_is_zero_and_of_noise_full() -> None:
    assert frequency_entropy_bits(torch.full((1, 2, 8, 8), 0.3)) == 0.0
    noise = 2.0 * torch.rand(1, 2, 300, 300, generator=torch.Generator().manual_seed(1)) - 1.0
    assert frequency_entropy_bits(noise) == pytest.approx(6.0, abs=0.02)
    # Two values, each in half of the cells: one bit.
    halves = torch.tensor([-0.5, 0.5]).repeat(32).reshape(1, 1, 8, 8).expand(1, 2, 8, 8)
    assert frequency_entropy_bits(halves) == pytest.approx(1.0)


def test_roads_cover_break_and_threshold_both_ways() -> None:
    roads = picture_roads()
    assert len(roads) == 10
    configs = [road.config for road, _ in list(roads.values())[:8]]
    assert {(c.break_hz, c.threshold, c.phase_mix) for c in configs} == {
        (b, t, m) for b in (240.0, 700.0) for t in (1e-6, 2e-6) for m in ("energy", "unwrapped")
    }


def test_threshold_leaves_no_phase_in_silence() -> None:
    time_s = torch.arange(64_000) / 16_000
    note = 0.3 * torch.sin(2 * torch.pi * 440 * time_s) * torch.exp(-3.0 * time_s)
    roads = {t: picture_roads()[f"Break 240 Hz, {t}, as published"] for t in ("threshold", "no threshold")}
    table, plot, found = measure_pictures([("a", note)], roads, 0, silent)
    assert found["threshold"]["entropy"].value < found["no threshold"]["entropy"].value
    assert [row.label for row in table.rows] == list(roads)
    assert len(plot.points) == 2
    assert all(math.isfinite(point.y) and point.y > 0 for point in plot.points)


def test_sweep_times_stages_and_finds_the_better_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representation, "SWEPT_WINDOW", 512)
    costs, quality, near, times = measure_windows([CHORD], RATE_HZ, 3, silent, windows=(512,), rounds=8)
    assert len(costs.rows) == 1
    assert len(quality.rows) == 4
    # Both kinds from both magnitudes are timed, the two ways from mel to STFT once each.
    assert {name: len(stage.values) for name, stage in times[512].items()} == {"pinv": 1, "nnls": 1, "griffin_lim": 4}
    assert all(value > 0 for stage in times[512].values() for value in stage.values)
    plot, means = measure_rounds([CHORD], RATE_HZ, 3, silent, rounds=(2, 32), window=512)
    assert means["Fast", 32] < means["Fast", 2]
    assert means["Classic", 32] < means["Classic", 2]
    assert [point.x for point in plot.points] == [2.0, 32.0, 2.0, 32.0]
    claims = sweep_claims(near, times, means)
    assert all(claim.met or claim.reason or "nearer" in claim.text for claim in claims)
    assert all(any(sign.isdigit() for sign in claim.figure) for claim in claims)


def test_claims_follow_the_numbers() -> None:
    def cells(distance: float, entropy: float) -> Any:
        cell = representation.cell
        return {
            "log_spectral_distance": cell([distance], 0),
            "entropy": cell([entropy], 0),
            "log_mel_l1": cell([0.5], 0),
        }

    found = {
        f"Break {b} Hz, {t}, {road}": cells(5.0 if b == 240 else 6.0, 2.0 if t == "threshold" else 4.0)
        for b in (240, 700)
        for t in ("threshold", "no threshold")
        for road in ("as published", "with our inverse")
    }
    assert [claim.met for claim in picture_claims(found)] == [True, True, True]
    found["Break 240 Hz, threshold, as published"] = cells(7.0, 3.9)
    worse = picture_claims(found)
    assert [claim.met for claim in worse] == [False, True, False]
    assert all(claim.reason for claim in worse if not claim.met)


def test_scores_of_equal_sounds_are_zero() -> None:
    found = representation.scores(CHORD, CHORD, ("log_spectral_distance", "spectral_convergence"), RATE_HZ)
    assert np.allclose(list(found.values()), 0.0)
