"""Attribute lists: ``{: .class #id key="value" name}``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

INSIDE = r"(?:\\\}|[^}])"
# A list that is neither a definition ({:name: ...}) nor an extension ({::name ...}) nor the end of one ({:/...}).
LIST = r"\{:(?!(?:\w[\w:-]*)?:|/)(" + INSIDE + r"+)\}"
_PART = re.compile(
    r"(?:\A|(?<=\s))(?:"
    r"""(?P<key>[\w:-]+)=(?P<quote>["'])(?P<value>(?:\\\}|\\(?P=quote)|(?!(?P=quote))[^}])*?)(?P=quote)"""
    r"|(?P<name>\w[\w:-]*)"
    r"|(?P<marks>(?:#\w[\w:-]*|\.-?\w[\w:-]*)+)"
    r")(?=\s|\Z)"
)
_MARK = re.compile(r"([#.])(-?\w[\w:-]*)")


@dataclass
class AttributeList:
    """What one or several lists say together: attributes, and names of lists defined elsewhere."""

    attrs: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def read(self, text: str) -> None:
        """Add what stands between the braces."""
        for part in _PART.finditer(text):
            if part["key"]:
                value = re.sub(r"\\(\}|" + part["quote"] + ")", r"\1", part["value"])
                if part["key"] == "class":
                    self._add_class(value)
                else:
                    self.attrs[part["key"]] = value
            elif part["name"]:
                self.names.append(part["name"])
            else:
                for mark, name in _MARK.findall(part["marks"]):
                    if mark == "#":
                        self.attrs["id"] = name
                    else:
                        self._add_class(name)

    def _add_class(self, name: str) -> None:
        old = self.attrs.get("class")
        self.attrs["class"] = f"{old} {name}" if old else name

    def apply(
        self, attrs: dict[str, str], defined: dict[str, AttributeList], seen: frozenset[str] = frozenset()
    ) -> None:
        """Write the attributes into a node's; named lists first."""
        for name in self.names:
            if name in defined and name not in seen:
                defined[name].apply(attrs, defined, seen | {name})
        for key, value in self.attrs.items():
            if key == "class" and attrs.get("class"):
                attrs["class"] += " " + value
            else:
                attrs[key] = value
