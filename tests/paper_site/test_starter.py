from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import ContentError, OutputError
from paper_site.starter import FILES, start_companion


@pytest.mark.parametrize("title", [None, 'Title: with "quotes" & <tags>', "- {{ 7 * 7 }} #"])
def test_a_new_companion_builds_and_passes_every_check(tmp_path: Path, title: str | None) -> None:
    folder = tmp_path / "paper"
    assert start_companion(folder, title=title) == list(FILES)
    build(folder, folder / "_site")
    assert check_site(folder / "_site") == []
    if title:
        assert yaml.safe_load((folder / "_data" / "site.yml").read_text(encoding="utf-8"))["title"] == title
        assert yaml.safe_load((folder / "CITATION.cff").read_text(encoding="utf-8"))["title"] == title


def test_the_example_job_of_a_new_companion_is_right_once_the_marks_are_taken_away(tmp_path: Path) -> None:
    start_companion(tmp_path)
    path = tmp_path / "_data" / "site.yml"
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("# evaluation:"))
    lines[first:] = [line.removeprefix("# ") for line in lines[first:]]
    lines = [
        line.removeprefix("# ") if line.startswith(("# short_title", "# venue", "# date", "# licence")) else line
        for line in lines
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert build(tmp_path, tmp_path / "_site").missing == ("reconstructions",)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    for folder in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(OutputError, match="empty"):
            start_companion(folder)
    with pytest.raises(ContentError, match="--title"):
        start_companion(tmp_path / "new", title=" ")
