"""What every metric of the table must do, and what the scorer makes of bad input."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch

from eval.metrics import METRICS, Metric, chosen, definition, definition_sha256, metric
from eval.metrics.scoring import SILENCE_PEAK, Score, score_batch
from models.errors import InputError
from tests.signals import harmonic, noise, silence

RATE = 16_000
NAMES = [row.name for row in METRICS.values() if row.default]
SYMMETRIC = {
    "waveform_l1",
    "waveform_mse",
    "si_sdr",
    "log_mel_l1",
    "linear_magnitude_l1",
    "log_stft_magnitude",
    "log_spectral_distance",
}
# How a value changes when both signals are scaled by 0.5.
COMMON_GAIN = {"waveform_l1": 0.5, "waveform_mse": 0.25, "linear_magnitude_l1": 0.5}
IGNORE_PHASE = set(NAMES) - {"waveform_l1", "waveform_mse", "si_sdr"}


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return str(request.param)


def clips(count: int, duration_s: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    reference = torch.stack([torch.from_numpy(harmonic(110.0 + 37 * i, duration_s)) for i in range(count)])
    gaps = torch.stack([torch.from_numpy(noise(duration_s, amplitude=0.03, seed=i)) for i in range(count)])
    return reference + gaps, reference


def score(estimate: torch.Tensor, reference: torch.Tensor, name: str) -> Score:
    return score_batch(estimate[None], reference[None], sample_rate_hz=RATE, names=[name])[0][name]


def function(row: Metric) -> object:
    module, _, attribute = row.target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", NAMES)
def test_equal_signals_are_perfect(name: str) -> None:
    _, reference = clips(1)
    result = score(reference[0], reference[0].clone(), name)
    if metric(name).higher_is_better:
        assert result.status == "undefined"
        assert result.value is None
        assert "scaled copy" in str(result.reason)
    else:
        assert result == Score(0.0, "ok", None, result.seconds)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["estimate", "reference", "both"])
def test_silence_has_no_score(name: str, side: str) -> None:
    estimate, reference = (batch[0] for batch in clips(1))
    quiet = torch.from_numpy(silence(0.5))
    if side != "reference":
        estimate = quiet
    if side != "estimate":
        reference = quiet + SILENCE_PEAK / 2
    result = score(estimate, reference, name)
    assert (result.value, result.status) == (None, "undefined")
    assert result.reason == f"{'estimate' if side == 'estimate' else 'reference'} is silent"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_broken_samples_fail(name: str, bad: float, side: int) -> None:
    signals = [batch[0].clone() for batch in clips(1)]
    signals[side][100:103] = bad
    result = score(signals[0], signals[1], name)
    assert (result.value, result.status) == (None, "failed")
    assert result.reason == f"{('estimate', 'reference')[side]} has 3 samples that are NaN or infinite"


@pytest.mark.parametrize("name", NAMES)
def test_clips_may_be_as_short_as_the_table_says(name: str) -> None:
    estimate, reference = (batch[0, 100:] for batch in clips(1))
    shortest = metric(name).minimum_samples
    assert score(estimate[:shortest], reference[:shortest], name).status == "ok"
    if shortest > 1:
        result = score(estimate[: shortest - 1], reference[: shortest - 1], name)
        assert (result.value, result.status) == (None, "undefined")
        assert str(shortest) in str(result.reason)
    empty = score(estimate[:0], reference[:0], name)
    assert (empty.value, empty.status) == (None, "undefined")


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_offset_alone_is_a_number_only_where_it_means_something(name: str) -> None:
    _, reference = clips(1)
    result = score(torch.full_like(reference[0], 0.25), reference[0], name)
    assert result.status == ("undefined" if name == "si_sdr" else "ok"), result


@pytest.mark.parametrize("name", NAMES)
def test_clipped_signals_score(name: str) -> None:
    estimate, reference = (batch[0] for batch in clips(1))
    assert score((4 * estimate).clamp(-1, 1), reference, name).status == "ok"


@pytest.mark.parametrize("name", NAMES)
def test_direction_more_noise_is_worse(name: str) -> None:
    _, reference = clips(1)
    gap = torch.from_numpy(noise(0.5, amplitude=1.0, seed=9))
    values = []
    for amplitude in (1e-3, 3e-3, 1e-2, 3e-2, 1e-1):
        result = score(reference[0] + amplitude * gap, reference[0], name)
        assert result.value is not None
        values.append(result.value if not metric(name).higher_is_better else -result.value)
    assert values == sorted(values)
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_is_as_claimed(name: str) -> None:
    estimate, reference = (batch[0] for batch in clips(1))
    forth, back = score(2 * estimate, reference, name).value, score(reference, 2 * estimate, name).value
    assert forth is not None
    assert back is not None
    if name in SYMMETRIC:
        assert forth == pytest.approx(back, rel=1e-9)
    else:
        assert forth != pytest.approx(back, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_common_gain_behaves_as_documented(name: str) -> None:
    estimate, reference = (batch[0].double() + torch.from_numpy(noise(0.5, amplitude=0.01)) for batch in clips(1))
    full, half = score(estimate, reference, name).value, score(0.5 * estimate, 0.5 * reference, name).value
    # The noise keeps almost every bin above the floors, so the logarithmic metrics do not move either.
    assert half == pytest.approx(COMMON_GAIN.get(name, 1.0) * full, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_polarity_matters_only_to_waveform_errors(name: str) -> None:
    estimate, reference = (batch[0] for batch in clips(1))
    kept, turned = score(estimate, reference, name).value, score(-estimate, reference, name).value
    if name in IGNORE_PHASE | {"si_sdr"}:
        assert turned == pytest.approx(kept, rel=1e-12)
    else:
        assert turned > 2 * kept


@pytest.mark.parametrize("samples", [8000, 8001, 7777])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_do_not_depend_on_the_batch(samples: int, dtype: torch.dtype, device: str) -> None:
    estimate, reference = (batch[:, :samples].to(dtype).to(device) for batch in clips(9, 0.6))
    together = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)
    for order in ([4], [8, 0, 4], [2, 5, 7, 1]):
        apart = score_batch(estimate[order], reference[order], sample_rate_hz=RATE, names=NAMES)
        for index, scores in zip(order, apart, strict=True):
            assert {n: s.value for n, s in scores.items()} == {n: s.value for n, s in together[index].items()}


def test_a_broken_neighbour_changes_nothing() -> None:
    estimate, reference = clips(3)
    alone = score_batch(estimate[2:], reference[2:], sample_rate_hz=RATE, names=NAMES)[0]
    estimate[0], estimate[1] = math.nan, 0.0
    scores = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)
    assert {s.status for s in scores[0].values()} == {"failed"}
    assert {s.status for s in scores[1].values()} == {"undefined"}
    assert {n: s.value for n, s in scores[2].items()} == {n: s.value for n, s in alone.items()}


@pytest.mark.parametrize("name", NAMES)
def test_shared_transforms_give_the_same_value_as_the_function(name: str, device: str) -> None:
    estimate, reference = (batch.to(device) for batch in clips(2))
    row = metric(name)
    arguments = dict(row.parameters) | ({"sample_rate_hz": RATE} if row.needs_sample_rate else {})
    direct = function(row)(estimate, reference, **arguments)  # type: ignore[operator]
    assert direct.dtype == torch.float64
    assert direct.device == estimate.device
    together = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)
    assert [clip[name].value for clip in together] == direct.tolist()


def test_devices_agree(device: str) -> None:
    estimate, reference = clips(2)
    there = score_batch(estimate.to(device), reference.to(device), sample_rate_hz=RATE, names=NAMES)
    here = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)
    for one, other in zip(there, here, strict=True):
        for name in NAMES:
            assert one[name].value == pytest.approx(other[name].value, rel=1e-9)


def test_scores_are_the_same_in_several_threads() -> None:
    estimate, reference = clips(4)
    expected = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)
    found: list[list[dict[str, Score]]] = []

    def work() -> None:
        found.append(score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scores in found:
        for one, other in zip(scores, expected, strict=True):
            assert {n: s.value for n, s in one.items()} == {n: s.value for n, s in other.items()}


def test_seconds_share_out_the_time_of_the_clip() -> None:
    estimate, reference = clips(1)
    scores = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)[0]
    shared = [scores[n].seconds for n in ("spectral_convergence", "log_stft_magnitude", "log_mel_l1")]
    assert all(s.seconds > 0 for s in scores.values())
    assert max(shared) < 3 * min(shared)


def test_gradients_do_not_get_in_the_way() -> None:
    estimate, reference = clips(1)
    with_grad = score_batch(estimate.requires_grad_(), reference, sample_rate_hz=RATE, names=NAMES)[0]
    assert {s.status for s in with_grad.values()} == {"ok"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_floats_are_widened(dtype: torch.dtype) -> None:
    estimate, reference = (batch.to(dtype) for batch in clips(1))
    narrow = score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES)[0]
    wide = score_batch(estimate.double(), reference.double(), sample_rate_hz=RATE, names=NAMES)[0]
    assert {n: s.value for n, s in narrow.items()} == {n: s.value for n, s in wide.items()}


def test_other_lengths_and_rates_fail_with_a_reason() -> None:
    estimate, reference = clips(2)
    for scores in score_batch(estimate[:, :-1], reference, sample_rate_hz=RATE, names=NAMES):
        for result in scores.values():
            assert (result.status, result.reason) == ("failed", "estimate has 7999 samples, reference 8000")
    for scores in score_batch(estimate, reference, sample_rate_hz=RATE, names=NAMES, estimate_rate_hz=8000):
        for result in scores.values():
            assert (result.status, result.reason) == ("failed", "estimate has 8000 Hz, reference 16000 Hz")


def test_without_a_reference_metrics_that_need_one_are_skipped() -> None:
    estimate, _ = clips(1)
    scores = score_batch(estimate, None, sample_rate_hz=RATE, names=NAMES)[0]
    assert {s.status for s in scores.values()} == {"skipped"}


def test_misuse_raises() -> None:
    estimate, reference = clips(2)
    with pytest.raises(InputError, match=r"unknown metric 'sisdr'; known: waveform_l1, .*si_sdr"):
        score_batch(estimate, reference, sample_rate_hz=RATE, names=["sisdr"])
    with pytest.raises(ValueError, match="batch, time"):
        score_batch(estimate[0], reference[0], sample_rate_hz=RATE, names=NAMES)
    with pytest.raises(ValueError, match="2 clips, reference 1"):
        score_batch(estimate, reference[:1], sample_rate_hz=RATE, names=NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_functions_refuse_other_shapes(name: str) -> None:
    row = metric(name)
    arguments = dict(row.parameters) | ({"sample_rate_hz": RATE} if row.needs_sample_rate else {})
    with pytest.raises(ValueError, match="shape"):
        function(row)(torch.zeros(1, 4096), torch.zeros(1, 4097), **arguments)  # type: ignore[operator]


@pytest.mark.parametrize("name", NAMES)
def test_functions_document_what_readers_need(name: str) -> None:
    text = str(function(metric(name)).__doc__)
    for section in ("Args:", "Returns:", "Raises:", "shape ``(...)``"):
        assert section in text


def test_the_table_is_complete_and_closed() -> None:
    for name, row in METRICS.items():
        assert name == row.name
        assert row.title
        assert row.unit
        assert row.source
        assert row.blind_to
        assert row.value_range[0] in "[("
        with pytest.raises(FrozenInstanceError):
            row.version = 2  # type: ignore[misc]
    with pytest.raises(InputError, match="known: "):
        metric("nothing")


def test_definitions_are_json_and_their_hashes_differ() -> None:
    for name in NAMES:
        assert json.loads(json.dumps(definition(name))) == definition(name)
    assert len({definition_sha256(name) for name in NAMES}) == len(NAMES)
    assert all(len(definition_sha256(name)) == 64 for name in NAMES)


def test_the_table_imports_no_torch() -> None:
    program = "import sys; from eval.metrics import METRICS; assert not {'torch', 'numpy'} & set(sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_metric_without_its_label_or_package_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    row = METRICS["waveform_l1"]
    table = {
        "labelled": dataclasses.replace(row, name="labelled", target=f"{__name__}:labelled", needs_labels=("pitch",)),
        "packaged": dataclasses.replace(row, name="packaged", package="no_such_package"),
    }
    monkeypatch.setattr("eval.metrics.METRICS", table)
    waves = torch.ones(2, 8) * 0.5
    first, second = score_batch(
        waves, waves, sample_rate_hz=16_000, names=list(table), labels=[{"pitch": 60}, {"pitch": None}]
    )
    assert first["labelled"].value == 60.0
    assert (second["labelled"].status, second["labelled"].reason) == ("skipped", "the clip has no label 'pitch'")
    assert (first["packaged"].status, first["packaged"].reason) == (
        "skipped", "the package no_such_package is not installed"
    )  # fmt: skip
    assert score_batch(waves, waves, sample_rate_hz=16_000, names=["labelled"])[0]["labelled"].status == "skipped"


def labelled(estimate: torch.Tensor, reference: torch.Tensor, *, pitch: int) -> torch.Tensor:
    return torch.tensor(float(pitch), dtype=torch.float64)


def test_groups_and_names_are_chosen() -> None:
    assert chosen(()) == [row.name for row in METRICS.values() if row.default]
    assert chosen(("all",)) == list(METRICS)
    assert chosen(("waveform", "log_mel_l1", "waveform_l1"))[-1] == "log_mel_l1"
    with pytest.raises(InputError, match=r"unknown metric 'loudnes'.*groups: .*spectral.*all"):
        chosen(("loudnes",))
