"""Mel-cepstral distortion as versa prints it: the warping by its definition, the rest where WORLD is installed."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch

from eval.metrics.scoring import score_batch
from eval.metrics.world import versa_mel_cepstral_distortion, warped_cepstra
from tests.signals import harmonic, noise

RATE = 16_000


def _installed() -> bool:
    if importlib.util.find_spec("pyworld") is None:
        return False
    # It needs a module that newer setuptools lack.
    return importlib.util.find_spec("pkg_resources") is not None


needs_world = pytest.mark.skipif(not _installed(), reason="pyworld is not installed")


@pytest.mark.parametrize("warping", [0.0, 0.3, 0.466])
def test_cepstra_on_a_warped_axis_are_found_again(warping: float) -> None:
    generator = np.random.default_rng(0)
    wanted = generator.standard_normal((3, 20)) / (1 + np.arange(20))
    angles = np.linspace(0, np.pi, 513)
    warped = angles + 2 * np.arctan(warping * np.sin(angles) / (1 - warping * np.cos(angles)))
    power = np.exp(2 * wanted @ np.cos(np.outer(np.arange(20), warped)))
    found = warped_cepstra(power, 39, warping)
    np.testing.assert_allclose(found[:, :20], wanted, atol=1e-9)
    np.testing.assert_allclose(found[:, 20:], 0, atol=1e-9)


def test_without_the_package_it_is_skipped() -> None:
    if importlib.util.find_spec("pyworld") is not None:
        pytest.skip("pyworld is installed")
    clip = torch.from_numpy(harmonic(220, 0.2)).double()[None]
    score = score_batch(clip, clip, sample_rate_hz=RATE, names=["versa_mcd"])[0]["versa_mcd"]
    assert (score.status, score.reason) == ("skipped", "the package pyworld is not installed")


def test_rates_below_its_own_are_refused() -> None:
    clip = torch.ones(4000)
    with pytest.raises(ValueError, match="8000 Hz or more"):
        versa_mel_cepstral_distortion(clip, clip, sample_rate_hz=4000)


@needs_world
def test_distortion_holds_the_level_and_grows_with_noise() -> None:
    reference = torch.from_numpy(harmonic(150, 0.5)).double() + torch.from_numpy(noise(0.5, amplitude=1e-3)).double()
    estimates = [reference + torch.from_numpy(noise(0.5, amplitude=a, seed=3)).double() for a in (0.005, 0.05)]
    found = [float(versa_mel_cepstral_distortion(e, reference, sample_rate_hz=RATE)) for e in (reference, *estimates)]
    assert found[0] == 0 < found[1] < found[2]
    assert float(versa_mel_cepstral_distortion(2 * reference, reference, sample_rate_hz=RATE)) == pytest.approx(
        10 / math.log(10) * math.sqrt(2) * math.log(2), rel=1e-2
    )
    assert math.isnan(versa_mel_cepstral_distortion(0 * reference, reference, sample_rate_hz=RATE))
