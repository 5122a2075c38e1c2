"""The first page: what the paper is, one comparison to hear at once, the headline results, the systems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.charts import interval_rows
from paper_site.errors import ContentError
from paper_site.kinds.model import list_models
from paper_site.manifest import Collection, Companion, Metric
from paper_site.metadata import article
from paper_site.pages import Page, Prose, replaces
from paper_site.schema import did_you_mean

HEADLINE_METRICS = 3


def headline_metrics(collection: Collection, text: Prose | None) -> list[Metric]:
    """Choose the metrics for the first page.

    Args:
        collection: A collection with results.
        text: The text of the first page; its front matter may list the metrics under ``headline``.

    Returns:
        The metrics asked for; else the job's main metric and the first others of the results.

    Raises:
        ContentError: If a metric is asked for that the results do not hold.
    """
    if collection.results is None:
        return []
    if text is not None and text.values.get("headline"):
        names = [str(name) for name in text.values["headline"]]
        found = [collection.results.metric(name) for name in names]
        for name, metric in zip(names, found, strict=True):
            if metric is None:
                hint = did_you_mean(name, [m.name for m in collection.results.metrics])
                raise ContentError(f"headline: {collection.name} has no metric {name!r}{hint}", path=text.path, line=2)
        return [metric for metric in found if metric is not None]
    main = collection.main_metric
    ordered = sorted(collection.results.metrics, key=lambda m: m.name != main)
    return ordered[:HEADLINE_METRICS]


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield the first page."""
    if replaces(prose.get("index"), "home"):
        return
    shown = [c for c in companion.collections if c.results]
    heard = next((c for c in companion.collections if c.samples), None)
    yield Page(
        path="index.html",
        template="home.html",
        title=companion.site.title,
        kind="home",
        prose=prose.get("index"),
        description=companion.site.description,
        player=heard is not None,
        context={
            "heard": heard,
            "article": article(companion),
            "headlines": [
                (c, [(m, interval_rows(c.results, m)) for m in headline_metrics(c, prose.get("index"))])
                for c in shown
                if c.results
            ],
            "models": list_models(companion, prose),
        },
    )
