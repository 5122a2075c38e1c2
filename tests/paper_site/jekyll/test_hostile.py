"""Broken and hostile companions: the build stops with file, line and remedy, and the last good site stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paper_site.errors import SiteError
from paper_site.jekyll.build import build_jekyll

Change = Callable[[Path], None]


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def page(body: str, front: str = "") -> Change:
    return lambda root: put(root, "bad.md", f"---\n{front}---\n{body}")


@pytest.fixture
def companion(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    put(root, "_config.yml", "title: t\n")
    put(root, "_layouts/default.html", "<main>{{ content }}</main>")
    put(root, "_includes/good.html", "good")
    put(root, "_data/d.yml", "a: 1\n")
    put(root, "index.md", "---\nlayout: default\n---\n# Hello {{ site.data.d.a }} {% include good.html %}\n")
    return root


def circle(root: Path) -> None:
    put(root, "_includes/a.html", "{% include b.html %}")
    put(root, "_includes/b.html", "{% include a.html %}")
    page("{% include a.html %}")(root)


def layouts(root: Path) -> None:
    put(root, "_layouts/one.html", "---\nlayout: two\n---\n{{ content }}")
    put(root, "_layouts/two.html", "---\nlayout: one\n---\n{{ content }}")
    page("x", "layout: one\n")(root)


def linked_include(root: Path) -> None:
    put(root.parent, "secret.txt", "secret")
    (root / "_includes" / "leak.html").symlink_to(root.parent / "secret.txt")
    page("{% include leak.html %}")(root)


def bomb(root: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    put(root, "_data/bomb.yml", "\n".join(lines))


def deep(root: Path) -> None:
    put(root, "_data/deep.json", "[" * 100_000 + "]" * 100_000)


CASES: dict[str, tuple[Change, str, int | None, str]] = {
    "front matter that is no YAML": (page("x", "a: b: c\n"), "bad.md", 2, "quote"),
    "front matter that is no map": (page("x", "- a\n"), "bad.md", 2, "key: value"),
    "front matter without an end": (lambda r: put(r, "bad.md", "---\ntitle: x\n\ntext\n"), "bad.md", 1, "three dashes"),
    "configuration that is no YAML": (lambda r: put(r, "_config.yml", "a: [1\n"), "_config.yml", None, "not YAML"),
    "configuration that is no map": (lambda r: put(r, "_config.yml", "- a\n"), "_config.yml", 1, "key: value"),
    "unknown tag": (page("one\n\n{% incldue x.html %}"), "bad.md", 5, "include"),
    "unknown filter": (page("one\n{{ 'x' | upcas }}"), "bad.md", 4, "upcase"),
    "unknown filter in a tag": (page("{% assign x = 'x' | nofilter %}"), "bad.md", 3, "strict_filters"),
    "block without an end": (page("{% if x %}\n"), "bad.md", 3, "endif"),
    "end without a block": (page("x\n{% endfor %}"), "bad.md", 4, "nothing that it ends"),
    "wrong end": (page("{% for a in b %}{% endif %}"), "bad.md", 3, "endfor"),
    "include that is missing": (page("\n{% include nothing.html %}"), "bad.md", 4, "_includes"),
    "include with quotation marks": (page("{% include 'good.html' %}"), "bad.md", 3, "without quotation marks"),
    "include that leaves the tree": (page("{% include ../../etc/passwd %}"), "bad.md", 3, "inside"),
    "include of an absolute path": (page("{% include /etc/passwd %}"), "bad.md", 3, "inside"),
    "include through a link": (linked_include, "bad.md", 3, "link"),
    "include of what a variable says": (page("{% assign f = '../x' %}{% include {{ f }} %}"), "bad.md", 3, "inside"),
    "relative include that leaves": (page("{% include_relative ../x.txt %}"), "bad.md", 3, "leave"),
    "includes in a circle": (circle, "", None, "circle"),
    "layouts in a circle": (layouts, "bad.md", None, "circle"),
    "layout that is missing": (page("x", "layout: nothing\n"), "bad.md", 1, "_layouts/nothing.html"),
    "layout that leaves the tree": (page("x", "layout: ../../x\n"), "bad.md", 1, "no layout"),
    "link to nothing": (page("{% link nothing.md %}"), "bad.md", 3, "nothing.md"),
    "post that is missing": (page("{% post_url 2020-01-01-x %}"), "bad.md", 3, "YYYY-MM-DD"),
    "division by zero": (page("\n\n{{ 1 | divided_by: 0 }}"), "bad.md", 5, "divided by 0"),
    "too many arguments": (page("{{ 'a' | upcase: 1, 2 }}"), "bad.md", 3, "arguments"),
    "data that is no YAML": (lambda r: put(r, "_data/x.yml", "a: 1\nb: [\n"), "x.yml", None, "not YAML"),
    "data that is no JSON": (lambda r: put(r, "_data/x.json", '{"a": 1,\n"b": }'), "x.json", 2, "not JSON"),
    "aliases that explode": (bomb, "bomb.yml", 1, "aliases"),
    "data that is nested too deep": (deep, "deep.json", None, "too deep"),
    "YAML that is nested too deep": (lambda r: put(r, "_data/x.yml", "[" * 50_000), "x.yml", None, ""),
    "bytes that are no UTF-8": (lambda r: (r / "bad.md").write_bytes(b"---\n---\n\xff"), "bad.md", None, "UTF-8"),  # type: ignore[arg-type,return-value]
    "two pages with one address": (page("x", "permalink: /index.html\n"), "", None, "rename"),
    "permalink that leaves the site": (page("x", "permalink: /../../x.html\n"), "", None, "inside the site"),
    "Sass without a compiler": (
        lambda r: put(r, "style.scss", "---\n---\na { b { c: d } }"),
        "style.scss",
        None,
        "Sass",
    ),
    "theme that is a gem": (
        lambda r: (
            put(r, "_config.yml", "theme: minima\n"),
            (r / "_layouts/default.html").unlink(),
            (r / "_layouts").rmdir(),
        ),  # type: ignore[arg-type,return-value]
        "_config.yml",
        None,
        "_layouts",
    ),
    "date that is none": (lambda r: put(r, "_posts/2020-13-45-x.md", "---\n---\nx"), "2020-13-45-x.md", None, "date"),
    "quotes nested too deep": (page(">" * 3000 + " x"), "bad.md", None, "deep"),
    "page that needs itself": (
        lambda r: put(r, "_posts/2020-01-01-x.md", "---\nlayout: default\n---\n{{ site.posts.first.excerpt }}"),
        "",
        None,
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_build_stops_and_the_last_site_stays(name: str, companion: Path, tmp_path: Path) -> None:
    change, file, line, words = CASES[name]
    site = tmp_path / "site"
    build_jekyll(companion, site)
    before = {p: p.read_bytes() for p in site.rglob("*") if p.is_file()}
    change(companion)
    if name == "page that needs itself":
        # Jekyll gives a page its own raw text here; what matters is that the build ends.
        build_jekyll(companion, site)
        return
    try:
        import sass  # noqa: F401

        if "Sass" in name:
            pytest.skip("a Sass compiler is installed")
    except ImportError:
        pass
    with pytest.raises(SiteError) as caught:
        build_jekyll(companion, site)
    assert words in str(caught.value)
    if file:
        assert caught.value.path is not None
        assert caught.value.path.name == file
    if line is not None:
        assert caught.value.line == line
    assert {p: p.read_bytes() for p in site.rglob("*") if p.is_file()} == before


def test_links_are_left_out(companion: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret.txt", "secret")
    (companion / "link.txt").symlink_to(tmp_path / "secret.txt")
    (companion / "folder").symlink_to(tmp_path)
    (companion / "_data" / "leak.txt").symlink_to(tmp_path / "secret.txt")
    site = tmp_path / "site"
    build_jekyll(companion, site)
    assert sorted(p.name for p in site.rglob("*") if p.is_file() and not p.name.startswith(".")) == ["index.html"]


def test_what_jekyll_passes_over_can_be_passed_over(companion: Path, tmp_path: Path) -> None:
    put(companion, "_config.yml", "strict_front_matter: false\nliquid: {strict_filters: false}\n")
    put(companion, "bad.md", "---\na: b: c\n---\n{{ 'x' | nofilter }}")
    build_jekyll(companion, tmp_path / "site")
    assert (tmp_path / "site" / "bad.html").read_text(encoding="utf-8") == "<p>x</p>\n"
