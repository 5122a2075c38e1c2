"""Coloured code with the class names of Rouge, by Pygments."""

from __future__ import annotations

from typing import Any

from paper_site.jekyll.kramdown.tags import escape

# Rouge leaves these without a span.
_BARE = {"", "w", "x"}
_NAMES = {"plaintext": None, "text": None, "txt": None}
# Languages of Pygments that Rouge calls otherwise, and does not know under these names.
_UNKNOWN = frozenset({"output"})
_lexers: dict[str, Any] = {}


def _lexer(language: str) -> Any:
    if language not in _lexers:
        from pygments.lexers import get_lexer_by_name
        from pygments.util import ClassNotFound

        try:
            _lexers[language] = get_lexer_by_name(language, stripnl=False, ensurenl=False)
        except ClassNotFound:
            _lexers[language] = None
    return _lexers[language]


def tokens(code: str, language: str) -> str | None:
    """The inside of a code element; None for a language that is not known."""
    name = language.lower() or "plaintext"
    if name in _NAMES:
        return escape(code)
    if name in _UNKNOWN:
        return None
    lexer = _lexer(name)
    if lexer is None:
        return None
    from pygments.token import STANDARD_TYPES

    out: list[str] = []
    last = ""
    run: list[str] = []

    def flush() -> None:
        if run:
            text = escape("".join(run))
            out.append(text if last in _BARE else f'<span class="{last}">{text}</span>')
            run.clear()

    for kind, text in lexer.get_tokens(code):
        while kind not in STANDARD_TYPES:
            kind = kind.parent
        short = STANDARD_TYPES[kind]
        if short in _BARE:
            short = ""
        if short != last:
            flush()
            last = short
        run.append(text)
    flush()
    return "".join(out)


def block(language: str, options: list[str], code: str) -> str:
    """What a highlight block prints."""
    code = code.removeprefix("\r\n").removeprefix("\n")
    code = code.rstrip("\n") if code.endswith("\n") else code
    inner = tokens(code, language)
    if inner is None:
        inner = escape(code)
    names = [option.split("=")[0] for option in options]
    if "linenos" in names:
        lines = "".join(f"{n}\n" for n in range(1, code.count("\n") + 2))
        inner = (
            '<table class="rouge-table"><tbody><tr><td class="gutter gl"><pre class="lineno">'
            f'{lines}</pre></td><td class="code"><pre>{inner}\n</pre></td></tr></tbody></table>'
        )
    shown = language.replace("+", "-")
    start = f'<figure class="highlight"><pre><code class="language-{shown}" data-lang="{language}">'
    return f"{start}{inner}</code></pre></figure>"
