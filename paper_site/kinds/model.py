"""A page per model: what it is, its checkpoint, its scores beside those of the others, its worst clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paper_site.charts import interval_rows
from paper_site.filters import words
from paper_site.kinds.listening import LONG
from paper_site.manifest import Collection, Companion, Difference, Results, Sample, System
from paper_site.pages import Page, Prose, model_path
from paper_site.plots import place_plot
from paper_site.studies import Plot, Point


@dataclass(frozen=True)
class ModelView:
    """What the site knows about one model."""

    name: str
    title: str
    summary: str | None
    path: str
    appearances: tuple[tuple[Collection, System], ...]
    prose: Prose | None

    @property
    def system(self) -> System | None:
        """The first collection's facts about it."""
        return self.appearances[0][1] if self.appearances else None


@dataclass(frozen=True)
class Comparison:
    """The differences of one system to one other, parted by what they show."""

    baseline: str
    title: str
    better: tuple[Difference, ...]
    worse: tuple[Difference, ...]
    unclear: tuple[Difference, ...]


def list_models(companion: Companion, prose: Mapping[str, Prose]) -> list[ModelView]:
    """List the models in the order in which the jobs and results name them."""
    found: dict[str, list[tuple[Collection, System]]] = {}
    for job in companion.site.jobs:
        for name in job.models:
            found.setdefault(name, [])
    for collection in companion.collections:
        for system in collection.results.systems if collection.results else ():
            if system.model:
                found.setdefault(system.model, []).append((collection, system))
    views = []
    for name, appearances in found.items():
        text = prose.get(f"models/{name}")
        values: Mapping[str, Any] = text.values if text else {}
        title = appearances[0][1].title if appearances else str(values.get("title") or name)
        summary = values.get("summary") or (appearances[0][1].raw.get("summary") if appearances else None)
        views.append(
            ModelView(name, title, str(summary) if summary else None, model_path(name), tuple(appearances), text)
        )
    return views


def compare(results: Results, category: str) -> list[Comparison]:
    """Part the stored differences of a category by what their intervals show."""
    titles = {s.category: s.title for s in results.systems}
    comparisons = []
    for other in titles:
        rows = [results.difference(category, other, m.name) for m in results.metrics] if other != category else []
        known = [row for row in rows if row is not None and row.mean is not None]
        if not known:
            continue
        parts: dict[str, list[Difference]] = {"better": [], "worse": [], "unclear": []}
        for row in known:
            parts[results.verdict(row)].append(row)
        comparisons.append(
            Comparison(other, titles[other], tuple(parts["better"]), tuple(parts["worse"]), tuple(parts["unclear"]))
        )
    return comparisons


def ranked(collection: Collection, category: str) -> list[Sample]:
    """Sort the published samples by the system's main metric, worst first; those without a value are left out."""
    metric = collection.main_metric
    if metric is None or collection.results is None:
        return []
    described = collection.results.metric(metric)
    scored: list[tuple[float, Sample]] = []
    for sample in collection.samples:
        track = sample.track(category)
        score = track.scores.get(metric) if track else None
        if score and score.status == "ok" and score.value is not None:
            scored.append((score.value, sample))
    higher = described.higher_is_better if described else False
    return [sample for _, sample in sorted(scored, key=lambda pair: pair[0], reverse=not higher)]


def training_plot(described: Mapping[str, Any]) -> Plot | None:
    """Draw how the loss fell in training, as the run recorded it; ``None`` where it recorded nothing of the kind."""
    curve = described.get("training_curve")
    rows = curve.get("points") if isinstance(curve, Mapping) else None
    if not isinstance(curve, Mapping) or not isinstance(rows, list):
        return None
    rows = [row for row in rows if isinstance(row, list) and len(row) == 3]
    points = [
        Point(f"step {row[0]}", float(row[0]), float(row[column]), group)
        for column, group in ((1, "training"), (2, "validation"))
        for row in rows
        if isinstance(row[column], int | float)
    ]
    loss = words(str(curve.get("loss") or "loss")).lower()
    return Plot("Training", "Step", f"Loss ({loss})", True, tuple(points), None) if len(points) > 1 else None


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield one page per model."""
    for view in list_models(companion, prose):
        sections = []
        for collection, system in view.appearances:
            results = collection.results
            if results is None:
                continue
            order = ranked(collection, system.category)
            worst_here = results.worst.get("model") == view.name and collection.worst is not None
            sections.append(
                {
                    "collection": collection,
                    "results": results,
                    "system": system,
                    "comparisons": compare(results, system.category),
                    "charts": [(m, interval_rows(results, m)) for m in results.metrics],
                    "best": order[-2:][::-1] if len(order) >= 4 else [],
                    "poor": order[:2] if len(order) >= 4 else [],
                    "worst": collection.worst.samples if worst_here and collection.worst else (),
                }
            )
        runs = dict.fromkeys(c.results.run for c, _ in view.appearances if c.results)
        described = _describe(companion, view.name, list(runs))
        training = training_plot(described)
        yield Page(
            path=view.path,
            template="model.html",
            title=view.title,
            kind="model",
            prose=view.prose,
            description=view.summary,
            player=any(s["best"] or s["poor"] or s["worst"] for s in sections),
            context={
                "model": view,
                "long": LONG,
                "sections": sections,
                "runs": list(runs),
                "described": {key: value for key, value in described.items() if key != "training_curve"},
                "training": (training, place_plot(training)) if training else None,
            },
        )


def _describe(companion: Companion, name: str, runs: list[str]) -> Mapping[str, Any]:
    for run in runs:
        for model in companion.runs[run].raw.get("models") or []:
            if isinstance(model, Mapping) and model.get("name") == name:
                return model
    return {}
