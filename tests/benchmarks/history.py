"""What every complete run of the benchmark suite measured, kept as JSON: the site plots it, and `git log` dates it.

The file holds the newest `KEPT` runs, one a line, so that it stays small and a run adds one line to a difference.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.gate import machine_kind, write_whole

SCHEMA_VERSION = 1
KEPT = 40
_DIGITS = 4


def entry(
    speed: Mapping[str, Mapping[str, Any]],
    quality: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    passed: bool,
    update: bool,
    now: datetime | None = None,
) -> dict[str, Any]:
    """A run as it stands in the history.

    Args:
        speed: Benchmark to its entry with ``ratio``.
        quality: Model and data to its metrics with ``mean``.
        passed: Whether nothing was worse than the baseline allows.
        update: Whether the run renewed the baseline.
        now: When it ended; the present where None.
    """
    from eval.evaluation import code_state

    when = (now or datetime.now(UTC)).astimezone(UTC)
    state = code_state()
    return {
        "id": when.strftime("%Y%m%dT%H%M%SZ"),
        "created": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": state["commit"],
        "dirty": state["dirty"],
        "machine": {
            **machine_kind(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": version("torch"),
        },
        "passed": passed,
        "update": update,
        "speed": {name: _short(found["ratio"]) for name, found in sorted(speed.items())},
        "quality": {
            name: {metric: _short(found["mean"]) for metric, found in sorted(metrics.items())}
            for name, metrics in sorted(quality.items())
        },
    }


def add(path: Path, run: Mapping[str, Any]) -> None:
    """Add a run to a history and let the oldest go; a file that is missing begins with it.

    Raises:
        ValueError: If the file is there and is no history of this version; it is left as it was.
    """
    runs = [*read(path), dict(run)][-KEPT:]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(one, ensure_ascii=False, sort_keys=True) for one in runs)
    write_whole(path, f'{{"schema_version": {SCHEMA_VERSION}, "runs": [\n{lines}\n]}}\n')


def read(path: Path) -> list[dict[str, Any]]:
    """The runs of a history, oldest first; none where the file is missing.

    Raises:
        ValueError: If it is no history of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"the history {path} cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"the history {path} is not of version {SCHEMA_VERSION}; move it away to begin a new one")
    runs: list[dict[str, Any]] = content["runs"]
    return runs


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")
