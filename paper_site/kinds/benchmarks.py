"""The history of the benchmark suite: speed and quality of the newest run, their course, and every run that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from paper_site.manifest import Companion
from paper_site.pages import Page, Prose, replaces
from paper_site.plots import STYLES, place_plot
from paper_site.schema import validate
from paper_site.studies import Plot, Point

NAME = "benchmarks"
STAGES: Mapping[str, str] = MappingProxyType(
    {
        "decode": "Decoding",
        "front": "Front ends",
        "metric": "Metrics",
        "battery": "Batteries of metrics",
        "set": "Metrics of sets",
        "embedding": "Embeddings",
        "statistics": "Statistics",
        "harness": "The harness itself",
        "model": "Models",
        "beside": "Networks beside plain loops",
        "encode": "Encoding",
        "manifest": "Documents",
        "site": "The site",
    }
)
"""First word of a benchmark's name to its stage, in the order of the page; other words follow as they are."""

_MARK = "log_mel_l1"


@dataclass(frozen=True)
class Run:
    """A run of the suite.

    Attributes:
        id: Its name in the history.
        raw: What the history says of it.
    """

    id: str
    raw: Mapping[str, Any]

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return f"run-{self.id}"

    @property
    def kind(self) -> tuple[Any, ...]:
        """What makes its times comparable with those of another run."""
        machine = self.raw["machine"]
        return machine["system"], machine["processor"], machine["model"], machine["vectors"]


@dataclass(frozen=True)
class Row:
    """A number of the newest run beside those of the run before and the first one with it on the same machine."""

    name: str
    value: float
    before: float | None
    first: float | None

    @property
    def since_before(self) -> float | None:
        """Growth since the run before, per cent."""
        return _growth(self.value, self.before)

    @property
    def since_first(self) -> float | None:
        """Growth since the first run, per cent."""
        return _growth(self.value, self.first)


def _growth(value: float, earlier: float | None) -> float | None:
    return None if not earlier else 100.0 * (value / earlier - 1.0)


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield the page on the benchmarks, where a companion has their history."""
    raw = companion.data.get(NAME)
    if raw is None or replaces(prose.get(NAME), NAME):
        return
    validate(raw, NAME, companion.source / "_data" / f"{NAME}.json")
    runs = [Run(str(run["id"]), run) for run in raw["runs"]]
    if not runs:
        return
    newest = runs[-1]
    same = [run for run in runs if run.kind == newest.kind]
    plots = [*_speed_plots(same), *_quality_plots(same)] if len(same) > 1 else []
    yield Page(
        path=f"{NAME}.html",
        template=f"{NAME}.html",
        title="Benchmarks",
        kind=NAME,
        prose=prose.get(NAME),
        context={
            "newest": newest,
            "runs": runs[::-1],
            "others": len(runs) - len(same),
            "speed": _speed_rows(same),
            "quality": _quality_rows(same),
            "plots": [(plot, place_plot(plot)) for plot in plots],
        },
        description="Speed and quality of every stage and model, run after run",
    )


def stage_of(name: str) -> str:
    """The stage of a benchmark.

    >>> stage_of("metric[si_sdr]"), stage_of("set_metric_with_floor"), stage_of("rendering")
    ('Metrics', 'Metrics of sets', 'rendering')
    """
    word = name.partition("[")[0].partition("_")[0]
    return STAGES.get(word, word)


def _by_stage(names: Sequence[str]) -> dict[str, list[str]]:
    order = list(STAGES.values())
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda n: (order.index(s) if (s := stage_of(n)) in order else len(order), s, n)):
        found.setdefault(stage_of(name), []).append(name)
    return found


def _rows(name: str, values: Sequence[float | None]) -> Row | None:
    """A row from the values of all runs, oldest first; None where the newest has none."""
    if values[-1] is None:
        return None
    known = [value for value in values[:-1] if value is not None]
    return Row(name, values[-1], known[-1] if known else None, known[0] if known else None)


def _speed_rows(runs: Sequence[Run]) -> list[tuple[str, list[Row]]]:
    newest = runs[-1].raw["speed"]
    return [
        (stage, [row for name in names if (row := _rows(name, [run.raw["speed"].get(name) for run in runs]))])
        for stage, names in _by_stage(list(newest)).items()
    ]


def _quality_rows(runs: Sequence[Run]) -> list[tuple[str, list[Row]]]:
    found = []
    for name, metrics in runs[-1].raw["quality"].items():
        history = {metric: [run.raw["quality"].get(name, {}).get(metric) for run in runs] for metric in metrics}
        rows = [row for metric, values in history.items() if (row := _rows(metric, values))]
        found.append((name, rows))
    return found


def _course(runs: Sequence[Run], values: Mapping[str, Sequence[float | None]]) -> list[tuple[int, float]]:
    """Number of a run, and the geometric mean of what it measured over what the first run with it had, per cent."""
    points = []
    for index in range(len(runs)):
        logs = []
        for series in values.values():
            first = next((value for value in series if value), None)
            here = series[index]
            if first and here:
                logs.append(math.log(here / first))
        if logs:
            points.append((index + 1, 100.0 * math.exp(sum(logs) / len(logs))))
    return points


def _points(runs: Sequence[Run], group: str, values: Mapping[str, Sequence[float | None]]) -> list[Point]:
    return [Point(runs[x - 1].raw["created"][:10], x, y, group) for x, y in _course(runs, values)]


def _speed_plots(runs: Sequence[Run]) -> list[Plot]:
    names = sorted({name for run in runs for name in run.raw["speed"]})
    stages = list(_by_stage(names).items())
    plots = []
    for start in range(0, len(stages), STYLES):
        part = stages[start : start + STYLES]
        points = [
            point
            for stage, members in part
            for point in _points(runs, stage, {n: [run.raw["speed"].get(n) for run in runs] for n in members})
        ]
        named = [stage if number == 0 else stage[0].lower() + stage[1:] for number, (stage, _) in enumerate(part)]
        title = f"Time: {', '.join(named)}"
        note = "Mean over the benchmarks of a stage of their times beside reference operations; 100 is the first run."
        plots.append(Plot(title, "Run", "Time, % of the first run", True, tuple(points), note))
    return plots


def _quality_plots(runs: Sequence[Run]) -> list[Plot]:
    parts: dict[str, dict[str, list[float | None]]] = {}
    for name in sorted({name for run in runs for name in run.raw["quality"]}):
        values = [run.raw["quality"].get(name, {}).get(_MARK) for run in runs]
        if any(value is not None for value in values):
            parts.setdefault(name.rpartition(" on ")[2] if " on " in name else "other models", {})[name] = values
    points = [point for part, values in parts.items() for point in _points(runs, part, values)]
    if not points:
        return []
    note = "Mean over the models of their log-mel distance to held-out clips; 100 is the first run, lower is better."
    return [Plot("Quality", "Run", "Log-mel L1, % of the first run", True, tuple(points), note)]
