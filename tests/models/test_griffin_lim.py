import json
import math
from pathlib import Path

import pytest
import torch

from models.errors import InputError
from models.griffin_lim import GriffinLimConfig, GriffinLimSystem
from tests.signals import noise, tone

SYSTEM = GriffinLimSystem()


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 22_050, 44_100])
def test_tone_keeps_pitch_and_level(sample_rate_hz: int) -> None:
    x = torch.as_tensor(tone(440.0, 1.0, sample_rate_hz))[None]
    y = SYSTEM.reconstruct(x, sample_rate_hz=sample_rate_hz, seeds=[1])
    assert y.shape == x.shape
    peak = torch.fft.rfft(y[0]).abs().argmax() * sample_rate_hz / x.shape[1]
    assert float(peak) == pytest.approx(440.0, abs=10.0)
    assert 20 * math.log10(float(y.norm() / x.norm())) == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize("samples", [1, 2, 1023, 16_001])
def test_length_is_kept(samples: int) -> None:
    x = torch.as_tensor(noise(2.0))[None, :samples]
    y = SYSTEM.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
    assert y.shape == x.shape
    assert bool(torch.isfinite(y).all())


def test_company_changes_nothing_and_seeds_do() -> None:
    x = torch.stack([torch.as_tensor(tone(330.0)), torch.as_tensor(noise(1.0))])
    together = SYSTEM.reconstruct(x, sample_rate_hz=16_000, seeds=[7, 8])
    assert torch.equal(together[1:], SYSTEM.reconstruct(x[1:], sample_rate_hz=16_000, seeds=[8]))
    assert not torch.equal(together[1:], SYSTEM.reconstruct(x[1:], sample_rate_hz=16_000, seeds=[9]))


def test_silence_comes_out_inaudible() -> None:
    y = SYSTEM.reconstruct(torch.zeros(1, 16_000), sample_rate_hz=16_000, seeds=[0])
    assert float(y.abs().max()) < 1e-4


def test_frontend_follows_the_rate() -> None:
    sizes = [GriffinLimConfig().frontend(rate).stft.n_fft for rate in (16_000, 22_050, 44_100, 96_000)]
    assert sizes == [1024, 1024, 2048, 8192]


def test_no_codes_no_weights() -> None:
    assert SYSTEM.codes(torch.zeros(1, 100), sample_rate_hz=16_000) == {}
    assert json.loads(json.dumps(SYSTEM.describe()))["parameters"] == 0
    with pytest.raises(InputError, match="no weights"):
        GriffinLimSystem(checkpoint=Path("x"))
    with pytest.raises(InputError, match="at least 1 Hz"):
        SYSTEM.reconstruct(torch.zeros(1, 100), sample_rate_hz=0, seeds=[0])


def test_from_an_integrated_phase_few_rounds_come_near() -> None:
    x = torch.as_tensor(tone(440.0) + 0.5 * tone(660.0))[None]
    integrated = GriffinLimSystem(config=GriffinLimConfig(initial_phase="integrated", iterations=8))
    errors = []
    for system in (integrated, GriffinLimSystem(config=GriffinLimConfig(iterations=8))):
        y = system.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
        spectra = [
            torch.stft(s, 1024, 256, window=torch.hann_window(1024), return_complex=True).abs() for s in (x.float(), y)
        ]
        errors.append(float((spectra[0] - spectra[1]).norm() / spectra[0].norm()))
    assert errors[0] < 0.7 * errors[1]
    assert torch.equal(
        integrated.reconstruct(x, sample_rate_hz=16_000, seeds=[1]),
        integrated.reconstruct(x, sample_rate_hz=16_000, seeds=[2]),
    )
    assert integrated.describe()["config"] == {
        **SYSTEM.describe()["config"],
        "iterations": 8,
        "initial_phase": "integrated",
    }  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="random, integrated"):
        GriffinLimConfig(initial_phase="zero")
