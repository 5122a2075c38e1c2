"""Builds after builds: what is rendered again is what has to be, and the site is the one of a clean build."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paper_site.jekyll import is_jekyll, quick
from paper_site.jekyll.build import build_jekyll

ROOT = Path(__file__).resolve().parents[3]
COMPANION = ROOT / "tests" / "data" / "jekyll" / "companion"
LEDGER = ".earwitness-site.json"


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LEDGER
    }


def whole(folder: Path) -> dict[str, bytes]:
    """The ledger too: it is published, and equal sites are to be equal to the last byte."""
    return {**tree(folder), LEDGER: (folder / LEDGER).read_bytes()}


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make_samples(root: Path, count: int) -> dict[str, dict[str, int]]:
    data = {f"s{i:03d}": {"pitch": 24 + i % 60} for i in range(count)}
    put(root, "_config.yml", "title: t\n")
    put(root, "_data/samples.json", json.dumps(data))
    put(root, "_data/other.yml", "x: 1\ny: {z: 2}\n")
    put(root, "_layouts/default.html", "<title>{{ page.title }}</title>{{ content }}{% include foot.html %}")
    put(root, "_layouts/bare.html", "{{ content }}")
    put(root, "_includes/foot.html", "<footer>{{ site.data.other.x }}</footer>")
    put(
        root,
        "index.md",
        "---\nlayout: bare\n---\n{% for s in site.data.samples %}<p>{{ s[0] }}</p>{% endfor %}\n",
    )
    put(root, "list.md", "---\nlayout: bare\n---\n{% for p in site.pages %}{{ p.url }} {{ p.title }}\n{% endfor %}\n")
    put(root, "assets/a.txt", "a")
    for key in data:
        put(
            root,
            f"samples/{key}.md",
            f"---\nlayout: default\ntitle: {key}\n---\n<p>{{{{ site.data.samples['{key}'].pitch }}}}</p>\n",
        )
    return data


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    make_samples(root, 20)
    return root


def test_two_builds_and_two_processes_give_the_same_bytes(tmp_path: Path) -> None:
    source = Path(shutil.copytree(COMPANION, tmp_path / "source"))
    build_jekyll(source, tmp_path / "a", parallel=False)
    build_jekyll(source, tmp_path / "b", parallel=True)
    assert whole(tmp_path / "a") == whole(tmp_path / "b")


def test_nothing_is_written_when_nothing_changed(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    first = build_jekyll(samples, site)
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    again = build_jekyll(samples, site)
    assert first.written.changed == len(tree(site))
    assert (again.written.changed, again.reasons) == (0, {})
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


def test_without_a_state_the_files_that_are_right_stay(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    shutil.rmtree(samples / ".cache")
    put(site, "samples/s001.html", "tampered")
    # The page that was changed, and the file to copy, of which only the state knew that it was right.
    assert build_jekyll(samples, site).written.changed == 2


def test_one_value_of_the_data_renders_one_page(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    data = json.loads((samples / "_data/samples.json").read_text(encoding="utf-8"))
    data["s007"]["pitch"] = 987654
    put(samples, "_data/samples.json", json.dumps(data))
    report = build_jekyll(samples, site)
    assert report.reasons == {"samples/s007.md": "site.data.samples.s007.pitch changed"}
    assert report.written.changed == 1
    assert "987654" in (site / "samples/s007.html").read_text(encoding="utf-8")


def test_a_new_key_renders_the_page_that_loops_over_the_keys(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    data = json.loads((samples / "_data/samples.json").read_text(encoding="utf-8"))
    data["new"] = {"pitch": 1}
    put(samples, "_data/samples.json", json.dumps(data))
    assert set(build_jekyll(samples, site).reasons) == {"index.md"}
    assert "<p>new</p>" in (site / "index.html").read_text(encoding="utf-8")


def test_an_included_file_renders_the_pages_that_use_it(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    put(samples, "_includes/foot.html", "<footer>new</footer>")
    report = build_jekyll(samples, site)
    assert set(report.reasons) == {f"samples/s{i:03d}.md" for i in range(20)}


def test_a_page_renders_itself_and_the_list(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    put(samples, "samples/s003.md", "---\nlayout: default\ntitle: Renamed\n---\nx\n")
    assert set(build_jekyll(samples, site).reasons) == {"samples/s003.md", "list.md"}
    assert "Renamed" in (site / "list.html").read_text(encoding="utf-8")


def test_what_somebody_changed_in_the_site_is_mended(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    before = tree(site)
    put(site, "samples/s001.html", "tampered")
    (site / "samples/s002.html").unlink()
    (site / "assets/a.txt").unlink()
    build_jekyll(samples, site)
    assert tree(site) == before


def random_edit(rng: random.Random, root: Path, step: int) -> None:
    choice = rng.randrange(9)
    pages = sorted(p.name for p in (root / "samples").iterdir())
    data = json.loads((root / "_data/samples.json").read_text(encoding="utf-8"))
    if choice <= 2:
        data[rng.choice(list(data))]["pitch"] = step
        put(root, "_data/samples.json", json.dumps(data))
    elif choice == 3:
        data[f"new{step}"] = {"pitch": step}
        put(root, "_data/samples.json", json.dumps(data))
    elif choice == 4:
        put(root, f"samples/{rng.choice(pages)}", f"---\nlayout: bare\ntitle: T{step}\n---\n# {step} *x*\n")
    elif choice == 5:
        put(root, f"samples/add{step}.md", f"---\ntitle: A{step}\n---\n{{{{ site.data.other.y | jsonify }}}}\n")
    elif choice == 6 and len(pages) > 5:
        (root / "samples" / rng.choice(pages)).unlink()
    elif choice == 7:
        put(root, "_data/other.yml", f"x: {step}\ny: {{z: {step % 3}}}\n")
    else:
        put(
            root, rng.choice(["_includes/foot.html", "_layouts/bare.html", "assets/a.txt"]), f"{{{{ content }}}} {step}"
        )


def test_after_any_edit_the_site_is_that_of_a_clean_build(samples: Path, tmp_path: Path) -> None:
    rng = random.Random(3)
    site = tmp_path / "site"
    build_jekyll(samples, site)
    for step in range(25):
        random_edit(rng, samples, step)
        build_jekyll(samples, site)
        clean = tmp_path / "clean"
        build_jekyll(samples, clean)
        assert whole(site) == whole(clean), step
        shutil.rmtree(clean)
        shutil.rmtree(samples / quick.place("", str(clean)))


@pytest.mark.parametrize("text", ["", "{", '{"version": 1}', "[]", '{"version": 1, "tool": 3, "files": 1}'])
def test_a_broken_state_is_not_used(text: str, samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_jekyll(samples, site)
    state = Path(quick.place(str(samples), str(site))) / "state.json"
    state.write_text(text, encoding="utf-8")
    put(samples, "assets/a.txt", "b")
    assert len(build_jekyll(samples, site).reasons) == 22


def test_the_second_process_says_what_is_wrong(samples: Path, tmp_path: Path) -> None:
    from paper_site.errors import ContentError

    put(samples, "samples/s019.md", "---\ntitle: x\n---\n\n{% nonsense %}\n")
    with pytest.raises(ContentError, match="nonsense") as caught:
        build_jekyll(samples, tmp_path / "site", parallel=True)
    assert (caught.value.path, caught.value.line) == (samples / "samples/s019.md", 5)
    assert not (tmp_path / "site").exists()


def test_only_folders_with_a_configuration_and_no_manifest_are_jekyll(samples: Path) -> None:
    assert is_jekyll(samples)
    put(samples, "_data/site.yml", "x")
    assert not is_jekyll(samples)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "build_site.py"), *arguments], capture_output=True, text=True)


def test_the_command_builds_and_then_has_nothing_to_do(samples: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    first = command("--source", str(samples), "--destination", str(site))
    assert (first.returncode, first.stderr) == (0, "")
    assert "22 pages and 1 files of a Jekyll companion" in first.stdout
    assert quick.nothing_to_do(str(samples), str(site)) is not None
    assert quick.only_folders(["--source", str(samples), "--explain"]) is None
    again = command("--source", str(samples), "--destination", str(site))
    assert "(0 files written, 23 unchanged, 0 removed)" in again.stdout
    put(samples, "assets/a.txt", "b")
    assert quick.nothing_to_do(str(samples), str(site)) is None
    wrong = command("--source", str(samples), "--destination", str(samples))
    assert (wrong.returncode, "holds the source" in wrong.stderr) == (2, True)


def test_finding_nothing_to_do_loads_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); from paper_site.jekyll import quick; quick.nothing_to_do('', '');"
        " print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(eval(done.stdout))  # noqa: S307
    assert loaded <= {"paper_site", "paper_site.jekyll", "paper_site.jekyll.quick", "_blake2", "marshal", "__future__"}
