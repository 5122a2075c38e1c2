"""Spans: emphasis, links, code, typography, and what else stands inside a line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from paper_site.jekyll.kramdown import attributes
from paper_site.jekyll.kramdown.attributes import AttributeList
from paper_site.jekyll.kramdown.blocks import BlockParser, normalise_label
from paper_site.jekyll.kramdown.tags import CLOSE_TAG, COMMENT, ENTITY, INSTRUCTION, OPEN_TAG, element_name, entity_text
from paper_site.jekyll.kramdown.tags import attributes as tag_attributes
from paper_site.jekyll.kramdown.tree import BLOCK_ELEMENTS, VOID_ELEMENTS, Node, content_model

MAX_DEPTH = 60

# Where a span may begin. A quotation mark is taken together with the character before it.
_START = re.compile(r"\*|_|`|<|\[|!\[|\$\$|\\|\{:|&|~~|[^\\]?[\"']|>>|\.\.\.|--|  (?=\n)| >>", re.S)
_PLAIN = re.compile(r"[^*_`<\[!$\\{&~\"'>.\- ]+")
_IAL = re.compile(attributes.LIST)
_EXTENSION = re.compile(r"\{::(\w+)((?:\s(?:\\\}|[^}])*?)?)(/)?\}")
_ALD = re.compile(rf"\{{:(\w[\w:-]*):(\s{attributes.INSIDE}*?|)\}}")
_ESCAPED = re.compile(r"\\([\\.*_+`<>()\[\]{}#!:|\"'$=\-~])")
_AUTOLINK = re.compile(r"<((?:mailto|https?|ftps?):.+?|[-.\w]+@[-\w]+(?:\.[-\w]+)*\.[a-z]+)>", re.S)
_FOOTNOTE = re.compile(r"\[\^(\w[\w:-]*)\]")
_MATH = re.compile(r"\$\$(.*?)\$\$", re.S)
_DASHES = {"---": "—", "--": "–", "...": "…", ">>": "»", "<<": "«"}
_STRIKE = re.compile(r"~~(?![\s~])(.*?)(?<![\s~])~~", re.S)
_LABEL = re.compile(r"\s?\[([^\]]+)?\]")
_INLINE_START = re.compile(r"\(\s*?")
_TITLE = re.compile(r"""\s*?(["'])(.+?)\1\s*?\)""", re.S)

_PUNCTUATION = r"""[!"#$%'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
_QUOTE_RULES: tuple[tuple[re.Pattern[str], tuple[int | str, ...]], ...] = (
    (re.compile(r"[\"'](?=[_*]{1,2}\S)"), ("open",)),
    (re.compile(rf"[\"'](?={_PUNCTUATION}(?!\.\.)(?!\b))"), ("close",)),
    (re.compile(r"(\s?)\"'(?=\w)"), (1, "“", "‘")),
    (re.compile(r"(\s?)'\"(?=\w)"), (1, "‘", "“")),
    (re.compile(r"(\s?)'(?=\d\ds)"), (1, "’")),
    (re.compile(r"(\s)(['\"])(?=\w)"), (1, "open2")),
    (re.compile(r"([^ \\\t\r\n\[{(\-])(['\"])"), (1, "close2")),
    (re.compile(r"[\"'](?=\s|s\b|$)", re.M), ("close",)),
    (re.compile(r"(.?)'", re.S), (1, "‘")),
    (re.compile(r"(.?)\"", re.S), (1, "“")),
)
_OPEN = {'"': "“", "'": "‘"}
_CLOSE = {'"': "”", "'": "’"}


class SpanParser:
    """Reads the text of a block into spans.

    Args:
        blocks: The finished block parser, which knows links, footnotes and named attribute lists.
    """

    def __init__(self, blocks: BlockParser) -> None:
        self._blocks = blocks
        self._stack: list[Node] = []

    def parse(self, text: str, parent: Node, *, in_html: bool = False) -> None:
        """Read all of a text into a node's children; a backslash at a line's end breaks it outside HTML only."""
        self._in_html = in_html
        self._run(text, 0, parent, None, None)

    def typography(self, text: str, node: Node) -> None:
        """Read quotes, dashes, ellipses, entities and tags, and nothing else."""
        position = 0
        while position < len(text):
            start = _START.search(text, position)
            if start is None:
                _add(node, text[position:])
                return
            if start.start() > position:
                _add(node, text[position : start.start()])
            position = start.start()
            char = text[position]
            after: int | None = None
            if (char == "<" and (tag := COMMENT.match(text, position) or OPEN_TAG.match(text, position))) or (
                char == "<" and (tag := CLOSE_TAG.match(text, position))
            ):
                node.children.append(Node("raw", tag[0]))
                after = tag.end()
            if after is None:
                after = self._quotes(text, position, node)
            if after is None and char == "&":
                after = self._entity(text, position, node)
            if after is None and char in "-.>< ":
                after = self._symbol(text, position, node)
            if after is None:
                _add(node, char)
                after = position + 1
            position = after

    # -- the loop

    def _run(
        self,
        text: str,
        position: int,
        node: Node,
        stop: re.Pattern[str] | None,
        accept: Callable[[re.Match[str], Node], bool] | None,
        *,
        html_only: bool = False,
    ) -> tuple[int, re.Match[str] | None]:
        """Read spans; returns where the stop was found (and its match) or the end of the text and None."""
        if len(self._stack) >= MAX_DEPTH:
            _add(node, text[position:])
            return len(text), None
        self._stack.append(node)
        try:
            while position < len(text):
                start = re.compile("<").search(text, position) if html_only else _START.search(text, position)
                begin = start.start() if start else len(text)
                if stop is not None:
                    found = stop.search(text, position, begin + 60 if begin < len(text) else len(text))
                    if found and found.start() <= begin:
                        _add(node, text[position : found.start()])
                        position = found.start()
                        if accept is None or accept(found, node):
                            return position, found
                        begin = position
                        start = _START.match(text, position) if not html_only else None
                        if start is None:
                            _add(node, text[position])
                            position += 1
                            continue
                if begin > position:
                    _add(node, text[position:begin])
                    position = begin
                if start is None:
                    break
                after = self._html(text, position, node) if html_only else self._one(text, position, node)
                if after is None:
                    _add(node, text[position])
                    after = position + 1
                position = after
            return position, None
        finally:
            self._stack.pop()

    def _one(self, text: str, position: int, node: Node) -> int | None:
        """Try what may begin here, in order; returns the position after it."""
        char = text[position]
        after: int | None = None
        if char in "*_":
            after = self._emphasis(text, position, node)
        elif char == "`":
            after = self._code(text, position, node)
        elif char == "<":
            after = self._autolink(text, position, node) or self._html(text, position, node)
        elif char == "[" or (char == "!" and text.startswith("![", position)):
            after = self._footnote(text, position, node) if char == "[" else None
            if after is None:
                after = self._link(text, position, node)
        elif char == "$":
            after = self._math(text, position, node)
        elif char == "~":
            after = self._strike(text, position, node)
        if after is not None:
            return after
        after = self._quotes(text, position, node)
        if after is not None:
            return after
        if char == "{":
            return self._extension(text, position, node)
        if char == "&":
            return self._entity(text, position, node)
        if char in "-.><" or char == " ":
            after = self._symbol(text, position, node)
            if after is not None:
                return after
        if char == " " and text.startswith("  \n", position):
            return self._break(text, position + 2, node)
        if char == "\\":
            if text.startswith("\\\\\n", position):
                return self._break(text, position + 2, node)
            if text.startswith("\\\n", position) and not self._in_html:
                return self._break(text, position + 1, node)
            if escaped := _ESCAPED.match(text, position):
                _add(node, escaped[1])
                return escaped.end()
        return None

    # -- one method a span

    def _break(self, text: str, position: int, node: Node) -> int:
        node.children.append(Node("br"))
        return position

    def _emphasis(self, text: str, position: int, node: Node) -> int:
        mark = text[position]
        width = 2 if text.startswith(mark * 2, position) else 1
        kind = "strong" if width == 2 else "em"
        after = position + width
        word_before = (
            mark == "_"
            and position > 0
            and re.search(r"[^\W\d_]-?[^\W\d_]*_*\Z", text[max(0, position - 200) : position])
        )
        if (
            word_before
            or after >= len(text)
            or text[after].isspace()
            or any(outer.kind == kind for outer in self._stack)
        ):
            _add(node, text[position:after])
            return after
        done = self._emphasised(text, after, mark * width, kind, node)
        if done is None and kind == "strong" and self._stack[-1].kind != "em":
            done = self._emphasised(text, position + 1, mark, "em", node)
        if done is None:
            _add(node, text[position:after])
            return after
        return done

    def _emphasised(self, text: str, position: int, mark: str, kind: str, node: Node) -> int | None:
        inner = Node(kind)

        def accept(found: re.Match[str], current: Node) -> bool:
            at = found.start()
            return (
                not text[at - 1].isspace()
                and not (kind == "em" and text.startswith(mark * 2, at) and not text.startswith(mark, at + 2))
                and not (mark[0] == "_" and at + len(mark) < len(text) and text[at + len(mark)].isalnum())
                and bool(current.children)
            )

        _, found = self._run(text, position, inner, re.compile(re.escape(mark)), accept)
        if found is None:
            return None
        node.children.append(inner)
        return found.end()

    def _strike(self, text: str, position: int, node: Node) -> int | None:
        found = _STRIKE.match(text, position)
        if not found or any(outer.kind == "del" for outer in self._stack):
            return None
        inner = Node("del")
        self._run(found[1], 0, inner, None, None)
        node.children.append(inner)
        return found.end()

    def _code(self, text: str, position: int, node: Node) -> int:
        run = position
        while run < len(text) and text[run] == "`":
            run += 1
        ticks = text[position:run]
        if (
            len(ticks) == 1
            and (position == 0 or text[position - 1].isspace())
            and run < len(text)
            and text[run].isspace()
        ):
            _add(node, ticks)
            return run
        end = text.find(ticks, run)
        if end < 0:
            _add(node, ticks)
            return run
        inner = text[run:end]
        if len(ticks) > 1:
            inner = inner.removeprefix(" ").removesuffix(" ")
        node.children.append(Node("code_span", inner))
        return end + len(ticks)

    def _autolink(self, text: str, position: int, node: Node) -> int | None:
        found = _AUTOLINK.match(text, position)
        if not found:
            return None
        address = found[1]
        mail = not re.match(r"(?:https?|ftps?|mailto):", address)
        link = Node("a", attrs={"href": ("mailto:" if mail else "") + address})
        link.children.append(Node("text", address.removeprefix("mailto:")))
        node.children.append(link)
        return found.end()

    def _html(self, text: str, position: int, node: Node) -> int | None:
        if found := (COMMENT.match(text, position) or INSTRUCTION.match(text, position)):
            node.children.append(Node("raw", found[0]))
            return found.end()
        if found := CLOSE_TAG.match(text, position):
            _add(node, found[0])
            return found.end()
        found = OPEN_TAG.match(text, position)
        if not found:
            return None
        name = element_name(found[1])
        if name in BLOCK_ELEMENTS:
            _add(node, found[0])
            return found.end()
        attrs = {key: re.sub(r"\n+", " ", value) for key, value in tag_attributes(found[2]).items()}
        asked = attrs.pop("markdown", None)
        current = self._stack[-1]
        inside_raw = current.kind == "html" and current.extra.get("model") == "raw"
        parsed = content_model(name) != "raw" and not inside_raw
        if asked is not None:
            parsed = asked != "0"
        element = Node("html", name, attrs, span=True, model="span" if parsed else "raw")
        element.extra["closed"] = found[3] is not None or name in VOID_ELEMENTS
        node.children.append(element)
        position = found.end()
        if element.extra["closed"]:
            return position
        stop = re.compile(rf"</{re.escape(name)}\s*>", re.I)
        _, end = self._run(text, position, element, stop, None, html_only=not parsed)
        if end is not None:
            return end.end()
        element.children.clear()
        self._run(text, position, element, None, None, html_only=not parsed)
        return len(text)

    def _footnote(self, text: str, position: int, node: Node) -> int | None:
        found = _FOOTNOTE.match(text, position)
        if not found:
            return None
        if found[1] not in self._blocks.footnotes:
            _add(node, found[0])
            return found.end()
        node.children.append(Node("footnote", found[1]))
        return found.end()

    def _math(self, text: str, position: int, node: Node) -> int | None:
        found = _MATH.match(text, position)
        if not found:
            return None
        node.children.append(Node("math", found[1].strip(), block=False))
        return found.end()

    def _entity(self, text: str, position: int, node: Node) -> int | None:
        found = ENTITY.match(text, position)
        if not found:
            return None
        character = entity_text(found)
        if character is None:
            return None
        node.children.append(Node("symbol", character))
        return found.end()

    def _symbol(self, text: str, position: int, node: Node) -> int | None:
        if text.startswith("<< ", position):
            node.children.append(Node("symbol", "«\u00a0"))
            return position + 3
        if text.startswith(" >>", position):
            node.children.append(Node("symbol", "\u00a0»"))
            return position + 3
        for size in (3, 2):
            symbol = _DASHES.get(text[position : position + size])
            if symbol and len(text[position : position + size]) == size:
                node.children.append(Node("symbol", symbol))
                return position + size
        return None

    def _quotes(self, text: str, position: int, node: Node) -> int | None:
        if text[position] not in "\"'" and not (
            text[position] != "\\" and position + 1 < len(text) and text[position + 1] in "\"'"
        ):
            return None
        for pattern, parts in _QUOTE_RULES:
            found = pattern.match(text, position)
            if not found:
                continue
            out = ""
            for part in parts:
                if isinstance(part, int):
                    out += found[part]
                elif part == "open":
                    out += _OPEN[found[0][0]]
                elif part == "close":
                    out += _CLOSE[found[0][0]]
                elif part == "open2":
                    out += _OPEN[found[2]]
                elif part == "close2":
                    out += _CLOSE[found[2]]
                else:
                    out += part
            node.children.append(Node("symbol", out))
            return found.end()
        return None

    def _extension(self, text: str, position: int, node: Node) -> int | None:
        if found := _EXTENSION.match(text, position):
            body: str | None = None
            after = found.end()
            if not found[3]:
                stop = re.compile(rf"\{{:/(?:{found[1]})?\}}").search(text, after)
                if stop is None:
                    return None
                body, after = text[after : stop.start()], stop.end()
            extra = self._blocks.extension(found[1], found[2], body, block=False)
            if extra is None:
                return None
            if extra.kind != "eob":
                node.children.append(extra)
            return after
        if found := _ALD.match(text, position):
            self._blocks.lists.setdefault(found[1], AttributeList()).read(found[2])
            return found.end()
        if found := _IAL.match(text, position):
            last = node.children[-1] if node.children else None
            if last is None or last.kind in {"text", "raw"}:
                _add(node, found[0])
            else:
                wanted = AttributeList()
                wanted.read(found[1])
                wanted.apply(last.attrs, self._blocks.lists)
            return found.end()
        return None

    def _link(self, text: str, position: int, node: Node) -> int | None:
        image = text[position] == "!"
        start = position + (2 if image else 1)
        if text.startswith("^", start):
            return None
        if not image and any(outer.kind == "a" for outer in self._stack):
            _add(node, text[position:start])
            return start
        element = Node("img" if image else "a")
        depth = 0

        def accept(found: re.Match[str], _: Node) -> bool:
            nonlocal depth
            if found[0] == "[" or found[0] == "![":
                depth += 1
                return False
            depth -= 1
            return depth < 0

        stop = re.compile(r"!?\[|\]")
        end, found = self._run(text, start, element, stop, accept)
        if found is None:
            _add(node, text[position:start])
            return start
        label = text[start:end]
        after = found.end()
        target = self._inline_target(text, after)
        if target is not None:
            address, title, after = target
            ial = None
        elif text.startswith("(", after):
            _add(node, text[position:start])
            return start
        else:
            reference = _LABEL.match(text, after)
            key = label
            if reference:
                key = reference[1] or label
            known = self._blocks.links.get(normalise_label(key))
            if known is None:
                _add(node, text[position:start])
                return start
            address, title, ial = known
            after = reference.end() if reference else after
        if image:
            element.attrs = {"src": address, "alt": label}
            element.children = []
        else:
            element.attrs = {"href": address}
        if title:
            element.attrs["title"] = title
        if ial is not None:
            ial.apply(element.attrs, self._blocks.lists)
        node.children.append(element)
        return after

    @staticmethod
    def _inline_target(text: str, position: int) -> tuple[str, str | None, int] | None:
        if not text.startswith("(", position):
            return None
        position += 1
        while position < len(text) and text[position].isspace():
            position += 1
        if text.startswith("<", position):
            end = text.find(">", position)
            if end < 0:
                return None
            address = text[position + 1 : end]
            position = end + 1
        else:
            begin = position
            depth = 0
            while position < len(text):
                char = text[position]
                if char == "\\" and position + 1 < len(text) and text[position + 1] in "()":
                    position += 2
                    continue
                if char == "(":
                    depth += 1
                elif char == ")":
                    depth -= 1
                    if depth < 0:
                        break
                elif char.isspace() and re.match(r"\s+[\"'].+?[\"']\s*\)", text[position:], re.S):
                    break
                position += 1
            else:
                return None
            address = text[begin:position].strip()
        if text.startswith(")", position):
            return address, None, position + 1
        title = re.compile(r"""\s*(["'])(.+?)\1\s*\)""", re.S).match(text, position)
        if not title:
            return None
        return address, title[2], title.end()


def _add(node: Node, text: str) -> None:
    if not text:
        return
    if node.children and node.children[-1].kind == "text":
        node.children[-1].text += text
    else:
        node.children.append(Node("text", text))


def _plain(node: Node) -> str:
    """The text of a node without its markup."""
    out = ""
    for child in node.children:
        if child.kind in {"text", "symbol", "code_span", "math"}:
            out += child.text
        else:
            out += _plain(child)
    return out


plain_text = _plain
Options = dict[str, Any]
