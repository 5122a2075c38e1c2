from __future__ import annotations

import shutil
from pathlib import Path

import html5lib
import pytest

from paper_site.__main__ import main
from paper_site.check import check_site
from paper_site.errors import SiteError


@pytest.fixture
def site(built_site: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built_site, tmp_path / "site"))


def _messages(site: Path) -> str:
    return "\n".join(map(str, check_site(site)))


def test_the_example_has_no_problem(built_site: Path) -> None:
    assert check_site(built_site) == []


def test_an_independent_parser_agrees(built_site: Path) -> None:
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    pages = sorted(built_site.rglob("*.html"))
    assert len(pages) >= 8
    for page in pages:
        parser.parse(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</main>", '<a href="gone.html">x</a></main>', "'gone.html' leads nowhere"),
        ("</main>", '<a href="results.html#gone">x</a></main>', "no element has the id 'gone'"),
        ("</main>", '<a href="/results.html">x</a></main>', "is absolute"),
        ("</main>", '<a href="../../etc/passwd">x</a></main>', "leaves the site"),
        ("</main>", '<a href="javascript:alert(1)">x</a></main>', "script address"),
        ("</main>", '<a href="java&#9;script:alert(1)">x</a></main>', "script address"),
        ("</main>", '<a href="ftp://example.org">x</a></main>', "scheme 'ftp'"),
        ("</main>", '<img src="https://example.org/x.png" alt=""></main>', "asks another host"),
        ("</main>", '<img src="//example.org/x.png" alt=""></main>', "asks another host"),
        ("</main>", '<img srcset="x.png 1x, http://example.org/y.png 2x" src="x.png" alt="">', "asks another host"),
        ("</main>", '<img src="assets/css/icon.svg"></main>', "without alt"),
        ("</main>", '<audio controls src="assets/css/icon.svg"></audio></main>', "without a name"),
        ("</main>", '<p onclick="x()">x</p></main>', "inline handler"),
        ("</main>", '<p style="color: red">x</p></main>', "inline style"),
        ("</main>", "<script>1</script></main>", "inline script"),
        ("</main>", '<p id="main">x</p></main>', "stands twice"),
        ("</main>", '<p aria-labelledby="gone">x</p></main>', "which no element has"),
        ("</main>", "<div><b>x</div></b></main>", "while <b>"),
        ("</main>", "<p><div>x</div></p></main>", "</p> closes nothing"),
        ("</main>", "<section></main>", "while <section>"),
        ("</main>", '<p class="a" class="b">x</p></main>', "twice"),
        ("</main>", '<a href="index.html">x <button>y</button></a></main>', "inside another link"),
        ("</main>", '<p tabindex="2">x</p></main>', "out of the order"),
        ("</main>", "<h2>x</h2><h4>y</h4></main>", "<h4> follows <h2>"),
        ("</main>", "<table><tr><td>x</table></main>", "<table> without a header cell"),
        ("</main>", '<a href="index.html"><img src="assets/css/icon.svg" alt=""></a></main>', "<a> without a name"),
        ("</main>", "<button></button></main>", "<button> without a name"),
        ("</main>", "<select><option>1</select></main>", "<select> without a name"),
        ("</main>", '<div role="group">x</div></main>', "is a group without a name"),
        ("</main>", '<nav aria-label="Pages">x</nav></main>', "two <nav> are called 'Pages'"),
        (
            "</main>",
            '<div class="sample"><a href="index.html">x</a><a href="results.html">x</a></div></main>',
            "two links of a row are called 'x'",
        ),
        ("<title>", "<!--", "lacks <title>"),
        ("<h1", "<h2", "exactly one <h1>"),
    ],
)
def test_every_fault_is_found(site: Path, old: str, new: str, words: str) -> None:
    page = site / "index.html"
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert words in _messages(site)


def test_names_are_told_apart_as_far_as_they_must_be(site: Path) -> None:
    page = site / "index.html"
    text = page.read_text(encoding="utf-8")
    fine = (
        '<div class="sample"><a href="index.html">x</a><a href="index.html">x</a>'
        '<a class="num" href="results.html">x</a>'
        '<table><tr><th>a<td><a href="results.html">x</a></table></div><label>y <input></label>'
        '<label for="named">z</label><input id="named"><input type="hidden">'
        '<div class="prose"><table><tr><td>x</table></div></main>'
    )
    page.write_text(text.replace("</main>", fine, 1), encoding="utf-8")
    assert "index.html" not in "\n".join(one for one in _messages(site).splitlines() if "SHA256SUMS" not in one)


def test_altered_missing_and_orphan_audio_is_found(site: Path) -> None:
    folder = site / "assets" / "audio" / "tones"
    altered, missing, *_ = sorted(folder.glob("*.wav"))
    data = bytearray(altered.read_bytes())
    data[-1] ^= 1
    altered.write_bytes(bytes(data))
    missing.unlink()
    (folder / "orphan.ogg").write_bytes(b"OggS")
    (folder / "pointer.flac").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    text = _messages(site)
    assert f"{altered.name}' does not have the bytes" in text
    assert f"{missing.name}' is missing" in text
    assert "orphan.ogg: no page and no manifest" in text
    assert "pointer.flac: a Git LFS pointer" in text


def test_styles_that_ask_another_host_are_found(site: Path) -> None:
    style = site / "assets" / "css" / "site.css"
    style.write_text("@import 'https://example.org/x.css';\na{background:url(gone.png)}", encoding="utf-8")
    text = _messages(site)
    assert "asks another host" in text and "url(gone.png) leads nowhere" in text


def test_command_line(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(site)]) == 0
    assert "0 problems" in capsys.readouterr().out
    (site / "results.html").unlink()
    assert main(["check", str(site)]) == 1
    assert "leads nowhere" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SiteError):
        check_site(tmp_path)
