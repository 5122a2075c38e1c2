"""Build a companion's site: read, list, render, write.

The last good site stays whole when anything before the writing fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paper_site.content import read_prose
from paper_site.errors import DataError
from paper_site.extras import check_numbers, extra_files
from paper_site.manifest import Companion, read_companion
from paper_site.output import Written, check_destination, write_site
from paper_site.pages import list_pages
from paper_site.provenance import ledger_of
from paper_site.render import TEMPLATES, Renderer

PROJECT = Path(__file__).resolve().parent.parent
CONTENT = Path(__file__).resolve().parent / "content"
THEME = PROJECT / "assets"
_THEME_FOLDERS = ("css", "js")


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    Attributes:
        pages: Number of pages.
        samples: Number of clips that can be heard.
        missing: Collections that the companion asks for and that have no results.
        written: What was done in the destination.
    """

    pages: int
    samples: int
    missing: tuple[str, ...]
    written: Written


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Walk a folder in a fixed order, hidden files and links left out."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "_")))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and not path.is_symlink():
                yield path.relative_to(folder).as_posix(), path


def _copies(companion: Companion) -> dict[str, Path]:
    copies: dict[str, Path] = {}
    for name in _THEME_FOLDERS:
        for inner, path in _files(THEME / name):
            copies[f"assets/{name}/{inner}"] = path
    named = {path for path in _named_media(companion)}
    owned = tuple(f"assets/{kind}/{part.name}/" for kind in ("audio", "images") for part in companion.heard)
    for inner, path in _files(companion.source / "assets"):
        target = f"assets/{inner}"
        # What an earlier selection left in a collection's folder is not published.
        if not target.startswith(owned) or target in named:
            copies[target] = path
    for target, path in companion.documents.items():
        copies[target] = path
    return copies


def _named_media(companion: Companion) -> Iterator[str]:
    for part in companion.heard:
        for sample in part.samples:
            for track in sample.tracks:
                yield from (file.path for file in track.files.values())
                for picture in track.pictures.values():
                    yield picture.light
                    if picture.dark:
                        yield picture.dark


def content_folders(source: Path) -> list[Path]:
    """Name the folders of a companion's texts; our own companion's lie in ``paper_site/content``."""
    return [source, CONTENT] if source.resolve() == PROJECT else [source]


def build(source: Path, destination: Path, *, templates: Path = TEMPLATES, content: Sequence[Path] = ()) -> BuildReport:
    """Build the site of a companion.

    Args:
        source: Folder with ``_data/``, ``assets/`` and the authors' texts.
        destination: Folder of the site.
        templates: Folder of the templates.
        content: Folders of texts; by default those of `content_folders`.

    Returns:
        What was made.

    Raises:
        SiteError: For anything wrong in the data, the texts, the templates or the destination. Nothing was written
            then, unless it was the destination itself that failed.
    """
    if not source.is_dir():
        raise DataError("there is no such folder; --source names the companion's folder", path=source)
    source = source.resolve()
    check_destination(destination, source)
    companion = read_companion(source)
    prose = read_prose(list(content) or content_folders(source))
    pages = list_pages(companion, prose)
    own_styles = tuple(
        f"assets/css/{p.name}"
        for p in sorted((source / "assets" / "css").glob("*.css"))
        if source != PROJECT and not (THEME / "css" / p.name).is_file()
    )
    renderer = Renderer(companion, pages, templates=templates, stylesheets=own_styles)
    rendered = {page.path: renderer.render(page) for page in pages}
    ledger = ledger_of(companion)
    check_numbers(pages, rendered, ledger)
    rendered |= extra_files(companion, ledger)
    written = write_site(destination, source, rendered, _copies(companion))
    return BuildReport(
        pages=len(pages),
        samples=sum(len(part.samples) for part in companion.heard),
        missing=tuple(job.collection for job in companion.missing),
        written=written,
    )
