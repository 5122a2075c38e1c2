"""What every row of the table must do: alone or in company, on good input and on bad."""

from __future__ import annotations

import importlib
import json
import math
from functools import lru_cache

import pytest
import torch

from eval.metrics import METRICS, definition, definition_sha256
from eval.metrics.scoring import Score, score_batch
from tests.signals import harmonic, noise, silence

RATE = 16_000
DURATION_S = 1.6
# Rows that need a label or a package of their own are tested beside their functions.
NAMES = [row.name for row in METRICS.values() if not row.needs_labels and not row.package]
PAIRED = [name for name in NAMES if METRICS[name].needs_reference]
OWN = [name for name in PAIRED if METRICS[name].group in ("waveform", "spectral", "descriptors", "compat")]
COMPAT = [name for name in OWN if METRICS[name].group == "compat"]

# What equal signals score, where it is neither 0 nor a stated infinity.
PERFECT = {
    "segmental_snr": 35.0,
    "aligned_correlation": 1.0,
    "alignment_polarity": 1.0,
    "relative_volume_mel": -25.0,
    "vocos_voicing_f1": 1.0,
    "cargan_voicing_f1": 1.0,
}
INFINITE = {"si_sdr", "snr", "sdr"}
CAPPED = {"audiocraft_si_snr_loss": -30.0, "torchmetrics_snr": 80.0, "torchmetrics_si_sdr": 80.0}

ASYMMETRIC = {
    "snr",
    "segmental_snr",
    "sdr",
    "spectral_convergence",
    "multi_resolution_stft",
    "relative_volume_mel",
    "spectral_flux_error",
    "spectral_sharpness_error",
    "auraloss_stft",
    "audiocraft_multi_resolution_stft",
    "torchmetrics_snr",
}
# These look at where things are, or at an amount that noise adds to and takes from.
UNMOVED_BY_NOISE = {
    "alignment_delay",
    "alignment_polarity",
    "onset_time_error",
    "attack_time_error",
    "spectral_sharpness_error",
    "modulation_spectrum_distance",
    "log_spectral_distance_above_8_khz",
    "vocos_pitch_rmse",
    "vocos_voicing_f1",
    "cargan_pitch_rmse",
    "cargan_voicing_f1",
}
# How a value changes when both signals are scaled by 0.5, where it is not left alone.
COMMON_GAIN = {
    "waveform_l1": 0.5,
    "waveform_mse": 0.25,
    "linear_magnitude_l1": 0.5,
    "linear_magnitude_mse": 0.25,
    # A sum of a linear and a logarithmic term.
    "dac_mel_evaluation": None,
    "dac_multi_scale_stft": None,
    # The reference is normalised down to −25 dB of full scale only, and half of it lies below.
    "relative_volume_mel": None,
}
# Constants and floors enter these: the bands of the shortest windows come near theirs.
LEVEL_ENTERS = {*COMPAT, "multi_scale_mel"}


@lru_cache(maxsize=1)
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Three notes that start and die away, and copies with noise."""
    time = torch.arange(round(DURATION_S * RATE)) / RATE
    shape = (1 - torch.exp(-time / 0.02)) * torch.exp(-time / 0.6)
    reference = torch.stack([shape * torch.from_numpy(harmonic(110.0 * k, DURATION_S)) for k in (1, 2, 3)]).double()
    base = torch.stack([torch.from_numpy(noise(DURATION_S, amplitude=0.003, seed=k)) for k in (1, 2, 3)])
    gap = torch.stack([torch.from_numpy(noise(DURATION_S, amplitude=0.02, seed=k)) for k in (4, 5, 6)])
    reference = reference + base
    return reference + gap, reference


def score(estimate: torch.Tensor, reference: torch.Tensor, names: list[str] | None = None) -> dict[str, Score]:
    return score_batch(estimate[None], reference[None], sample_rate_hz=RATE, names=names or NAMES)[0]


@lru_cache(maxsize=1)
def together() -> list[dict[str, Score]]:
    return score_batch(*clips(), sample_rate_hz=RATE, names=NAMES)


def values(scores: dict[str, Score]) -> dict[str, tuple[float | None, str]]:
    return {name: (result.value, result.status) for name, result in scores.items()}


def test_sound_clips_have_scores() -> None:
    missing = {name: s.reason for name in OWN for s in [together()[0][name]] if s.status != "ok"}
    assert missing == {"log_spectral_distance_above_8_khz": "the band reaches above half the sample rate"}


def test_order_and_company_change_nothing() -> None:
    estimate, reference = clips()
    assert values(score(estimate[1], reference[1])) == values(together()[1])
    turned = score_batch(estimate[[2, 0, 1]], reference[[2, 0, 1]], sample_rate_hz=RATE, names=NAMES)
    assert [values(turned[place]) for place in (1, 2, 0)] == [values(scores) for scores in together()]
    estimate = estimate.clone()
    estimate[0], estimate[2] = math.nan, 0.0
    broken = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)
    assert values(broken[1]) == values(together()[1])
    assert {s.status for s in broken[0].values()} == {"failed"}
    assert {s.status for s in broken[2].values()} == {"undefined"}


def test_a_metric_alone_gives_what_it_gives_among_others() -> None:
    estimate, reference = clips()
    for name in OWN:
        row = METRICS[name]
        module, _, attribute = row.target.partition(":")
        arguments = dict(row.parameters) | ({"sample_rate_hz": RATE} if row.needs_sample_rate else {})
        function = getattr(importlib.import_module(module), attribute)
        alone = function(estimate[:1], reference[:1], **arguments)
        assert alone.dtype == torch.float64
        assert alone.shape == (1,)
        expected = together()[0][name].value
        assert math.isnan(float(alone)) if expected is None else float(alone) == expected, name


def test_equal_signals_are_perfect() -> None:
    _, reference = clips()
    for name, result in score(reference[0], reference[0].clone(), OWN).items():
        if name in INFINITE:
            assert (result.value, result.status) == (None, "undefined"), name
            assert "∞" in str(result.reason)
        elif name in CAPPED:
            assert result.value is not None
            better = result.value > CAPPED[name]
            assert better if METRICS[name].higher_is_better else not better, name
        elif name != "log_spectral_distance_above_8_khz":
            assert result.value == PERFECT.get(name, 0.0), name


def test_more_noise_is_worse() -> None:
    _, reference = clips()
    gap = torch.from_numpy(noise(DURATION_S, amplitude=1.0, seed=9)).double()
    levels = [score(reference[0] + amplitude * gap, reference[0], OWN) for amplitude in (3e-3, 1e-2, 3e-2, 1e-1)]
    for name in OWN:
        if name not in UNMOVED_BY_NOISE:
            found = [scores[name].value for scores in levels]
            assert None not in found, name
            assert found == sorted(found, reverse=METRICS[name].higher_is_better), name
            assert len(set(found)) == len(found), name


def test_symmetry_is_as_claimed() -> None:
    estimate, reference = clips()
    forth, back = score(2 * estimate[0], reference[0], OWN), score(reference[0], 2 * estimate[0], OWN)
    for name in OWN:
        one, other = forth[name].value, back[name].value
        if one is None or other is None:
            assert one == other, name
        elif name in ASYMMETRIC:
            assert one != pytest.approx(other, rel=1e-3), name
        else:
            # Constants added to a ratio spoil its symmetry.
            rel = {"audiocraft_si_snr_loss": 2e-3, "torchmetrics_si_sdr": 1e-7}.get(name, 1e-9)
            assert one == pytest.approx(other, rel=rel, abs=1e-12), name


def test_common_gain_behaves_as_documented() -> None:
    estimate, reference = clips()
    half = score(0.5 * estimate[0], 0.5 * reference[0], OWN)
    for name in OWN:
        full = together()[0][name].value
        factor = COMMON_GAIN.get(name, 1.0)
        if full is not None and factor is not None:
            # Nearly every bin lies above the floors.
            assert half[name].value == pytest.approx(factor * full, rel=2e-2 if name in LEVEL_ENTERS else 1e-3), name


def test_polarity_matters_to_waveforms_only() -> None:
    estimate, reference = clips()
    turned = score(-estimate[0], reference[0], OWN)
    sees = {"waveform_l1", "waveform_mse", "snr", "segmental_snr", "alignment_polarity", "torchmetrics_snr"}
    for name in OWN:
        kept = together()[0][name].value
        if name in sees:
            assert turned[name].value != pytest.approx(kept, rel=0.1), name
        elif kept is not None:
            assert turned[name].value == pytest.approx(kept, rel=1e-9), name


@pytest.mark.parametrize("side", [0, 1])
def test_silence_and_broken_samples_have_a_status(side: int) -> None:
    for bad, status in ((silence(DURATION_S), "undefined"), (None, "failed")):
        signals = [batch[0].clone() for batch in clips()]
        if bad is None:
            signals[side][5] = math.inf
        else:
            signals[side] = torch.from_numpy(bad).double()
        for name, result in score(*signals).items():
            assert (result.value, result.status) == (None, status), name
            assert result.reason, name


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 100, 1000, 2048])
def test_short_clips_have_a_value_or_a_reason(samples: int) -> None:
    estimate, reference = (batch[0, 400 : 400 + samples] for batch in clips())
    for name, result in score(estimate, reference).items():
        if samples < METRICS[name].minimum_samples:
            assert result.status == "undefined", name
        if result.status == "ok":
            assert result.value is not None and math.isfinite(result.value), name
        else:
            assert result.value is None and result.reason, name


@pytest.mark.parametrize("side", [0, 1])
def test_a_constant_has_a_value_or_a_reason(side: int) -> None:
    signals = [batch[0].clone() for batch in clips()]
    signals[side] = torch.full_like(signals[side], 0.25)
    scores = score(*signals)
    for name, result in scores.items():
        assert (result.value is None) == (result.status != "ok"), name
        assert result.status == "ok" or result.reason, name
    assert scores["si_sdr"].status == "undefined"


def test_functions_document_what_readers_need() -> None:
    for row in METRICS.values():
        module, _, attribute = row.target.partition(":")
        text = str(getattr(importlib.import_module(module), attribute).__doc__)
        for section in ("Args:", "Returns:", "Raises:", "shape ``(...)``"):
            assert section in text, row.name


def test_definitions_are_json_and_their_hashes_differ() -> None:
    for name in METRICS:
        assert json.loads(json.dumps(definition(name))) == definition(name)
    assert len({definition_sha256(name) for name in METRICS}) == len(METRICS)
