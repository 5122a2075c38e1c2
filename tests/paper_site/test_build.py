from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from paper_site import build as build_module
from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import ContentError, DataError
from paper_site.output import LEDGER

DATA = Path(__file__).resolve().parent.parent / "data"
GOLDEN = DATA / "site"


def _tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != LEDGER
    }


def _page(site: Path, name: str) -> str:
    return (site / name).read_text(encoding="utf-8")


def _golden(site: Path, page: Path) -> str:
    """A page without the tree hash, which every style sheet changes."""
    tree = json.loads((site / "tree.json").read_text(encoding="utf-8"))["tree_sha256"]
    return page.read_text(encoding="utf-8").replace(tree, "0" * 64)


def test_the_example_gives_the_golden_pages(built_site: Path) -> None:
    """``UPDATE_GOLDEN=1 pytest tests/paper_site/test_build.py`` takes the pages as they are; look at the difference."""
    pages = {p.relative_to(built_site).as_posix(): p for p in sorted(built_site.rglob("*.html"))}
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for name, page in pages.items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(_golden(built_site, page), encoding="utf-8")
    assert sorted(pages) == sorted(p.relative_to(GOLDEN).as_posix() for p in GOLDEN.rglob("*.html"))
    for name, page in pages.items():
        assert _golden(built_site, page) == _page(GOLDEN, name), name


def test_a_second_build_writes_nothing_and_a_clean_one_gives_the_same_bytes(companion: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    build(companion, first)
    before = _tree(first)
    again = build(companion, first)
    assert (again.written.changed, again.written.removed) == (0, 0)
    build(companion, second)
    assert _tree(first) == before == _tree(second)


def test_one_changed_line_changes_the_pages_that_show_it(companion: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build(companion, site)
    before = _tree(site)
    path = companion / "_data" / "tones.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("pitch: 77", "pitch: 78"), encoding="utf-8")
    build(companion, site)
    changed = {name for name, digest in _tree(site).items() if before.get(name) != digest}
    sealed = {"reproduce.html", "tree.json", "SHA256SUMS"}
    assert changed == {"listen/tones.html", "about.html", "data/tones.yml", *sealed}


def test_hostile_labels_are_text_everywhere(built_site: Path) -> None:
    for page in built_site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>" not in text
        assert "<b>string" not in text
    listening = _page(built_site, "listen/tones.html")
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quoted&#34; ../../Ünïcode" in listening
    assert "&lt;silent&gt;" in _page(built_site, f"runs/{next((built_site / 'runs').glob('*.html')).name}")


def test_a_loop_over_the_manifest_works_as_with_jekyll(built_site: Path) -> None:
    about = _page(built_site, "about.html")
    assert about.count("<tr>") == 3 + 4
    assert (
        '<a href="./assets/audio/tones/brass_acoustic_046-069-075-original.ogg">brass_acoustic_046-069-075</a>' in about
    )
    assert about.index("brass_acoustic") < about.index("flute_acoustic")
    assert "<math" in about


def test_the_first_page_shows_the_metrics_that_its_text_asks_for(companion: Path, tmp_path: Path) -> None:
    text = companion / "index.md"
    text.write_text("---\nlayout: home\nheadline: [si_sdr]\n---\n", encoding="utf-8")
    build(companion, tmp_path / "site")
    page = _page(tmp_path / "site", "index.html")
    assert "metric-si_sdr" in page and 'metric-log_spectral_distance">Log' not in page
    text.write_text("---\nlayout: home\nheadline: [si_srd]\n---\n", encoding="utf-8")
    with pytest.raises(ContentError, match="did you mean 'si_sdr'"):
        build(companion, tmp_path / "site")


def test_names_of_systems_may_hold_digits(companion: Path, tmp_path: Path) -> None:
    path = companion / "_data" / "results" / "tones.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for system in document["systems"]:
        system["title"] = f"{system['title']} 77-2"
    path.write_text(json.dumps(document), encoding="utf-8")
    for name in ("tones.yml", "tones_worst.yml"):
        manifest = companion / "_data" / name
        text = manifest.read_text(encoding="utf-8")
        for title in ("Toy codec", "Toy phase recovery"):
            text = text.replace(f"title: {title}", f"title: {title} 77-2")
        manifest.write_text(text, encoding="utf-8")
    build(companion, tmp_path / "site")
    assert _page(tmp_path / "site", "results.html").count("Toy codec 77-2") > 5


def test_numbers_link_to_their_run(built_site: Path) -> None:
    results = _page(built_site, "results.html")
    means, differences, standings, effects, sets, own, codes = 6, 3, 6 * 3, 3 * 6, 1 + 2, 2 * 2, 2
    assert results.count('class="num') == means + differences + standings + effects + sets + own + codes
    assert results.count('class="num best"') == 2  # one difference holds zero
    assert "1 undefined" in results and "1 failed" in results
    # A metric that no system has a value of says nothing.
    assert "Different bins" not in results
    listening = _page(built_site, "listen/tones.html")
    assert ">undefined</a>" in listening and 'title="the reference is silent"' in listening
    assert "3 of 12 clips, drawn at random with the seed 7." in listening
    assert "The worst clips" in listening


def test_a_weak_model_is_called_weak(built_site: Path) -> None:
    assert "Weaker than Toy codec." in _page(built_site, "models/phase.html")
    strong = _page(built_site, "models/codec.html")
    assert "Stronger than Toy phase recovery." in strong
    assert "No difference shown in 1" in strong


def test_without_an_evaluation_the_pages_say_so(companion: Path, tmp_path: Path) -> None:
    for name in ("_data", "assets", "about.md"):
        path = companion / name
        if path.is_dir():
            for inner in sorted(path.rglob("*"), reverse=True):
                if inner.is_file() and inner.name != "site.yml":
                    inner.unlink()
        else:
            path.unlink()
    site = tmp_path / "site"
    report = build(companion, site)
    assert report.missing == ("tones",)
    assert "Results that are not there yet" in _page(site, "index.html")
    assert "python build_site.py" in _page(site, "results.html")
    assert "has not been run" in _page(site, "listen/tones.html")
    assert check_site(site) == []


def test_texts_add_and_replace_pages(companion: Path, tmp_path: Path) -> None:
    (companion / "index.md").write_text("---\nlayout: default\ntitle: Mine\n---\nOwn first page\n", encoding="utf-8")
    (companion / "results.md").write_text("---\n---\nA word **before** the tables\n", encoding="utf-8")
    (companion / "deep.html").write_text(
        "---\npermalink: /x/y/\ntitle: Deep\n---\n<p>{{ site.baseurl }}</p>", encoding="utf-8"
    )
    (companion / "notes.txt").write_text("not a page", encoding="utf-8")
    (companion / "plain.md").write_text("no front matter", encoding="utf-8")
    (companion / "_draft.md").write_text("---\n---\nhidden", encoding="utf-8")
    site = tmp_path / "site"
    build(companion, site)
    assert "Own first page" in _page(site, "index.html") and "Results in short" not in _page(site, "index.html")
    assert "<strong>before</strong>" in _page(site, "results.html") and "matrix" in _page(site, "results.html")
    assert "<p>../../</p>" in _page(site, "x/y/index.html")
    assert not (site / "plain.html").exists() and not (site / "_draft.html").exists()
    assert check_site(site) == []


def test_layouts_and_includes_of_the_companion_go_first(companion: Path, tmp_path: Path) -> None:
    (companion / "_layouts").mkdir()
    (companion / "_includes").mkdir()
    (companion / "_layouts" / "mine.html").write_text(
        '{% extends "base.html" %}{% block main %}<h1>{{ page.title }}</h1>{{ content }}{% endblock %}',
        encoding="utf-8",
    )
    (companion / "_includes" / "hello.html").write_text("Hello {{ page.who }}", encoding="utf-8")
    (companion / "_includes" / "player.html").write_text("<!-- no player -->", encoding="utf-8")
    (companion / "own.md").write_text(
        '---\nlayout: mine\ntitle: Own\nwho: <you>\n---\n{% include "hello.html" %}\n', encoding="utf-8"
    )
    site = tmp_path / "site"
    build(companion, site)
    assert "<h1>Own</h1>" in _page(site, "own.html")
    assert "Hello &lt;you&gt;" in _page(site, "own.html")
    assert "<!-- no player -->" in _page(site, "listen/tones.html")


@pytest.mark.parametrize(
    ("name", "text", "words", "line"),
    [
        ("a.md", "---\ntitle: A\n---\n\nx\n{{ nosuch }}\n", "'nosuch' is undefined", 6),
        ("a.md", "---\ntitle: A\n---\n{% nosuch %}\n", "unknown tag 'nosuch'", 4),
        ("a.md", "---\ntitle: A\n---\nx\n{{ 1 | nosuch }}\n", "No filter named 'nosuch'", 5),
        ("a.md", "---\ntitle: A\n---\n{% if 1 %}\n", "Unexpected end of template", 4),
        ("a.md", "---\ntitle: A\n---\n\n\n$\\nosuch$\n", "wrong formula", 6),
        ("a.md", "---\ntitle: A\n---\n{{ ''.__class__.__mro__ }}\n", "__class__", 4),
        ("a.md", "---\ntitle: A\n---\n{% include 'gone.html' %}\n", "gone.html", 4),
        ("a.md", "---\nlayout: gone\n---\nx\n", "there is no template 'gone.html'", None),
        ("a.md", "---\ntitle: A\n---\n{{ 1 / 0 }}\n", "ZeroDivisionError", 4),
        ("a.md", "---\npermalink: /../../x\n---\nx\n", "leaves the site", 2),
        ("a.md", "---\npermalink: /results.html\n---\nx\n", "two pages want the path results.html", None),
    ],
)
def test_wrong_texts_stop_the_build_with_file_and_line(
    companion: Path, tmp_path: Path, name: str, text: str, words: str, line: int | None
) -> None:
    site = tmp_path / "site"
    build(companion, site)
    before = _tree(site)
    (companion / name).write_text(text, encoding="utf-8")
    with pytest.raises(ContentError) as caught:
        build(companion, site)
    assert words in str(caught.value)
    if line is not None:
        assert (caught.value.path, caught.value.line) == (companion / name, line)
    assert _tree(site) == before  # the last good site stays whole


def test_includes_that_include_each_other_stop_the_build(companion: Path, tmp_path: Path) -> None:
    (companion / "_includes").mkdir()
    (companion / "_includes" / "a.html").write_text('{% include "a.html" %}', encoding="utf-8")
    (companion / "a.md").write_text('---\ntitle: A\n---\n{% include "a.html" %}\n', encoding="utf-8")
    with pytest.raises(ContentError):
        build(companion, tmp_path / "site")


def test_navigation_to_an_unknown_page_is_refused(companion: Path, tmp_path: Path) -> None:
    path = companion / "_data" / "site.yml"
    text = (
        path.read_text(encoding="utf-8")
        + "navigation:\n  - {title: Home, page: index}\n  - {title: R, page: resluts}\n"
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"navigation\[1\]\.page: .*'resluts'; did you mean 'results'") as caught:
        build(companion, tmp_path / "site")
    assert caught.value.line == len(text.splitlines())


def test_navigation_finds_pages_by_short_names(companion: Path, tmp_path: Path) -> None:
    path = companion / "_data" / "site.yml"
    text = "navigation:\n  - {title: L, page: listen}\n  - {title: W, page: listen/tones#worst}\n"
    text += "  - {title: A, page: /about.md}\n"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    build(companion, tmp_path / "site")
    page = _page(tmp_path / "site", "models/codec.html")
    for target in ("../listen/tones.html", "../listen/tones.html#worst", "../about.html"):
        assert f'href="{target}"' in page


def test_leftovers_of_an_earlier_selection_are_not_published(companion: Path, tmp_path: Path) -> None:
    left = companion / "assets" / "audio" / "tones" / "old-original.ogg"
    left.write_bytes(b"OggS")
    (companion / "assets" / "files").mkdir()
    (companion / "assets" / "files" / "poster.pdf").write_bytes(b"%PDF")
    build(companion, tmp_path / "site")
    assert not (tmp_path / "site" / "assets" / "audio" / "tones" / "old-original.ogg").exists()
    assert (tmp_path / "site" / "assets" / "files" / "poster.pdf").exists()


def test_the_site_knows_nothing_of_the_machine(built_site: Path) -> None:
    for page in built_site.rglob("*"):
        if page.suffix in {".html", ".json", ".css", ".js"}:
            assert str(build_module.PROJECT) not in page.read_text(encoding="utf-8")


def test_numbers_without_samples_have_no_listening_table(companion: Path, tmp_path: Path) -> None:
    results = companion / "_data" / "results" / "tones.json"
    document = json.loads(results.read_text(encoding="utf-8"))
    document["selection"]["count"] = 0
    results.write_text(json.dumps(document), encoding="utf-8")
    for name in ("tones.yml", "tones_worst.yml"):
        (companion / "_data" / name).unlink()
    shutil.rmtree(companion / "assets")
    (companion / "about.md").unlink()
    site = tmp_path / "site"
    build(companion, site)
    assert not (site / "listen").exists() and "listen/tones.html" not in _page(site, "models/codec.html")
    assert 'class="num' in _page(site, "results.html")


def test_collections_of_texts_have_pages_and_are_listed(companion: Path, tmp_path: Path) -> None:
    site_yml = companion / "_data" / "site.yml"
    site_yml.write_text(site_yml.read_text(encoding="utf-8") + "collections: [notes]\n", encoding="utf-8")
    (companion / "_notes").mkdir()
    for name, title in (("b", "Second <b>"), ("a", "First")):
        (companion / "_notes" / f"{name}.md").write_text(f"---\ntitle: {title}\n---\n$x$ {name}\n", encoding="utf-8")
    (companion / "list.md").write_text(
        "---\n---\n{% for note in site.notes %}\n- [{{ note.title }}]({{ site.baseurl }}{{ note.url }})\n"
        "{% endfor %}\n",
        encoding="utf-8",
    )
    site = tmp_path / "site"
    build(companion, site)
    assert "<h1>First</h1>" in _page(site, "notes/a.html")
    listed = _page(site, "list.html")
    assert '<a href="./notes/a.html">First</a>' in listed
    assert '<a href="./notes/b.html">Second &lt;b&gt;</a>' in listed
    assert listed.index("First") < listed.index("Second")
    assert check_site(site) == []
    site_yml.write_text(site_yml.read_text(encoding="utf-8").replace("[notes]", "[models]"), encoding="utf-8")
    with pytest.raises(DataError, match="collections"):
        build(companion, site)
