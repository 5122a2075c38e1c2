import math

import pytest
import torch

from models.training.spectral_loss import MultiResolutionSTFTLoss, Resolution
from tests.signals import noise, tone

LOSS = MultiResolutionSTFTLoss()
ONE = (Resolution(512, 128),)


def clips() -> torch.Tensor:
    return torch.stack([torch.as_tensor(tone(330.0, 0.4))[:6000], torch.as_tensor(noise(0.4))[:6000]]).float()


def test_equal_signals_cost_nothing() -> None:
    assert float(LOSS(clips(), clips()).max()) < 1e-5


def test_a_gain_costs_what_it_must() -> None:
    x = clips()[1:]
    terms = MultiResolutionSTFTLoss(ONE, convergence_weight=0.0), MultiResolutionSTFTLoss(ONE, log_weight=0.0)
    log_only, convergence_only = (float(loss(0.5 * x, x)) for loss in terms)
    assert log_only == pytest.approx(math.log(2.0), rel=1e-3)
    assert convergence_only == pytest.approx(0.5, rel=1e-4)


def test_phase_does_not_count() -> None:
    assert float(LOSS(-clips(), clips()).max()) < 1e-5


def test_rows_are_independent() -> None:
    x, y = clips(), clips().flip(0)
    assert torch.allclose(LOSS(y, x)[:1], LOSS(y[:1], x[:1]), rtol=1e-5)


def test_agrees_with_the_formula() -> None:
    x, y = clips()[1:], 0.3 * clips()[:1] + 0.1
    window = torch.hann_window(512)
    spectra = [
        torch.stft(v, 512, 128, window=window, return_complex=True).abs().clamp_min(1e-4).double() for v in (x, y)
    ]
    expected = torch.linalg.norm(spectra[0] - spectra[1]) / torch.linalg.norm(spectra[0])
    expected = expected + (spectra[0].log() - spectra[1].log()).abs().mean()
    assert float(MultiResolutionSTFTLoss(ONE)(y, x)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("silent", ["estimate", "reference", "both"])
def test_silence_has_finite_losses_and_gradients(silent: str) -> None:
    x, y = clips(), clips().flip(0)
    x = torch.zeros_like(x) if silent in ("reference", "both") else x
    y = (torch.zeros_like(y) if silent in ("estimate", "both") else y).requires_grad_()
    loss = LOSS(y, x)
    loss.sum().backward()
    assert y.grad is not None
    assert bool(torch.isfinite(loss).all()) and bool(torch.isfinite(y.grad).all())


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        LOSS(torch.zeros(1, 4000), torch.zeros(2, 4000))
    with pytest.raises(ValueError, match="more than 1024"):
        LOSS(torch.zeros(1, 1024), torch.zeros(1, 1024))
    with pytest.raises(ValueError, match="resolution"):
        MultiResolutionSTFTLoss(())
