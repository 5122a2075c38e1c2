"""Metrics of whole sets: how far the clips of a model lie from recorded ones as a crowd.

Conventions of every row of the table:

* arguments are ``estimate, reference``, in this order, float64 matrices ``(n, d)`` with one row a clip, so that clips
  and never frames are what is drawn, permuted and counted;
* a distance never stands alone: `eval.sets.scoring` gives it the number of clips on both sides, a permutation p, an
  interval, and what the reference scores against itself in halves, its floor;
* too few clips, a set without spread, a covariance without full rank and numbers that are not finite raise
  `Undefined` or ``ValueError``, which become a status with a reason and never a number;
* all draws are seeded, and no number depends on the order of the clips.

This module imports neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from eval.sets.definition import SetMetric, Undefined
from eval.sets.table import ROWS
from models.errors import InputError

__all__ = ["SET_METRICS", "SetMetric", "Undefined", "chosen", "definition", "definition_sha256", "set_metric"]

SET_METRICS: Mapping[str, SetMetric] = MappingProxyType({row.name: row for row in ROWS})


def chosen(names: Sequence[str]) -> list[str]:
    """Names of the metrics that are asked for: names of rows or of inputs, or all but those of codes for none.

    Raises:
        InputError: If one is unknown.
    """
    if not names:
        return [row.name for row in ROWS if row.input != "codes"]
    found: dict[str, None] = {}
    for name in names:
        members = [row.name for row in ROWS if name in ("all", row.input)]
        found.update(dict.fromkeys(members or [set_metric(name).name]))
    return list(found)


def set_metric(name: str) -> SetMetric:
    """Row of the table for a name.

    Raises:
        InputError: If no metric of sets has this name; the message lists those there are.
    """
    try:
        return SET_METRICS[name]
    except KeyError:
        raise InputError(f"unknown metric of sets {name!r}; known: {', '.join(SET_METRICS)}, all") from None


def definition(name: str) -> dict[str, object]:
    """Everything that decides the numbers of a metric, ready for JSON."""
    row = set_metric(name)
    return {
        "name": row.name,
        "target": row.target,
        "input": row.input,
        "unit": row.unit,
        "higher_is_better": row.higher_is_better,
        "version": row.version,
        "answer": row.answer,
        "parameters": dict(sorted(row.parameters.items())),
    }


def definition_sha256(name: str) -> str:
    """SHA-256 of the canonical JSON of :func:`definition`; equal hashes mean comparable numbers."""
    text = json.dumps(definition(name), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
