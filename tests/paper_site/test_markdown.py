from __future__ import annotations

from pathlib import Path

import pytest

from paper_site.errors import ContentError
from paper_site.markdown import to_html

PAGE = Path("page.md")


def test_headings_get_ids_of_their_own() -> None:
    text = to_html("# One *two*\n\n## Same\n\n## Same\n", PAGE)
    assert '<h1 id="one-two">' in text
    assert '<h2 id="same">' in text and '<h2 id="same-2">' in text


def test_tables_footnotes_definitions_and_code() -> None:
    text = to_html("| a | b |\n|---|---|\n| 1 | 2 |\n\nx[^1]\n\n[^1]: note\n\nterm\n: meaning\n\n`a < b`\n", PAGE)
    for part in ("<table>", "<td>2</td>", 'class="footnotes"', "<dt>term</dt>", "a &lt; b"):
        assert part in text


def test_html_tables_survive_the_blank_lines_of_a_loop() -> None:
    text = to_html("<table>\n\n    <tr>\n\n        <td>x</td>\n\n    </tr>\n\n</table>\n", PAGE)
    assert "<pre>" not in text
    assert text.split() == ["<table>", "<tr>", "<td>x</td>", "</tr>", "</table>"]


def test_math_inline_and_displayed() -> None:
    text = to_html("so $a_1 * b_1 * c$ and\n\n$$\n\\frac{1}{2}\n$$\n\nprices: $5 and $6\n", PAGE)
    assert text.count("<math") == 2
    assert '<div class="formula" tabindex="0"><math' in text
    assert "<em>" not in text
    assert "$5 and $6" in text


def test_displayed_math_inside_a_line_stays_inside_its_paragraph() -> None:
    assert to_html("a $$b$$ c", PAGE).startswith("<p>a <span")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# x\n\ntext\nwith $\\nosuch$\n", 4),
        ("a\n\n$$\n\\nosuch\n$$\n", 3),
        ("- a\n- b $\\frac{1}$\n", 2),
    ],
)
def test_wrong_math_stops_with_file_and_line(text: str, line: int) -> None:
    with pytest.raises(ContentError, match=r"page\.md:\d+: wrong formula") as caught:
        to_html(text, PAGE)
    assert caught.value.line == line


def test_script_links_of_markdown_are_no_links() -> None:
    assert "<a" not in to_html("[x](javascript:alert(1))", PAGE)
