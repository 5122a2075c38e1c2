"""From nodes to HTML: ids of headings, footnotes, the table of contents."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from paper_site.jekyll.kramdown.blocks import BlockParser
from paper_site.jekyll.kramdown.plain import is_plain
from paper_site.jekyll.kramdown.spans import SpanParser, plain_text
from paper_site.jekyll.kramdown.tags import escape, escape_keeping_entities, tag
from paper_site.jekyll.kramdown.tree import VOID_ELEMENTS, Node

DEFAULTS: dict[str, Any] = {
    "auto_ids": True,
    "auto_id_prefix": "",
    "toc_levels": [1, 2, 3, 4, 5, 6],
    "footnote_nr": 1,
    "hard_wrap": False,
}
_TOC = "\x00toc\x00"
Highlighter = Callable[[str, str], str | None]


class Document:
    """One text, parsed.

    Args:
        text: The Markdown.
        options: Replacements for `DEFAULTS`.
        highlight: ``(code, language) -> HTML inside the pre``, or None where the language is not known. Without one,
            code blocks stay plain.
        plain: Whether plain HTML is passed on in one piece.
    """

    def __init__(
        self,
        text: str,
        options: dict[str, Any] | None = None,
        highlight: Highlighter | None = None,
        *,
        plain: bool = True,
    ) -> None:
        self._options = {**DEFAULTS, **(options or {})}
        self._highlight = highlight
        self._blocks = BlockParser(self._options, plain=plain)
        self._spans = SpanParser(self._blocks)
        self._ids: dict[str, int] = {}
        self._plain_ids: dict[str, int] = {}
        self._headings: list[tuple[int, str, Node]] = []
        self._notes: list[str] = []
        self._note_uses: dict[str, int] = {}
        self._toc: Node | None = None
        self.root = Node("root")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        self._blocks.parse(text, self.root)
        self._finish(self.root)
        for note in self._blocks.footnotes.values():
            self._finish(note)
        if self._blocks.abbreviations:
            self._abbreviation = re.compile(
                r"(?<!\w)("
                + "|".join(re.escape(a) for a in sorted(self._blocks.abbreviations, key=len, reverse=True))
                + r")(?!\w)",
                re.ASCII,
            )
            self._abbreviate(self.root)
            for note in self._blocks.footnotes.values():
                self._abbreviate(note)

    def _finish(self, node: Node, in_html: bool = False) -> None:
        """Read the spans and write the attribute lists into the nodes."""
        ial = node.extra.pop("ial", None)
        if ial is not None:
            if "toc" in ial.names and node.kind in {"ul", "ol"}:
                node.extra["toc"] = True
            ial.apply(node.attrs, self._blocks.lists)
        children: list[Node] = []
        for child in node.children:
            if child.kind == "raw_text":
                holder = Node(node.kind, node.text, extra=None)
                holder.extra.update(node.extra)
                self._spans.parse(child.text, holder, in_html=in_html or node.kind == "html")
                children += holder.children
            else:
                if in_html and child.kind == "heading":
                    child.extra["in_html"] = True
                self._finish(child, in_html or child.kind == "html")
                children.append(child)
        node.children = children

    def _abbreviate(self, node: Node) -> None:
        children: list[Node] = []
        for child in node.children:
            if child.kind != "text":
                self._abbreviate(child)
                children.append(child)
                continue
            last = 0
            for found in self._abbreviation.finditer(child.text):
                if found.start() > last:
                    children.append(Node("text", child.text[last : found.start()]))
                title, ial = self._blocks.abbreviations[found[0]]
                attrs = {"title": title} if title else {}
                if ial is not None:
                    ial.apply(attrs, self._blocks.lists)
                children.append(Node("abbr", found[0], attrs))
                last = found.end()
            if last < len(child.text):
                children.append(Node("text", child.text[last:]))
        node.children = children

    def html(self) -> str:
        """The document as HTML."""
        out = self._children(self.root)
        if self._notes:
            out += self._footnotes()
        if self._toc is not None:
            out = out.replace(_TOC, self._contents(self._toc))
        return out

    def _children(self, node: Node) -> str:
        return "".join(self._render(child, node) for child in node.children)

    def _render(self, node: Node, parent: Node) -> str:
        method: Callable[[Node, Node], str] = getattr(self, f"_{node.kind}")
        return method(node, parent)

    # -- blocks

    def _blank(self, node: Node, parent: Node) -> str:
        return "\n"

    def _eob(self, node: Node, parent: Node) -> str:
        return ""

    def _p(self, node: Node, parent: Node) -> str:
        if node.extra.get("transparent"):
            return self._children(node)
        return f"{tag('p', node.attrs)}{self._children(node)}</p>\n"

    def _heading(self, node: Node, parent: Node) -> str:
        level = node.extra["level"]
        attrs = dict(node.attrs)
        if node.extra["auto_id"] and "id" not in attrs:
            attrs = {"id": self._auto_id(node), **attrs}
            if not attrs["id"]:
                del attrs["id"]
        if "id" in attrs and "no_toc" not in attrs.get("class", "").split() and level in self._options["toc_levels"]:
            self._headings.append((level, attrs["id"], node))
        return f"{tag(f'h{level}', attrs)}{self._children(node)}</h{level}>\n"

    def _auto_id(self, node: Node) -> str:
        if node.extra.get("in_html"):
            # Inside HTML the ids are those of plain kramdown, counted apart.
            text = re.sub(r"\A[^a-zA-Z]+", "", plain_text(node))
            base = re.sub(r"[^a-zA-Z0-9 -]", "", text).replace(" ", "-").lower() or "section"
            count = self._plain_ids.get(base)
            self._plain_ids[base] = 0 if count is None else count + 1
            return str(self._options["auto_id_prefix"]) + (base if count is None else f"{base}-{count + 1}")
        text = "".join(c for c in plain_text(node).lower() if c.isalnum() or c in "_- ")
        base = text.replace(" ", "-")
        count = self._ids.get(base)
        self._ids[base] = 0 if count is None else count + 1
        return str(self._options["auto_id_prefix"]) + (base if count is None else f"{base}-{count + 1}")

    def _blockquote(self, node: Node, parent: Node) -> str:
        return f"{tag('blockquote', node.attrs)}\n{self._children(node)}</blockquote>\n"

    def _hr(self, node: Node, parent: Node) -> str:
        return tag("hr", node.attrs, " />") + "\n"

    def _code(self, node: Node, parent: Node) -> str:
        attrs = dict(node.attrs)
        language = node.extra.get("language", "")
        classes = attrs.get("class", "").split()
        if not language:
            named = next((c for c in classes if c.startswith("language-")), None)
            if named:
                language = named.removeprefix("language-")
                classes.remove(named)
        if self._highlight is not None:
            code = self._highlight(node.text, language)
            if code is not None:
                attrs["class"] = " ".join([f"language-{language or 'plaintext'}", *classes, "highlighter-rouge"])
                start = f'{tag("div", attrs)}<div class="highlight"><pre class="highlight"><code>'
                return f"{start}{code}</code></pre></div></div>\n"
        inner = {"class": f"language-{language}"} if language else {}
        if classes:
            attrs["class"] = " ".join(classes)
        else:
            attrs.pop("class", None)
        return f"{tag('pre', attrs)}{tag('code', inner)}{escape(node.text)}</code></pre>\n"

    def _ul(self, node: Node, parent: Node) -> str:
        if node.extra.get("toc") and self._toc is None:
            self._toc = node
            return _TOC
        return f"{tag(node.kind, node.attrs)}\n{self._children(node)}</{node.kind}>\n"

    _ol = _ul

    def _dl(self, node: Node, parent: Node) -> str:
        return f"{tag('dl', node.attrs)}\n{self._children(node)}</dl>\n"

    def _li(self, node: Node, parent: Node) -> str:
        return f"{tag(node.kind, node.attrs)}{self._children(node)}</{node.kind}>\n"

    _dd = _li

    def _dt(self, node: Node, parent: Node) -> str:
        return f"{tag('dt', node.attrs)}{self._children(node)}</dt>\n"

    def _table(self, node: Node, parent: Node) -> str:
        alignment = node.extra["alignment"]
        out = [tag("table", node.attrs)]
        for part in node.children:
            out.append(f"<{part.kind}>")
            for row in part.children:
                out.append("<tr>")
                name = "th" if part.kind == "thead" else "td"
                for column, cell in enumerate(row.children):
                    attrs = dict(cell.attrs)
                    if column < len(alignment) and alignment[column]:
                        attrs["style"] = f"text-align: {alignment[column]}"
                    inner = self._children(cell) or "\u00a0"
                    out.append(f"{tag(name, attrs)}{inner}</{name}>")
                out.append("</tr>\n")
            out.append(f"</{part.kind}>\n")
        out.append("</table>\n")
        return "".join(out)

    def _comment(self, node: Node, parent: Node) -> str:
        return node.text + "\n"

    def _html(self, node: Node, parent: Node) -> str:
        name = node.text
        span = node.extra.get("span", False)
        end = "" if span or parent.kind == "html" else "\n"
        if node.extra["closed"]:
            if name in VOID_ELEMENTS:
                return tag(name, node.attrs, " />") + end
            return f"{tag(name, node.attrs)}</{name}>{end}"
        inner = self._children(node)
        if node.extra["model"] == "block":
            inner = "\n" + inner
        return f"{tag(name, node.attrs)}{inner}</{name}>{end}"

    # -- spans

    def _text(self, node: Node, parent: Node) -> str:
        return (
            escape(node.text)
            if not (parent.kind == "html" and parent.extra.get("model") == "raw")
            else (escape_keeping_entities(node.text))
        )

    def _symbol(self, node: Node, parent: Node) -> str:
        return escape(node.text)

    def _raw(self, node: Node, parent: Node) -> str:
        return node.text

    def _em(self, node: Node, parent: Node) -> str:
        return f"{tag(node.kind, node.attrs)}{self._children(node)}</{node.kind}>"

    _strong = _em
    _del = _em
    _a = _em

    def _img(self, node: Node, parent: Node) -> str:
        return tag("img", node.attrs, " />")

    def _br(self, node: Node, parent: Node) -> str:
        return "<br />"

    def _abbr(self, node: Node, parent: Node) -> str:
        return f"{tag('abbr', node.attrs)}{escape(node.text)}</abbr>"

    def _code_span(self, node: Node, parent: Node) -> str:
        attrs = dict(node.attrs)
        if self._highlight is not None:
            classes = attrs.get("class", "").split()
            language = next((c.removeprefix("language-") for c in classes if c.startswith("language-")), "plaintext")
            others = [c for c in classes if not c.startswith("language-")]
            code = self._highlight(node.text, language)
            if code is not None:
                attrs["class"] = " ".join([f"language-{language}", *others, "highlighter-rouge"])
                return f"{tag('code', attrs)}{code}</code>"
        return f"{tag('code', attrs)}{escape(node.text)}</code>"

    def _math(self, node: Node, parent: Node) -> str:
        text = escape(node.text)
        block = node.extra["block"]
        if block and node.attrs:
            return f"{tag('div', node.attrs)}\n\\[{text}\\]\n</div>\n"
        return f"\\[{text}\\]\n" if block else f"\\({text}\\)"

    def _footnote(self, node: Node, parent: Node) -> str:
        name = node.text
        if name not in self._notes:
            self._notes.append(name)
        uses = self._note_uses[name] = self._note_uses.get(name, -1) + 1
        mark = f"fnref:{name}" + (f":{uses}" if uses else "")
        number = self._notes.index(name) + self._options["footnote_nr"]
        link = f'<a href="#fn:{name}" class="footnote" rel="footnote">{number}</a>'
        return f'<sup id="{mark}" role="doc-noteref">{link}</sup>'

    def _footnotes(self) -> str:
        first = self._options["footnote_nr"]
        start = f' start="{first}"' if first != 1 else ""
        items = []
        index = 0
        bodies = []
        while index < len(self._notes):
            # A note may refer to another one, which then joins the end.
            bodies.append(self._children(self._blocks.footnotes[self._notes[index]]))
            index += 1
        for name, body in zip(self._notes, bodies, strict=True):
            links = "".join(
                f'&nbsp;<a href="#fnref:{name}{f":{use}" if use else ""}" class="reversefootnote"'
                ' role="doc-backlink">'
                f"&#8617;{f'<sup>{use + 1}</sup>' if use else ''}</a>"
                for use in range(self._note_uses[name] + 1)
            ).removeprefix("&nbsp;")
            if body.rstrip().endswith("</p>"):
                body = body.rstrip().removesuffix("</p>") + f"&nbsp;{links}</p>\n"
            else:
                body += f"<p>{links}</p>\n"
            items.append(f'<li id="fn:{name}" role="doc-endnote">\n{body}</li>\n')
        return f'<div class="footnotes" role="doc-endnotes">\n<ol{start}>\n{"".join(items)}</ol>\n</div>\n'

    def _contents(self, marker: Node) -> str:
        """The table of contents in the place of its marker."""
        kind = marker.kind
        attrs = dict(marker.attrs)
        attrs.setdefault("id", "markdown-toc")
        if not self._headings:
            return ""
        root = Node("toc")
        stack: list[tuple[int, Node]] = [(0, root)]
        for level, name, heading in self._headings:
            while stack[-1][0] >= level:
                stack.pop()
            entry = Node("toc", name)
            entry.extra["heading"] = heading
            stack[-1][1].children.append(entry)
            stack.append((level, entry))

        def lists(node: Node, own: dict[str, str]) -> str:
            items = "".join(
                f'<li><a href="#{child.text}" id="markdown-toc-{child.text}">'
                f"{self._linkless(child.extra['heading'])}</a>"
                f"{lists(child, {}) if child.children else ''}</li>\n"
                for child in node.children
            )
            return f"{tag(kind, own)}\n{items}</{kind}>\n"

        return lists(root, attrs)

    def _linkless(self, heading: Node) -> str:
        """A heading's markup without links and footnotes, which may not stand inside a link."""

        def without(node: Node) -> list[Node]:
            out: list[Node] = []
            for child in node.children:
                if child.kind == "footnote":
                    continue
                copy = Node(child.kind, child.text, {k: v for k, v in child.attrs.items() if k != "id"})
                copy.extra = child.extra
                copy.children = without(child)
                out += copy.children if child.kind == "a" else [copy]
            return out

        holder = Node("heading")
        holder.children = without(heading)
        return self._children(holder)


def to_html(text: str, options: dict[str, Any] | None = None, highlight: Highlighter | None = None) -> str:
    """Markdown as HTML."""
    if is_plain(text):
        return text
    return Document(text, options, highlight).html()


def smart(text: str) -> str:
    """Typographic quotes, dashes and ellipses alone; tags pass through."""
    blocks = BlockParser(dict(DEFAULTS))
    root = Node("smart")
    SpanParser(blocks).typography(text, root)
    return Document("")._children(root)
