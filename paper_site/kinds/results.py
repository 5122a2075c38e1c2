"""The results: every metric of every system with its interval, and the differences to the baseline with theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.charts import difference_rows, interval_rows
from paper_site.manifest import Companion
from paper_site.pages import Page, Prose, replaces


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield the results page."""
    if replaces(prose.get("results"), "results"):
        return
    sections = []
    for collection in companion.collections:
        results = collection.results
        if results is None:
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
