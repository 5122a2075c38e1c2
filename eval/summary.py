"""From rows of the results store to what is published about a collection: aggregates, differences, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.metrics import definition_sha256, metric
from eval.results import ResultsStore
from models.errors import InputError

LEVEL = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Table:
    """Values of all systems on the clips of a run.

    Attributes:
        clip_ids: Clips in order.
        groups: Group of every clip.
        values: ``values[model][metric]``, one entry a clip: value, status, reason; None where the model has no output.
        errors: ``errors[model]``, clip to the reason why there is no output.
    """

    clip_ids: Sequence[str]
    groups: Sequence[str]
    values: Mapping[str, Mapping[str, Sequence[tuple[float | None, str, str | None] | None]]]
    errors: Mapping[str, Mapping[str, str]]

    @classmethod
    def from_store(
        cls, store: ResultsStore, clip_ids: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> Table:
        """Read the rows of some clips, models and metrics."""
        values = {}
        errors = {}
        members = set(clip_ids)
        for model in models:
            errors[model] = {
                row.clip_id: row.error or "no reason is known"
                for row in store.outputs(model)
                if row.status != "ok" and row.clip_id in members
            }
            columns = {}
            for name in metrics:
                found = store.values(model, name)
                columns[name] = [found.get(clip_id) for clip_id in clip_ids]
            values[model] = columns
        return cls(clip_ids, [store.clip(clip_id).group for clip_id in clip_ids], values, errors)

    def below(self, root: Path) -> Table:
        """The same with files in errors named from the corpus folder on; where it lies is not for publication."""
        prefixes = {f"{root}/", f"{root.resolve()}/"}

        def short(text: str) -> str:
            for prefix in prefixes:
                text = text.replace(prefix, "")
            return text

        errors = {model: {clip: short(text) for clip, text in found.items()} for model, found in self.errors.items()}
        return replace(self, errors=errors)

    def numbers(self, model: str, name: str) -> list[float | None]:
        """One value a clip, None where there is none."""
        return [None if cell is None or cell[1] != "ok" else cell[0] for cell in self.values[model][name]]


def clusters(groups: Sequence[str]) -> list[str] | None:
    """Groups for resampling; None where every clip is its own group, or all are of one."""
    return list(groups) if 1 < len(set(groups)) < len(groups) else None


def aggregate(table: Table, model: str, name: str, seed: int) -> dict[str, Any]:
    """Mean, median and interval of a metric over a model's clips, and how many clips have no value."""
    return aggregates(table, [(model, name)], seed)[0]


def aggregates(table: Table, cells: Sequence[tuple[str, str]], seed: int, *, threads: int = 1) -> list[dict[str, Any]]:
    """What `aggregate` says of each of many pairs of model and metric; no number depends on ``threads``."""
    from eval.stats import mean_intervals

    columns: list[list[float]] = []
    groups: list[list[str]] = []
    for model, name in cells:
        known = [(v, g) for v, g in zip(table.numbers(model, name), table.groups, strict=True) if v is not None]
        columns.append([v for v, _ in known])
        groups.append([g for _, g in known])
    intervals = mean_intervals(
        columns,
        level=LEVEL,
        resamples=RESAMPLES,
        seed=seed,
        groups=[clusters(held) for held in groups],
        threads=threads,
    )
    rows = []
    for (model, name), found, held in zip(cells, intervals, groups, strict=True):
        status = Counter("failed" if cell is None else cell[1] for cell in table.values[model][name])
        rows.append(
            {
                "metric": name,
                "n_ok": found.n,
                "n_undefined": status["undefined"] + status["skipped"],
                "n_failed": status["failed"],
                "mean": found.mean,
                "median": found.median,
                "low": found.low,
                "high": found.high,
                "level": found.level,
                "method": found.method,
                "resamples": found.resamples,
                "seed": found.seed,
                "groups": len(set(held)),
            }
        )
    return rows


def difference(table: Table, model: str, baseline: str, name: str, seed: int) -> dict[str, Any]:
    """Mean of a model's value minus the baseline's over the clips that both have, with its interval."""
    return differences(table, [(model, name)], baseline, seed)[0]


def differences(
    table: Table, cells: Sequence[tuple[str, str]], baseline: str, seed: int, *, threads: int = 1
) -> list[dict[str, Any]]:
    """What `difference` says of each of many pairs of model and metric; no number depends on ``threads``."""
    from eval.stats import paired_differences

    found = paired_differences(
        [(table.numbers(model, name), table.numbers(baseline, name)) for model, name in cells],
        level=LEVEL,
        resamples=RESAMPLES,
        seed=seed,
        groups=clusters(table.groups),
        threads=threads,
    )
    return [
        {"metric": name, "n": gap.n, "mean": gap.mean, "low": gap.low, "high": gap.high, "p": gap.p_value}
        for (_, name), gap in zip(cells, found, strict=True)
    ]


def choose_baseline(models: Sequence[str], wanted: str | None = None) -> str | None:
    """What the others are compared with: the wanted one, else Griffin-Lim, else the second.

    Raises:
        InputError: If the wanted one is not among the models.
    """
    if wanted is not None:
        if wanted not in models:
            raise InputError(f"baseline {wanted!r} is not one of the models {', '.join(models)}")
        return wanted
    if "griffin_lim" in models:
        return "griffin_lim"
    return models[1] if len(models) > 1 else None


def summarise(
    table: Table, categories: Mapping[str, str], metrics: Sequence[str], *, seed: int, baseline: str | None
) -> dict[str, Any]:
    """The parts ``metrics``, ``aggregates``, ``differences`` and ``failures`` of a results document.

    Args:
        table: Values.
        categories: Model to category, in the order of publication.
        metrics: Names in the order of publication.
        seed: Seed of the resampling.
        baseline: Model that the others are compared with; None for no comparison.
    """
    rows = []
    for name in metrics:
        row = metric(name)
        rows.append(
            {
                "name": name,
                "title": row.title,
                "unit": row.unit,
                "higher_is_better": row.higher_is_better,
                "value_range": row.value_range,
                "blind_to": row.blind_to,
                "source": row.source,
                "definition_sha256": definition_sha256(name),
            }
        )
    every = [(model, name) for name in metrics for model in categories]
    others = [(model, name) for model, name in every if baseline is not None and model != baseline]
    means = aggregates(table, every, seed)
    gaps = [] if baseline is None else differences(table, others, baseline, seed)
    return {
        "metrics": rows,
        "aggregates": [
            {"category": categories[model], **found} for (model, _), found in zip(every, means, strict=True)
        ],
        "differences": [
            {"category": categories[model], "baseline": categories[str(baseline)], **found}
            for (model, _), found in zip(others, gaps, strict=True)
        ],
        "failures": [
            {"clip": clip_id, "category": category, "error": table.errors[model][clip_id]}
            for model, category in categories.items()
            for clip_id in table.clip_ids
            if clip_id in table.errors[model]
        ],
    }
