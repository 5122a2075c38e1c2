"""Pages of studies: claims, tables, plots and listening rows from the documents that the evaluation writes."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from eval import manifest
from eval.pipeline import evaluate_companion
from eval.studies.context import make_context
from eval.studies.run import study_document
from models import registry
from models.registry import ModelEntry
from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import DataError
from paper_site.manifest import read_companion
from paper_site.plots import BOTTOM, LEFT, RIGHT, TOP, place_plot
from paper_site.studies import Cell, Column, Findings, Plot, Point, Row, Table, read_findings
from tests.eval.studies import fake_study
from tests.paper_site.example import RUN

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "studies"
MODELS = [
    {"name": "codec", "title": "Toy <codec>", "checkpoint_sha256": "d" * 64},
    {"name": "plain", "title": "Plain", "checkpoint_sha256": None},
]


def document() -> dict[str, Any]:
    made = study_document(fake_study, fake_study.measure(make_context(seed=5)), run_id=RUN, models=MODELS)
    return dict(manifest.plain(made))


def site_yml(companion: Path, studies: str) -> None:
    path = companion / "_data" / "site.yml"
    path.write_text(path.read_text(encoding="utf-8") + f"studies: {studies}\n", encoding="utf-8")


@pytest.fixture
def studied(companion: Path) -> Path:
    """The example companion with a measured study, and one that was never measured."""
    manifest.write_json(companion / "_data" / "studies" / "tones.json", document(), "study")
    site_yml(companion, "[{study: tones, listen: false}, {study: absent, title: Not there}]")
    return companion


@pytest.fixture
def heard(studied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The same with listening rows, made by the main job."""
    entries = {
        name: ModelEntry(name, name, f"tests.eval.fakes:{name.capitalize()}", "A toy.", None)
        for name in ("coder", "halver")
    }
    monkeypatch.setattr(registry, "MODELS", MappingProxyType(entries))
    for module in ("eval.studies", "eval.pipeline", "eval.studies.listening"):
        monkeypatch.setattr(f"{module}.STUDIES", {"tones": "tests.eval.studies.fake_study"})
    path = studied / "_data" / "site.yml"
    whole = path.read_text(encoding="utf-8")
    path.write_text("title: T\nstudies: [{study: tones}]\n", encoding="utf-8")
    assert evaluate_companion(studied, device="cpu").warnings == []
    path.write_text(whole, encoding="utf-8")
    return studied


def page(site: Path, name: str) -> str:
    return (site / name).read_text(encoding="utf-8")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def text(html: str) -> str:
    reader = _Words()
    reader.feed(html)
    return " ".join(reader.words)


def test_the_pages_are_the_golden_ones(studied: Path, tmp_path: Path) -> None:
    """``UPDATE_GOLDEN=1 pytest tests/paper_site/test_studies.py`` takes the pages as they are."""
    site = tmp_path / "site"
    build(studied, site)
    for name in ("studies.html", "studies/tones.html", "studies/absent.html"):
        golden = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(page(site, name), encoding="utf-8")
        assert page(site, name) == golden.read_text(encoding="utf-8"), name
    assert check_site(site) == []


def test_what_the_evaluation_writes_the_site_reads(studied: Path) -> None:
    path = studied / "_data" / "studies" / "tones.json"
    raw, found = json.loads(path.read_text(encoding="utf-8")), read_findings(path)
    again = {
        "claims": [vars(claim) for claim in found.claims],
        "tables": [
            {
                **vars(table),
                "columns": [vars(column) for column in table.columns],
                "rows": [
                    {**vars(row), "cells": {key: vars(cell) for key, cell in row.cells.items()}} for row in table.rows
                ],
            }
            for table in found.tables
        ],
        "plots": [{**vars(plot), "points": [vars(point) for point in plot.points]} for plot in found.plots],
        "models": [dict(model) for model in found.models],
    }
    assert again == {key: raw[key] for key in again}
    assert (found.study, found.title, found.run, found.met) == ("tones", fake_study.TITLE, RUN, 1)


def test_a_page_says_what_was_claimed_and_reached(studied: Path, tmp_path: Path) -> None:
    build(studied, tmp_path / "site")
    shown = page(tmp_path / "site", "studies/tones.html")
    words = text(shown)
    assert "Bars met: 1 of 2." in words
    assert "met Louder than −6 dB -3.0 dB" in words
    assert "missed Fewer than 100 bits 640 bits because of <reasons>" in words
    places = [words.index(title, words.index("Bars met")) for title in ("Fewer than 100 bits", "Levels", "Squares")]
    assert places == sorted(places)
    assert "−3.00 [−3.50, −2.50] n = 12" in words
    assert "no value it has <none>" in words and "no value the value came out as nan" in words
    assert shown.count("num best") == 2  # the loudest, and the fewer bits
    assert shown.count(f'href="../runs/{RUN}.html') >= 2 + 2 + 3 + 1
    assert "1 of 7 points have no finite value" in words and "No point was measured." in words
    assert "d" * 64 in shown and "no weights" in words
    record = page(tmp_path / "site", f"runs/{RUN}.html")
    assert 'href="../studies/tones.html"' in record
    index = page(tmp_path / "site", "studies.html")
    assert "Bars met: 1 of 2." in text(index) and "not measured yet" in text(index)
    assert index.count('class="badge met"') == index.count('class="badge missed"') == 1
    assert "python -m eval study absent" in text(page(tmp_path / "site", "studies/absent.html"))
    assert 'href="./studies.html"' in page(tmp_path / "site", "index.html")


def test_texts_of_a_study_are_never_markup(heard: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build(heard, site)
    for path in site.rglob("*.html"):
        shown = path.read_text(encoding="utf-8")
        for bad in ("<script>", "<b>", "<i>up", "<none>", "<reasons>", "<codec>", "Low <tone>"):
            assert bad not in shown, (path, bad)
    assert "Tones &lt;b&gt;and&lt;/b&gt; {{ their }} ends" in page(site, "studies/tones.html")
    assert check_site(site) == []


def test_listening_rows_stand_on_the_page_of_their_study(heard: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    report = build(heard, site)
    shown = page(site, "studies/tones.html")
    assert report.samples == 3 + 1 + 2
    assert shown.count('<article class="sample"') == 2 and 'id="player"' in shown
    assert re.findall(r'<li class="track[^"]*" data-category="([^"]+)"', shown) == ["low_tone", "high_tone", "original"]
    assert shown.count(">reference<") == 1
    assert len(list((site / "assets" / "audio" / "study_tones").iterdir())) == 9
    assert not (site / "listen" / "study_tones.html").exists()
    assert (site / "data" / "study_tones.yml").is_file() and (site / "data" / "studies" / "tones.json").is_file()
    stray = heard / "assets" / "audio" / "study_tones" / "stray.ogg"
    stray.write_bytes(b"OggS")
    build(heard, site)
    assert not (site / "assets" / "audio" / "study_tones" / "stray.ogg").exists()


def test_authors_may_add_texts(studied: Path, tmp_path: Path) -> None:
    (studied / "_studies").mkdir()
    (studied / "_studies" / "tones.md").write_text("---\n---\nA *word* of ours.\n", encoding="utf-8")
    (studied / "studies.md").write_text("---\n---\nAll of *them*.\n", encoding="utf-8")
    build(studied, tmp_path / "site")
    assert "A <em>word</em> of ours." in page(tmp_path / "site", "studies/tones.html")
    assert "All of <em>them</em>." in page(tmp_path / "site", "studies.html")


def test_without_studies_there_is_no_page_for_them(companion: Path, tmp_path: Path) -> None:
    (companion / "studies.md").write_text("---\ntitle: Mine\n---\nMy own.\n", encoding="utf-8")
    build(companion, tmp_path / "site")
    assert "My own." in page(tmp_path / "site", "studies.html")
    assert not (tmp_path / "site" / "studies").exists()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"run": "another"}, "_data/runs/another.json is missing"),
        ({"study": "other"}, "must be the file's name"),
        ({"claims": [{"text": "a", "figure": "b", "met": "yes", "reason": None}]}, r"claims\[0\].met"),
        ({"tables": [{"title": "t"}]}, r"tables\[0\]"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_wrong_document_is_one_error(studied: Path, change: dict[str, Any], part: str) -> None:
    path = studied / "_data" / "studies" / "tones.json"
    path.write_text(json.dumps(document() | change), encoding="utf-8")
    with pytest.raises(DataError, match=part):
        read_companion(studied)


# --- which number is best


def table(better: str | None, *cells: Cell) -> tuple[Table, Column]:
    column = Column("x", "X", None, better)
    return Table("T", (column,), tuple(Row(str(k), {"x": c}, None) for k, c in enumerate(cells)), None), column


def cell(value: float | None, low: float | None = None, high: float | None = None) -> Cell:
    return Cell(value, low, high, None, None)


@pytest.mark.parametrize(
    ("better", "cells", "best"),
    [
        ("lower", [cell(2.0), cell(1.0), cell(None)], "1"),
        ("higher", [cell(2.0), cell(1.0)], "0"),
        (None, [cell(2.0), cell(1.0)], None),
        ("lower", [cell(1.0), cell(1.0)], None),
        ("lower", [cell(1.0)], None),
        ("lower", [cell(1.0, 0.8, 1.2), cell(1.3, 1.1, 1.5)], None),
        ("lower", [cell(1.0, 0.8, 1.2), cell(1.5, 1.3, 1.7)], "0"),
        ("higher", [cell(1.0, 0.8, 1.2), cell(1.1)], None),
        ("higher", [cell(-1.0, -1.2, -0.8), cell(-2.0)], "0"),
    ],
)
def test_bold_is_what_no_other_interval_reaches(better: str | None, cells: list[Cell], best: str | None) -> None:
    made, column = table(better, *cells)
    found = made.best(column)
    assert (found.label if found else None) == best
    assert made.has_best == (best is not None)


def test_whole_numbers_have_no_decimals() -> None:
    made, column = table(None, cell(4_260_000.0), cell(0.0))
    assert [made.text(column, row.cells["x"]) for row in made.rows] == ["4\u202f260\u202f000", "0"]
    made, column = table(None, cell(4.0), cell(0.5))
    assert [made.text(column, row.cells["x"]) for row in made.rows] == ["4.00", "0.500"]


# --- plots


def plot(points: list[Point], *, joined: bool = False) -> Plot:
    return Plot("P", "x", "y", joined, tuple(points), None)


def test_points_stand_where_their_numbers_say() -> None:
    placed = place_plot(plot([Point("a", 0.0, 0.0, ""), Point("b", 10.0, 5.0, ""), Point("c", 5.0, 2.5, "")]))
    assert placed is not None
    [series] = placed.series
    assert [(mark.x, mark.y) for mark in series.marks] == [
        (LEFT, BOTTOM),
        (RIGHT, TOP),
        ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2),
    ]
    assert [text for _, text in placed.x_ticks] == ["0", "2", "4", "6", "8", "10"]
    assert not placed.has_legend
    assert placed.description == (
        "P. Scatter plot of y against x: 3 points. x runs from 0 to 10.0, y from 0 to 5.00."
        " Every point stands in the table below."
    )


def test_groups_have_marks_of_their_own_and_lines_within() -> None:
    points = [Point(str(k), k, k * k, "ab"[k % 2]) for k in range(6)]
    placed = place_plot(plot(points, joined=True))
    assert placed is not None and placed.has_legend
    assert [(series.name, series.style, len(series.segments)) for series in placed.series] == [("a", 0, 2), ("b", 1, 2)]
    assert "Line plot" in placed.description and "in the groups a, b" in placed.description


@pytest.mark.parametrize("count", [1, 2, 16, 17, 300])
def test_any_number_of_points_can_be_placed(count: int) -> None:
    placed = place_plot(plot([Point(f"point {k}", 3.0, 3.0 + 1e-9 * k, "g") for k in range(count)]))
    assert placed is not None
    marks = placed.series[0].marks
    assert len(marks) == count and all(LEFT <= mark.x <= RIGHT and TOP <= mark.y <= BOTTOM for mark in marks)
    labelled = [mark for mark in marks if mark.label]
    assert bool(labelled) == (1 < count <= 16)
    assert place_plot(plot([])) is None


def test_labels_do_not_lie_on_one_another() -> None:
    placed = place_plot(plot([Point(f"system {k}", 0.1 * k, 0.001 * k, "") for k in range(10)]))
    assert placed is not None
    assert sum(mark.label is not None for mark in placed.series[0].marks) >= 5


def test_findings_count_what_was_met() -> None:
    assert Findings("s", "S", "", "r", (), (), (), ()).met == 0


# --- in a browser


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="needs /usr/bin/chromium")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_rows_without_an_original_play_switch_and_fit_a_phone(heard: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    build(heard, tmp_path / "site")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
        )
        page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "site" / "studies" / "tones.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Escape")
        page.locator(".play").first.click()
        page.keyboard.press("l")
        page.wait_for_selector('#player[data-state="playing"][data-category="low_tone"]')
        page.keyboard.press("2")
        page.wait_for_selector('#player[data-state="playing"][data-category="high_tone"]')
        page.keyboard.press("n")
        page.wait_for_selector('#player[data-state="playing"][data-category="original"]')
        page.goto((tmp_path / "site" / "studies.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert said == []
        browser.close()
