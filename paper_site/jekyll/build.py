"""Build a Jekyll companion: read, render, write. The last good site stays whole when anything goes wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from paper_site.errors import ContentError, OutputError
from paper_site.jekyll.site import Page, Site
from paper_site.output import Written, check_destination, write_site


@dataclass(frozen=True)
class JekyllReport:
    """What a build made.

    Attributes:
        pages: Number of rendered files.
        files: Number of copied files.
        written: What was done in the destination.
        reasons: Page -> why it was rendered.
    """

    pages: int
    files: int
    written: Written
    reasons: dict[str, str]


def epoch_of(environment: dict[str, str]) -> float | None:
    """``SOURCE_DATE_EPOCH`` as a number, or None without one.

    Raises:
        ContentError: If it is no whole number.
    """
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdigit() or len(text) > 11:
        raise ContentError(f"SOURCE_DATE_EPOCH is {text!r}; it must be seconds since 1970")
    return float(text)


def build_jekyll(source: Path, destination: Path) -> JekyllReport:
    """Build a companion.

    Raises:
        SiteError: With file and line, before anything is written.
    """
    source = source.resolve()
    check_destination(destination, source)
    site = Site(
        source,
        environment=os.environ.get("JEKYLL_ENV") or "development",
        epoch=epoch_of(dict(os.environ)),
    )
    site.read()
    pages: dict[str, bytes] = {}
    owners: dict[str, Page] = {}
    for page in site.outputs():
        target = page.destination()
        html, _ = site.render(page)
        if target in owners:
            raise OutputError(f"{page.relative} and {owners[target].relative} both become {target}; rename one")
        owners[target] = page
        pages[target] = html.encode("utf-8", "surrogatepass")
    copies = {relative: path for relative, path in site.files.items() if relative not in pages}
    return JekyllReport(len(pages), len(copies), write_site(destination, source, pages, copies), {})
