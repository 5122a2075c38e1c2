"""Pages that are nothing but the authors' own text: those of the root, and those of the collections they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.errors import ContentError
from paper_site.filters import words
from paper_site.manifest import Companion
from paper_site.pages import Page, Prose, replaces

# Texts with these names stand on the pages of other kinds.
_TAKEN = {"index": "home", "results": "results", "reproduce": "reproduce", "listen": "listening"}
_LAYOUTS = {"default", "page", "post", "prose"}


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield a page for every text of the root or of a named collection that belongs to no other page."""
    taken = {**_TAKEN, "studies": "studies"} if companion.studies else _TAKEN
    collections = set(companion.site.raw.get("collections") or ())
    for name, text in prose.items():
        if name.rpartition("/")[0] not in {"", *collections} or (name in taken and not replaces(text, taken[name])):
            continue
        yield Page(
            path=_path(name, text),
            template=_template(text),
            title=str(text.values.get("title") or words(name.rpartition("/")[2])),
            kind="prose",
            prose=text,
            player=bool(text.values.get("player")),
            description=str(text.values["description"]) if text.values.get("description") else None,
        )


def _template(text: Prose) -> str:
    whole = "<html" in text.body.lower()
    layout = text.values.get("layout", "none" if whole else "default")
    if layout in {None, "none", "null"}:
        return "raw.html"
    return "prose.html" if layout in _LAYOUTS else f"{layout}.html"


def _path(name: str, text: Prose) -> str:
    permalink = text.values.get("permalink")
    if permalink is None:
        return f"{name}.html"
    path = str(permalink).lstrip("/")
    if path.endswith("/") or not path:
        path += "index.html"
    elif not path.endswith(".html"):
        path += ".html"
    if ".." in path.split("/") or "\\" in path:
        raise ContentError(f"permalink: {permalink!r} leaves the site", path=text.path, line=2)
    return path
