"""The PDF of a page: real pages on paper, and clear words where something is missing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from paper_site.errors import DataError, ToolError
from paper_site.pdf import BROWSERS, find_browser, print_pages

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Two</title>
<style>section { break-after: page }</style></head>
<body><section><p>One</p></section><p>Two</p></body></html>"""


@pytest.mark.browser
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="Chromium is not installed")
def test_a_page_becomes_a_pdf_with_its_sheets(tmp_path: Path) -> None:
    (tmp_path / "site" / "models").mkdir(parents=True)
    (tmp_path / "site" / "models" / "a.html").write_text(PAGE)
    files = list(print_pages(tmp_path / "site", ["models/a.html"], tmp_path / "out"))
    assert files == [tmp_path / "out" / "models-a.pdf"]
    data = files[0].read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == 2


def test_a_page_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no page 'nowhere\.html'"):
        list(print_pages(tmp_path, ["nowhere.html"], tmp_path / "out"))


def test_a_missing_browser_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="no Chromium is installed"):
        find_browser()
