"""Models of hearing: our calls give the packages' numbers, and their failures give none."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.metrics.scoring import score_batch
from tests.signals import noise, tone

# In the package the name stands for the rows of the table.
perception = importlib.import_module("eval.metrics.perception")


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def speech(duration_s: float = 2.0, rate: int = 16_000) -> np.ndarray:
    """Pulses through resonances in bursts of 0.3 s with pauses between them."""
    generator = np.random.default_rng(4)
    frames = round(duration_s * rate)
    time = np.arange(frames) / rate
    total = np.zeros(frames)
    angle = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.5 * time)) / rate
    for number in range(1, 30):
        weight = sum(np.exp(-(((number * 120 - centre) / 150) ** 2)) for centre in (600, 1200, 2500))
        total += (weight + 0.02) * np.sin(number * angle)
    bursts = (np.sin(2 * np.pi * 1.7 * time) > -0.2) * (0.6 + 0.4 * np.sin(2 * np.pi * 7 * time))
    return (0.1 * total * bursts + 1e-4 * generator.standard_normal(frames)).astype(np.float64)


def tensors(rate: int = 16_000) -> tuple[torch.Tensor, torch.Tensor]:
    reference = speech(2.0, rate)
    estimate = reference + noise(2.0, rate, amplitude=0.02)
    return torch.from_numpy(estimate), torch.from_numpy(reference)


@needs("pesq")
@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_pesq_is_the_packages(mode: str) -> None:
    import pesq

    estimate, reference = tensors()
    found = float(perception.pesq(estimate, reference, sample_rate_hz=16_000, mode=mode))
    assert found == pesq.pesq(16_000, reference.numpy(), estimate.numpy(), mode)
    same = perception.pesq(
        torch.stack((reference, estimate)), reference.expand(2, -1), sample_rate_hz=16_000, mode=mode
    )
    assert float(same[0]) > 4.5
    assert float(same[1]) == found


@needs("pesq")
def test_pesq_without_an_answer_is_not_a_number() -> None:
    estimate, reference = tensors()
    assert math.isnan(perception.pesq(estimate[:3000], reference[:3000], sample_rate_hz=16_000))
    assert math.isnan(perception.pesq(0 * estimate, reference, sample_rate_hz=16_000))
    assert math.isnan(perception.pesq(estimate, 0 * reference, sample_rate_hz=16_000))
    with pytest.raises(ValueError, match="needs 16000 Hz or more"):
        perception.pesq(estimate, reference, sample_rate_hz=8_000)
    with pytest.raises(ValueError, match="known: wb, nb"):
        perception.pesq(estimate, reference, sample_rate_hz=16_000, mode="fb")


@needs("pystoi")
def test_stoi_is_the_packages() -> None:
    from pystoi import stoi

    estimate, reference = tensors()
    found = float(perception.stoi(estimate, reference, sample_rate_hz=16_000))
    assert found == pytest.approx(stoi(reference.numpy(), estimate.numpy(), 16_000), abs=1e-12)
    assert 0.1 < found < 1


@needs("pystoi")
def test_stoi_of_too_little_is_not_a_number() -> None:
    estimate, reference = tensors()
    assert math.isnan(perception.stoi(estimate[:4000], reference[:4000], sample_rate_hz=16_000))
    assert math.isnan(perception.stoi(0 * estimate, reference, sample_rate_hz=16_000))
    score = score_batch(estimate[None, :4000], reference[None, :4000], sample_rate_hz=16_000, names=["stoi"])[0]["stoi"]
    assert (score.status, score.reason) == ("undefined", "less than 0.4 s of the reference is not a pause")


@needs("pystoi")
@pytest.mark.parametrize("rate", [10_000, 16_000])
def test_extended_stoi_is_the_packages_but_for_its_noise(rate: int) -> None:
    from pystoi import stoi

    estimate, reference = tensors(rate)
    found = float(perception.extended_stoi(estimate, reference, sample_rate_hz=rate))
    assert found == pytest.approx(stoi(reference.numpy(), estimate.numpy(), rate, extended=True), abs=1e-9)
    assert 0.1 < found < 1
    assert float(perception.extended_stoi(estimate, reference, sample_rate_hz=rate)) == found
    assert float(perception.extended_stoi(3 * reference, reference, sample_rate_hz=rate)) == pytest.approx(1, abs=1e-9)
    assert math.isnan(perception.extended_stoi(estimate[:2500], reference[:2500], sample_rate_hz=rate))
    assert math.isnan(perception.extended_stoi(0 * estimate, reference, sample_rate_hz=rate))
    with pytest.raises(ValueError, match="8000 Hz or more"):
        perception.extended_stoi(estimate, reference, sample_rate_hz=4_000)


@needs("zimtohrli")
def test_zimtohrli_is_the_packages_and_resampling_is_ours() -> None:
    import soxr
    from zimtohrli import Pyohrli

    estimate, reference = tensors()
    wide = [soxr.resample(clip.numpy(), 16_000, 48_000, quality="VHQ") for clip in (estimate, reference)]
    found = float(perception.zimtohrli(estimate, reference, sample_rate_hz=16_000))
    assert found == Pyohrli().distance(*wide)
    assert found > 0
    assert float(perception.zimtohrli(reference, reference, sample_rate_hz=16_000)) == pytest.approx(0, abs=1e-6)
    assert math.isnan(perception.zimtohrli(estimate, 0 * reference, sample_rate_hz=16_000))


@needs("visqol")
def test_visqol_falls_with_noise() -> None:
    estimate, reference = tensors()
    found = perception.visqol(
        torch.stack((estimate, reference)), reference.expand(2, -1), sample_rate_hz=16_000, mode="speech"
    )
    assert 1 <= float(found[0]) < float(found[1]) <= 5
    with pytest.raises(ValueError, match="needs 32000 Hz or more"):
        perception.visqol(estimate, reference, sample_rate_hz=16_000)
    with pytest.raises(ValueError, match="known: audio, speech"):
        perception.visqol(estimate, reference, sample_rate_hz=48_000, mode="music")


def test_what_a_package_raises_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> float:
        raise AssertionError("no licence")

    estimate, reference = tensors()
    monkeypatch.setitem(sys.modules, "pystoi", SimpleNamespace(stoi=broken))
    with pytest.raises(RuntimeError, match="pystoi failed: AssertionError: no licence"):
        perception.stoi(estimate, reference, sample_rate_hz=16_000)
    for answer in (math.nan, math.inf, 1e-5):
        stub = SimpleNamespace(stoi=lambda *_, found=answer, **__: found)
        monkeypatch.setitem(sys.modules, "pystoi", stub)
        assert math.isnan(perception.stoi(estimate, reference, sample_rate_hz=16_000))


def test_visqol_hears_one_clip_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = threading.Semaphore(1)

    class Listener:
        def measure_from_arrays(self, reference: object, estimate: object, rate: int) -> SimpleNamespace:
            assert inside.acquire(blocking=False), "two clips at once"
            time.sleep(0.02)
            inside.release()
            return SimpleNamespace(moslqo=3.0)

    monkeypatch.setattr(perception, "_visqol", lambda mode: Listener())
    clip = torch.from_numpy(tone(440, 0.5)).double()
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: float(perception.visqol(clip, clip, sample_rate_hz=16_000, mode="speech")), range(8))
        )
    assert found == [3.0] * 8
