"""The metrics by name: what each one measures, how it is defined, and where its function lives.

Conventions of every metric in the table:

* arguments are ``estimate, reference``, in this order, of shape ``(..., time)`` with full scale at 1; the result has
  shape ``(...)``: one value per clip, never one value per batch;
* everything is computed in float64, whatever the input;
* ``parameters`` are exactly the keyword arguments the function is called with by
  :func:`eval.metrics.scoring.score_batch`, so that :func:`definition_sha256` covers what was computed;
* a function takes tensors and returns tensors: no disk, no model, no choice of device.

A new metric is one function in a file of this folder and one row in a file of ``tables``. This module imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from eval.metrics.definition import Metric
from eval.metrics.tables import compat, descriptors, music, perception, phase, spectral, waveform
from models.errors import InputError

__all__ = ["METRICS", "Metric", "chosen", "definition", "definition_sha256", "metric"]

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        row.name: row
        for table in (waveform, spectral, descriptors, compat, phase, music, perception)
        for row in table.ROWS
    }
)


def chosen(names: Sequence[str]) -> list[str]:
    """Names of the metrics that are asked for.

    Args:
        names: Names of metrics or of groups, or ``"all"``; the default battery where there are none.

    Raises:
        InputError: If one is none of these.
    """
    if not names:
        return [row.name for row in METRICS.values() if row.default]
    found: dict[str, None] = {}
    for name in names:
        members = [row.name for row in METRICS.values() if name in ("all", row.group)]
        found.update(dict.fromkeys(members or [metric(name).name]))
    return list(found)


def metric(name: str) -> Metric:
    """Row of the table for a name.

    Raises:
        InputError: If no metric has this name; the message lists those there are.
    """
    try:
        return METRICS[name]
    except KeyError:
        groups = sorted({row.group for row in METRICS.values()})
        raise InputError(
            f"unknown metric {name!r}; known: {', '.join(METRICS)}; groups: {', '.join(groups)}, all"
        ) from None


def definition(name: str) -> dict[str, object]:
    """Everything that decides the numbers of a metric, ready for JSON: target, unit, version and parameters."""
    row = metric(name)
    parameters = {
        key: list(value) if isinstance(value, tuple) else value for key, value in sorted(row.parameters.items())
    }
    return {
        "name": row.name,
        "target": row.target,
        "unit": row.unit,
        "higher_is_better": row.higher_is_better,
        "version": row.version,
        "minimum_samples": row.minimum_samples,
        "parameters": parameters,
    }


def definition_sha256(name: str) -> str:
    """SHA-256 of the canonical JSON of :func:`definition`; equal hashes mean comparable numbers."""
    text = json.dumps(definition(name), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
