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


def _clusters(groups: Sequence[str]) -> list[str] | None:
    """Groups for resampling; None where every clip is its own group, or all are of one."""
    return list(groups) if 1 < len(set(groups)) < len(groups) else None


def aggregate(table: Table, model: str, name: str, seed: int) -> dict[str, Any]:
    """Mean, median and interval of a metric over a model's clips, and how many clips have no value."""
    from eval.stats import mean_interval

    cells = table.values[model][name]
    status = Counter("failed" if cell is None else cell[1] for cell in cells)
    known = [(v, g) for v, g in zip(table.numbers(model, name), table.groups, strict=True) if v is not None]
    groups = _clusters([g for _, g in known])
    found = mean_interval([v for v, _ in known], level=LEVEL, resamples=RESAMPLES, seed=seed, groups=groups)
    return {
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
        "groups": len({g for _, g in known}),
    }


def difference(table: Table, model: str, baseline: str, name: str, seed: int) -> dict[str, Any]:
    """Mean of a model's value minus the baseline's over the clips that both have, with its interval."""
    from eval.stats import paired_difference

    found = paired_difference(
        table.numbers(model, name),
        table.numbers(baseline, name),
        level=LEVEL,
        resamples=RESAMPLES,
        seed=seed,
        groups=_clusters(table.groups),
    )
    return {
        "metric": name,
        "n": found.n,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "p": found.p_value,
    }


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
    return {
        "metrics": rows,
        "aggregates": [
            {"category": category, **aggregate(table, model, name, seed)}
            for name in metrics
            for model, category in categories.items()
        ],
        "differences": [
            {"category": category, "baseline": categories[baseline], **difference(table, model, baseline, name, seed)}
            for name in metrics
            for model, category in categories.items()
            if baseline is not None and model != baseline
        ],
        "failures": [
            {"clip": clip_id, "category": category, "error": table.errors[model][clip_id]}
            for model, category in categories.items()
            for clip_id in table.clip_ids
            if clip_id in table.errors[model]
        ],
    }
