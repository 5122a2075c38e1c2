"""What a listener does with the tables, in Chromium: loops, blind trials, pictures, long tables, demonstrations."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.protocols import Silent
from eval.studies.base import Listening, Track, demo_label
from eval.studies.listening import publish_listening
from paper_site.build import THEME, build
from paper_site.kinds import listening
from paper_site.manifest import read_companion
from paper_site.pages import list_pages
from paper_site.render import Renderer
from paper_site.serve import State, start
from tests.paper_site.example import make_companion
from tests.paper_site.test_browser import CHROMIUM, FLAGS, LENGTH_S, Visit
from tests.signals import harmonic

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def rows() -> list[Listening]:
    codes = {"top": np.arange(128).reshape(32, 4) * 3, "bottom": np.arange(512).reshape(64, 8)}
    waves = [harmonic(110 * (1 + k / 3), 4.0) * np.float32(0.9**k) for k in range(10)]
    half = [[int(band < 2)] * 4 for band in range(4)]
    masks = [
        {"region": "everything", "seed": 1, "cells": [[1] * 4] * 4},
        {"region": "everything", "seed": 2, "cells": [[1] * 4] * 4},
        {"region": "the lower half", "seed": 3, "cells": half},
    ]
    axes = [{"title": name, "unit": "%", "values": [0, 100]} for name in ("One", "Two")]
    corners = [{"at": [a, b]} for a in (0, 1) for b in (0, 1)]
    return [
        Listening("plain", "A row", 16_000, [Track("Original", waves[0]), Track("Model", waves[1], codes)]),
        Listening(
            "paint",
            "Paint",
            16_000,
            [Track(f"Drawn {k}", waves[k + 2], {"top": codes["top"]}) for k in range(4)],
            demo_label("mask", [None, *masks], bands=4, times=4),
            ("spectrogram", "codemap"),
        ),
        Listening(
            "set",
            "Set",
            16_000,
            [Track(f"Corner {k}", waves[k + 6]) for k in range(4)],
            demo_label("sliders", corners, axes=axes),
            ("spectrogram",),
        ),
    ]


def serve(site: Path) -> tuple[str, Any]:
    state = State()
    server = start(site, 0, state)

    def close() -> None:
        state.close()
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_address[1]}/", close


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def companion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = make_companion(tmp_path_factory.mktemp("listening") / "companion", duration_s=LENGTH_S)
    publish_listening(source, "tones", rows(), seed=1, workers=1, progress=Silent())
    text = (source / "_data" / "site.yml").read_text(encoding="utf-8")
    (source / "_data" / "site.yml").write_text(text + "studies: [{study: tones, title: Tones}]\n", encoding="utf-8")
    return source


@pytest.fixture(scope="module")
def base(companion: Path) -> Iterator[str]:
    build(companion, companion.parent / "site")
    address, close = serve(companion.parent / "site")
    yield address
    close()


@pytest.fixture(scope="module")
def long_base(companion: Path) -> Iterator[str]:
    patch = pytest.MonkeyPatch()
    patch.setattr(listening, "LONG", 2)
    patch.setattr(listening, "AT_ONCE", 1)
    build(companion, companion.parent / "long")
    patch.undo()
    address, close = serve(companion.parent / "long")
    yield address
    close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    visits: list[Visit] = []

    def go(address: str, **options: Any) -> Visit:
        visits.append(Visit(chromium, address, **options))
        return visits[-1]

    yield go
    for one in visits:
        one.close()


def test_what_the_player_decides(visit: Any, base: str) -> None:
    page = visit(base + "listen/tones.html").page
    found = page.evaluate(
        """() => {
        const c = Earwitness.core, forms = ["wav", "ogg", "flac"];
        const state = c.reduce(c.EMPTY, {type: "row", row: "r", tracks: [], duration: 4, track: "a"});
        const before = JSON.stringify(state);
        c.reduce(state, {type: "region", region: {from: 3, to: 1}});
        const trials = Array.from({length: 400}, (_, i) => c.trial(7, i));
        return {
          p: [c.binomialTail(12, 16), c.binomialTail(9, 10), c.binomialTail(52, 82), c.binomialTail(0, 5)],
          gains: c.gains([-20, -26, -50, NaN], true), plain: c.gains([-20, -26], false),
          pure: JSON.stringify(state) === before, frozen: Object.isFrozen(state),
          region: c.reduce(state, {type: "region", region: {from: 3, to: 1}}).region,
          tiny: c.reduce(state, {type: "region", region: {from: 1, to: 1.01}}).region,
          x: trials.filter(t => t.x === "A").length, swapped: trials.filter(t => t.swapped).length,
          again: JSON.stringify(trials) === JSON.stringify(Array.from({length: 400}, (_, i) => c.trial(7, i))),
          other: JSON.stringify(trials) === JSON.stringify(Array.from({length: 400}, (_, i) => c.trial(8, i))),
          browse: c.formats(forms, "auto", false), blind: c.formats(forms, "auto", true),
          wish: c.formats(forms, "wav", false),
          places: [[0.5, null], [9, null], [2.5, {from: 2, to: 3}]].map(([t, loop]) => c.placeAfter(1, t, loop, 4)),
        }; }"""
    )
    # Known values: 12 of 16 is 0.0384, 9 of 10 is 11/1024, 52 of 82 is 0.0099.
    assert found["p"] == pytest.approx([0.038406, 11 / 1024, 0.0099, 1.0], rel=5e-3)
    assert found["gains"] == pytest.approx([10 ** (-12 / 20), 10 ** (-6 / 20), 1.0, 1.0])
    assert found["plain"] == [1, 1] and max(found["gains"]) <= 1
    assert found["pure"] and found["frozen"] and found["again"] and not found["other"]
    assert found["region"] == {"from": 1, "to": 3} and found["tiny"] is None
    assert 160 < found["x"] < 240 and 160 < found["swapped"] < 240
    assert found["browse"][0] == "ogg" and found["blind"] == ["flac", "wav", "ogg"] and found["wish"][0] == "wav"
    assert found["places"] == pytest.approx([1.5, 4.0, 2.5])


def test_a_region_is_marked_by_keys_and_by_dragging_and_is_kept_to(visit: Any, base: str) -> None:
    seen = visit(base + "listen/tones.html")
    page = seen.page
    page.locator(".play").first.click()
    seen.wait_for("state", "playing")
    seen.wait_past(0.3)
    page.keyboard.press("[")
    seen.wait_past(0.9)
    page.keyboard.press("]")
    region = page.evaluate("Earwitness.player.state().region")
    assert 0.3 <= region["from"] < region["to"] - 0.04
    for _ in range(15):
        page.wait_for_timeout(100)
        assert region["from"] - 0.1 <= float(seen.player("position")) <= region["to"] + 0.05
    page.keyboard.press("c")
    assert page.locator("#samples .region").count() == 0
    picture = page.locator(".sample").nth(1).locator(".picture").nth(1)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30, steps=4)
    page.mouse.up()
    state = page.evaluate("Earwitness.player.state()")
    assert state["loop"] and state["region"]["from"] == pytest.approx(0.25 * LENGTH_S, abs=0.1)
    assert state["region"]["to"] == pytest.approx(0.5 * LENGTH_S, abs=0.1)
    assert page.locator(".sample").nth(1).locator(".region").count() == 3
    assert seen.said == []


def test_the_playhead_stands_within_a_pixel_of_the_time(visit: Any, base: str) -> None:
    seen = visit(base + "studies/tones.html")
    page = seen.page
    for view in ("Spectrogram", "Waveform"):
        page.locator("[data-views] button", has_text=view).click()
        page.evaluate("Earwitness.player.hold(document.querySelector('.sample'), 'original')")
        for place in (0.0, 1.0, 3.21, 3.9):
            page.evaluate(f"Earwitness.player.dispatch({{type: 'seek', held: {place}}})")
            gaps = page.evaluate(
                """(place) => Array.from(document.querySelectorAll(".sample .tracks .picture"), box => {
                const all = box.getBoundingClientRect(), line = box.querySelector(".playhead")?.getBoundingClientRect();
                if (!line || !all.width) return 0;
                const inner = all.left + box.clientLeft, left = +box.dataset.left, right = +box.dataset.right;
                const wanted = inner + box.clientWidth * (left + (right - left) * place / 4);
                return Math.abs(line.left + line.width / 2 - wanted);
                })""",
                place,
            )
            assert max(gaps) < 1.0


def test_a_blind_test_hides_the_names_and_counts_exactly(visit: Any, base: str) -> None:
    seen = visit(base + "listen/tones.html")
    page = seen.page
    page.locator(".play").first.click()
    seen.wait_for("state", "playing")
    page.keyboard.press("b")
    page.select_option("#player-blind-planned", "10")
    page.locator("#player-blind-start").click()
    page.keyboard.press("a")
    assert page.evaluate("Earwitness.player.state().blind.answers.length") == 0
    for number in range(10):
        page.keyboard.press("3")
        seen.wait_for("state", "playing")
        assert seen.player("category") == "hidden" and seen.player("form") == "flac"
        assert page.locator(".track.active, .play[aria-pressed=true]").count() == 0
        assert not page.locator("#player-systems").is_visible()
        page.keyboard.press("1")
        for _ in range(200):
            if page.evaluate("Earwitness.core.answerable(Earwitness.player.state().blind)"):
                break
            page.wait_for_timeout(20)
        truth = page.evaluate(f"Earwitness.core.trial(Earwitness.player.state().blind.seed, {number}).x")
        page.keyboard.press(truth.lower())
    assert "10 of 10 right; exact one-sided binomial p = 0.0010." in page.locator("#player-blind-result").inner_text()
    assert page.locator("#player-blind-rows tr").count() == 10
    page.locator("#player-blind-again").click()
    page.locator("#player-blind-open").click()
    page.locator("#player-blind-start").click()
    page.locator("#player-blind-stop").click()
    assert "No trial was answered." in page.locator("#player-blind-result").inner_text()
    assert seen.said == []


def test_views_stand_in_for_each_other(visit: Any, base: str) -> None:
    seen = visit(base + "studies/tones.html")
    page = seen.page
    shown = page.locator("#clip-plain .tracks .picture img")

    def sources() -> list[str]:
        return [str(shown.nth(i).get_attribute("src")).rsplit("/", 1)[-1] for i in range(2)]

    assert [name.split("-", 2)[2] for name in sources()] == ["spectrogram-light.png"] * 2
    buttons = page.locator("[data-views] button")
    assert buttons.all_inner_texts() == ["Spectrogram", "Waveform", "Difference", "Top codes", "Bottom codes"]
    buttons.nth(1).click()
    assert [name.split("-", 2)[2] for name in sources()] == ["waveform-light.png"] * 2
    page.evaluate("Earwitness.player.hold(document.querySelector('.sample'), 'original')")
    page.keyboard.press("v")
    assert [name.split("-", 2)[2] for name in sources()] == ["spectrogram-light.png", "difference-light.png"]
    assert "less that of the original" in str(shown.nth(1).get_attribute("alt"))
    assert seen.said == []


def test_painting_a_mask_plays_the_nearest_prepared_one_and_says_so(visit: Any, base: str) -> None:
    seen = visit(base + "studies/tones.html")
    page = seen.page
    demo = page.locator("#clip-paint")
    board = demo.locator(".paint")
    board.scroll_into_view_if_needed()
    assert not any("/audio/" in address for address in seen.asked)
    box = board.bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] * 0.6)
    page.mouse.down()
    for step in range(1, 9):
        down = box["y"] + box["height"] * (0.6 + 0.38 * (step % 2))
        page.mouse.move(box["x"] + (box["width"] - 8) * step / 8, down, steps=6)
    page.mouse.up()
    said = demo.locator(".demo-said").inner_text()
    assert "Nearest of 2 prepared regions" in said and "the lower half" in said and "seed 3" in said
    seen.wait_for("state", "playing")
    assert seen.player("category") == "drawn_3"
    demo.locator("select").select_option(label="everything")
    assert "Exactly this was prepared: everything, 128 tokens" in demo.locator(".demo-said").inner_text()
    seen.wait_for("category", "drawn_1")
    demo.locator("button", has_text="Draw again").click()
    seen.wait_for("category", "drawn_2")
    demo.locator("button", has_text="Clear").click()
    board.focus()
    for key in ("ArrowDown", "Space", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert "You painted" in demo.locator(".demo-said").inner_text()
    assert seen.said == []


def test_sliders_play_the_nearest_prepared_setting(visit: Any, base: str) -> None:
    seen = visit(base + "studies/tones.html")
    page = seen.page
    demo = page.locator("#clip-set")
    slider = demo.locator("input[type=range]").nth(1)
    slider.focus()
    page.keyboard.press("End")
    seen.wait_for("state", "playing")
    assert seen.player("category") == "corner_3"
    assert demo.locator(".demo-said").inner_text() == "Exactly this was prepared: Corner 3."
    page.keyboard.press("ArrowLeft")
    assert demo.locator(".demo-said").inner_text() == "Nearest of 4 prepared settings: Corner 3."


def test_a_long_table_is_text_until_it_is_seen(visit: Any, long_base: str) -> None:
    seen = visit(long_base + "listen/tones.html", viewport={"width": 1280, "height": 500})
    page = seen.page
    assert page.locator("#shown").inner_text() == "3 of 3 clips"
    page.locator(".lines-end button").click() if page.locator(".lines-end").is_visible() else None
    assert page.locator("#samples .line").count() == 3
    page.locator("#samples .play").nth(5).click()
    seen.wait_for("state", "playing")
    assert seen.player("category") == "phase"
    page.select_option("select[name=facet]", "flute")
    assert page.locator("#samples .line").count() == 1 and page.locator("#shown").inner_text() == "1 of 3 clips"
    page.select_option("select[name=facet]", "")
    page.locator("input[name=least]").fill("0.8")
    page.select_option("select[name=scored]", "phase")
    assert page.locator("#samples .line").count() == 3
    page.select_option("select[name=scored]", "reconstruction")
    assert page.locator("#samples .line").count() == 0
    without = visit(long_base + "listen/tones.html", java_script_enabled=False)
    assert without.page.locator("#samples .line").count() == 3
    names = [without.page.locator(".play").nth(i).get_attribute("aria-label") for i in range(9)]
    assert len(set(names)) == 9
    assert seen.said == []


def test_the_address_of_a_row_that_is_still_text_finds_it(visit: Any, long_base: str) -> None:
    page = visit(long_base + "listen/tones.html#clip-flute_acoustic_002-077-100").page
    assert page.locator("#clip-flute_acoustic_002-077-100").is_visible()


def test_what_the_player_changed_it_takes_back(visit: Any, base: str) -> None:
    plain = visit(base + "studies/tones.html", java_script_enabled=False).page
    seen = visit(base + "studies/tones.html")
    page = seen.page
    page.locator("#clip-plain .play").first.click()
    seen.wait_for("state", "playing")
    page.keyboard.press("v")
    page.keyboard.press("[")
    page.evaluate("Earwitness.player.dispose()")
    script = """(one) => Array.from(document.querySelectorAll("#clip-plain *"), e => e.tagName + "|" +
      Array.from(e.attributes, a => a.name + "=" + a.value).filter(t => !t.startsWith("class=")).sort().join("|"))"""
    assert page.evaluate(script, 0) == plain.evaluate(script, 0)
    assert not page.locator("#player").is_visible()
    page.keyboard.press("2")
    assert page.evaluate("Earwitness.player.state().status") == "empty"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("path", ["listen/tones.html", "studies/tones.html"])
def test_a_run_through_the_page_by_keys_alone_never_loses_the_focus(
    visit: Any, base: str, path: str, width: int
) -> None:
    seen = visit(base + path, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page = seen.page
    page.locator(".play").first.focus()
    page.keyboard.press("Space")
    seen.wait_for("state", "playing")
    page.keyboard.press("Space")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    lost, names = [], []
    for _ in range(160):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const e = document.activeElement; if (!e || e === document.body) return null;
            const r = e.getBoundingClientRect(), clamp = (v, end) => Math.max(1, Math.min(end - 2, v));
            const x = clamp(r.left + Math.min(r.width, 60) / 2, innerWidth);
            const y = clamp(r.top + Math.min(r.height, 40) / 2, innerHeight);
            const top = document.elementFromPoint(x, y), there = r.width > 0 && r.bottom > 0 && r.top < innerHeight;
            const seen = there && top && (e === top || e.contains(top) || top.contains(e));
            return [!!seen, e.outerHTML.slice(0, 120)]; }"""
        )
        if found is None:
            break
        names.append(found[1])
        if not found[0]:
            lost.append(found[1])
    for name in ("player-toggle", "player-seek", "player-match", "player-help-open", "player-blind-open"):
        assert any(name in one for one in names), name
    assert len(names) >= 25 and lost == []


@pytest.mark.slow
def test_ten_thousand_rows_open_within_a_second(chromium: Any, companion: Path, tmp_path: Path) -> None:
    whole = read_companion(companion)
    table = whole.collections[0]
    one = table.samples[0]
    samples = tuple(
        dataclasses.replace(one, id=f"clip_{n:05d}", anchor=f"clip_{n:05d}", labels={**one.labels, "pitch": n % 128})
        for n in range(10_000)
    )
    whole = dataclasses.replace(
        whole, collections=(dataclasses.replace(table, samples=samples), *whole.collections[1:])
    )
    page = next(page for page in list_pages(whole, {}) if page.kind == "listening")
    path = tmp_path / page.path
    path.parent.mkdir()
    path.write_bytes(Renderer(whole, [page]).render(page))
    for kind in ("css", "js"):
        shutil.copytree(THEME / kind, tmp_path / "assets" / kind)
    times = []
    for _ in range(3):
        seen = Visit(chromium, path.as_uri())
        times.append(seen.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        assert seen.page.locator("#shown").inner_text() == "10000 of 10000 clips"
        seen.page.locator("input[name=low]").fill("127")
        assert seen.page.locator("#shown").inner_text() == f"{10_000 // 128} of 10000 clips"
        seen.close()
    assert 0 < min(times) < 1000, times


@pytest.mark.slow
@pytest.mark.skipif("AXE" not in os.environ, reason="needs the path of axe.min.js in AXE")
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["index.html", "listen/tones.html", "models/codec.html", "studies/tones.html"])
def test_axe_finds_nothing(visit: Any, base: str, path: str, scheme: str, width: int) -> None:
    seen = visit(base + path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    if seen.page.locator(".play:visible").count():
        seen.page.locator(".play:visible").first.click()
        seen.wait_for("state", "playing")
        seen.page.locator("#player-blind-open").click()
    seen.page.evaluate(Path(os.environ["AXE"]).read_text(encoding="utf-8"))
    found = seen.page.evaluate(
        "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')))"
    )
    assert found == []
