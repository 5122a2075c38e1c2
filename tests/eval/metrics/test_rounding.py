"""Single precision where it cannot be seen: the adaptive sums against float64 throughout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from eval.metrics.mel_distance import multi_scale_mel_plan
from eval.metrics.spectral import (
    band_log_spectral_distance_plan,
    evaluate_plan,
    linear_magnitude_l1_plan,
    linear_magnitude_mse_plan,
    log_magnitude_mse_plan,
    log_mel_l1_plan,
    log_spectral_distance_plan,
    log_stft_magnitude_plan,
    multi_resolution_stft_plan,
    spectral_convergence_plan,
)
from eval.metrics.sums import Plan, spectral_sums
from eval.metrics.tiles import Spectrogram, Tile

RATE_HZ = 44_100
PLANS = {
    "multi_resolution_stft": multi_resolution_stft_plan(),
    "multi_scale_mel": multi_scale_mel_plan(sample_rate_hz=RATE_HZ, magnitude_weight=1.0),
    "log_mel_l1": log_mel_l1_plan(sample_rate_hz=RATE_HZ),
    "linear_magnitude_l1": linear_magnitude_l1_plan(),
    "linear_magnitude_mse": linear_magnitude_mse_plan(),
    "spectral_convergence": spectral_convergence_plan(),
    "log_stft_magnitude": log_stft_magnitude_plan(),
    "log_magnitude_mse": log_magnitude_mse_plan(),
    "log_spectral_distance": log_spectral_distance_plan(),
    "log_spectral_distance_above_8_khz": band_log_spectral_distance_plan(sample_rate_hz=RATE_HZ, low_hz=8000.0),
}


def in_precision(plan: Plan, precision: str) -> Plan:
    requests = (replace(request, stft=replace(request.stft, precision=precision)) for request in plan.requests)
    return Plan(tuple(requests), plan.combine)


def clip(seed: int, samples: int = 30_000) -> np.ndarray:
    """Decaying partials over a noise floor far below them."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / RATE_HZ
    f0 = rng.uniform(80, 600)
    partials = [np.sin(2 * np.pi * f0 * h * t + rng.uniform(0, 6)) / h**1.5 for h in range(1, 20)]
    return 0.3 * np.sum(partials, axis=0) * np.exp(-3 * t) + 10 ** rng.uniform(-5, -2) * rng.standard_normal(samples)


def _pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    wanted, other = clip(0), clip(1)
    low = np.fft.rfft(wanted)
    low[3000:] = 0
    tone = np.sin(2 * np.pi * 440 * np.arange(wanted.size) / RATE_HZ)
    return {
        "two clips": (other, wanted),
        "noise": (np.random.default_rng(2).standard_normal(wanted.size), wanted),
        "very quiet": (1e-5 * other, 1e-5 * wanted),
        "nearly equal": (wanted * (1 + 1e-5), wanted),
        "rounded to 16 bits": (np.round(wanted * 32767) / 32767, wanted),
        "equal for one half": (np.where(np.arange(wanted.size) < 15_000, wanted, other), wanted),
        "silent for one half": tuple(np.where(np.arange(wanted.size) < 15_000, 0, s) for s in (other, wanted)),  # type: ignore[dict-item]
        "low pass": (np.fft.irfft(low, wanted.size), wanted),
        "whisper under a tone": (tone + 1e-5 * other, tone + 1e-5 * wanted),
        "two tones": (0.9 * tone, tone),
        "offset": (wanted + 0.5, wanted),
        "silent estimate": (np.zeros_like(wanted), wanted),
    }


@pytest.mark.parametrize("name", PLANS)
def test_adaptive_sums_agree_with_double_precision(name: str) -> None:
    for label, pair in _pairs().items():
        made, wanted = (torch.from_numpy(signal.astype(np.float32)) for signal in pair)
        double = float(evaluate_plan(in_precision(PLANS[name], "float64"), made, wanted))
        adaptive = float(evaluate_plan(in_precision(PLANS[name], "adaptive"), made, wanted))
        assert adaptive == pytest.approx(double, rel=3e-6, abs=1e-12), label


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each tile was made in single precision."""
    precisions: list[bool] = []
    original: Callable[..., Tile] = Spectrogram.tile

    def tile(self: Spectrogram, first: int, last: int, *, single: bool, floor: float = 0.0) -> Tile:
        precisions.append(single)
        return original(self, first, last, single=single, floor=floor)

    monkeypatch.setattr(Spectrogram, "tile", tile)
    return precisions


def test_pairs_far_apart_stay_in_single_precision(looked_at: list[bool]) -> None:
    noise: list[Tensor] = [torch.randn(30_000, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    evaluate_plan(PLANS["multi_resolution_stft"], *noise)
    assert looked_at
    assert all(looked_at)


def test_nearly_equal_pairs_are_taken_again_in_double_precision(looked_at: list[bool]) -> None:
    wanted = torch.from_numpy(clip(0).astype(np.float32))
    made = (wanted.double() * (1 + 1e-6)).float()
    value, single, double = (
        float(evaluate_plan(in_precision(PLANS["log_spectral_distance"], precision), made, wanted))
        for precision in ("adaptive", "float32", "float64")
    )
    assert value == pytest.approx(double, rel=1e-12)
    # Rounding noise alone: without a second look it would be most of the value.
    assert single > 1.5 * double
    assert looked_at[:2] == [True, False]


def test_signals_in_double_precision_are_worked_on_in_it(looked_at: list[bool]) -> None:
    made, wanted = (torch.from_numpy(clip(seed)) for seed in (0, 1))
    for plan in PLANS.values():
        double = float(evaluate_plan(in_precision(plan, "float64"), made, wanted))
        assert float(evaluate_plan(plan, made, wanted)) == pytest.approx(double, rel=1e-13)
    assert not any(looked_at)


def test_a_sum_does_not_depend_on_those_taken_with_it() -> None:
    made, wanted = (torch.from_numpy(signal.astype(np.float32)) for signal in _pairs()["equal for one half"])
    requests = [request for plan in PLANS.values() for request in plan.requests]
    together, _ = spectral_sums(made, wanted, requests)
    for request in requests:
        assert spectral_sums(made, wanted, [request])[0][request] == together[request]
