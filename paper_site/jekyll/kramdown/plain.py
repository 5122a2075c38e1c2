"""HTML that goes through as it is: what is well nested and plain needs no reading piece by piece.

One regular expression says what is plain: text without stray ``<`` and ``&``, elements with quoted attributes that are
closed in order, to a fixed depth, void elements. Writing such HTML again, as the slow way does, changes nothing in the
document that a browser makes of it. Whatever it does not match goes the slow way.
"""

from __future__ import annotations

import re
from functools import cache

from paper_site.jekyll.kramdown.tree import SPAN_ELEMENTS, VOID_ELEMENTS

DEPTH = 6

_TEXT = r"(?:[^<&]++|&(?:[a-zA-Z]+|\#[0-9]+);)"
_ATTRIBUTES = r'(?:\s++[a-zA-Z][a-zA-Z-]*+(?:="[^"<>&]*+")?)*+'
_VOID = rf"<(?:{'|'.join(sorted(VOID_ELEMENTS))})(?![\w.:-]){_ATTRIBUTES}\s*+/?>"
_NOT = rf"(?!(?:{'|'.join(sorted(VOID_ELEMENTS))}|script|style|textarea|title|plaintext|xmp)(?![\w.:-]))"


def _element(depth: int, refused: str = "") -> str:
    inner = rf"(?:{_TEXT}|{_VOID}{'|' + _element(depth - 1) if depth else ''})*+"
    name = f"n{depth}"
    return rf"<{refused}{_NOT}(?P<{name}>[a-z][a-z0-9]*+){_ATTRIBUTES}>{inner}</(?P={name})>"


_SPAN = rf"(?!(?:{'|'.join(sorted(SPAN_ELEMENTS))})(?![\w.:-]))"


# Compiled when first asked for: each takes longer to compile than a small page to render.
@cache
def _contents() -> re.Pattern[str]:
    return re.compile(rf"(?:{_TEXT}|{_VOID}|{_element(DEPTH)})*+")


@cache
def _blocks() -> re.Pattern[str]:
    return re.compile(rf"(?:[ \t]*+\n|{_element(DEPTH, _SPAN)})*+")


# One whose name says that kramdown reads what is inside.
_ASKS = "markdown"


def plain_contents(text: str, position: int) -> int:
    """Where plain HTML that begins here ends; the same position when there is none."""
    found = _contents().match(text, position)
    return found.end() if found is not None else position


def is_plain(text: str) -> bool:
    """Whether a whole text is blocks of plain HTML and nothing else."""
    return text.startswith(("<", "\n", " ", "\t")) and _ASKS not in text and _blocks().fullmatch(text) is not None
