"""Waveform metrics against torchmetrics, auraloss and known answers."""

from __future__ import annotations

import math

import auraloss
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error

from eval.metrics.waveform import si_sdr, waveform_l1, waveform_mse


def pairs(count: int = 20, samples: int = 3001) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    reference = torch.randn(count, samples, generator=generator, dtype=torch.float64)
    level = torch.logspace(-4, 0, count, dtype=torch.float64)[:, None]
    gap = torch.randn(count, samples, generator=generator, dtype=torch.float64)
    return level * (reference + 0.3 * gap + 0.05), level * reference


def test_errors_equal_torchmetrics() -> None:
    estimate, reference = pairs()
    for ours, theirs in ((waveform_l1, mean_absolute_error), (waveform_mse, mean_squared_error)):
        expected = torch.stack([theirs(e, r) for e, r in zip(estimate, reference, strict=True)])
        torch.testing.assert_close(ours(estimate, reference), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("zero_mean", [False, True])
def test_si_sdr_equals_torchmetrics_with_its_eps(zero_mean: bool) -> None:
    estimate, reference = pairs()
    # torchmetrics adds the machine epsilon of the dtype to both parts of both ratios.
    eps = torch.finfo(torch.float64).eps
    expected = scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=zero_mean)
    torch.testing.assert_close(si_sdr(estimate, reference, zero_mean=zero_mean, eps=eps), expected, rtol=1e-9, atol=0)


def test_si_sdr_equals_auraloss_without_its_eps() -> None:
    estimate, reference = pairs()
    # auraloss takes the mean off, returns the negative, and its eps can be switched off.
    anchor = auraloss.time.SISDRLoss(zero_mean=True, eps=0.0, reduction="none")
    expected = -anchor(estimate[:, None], reference[:, None]).squeeze(-1)
    torch.testing.assert_close(si_sdr(estimate, reference), expected, rtol=1e-9, atol=0)


def test_si_sdr_has_the_closed_form_of_the_correlation() -> None:
    estimate, reference = pairs(4)
    correlation = torch.stack(
        [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(estimate, reference, strict=True)]
    )
    expected = 10 * torch.log10(correlation**2 / (1 - correlation**2))
    torch.testing.assert_close(si_sdr(estimate, reference), expected)


def test_si_sdr_ignores_gain_polarity_and_offset() -> None:
    estimate, reference = pairs(3)
    plain = si_sdr(estimate, reference)
    torch.testing.assert_close(si_sdr(-0.01 * estimate + 0.2, 3 * reference), plain)
    torch.testing.assert_close(si_sdr(reference, estimate), plain)


def test_si_sdr_knows_20_db() -> None:
    time = torch.arange(16_000) / 16_000
    reference = torch.sin(2 * torch.pi * 440 * time)
    estimate = reference + 0.1 * torch.sin(2 * torch.pi * 880 * time)
    assert float(si_sdr(estimate, reference)) == pytest.approx(20.0, abs=1e-4)


def test_si_sdr_without_an_answer_is_not_a_number() -> None:
    time = torch.arange(16_000, dtype=torch.float64) / 16_000
    reference = torch.sin(2 * torch.pi * 440 * time)
    assert float(si_sdr(0.5 * reference, reference)) == math.inf
    assert math.isnan(si_sdr(torch.zeros(16_000), reference))
    assert math.isnan(si_sdr(reference, torch.zeros(16_000)))
    alternating = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert float(si_sdr(alternating, torch.tensor([1.0, 1.0, -1.0, -1.0]))) == -math.inf


def test_leading_shape_is_kept() -> None:
    estimate, reference = pairs(6)
    shaped = waveform_l1(estimate.reshape(2, 3, -1), reference.reshape(2, 3, -1))
    torch.testing.assert_close(shaped.reshape(-1), waveform_l1(estimate, reference), rtol=0, atol=0)
    assert waveform_l1(estimate[0], reference[0]).shape == ()
    assert waveform_l1(estimate[:0], reference[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(), (2, 0)])
def test_signals_without_samples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        waveform_l1(torch.zeros(shape), torch.zeros(shape))
