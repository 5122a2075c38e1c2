"""The listening tables, one page per collection: every clip with the original and all systems, then the worst ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.manifest import Collection, Companion
from paper_site.pages import Page, Prose, listening_path

FACETS = ("instrument_family_str", "family", "ensemble", "composer", "genre", "speaker")
PITCH = "pitch"


def facet(collection: Collection) -> tuple[str, list[str]] | None:
    """Find the label by which a table can be filtered: the first known one with at least two values."""
    for name in FACETS:
        values = sorted({str(s.labels[name]) for s in collection.samples if s.labels.get(name) is not None})
        if len(values) > 1:
            return name, values
    return None


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield one page per collection, also for those not evaluated yet; none for those that publish numbers alone."""
    shown = [c for c in companion.collections if not c.numbers_only]
    siblings = [(c.title, listening_path(c.name)) for c in shown]
    done = {c.name for c in companion.collections}
    siblings += [(j.title, listening_path(j.collection)) for j in companion.site.jobs if j.collection not in done]
    for collection in shown:
        yield Page(
            path=listening_path(collection.name),
            template="listening.html",
            title=collection.title,
            kind="listening",
            prose=prose.get(f"listen/{collection.name}") or prose.get("listen"),
            player=bool(collection.samples),
            description=f"Listening table: {collection.title}",
            context={
                "collection": collection,
                "siblings": siblings,
                "facet": facet(collection),
                "has_pitch": any(isinstance(s.labels.get(PITCH), int) for s in collection.samples),
            },
        )
    for job in companion.site.jobs:
        if job.collection not in done:
            yield Page(
                path=listening_path(job.collection),
                template="listening.html",
                title=job.title,
                kind="listening",
                prose=prose.get(f"listen/{job.collection}") or prose.get("listen"),
                context={"collection": None, "job": job, "siblings": siblings, "facet": None, "has_pitch": False},
            )
