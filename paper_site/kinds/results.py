"""The results: every metric of every system with its interval, and the differences to the baseline with theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from paper_site.charts import RankDiagram, difference_rows, interval_rows, rank_diagram
from paper_site.manifest import Aggregate, Companion, CriticalDifference, Metric, Results, SetScore
from paper_site.pages import Page, Prose, replaces


@dataclass(frozen=True)
class Standing:
    """How the systems stand in one metric: the diagram of average ranks and their rows, the best first."""

    metric: Metric
    found: CriticalDifference
    diagram: RankDiagram
    rows: tuple[tuple[str, float, Aggregate], ...]


@dataclass(frozen=True)
class SetLine:
    """One metric of sets under one embedding: what every system has there, the floor being that of the recordings."""

    title: str
    unit: str
    direction: str
    embedding: str
    scores: Mapping[str, SetScore]

    @property
    def floor(self) -> SetScore | None:
        """A score that holds the floor."""
        return next((score for score in self.scores.values() if score.floor.get("mean") is not None), None)


def standings(results: Results) -> list[Standing]:
    """How the systems stand in every metric that has ranks."""
    titles = {system.category: system.title for system in results.systems}
    found = []
    for metric in results.metrics:
        ranked = results.critical_differences.get(metric.name)
        if ranked is None:
            continue
        rows = tuple(
            (titles.get(category, category), rank, row)
            for category, rank in ranked.ranks
            if (row := results.aggregate(category, metric.name)) is not None
        )
        found.append(Standing(metric, ranked, rank_diagram(ranked, metric, titles), rows))
    return found


_DIRECTIONS = {True: "higher is better", False: "lower is better", None: ""}


def set_lines(scores: Sequence[SetScore]) -> list[SetLine]:
    """The metrics of sets that at least one system has a value of, in their order."""
    grouped: dict[tuple[str, str], dict[str, SetScore]] = {}
    for score in scores:
        if score.embedding is not None:
            grouped.setdefault((score.embedding, score.metric), {})[score.category] = score
    return [
        SetLine(first.title, first.unit, _DIRECTIONS[first.higher_is_better], embedding, held)
        for (embedding, _), held in grouped.items()
        if (first := next((s for s in held.values() if s.value is not None), None)) is not None
    ]


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield the results page."""
    if replaces(prose.get("results"), "results"):
        return
    sections = []
    for collection in companion.collections:
        results = collection.results
        if results is None or not results.metrics:
            continue
        sections.append(
            {
                "collection": collection,
                "results": results,
                "charts": [(m, interval_rows(results, m)) for m in results.metrics],
                "differences": [
                    (baseline, [(m, difference_rows(results, m, baseline)) for m in results.metrics])
                    for baseline in results.baselines
                ],
                "titles": {s.category: s.title for s in results.systems},
                "standings": standings(results),
                "effects": [row for row in results.differences if row.p_holm is not None],
                "sets": set_lines(results.sets),
                "codes": [score for score in results.sets if score.embedding is None],
            }
        )
    yield Page(
        path="results.html",
        template="results.html",
        title="Results",
        kind="results",
        prose=prose.get("results"),
        context={"sections": sections},
        description="Scores of every system with their intervals",
    )
