"""Markdown to HTML: CommonMark with tables, footnotes, definition lists and formulas between dollar signs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from paper_site.errors import ContentError
from paper_site.formula import to_mathml

# A wide table scrolls in a box of its own, which the keyboard must reach.
_TABLE_OPEN = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>\n'


# Markdown ends a piece of HTML at a blank line, such as a loop leaves between the rows of a table.
_TABLE = re.compile(r"^ {0,3}<table\b.*?</table>", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_BLANK = re.compile(r"^[ \t]*$(?!\Z)", re.MULTILINE)
_FILLER = "<!--row-->"


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "typographer": True})
    parser.enable(["table", "strikethrough", "smartquotes", "replacements"])
    parser.use(footnote_plugin).use(deflist_plugin).use(dollarmath_plugin, allow_digits=False, double_inline=True)
    for name in ("math_inline", "math_inline_double", "math_block", "math_block_label"):
        parser.add_render_rule(name, _stored)
    parser.add_render_rule("table_open", lambda *_: _TABLE_OPEN)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _stored(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    html: str = tokens[index].meta["html"]
    return html


def slug(text: str) -> str:
    """Turn a heading into an id: lower case, words joined by hyphens.

    >>> slug("How to read — the table")
    'how-to-read-the-table'
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text)).strip("-") or "section"


def to_html(
    text: str,
    path: Path,
    *,
    first_line: int = 1,
    render_formula: Callable[..., str] = to_mathml,
    heading_shift: int = 0,
) -> str:
    """Render Markdown.

    Args:
        text: The Markdown text; HTML in it is kept.
        path: Named in errors.
        first_line: Line of the file on which the text begins.
        render_formula: Formula to MathML, see `paper_site.formula.to_mathml`.
        heading_shift: Levels by which headings are moved down.

    Returns:
        HTML; every heading has an id of its own.

    Raises:
        ContentError: For a formula that KaTeX refuses, with file and line.
    """
    parser = _parser()
    text = _TABLE.sub(lambda found: _BLANK.sub(_FILLER, found[0]), text)
    environment: dict[str, Any] = {}
    tokens = parser.parse(text, environment)
    used: dict[str, int] = {}
    line = 0
    for index, token in enumerate(tokens):
        if token.map:
            line = token.map[0]
        if token.type == "math_block":
            mathml = _formula(token.content, True, path, first_line + line, render_formula)
            token.meta["html"] = f'<div class="formula" tabindex="0">{mathml}</div>\n'
        if token.type == "inline":
            _inline_formulas(token, path, first_line + line, render_formula)
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + heading_shift)}"
        if token.type == "heading_open":
            words = "".join(c.content for c in tokens[index + 1].children or [] if c.type in {"text", "code_inline"})
            name = slug(words)
            used[name] = used.get(name, 0) + 1
            token.attrSet("id", name if used[name] == 1 else f"{name}-{used[name]}")
    html = str(parser.renderer.render(tokens, parser.options, environment))
    # What may scroll must be reached by the keyboard.
    return html.replace(_FILLER + "\n", "").replace("<pre><code", '<pre tabindex="0"><code')


def _inline_formulas(token: Token, path: Path, line: int, render: Callable[..., str]) -> None:
    position = 0
    for child in token.children or []:
        if child.type not in {"math_inline", "math_inline_double"}:
            continue
        found = token.content.find(child.content, position)
        if found >= 0:
            position = found
        here = line + token.content[:position].count("\n")
        display = child.type == "math_inline_double"
        mathml = _formula(child.content, display, path, here, render)
        child.meta["html"] = f'<span class="formula">{mathml}</span>' if display else mathml


def _formula(tex: str, display: bool, path: Path, line: int, render: Callable[..., str]) -> str:
    try:
        return render(tex.strip(), display=display)
    except ValueError as wrong:
        raise ContentError(f"wrong formula {tex.strip()[:60]!r}: {wrong}", path=path, line=line) from None
