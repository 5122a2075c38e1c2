"""Write the site: only files that changed, never outside the destination, and nothing that we did not make removed."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from paper_site.cache import is_young, stamp_of
from paper_site.errors import OutputError

LEDGER = ".earwitness-site.json"
PART = ".earwitness-part"
_UNSAFE = re.compile(r"^/|(?:^|/)\.{1,2}(?:/|$)|[\\\x00-\x1f]")


@dataclass(frozen=True)
class Written:
    """What one call of `write_site` did, in files."""

    changed: int
    unchanged: int
    removed: int


@dataclass(frozen=True)
class Rendered:
    """A rendered file whose bytes are only fetched when they have to be written.

    Attributes:
        sha256: Of the bytes, in hexadecimal digits.
        read: Gives the bytes.
    """

    sha256: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, data: bytes) -> Rendered:
        """Wrap bytes that are there."""
        return cls(hashlib.sha256(data).hexdigest(), lambda: data)


def safe_path(name: str) -> PurePosixPath:
    """Check a path inside the site.

    Raises:
        OutputError: If it is absolute, leaves the site, or holds characters that some systems refuse.
    """
    if not name or _UNSAFE.search(name):
        raise OutputError(f"the path {name!r} does not stay inside the site")
    return PurePosixPath(name)


def check_destination(destination: Path, source: Path) -> None:
    """Refuse a destination that would overwrite something else.

    Raises:
        OutputError: If it is the source or a folder around it, is a folder of the source other than one whose name
            begins with an underscore, is a file, or holds files that we did not make.
    """
    target, origin = destination.resolve(), source.resolve()
    if target == origin or target in origin.parents:
        raise OutputError(f"the destination {destination} holds the source; choose another folder")
    if origin in target.parents:
        first = target.relative_to(origin).parts[0]
        if not first.startswith(("_", ".")) or first in {"_data", "_layouts", "_includes", ".git"}:
            raise OutputError(f"the destination {destination} lies in the source's folder {first!r}; choose _site")
    if target.exists() and not target.is_dir():
        raise OutputError(f"the destination {destination} is not a folder")
    if target.is_dir() and not (target / LEDGER).is_file() and any(target.iterdir()):
        raise OutputError(
            f"the destination {destination} is not empty and was not made by this builder; empty it or choose another"
        )


def _read_ledger(destination: Path) -> dict[str, dict[str, Any]]:
    try:
        files = json.loads((destination / LEDGER).read_text(encoding="utf-8"))["files"]
        return {str(name): dict(entry) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_ledger(destination: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    text = json.dumps({"schema_version": 1, "files": dict(sorted(files.items()))}, separators=(",", ":"))
    _write_bytes(destination, LEDGER, text.encode())


@contextmanager
def _replacing(destination: Path, name: str) -> Iterator[int]:
    """A temporary file that takes the place of a file of the site when all went well, and is removed otherwise."""
    # One build writes at a time, one file at a time: what a killed one leaves is this one file.
    temporary = f"{destination}/{PART}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o644)
            yield descriptor
        finally:
            os.close(descriptor)
        os.replace(temporary, f"{destination}/{name}")  # noqa: PTH105 (half the time, and there may be very many)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_bytes(destination: Path, name: str, data: bytes) -> None:
    with _replacing(destination, name) as descriptor:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def _copy(source: Path, destination: Path, name: str) -> None:
    with _replacing(destination, name) as descriptor, source.open("rb", buffering=0) as file:
        # Whole files of this size are read and written at once; longer ones by parts.
        while block := file.read(1 << 20):
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]


def _same_bytes(one: Path, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _inside(destination: Path, name: str, known_folders: set[str]) -> str:
    """Make the folder of a file, following no link out of the destination."""
    folder = name.rpartition("/")[0]
    if folder not in known_folders:
        parent = destination / folder
        parent.mkdir(parents=True, exist_ok=True)
        if not parent.resolve().is_relative_to(destination):
            raise OutputError(f"{parent} is a link that leaves the destination; remove it")
        known_folders.add(folder)
    return f"{destination}/{name}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source_stamp(path: Path, now_ns: int) -> list[int] | None:
    """The stamp of a file to copy; None for one so young that it could still change without another stamp."""
    try:
        stamp = stamp_of(os.stat(path))  # noqa: PTH116 (a third of the time, and there may be very many)
    except OSError:
        return None
    return None if is_young(stamp, now_ns) else list(stamp)


def _stamp(path: str | Path) -> list[int] | None:
    try:
        stat = os.lstat(path)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def write_site(
    destination: Path, source: Path, pages: Mapping[str, bytes | Rendered], copies: Mapping[str, Path]
) -> Written:
    """Bring the destination to the given state.

    Args:
        destination: Folder of the site; made when missing.
        source: The companion's folder, which must not be overwritten.
        pages: Path inside the site -> a rendered file.
        copies: Path inside the site -> file to copy there.

    Returns:
        How many files were written, left alone and removed.

    Raises:
        OutputError: If the destination must not be used or cannot be written. Files already written stay valid, each
            is replaced in one step, and the next call carries on.
    """
    check_destination(destination, source)
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with _locked(destination):
            return _write(destination.resolve(), pages, copies)
    except OSError as wrong:
        place = wrong.filename or destination
        raise OutputError(f"{place} cannot be written: {wrong.strerror or wrong}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one build write at a time; a second one waits. Systems without such locks do without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(destination: Path, pages: Mapping[str, bytes | Rendered], copies: Mapping[str, Path]) -> Written:
    before = _read_ledger(destination)
    after: dict[str, dict[str, Any]] = {}
    folders: set[str] = set()
    changed, started = 0, time.time_ns()
    wanted = {*pages, *copies}
    for name in wanted:
        safe_path(name)
    # Owned before they are written, so that a build that is killed half way leaves nothing that nobody owns.
    if wanted - before.keys() or not before:
        _write_ledger(destination, {**{name: {} for name in wanted}, **before})
    for name, page in pages.items():
        path = _inside(destination, name, folders)
        rendered = Rendered.of(page) if isinstance(page, bytes) else page
        old = before.get(name, {})
        if old.get("sha256") != rendered.sha256 or old.get("stamp") != _stamp(path):
            _write_bytes(destination, name, rendered.read())
            changed += 1
        after[name] = {"sha256": rendered.sha256, "stamp": _stamp(path)}
    for name, origin in copies.items():
        path = _inside(destination, name, folders)
        entry: dict[str, Any] = {"source": _source_stamp(origin, started), "from": _digest(str(origin))}
        old = before.get(name, {})
        whole = bool(old) and old.get("stamp") == _stamp(path)
        same = entry["source"] is not None and old.get("source") == entry["source"] and old.get("from") == entry["from"]
        if not (whole and (same or _same_bytes(origin, path))):
            _copy(origin, destination, name)
            changed += 1
        after[name] = {**entry, "stamp": _stamp(path)}
    removed = 0
    for name in before.keys() - after.keys():
        gone = destination.joinpath(*PurePosixPath(name).parts)
        if gone.parent.resolve().is_relative_to(destination) and (gone.is_file() or gone.is_symlink()):
            gone.unlink()
            removed += 1
            for folder in gone.parents:
                if folder == destination or any(folder.iterdir()):
                    break
                folder.rmdir()
    if after != before:
        _write_ledger(destination, after)
    (destination / PART).unlink(missing_ok=True)
    return Written(changed, len(after) - changed, removed)
