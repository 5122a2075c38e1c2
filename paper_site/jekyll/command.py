"""A build of a Jekyll companion in the words of the command line."""

from __future__ import annotations

import time
from pathlib import Path

from paper_site.jekyll.build import build_jekyll


def build_lines(source: Path, destination: Path, *, explain: bool = False) -> list[str]:
    """Build, and say what was done.

    Raises:
        SiteError: With file and line, before anything is written.
    """
    started = time.perf_counter()
    report = build_jekyll(source, destination)
    lines = [f"{page}: {reason}" for page, reason in report.reasons.items()] if explain else []
    done = report.written
    return [
        *lines,
        f"site: {report.pages} pages and {report.files} files of a Jekyll companion in {destination}"
        f" ({done.changed} files written, {done.unchanged} unchanged, {done.removed} removed;"
        f" {time.perf_counter() - started:.2f} s)",
    ]
