"""The colours of text against the grounds it stands on, also where a checker cannot tell (text in drawings)."""

from __future__ import annotations

import re

import pytest

from paper_site.build import THEME

TEXTS = ("ink", "muted", "accent", "warn", "good")
GROUNDS = ("paper", "surface", "sunken", "accent-soft", "warn-soft")
LEAST = 4.5


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, as WCAG 2.2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def schemes() -> dict[str, dict[str, str]]:
    text = (THEME / "css" / "site.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", text, re.S)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks[:2])
    return {"light": light, "dark": {**light, **dark}}


def test_the_formula_gives_the_known_extremes() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_on_every_ground(scheme: str) -> None:
    colours = schemes()[scheme]
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS] + [("on-accent", "accent")]
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: value for pair, value in weak.items() if value < LEAST} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_of_a_plot_stand_out_on_the_paper(scheme: str) -> None:
    colours = schemes()[scheme]
    assert {n: v for n in range(6) if (v := contrast(colours[f"s{n}"], colours["paper"])) < 3} == {}
