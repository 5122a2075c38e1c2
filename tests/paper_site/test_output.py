from __future__ import annotations

import os
from pathlib import Path

import pytest

from paper_site.errors import OutputError
from paper_site.output import LEDGER, PART, safe_path, write_site


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "src" / "_data").mkdir(parents=True)
    return tmp_path / "src", tmp_path / "out"


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a/./b", "a\\b", "a\nb", "."])
def test_paths_that_leave_the_site_are_refused(name: str, place: tuple[Path, Path]) -> None:
    with pytest.raises(OutputError):
        safe_path(name)
    with pytest.raises(OutputError):
        write_site(place[1], place[0], {name: b"x"}, {})
    assert not place[1].exists() or not any(p.name != LEDGER for p in place[1].iterdir())


def test_only_changed_files_are_written_and_stale_ones_removed(place: tuple[Path, Path]) -> None:
    source, out = place
    clip = source / "a.wav"
    clip.write_bytes(b"RIFF")
    first = write_site(out, source, {"index.html": b"1", "a/b.html": b"2"}, {"assets/a.wav": clip})
    assert (first.changed, first.unchanged, first.removed) == (3, 0, 0)
    before = (out / "index.html").stat().st_mtime_ns
    again = write_site(out, source, {"index.html": b"1", "a/b.html": b"2"}, {"assets/a.wav": clip})
    assert (again.changed, again.unchanged, again.removed) == (0, 3, 0)
    assert (out / "index.html").stat().st_mtime_ns == before
    clip.write_bytes(b"RIFFx")
    third = write_site(out, source, {"index.html": b"1"}, {"assets/a.wav": clip})
    assert (third.changed, third.unchanged, third.removed) == (1, 1, 1)
    assert not (out / "a").exists()
    assert (out / "assets" / "a.wav").read_bytes() == b"RIFFx"


def test_a_damaged_file_is_written_again(place: tuple[Path, Path]) -> None:
    source, out = place
    write_site(out, source, {"index.html": b"good"}, {})
    (out / "index.html").write_bytes(b"damaged")
    write_site(out, source, {"index.html": b"good"}, {})
    assert (out / "index.html").read_bytes() == b"good"


def test_files_of_others_stay(place: tuple[Path, Path]) -> None:
    source, out = place
    write_site(out, source, {"index.html": b"1"}, {})
    (out / "CNAME").write_text("example.org", encoding="utf-8")
    write_site(out, source, {"index.html": b"2"}, {})
    assert (out / "CNAME").exists()


def test_destinations_that_hold_something_else_are_refused(place: tuple[Path, Path]) -> None:
    source, out = place
    out.mkdir()
    (out / "thesis.tex").write_text("years of work", encoding="utf-8")
    for wrong in (out, source, source.parent, source / "assets", source / "_data", source / "src.txt"):
        if wrong.name == "src.txt":
            wrong.write_text("x", encoding="utf-8")
        with pytest.raises(OutputError):
            write_site(wrong, source, {"index.html": b"1"}, {})
    assert sorted(p.name for p in out.iterdir()) == ["thesis.tex"]
    assert write_site(source / "_site", source, {"index.html": b"1"}, {}).changed == 1


def test_links_inside_the_destination_are_not_followed(place: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = place
    write_site(out, source, {"index.html": b"1"}, {})
    outside = tmp_path / "outside"
    outside.mkdir()
    (out / "assets").symlink_to(outside)
    with pytest.raises(OutputError, match="link"):
        write_site(out, source, {"assets/a.html": b"x"}, {})
    assert not any(outside.iterdir())


def test_an_unwritable_destination_is_one_clear_line(place: tuple[Path, Path], tmp_path: Path) -> None:
    source, _ = place
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="file"):
        write_site(tmp_path / "file" / "site", source, {"index.html": b"1"}, {})


def test_a_copy_follows_its_source_also_where_size_and_time_stay(place: tuple[Path, Path]) -> None:
    source, out = place
    clip = source / "a.wav"
    clip.write_bytes(b"RIFF1")
    write_site(out, source, {}, {"a.wav": clip})
    stat = clip.stat()
    with clip.open("r+b") as file:
        file.write(b"RIFF2")
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert write_site(out, source, {}, {"a.wav": clip}).changed == 1
    assert (out / "a.wav").read_bytes() == b"RIFF2"
    clip.touch()
    assert write_site(out, source, {}, {"a.wav": clip}).changed == 0


def test_what_a_killed_build_left_is_cleared_away(place: tuple[Path, Path]) -> None:
    source, out = place
    write_site(out, source, {"index.html": b"1"}, {})
    (out / PART).write_bytes(b"half a fi")
    write_site(out, source, {"index.html": b"1"}, {})
    assert not (out / PART).exists()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_files_can_be_read_by_the_web_server_whatever_the_umask(place: tuple[Path, Path], umask: int) -> None:
    source, out = place
    (source / "a.wav").write_bytes(b"RIFF")
    before = os.umask(umask)
    try:
        write_site(out, source, {"index.html": b"1"}, {"assets/a.wav": source / "a.wav"})
    finally:
        os.umask(before)
    assert {p.stat().st_mode & 0o777 for p in out.rglob("*") if p.is_file()} == {0o644}
