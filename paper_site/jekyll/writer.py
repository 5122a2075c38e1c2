"""Writes a site of many small files: what changed, in one step a file, into a destination that this builder made."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from paper_site.errors import OutputError
from paper_site.output import LEDGER, safe_path

# No pathlib: ten thousand files are written here, and a Path for each takes longer than the writing.

Entry = dict[str, Any]
# In a list of paths, one a line: an empty part, one of dots alone, or a character that some systems refuse.
_DOUBTFUL = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\\x00-\x09\x0b-\x1f]", re.M)


def read_ledger(destination: Path) -> dict[str, Entry]:
    """Every file that this builder made, with its hash if it was rendered; nothing when there is no ledger."""
    try:
        files = json.loads((destination / LEDGER).read_bytes())["files"]
        return files if all(type(entry) is dict for entry in files.values()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_ledger(destination: Path, files: dict[str, Entry]) -> None:
    """Write the ledger in one step. It is published: it holds no times, so that equal sites have equal ledgers."""
    shown = {name: {"sha256": files[name]["sha256"]} if "sha256" in files[name] else {} for name in sorted(files)}
    _replace(str(destination / LEDGER), _dumps({"schema_version": 1, "files": shown}).encode())


def _replace(path: str, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".part-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        if os.path.lexists(name):
            os.unlink(name)
        raise


def stamp(path: str) -> list[int] | None:
    """Size and time of a file, None when it is not there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _dumps(value: Any) -> str:
    return json.dumps(value, check_circular=False, separators=(",", ":"))


def _holds(path: str, data: bytes) -> bool:
    """Whether a file, and no link, holds just these bytes."""
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) != len(data):
        return False
    with open(path, "rb") as file:
        return file.read() == data


class Writer:
    """Brings files into a destination.

    Args:
        destination: The site's folder, resolved.
        before: The ledger as it was.
    """

    def __init__(self, destination: Path, before: dict[str, Entry]) -> None:
        self._root = str(destination)
        self._destination = destination
        self._before = before
        self._folders: set[str] = set()
        self.changed = 0

    def folder(self, name: str) -> str:
        """Make the folder of a file, following no link out of the destination; returns the file's path."""
        path = f"{self._root}/{name}"
        parent = os.path.dirname(path)
        if parent not in self._folders:
            os.makedirs(parent, exist_ok=True)
            if not Path(parent).resolve().is_relative_to(self._destination):
                raise OutputError(f"{parent} is a link that leaves the destination; remove it")
            self._folders.add(parent)
        return path

    def page(self, name: str, data: bytes) -> Entry:
        """Write a rendered file if it is not there as it is; returns its entry."""
        path = self.folder(name)
        sha256 = hashlib.sha256(data).hexdigest()
        old = self._before.get(name)
        if old is None or "stamp" not in old:
            try:
                # A new name: nobody can see half of what was there before.
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                if old is not None and old.get("sha256") == sha256 and _holds(path, data):
                    return {"sha256": sha256, "stamp": stamp(path)}
                _replace(path, data)
            else:
                try:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
                    status = os.fstat(descriptor)
                    if status.st_mode & 0o777 != 0o644:
                        os.fchmod(descriptor, 0o644)
                finally:
                    os.close(descriptor)
                self.changed += 1
                return {"sha256": sha256, "stamp": [status.st_size, status.st_mtime_ns]}
            self.changed += 1
        elif old.get("sha256") != sha256 or old["stamp"] != stamp(path):
            _replace(path, data)
            self.changed += 1
        return {"sha256": sha256, "stamp": stamp(path)}

    def copy(self, name: str, origin: str) -> Entry:
        """Copy a file if it changed; returns its entry."""
        path = self.folder(name)
        entry: Entry = {"source": stamp(origin), "from": hashlib.sha256(origin.encode()).hexdigest()[:16]}
        old = self._before.get(name, {})
        if {key: old.get(key) for key in entry} != entry or old.get("stamp") != stamp(path):
            descriptor, temporary = tempfile.mkstemp(prefix=".part-", dir=os.path.dirname(path))
            os.close(descriptor)
            try:
                shutil.copyfile(origin, temporary)
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
            except BaseException:
                if os.path.lexists(temporary):
                    os.unlink(temporary)
                raise
            self.changed += 1
        return {**entry, "stamp": stamp(path)}

    def remove(self, name: str) -> bool:
        """Remove a file that this builder made, and folders that are empty then."""
        path = self._destination.joinpath(*PurePosixPath(name).parts)
        if not path.parent.resolve().is_relative_to(self._destination) or not (path.is_file() or path.is_symlink()):
            return False
        path.unlink()
        for folder in path.parents:
            if folder == self._destination or any(folder.iterdir()):
                break
            folder.rmdir()
        return True


def check_names(names: set[str]) -> None:
    """Refuse paths that leave the site, and a file where another page needs a folder.

    Raises:
        OutputError: If one does.
    """
    if _DOUBTFUL.search("\n".join(names)) or any("\n" in name for name in names):
        for name in names:
            safe_path(name)
    folders: set[str] = set()
    for head in {name.rpartition("/")[0] for name in names}:
        while head and head not in folders:
            folders.add(head)
            head = head.rpartition("/")[0]
    for name in sorted(folders & names):
        raise OutputError(f"{name} is a page and a folder of pages; rename one")
