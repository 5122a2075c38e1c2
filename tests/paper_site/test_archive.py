from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from paper_site.archive import pack
from paper_site.check import check_site
from paper_site.errors import OutputError


def test_the_archive_unpacks_to_the_site_and_is_the_same_every_time(built_site: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(built_site, tmp_path / "other", copy_function=shutil.copyfile))
    first, second = pack(built_site, tmp_path / "site.zip"), tmp_path / "again"
    second.mkdir()
    assert pack(other, second / "site.zip").path.read_bytes() == first.path.read_bytes()
    with zipfile.ZipFile(first.path) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        archive.extractall(tmp_path / "unpacked")
    assert check_site(tmp_path / "unpacked" / "site") == []
    assert first.files == sum(1 for p in (tmp_path / "unpacked").rglob("*") if p.is_file())
    assert not list((tmp_path / "unpacked").rglob(".*"))


def test_its_time_is_that_of_the_source(built_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with zipfile.ZipFile(pack(built_site, tmp_path / "site.zip").path) as archive:
        assert archive.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)


def test_a_site_too_large_for_its_host_is_refused(built_site: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"more than the 1e-05 GB of the common host.*the largest files: "):
        pack(built_site, tmp_path / "site.zip", limit_bytes=10_000)
    with pytest.raises(OutputError, match=r"no index\.html"):
        pack(tmp_path, tmp_path / "site.zip")
    assert not (tmp_path / "site.zip").exists()
    with pytest.raises(OutputError, match="cannot be written"):
        pack(built_site, tmp_path / "none" / "site.zip")
