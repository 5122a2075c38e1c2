"""Every kind of page by keys alone, in Chromium: all is reached, seen, and left again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.protocols import Silent
from eval.studies.listening import publish_listening
from paper_site.build import build
from tests.paper_site.example import RUN, make_companion
from tests.paper_site.test_browser import CHROMIUM, FLAGS, Visit
from tests.paper_site.test_listening import rows, serve

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
PAGES = [
    "index.html",
    "listen/tones.html",
    "results.html",
    "studies.html",
    "studies/tones.html",
    "models/codec.html",
    "reproduce.html",
    "about.html",
    f"runs/{RUN}.html",
]

# What Tab must reach; of what a closed <details> holds, nothing.
TABBABLE = """() => [...document.querySelectorAll(
    "a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    (e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true })
).map((e, n) => (e.dataset.stop = String(n), e.outerHTML.slice(0, 160)))"""

# Where the focus is: which stop, whether an outline shows it, whether anything lies over it.
FOCUS = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return null;
    // What must be scrolled sideways is a stop of its own.
    const r = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!e.dataset.stop && e.scrollWidth > e.clientWidth) e.dataset.stop = "scroller at " + (r.top + scrollY);
    const clamp = (v, end) => Math.max(1, Math.min(end - 2, v));
    const boxes = [...e.getClientRects()], first = boxes[0] || r;
    const x = clamp(first.left + Math.min(first.width, 60) / 2, innerWidth);
    const y = clamp(first.top + Math.min(first.height, 40) / 2, innerHeight);
    const top = document.elementFromPoint(x, y), there = r.width > 0 && r.bottom > 0 && r.top < innerHeight;
    return {
        stop: e.dataset.stop ?? null,
        html: e.outerHTML.slice(0, 160),
        outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        seen: !!(there && top && (e === top || e.contains(top) || top.contains(e))),
    };
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    source: Path = make_companion(tmp_path_factory.mktemp("keyboard") / "companion", duration_s=2.0)
    publish_listening(source, "tones", rows(), seed=1, workers=1, progress=Silent())
    text = (source / "_data" / "site.yml").read_text(encoding="utf-8")
    (source / "_data" / "site.yml").write_text(text + "studies: [{study: tones, title: Tones}]\n", encoding="utf-8")
    build(source, source.parent / "site")
    address, close = serve(source.parent / "site")
    yield address
    close()


@pytest.fixture
def visit(chromium: Any, base: str) -> Iterator[Any]:
    visits: list[Visit] = []

    def go(path: str, **options: Any) -> Visit:
        visits.append(Visit(chromium, base + path, reduced_motion="reduce", **options))
        return visits[-1]

    yield go
    for one in visits:
        one.close()


@pytest.mark.parametrize(
    ("path", "width"), [*((path, 1280) for path in PAGES), ("index.html", 360), ("listen/tones.html", 360)]
)
def test_tab_reaches_everything_once_and_shows_where_it_is(visit: Any, path: str, width: int) -> None:
    page = visit(path, viewport={"width": width, "height": 800}).page
    if page.locator(".play").count():
        # The player lies over the foot of the page from now on.
        page.evaluate("Earwitness.player.hold(document.querySelector('.sample'), 'original')")
    stops = page.evaluate(TABBABLE)
    assert len(stops) > 5
    reached: list[str] = []
    unseen: list[str] = []
    bare: list[str] = []
    for _ in range(2 * len(stops)):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUS)
        if found is None:
            break
        assert found["stop"] is not None and found["stop"] not in reached, f"the focus goes round: {found['html']}"
        reached.append(found["stop"])
        if not found["seen"]:
            unseen.append(found["html"])
        if not found["outlined"]:
            bare.append(found["html"])
    else:
        raise AssertionError("the focus never leaves the page")
    assert [stops[n] for n in range(len(stops)) if str(n) not in reached] == []
    assert unseen == []
    assert bare == []


@pytest.mark.parametrize("path", PAGES)
def test_the_first_stop_skips_to_the_content(visit: Any, path: str) -> None:
    page = visit(path).page
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert skip.evaluate("e => e === document.activeElement")
    box = skip.bounding_box()
    assert box["width"] > 100 and box["height"] >= 24 and box["x"] >= 0 and box["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main, footer')")


@pytest.mark.parametrize("path", ["results.html", "listen/tones.html", "models/codec.html"])
def test_a_card_opens_holds_the_focus_closes_and_gives_it_back(visit: Any, path: str) -> None:
    page = visit(path).page
    number = page.locator("main a.num:visible").first
    number.focus()
    for leave in ("Escape", "Enter"):
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog.source-card[open]")
        for _ in range(12):
            page.keyboard.press("Tab")
            assert page.evaluate(
                "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
            )
        if leave == "Enter":
            page.locator("dialog.source-card .source-card-head button").focus()
        page.keyboard.press(leave)
        page.wait_for_selector("dialog.source-card", state="hidden")
        assert number.evaluate("e => e === document.activeElement")


def test_what_the_player_opens_gives_the_focus_back(visit: Any) -> None:
    page = visit("listen/tones.html").page
    page.evaluate("Earwitness.player.hold(document.querySelector('.sample'), 'original')")
    for opener, opened in (("#player-help-open", "#player-help"), ("#player-blind-open", "#player-blind")):
        page.locator(opener).focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(opened, state="visible")
        page.keyboard.press("Tab")
        assert page.evaluate(f"!!document.activeElement.closest({opened!r})")
        page.keyboard.press("Escape")
        page.wait_for_selector(opened, state="hidden")
        assert page.locator(opener).evaluate("e => e === document.activeElement")


def test_enter_opens_and_closes_what_is_folded(visit: Any) -> None:
    page = visit("listen/tones.html").page
    summary = page.locator(".sample summary").first
    summary.focus()
    for is_open in (True, False):
        page.keyboard.press("Enter")
        assert summary.evaluate("e => e.parentElement.open") is is_open
        assert summary.evaluate("e => e === document.activeElement")
