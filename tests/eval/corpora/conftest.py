from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of files are remembered in a folder of the test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shared_corpora() -> Path:
    """The development recordings beside the repository."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("no development recordings beside the repository")
    return folder
