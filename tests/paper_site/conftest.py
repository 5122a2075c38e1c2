"""The example companion, fresh for every test that changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "data" / "companion"


@pytest.fixture
def companion(tmp_path: Path) -> Path:
    """A copy of the example companion."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "companion"))


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site of the example companion; not to be changed."""
    from paper_site.build import build

    site = tmp_path_factory.mktemp("built") / "site"
    build(EXAMPLE, site)
    return site
