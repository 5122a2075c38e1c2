"""The nodes of a kramdown document, and what is known of HTML elements."""

from __future__ import annotations

from typing import Any

# Elements that stay inside a paragraph when a line begins with them.
SPAN_ELEMENTS = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "big",
        "bdo",
        "br",
        "button",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "i",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "mark",
        "option",
        "q",
        "rb",
        "rbc",
        "rp",
        "rt",
        "rtc",
        "ruby",
        "samp",
        "select",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "tt",
        "u",
        "var",
    ]
)
# Elements whose Markdown-enabled contents are spans rather than blocks.
SPAN_CONTENT = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdo",
        "big",
        "button",
        "cite",
        "caption",
        "del",
        "dt",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "i",
        "ins",
        "label",
        "legend",
        "optgroup",
        "p",
        "q",
        "rb",
        "rbc",
        "rp",
        "rt",
        "rtc",
        "ruby",
        "select",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "th",
        "tt",
    ]
)
BLOCK_CONTENT = frozenset(
    [
        "address",
        "article",
        "aside",
        "applet",
        "body",
        "blockquote",
        "center",
        "dl",
        "dd",
        "div",
        "fieldset",
        "figure",
        "figcaption",
        "footer",
        "form",
        "header",
        "hgroup",
        "iframe",
        "li",
        "main",
        "map",
        "menu",
        "nav",
        "noscript",
        "object",
        "section",
        "summary",
        "td",
        "details",
    ]
)
VOID_ELEMENTS = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "command",
        "embed",
        "hr",
        "img",
        "input",
        "keygen",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
# Block elements that may not stand inside a paragraph's text: their tags are written as text there.
BLOCK_ELEMENTS = frozenset(
    [
        "address",
        "article",
        "aside",
        "applet",
        "body",
        "blockquote",
        "caption",
        "center",
        "col",
        "colgroup",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "html",
        "head",
        "iframe",
        "legend",
        "menu",
        "li",
        "main",
        "map",
        "nav",
        "ol",
        "optgroup",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tfoot",
        "tr",
        "ul",
    ]
)
KNOWN_ELEMENTS = frozenset(
    SPAN_ELEMENTS
    | SPAN_CONTENT
    | BLOCK_CONTENT
    | VOID_ELEMENTS
    | BLOCK_ELEMENTS
    | set(
        [
            "audio",
            "canvas",
            "datalist",
            "embed",
            "math",
            "meter",
            "option",
            "pre",
            "progress",
            "script",
            "source",
            "style",
            "svg",
            "template",
            "textarea",
        ]
    )
    | set(["time", "title", "track", "video", "picture"])
)


class Node:
    """One block or span.

    Attributes:
        kind: What it is, such as ``p`` or ``em``.
        text: Its text, for the kinds that have one.
        attrs: Attributes of its tag, in order.
        children: The nodes inside.
        extra: What only some kinds have.
    """

    __slots__ = ("attrs", "children", "extra", "kind", "text")

    def __init__(self, kind: str, text: str = "", attrs: dict[str, str] | None = None, **extra: Any) -> None:
        self.kind = kind
        self.text = text
        self.attrs: dict[str, str] = attrs if attrs is not None else {}
        self.children: list[Node] = []
        self.extra: dict[str, Any] = extra

    def __repr__(self) -> str:
        return f"Node({self.kind!r}, {self.text!r}, {self.attrs!r}, {self.children!r})"


def content_model(name: str) -> str:
    """What ``markdown="1"`` makes of an element's contents: ``block``, ``span`` or ``raw``."""
    if name in SPAN_CONTENT:
        return "span"
    return "block" if name in BLOCK_CONTENT else "raw"
