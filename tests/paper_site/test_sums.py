from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from paper_site.build import build
from paper_site.check import check_site
from paper_site.sums import PLACEHOLDER, SUMS, TREE, check_sums, read_sums, tree_hash


def _tree(site: Path) -> str:
    return str(json.loads((site / TREE).read_text(encoding="utf-8"))["tree_sha256"])


def test_the_sums_name_every_file_and_the_page_prints_the_tree_hash(built_site: Path) -> None:
    listed = read_sums((built_site / SUMS).read_text(encoding="utf-8"))
    files = {p.relative_to(built_site).as_posix() for p in built_site.rglob("*") if p.is_file()}
    assert {name for name in files if not name.startswith(".")} == {*listed, SUMS}
    for name, digest in listed.items():
        assert hashlib.sha256((built_site / name).read_bytes()).hexdigest() == digest
    assert list(listed) == sorted(listed, key=str.encode)
    page = (built_site / "reproduce.html").read_text(encoding="utf-8")
    assert _tree(built_site) in page and PLACEHOLDER not in page
    assert _tree(built_site) == tree_hash({k: v for k, v in listed.items() if k not in {"reproduce.html", TREE}})
    assert check_sums(built_site) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_commands_on_the_page_say_what_the_page_says(built_site: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=built_site, check=True)
    command = f"grep -v -e '  reproduce.html$' -e '  tree.json$' {SUMS} | sha256sum"
    assert command in (built_site / "reproduce.html").read_text(encoding="utf-8").replace("&#39;", "'")
    done = subprocess.run(command, shell=True, cwd=built_site, check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] == _tree(built_site)


def test_one_changed_byte_changes_the_tree_hash(companion: Path, built_site: Path, tmp_path: Path) -> None:
    build(companion, tmp_path / "same")
    assert _tree(tmp_path / "same") == _tree(built_site)
    about = companion / "about.md"
    about.write_text(about.read_text(encoding="utf-8") + ".", encoding="utf-8")
    build(companion, tmp_path / "other")
    assert _tree(tmp_path / "other") != _tree(built_site)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: (s / "about.html").write_text("x"), "about.html: the bytes are not those"),
        (lambda s: (s / "new.txt").write_text("x"), "new.txt: SHA256SUMS does not list"),
        (lambda s: (s / TREE).write_text(json.dumps({"without": [], "tree_sha256": "0"})), "the tree hash is"),
        (lambda s: (s / SUMS).write_text("x\n"), "cannot be read"),
        (lambda s: next((s / "data").glob("*.yml")).unlink(), "lists this file and it is missing"),
    ],
)
def test_what_was_changed_after_the_build_is_found(built_site: Path, tmp_path: Path, change: Any, words: str) -> None:
    site = Path(shutil.copytree(built_site, tmp_path / "site"))
    change(site)
    assert words in "\n".join(map(str, check_site(site)))
