"""The listening tables, one page per collection: every clip with the original and all systems, then the worst ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paper_site.filters import note
from paper_site.labels import common_forms
from paper_site.manifest import Collection, Companion, Metric, Sample
from paper_site.pages import Page, Prose, listening_path

FACETS = ("instrument_family_str", "family", "ensemble", "composer", "genre", "speaker")
PITCH = "pitch"
LONG = 400
"""Clips from which on a table has short rows."""
AT_ONCE = 150
"""Rows of a long table that are there before the reader scrolls, where scripts run."""
_COLUMNS = 12


@dataclass(frozen=True)
class Grid:
    """Clips by a label and by pitch: single pitches where they are few, octaves where they are many.

    Attributes:
        columns: Headings, from low to high.
        rows: Value of the label and its clips, column by column.
        systems: Category and title of what can be played, the original first.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[Sample, ...], ...]], ...]
    systems: tuple[tuple[str, str], ...]


def pitch_grid(collection: Collection, label: str) -> Grid | None:
    """Arrange the clips of a collection by a label and by pitch; ``None`` where fewer than two pitches are known."""
    known = [s for s in collection.samples if isinstance(s.labels.get(PITCH), int) and s.labels.get(label) is not None]
    pitches = sorted({int(s.labels[PITCH]) for s in known})
    if len(pitches) < 2:
        return None
    few = len(pitches) <= _COLUMNS
    places = [(p, p) for p in pitches] if few else [(12 * o, 12 * o + 11) for o in sorted({p // 12 for p in pitches})]
    rows = []
    for value in sorted({str(s.labels[label]) for s in known}):
        mine = sorted((s for s in known if str(s.labels[label]) == value), key=lambda s: int(s.labels[PITCH]))
        rows.append((value, tuple(tuple(s for s in mine if a <= s.labels[PITCH] <= b) for a, b in places)))
    titles = tuple((note(a) or str(a)) if few else f"{note(a)}–{note(b)}" for a, b in places)
    return Grid(titles, tuple(rows), tuple(collection.categories.items()))


def scored_by(collection: Collection) -> Metric | None:
    """Find the metric that stands beside the players."""
    return collection.results.metric(collection.main_metric) if collection.results and collection.main_metric else None


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
        chosen, long = facet(collection), len(collection.samples) > LONG
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
                "facet": chosen,
                "has_pitch": any(isinstance(s.labels.get(PITCH), int) for s in collection.samples),
                "grid": pitch_grid(collection, chosen[0]) if chosen and not long else None,
                "scored": scored_by(collection),
                "long": long,
                "at_once": AT_ONCE,
                "forms": common_forms(collection.samples) if long else None,
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
