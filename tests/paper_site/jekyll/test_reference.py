"""What real Jekyll made of our texts, which are stored, and what we make of them: the same documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paper_site.jekyll.kramdown.render import to_html
from paper_site.jekyll.site import Page, Site
from tests.paper_site.jekyll.dom import dom

DATA = Path(__file__).resolve().parents[2] / "data" / "jekyll"
MARKDOWN = json.loads((DATA / "markdown.json").read_text(encoding="utf-8"))
LIQUID = json.loads((DATA / "liquid.json").read_text(encoding="utf-8"))
COMPANION = DATA / "companion"
EXPECTED = DATA / "expected" / "companion"
FILES = sorted(path.relative_to(EXPECTED).as_posix() for path in EXPECTED.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def site() -> Site:
    site = Site(COMPANION, epoch=1_800_000_000.0)
    site.read()
    return site


@pytest.fixture(scope="module")
def pages(site: Site) -> dict[str, Page]:
    return {page.destination(): page for page in site.outputs()}


def test_the_versions_are_named() -> None:
    versions = json.loads((DATA / "versions.json").read_text(encoding="utf-8"))
    assert versions["jekyll"].startswith("4.3")
    assert versions["kramdown"].startswith("2.4")


@pytest.mark.parametrize("number", range(len(MARKDOWN)))
def test_markdown_becomes_the_same_document(number: int) -> None:
    case = MARKDOWN[number]
    assert dom(to_html(case["text"])) == dom(case["html"]), case["text"]


@pytest.fixture(scope="module")
def empty_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("empty")
    settings = "baseurl: /proj/\nurl: https://ex.org\ntimezone: America/New_York\n"
    (folder / "_config.yml").write_text(settings, encoding="utf-8")
    return Site(folder, epoch=1_800_000_000.0)


@pytest.mark.parametrize("number", range(len(LIQUID["cases"])))
def test_templates_print_the_same(number: int, empty_site: Site) -> None:
    case = LIQUID["cases"][number]
    template = empty_site.engine.template(case["template"], "case")
    env: dict[str, Any] = {"site": empty_site.drop, "page": {}, **LIQUID["data"]}
    assert empty_site.engine.render(template, env)[0] == case["output"]


@pytest.mark.parametrize("name", FILES)
def test_a_whole_companion_becomes_the_same_site(name: str, site: Site, pages: dict[str, Page]) -> None:
    expected = (EXPECTED / name).read_bytes()
    if name not in pages:
        assert site.files[name].read_bytes() == expected
        return
    made = site.render(pages[name])[0]
    if name.endswith(".html"):
        assert dom(made, whole=True) == dom(expected.decode(), whole=True)
    else:
        assert made == expected.decode()


def test_no_file_is_missing_and_none_is_more(site: Site, pages: dict[str, Page]) -> None:
    assert sorted({*pages, *site.files}) == FILES
