"""Blocks: paragraphs, headings, lists, tables, HTML, and what stands between them.

The rules are those of kramdown 2.4 with its GFM parser, as Jekyll sets it. Every block is tried at the start of a line
in a fixed order; what no other block takes is a paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from paper_site.jekyll.kramdown import attributes
from paper_site.jekyll.kramdown.attributes import AttributeList
from paper_site.jekyll.kramdown.rawhtml import RawReader
from paper_site.jekyll.kramdown.tags import COMMENT, INSTRUCTION, NAME, OPEN_TAG, element_name
from paper_site.jekyll.kramdown.tags import attributes as tag_attributes
from paper_site.jekyll.kramdown.tree import SPAN_ELEMENTS, VOID_ELEMENTS, Node, content_model

MAX_DEPTH = 100

_SPANS = "|".join(sorted(SPAN_ELEMENTS))
_INDENT = re.compile(r"^(?:\t| {4})", re.M)
_BLANK = re.compile(r"(?:[ \t\r\f\v]*\n)+")
_END_MARK = re.compile(r"\^\s*?\n")
# A line that holds nothing but an attribute list, a definition of one, or an extension.
_IAL = re.compile(rf" {{0,3}}{attributes.LIST}\s*?\n")
_ALD = re.compile(rf" {{0,3}}\{{:(\w[\w:-]*):(\s{attributes.INSIDE}*?|)\}}\s*?\n")
_IAL_START = re.compile(rf" {{0,3}}(?:{attributes.LIST}|\{{:(\w[\w:-]*):(\s{attributes.INSIDE}*?|)\}})\s*?\n")
_EXTENSION = re.compile(r" {0,3}\{::(\w+)((?:\s(?:\\\}|[^}])*?)?)(/)?\}[ \t]*")
_HTML_LINE = re.compile(rf" {{0,3}}<(?:/(?!(?:{_SPANS}|script)\b){NAME}\s*>|(?!(?:{_SPANS}|script)\b){NAME})")
_HTML_OPEN = re.compile(rf"[ ]{{0,3}}(?={OPEN_TAG.pattern})")
_HTML_CLOSE = re.compile(rf" {{0,3}}</({NAME})\s*>")
_TRAILING = re.compile(r"[ \t]*\n")
_ATX = re.compile(r"(#{1,6})[\t ]+([^ \t\n].*)\n")
_SETEXT = re.compile(r" {0,3}([^ \t\n].*)\n([-=])\2*[ \t\r\f\v]*\n")
_HEADER_ID = re.compile(r"[\t ]+\{#([A-Za-z][\w:-]*)\}\Z")
_RULE = re.compile(r" {0,3}([*_-])[ \t]*\1[ \t]*\1(?:[ \t]|\1)*\n")
_BULLET = re.compile(r"( {0,3}[+*-])([\t| ].*?\n)")
_NUMBER = re.compile(r"( {0,3}\d+\.)([\t| ].*?\n)")
_DEFINITION = re.compile(r"( {0,3}:)([\t ].*?\n)")
_QUOTE = re.compile(r" {0,3}> ?")
_QUOTE_MARKS = re.compile(r"^ {0,3}> ?", re.M)
_FENCE_START = re.compile(r" {0,3}(?:```|~~~)")
_FENCE = re.compile(r" {0,3}(([~`])\2{2,})[ \t]*?((\S+?)(?:\?\S*)?)?[ \t]*?\n(.*?)^ {0,3}\1\2*[ \t]*?\n", re.M | re.S)
_MATH = re.compile(r" {0,3}(\\)?\$\$(.*?)\$\$([ \t]*\n)?", re.S)
_FOOTNOTE = re.compile(r" {0,3}\[\^(\w[\w:-]*)\]:[ \t]*?(.*?\n)")
_LINK = re.compile(
    r""" {0,3}\[([^\n\]]+)\]:[ \t]*(?:<(.*?)>|([^'"\n]*?\S[^'"\n]*?))"""
    r"""(?:(?:[ \t]*?\n|[ \t]+?)[ \t]*?(["'])(.+?)\4)?[ \t]*?\n"""
)
_ABBREVIATION = re.compile(r" {0,3}\*\[(.+?)\]:(.*?)\n")
_CODE_LINE = re.compile(r"(?:\t| {4})[ \t]*\S+.*\n")
_LINE = re.compile(r".*\n")
_SEPARATOR = re.compile(r"([+|: \t-]*?-[+|: \t-]*?)[ \t]*\n")
_FOOT_SEPARATOR = re.compile(r"[+|: \t=]*?=[+|: \t=]*?[ \t]*\n")
_ALIGN = re.compile(r"[ \t]?(:?)-+(:?)[ \t]?")
_HAS_BAR = re.compile(r"(?:\||.*?[^\\\n]\|).*?\n")
_ITEM_IAL = re.compile(rf"\s*{attributes.LIST}\s*")
_TASK = re.compile(r"\s*\[(?P<mark>[ xX])\](?=\s)")


class BlockParser:
    """Reads the blocks of one document.

    Args:
        options: ``auto_ids`` and the like; ``{::options ... /}`` changes them.
        plain: Whether plain HTML is passed on in one piece.

    Attributes:
        links: Link definitions, label in lower case -> (address, title, attributes).
        footnotes: Name -> node with the note's blocks.
        abbreviations: Abbreviation -> title.
        lists: Named attribute lists.
    """

    def __init__(self, options: dict[str, Any], *, plain: bool = True) -> None:
        self.plain = plain
        self.options = options
        self.links: dict[str, tuple[str, str | None, AttributeList | None]] = {}
        self.footnotes: dict[str, Node] = {}
        self.abbreviations: dict[str, tuple[str, AttributeList | None]] = {}
        self.lists: dict[str, AttributeList] = {}
        self._pending: AttributeList | None = None
        self._depth = 0
        self._blocks: tuple[Callable[[str, int, Node], int | None], ...] = (
            self._blank,
            self._indented_code,
            self._fence,
            self._quote,
            self._atx,
            self._rule,
            self._list,
            self._definition_list,
            self._html,
            self._setext,
            self._math,
            self._table,
            self._footnote,
            self._link_definition,
            self._abbreviation,
            self._extension,
            self._end_mark,
            self._paragraph,
        )

    def parse(self, text: str, parent: Node) -> None:
        """Read a whole text into a node's children."""
        if text and not text.endswith("\n"):
            text += "\n"
        pending, self._pending = self._pending, None
        self._run(text, 0, parent, None)
        self._pending = pending

    def _run(self, text: str, position: int, parent: Node, end_tag: str | None) -> int | None:
        """Read blocks up to the end tag (None when it never comes) or the end of the text."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError("blocks are nested too deep")
        try:
            size = len(text)
            while position < size:
                if end_tag is not None:
                    closing = _HTML_CLOSE.match(text, position)
                    if closing and element_name(closing[1]) == end_tag:
                        return closing.end()
                before = self._pending
                for block in self._blocks:
                    after = block(text, position, parent)
                    if after is not None:
                        position = after
                        break
                if before is not None and self._pending is before:
                    self._pending = None
            return None if end_tag is not None else position
        finally:
            self._depth -= 1

    def _new(self, kind: str, text: str = "", **extra: Any) -> Node:
        node = Node(kind, text, **extra)
        if self._pending is not None:
            node.extra["ial"] = self._pending
        return node

    def _after_boundary(self, parent: Node) -> bool:
        last = parent.children[-1] if parent.children else None
        return (
            last is None
            or last.kind == "blank"
            or (last.kind == "eob" and last.text == "^")
            or self._pending is not None
        )

    @staticmethod
    def _before_boundary(text: str, position: int) -> bool:
        return (
            position >= len(text)
            or _BLANK.match(text, position) is not None
            or _END_MARK.match(text, position) is not None
            or _IAL_START.match(text, position) is not None
        )

    def _ends_lazily(self, text: str, position: int) -> bool:
        """Whether a line ends a paragraph of which it could have been a continuation."""
        return self._before_boundary(text, position) or _HTML_LINE.match(text, position) is not None

    def _ends_paragraph(self, text: str, position: int) -> bool:
        return (
            self._ends_lazily(text, position)
            or _BULLET.match(text, position) is not None
            or _NUMBER.match(text, position) is not None
            or _ATX.match(text, position) is not None
            or _DEFINITION.match(text, position) is not None
            or _QUOTE.match(text, position) is not None
            or _FENCE_START.match(text, position) is not None
        )

    # -- one method a block: returns the position after it, or None when it does not begin here

    def _blank(self, text: str, position: int, parent: Node) -> int | None:
        found = _BLANK.match(text, position)
        if not found:
            return None
        if parent.children and parent.children[-1].kind == "blank":
            parent.children[-1].text += found[0]
            # A list of attributes between two blank lines still waits for its block.
            if self._pending is not None:
                self._pending = replace(self._pending)
        else:
            parent.children.append(Node("blank", found[0]))
        return found.end()

    def _code_lines(self, text: str, position: int) -> int:
        """The end of the indented lines from here, with the lines that continue them without indentation."""
        while True:
            blank = _BLANK.match(text, position)
            start = blank.end() if blank else position
            line = _CODE_LINE.match(text, start)
            if not line:
                return position
            position = line.end()
            while (line := _CODE_LINE.match(text, position)) or not self._ends_lazily(text, position):
                rest = line or _LINE.match(text, position)
                assert rest is not None
                position = rest.end()

    def _indented_code(self, text: str, position: int, parent: Node) -> int | None:
        if not _CODE_LINE.match(text, position):
            return None
        end = self._code_lines(text, position)
        code = re.sub(r"\n( {0,3}\S+)", r" \1", text[position:end])
        parent.children.append(self._new("code", _INDENT.sub("", code)))
        return end

    def _fence(self, text: str, position: int, parent: Node) -> int | None:
        if not _FENCE_START.match(text, position):
            return None
        found = _FENCE.match(text, position)
        if not found:
            return None
        parent.children.append(self._new("code", found[5], language=found[4] or "", fenced=True))
        return found.end()

    def _lazy_lines(self, text: str, position: int, ends: Callable[[str, int], bool]) -> int:
        while True:
            line = _LINE.match(text, position)
            assert line is not None
            position = line.end()
            if ends(text, position):
                return position

    def _quote(self, text: str, position: int, parent: Node) -> int | None:
        if not _QUOTE.match(text, position):
            return None
        end = self._lazy_lines(text, position, self._ends_lazily)
        node = self._new("blockquote")
        parent.children.append(node)
        self.parse(_QUOTE_MARKS.sub("", text[position:end]), node)
        return end

    def _atx(self, text: str, position: int, parent: Node) -> int | None:
        found = _ATX.match(text, position)
        if not found:
            return None
        contents = found[2].rstrip()
        closed = re.sub(r"(?<!\\)#+\Z", "", contents)
        if closed != contents and (not closed or closed[-1] in " \t"):
            contents = closed.rstrip()
        self._heading(len(found[1]), contents, parent)
        return found.end()

    def _setext(self, text: str, position: int, parent: Node) -> int | None:
        found = _SETEXT.match(text, position)
        if not found or not self._after_boundary(parent):
            return None
        self._heading(1 if found[2] == "=" else 2, found[1].rstrip(), parent)
        return found.end()

    def _heading(self, level: int, contents: str, parent: Node) -> None:
        node = self._new("heading", level=level, auto_id=self.options["auto_ids"])
        named = _HEADER_ID.search(contents)
        if named:
            contents = contents[: named.start()].rstrip()
            node.attrs["id"] = named[1]
        node.extra["raw"] = contents
        node.children.append(Node("raw_text", contents))
        parent.children.append(node)

    def _rule(self, text: str, position: int, parent: Node) -> int | None:
        found = _RULE.match(text, position)
        if not found:
            return None
        parent.children.append(self._new("hr"))
        return found.end()

    @staticmethod
    def _first_line(width: int, contents: str) -> tuple[str, int]:
        """Text of an item's first line, and the column at which the text of the item begins."""
        bare = _ITEM_IAL.sub("", contents, count=1) if contents.lstrip().startswith("{:") else contents
        if not bare.strip():
            column = 4
        else:
            while tabs := re.match(r"( *)(\t+)", contents):
                used = len(tabs[1]) + width
                blanks = 4 - used % 4 + (len(tabs[2]) - 1) * 4
                contents = tabs[1] + " " * blanks + contents[tabs.end() :]
            column = width + len(contents) - len(contents.lstrip(" "))
        return contents.lstrip(), column

    @staticmethod
    def _item_ial(node: Node, first: str) -> str:
        found = re.match(rf"{attributes.LIST}[ \t]*(?:\n)?", first)
        if not found:
            return first
        node.extra.setdefault("ial", AttributeList()).read(found[1])
        return first[found.end() :]

    def _continues(self, column: int) -> tuple[re.Pattern[str], Callable[[str, int], re.Match[str] | None]]:
        inside = re.compile(
            rf"(?:(?:\t| {{4}}){{{column // 4}}} {{{column % 4}}}|(?:\t| {{4}}){{{column // 4 + 1}}}).*\S+.*\n"
        )
        near = min(column, 3)
        stop = re.compile(rf" {{0,{near}}}(?:{_IAL_START.pattern[6:]}|{_HTML_LINE.pattern[6:]})")
        loose = re.compile(r".*\S+.*\n")

        def lazy(text: str, position: int) -> re.Match[str] | None:
            return None if stop.match(text, position) else loose.match(text, position)

        return inside, lazy

    def _list(self, text: str, position: int, parent: Node) -> int | None:
        if _BULLET.match(text, position):
            kind, marker = "ul", r"[+*-]"
        elif _NUMBER.match(text, position):
            kind, marker = "ol", r"\d+\."
        else:
            return None
        node = self._new(kind)
        start = re.compile(rf"( {{0,3}}{marker})([\t| ].*?\n)")
        items: list[tuple[Node, list[str]]] = []
        inside: re.Pattern[str] | None = None
        lazy: Callable[[str, int], re.Match[str] | None] | None = None
        column = 0
        nested = ended = after_blank = False
        while position < len(text):
            if after_blank and _RULE.match(text, position):
                break
            if mark := _END_MARK.match(text, position):
                ended = True
                position = mark.end()
                break
            if found := start.match(text, position):
                item = Node("li")
                first, column = self._first_line(len(found[1]), found[2])
                node.children.append(item)
                first = self._item_ial(item, first)
                start = re.compile(rf"( {{0,{min(3, column - 1)}}}{marker})([\t| ].*?\n)")
                inside, lazy = self._continues(column)
                nested = bool(_BULLET.match(first) or _NUMBER.match(first))
                after_blank = False
                items.append((item, [first]))
                position = found.end()
                continue
            assert inside is not None and lazy is not None
            line = inside.match(text, position)
            if not line and not after_blank:
                line = lazy(text, position)
            if line:
                value = re.sub(r"\A\t+", lambda m: " " * 4 * len(m[0]), line[0])
                indented = value.startswith(" " * column)
                if indented:
                    value = value[column:]
                begins = bool(_BULLET.match(value) or _NUMBER.match(value))
                parts = items[-1][1]
                if not nested and indented and begins:
                    parts.append("")
                    nested = True
                elif nested and not indented and begins:
                    value = " " * (column + 4) + value
                parts[-1] += value
                after_blank = False
                position = line.end()
            elif blank := _BLANK.match(text, position):
                nested = after_blank = True
                items[-1][1][-1] += blank[0]
                position = blank.end()
            else:
                break
        parent.children.append(node)
        self._fill_items(node, items, parent, ended)
        return position

    def _fill_items(self, node: Node, items: list[tuple[Node, list[str]]], parent: Node, ended: bool) -> None:
        tasks = False
        for item, parts in items:
            for part in parts:
                self.parse(part, item)
            first = item.children[0] if item.children else None
            if first is None or first.kind != "p" or first.children[0].kind != "raw_text":
                continue
            words = first.children[0]
            if task := _TASK.match(words.text):
                words.text = words.text[task.end() :]
                checked = ' checked="checked"' if task["mark"] != " " else ""
                tasks = True
                node.attrs["class"] = "task-list"
                box = f'<input type="checkbox" class="task-list-item-checkbox" disabled="disabled"{checked} />'
                item.extra["task"] = Node("raw", box)
            if tasks:
                item.attrs["class"] = "task-list-item"
        trailing: Node | None = None
        last_item = node.children[-1]
        for item in node.children:
            inner = item.children
            if not inner:
                trailing = None
                continue
            if len(inner) >= 2 and inner[0].kind == "p" and inner[1].kind == "eob" and inner[0].extra.get("ial"):
                del inner[1]
            first = inner[0]
            alone = len(inner) < 2 or inner[1].kind != "blank" or (item is last_item and len(inner) == 2 and not ended)
            if (
                first.kind == "p"
                and alone
                and (
                    item is not last_item
                    or len(node.children) == 1
                    or any(
                        not other.children
                        or other.children[0].kind != "p"
                        or other.children[0].extra.get("transparent")
                        for other in node.children[:-1]
                    )
                )
            ):
                if len(inner) > 1 and inner[1].kind != "blank":
                    first.children[0].text += "\n"
                first.extra["transparent"] = True
            trailing = inner.pop() if inner[-1].kind == "blank" else None
        for item in node.children:
            if "task" in item.extra:
                if item.children and item.children[0].kind == "p":
                    item.children[0].children.insert(0, item.extra["task"])
                else:
                    item.children.insert(0, item.extra["task"])
        if trailing is not None and not ended:
            parent.children.append(trailing)

    def _definition_list(self, text: str, position: int, parent: Node) -> int | None:
        if not _DEFINITION.match(text, position):
            return None
        before = parent.children
        if before and before[-1].kind == "p":
            terms, spaced = before.pop(), False
        elif len(before) >= 2 and before[-1].kind == "blank" and before[-1].text == "\n" and before[-2].kind == "p":
            before.pop()
            terms, spaced = before.pop(), True
        else:
            return None
        node = self._new("dl")
        if "ial" in terms.extra:
            node.extra["ial"] = terms.extra["ial"]
        for term in terms.children[0].text.split("\n"):
            entry = Node("dt")
            entry.children.append(Node("raw_text", self._item_ial(entry, term)))
            node.children.append(entry)
        start = _DEFINITION
        item: Node | None = None
        values: list[tuple[Node, str]] = []
        inside: re.Pattern[str] | None = None
        lazy: Callable[[str, int], re.Match[str] | None] | None = None
        column = 0
        after_blank = False
        while position < len(text):
            if found := start.match(text, position):
                item = Node("dd", spaced=spaced)
                first, column = self._first_line(len(found[1]), found[2])
                first = self._item_ial(item, first)
                start = re.compile(rf"( {{0,{min(3, column - 1)}}}:)([\t ].*?\n)")
                inside, lazy = self._continues(column)
                node.children.append(item)
                values.append((item, first))
                spaced = after_blank = False
                position = found.end()
                continue
            if _END_MARK.match(text, position):
                break
            assert inside is not None and lazy is not None and item is not None
            line = inside.match(text, position)
            if not line and not after_blank:
                line = lazy(text, position)
            if line:
                value = re.sub(r"\A\t+", lambda m: " " * 4 * len(m[0]), line[0])
                if value.startswith(" " * column):
                    value = value[column:]
                values[-1] = (item, values[-1][1] + value)
                spaced = after_blank = False
                position = line.end()
            elif blank := _BLANK.match(text, position):
                spaced = after_blank = True
                values[-1] = (item, values[-1][1] + blank[0])
                position = blank.end()
            else:
                break
        trailing: Node | None = None
        for item, value in values:
            self.parse(value, item)
            inner = item.children
            if not inner:
                continue
            trailing = inner.pop() if inner[-1].kind == "blank" else None
            if inner and inner[0].kind == "p" and not item.extra["spaced"]:
                if len(inner) > 1:
                    inner[0].children[0].text += "\n"
                inner[0].extra["transparent"] = True
        if before and before[-1].kind == "dl":
            before[-1].children += node.children
        elif len(before) >= 2 and before[-1].kind == "blank" and before[-2].kind == "dl":
            before.pop()
            before[-1].children += node.children
        else:
            before.append(node)
        if trailing is not None:
            before.append(trailing)
        return position

    def _html(self, text: str, position: int, parent: Node) -> int | None:
        start = position
        while text.startswith(" ", start) and start - position < 3:
            start += 1
        if not text.startswith("<", start):
            return None
        found = COMMENT.match(text, start) or INSTRUCTION.match(text, start)
        if found:
            parent.children.append(Node("comment", found[0]))
            if self._pending is not None:
                # Attributes pass over a comment to the block after it.
                self._pending = replace(self._pending)
            trailing = _TRAILING.match(text, found.end())
            return trailing.end() if trailing else found.end()
        opening = OPEN_TAG.match(text, start)
        if opening:
            if opening[1].lower() in SPAN_ELEMENTS:
                return None
            return self.html_element(text, opening, parent, raw=False)
        return None

    def html_element(self, text: str, opening: re.Match[str], parent: Node, *, raw: bool) -> int:
        """Read an element whose start tag was found; returns the position after it."""
        name = element_name(opening[1])
        attrs = tag_attributes(opening[2])
        position = opening.end()
        node = self._new("html", name, attrs=attrs) if not raw else Node("html", name, attrs)
        asked = attrs.pop("markdown", None)
        model = "raw"
        if asked is not None:
            model = {"1": content_model(name), "0": "raw", "block": "block", "span": "span"}.get(asked, "raw")
        node.extra["model"] = model
        parent.children.append(node)
        closed = opening[3] is not None or name in VOID_ELEMENTS
        node.extra["closed"] = closed
        if name in {"script", "style"} and not closed:
            end = re.compile(rf"</{name}\s*>", re.I).search(text, position)
            node.children.append(Node("raw", text[position : end.start() if end else len(text)]))
            return end.end() if end else len(text)
        if not closed:
            if model == "block":
                trailing = _TRAILING.match(text, position)
                position = trailing.end() if trailing else position
                pending, self._pending = self._pending, None
                after = self._run(text, position, node, name)
                self._pending = pending
                position = len(text) if after is None else after
            elif model == "span":
                end = re.compile(rf"</{re.escape(name)}\s*>", re.I).search(text, position)
                node.children.append(Node("raw_text", text[position : end.start() if end else len(text)]))
                position = end.end() if end else len(text)
            else:
                position = RawReader(self, text).fill(node, position)
        if not raw:
            trailing = _TRAILING.match(text, position)
            position = trailing.end() if trailing else position
        return position

    def _math(self, text: str, position: int, parent: Node) -> int | None:
        found = _MATH.match(text, position)
        if not found or not self._after_boundary(parent):
            return None
        if found[1]:
            # The backslash only says that this is a paragraph.
            return self._paragraph(text, text.index("\\", position) + 1, parent)
        if found[3] is None and found.end() < len(text):
            return None
        if not self._before_boundary(text, found.end()):
            return None
        parent.children.append(self._new("math", found[2].strip(), block=True))
        return found.end()

    def _table(self, text: str, position: int, parent: Node) -> int | None:
        after = self._rows(text, position, parent)
        if after == 0:
            # What could have been a table uses the attributes up.
            self._pending = None
        return after or None

    def _rows(self, text: str, position: int, parent: Node) -> int | None:
        """Read a table; None when none begins here, 0 when it turns out to be none."""
        end = text.find("\n", position)
        if text.find("|", position, end) < 0 or not self._after_boundary(parent):
            return None
        indent = len(text[position:end]) - len(text[position:end].lstrip(" "))
        if indent > 3 or text.startswith("\t", position + indent) or not _HAS_BAR.match(text, position):
            return None
        begin = position
        leading = text.startswith("|", position + indent)
        separator = _SEPARATOR.match(text, position)
        if separator:
            position = separator.end()
        alignment: list[str] | None = None
        sections: list[tuple[str, list[Node]]] = []
        rows: list[Node] = []
        footer = False
        columns = 0
        while position < len(text) and _HAS_BAR.match(text, position):
            if separator := _SEPARATOR.match(text, position):
                if rows:
                    if alignment is None and not footer:
                        sections.append(("thead", rows))
                        rows = []
                        alignment = [
                            "center" if left and right else "left" if left else "right" if right else ""
                            for left, right in _ALIGN.findall(separator[1])
                        ]
                    elif not footer:
                        sections.append(("tbody", rows))
                        rows = []
                position = separator.end()
            elif separator := _FOOT_SEPARATOR.match(text, position):
                if rows:
                    sections.append(("tbody", rows))
                    rows = []
                footer = True
                position = separator.end()
            else:
                end = text.index("\n", position)
                cells = split_cells(text[position:end])
                if cells is None:
                    if position == begin:
                        return 0
                    cells = [text[position:end]]
                if leading and cells and not cells[0].strip():
                    cells.pop(0)
                if cells and not cells[-1].strip():
                    cells.pop()
                row = Node("tr")
                for cell in cells:
                    row.children.append(Node("td"))
                    row.children[-1].children.append(Node("raw_text", cell.strip()))
                columns = max(columns, len(cells))
                rows.append(row)
                position = end + 1
        if not self._before_boundary(text, position):
            return 0
        if rows:
            sections.append(("tfoot" if footer else "tbody", rows))
        if not any(kind == "tbody" for kind, _ in sections):
            return 0
        node = self._new("table", alignment=alignment or [])
        for kind, inner in sections:
            part = Node(kind)
            part.children += inner
            node.children.append(part)
            for row in inner:
                row.children += [Node("td") for _ in range(columns - len(row.children))]
        parent.children.append(node)
        return position

    def _footnote(self, text: str, position: int, parent: Node) -> int | None:
        found = _FOOTNOTE.match(text, position)
        if not found:
            return None
        end = self._code_lines(text, found.end())
        contents = _INDENT.sub("", found[2] + text[found.end() : end])
        node = Node("footnote_body")
        if found[1] not in self.footnotes:
            self.footnotes[found[1]] = node
        if self._pending is not None:
            node.extra["ial"] = self._pending
        parent.children.append(Node("eob", extra="footnote"))
        parent.children[-1].extra["target"] = node
        self.parse(contents.lstrip(" \t"), node)
        return end

    def _link_definition(self, text: str, position: int, parent: Node) -> int | None:
        found = _LINK.match(text, position)
        if not found:
            return None
        label = normalise_label(found[1])
        address = found[2] if found[2] is not None else found[3]
        self.links[label] = (address.strip(), found[5], self._pending)
        parent.children.append(Node("eob", link=label))
        return found.end()

    def _abbreviation(self, text: str, position: int, parent: Node) -> int | None:
        found = _ABBREVIATION.match(text, position)
        if not found:
            return None
        self.abbreviations[found[1]] = (found[2].strip(), self._pending)
        parent.children.append(Node("eob", abbreviation=found[1]))
        return found.end()

    def _extension(self, text: str, position: int, parent: Node) -> int | None:
        start = position
        while text.startswith(" ", start) and start - position < 3:
            start += 1
        if not text.startswith("{:", start):
            return None
        if found := _ALD.match(text, position):
            self.lists.setdefault(found[1], AttributeList()).read(found[2])
            parent.children.append(Node("eob"))
            return found.end()
        if found := _EXTENSION.match(text, position):
            return self._block_extension(text, found, parent)
        if found := _IAL.match(text, position):
            last = parent.children[-1] if parent.children else None
            if last is not None and last.kind not in {"blank", "eob"}:
                last.extra.setdefault("ial", AttributeList()).read(found[1])
                if not _IAL.match(text, found.end()):
                    parent.children.append(Node("eob"))
            elif last is not None and last.kind == "eob" and self._attach(last, found[1]):
                pass
            else:
                pending = AttributeList()
                if self._pending is not None:
                    pending.attrs.update(self._pending.attrs)
                    pending.names += self._pending.names
                pending.read(found[1])
                self._pending = pending
            return found.end()
        return None

    def _attach(self, mark: Node, inside: str) -> bool:
        """Give an attribute list to the definition that it follows."""
        if "link" in mark.extra:
            address, title, ial = self.links[mark.extra["link"]]
            ial = ial or AttributeList()
            ial.read(inside)
            self.links[mark.extra["link"]] = (address, title, ial)
            return True
        if "target" in mark.extra:
            return True
        if "abbreviation" in mark.extra:
            name = mark.extra["abbreviation"]
            title, ial = self.abbreviations[name]
            ial = ial or AttributeList()
            ial.read(inside)
            self.abbreviations[name] = (title, ial)
            return True
        return False

    def _block_extension(self, text: str, found: re.Match[str], parent: Node) -> int | None:
        name, settings, closed = found[1], found[2], found[3] is not None
        line_end = _TRAILING.match(text, found.end())
        if closed:
            if not line_end and found.end() < len(text):
                return None
            body, after = None, line_end.end() if line_end else len(text)
        else:
            if not line_end:
                return None
            stop = re.compile(rf"^ {{0,3}}\{{:/(?:{name})?\}}[ \t]*$", re.M).search(text, line_end.end())
            if stop is None:
                return None
            body = text[found.end() : stop.start()]
            trailing = _TRAILING.match(text, stop.end())
            after = trailing.end() if trailing else stop.end()
        node = self.extension(name, settings, body, block=True)
        if node is None:
            return None
        parent.children.append(node)
        return after

    def extension(self, name: str, settings: str, body: str | None, *, block: bool) -> Node | None:
        """The node of ``{::name}...{:/}``, or None for a name that is not known."""
        if name == "comment":
            return Node("comment", f"<!-- {body.strip()} -->") if body is not None else Node("eob")
        if name == "nomarkdown":
            return Node("raw", body.strip("\n") + "\n" if block and body else body or "")
        if name == "options":
            wanted = AttributeList()
            wanted.read(settings)
            for key, value in wanted.attrs.items():
                if key in {"auto_ids", "hard_wrap"}:
                    self.options[key] = value.lower() == "true"
                elif key == "auto_id_prefix":
                    self.options[key] = value
                elif key == "toc_levels":
                    self.options[key] = toc_levels(value)
                elif key == "footnote_nr" and value.isdigit():
                    self.options[key] = int(value)
            return Node("eob")
        return None

    def _end_mark(self, text: str, position: int, parent: Node) -> int | None:
        found = _END_MARK.match(text, position)
        if not found:
            return None
        parent.children.append(self._new("eob", "^"))
        return found.end()

    def _paragraph(self, text: str, position: int, parent: Node) -> int:
        end = self._lazy_lines(text, position, self._ends_paragraph)
        contents = text[position:end].rstrip()
        last = parent.children[-1] if parent.children else None
        if last is not None and last.kind == "p" and last.children[0].kind == "raw_text":
            last.children[0].text += "\n" + contents
        else:
            node = self._new("p")
            node.children.append(Node("raw_text", contents.lstrip()))
            parent.children.append(node)
        return end


def toc_levels(text: str) -> list[int]:
    """Heading levels from ``2..4`` or ``1,2,3``."""
    if found := re.fullmatch(r"\s*(\d)\s*\.\.\s*(\d)\s*", text):
        return list(range(int(found[1]), int(found[2]) + 1))
    return [int(part) for part in text.replace(" ", "").split(",") if part.isdigit()]


def normalise_label(label: str) -> str:
    """Labels are matched without case, runs of white space as one blank."""
    return re.sub(r"[\s]+", " ", label).lower()


def split_cells(line: str) -> list[str] | None:
    """Cells of a table row; None when the line has no bar outside code spans."""
    cells = [""]
    found = False
    position = 0
    size = len(line)
    while position < size:
        char = line[position]
        if char == "\\" and position + 1 < size and line[position + 1] in "|`\\":
            # An escaped bar is a bar of the text; other escapes are the spans' business.
            cells[-1] += "|" if line[position + 1] == "|" else line[position : position + 2]
            position += 2
        elif char == "`":
            run = position
            while run < size and line[run] == "`":
                run += 1
            ticks = line[position:run]
            end = line.find(ticks, run)
            if end < 0:
                cells[-1] += ticks
                position = run
            else:
                cells[-1] += line[position : end + len(ticks)]
                position = end + len(ticks)
        elif char == "|":
            found = True
            cells.append("")
            position += 1
        else:
            cells[-1] += char
            position += 1
    return cells if found else None
