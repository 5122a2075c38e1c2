"""What a build remembers for the next one, in one file that may be deleted at any time.

Everything is found by what it was made from: a document by the hash of its text, a page by all that it read, a file's
hash by size, times and inode. The file is a SQLite database, so that a build that is killed leaves the last whole state
and two builds at once take turns. Its name holds the version of its form. It lies in a folder that may come from
anybody, so every entry is signed with a key of the user's own: what somebody else put there is not read.

Nothing heavy is imported here: this module decides whether there is anything to do.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

VERSION = 1
FILE_NAME = f"site-v{VERSION}.sqlite"
# Clocks of file systems tick in steps: a file as young as this when it was looked at may change once more unseen.
_RACY_NS = 50_000_000
_PACKAGES = {"jinja2", "markupsafe", "markdown_it_py", "mdit_py_plugins", "pyyaml", "jsonschema"}
_PACKAGES |= {"quickjs", "dukpy", "sphinxcontrib_katex"}
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (kind TEXT, key BLOB, value BLOB, check_sum BLOB, PRIMARY KEY (kind, key))
    WITHOUT ROWID;
"""

Stamp = tuple[int, int, int, int]


def digest(data: bytes) -> bytes:
    """Hash some bytes; SHA-256, the first 20 bytes."""
    return hashlib.sha256(data).digest()[:20]


def stamp_of(stat: os.stat_result) -> Stamp:
    """What must stay the same while a file stays the same: size, times of change, inode."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def is_young(stamp: Stamp, now_ns: int) -> bool:
    """Whether a file changed so shortly before it was looked at that another change could carry the same time."""
    return max(stamp[1], stamp[2]) > now_ns - _RACY_NS


def user_key() -> bytes:
    """The key with which this user signs entries; made when missing, for this process alone where it cannot be kept."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "earwitness"
        path = folder / "key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"key-{os.getpid()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, os.urandom(32))
            finally:
                os.close(descriptor)
            # Of several that begin at once the first one stays.
            with suppress(FileExistsError):
                path.hardlink_to(fresh)
            fresh.unlink()
            key = path.read_bytes()
        if len(key) == 32:
            return key
    except (OSError, RuntimeError):
        pass
    return os.urandom(32)


class Cache:
    """A store of values by kind and key.

    Args:
        folder: Where the file lies; made when missing. None for a store that forgets.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / FILE_NAME if folder else None
        self.tools = b""
        self._key = user_key() if folder else b""
        self._pending: list[tuple[str, bytes, bytes, bytes]] = []
        self._used: dict[str, set[bytes]] = {}
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection | None:
        if self.path is None:
            return None
        for attempt in range(2):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
                connection.execute("PRAGMA synchronous=OFF")
                connection.executescript(_TABLES)
                return connection
            except sqlite3.DatabaseError as wrong:
                # A cache that cannot be read is worth nothing; a cache that cannot be written is gone without.
                if attempt or isinstance(wrong, sqlite3.OperationalError):
                    break
                self._remove()
            except OSError:
                break
        return None

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{self.path}{suffix}").unlink()

    def _sign(self, kind: str, key: bytes, data: bytes) -> bytes:
        signature = hashlib.blake2b(data, digest_size=20, key=self._key)
        signature.update(kind.encode() + b"\0" + key)
        return signature.digest()

    def get(self, kind: str, key: bytes) -> Any:
        """Find a value; None where there is none or where its bytes are damaged."""
        found = self.get_bytes(kind, key)
        if found is None:
            return None
        try:
            return marshal.loads(found)
        except (ValueError, EOFError, TypeError):
            return None

    def get_bytes(self, kind: str, key: bytes) -> bytes | None:
        """Find a value that is bytes."""
        if self._connection is None:
            return None
        self._used.setdefault(kind, set()).add(key)
        try:
            row = self._connection.execute(
                "SELECT value, check_sum FROM entries WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        except sqlite3.DatabaseError:
            return None
        if row is None or not isinstance(row[0], bytes) or self._sign(kind, key, row[0]) != row[1]:
            return None
        return row[0]

    def put(self, kind: str, key: bytes, value: Any) -> None:
        """Keep a plain value with the next `commit`; what is not plain is not kept."""
        if self._connection is None:
            return
        try:
            data = marshal.dumps(value)
        except ValueError:
            return
        self.put_bytes(kind, key, data)

    def put_bytes(self, kind: str, key: bytes, data: bytes) -> None:
        """Keep bytes with the next `commit`."""
        if self._connection is not None:
            self._used.setdefault(kind, set()).add(key)
            self._pending.append((kind, key, data, self._sign(kind, key, data)))

    def sweep(self) -> None:
        """Drop what this build neither used nor made; what builds of other sites remember of themselves stays."""
        if self._connection is None:
            return
        try:
            known = self._connection.execute("SELECT kind, key FROM entries WHERE kind <> 'build'").fetchall()
            gone = [(kind, key) for kind, key in known if key not in self._used.get(kind, ())]
            if gone:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("DELETE FROM entries WHERE kind = ? AND key = ?", gone)
                self._connection.execute("COMMIT")
        except sqlite3.DatabaseError:
            return

    def commit(self) -> None:
        """Write what was put, all or nothing."""
        if self._connection is None or not self._pending:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", self._pending)
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError:
            # Full disk, or a file that somebody damaged: the next build starts from nothing.
            self.close()
            self._remove()
        self._pending.clear()

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            with suppress(sqlite3.DatabaseError):
                self._connection.close()
            self._connection = None

    def made_from(self, kind: str, material: bytes, make: Callable[[], Any]) -> Any:
        """Find the plain value that was made from some material by the code as it is, or make it."""
        if self._connection is None:
            return make()
        key = digest(self.tools + digest(material))
        found = self.get(kind, key)
        if found is None:
            found = make()
            self.put(kind, key, found)
        return found


_active = Cache(None)


def active() -> Cache:
    """The cache of the build that is going on; one that forgets where there is none."""
    return _active


@contextmanager
def using(cache: Cache) -> Iterator[Cache]:
    """Make a cache the active one, and write it when all went well."""
    global _active
    before, _active = _active, cache
    try:
        yield cache
    finally:
        _active = before
        cache.commit()
        cache.close()


Listing = dict[str, Stamp]


def list_tree(folder: Path, found: Listing, *, deep: bool = True, skip: frozenset[str] = frozenset()) -> None:
    """Note the stamp of every file below a folder; links and hidden names are noted but not followed."""
    folders = [str(folder)]
    while folders:
        here = folders.pop()
        try:
            entries = os.scandir(here)
        except OSError:
            continue
        with entries:
            for entry in entries:
                if entry.path in skip or entry.name == "__pycache__":
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if deep and not entry.name.startswith("."):
                            folders.append(entry.path)
                        # An empty folder can be what a text asks for.
                        found[entry.path + "/"] = (0, 0, 0, 0)
                    else:
                        found[entry.path] = stamp_of(entry.stat(follow_symlinks=False))
                        if entry.is_symlink():
                            found[entry.path + "@"] = stamp_of(entry.stat())
                except OSError:
                    found[entry.path] = (-1, 0, 0, 0)


def file_digest(path: Path, stat: os.stat_result | None = None) -> bytes:
    """Hash a file once: the hash is remembered by path, size, times and inode.

    Raises:
        OSError: If it cannot be read.
    """
    stamp = stamp_of(stat or path.stat())
    key = digest(marshal.dumps((str(path), stamp), 2))
    known = active().get_bytes("file", key)
    if known is not None:
        return known
    now = time.time_ns()
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()[:20]
    if not is_young(stamp, now):
        active().put_bytes("file", key, found)
    return found


def versions() -> list[str]:
    """The versions of Python and of the packages that make pages, read from the names of their folders."""
    names: list[str] = []
    for folder in sys.path:
        if folder.endswith(("site-packages", "dist-packages")):
            with suppress(OSError), os.scandir(folder) as entries:
                names += [
                    entry.name
                    for entry in entries
                    if entry.name.endswith(".dist-info") and entry.name.split("-")[0].lower() in _PACKAGES
                ]
    return [sys.version, *sorted(names)]


def tool_digest(folders: Iterable[Path]) -> bytes:
    """Hash what does the work: our own code, the versions of Python and of the packages that make pages.

    Args:
        folders: Folders of code and schemas; every file in them counts.
    """
    found: Listing = {}
    for folder in folders:
        list_tree(folder, found)
    files = [(path, file_digest(Path(path))) for path in sorted(found) if path.endswith((".py", ".json"))]
    return digest(marshal.dumps((VERSION, versions(), files), 2))


def same_listing(before: Mapping[str, Any], now: Listing) -> bool:
    """Whether nothing changed; stamps that were too young to be trusted differ from every stamp."""
    return len(before) == len(now) and all(before.get(path) == stamp for path, stamp in now.items())


def trusted(listing: Listing, now_ns: int) -> dict[str, Any]:
    """A listing to keep: stamps that are too young to be trusted are left out."""
    return {path: None if is_young(stamp, now_ns) else stamp for path, stamp in listing.items()}
