"""A study from its name to its document and the record of the run that made it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval import manifest
from eval.corpora import open_corpus
from eval.evaluation import code_state, device_name, environment
from eval.studies import load_study
from eval.studies.base import Cell, Claim, Measured, Plot, Study, StudyContext, Table
from eval.studies.context import model_facts
from eval.timing import peak_memory, stopwatch
from models import registry
from models.errors import InputError

__all__ = ["Recorded", "measure_study", "study_document"]


@dataclass(frozen=True)
class Recorded:
    """A study that was measured.

    Attributes:
        document: ``_data/studies/<name>.json``.
        run: ``_data/runs/<run_id>.json``.
        claims: What was claimed and reached.
    """

    document: Path
    run: Path
    claims: tuple[Claim, ...]


def measure_study(name: str, context: StudyContext, *, output: Path, command: str) -> Recorded:
    """Measure a study and write its document and the record of its run.

    Args:
        name: In `eval.studies.STUDIES`.
        context: What the study is given.
        output: The companion's folder.
        command: The command line, for the record.

    Raises:
        InputError: If there is no such study, or it names a model or column that is not there.
        EarwitnessError: If it cannot be measured.
        OutputError: If a document cannot be written.
    """
    study = load_study(name)
    strangers = sorted(set(context.checkpoints) - set(study.MODELS))
    if strangers:
        raise InputError(f"study {name!r} does not use model {strangers[0]!r}; it uses {', '.join(study.MODELS)}")
    models = [model_facts(model, context.checkpoints.get(model)) for model in study.MODELS]
    # Loaded once before the long part, so that broken weights are said at once.
    described = [_describe(context, facts) for facts in models]
    created = datetime.now(UTC)
    with peak_memory(context.device) as memory, stopwatch(context.device) as watch:
        measured = study.measure(context)
    settings = {
        "study": name,
        "training": [folder.name for folder in context.training],
        "models": [f"{model}@{folder.name}" for model, folder in sorted(context.checkpoints.items())],
    }
    digest = hashlib.sha256(json.dumps([settings, models, str(created)], sort_keys=True).encode()).hexdigest()
    run_id = f"{created:%Y%m%dT%H%M%SZ}-{digest[:8]}"
    document = study_document(study, measured, run_id=run_id, models=models)
    record = {
        "schema_version": manifest.SCHEMA_VERSION,
        "run_id": run_id,
        "study": name,
        "command": command,
        "created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "seed": context.seed,
        "device": device_name(context.device),
        "environment": environment(),
        "code": code_state(),
        "models": described,
        "corpus": {which: _corpus(folder) for which, folder in (("notes", context.notes), ("music", context.music))},
        "metrics": {},
        "settings": settings,
        "wall_s": round(watch.seconds, 3),
        "stage_seconds": {"measure": round(watch.seconds, 3)},
        "peak_memory_bytes": memory.bytes,
        "clips": {},
    }
    paths = {
        output / "_data" / "runs" / f"{run_id}.json": ("run", record),
        output / "_data" / "studies" / f"{name}.json": ("study", document),
    }
    for path, (kind, content) in paths.items():
        manifest.check(manifest.plain(content), kind, path)
    for path, (kind, content) in paths.items():
        manifest.write_json(path, content, kind)
    run_path, document_path = paths
    return Recorded(document_path, run_path, tuple(measured.claims))


def _describe(context: StudyContext, facts: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = dict(context.load(facts["name"]).describe())
    return {**described, **facts, "summary": registry.entry(facts["name"]).summary}


def _corpus(folder: Path) -> dict[str, Any]:
    corpus = open_corpus(folder)
    return {
        "name": corpus.name,
        "layout": corpus.layout,
        "split": "test",
        "rule": "corpus",
        "clips": sum(1 for _ in corpus.clips(split="test", rule="corpus")),
        "content_sha256": corpus.content_sha256(split="test", rule="corpus"),
    }


def study_document(
    study: Study, measured: Measured, *, run_id: str, models: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The document of a study, which holds the schema ``study``.

    A number that is not finite becomes None with that as its reason; a point that is not finite is left out, and the
    plot's note says how many were.

    Args:
        study: The study.
        measured: What it found out.
        run_id: Its run.
        models: `model_facts` of every model.

    Raises:
        InputError: If a row has a cell for a column that its table lacks, or a column's direction is not known.
    """
    return {
        "schema_version": manifest.SCHEMA_VERSION,
        "study": study.NAME,
        "title": study.TITLE,
        "question": study.QUESTION,
        "run": run_id,
        "models": [dict(model) for model in models],
        "claims": [
            {"text": claim.text, "figure": claim.figure, "met": bool(claim.met), "reason": claim.reason}
            for claim in measured.claims
        ],
        "tables": [_table(table, study.NAME) for table in measured.tables],
        "plots": [_plot(plot) for plot in measured.plots],
    }


def _table(table: Table, study: str) -> dict[str, Any]:
    keys = [column.key for column in table.columns]
    where = f"study {study!r}, table {table.title!r}"
    if len(set(keys)) < len(keys):
        raise InputError(f"{where}: two columns have the key {next(k for k in keys if keys.count(k) > 1)!r}")
    for column in table.columns:
        if column.better not in (None, "lower", "higher"):
            raise InputError(f"{where}: better is {column.better!r} for {column.key!r}; lower, higher or None")
    for row in table.rows:
        unknown = sorted(set(row.cells) - set(keys))
        if unknown:
            raise InputError(f"{where}: row {row.label!r} has a cell {unknown[0]!r}; columns are {', '.join(keys)}")
    return {
        "title": table.title,
        "columns": [
            {"key": column.key, "title": column.title, "unit": column.unit, "better": column.better}
            for column in table.columns
        ],
        "rows": [
            {
                "label": row.label,
                "cells": {key: _cell(row.cells[key]) for key in keys if key in row.cells},
                "note": row.note,
            }
            for row in table.rows
        ],
        "note": table.note,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _cell(cell: Cell) -> dict[str, Any]:
    value, low, high = _finite(cell.value), _finite(cell.low), _finite(cell.high)
    reason = cell.reason
    if value is None:
        low = high = None
        reason = reason or ("no value was measured" if cell.value is None else f"the value came out as {cell.value}")
    elif low is None or high is None:
        low = high = None
    return {"value": value, "low": low, "high": high, "n": cell.n, "reason": reason}


def _plot(plot: Plot) -> dict[str, Any]:
    points = [point for point in plot.points if math.isfinite(point.x) and math.isfinite(point.y)]
    left_out = len(plot.points) - len(points)
    note = plot.note
    if left_out:
        said = f"{left_out} of {len(plot.points)} points have no finite value and are left out."
        note = f"{note} {said}" if note else said
    return {
        "title": plot.title,
        "x_title": plot.x_title,
        "y_title": plot.y_title,
        "joined": plot.joined,
        "points": [{"label": point.label, "x": point.x, "y": point.y, "group": point.group} for point in points],
        "note": note,
    }
