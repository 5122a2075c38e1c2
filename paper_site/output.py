"""Write the site: only files that changed, never outside the destination, and nothing that we did not make removed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from paper_site.errors import OutputError

LEDGER = ".earwitness-site.json"


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
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or any(part in {"..", "."} for part in name.split("/"))
        or "\\" in name
        or any(ord(c) < 32 for c in name)
    ):
        raise OutputError(f"the path {name!r} does not stay inside the site")
    return path


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
    text = json.dumps({"schema_version": 1, "files": dict(sorted(files.items()))}, indent=0)
    _write_bytes(destination / LEDGER, text.encode())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when all went well, and is removed otherwise."""
    descriptor, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_bytes(path: Path, data: bytes) -> None:
    with _replacing(path) as temporary:
        temporary.write_bytes(data)


def _copy(source: Path, path: Path) -> None:
    with _replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def _inside(destination: Path, name: str, known_folders: set[Path]) -> Path:
    """Make the folder of a file, following no link out of the destination."""
    path = destination.joinpath(*safe_path(name).parts)
    if path.parent not in known_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(destination):
            raise OutputError(f"{path.parent} is a link that leaves the destination; remove it")
        known_folders.add(path.parent)
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.lstat()
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
    folders: set[Path] = set()
    changed = 0
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
            _write_bytes(path, rendered.read())
            changed += 1
        after[name] = {"sha256": rendered.sha256, "stamp": _stamp(path)}
    for name, origin in copies.items():
        path = _inside(destination, name, folders)
        entry: dict[str, Any] = {
            "source": _stamp(origin),
            "from": hashlib.sha256(str(origin).encode()).hexdigest()[:16],
        }
        old = before.get(name, {})
        if {k: old.get(k) for k in entry} != entry or old.get("stamp") != _stamp(path):
            _copy(origin, path)
            changed += 1
        after[name] = {**entry, "stamp": _stamp(path)}
    removed = 0
    for name in before.keys() - after.keys():
        path = destination.joinpath(*PurePosixPath(name).parts)
        if path.parent.resolve().is_relative_to(destination) and (path.is_file() or path.is_symlink()):
            path.unlink()
            removed += 1
            for folder in path.parents:
                if folder == destination or any(folder.iterdir()):
                    break
                folder.rmdir()
    if after != before:
        _write_ledger(destination, after)
    return Written(changed, len(after) - changed, removed)
