from __future__ import annotations

from pathlib import Path

from paper_site.build import build
from paper_site.check import check_site
from tests.benchmarks.large_companion import make_large


def test_the_large_companion_is_a_right_one(tmp_path: Path) -> None:
    source = make_large(tmp_path / "companion", 30)
    assert build(source, tmp_path / "site").samples == 30
    assert check_site(tmp_path / "site") == []
