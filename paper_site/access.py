"""Rules for a page that is used by keyboard or read aloud, as far as its HTML alone tells.

Names follow the accessible name computation of W3C in its plain cases: ``aria-label``, ``aria-labelledby`` (taken as
given; the targets are looked up elsewhere), content with the alternatives of images, the label of a field, ``title``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_HEADING = re.compile(r"h[1-6]")
_NAMED = frozenset(("a", "button", "summary", "label", "th"))
_FIELDS = frozenset(("input", "select", "textarea"))
_UNNAMED_INPUTS = frozenset(("hidden", "submit", "reset"))
_REGIONS = frozenset(("region", "group", "dialog"))
_SCOPES = frozenset(("sample", "prose"))


@dataclass
class _Scope:
    """An open element that a rule looks at, and what was found within."""

    tag: str
    depth: int
    line: int
    values: Mapping[str, str]
    text: list[str] = field(default_factory=list)
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    heads: int = 0


class Access:
    """Follows a page's elements in their order and names what breaks a rule.

    Args:
        report: Takes the line and the message of each fault.
    """

    def __init__(self, report: Callable[[int, str], None]) -> None:
        self.report = report
        self.scopes: list[_Scope] = []
        self.level = 0
        self.labelled: set[str] = set()
        self.fields: list[tuple[str, str, int]] = []
        self.navs: dict[str, int] = {}

    def start(self, tag: str, values: Mapping[str, str], line: int, depth: int, *, void: bool) -> None:
        """Take an element that begins, with the number of elements around it."""
        self.settle(depth)
        tabindex = values.get("tabindex", "")
        if tabindex.lstrip("+").isdigit() and int(tabindex) > 0:
            self.report(line, f'tabindex="{tabindex}" on <{tag}> takes the focus out of the order of the page')
        if _HEADING.fullmatch(tag):
            self._heading(int(tag[1]), line)
        if tag == "img":
            self._say(values.get("alt", ""))
        if tag in _FIELDS and values.get("type") not in _UNNAMED_INPUTS:
            self._field(tag, values, line)
        if tag == "label" and values.get("for"):
            self.labelled.add(values["for"])
        if (values.get("role") in _REGIONS or tag == "dialog") and not _given(values):
            self.report(line, f"<{tag}> is a {values.get('role', 'dialog')} without a name (aria-label)")
        if tag == "nav":
            self._nav(values, line)
        if tag == "th":
            for scope in reversed(self.scopes):
                if scope.tag == "table":
                    scope.heads += 1
                    break
        if not void and (tag in _NAMED or tag == "table" or _classes(values) & _SCOPES):
            self.scopes.append(_Scope(tag, depth, line, values))

    def data(self, text: str, depth: int) -> None:
        """Take a run of text."""
        self.settle(depth)
        self._say(text)

    def settle(self, depth: int) -> None:
        """Close what is no longer open when that many elements are."""
        while self.scopes and self.scopes[-1].depth >= depth:
            self._close(self.scopes.pop())

    def finish(self) -> None:
        """Take the end of the page."""
        self.settle(0)
        for tag, name, line in self.fields:
            if name not in self.labelled:
                self.report(line, f"<{tag}> without a name (label or aria-label)")

    def _say(self, text: str) -> None:
        if text.strip():
            for scope in self.scopes:
                if scope.tag in _NAMED:
                    scope.text.append(text)

    def _heading(self, level: int, line: int) -> None:
        if level > self.level + 1:
            before = f"follows <h{self.level}>" if self.level else "is the first heading"
            self.report(line, f"<h{level}> {before}: a level is left out")
        self.level = level

    def _field(self, tag: str, values: Mapping[str, str], line: int) -> None:
        if not (_given(values) or values.get("title") or any(scope.tag == "label" for scope in self.scopes)):
            self.fields.append((tag, values.get("id", ""), line))

    def _nav(self, values: Mapping[str, str], line: int) -> None:
        name = _given(values)
        if name in self.navs:
            self.report(line, f"two <nav> are called {name!r} (first on line {self.navs[name]})")
        self.navs.setdefault(name, line)

    def _close(self, scope: _Scope) -> None:
        # Markdown has no way to give the cells of a first column a head: what authors write stays as they wrote it.
        prose = any("prose" in _classes(outer.values) for outer in self.scopes)
        if scope.tag == "table" and not (scope.heads or prose or scope.values.get("role") == "presentation"):
            self.report(scope.line, "<table> without a header cell (th)")
        if scope.tag not in ("a", "button", "summary"):
            return
        name = _given(scope.values) or " ".join(" ".join(scope.text).split()) or scope.values.get("title", "")
        if scope.tag == "a" and "href" not in scope.values:
            return
        if not name:
            self.report(scope.line, f"<{scope.tag}> without a name (text, image with alt, or aria-label)")
        elif scope.tag == "a":
            self._unique(name, scope)

    def _unique(self, name: str, link: _Scope) -> None:
        """Two links of a row that say the same and lead elsewhere; a number is told apart by the heads of its cell."""
        number = any(scope.tag == "table" for scope in self.scopes) or "num" in _classes(link.values)
        if number and "aria-label" not in link.values:
            return
        for scope in reversed(self.scopes):
            if "sample" in _classes(scope.values):
                address, line = scope.names.setdefault(name, (link.values["href"], link.line))
                if address != link.values["href"]:
                    self.report(link.line, f"two links of a row are called {name!r} (first on line {line})")
                return


def _given(values: Mapping[str, str]) -> str:
    return (values.get("aria-label") or values.get("aria-labelledby") or "").strip()


def _classes(values: Mapping[str, str]) -> set[str]:
    return set(values.get("class", "").split())
