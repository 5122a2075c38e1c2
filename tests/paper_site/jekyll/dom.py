"""Documents as lists of lines, so that two can be compared and their difference read."""

from __future__ import annotations

import re
import warnings
from typing import Any

_KEPT = {"pre", "script", "style", "textarea"}


def dom(html: str, *, whole: bool = False) -> list[str]:
    """Every element, attribute and text of a document or a fragment.

    White space is one blank, and none at the edges of an element, but for where a browser shows it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import html5lib

        kind = {"treebuilder": "etree", "namespaceHTMLElements": False}
        tree = html5lib.parse(html, **kind) if whole else html5lib.parseFragment(html, container="div", **kind)
    out: list[str] = []

    def text(value: str | None, depth: int, kept: bool) -> None:
        if value is None:
            return
        shown = value if kept else re.sub(r"[ \t\r\n\f]+", " ", value).strip(" ")
        if shown:
            out.append("  " * depth + repr(shown))

    def inside(element: Any, depth: int, kept: bool) -> None:
        text(element.text, depth, kept)
        for child in element:
            if isinstance(child.tag, str):
                attributes = " ".join(f"{name}={value!r}" for name, value in sorted(child.attrib.items()))
                out.append("  " * depth + f"<{child.tag} {attributes}>")
                inside(child, depth + 1, kept or child.tag in _KEPT)
            elif "Doctype" not in str(child.tag):
                out.append("  " * depth + f"<!-- {' '.join((child.text or '').split())} -->")
            text(child.tail, depth, kept)

    inside(tree, 0, False)
    return out
