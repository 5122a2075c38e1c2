"""The benchmark baseline, and what counts as a regression.

Speed is judged by ratio: CPU time of the work over CPU time of a reference operation timed in turn with it. Quality is
judged by the mean of every metric of every shipped model on a fixed part of the shipped held-out set.

A work that became 30 % slower has to be caught, and a busy machine must not look like one. Both follow from how the
times are taken: the shortest of many interleaved rounds on both sides (`eval.timing.Interleaved`), further rounds for
as long as the limit is exceeded, a second look in a process of its own, and a limit halfway, at 1.15 times the
baseline.
"""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1

SPEED_TOLERANCE = 1.15
"""Largest growth of a ratio that passes on the kind of machine the baseline was measured on."""

SPEED_TOLERANCE_ELSEWHERE = 3.0
"""The same on another kind of machine, where work and reference operation scale apart."""

SPEED_HINT = 1 / 1.3
"""A ratio below this part of the baseline is called an improvement."""


@dataclass(frozen=True)
class Tolerance:
    """How far a mean may fall behind the baseline: ``absolute + relative · |baseline|``."""

    relative: float = 0.0
    absolute: float = 0.0

    def allowed(self, baseline: float) -> float:
        """Allowance around a baseline value, in the unit of the metric."""
        return self.absolute + self.relative * abs(baseline)


# The models are deterministic given their seeds, so what is left is rounding on other processors, which a random phase
# or a nearest code can amplify. SI-SDR of outputs with a free phase is the most nervous of all.
QUALITY_TOLERANCES: dict[str, Tolerance] = {
    "waveform_l1": Tolerance(relative=0.04),
    "waveform_mse": Tolerance(relative=0.08),
    "si_sdr": Tolerance(absolute=3.0),
}
QUALITY_TOLERANCE = Tolerance(relative=0.02, absolute=1e-6)


@dataclass(frozen=True)
class Verdict:
    """Outcome of one comparison.

    Attributes:
        name: What was compared.
        measured: Value now.
        baseline: Value in the baseline; ``None`` without an entry.
        limit: Worst value that passes.
        outcome: ``"ok"``, ``"better"``, ``"worse"`` or ``"new"``.
        unit: Words behind the value.
    """

    name: str
    measured: float | None
    baseline: float | None
    limit: float | None
    outcome: str
    unit: str = ""

    @property
    def line(self) -> str:
        """One line for readers."""
        if self.baseline is None or self.measured is None:
            values = f"{_shown(self.baseline)} -> {_shown(self.measured)} {self.unit}".rstrip()
            return f"{self.outcome:>6}  {self.name}: {values}"
        change = "" if not self.baseline else f" ({self.measured / self.baseline - 1:+.1%})"
        limit = "" if self.limit is None else f", limit {self.limit:.4g}"
        return (
            f"{self.outcome:>6}  {self.name}: {self.baseline:.4g} -> {self.measured:.4g} {self.unit}".rstrip()
            + change
            + limit
        )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def machine_kind() -> dict[str, str]:
    """What decides how the speeds of different operations relate to each other."""
    import numpy as np

    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    widest = next((name for name in ("AVX512_SKX", "AVX2", "ASIMD") if features.get(name)), "baseline")
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "model": _processor_model(),
        "vectors": widest,
    }


def _processor_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def judge_speed(name: str, ratio: float, entry: dict[str, Any] | None, same_machine: bool) -> Verdict:
    """Compare a ratio with its baseline entry."""
    if entry is None:
        return Verdict(name, ratio, None, None, "new", "× reference")
    baseline = float(entry["ratio"])
    limit = baseline * (SPEED_TOLERANCE if same_machine else SPEED_TOLERANCE_ELSEWHERE)
    outcome = "worse" if not ratio <= limit else "better" if ratio < SPEED_HINT * baseline else "ok"
    return Verdict(name, ratio, baseline, limit, outcome, "× reference")


def judge_quality(name: str, measured: dict[str, Any], entry: dict[str, Any] | None) -> list[Verdict]:
    """Compare the metrics of one model with its baseline entry.

    Both map a metric to ``{"mean", "n_ok", "higher_is_better"}``. A metric that lost a clip is worse whatever its mean
    says: leaving hard clips out must not look like progress.
    """
    if entry is None:
        return [Verdict(f"{name} {metric}", value["mean"], None, None, "new") for metric, value in measured.items()]
    verdicts = []
    for metric, before in entry.items():
        now = measured.get(metric)
        title = f"{name} {metric}"
        if now is None or now["mean"] is None:
            outcome = "worse" if now is None or before["mean"] is not None else "ok"
            verdicts.append(Verdict(title, None, before["mean"], None, outcome))
            continue
        if before["mean"] is None:
            verdicts.append(Verdict(title, now["mean"], None, None, "better"))
            continue
        sign = -1.0 if before["higher_is_better"] else 1.0
        allowed = QUALITY_TOLERANCES.get(metric, QUALITY_TOLERANCE).allowed(before["mean"])
        loss = sign * (now["mean"] - before["mean"])
        outcome = "worse" if not loss <= allowed else "better" if loss < -allowed else "ok"
        verdicts.append(Verdict(title, now["mean"], before["mean"], before["mean"] + sign * allowed, outcome))
        if now["n_ok"] < before["n_ok"]:
            verdicts.append(Verdict(f"{title} clips", now["n_ok"], before["n_ok"], before["n_ok"], "worse"))
    verdicts += [
        Verdict(f"{name} {metric}", value["mean"], None, None, "new")
        for metric, value in measured.items()
        if metric not in entry
    ]
    return verdicts


def load_baseline(path: Path) -> dict[str, Any]:
    """Read a baseline.

    Raises:
        ValueError: If the file is missing or not a baseline of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no baseline {path}; make one with pytest --benchmark-update") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"the baseline {path} cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"the baseline {path} is not of version {SCHEMA_VERSION}; renew it with --benchmark-update")
    return content


def save_baseline(path: Path, content: dict[str, Any]) -> None:
    """Write a baseline atomically."""
    write_whole(path, json.dumps(_rounded(content), indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or as it was before."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
