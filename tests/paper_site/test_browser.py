"""The pages in Chromium, from disk and from the server: they load in silence, play, switch, and fit a phone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paper_site.build import build
from paper_site.serve import State, start
from tests.paper_site.example import make_companion

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
LENGTH_S = 12.0
PAGES = ["index.html", "listen/tones.html", "results.html", "reproduce.html", "models/codec.html", "about.html"]

# Notes every level that a track is given: the volume of an element, the value of a gain node.
RECORDER = """
window.levels = [];
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { window.levels.push(this.volume / 0.8); return play.call(this); };
const value = Object.getOwnPropertyDescriptor(AudioParam.prototype, "value");
Object.defineProperty(AudioParam.prototype, "value", {
  get() { return value.get.call(this); },
  set(level) { if (level > 0) window.levels.push(level); value.set.call(this, level); },
});
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    build(make_companion(folder / "companion", duration_s=LENGTH_S), folder / "site")
    return folder / "site"


@pytest.fixture(scope="module", params=["file", "http"])
def base(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    if request.param == "file":
        yield site.as_uri() + "/"
        return
    state = State()
    server = start(site, 0, state)
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    state.close()
    server.shutdown()
    server.server_close()


class Visit:
    """One open page, with what it said and what it asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.add_init_script(RECORDER)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def player(self, name: str) -> str:
        return str(self.page.locator("#player").get_attribute(f"data-{name}"))

    def wait_for(self, name: str, value: str) -> None:
        self.page.wait_for_selector(f'#player[data-{name}="{value}"]', timeout=20_000)

    def wait_past(self, seconds: float) -> None:
        # Playwright's own wait_for_function needs a looser policy than these pages have.
        for _ in range(100):
            if float(self.player("position")) > seconds:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the position stays at {self.player('position')}")

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def visit(browser: Any, base: str) -> Iterator[Any]:
    open_visits: list[Visit] = []

    def go(path: str, **options: Any) -> Visit:
        open_visits.append(Visit(browser, base + path, **options))
        return open_visits[-1]

    yield go
    for one in open_visits:
        one.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_pages_load_in_silence_and_fit_a_phone(visit: Any, base: str, path: str, scheme: str) -> None:
    seen = visit(path, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert seen.said == []
    origin = "file://" if base.startswith("file") else base
    assert all(address.startswith(origin) for address in seen.asked)
    assert not any("/audio/" in address for address in seen.asked)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background[4:-1].split(",")[:3])
    assert (brightness < 150) == (scheme == "dark")


def test_play_switch_pause_and_end(visit: Any, base: str) -> None:
    seen = visit("listen/tones.html")
    row = seen.page.locator(".sample").first
    row.locator(".play").nth(0).click()
    seen.wait_for("state", "playing")
    assert seen.player("engine") == ("elements" if base.startswith("file") else "buffers")
    seen.wait_past(0.5)
    started, before = time.monotonic(), float(seen.player("position"))
    row.locator(".play").nth(1).click()
    seen.wait_for("category", "reconstruction")
    seen.wait_for("state", "playing")
    after = float(seen.player("position"))
    assert before <= after <= before + time.monotonic() - started + 0.1
    assert row.locator(".play").nth(1).get_attribute("aria-pressed") == "true"
    assert row.locator(".play").nth(0).get_attribute("aria-pressed") == "false"
    head = row.locator(".track").nth(2).locator(".playhead")
    assert head.is_visible()
    seen.page.locator("#player-toggle").click()
    seen.wait_for("state", "paused")
    rest = float(seen.player("position"))
    seen.page.wait_for_timeout(150)
    assert float(seen.player("position")) == rest >= after
    seen.page.locator("#player-seek").fill("950")
    seen.page.locator("#player-toggle").click()
    seen.wait_for("state", "playing")
    seen.wait_for("state", "paused")
    assert float(seen.player("position")) == 0
    assert seen.said == []


def test_keys(visit: Any) -> None:
    seen = visit("listen/tones.html")
    press = seen.page.keyboard.press
    seen.page.locator(".play").first.focus()
    press("Space")
    seen.wait_for("state", "playing")
    press("3")
    seen.wait_for("category", "phase")
    press("m")
    assert seen.page.locator("#player-match").get_attribute("aria-pressed") == "false"
    press("l")
    assert seen.page.locator("#player-loop").get_attribute("aria-pressed") == "true"
    seen.page.locator("body").evaluate("document.activeElement.blur()")
    press("Space")
    seen.wait_for("state", "paused")
    place = float(seen.player("position"))
    press("ArrowRight")
    assert float(seen.player("position")) == pytest.approx(place + 0.25, abs=0.002)
    first = seen.page.locator("#player-title").inner_text()
    press("n")
    seen.wait_for("state", "playing")
    assert seen.page.locator("#player-title").inner_text() != first
    assert seen.player("category") == "phase"
    assert seen.said == []


def test_equal_loudness_turns_down_to_the_quietest_by_at_most_12_db(visit: Any) -> None:
    seen = visit("index.html")
    loudness = seen.page.evaluate(
        "Array.from(document.querySelector('.sample').querySelectorAll('.track'), t => parseFloat(t.dataset.lufs))"
    )
    assert max(loudness) - min(loudness) > 3
    target = max(min(loudness), max(loudness) - 12)
    seen.page.locator(".play").first.click()
    for index in range(len(loudness)):
        seen.page.keyboard.press(str(index + 1))
        seen.wait_for("category", seen.page.locator(".track").nth(index).get_attribute("data-category"))
        seen.wait_for("state", "playing")
        seen.page.wait_for_timeout(150)
        expected = 10 ** (min(0.0, target - loudness[index]) / 20)
        assert seen.page.evaluate("window.levels.at(-1)") == pytest.approx(expected, rel=1e-3)
    seen.page.keyboard.press("m")
    seen.page.keyboard.press("1")
    seen.wait_for("category", "original")
    seen.page.wait_for_timeout(150)
    assert seen.page.evaluate("window.levels.at(-1)") == pytest.approx(1.0, rel=1e-3)


def test_a_click_on_the_picture_seeks(visit: Any) -> None:
    seen = visit("listen/tones.html")
    picture = seen.page.locator(".sample").nth(1).locator(".picture").nth(1)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 0.5, "y": box["height"] / 2})
    seen.wait_for("state", "playing")
    assert seen.player("category") == "reconstruction"
    assert LENGTH_S / 2 - 0.05 <= float(seen.player("position")) < LENGTH_S / 2 + 3


def test_filter_and_sort(visit: Any) -> None:
    seen = visit("listen/tones.html")
    rows = seen.page.locator("#samples .sample:not([hidden])")
    assert rows.count() == 3
    seen.page.select_option("select[name=facet]", "flute")
    assert rows.count() == 1
    assert seen.page.locator("#shown").inner_text() == "1 of 3 clips"
    seen.page.select_option("select[name=facet]", "")
    seen.page.select_option("select[name=sort]", "pitch")
    pitches = [int(rows.nth(i).get_attribute("data-pitch")) for i in range(3)]
    assert pitches == sorted(pitches)
    seen.page.locator("input[name=system][value=phase]").uncheck()
    assert seen.page.locator("#samples .track:visible").count() == 6


def test_without_scripts_rows_are_links_and_pictures_are_shown(visit: Any) -> None:
    seen = visit("listen/tones.html", java_script_enabled=False, viewport={"width": 360, "height": 740})
    link = seen.page.locator(".play").nth(1)
    assert str(link.get_attribute("href")).endswith(".ogg")
    assert seen.page.locator(".sample").first.locator(".picture").nth(2).is_visible()
    assert not seen.page.locator("#controls").is_visible()
    assert not seen.page.locator("#player").is_visible()


def test_targets_are_large_enough_and_named(visit: Any) -> None:
    seen = visit("listen/tones.html", viewport={"width": 360, "height": 740})
    seen.page.locator(".play").first.click()
    seen.wait_for("state", "playing")
    small = seen.page.evaluate(
        """Array.from(document.querySelectorAll("button, select, summary, input, .play, .formats a, nav a"))
        .filter(e => e.checkVisibility() && e.getClientRects().length && e.type !== "checkbox")
        .map(e => [e.outerHTML.slice(0, 90), e.getBoundingClientRect()])
        .filter(([_, r]) => r.height < 24 || r.width < 24).map(([h]) => h)"""
    )
    assert small == []
    nameless = seen.page.evaluate(
        """Array.from(document.querySelectorAll("button, select, input, a"))
        .filter(e => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length
          || e.querySelector("img")?.alt))
        .map(e => e.outerHTML.slice(0, 90))"""
    )
    assert nameless == []


def test_a_number_opens_its_card_also_from_disk(visit: Any) -> None:
    page = visit("results.html").page
    number = page.locator("table.matrix a.num").first
    value = number.inner_text()
    number.click()
    card = page.locator("dialog.source-card[open]")
    card.wait_for()
    words = card.inner_text()
    assert words.startswith(value)
    for part in ("SHA-256", "Seed", "Command", "python -m eval reproduce", "95 % interval", "#mean.tones."):
        assert part in words
    page.keyboard.press("Escape")
    assert card.count() == 0
    assert page.evaluate("document.activeElement.className").startswith("num")
    page = visit("listen/tones.html").page
    page.locator(".track-score a.num").first.click()
    words = page.locator("dialog.source-card[open]").inner_text()
    assert "Toy codec" in words and "Log-mel L1" in words
