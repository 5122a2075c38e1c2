"""The best, the median and the worst clip of every system by every metric, one page per collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paper_site.manifest import Collection, Companion, Sample
from paper_site.pages import Page, Prose, extremes_path


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield one page per collection whose scores of single clips are known."""
    shown = [c for c in companion.collections if c.results and c.held_out]
    siblings = [(c.title, extremes_path(c.name)) for c in shown]
    for collection in shown:
        yield Page(
            path=extremes_path(collection.name),
            template="extremes.html",
            title=f"Best, median and worst: {collection.title}",
            kind="extremes",
            description=f"The best, the median and the worst clip of every system by every metric: {collection.title}",
            context={
                "collection": collection,
                "siblings": siblings,
                "tables": list(_tables(collection)),
                "heard": _heard(collection),
            },
        )


def _tables(collection: Collection) -> Iterator[tuple[Any, list[tuple[Any, Any, int]]]]:
    results, scores = collection.results, collection.held_out
    if results is None or scores is None:
        return
    for metric in results.metrics:
        rows = [
            (
                system,
                scores.extremes(system.category, metric.name, higher_is_better=metric.higher_is_better),
                scores.count(system.category, metric.name),
            )
            for system in results.systems
        ]
        yield metric, [row for row in rows if row[1]]


def _heard(collection: Collection) -> dict[str, tuple[Sample, str]]:
    """Clip id to its sample and the element that shows it, where it was published."""
    found: dict[str, tuple[Sample, str]] = {}
    for part, prefix in ((collection.worst, "worst-"), (collection, "clip-")):
        for sample in part.samples if part else ():
            found[sample.id] = (sample, prefix + sample.anchor)
    return found
