"""Scores of a batch: every metric for every pair of clips, as a value or as a status with a reason.

The pure functions say what a metric is; this module decides when it may be asked. A silent, broken or too short signal
gets a status and never a number, because a number would be averaged with the others.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.metrics import Metric, metric
from eval.metrics.pairs import unconverted
from eval.metrics.sums import Plan, Request, spectral_sums

SILENCE_PEAK = 2.0**-24
"""A signal with no sample above this is silent: it is zero in 24-bit audio."""


@dataclass(frozen=True)
class Score:
    """Result of one metric on one clip.

    Attributes:
        value: The number, finite; ``None`` unless ``status`` is ``"ok"``.
        status: ``"ok"``; ``"undefined"`` where sound input has no value (silence, too short, an infinite ratio);
            ``"failed"`` where the input is broken (NaN, other shape or rate) or the computation raised;
            ``"skipped"`` where the metric does not apply (no reference given).
        reason: Why there is no value, in one line; ``None`` when there is one.
        seconds: Compute time. Work that metrics share is split equally among them, so that the sum over the metrics is
            the time the clip took.
    """

    value: float | None
    status: str
    reason: str | None
    seconds: float


def score_batch(
    estimate: Tensor,
    reference: Tensor | None,
    *,
    sample_rate_hz: int,
    names: Sequence[str],
    estimate_rate_hz: int | None = None,
    labels: Sequence[Mapping[str, Any]] | None = None,
) -> list[dict[str, Score]]:
    """Score every clip of a batch.

    Each clip is scored by itself: its scores are bitwise the same at any batch size and in any company. The batch
    exists for the caller's convenience and to send results back from a CUDA device at once.

    Args:
        estimate: Synthesised waveforms, shape ``(batch, time)``, full scale at 1.
        reference: Recorded waveforms, same shape; ``None`` where there are none.
        sample_rate_hz: Sample rate of the reference, and of the estimate unless ``estimate_rate_hz`` says otherwise.
        names: Metrics to compute.
        estimate_rate_hz: Sample rate of the estimate. A different rate is a failure, never resampled away.
        labels: What is known of each clip, for metrics that compare with a label.

    Returns:
        For every clip a mapping from metric name to score, in the order of ``names``.

    Raises:
        InputError: If a metric is unknown.
        ValueError: If the tensors are not two-dimensional or their batch sizes differ.
    """
    rows = [metric(name) for name in dict.fromkeys(names)]
    for label, signals in (("estimate", estimate), ("reference", reference)):
        if signals is not None and signals.ndim != 2:
            raise ValueError(f"{label} has shape {tuple(signals.shape)}; (batch, time) is needed")
    if reference is not None and len(estimate) != len(reference):
        raise ValueError(f"estimate has {len(estimate)} clips, reference {len(reference)}")
    broken = _mismatch(estimate, reference, sample_rate_hz, estimate_rate_hz)
    if broken is not None:
        return [{row.name: Score(None, "failed", broken, 0.0) for row in rows} for _ in range(len(estimate))]
    faults = [_faults("estimate", estimate)]
    if reference is not None:
        faults.append(_faults("reference", reference))

    device = estimate.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    pending = [
        _row_values(
            rows,
            unconverted(estimate[index]),
            None if reference is None else unconverted(reference[index]),
            next((fault[index] for fault in reversed(faults) if fault[index] is not None), None),
            sample_rate_hz,
            {} if labels is None else labels[index],
        )
        for index in range(len(estimate))
    ]
    values = _fetch([part.value for clip in pending for part in clip.values() if part.value is not None])
    scale = 1.0
    if device.type == "cuda":
        # Work is queued there; the queueing times share out the time that really passed.
        queued = sum(part.seconds for clip in pending for part in clip.values())
        scale = (time.perf_counter() - started) / queued if queued else 1.0
    source = iter(values)
    return [{name: part.score(source, scale) for name, part in clip.items()} for clip in pending]


@dataclass(frozen=True)
class _Pending:
    """A score whose value may still be on its way from the device."""

    row: Metric
    value: Tensor | None
    status: str
    reason: str | None
    seconds: float

    def score(self, values: Any, scale: float) -> Score:
        seconds = self.seconds * scale
        if self.value is None:
            return Score(None, self.status, self.reason, seconds)
        value = float(next(values))
        if math.isfinite(value):
            return Score(value, "ok", None, seconds)
        reason = self.row.undefined_at.get(str(value), f"the value is {value}")
        return Score(None, "undefined", reason, seconds)


def _row_values(
    rows: Sequence[Metric],
    estimate: Tensor,
    reference: Tensor | None,
    fault: tuple[str, str] | None,
    sample_rate_hz: int,
    labels: Mapping[str, Any],
) -> dict[str, _Pending]:
    done: dict[str, _Pending] = {}
    plans: dict[str, Plan] = {}
    for row in rows:
        if row.needs_reference and reference is None:
            done[row.name] = _Pending(row, None, "skipped", "there is no reference", 0.0)
        elif (lacking := _lacking(row, labels)) is not None:
            done[row.name] = _Pending(row, None, "skipped", lacking, 0.0)
        elif fault is not None:
            done[row.name] = _Pending(row, None, *fault, 0.0)
        elif estimate.shape[-1] < row.minimum_samples:
            reason = f"the clip has {estimate.shape[-1]} samples, this metric needs {row.minimum_samples}"
            done[row.name] = _Pending(row, None, "undefined", reason, 0.0)
        elif row.plan and reference is not None:
            try:
                plans[row.name] = _plan(row.name, sample_rate_hz)
            except Exception as error:
                done[row.name] = _Pending(row, None, "failed", _one_line(error), 0.0)
        else:
            done[row.name] = _call(row, estimate, reference, sample_rate_hz, labels)
    if plans and reference is not None:
        try:
            done.update(_call_plans(plans, estimate, reference))
        except Exception:  # each by itself then, so that only the one that breaks has no value
            done.update({name: _call(metric(name), estimate, reference, sample_rate_hz, labels) for name in plans})
    return {row.name: done[row.name] for row in rows}


def _lacking(row: Metric, labels: Mapping[str, Any]) -> str | None:
    """Why a metric does not apply to a clip: what it has no label for, or the package that is not installed."""
    for name in row.needs_labels:
        if labels.get(name) is None:
            return f"the clip has no label {name!r}"
    if row.package and not _installed(row.package):
        return f"the package {row.package} is not installed"
    return None


@lru_cache(maxsize=64)
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _call(
    row: Metric, estimate: Tensor, reference: Tensor | None, sample_rate_hz: int, labels: Mapping[str, Any]
) -> _Pending:
    arguments: dict[str, Any] = {**row.parameters, **{name: labels[name] for name in row.needs_labels}}
    if row.needs_sample_rate:
        arguments["sample_rate_hz"] = sample_rate_hz
    started = time.perf_counter()
    try:
        function = _resolve(row.target)
        value = function(estimate, reference, **arguments) if row.needs_reference else function(estimate, **arguments)
    except Exception as error:  # one metric that breaks must not cost the others their values
        return _Pending(row, None, "failed", _one_line(error), time.perf_counter() - started)
    return _Pending(row, value, "ok", None, time.perf_counter() - started)


def _call_plans(plans: dict[str, Plan], estimate: Tensor, reference: Tensor) -> dict[str, _Pending]:
    requests: list[Request] = [request for plan in plans.values() for request in plan.requests]
    sums, transform_seconds = spectral_sums(estimate, reference, requests)
    users = {
        settings: sum(any(r.stft == settings for r in plan.requests) for plan in plans.values())
        for settings in transform_seconds
    }
    done = {}
    for name, plan in plans.items():
        begun = time.perf_counter()
        value = plan.combine([sums[request] for request in plan.requests], estimate.shape[-1])
        shared = sum(transform_seconds[s] / users[s] for s in {request.stft for request in plan.requests})
        done[name] = _Pending(metric(name), value, "ok", None, shared + time.perf_counter() - begun)
    return done


@lru_cache(maxsize=256)
def _plan(name: str, sample_rate_hz: int) -> Plan:
    row = metric(name)
    arguments: dict[str, Any] = dict(row.parameters)
    if row.needs_sample_rate:
        arguments["sample_rate_hz"] = sample_rate_hz
    plan: Plan = _resolve(row.plan)(**arguments)
    return plan


@lru_cache(maxsize=256)
def _resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _mismatch(
    estimate: Tensor, reference: Tensor | None, sample_rate_hz: int, estimate_rate_hz: int | None
) -> str | None:
    if estimate_rate_hz is not None and estimate_rate_hz != sample_rate_hz:
        return f"estimate has {estimate_rate_hz} Hz, reference {sample_rate_hz} Hz"
    if reference is not None and estimate.shape != reference.shape:
        return f"estimate has {estimate.shape[-1]} samples, reference {reference.shape[-1]}"
    return None


def _faults(label: str, signals: Tensor) -> list[tuple[str, str] | None]:
    """Status and reason for each clip that cannot be measured."""
    if signals.shape[-1] == 0:
        return [("undefined", f"{label} has no samples")] * len(signals)
    # The largest magnitude is NaN or infinite if any sample is, so one pass answers both questions.
    faults: list[tuple[str, str] | None] = []
    for index, peak in enumerate(_peaks(signals)):
        if not math.isfinite(peak):
            bad = int((~torch.isfinite(signals[index])).sum())
            faults.append(("failed", f"{label} has {bad} samples that are NaN or infinite"))
        elif peak <= SILENCE_PEAK:
            faults.append(("undefined", f"{label} is silent"))
        else:
            faults.append(None)
    return faults


def _peaks(signals: Tensor) -> list[float]:
    detached = signals.detach()
    if detached.device.type == "cuda":
        return detached.abs().amax(dim=-1).tolist()
    rows = detached.float().cpu().numpy() if detached.dtype == torch.bfloat16 else detached.cpu().numpy()
    # A maximum passes NaN on, and so does the sign change of a minimum.
    return [float(np.maximum(row.max(), -row.min())) for row in rows]


def _fetch(values: Sequence[Tensor]) -> list[float]:
    return torch.stack(list(values)).tolist() if values else []


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
