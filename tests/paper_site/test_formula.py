from __future__ import annotations

import importlib.util

import pytest

from paper_site import formula
from paper_site.errors import ToolError

ENGINES = [name for name in formula.ENGINES if importlib.util.find_spec(name)]


@pytest.fixture(params=formula.ENGINES)
def render(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    if request.param not in ENGINES:
        pytest.skip(f"{request.param} is not installed")
    return formula.engine((request.param,))


def test_every_engine_gives_the_same_mathml(render) -> None:  # type: ignore[no-untyped-def]
    text = formula.to_mathml(r"\frac{1}{2} \sum_{k=1}^n x_k", display=True, render=render)
    assert text == formula.to_mathml(r"\frac{1}{2} \sum_{k=1}^n x_k", display=True)
    assert text.startswith("<math") and text.endswith("</math>")
    assert 'display="block"' in text
    assert "style=" not in text
    assert r"\frac{1}{2} \sum_{k=1}^n x_k</annotation>" in text


def test_letters_are_replaced_and_not_marked(render) -> None:  # type: ignore[no-untyped-def]
    text = formula.to_mathml(
        r"\mathcal{L}(x) \in \mathbb{R}, \mathbf{w}, \mathfrak{g}, \mathbb{E}", display=False, render=render
    )
    for letter in "ℒℝ𝐰𝔤𝔼":
        assert letter in text
    assert "mathvariant" not in text.replace('mathvariant="normal"', "")


def test_a_wrong_formula_says_why(render) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"Undefined control sequence: \\nosuch"):
        formula.to_mathml(r"\nosuch{x}", display=False, render=render)


def test_html_in_a_formula_stays_text() -> None:
    text = formula.to_mathml(r"\text{<script>alert(1)</script>}", display=False)
    assert "<script" not in text


def test_links_in_formulas_are_refused() -> None:
    with pytest.raises(ValueError, match="not allowed"):
        formula.to_mathml(r"\href{javascript:alert(1)}{x}", display=False)


def test_without_an_engine_the_error_says_what_to_install() -> None:
    with pytest.raises(ToolError, match="pip install"):
        formula.engine(())
