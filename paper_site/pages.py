"""A companion to the list of its pages. Pure: nothing is read or written here.

A new kind of page is one file under ``kinds/`` with a function ``pages(companion, prose)`` and one line in `KINDS`.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from paper_site.documents import line_of, read_text
from paper_site.errors import ContentError, DataError
from paper_site.manifest import Companion
from paper_site.schema import did_you_mean, field_name

KINDS: Mapping[str, str] = {
    "home": "paper_site.kinds.home",
    "listening": "paper_site.kinds.listening",
    "model": "paper_site.kinds.model",
    "results": "paper_site.kinds.results",
    "extremes": "paper_site.kinds.extremes",
    "study": "paper_site.kinds.study",
    "reproduce": "paper_site.kinds.reproduce",
    "run": "paper_site.kinds.run",
    "benchmarks": "paper_site.kinds.benchmarks",
    "prose": "paper_site.kinds.prose",
}


STUDIES = "studies.html"


@dataclass(frozen=True)
class Prose:
    """A text by the authors: Markdown or HTML with front matter.

    Attributes:
        name: What it belongs to: ``index``, ``results``, ``about``, ``models/vqvae2``.
        path: Its file.
        values: The front matter.
        body: The text below the front matter.
        body_line: Line on which the body begins.
        markdown: Whether the body is Markdown.
    """

    name: str
    path: Path
    values: Mapping[str, Any]
    body: str
    body_line: int
    markdown: bool


@dataclass(frozen=True)
class Page:
    """One file of the site: where it lies, which template makes it, and from what."""

    path: str
    template: str
    title: str
    kind: str
    context: Mapping[str, Any] = field(default_factory=dict)
    prose: Prose | None = None
    player: bool = False
    description: str | None = None


class Kind(Protocol):
    """What a module under ``kinds/`` offers."""

    def pages(self, companion: Companion, prose: Mapping[str, Prose]) -> Iterable[Page]:
        """Yield the pages of this kind."""
        ...


def safe_name(name: str) -> str:
    """Make a file name of any text; a text that had to be changed gets a hash, so that no two become one.

    >>> safe_name("vqvae2")
    'vqvae2'
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if safe == name and name:
        return name
    return f"{safe[:60] or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def listening_path(collection: str) -> str:
    """Name the page of a collection."""
    return f"listen/{safe_name(collection)}.html"


def model_path(model: str) -> str:
    """Name the page of a model."""
    return f"models/{safe_name(model)}.html"


def study_path(study: str) -> str:
    """Name the page of a study."""
    return f"studies/{safe_name(study)}.html"


def extremes_path(collection: str) -> str:
    """Name the page of a collection's best, median and worst clips."""
    return f"extremes/{safe_name(collection)}.html"


def run_path(run: str) -> str:
    """Name the page of a run record."""
    return f"runs/{safe_name(run)}.html"


def replaces(text: Prose | None, kind: str) -> bool:
    """Tell whether a text stands in place of a built-in page, instead of on it, because it names another layout."""
    return text is not None and "layout" in text.values and text.values["layout"] != kind


def _all_pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    for target in KINDS.values():
        kind: Kind = importlib.import_module(target)
        yield from kind.pages(companion, prose)


def list_pages(companion: Companion, prose: Mapping[str, Prose]) -> list[Page]:
    """List every page of the site, in a fixed order.

    Raises:
        ContentError: If two pages would have the same path.
    """
    pages: dict[str, Page] = {}
    for page in _all_pages(companion, prose):
        if page.path in pages:
            both = [p.prose.path if p.prose else p.kind for p in (pages[page.path], page)]
            raise ContentError(f"two pages want the path {page.path}: {both[0]} and {both[1]}")
        pages[page.path] = page
    return list(pages.values())


def navigation(companion: Companion, pages: Iterable[Page]) -> list[tuple[str, str]]:
    """List the entries of the navigation bar as (title, path inside the site).

    A page is named with or without ``.html``; ``listen`` is the first listening table, ``home`` the first page.

    Raises:
        DataError: If ``site.yml`` names a page that does not exist.
    """
    all_pages = list(pages)
    known = {page.path for page in all_pages}
    listening = [page.path for page in all_pages if page.kind == "listening"]
    aliases = {"home": "index.html", "": "index.html"}
    if listening:
        aliases["listen"] = listening[0]
    if not companion.site.navigation:
        entries = [("Home", "index.html")]
        entries += [("Listen", listening[0])] if listening else []
        entries += [("Results", "results.html")]
        entries += [("Studies", STUDIES)] if companion.studies else []
        entries += [(page.title, page.path) for page in all_pages if page.kind == "prose" and "/" not in page.path]
        return [*entries, ("Reproduce", "reproduce.html")]
    entries = []
    for index, (title, wanted) in enumerate(companion.site.navigation):
        name, _, fragment = wanted.partition("#")
        name = name.strip("/")
        path = aliases.get(name, name)
        for candidate in (path, f"{path}.html", f"{path}/index.html", path.removesuffix(".md") + ".html"):
            if candidate in known:
                entries.append((title, f"{candidate}#{fragment}" if fragment else candidate))
                break
        else:
            names = [*aliases, *(p.removesuffix(".html") for p in sorted(known))]
            pointer: list[str | int] = ["navigation", index, "page"]
            raise DataError(
                f"{field_name(pointer)}: there is no page {wanted!r}{did_you_mean(name, names)}",
                path=companion.site.path,
                line=line_of(read_text(companion.site.path), pointer),
            )
    return entries
