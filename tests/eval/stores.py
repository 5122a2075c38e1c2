"""Results stores written row by row, without a model or a file of sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.metrics import definition
from eval.results import ClipRow, OutputRow, ResultsStore, ScoreRow

Cell = float | str | None


def run_record(models: Sequence[str], metrics: Sequence[str], clips: int, **fields: Any) -> dict[str, Any]:
    """The record of a run as the harness writes it."""
    return {
        "schema_version": 1,
        "run_id": "20260101T000000Z-00000000",
        "command": "python -m eval run",
        "created": "2026-01-01T00:00:00Z",
        "seed": 5,
        "device": "cpu",
        "environment": {"python": "3.11.0", "numpy": "2.0"},
        "code": {"commit": "c" * 40, "dirty": False, "sha256": "d" * 64},
        "models": [{"name": name, "key": f"key {name}", "checkpoint": {"sha256": "a" * 64}} for name in models],
        "corpus": {
            "name": "toys", "layout": "folder", "split": "all", "rule": "none", "rule_text": "All.",
            "content_sha256": "b" * 64, "clips": clips, "groups": clips,
        },
        "metrics": {name: definition(name) for name in metrics},
        "settings": {"corpus": "toys", "models": list(models), "metrics": list(metrics), "seed": 5, "workers": 1},
        "wall_s": 1.0,
        "stage_seconds": {},
        "peak_memory_bytes": None,
        "clips": {"total": clips, "ok": clips, "failed": 0},
        "outputs": {"computed": clips * len(models), "kept": 0, "failed": 0},
        **fields,
    }  # fmt: skip


def write_store(
    folder: Path,
    values: Mapping[str, Mapping[str, Sequence[Cell]]],
    *,
    groups: Sequence[str] | None = None,
    failed: Mapping[str, Sequence[int]] | None = None,
    **fields: Any,
) -> Path:
    """A store with values by model and metric; a text in place of a value is the reason why there is none."""
    models = list(values)
    metrics = list(next(iter(values.values())))
    count = len(next(iter(next(iter(values.values())).values())))
    ids = [f"clip_{number:04d}" for number in range(count)]
    held = list(groups or ids)
    record = {**run_record(models, metrics, count), **fields}
    with ResultsStore(folder) as store:
        store.add_run(record["run_id"], record["created"], record["command"], record["settings"])
        clips = [
            ClipRow(clip, f"key {clip}", f"/x/{clip}.wav", 16000, 16000, group, {}, pcm_sha256=f"pcm {clip}")
            for clip, group in zip(ids, held, strict=True)
        ]
        outputs = []
        for model in models:
            for number, clip in enumerate(ids):
                if failed and number in failed.get(model, ()):
                    outputs.append(OutputRow(clip, model, f"{model} 1", "failed", error="it broke", run_id="r"))
                    continue
                rows = []
                for name in metrics:
                    cell = values[model][name][number]
                    status = "undefined" if isinstance(cell, str) else "ok"
                    value = None if isinstance(cell, str) else cell
                    rows.append(ScoreRow(name, f"key {name}", value, status, cell if value is None else None, 0.1))  # type: ignore[arg-type]
                outputs.append(
                    OutputRow(
                        clip, model, f"{model} 1", "ok", path=f"outputs/{model}/{clip}.wav",
                        pcm_sha256=f"pcm {model} {clip} {rows[0].value}", model_seconds=0.1, audio_seconds=1.0,
                        run_id=record["run_id"], scores=rows,
                    )
                )  # fmt: skip
        store.add(clips, outputs)
        store.finish_run(record["run_id"], record)
    return folder
