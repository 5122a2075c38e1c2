"""TeX formulas to MathML while the site is built, so that a page needs no script for them.

KaTeX comes from the installed package ``sphinxcontrib-katex`` and runs in a small JavaScript engine inside Python:
``quickjs`` where it is installed, else ``dukpy``. Browsers ignore KaTeX's ``mathvariant`` marks, so the letters are
replaced by the characters that Unicode has for them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from paper_site.errors import ToolError

_GLUE = """
function render(tex, display) {
  try {
    return JSON.stringify({ok: katex.renderToString(tex, {
      output: "mathml", displayMode: display, throwOnError: true, strict: "ignore", trust: false,
      errorColor: "#010203"})});
  } catch (problem) {
    return JSON.stringify({error: String(problem.message || problem)});
  }
}
"""

# First code points of the capital A, small a and digit 0 of each style, and the letters that stand elsewhere.
_STYLES: dict[str, tuple[int, int, int | None, dict[str, str]]] = {
    "bold": (0x1D400, 0x1D41A, 0x1D7CE, {}),
    "italic": (0x1D434, 0x1D44E, None, {"h": "ℎ"}),
    "bold-italic": (0x1D468, 0x1D482, None, {}),
    "script": (
        0x1D49C,
        0x1D4B6,
        None,
        dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)),
    ),
    "bold-script": (0x1D4D0, 0x1D4EA, None, {}),
    "fraktur": (0x1D504, 0x1D51E, None, dict(zip("CHIRZ", "ℭℌℑℜℨ", strict=True))),
    "double-struck": (0x1D538, 0x1D552, 0x1D7D8, dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))),
    "bold-fraktur": (0x1D56C, 0x1D586, None, {}),
    "sans-serif": (0x1D5A0, 0x1D5BA, 0x1D7E2, {}),
    "bold-sans-serif": (0x1D5D4, 0x1D5EE, 0x1D7EC, {}),
    "sans-serif-italic": (0x1D608, 0x1D622, None, {}),
    "sans-serif-bold-italic": (0x1D63C, 0x1D656, None, {}),
    "monospace": (0x1D670, 0x1D68A, 0x1D7F6, {}),
}
_GREEK_BOLD = {"bold": (0x1D6A8, 0x1D6C2), "bold-italic": (0x1D71C, 0x1D736)}
_MARKED = re.compile(r'<(mi|mn|mtext|mo) mathvariant="([a-z-]+)">([^<]*)</\1>')


def _styled(character: str, style: str) -> str:
    capital, small, digit, exceptions = _STYLES[style]
    if character in exceptions:
        return exceptions[character]
    if "A" <= character <= "Z":
        return chr(capital + ord(character) - ord("A"))
    if "a" <= character <= "z":
        return chr(small + ord(character) - ord("a"))
    if digit is not None and "0" <= character <= "9":
        return chr(digit + ord(character) - ord("0"))
    if style in _GREEK_BOLD:
        greek_capital, greek_small = _GREEK_BOLD[style]
        if "Α" <= character <= "Ω":
            return chr(greek_capital + ord(character) - ord("Α"))
        if "α" <= character <= "ω":
            return chr(greek_small + ord(character) - ord("α"))
    return character


def cure_letters(mathml: str) -> str:
    """Replace ``mathvariant`` marks by Unicode's mathematical letters.

    >>> cure_letters('<mi mathvariant="double-struck">R</mi>')
    '<mi>ℝ</mi>'
    """

    def replace(found: re.Match[str]) -> str:
        tag, style, text = found.groups()
        if style == "normal":
            return found[0]
        if style not in _STYLES:
            return f"<{tag}>{text}</{tag}>"
        # Character references stay whole: `&amp;` holds letters that are no letters of the formula.
        parts = re.split(r"(&[#\w]+;)", text)
        text = "".join(p if p.startswith("&") else "".join(_styled(c, style) for c in p) for p in parts)
        return f"<{tag}>{text}</{tag}>"

    return _MARKED.sub(replace, mathml)


def _katex_source() -> str:
    try:
        files = importlib.metadata.files("sphinxcontrib-katex") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "katex.min.js":
            return str(file.read_text())
    raise ToolError("formulas need KaTeX: pip install sphinxcontrib-katex")


def _quickjs(source: str) -> Callable[[str, bool], str]:
    module: Any = importlib.import_module("quickjs")
    function = module.Function("render", source + _GLUE)
    return lambda tex, display: str(function(tex, display))


def _dukpy(source: str) -> Callable[[str, bool], str]:
    module: Any = importlib.import_module("dukpy")
    interpreter = module.JSInterpreter()
    interpreter.evaljs(f"{source}\nvar katex = this.katex;\n{_GLUE}\n0;")
    return lambda tex, display: str(
        interpreter.evaljs("render(dukpy['tex'], dukpy['display'])", tex=tex, display=display)
    )


# The colour in which KaTeX is told to print what it does not trust.
_REFUSED = '"#010203"'

ENGINES: dict[str, Callable[[str], Callable[[str, bool], str]]] = {"quickjs": _quickjs, "dukpy": _dukpy}


def engine(names: tuple[str, ...] = tuple(ENGINES)) -> Callable[[str, bool], str]:
    """Start KaTeX in the first of the named JavaScript engines that is installed.

    Raises:
        ToolError: If KaTeX or all of the engines are missing.
    """
    source = _katex_source()
    for name in names:
        try:
            return ENGINES[name](source)
        except ImportError:
            continue
    raise ToolError("formulas need a JavaScript engine: pip install quickjs (or dukpy, from Python 3.13)")


@cache
def _engine() -> Callable[[str, bool], str]:
    return engine()


def to_mathml(tex: str, *, display: bool, render: Callable[[str, bool], str] | None = None) -> str:
    """Turn one formula into MathML that carries its TeX source as an annotation.

    Args:
        tex: The formula without its dollar signs.
        display: Whether it stands on a line of its own.
        render: An engine from `engine`; the first one installed when None.

    Returns:
        A ``<math>`` element without inline style.

    Raises:
        ValueError: If KaTeX refuses the formula; the message says why.
        ToolError: If no engine is installed.
    """
    answer = json.loads((render or _engine())(tex, display))
    if "error" in answer:
        # KaTeX underlines the place with combining characters, which terminals show badly.
        reason = re.sub(r"[\u0332\u0333]", "", answer["error"]).removeprefix("KaTeX parse error: ")
        raise ValueError(reason)
    html: str = answer["ok"]
    if _REFUSED in html:
        raise ValueError("a command in it is not allowed (links, classes and raw HTML are not)")
    start, end = html.index("<math"), html.rindex("</math>") + len("</math>")
    return cure_letters(html[start:end])
