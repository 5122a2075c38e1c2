"""How to get the same numbers: commands, versions, hashes, run records, and the data behind the pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.manifest import Companion
from paper_site.pages import Page, Prose, replaces
from paper_site.sums import PLACEHOLDER


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield the page on reproduction."""
    if replaces(prose.get("reproduce"), "reproduce"):
        return
    runs = sorted(companion.runs.values(), key=lambda r: (str(r.raw.get("created", "")), r.id), reverse=True)
    yield Page(
        path="reproduce.html",
        template="reproduce.html",
        title="How to reproduce",
        kind="reproduce",
        prose=prose.get("reproduce"),
        context={
            "runs": runs,
            "documents": sorted(companion.documents),
            "tree_hash": PLACEHOLDER,
            "audio": companion.audio,
            "allowed": [(rule, why, found) for (rule, why), found in companion.audio.allowed.items()]
            if companion.audio
            else [],
        },
        description="Commands, versions and hashes behind every number of this site",
    )
