"""SHA-256 of files, remembered between runs by path, size and time of change."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path
from types import TracebackType

_TABLE = "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``earwitness`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "earwitness"


class FileHashes:
    """Hashes of files; without a writable cache it works all the same, only slower."""

    def __init__(self) -> None:
        self._store: sqlite3.Connection | None = None

    def __enter__(self) -> FileHashes:
        try:
            cache_folder().mkdir(parents=True, exist_ok=True)
            # Every hash is committed by itself, so that several processes can share the cache
            place = cache_folder() / "file_hashes.sqlite"
            self._store = sqlite3.connect(place, timeout=5, isolation_level=None)
            self._store.execute("PRAGMA synchronous = OFF")
            self._store.execute(_TABLE)
        except (OSError, RuntimeError, sqlite3.Error):
            self._close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes; ``missing`` for a file that cannot be read."""
        try:
            status = path.stat()
            key = os.fsencode(path.resolve())
            known = self._look_up(key, status.st_size, status.st_mtime_ns)
            if known is None:
                with path.open("rb") as stream:
                    known = hashlib.file_digest(stream, "sha256").hexdigest()
                self._remember(key, status.st_size, status.st_mtime_ns, known)
            return known
        except OSError:
            return "missing"

    def _look_up(self, key: bytes, size: int, mtime_ns: int) -> str | None:
        if self._store is None:
            return None
        query = "SELECT sha256 FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"
        try:
            row = self._store.execute(query, (key, size, mtime_ns)).fetchone()
        except sqlite3.Error:
            self._close()
            return None
        return str(row[0]) if row else None

    def _remember(self, key: bytes, size: int, mtime_ns: int, sha256: str) -> None:
        if self._store is not None:
            try:
                row = (key, size, mtime_ns, sha256)
                self._store.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", row)
            except sqlite3.Error:
                self._close()
