"""From rows of the results store to what is published about a collection: aggregates, differences, failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.metrics import definition_sha256, metric
from eval.results import ResultsStore
from models.errors import InputError

if TYPE_CHECKING:
    from eval.stats import CriticalDifference, Ranking

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


def medians(
    table: Table, cells: Sequence[tuple[str, str]], seed: int, *, threads: int = 1
) -> list[dict[str, float | None]]:
    """Interval of the median of each of many pairs of model and metric; the median itself is one of `aggregates`."""
    from eval.stats import quantile_intervals

    known = [
        [(v, g) for v, g in zip(table.numbers(*cell), table.groups, strict=True) if v is not None] for cell in cells
    ]
    found = quantile_intervals(
        [[v for v, _ in column] for column in known],
        level=LEVEL,
        resamples=RESAMPLES,
        seed=seed,
        groups=[clusters([g for _, g in column]) for column in known],
        threads=threads,
    )
    return [{"median_low": row.low, "median_high": row.high} for row in found]


def difference(table: Table, model: str, baseline: str, name: str, seed: int) -> dict[str, Any]:
    """Mean of a model's value minus the baseline's over the clips that both have, with its interval."""
    return differences(table, [(model, name)], baseline, seed)[0]


def differences(
    table: Table, cells: Sequence[tuple[str, str]], baseline: str, seed: int, *, threads: int = 1
) -> list[dict[str, Any]]:
    """What `difference` says of each of many pairs of model and metric; no number depends on ``threads``.

    Each row has the number of common clips, mean and interval of the difference, p of the sign-flip test alone and
    Holm-corrected over all pairs of the call, the paired Cohen's d, the share of clips above the baseline minus the
    share below, and the smallest true difference that a single test at 5 % would find in four cases of five.
    """
    from eval.stats import effect_size, holm, paired_differences, smallest_difference

    columns = [(table.numbers(model, name), table.numbers(baseline, name)) for model, name in cells]
    held = clusters(table.groups)
    found = paired_differences(columns, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=held, threads=threads)
    tested = [index for index, gap in enumerate(found) if gap.p_value is not None]
    corrected = dict(zip(tested, holm([float(found[i].p_value or 0.0) for i in tested]), strict=True))
    rows = []
    for index, ((_, name), gap) in enumerate(zip(cells, found, strict=True)):
        apart, groups = gaps(*columns[index], held)
        effect = effect_size(apart)
        rows.append(
            {
                "metric": name,
                "n": gap.n,
                "mean": gap.mean,
                "low": gap.low,
                "high": gap.high,
                "p": gap.p_value,
                "p_holm": corrected.get(index),
                "d": effect.d,
                "dominance": effect.dominance,
                "detectable": smallest_difference(apart, groups=groups),
            }
        )
    return rows


def gaps(
    mine: Sequence[float | None], theirs: Sequence[float | None], groups: Sequence[str] | None
) -> tuple[list[float], list[str] | None]:
    """``mine - theirs`` on the clips where both have a value, and those clips' groups."""
    kept = [(i, x, y) for i, (x, y) in enumerate(zip(mine, theirs, strict=True)) if x is not None and y is not None]
    return [x - y for _, x, y in kept], None if groups is None else [groups[i] for i, _, _ in kept]


@dataclass(frozen=True)
class Standing:
    """How the systems stand in one metric.

    Attributes:
        ranking: Ranks by their means on the common clips; None where there is nothing to rank.
        diagram: What a critical-difference diagram shows; None for fewer than two systems or blocks.
    """

    ranking: Ranking | None
    diagram: CriticalDifference | None

    def place(self, model: str) -> dict[str, Any]:
        """Rank of a model, the interval of its rank, and the letters of what it cannot be told apart from."""
        if self.ranking is None or model not in self.ranking.names:
            return {"rank": None, "rank_low": None, "rank_high": None, "tied": ""}
        index = self.ranking.names.index(model)
        return {
            "rank": self.ranking.ranks[index],
            "rank_low": self.ranking.low[index],
            "rank_high": self.ranking.high[index],
            "tied": self.ranking.letters[index],
        }


def standings(
    table: Table, models: Sequence[str], directions: Mapping[str, bool], seed: int, *, threads: int = 1
) -> dict[str, Standing]:
    """How models stand in each metric.

    Args:
        table: Values.
        models: Models to rank.
        directions: Metric to whether higher is better.
        seed: Seed of draws and flips.
        threads: How many threads work at it; no number depends on it.
    """
    from eval.stats import critical_difference, rankings

    columns = {name: {model: table.numbers(model, name) for model in models} for name in directions}
    held = clusters(table.groups)
    ranked = rankings(
        [columns[name] for name in directions], list(directions.values()), groups=held, level=LEVEL,
        resamples=RESAMPLES, seed=seed, threads=threads,
    )  # fmt: skip
    return {
        name: Standing(ranking, critical_difference(columns[name], higher_is_better=directions[name], groups=held))
        for name, ranking in zip(directions, ranked, strict=True)
    }


def diagram_entry(name: str, diagram: CriticalDifference, categories: Mapping[str, str]) -> dict[str, Any]:
    """A critical-difference diagram as it stands in a results document."""
    ranked = [categories[model] for model in diagram.names]
    return {
        "metric": name,
        "blocks": diagram.blocks,
        "alpha": diagram.alpha,
        "critical_difference": diagram.critical_difference,
        "statistic": diagram.statistic,
        "p": diagram.p_value,
        "average_ranks": [
            {"category": category, "rank": rank} for category, rank in zip(ranked, diagram.average_ranks, strict=True)
        ],
        "not_told_apart": [ranked[first : last + 1] for first, last in diagram.bars],
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
    """The parts ``metrics``, ``aggregates``, ``differences``, ``critical_differences`` and ``failures`` of a results
    document.

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
    middles = medians(table, every, seed)
    apart = [] if baseline is None else differences(table, others, baseline, seed)
    stands = standings(table, list(categories), {name: metric(name).higher_is_better for name in metrics}, seed)
    return {
        "metrics": rows,
        "aggregates": [
            {"category": categories[model], **found, **middle, **stands[name].place(model)}
            for (model, name), found, middle in zip(every, means, middles, strict=True)
        ],
        "differences": [
            {"category": categories[model], "baseline": categories[str(baseline)], **found}
            for (model, _), found in zip(others, apart, strict=True)
        ],
        "critical_differences": [
            diagram_entry(name, stand.diagram, categories)
            for name, stand in stands.items()
            if stand.diagram is not None
        ],
        "failures": [
            {"clip": clip_id, "category": category, "error": table.errors[model][clip_id]}
            for model, category in categories.items()
            for clip_id in table.clip_ids
            if clip_id in table.errors[model]
        ],
    }


def seed_components(
    tables: Sequence[Table], seeds: Sequence[int], models: Sequence[str], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Variance of seeds apart from that of clips: for every model and metric the parts of its spread.

    Args:
        tables: Values of each seed, over clips of their own; those that all have are used.
        seeds: The seeds, in the same order.
        models: Models to look at.
        metrics: Metrics to look at.

    Returns:
        One row a model and metric that have two seeds and two common clips or more, with its ``model``.
    """
    common = common_clips(tables)
    places = [{clip: index for index, clip in enumerate(table.clip_ids)} for table in tables]
    rows = []
    for name in metrics:
        for model in models:
            columns = []
            for table, place in zip(tables, places, strict=True):
                numbers = table.numbers(model, name)
                columns.append([numbers[place[clip]] for clip in common])
            rows += _components(model, name, "seeds", list(seeds), columns)
    return rows


def checkpoint_components(table: Table, models: Sequence[str], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The same for several checkpoints of one model in one table, as rows of the first of them."""
    families: dict[str, list[str]] = {}
    for model in models:
        families.setdefault(model.partition("@")[0], []).append(model)
    return [
        row
        for name in metrics
        for members in families.values()
        if len(members) > 1
        for row in _components(
            members[0], name, "checkpoints", members, [table.numbers(model, name) for model in members]
        )
    ]


def _components(
    model: str, name: str, of: str, members: Sequence[int | str], columns: Sequence[Sequence[float | None]]
) -> list[dict[str, Any]]:
    from eval.stats import variance_components

    parts = variance_components(columns)
    if parts is None:
        return []
    return [
        {
            "model": model,
            "metric": name,
            "of": of,
            "members": list(members),
            "clips": parts.clips,
            "mean": parts.mean,
            "between": parts.seed_sd,
            "clip_sd": parts.clip_sd,
            "rest_sd": parts.rest_sd,
            "error": parts.error,
            "error_one_seed": parts.error_one_seed,
            "error_clips_only": parts.error_clips_only,
        }
    ]


def common_clips(tables: Sequence[Table]) -> list[str]:
    """Clips that all of some tables have, in the order of the first."""
    shared = set(tables[0].clip_ids).intersection(*(table.clip_ids for table in tables[1:]))
    return [clip for clip in tables[0].clip_ids if clip in shared]


def seeds_together(tables: Sequence[Table]) -> Table:
    """One table of the means over seeds, on the clips that all of them have.

    A clip has a value where every seed has one; else it has the first status that is none, or no output.
    """
    common = common_clips(tables)
    found = [{clip: index for index, clip in enumerate(table.clip_ids)} for table in tables]
    places = [[place[clip] for clip in common] for place in found]
    models = [model for model in tables[0].values if all(model in table.values for table in tables)]
    values: dict[str, dict[str, list[tuple[float | None, str, str | None] | None]]] = {}
    for model in models:
        values[model] = {}
        for name in tables[0].values[model]:
            if not all(name in table.values[model] for table in tables):
                continue
            columns = [[t.values[model][name][i] for i in place] for t, place in zip(tables, places, strict=True)]
            values[model][name] = [_together(cells) for cells in zip(*columns, strict=True)]
    errors = {
        model: {clip: text for table in tables for clip, text in table.errors.get(model, {}).items() if clip in common}
        for model in models
    }
    return Table(common, [tables[0].groups[i] for i in places[0]], values, errors)


_Cell = tuple[float | None, str, str | None]


def _together(cells: Sequence[_Cell | None]) -> _Cell | None:
    numbers = [cell[0] for cell in cells if cell is not None and cell[1] == "ok" and cell[0] is not None]
    if len(numbers) == len(cells):
        return math.fsum(numbers) / len(numbers), "ok", None
    return next((cell for cell in cells if cell is None or cell[1] != "ok"), None)
