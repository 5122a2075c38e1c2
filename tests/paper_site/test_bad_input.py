"""Whatever is wrong stops the build with file, line and remedy, and the last good site stays whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paper_site.build import CACHE, build
from paper_site.check import check_site, policy_faults
from paper_site.errors import ContentError, DataError, SiteError
from paper_site.render import is_address

BOMB = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 4)}]\n" for i in range(1, 30))


def _tree(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def _write(name: str, text: str) -> Callable[[Path], None]:
    def do(companion: Path) -> None:
        path = companion / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return do


def _link(name: str, target: str) -> Callable[[Path], None]:
    def do(companion: Path) -> None:
        path = companion / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (companion.parent / "outside").mkdir()
        (companion.parent / "outside" / "secret.md").write_text("---\ntitle: S\n---\nsecret\n", encoding="utf-8")
        (companion.parent / "outside" / "secret.yml").write_text("a: secret\n", encoding="utf-8")
        path.symlink_to(companion.parent / target)

    return do


def _append(name: str, text: str) -> Callable[[Path], None]:
    def do(companion: Path) -> None:
        path = companion / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    return do


@pytest.mark.parametrize(
    ("fault", "name", "line", "words"),
    [
        (_write("a.md", "---\ntitle: [\n---\n"), "a.md", 3, "broken YAML"),
        (_write("a.md", "---\ntitle: A\n"), "a.md", 1, "does not end"),
        (_write("a.md", "---\n- a\n---\n"), "a.md", 2, "mapping"),
        (_write("a.md", f"---\n{BOMB}---\n"), "a.md", 3, "alias"),
        (_write("a.md", "---\ntitle: A\ntitle: B\n---\n"), "a.md", 3, "twice"),
        (_write("a.md", "---\n---\nx\n{% nosuch %}\n"), "a.md", 4, "unknown tag 'nosuch'"),
        (_write("a.md", "---\n---\nx\n{{ 1 | nosuch }}\n"), "a.md", 4, "No filter named 'nosuch'"),
        (_write("a.md", "---\n---\n{{ page.nosuch }}\n"), "a.md", 3, "nosuch"),
        (_write("a.md", "---\nlayout: nosuch\n---\n"), "a.md", None, "no template 'nosuch.html'"),
        (_write("a.md", "---\nlayout: ../../outside\n---\n"), "a.md", None, "no template"),
        (_write("a.md", '---\n---\n{% include "../outside.html" %}\n'), "a.md", 3, "no template"),
        (_write("a.md", "---\n---\n{{ 'x' * 10**9 }}\n"), "a.md", 3, "product"),
        (_write("a.md", "---\n---\n{{ 9 ** 99999999 }}\n"), "a.md", 3, "power"),
        (_write("a.md", "---\n---\n{% for i in range(10**9) %}{% endfor %}\n"), "a.md", 3, "Range too big"),
        (_write("a.md", "---\n---\n{{ site.__class__ }}\n"), "a.md", 3, "unsafe"),
        (_write("a.md", "---\n---\n\n$$\n\\nosuch{\n$$\n"), "a.md", 4, "wrong formula"),
        (_write("a.md", '---\nurl: "javascript:alert(1)"\n---\n\n[x]({{ page.url }})\n'), "a.md", None, "javascript"),
        (_write("a.md", '---\nurl: " java\\tscript:x"\n---\n<a href="{{ page.url }}">x</a>'), "a.md", None, "address"),
        (_write("a.md", '---\n---\n<a href="JAVA&#10;SCRIPT:alert(1)">x</a>\n'), "a.md", None, "script"),
        (_write("a.md", "---\npermalink: /../x\n---\n"), "a.md", 2, "leaves the site"),
        (_write("_data/free.yml", BOMB), "free.yml", 2, "alias"),
        (_write("_data/free.yml", "a: b: c\n"), "free.yml", 1, "broken YAML"),
        (_write("_data/free.json", '{"a": 1,\n "a": 2}'), "free.json", 2, "twice"),
        (_write("_data/free.json", "[" * 100_000), "free.json", None, "nested too deeply"),
        (_append("_data/site.yml", "titel: x\n"), "site.yml", None, "did you mean 'title'"),
        (_append("_data/tones.yml", "x:\n  pitch: 1\n"), "tones.yml", None, "missing"),
        (_append("_data/tones.yml", "  indented wrongly: [\n"), "tones.yml", None, "broken YAML"),
        (_link("b.md", "outside/secret.md"), "b.md", None, "link that leaves"),
        (_link("_data/b.yml", "outside/secret.yml"), "b.yml", None, "link that leaves"),
        (_link("_data/deep", "outside"), "deep", None, "link that leaves"),
        (_link("_includes/b.html", "outside/secret.md"), "b.html", None, "link that leaves"),
        (_link("_models/b.md", "outside/secret.md"), "b.md", None, "link that leaves"),
        (_link("assets/files", "outside"), "files", None, "link that leaves"),
    ],
)
def test_the_build_stops_and_the_last_good_site_stays(
    companion: Path, fault: Callable[[Path], None], name: str, line: int | None, words: str
) -> None:
    site = companion / "_site"
    build(companion, site, cache=companion / CACHE)
    before = _tree(site)
    fault(companion)
    with pytest.raises((ContentError, DataError)) as caught:
        build(companion, site, cache=companion / CACHE)
    assert words in caught.value.message
    assert caught.value.path is not None and caught.value.path.name == name
    if line is not None:
        assert caught.value.line == line
    assert len(str(caught.value).splitlines()) == 1
    assert _tree(site) == before


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"_includes/a.html": '{% include "b.html" %}', "_includes/b.html": '{% include "a.html" %}'}, "without end"),
        ({"_includes/a.html": '{% extends "b.html" %}', "_includes/b.html": '{% extends "a.html" %}'}, "without end"),
        ({"_includes/a.html": '{% include "gone.html" %}'}, "no template 'gone.html'"),
        ({"_includes/a.html": "{% if %}"}, "Expected an expression"),
    ],
)
def test_wrong_includes_stop_the_build(companion: Path, files: dict[str, str], words: str) -> None:
    for name, text in {**files, "a.md": '---\n---\n{% include "a.html" %}\n'}.items():
        _write(name, text)(companion)
    with pytest.raises(SiteError, match=words):
        build(companion, companion / "_site")


def _relabel(companion: Path, label: Any) -> None:
    path = companion / "_data" / "tones.yml"
    text = path.read_text(encoding="utf-8").replace(
        "instrument_family_str: flute", f"instrument_family_str: {json.dumps(label)}"
    )
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "label",
    [
        "<img src=x onerror=alert(1)>",
        '"><script>alert(1)</script>',
        "' onmouseover='alert(1)",
        "javascript:alert(1)",
        "{{ 7 * 7 }}{% raw %}",
        "x" * 10_000,
        "\u202eevil\u202c \u2067שלום\u2069",
        "| a | b |\n|---|---|",
        "</article></main>",
        "&lt;b&gt; &amp;amp;",
        "a\u0000b".replace("\u0000", "\ufffd"),
    ],
)
def test_hostile_labels_are_shown_and_do_nothing(companion: Path, label: str) -> None:
    _relabel(companion, label)
    site = companion / "_site"
    build(companion, site)
    assert check_site(site) == []
    listening = (site / "listen" / "tones.html").read_text(encoding="utf-8")
    assert "<script>" not in listening and "onerror=alert(1)>" not in listening and "<b>" not in listening
    about = (site / "about.html").read_text(encoding="utf-8")
    assert about.count("<tr>") == 3 + 4


def test_addresses() -> None:
    assert all(map(is_address, ("https://a.b/c:d", "mailto:a@b", "a/b.html#c", "#x", "?a=b:c", "", "a b")))
    assert not any(
        map(is_address, ("javascript:x", " JavaScript:x", "java\nscript:x", "data:text/html,x", "file:///x"))
    )


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("", "default-src is not set"),
        ("default-src 'self'", "default-src is 'self'"),
        ("script-src 'self' 'unsafe-inline'", "script-src is 'self' 'unsafe-inline'"),
        ("style-src 'self' https://fonts.example", "style-src"),
        ("img-src *", "img-src lets * in"),
        ("connect-src https://a.example", "connect-src lets https://a.example in"),
        ("base-uri 'self'", "base-uri"),
    ],
)
def test_a_loose_policy_is_a_fault(policy: str, words: str) -> None:
    strict = "; default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'"
    names = {part.split()[0] for part in policy.split(";") if part}
    rest = "; ".join(part for part in strict.split("; ") if part and part.split()[0] not in names)
    found = policy_faults(f"{policy}; {rest}" if policy else "")
    assert any(words in fault for fault in found), found
    assert policy_faults(strict) == []
