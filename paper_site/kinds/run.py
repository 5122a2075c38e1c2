"""The record of a run: the page to which every number of that run links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.manifest import Companion
from paper_site.pages import Page, Prose, run_path
from paper_site.provenance import reproduce_command


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield one page per run record."""
    for run in companion.runs.values():
        collections = [c for c in companion.collections if c.results and c.results.run == run.id]
        yield Page(
            path=run_path(run.id),
            template="run.html",
            title=f"Run {run.id}",
            kind="run",
            context={
                "run": run,
                "reproduce": reproduce_command(run.raw),
                "collections": collections,
                "titles": {c.name: {s.category: s.title for s in c.results.systems} for c in collections if c.results},
                "studies": [s for s in companion.studies if s.findings and s.findings.run == run.id],
            },
            description=f"Record of the evaluation run {run.id}",
        )
