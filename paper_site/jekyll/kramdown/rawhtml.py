"""Raw HTML: the contents of an element up to its matching end tag, whatever stands inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paper_site.jekyll.kramdown.plain import plain_contents
from paper_site.jekyll.kramdown.tags import (
    CLOSE_TAG,
    NAME,
    OPEN_TAG,
    element_name,
    escape,
    escape_keeping_entities,
    tag,
)
from paper_site.jekyll.kramdown.tags import attributes as tag_attributes
from paper_site.jekyll.kramdown.tree import VOID_ELEMENTS, Node

if TYPE_CHECKING:
    from paper_site.jekyll.kramdown.blocks import BlockParser

_TOKEN = re.compile(
    r"<!--(?P<comment>.*?)-->|<\?.*?\?>|<!\[CDATA\[(?P<cdata>.*?)\]\]>"
    rf"|</(?P<end>{NAME})\s*>|{OPEN_TAG.pattern.replace('(' + NAME + ')', '(?P<start>' + NAME + ')')}|<",
    re.S,
)


class RawReader:
    """Copies raw HTML, with its tags in one form and everything that is no tag escaped.

    Args:
        parser: Who reads an element inside that asks for Markdown.
        text: The whole text.
    """

    def __init__(self, parser: BlockParser, text: str) -> None:
        self._parser = parser
        self._text = text

    def fill(self, node: Node, position: int) -> int:
        """Give the node its contents; returns the position after its end tag, or the end of the text."""
        text = self._text
        end = plain_contents(text, position) if self._parser.plain else position
        closing = CLOSE_TAG.match(text, end)
        if (
            end > position
            and closing is not None
            and element_name(closing[1]) == node.text
            and text.find("markdown", position, end) < 0
        ):
            node.children.append(Node("raw", text[position:end]))
            return closing.end()
        out: list[str] = []
        open_elements = [node.text]
        while True:
            token = _TOKEN.search(text, position)
            if token is None:
                out.append(escape_keeping_entities(text[position:]))
                out += [f"</{name}>" for name in reversed(open_elements[1:])]
                position = len(text)
                break
            if token.start() > position:
                out.append(escape_keeping_entities(text[position : token.start()]))
            position = token.end()
            if token["start"] is not None:
                name = element_name(token["start"])
                attrs = tag_attributes(token[5] or "")
                if "markdown" in attrs:
                    opening = OPEN_TAG.match(text, token.start())
                    assert opening is not None
                    node.children.append(Node("raw", "".join(out)))
                    out = []
                    position = self._parser.html_element(text, opening, node, raw=True)
                elif name in VOID_ELEMENTS:
                    out.append(tag(name, attrs, " />"))
                elif token[6]:
                    out.append(tag(name, attrs) + f"</{name}>")
                elif name in {"script", "style"}:
                    stop = re.compile(rf"</{name}\s*>", re.I).search(text, position)
                    out += [tag(name, attrs), text[position : stop.start() if stop else len(text)], f"</{name}>"]
                    position = stop.end() if stop else len(text)
                else:
                    out.append(tag(name, attrs))
                    open_elements.append(name)
            elif token["end"] is not None:
                name = element_name(token["end"])
                if name != open_elements[-1]:
                    out.append(escape(token[0]))
                    continue
                open_elements.pop()
                if not open_elements:
                    break
                out.append(f"</{name}>")
            elif token["cdata"] is not None:
                out.append(escape(token["cdata"]))
            elif token[0] == "<":
                out.append("&lt;")
            else:
                out.append(token[0])
        node.children.append(Node("raw", "".join(out)))
        return position
