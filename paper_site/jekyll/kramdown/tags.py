"""Tags, entities and their writing."""

from __future__ import annotations

import re
from html import unescape

from paper_site.jekyll.kramdown.tree import KNOWN_ELEMENTS

NAME = r"[^\W\d][\w.-]*(?::[^\W\d][\w.-]*)?"
COMMENT = re.compile(r"<!--.*?-->", re.S)
INSTRUCTION = re.compile(r"<\?.*?\?>", re.S)
CLOSE_TAG = re.compile(rf"</({NAME})\s*>")
_VALUE = r"""(?:\w+|"[^"]*"|'[^']*')"""
OPEN_TAG = re.compile(rf"<({NAME})((?:\s++{NAME}(?:\s*=\s*{_VALUE})?)*+)\s*(/)?>")
_ATTRIBUTE = re.compile(rf"""\s+({NAME})(?:\s*=\s*(?:(\w+)|"([^"]*)"|'([^']*)'))?""")
ENTITY = re.compile(r"&(?:([\w:][-\w.:]*)|\#(\d+)|\#x([0-9a-fA-F]+));")


def element_name(name: str) -> str:
    """The name as it is written out: lower case for the elements of HTML, as it stands for others."""
    lower = name.lower()
    return lower if lower in KNOWN_ELEMENTS else name


def attributes(text: str) -> dict[str, str]:
    """Attributes of a start tag; a name without a value has an empty one."""
    return {name.lower(): bare or double or single for name, bare, double, single in _ATTRIBUTE.findall(text)}


def escape(text: str) -> str:
    """Text for between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_keeping_entities(text: str) -> str:
    """As `escape`; an entity that is there stays one."""
    if "&" not in text:
        return text.replace("<", "&lt;").replace(">", "&gt;")
    out = []
    last = 0
    for entity in ENTITY.finditer(text):
        out += [escape(text[last : entity.start()]), entity[0]]
        last = entity.end()
    out.append(escape(text[last:]))
    return "".join(out)


def escape_attribute(text: str) -> str:
    """Text for a double-quoted attribute; an entity that is there stays one."""
    return escape_keeping_entities(text).replace('"', "&quot;")


def entity_text(match: re.Match[str]) -> str | None:
    """The character of an entity, or None for one that HTML does not know."""
    if match[1]:
        text = unescape(match[0])
        return None if text == match[0] or text.endswith(";") else text
    try:
        return chr(int(match[2]) if match[2] else int(match[3], 16))
    except (ValueError, OverflowError):
        return None


def tag(name: str, attrs: dict[str, str], end: str = ">") -> str:
    """A start tag."""
    if not attrs:
        return f"<{name}{end}"
    inner = " ".join(f'{key}="{escape_attribute(value)}"' for key, value in attrs.items())
    return f"<{name} {inner}{end}"
