"""The results store: one SQLite file per output folder, a row per clip, model and metric.

A row is written when its work is done and its audio lies on disk, in one transaction, so that a kill at any moment
loses at most the clips in flight. Every row carries the key of what it was made from:

* a clip, its file (path, size, time of change, place in the file), which saves reading what has not changed;
* an output, the clip's samples, the model with its weights and code, the seed and the kind of device;
* a score, the output it belongs to, and the metric's definition and code;
* what was measured of all outputs of a model together, these outputs, the clips, the embedding, the settings and code.

A row whose key still fits is never made again; one whose key does not is replaced together with what depends on it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from models.errors import OutputError, StoreError, system_reason

SCHEMA_VERSION = 1
FILE_NAME = "results.sqlite"

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, created TEXT NOT NULL, command TEXT NOT NULL, settings TEXT NOT NULL, document TEXT
);
CREATE TABLE clips (
    clip_id TEXT PRIMARY KEY, clip_key TEXT NOT NULL, path TEXT NOT NULL, sample_rate_hz INTEGER NOT NULL,
    frames INTEGER NOT NULL, pcm_sha256 TEXT, group_name TEXT NOT NULL, labels TEXT NOT NULL, error TEXT
);
CREATE TABLE outputs (
    clip_id TEXT NOT NULL, model TEXT NOT NULL, output_key TEXT NOT NULL, status TEXT NOT NULL, error TEXT, path TEXT,
    pcm_sha256 TEXT, model_seconds REAL, audio_seconds REAL, run_id TEXT NOT NULL,
    PRIMARY KEY (clip_id, model)
);
CREATE TABLE scores (
    clip_id TEXT NOT NULL, model TEXT NOT NULL, metric TEXT NOT NULL, metric_key TEXT NOT NULL, value REAL,
    status TEXT NOT NULL, reason TEXT, seconds REAL, run_id TEXT NOT NULL,
    PRIMARY KEY (clip_id, model, metric),
    FOREIGN KEY (clip_id, model) REFERENCES outputs (clip_id, model) ON DELETE CASCADE
);
"""
_CLAIMS = "CREATE TABLE IF NOT EXISTS claims (clip_id TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL)"
_SETS = "CREATE TABLE IF NOT EXISTS sets (key TEXT PRIMARY KEY, facts TEXT NOT NULL, rows TEXT NOT NULL)"
WAIT_S = 30.0
"""How long another program may keep the file before that is an error."""
CLAIM_S = 60.0
"""A claim that is not renewed for so long is taken for one of a process that died."""


@dataclass(frozen=True)
class ClipRow:
    """A clip as the store knows it; ``error`` is set when it could not be read."""

    clip_id: str
    clip_key: str
    path: str
    sample_rate_hz: int
    frames: int
    group: str
    labels: Mapping[str, Any]
    pcm_sha256: str | None = None
    error: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz if self.sample_rate_hz else 0.0


@dataclass(frozen=True)
class ScoreRow:
    """One metric of one output: a value, or a status and the reason why there is none."""

    metric: str
    metric_key: str
    value: float | None
    status: str
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class OutputRow:
    """What a model made of a clip, with its scores."""

    clip_id: str
    model: str
    output_key: str
    status: str
    error: str | None = None
    path: str | None = None
    pcm_sha256: str | None = None
    model_seconds: float | None = None
    audio_seconds: float | None = None
    run_id: str = ""
    scores: Sequence[ScoreRow] = field(default=())


class ResultsStore:
    """Results of one output folder.

    Args:
        folder: Output folder; made when missing.
        shared: Whether other processes may work on it, too; they keep out of each other's way by claims on clips.

    Attributes:
        alone: Whether nobody else had the folder when it was opened.

    Raises:
        OutputError: If the folder cannot be made or written.
        StoreError: If the file in it is not a results store, or of another version, or in use by another run.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be made ({system_reason(error)}); name a folder that can be written"
            ) from None
        self._access = threading.RLock()
        self._lock, self.alone = _lock(folder, shared)
        try:
            _check_whole(self.path)
            self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=WAIT_S)
            self._prepare()
        except (sqlite3.Error, StoreError) as error:
            self._unlock()
            if isinstance(error, StoreError):
                raise
            raise self._error(error) from None

    def _prepare(self) -> None:
        db = self._connection
        db.execute("PRAGMA foreign_keys = ON")
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            db.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                # Another process may have made them in the meantime.
                if not db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone():
                    for statement in _TABLES.split(";"):
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
        elif "meta" not in tables:
            raise StoreError(f"{self.path}: is a database of something else; name another output folder")
        db.execute("PRAGMA synchronous = NORMAL")
        row = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        if row is None or row[0] != str(SCHEMA_VERSION):
            found = "none" if row is None else row[0]
            raise StoreError(f"{self.path}: schema_version is {found}, need {SCHEMA_VERSION}; name a new output folder")
        db.execute(_CLAIMS)
        db.execute(_SETS)
        if self.alone:
            # Whoever made them is gone.
            db.execute("DELETE FROM claims")

    def _error(self, error: sqlite3.Error) -> StoreError | OutputError:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            return OutputError(f"{self.path}: cannot be written ({text}); free some space and run the command again")
        if "locked" in text:
            return StoreError(f"{self.path}: is in the hands of another program ({text}); close that and try again")
        if "readonly" in text or "unable to open" in text:
            return OutputError(f"{self.path}: cannot be written ({text})")
        return StoreError(
            f"{self.path}: not a usable results store ({text}); move it away or name another output folder"
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._access:
            try:
                yield
            except sqlite3.Error as error:
                raise self._error(error) from None

    def __enter__(self) -> ResultsStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give the folder free."""
        self._connection.close()
        self._unlock()

    def _unlock(self) -> None:
        self._lock.close()

    # --- writing

    def add_run(self, run_id: str, created: str, command: str, settings: Mapping[str, Any]) -> None:
        """Enter a run that begins."""
        with self._guarded():
            self._connection.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, NULL)",
                (run_id, created, command, json.dumps(settings, sort_keys=True)),
            )

    def finish_run(self, run_id: str, document: Mapping[str, Any]) -> None:
        """Store the record of a run that is over."""
        with self._guarded():
            self._connection.execute(
                "UPDATE runs SET document = ? WHERE run_id = ?", (json.dumps(document, sort_keys=True), run_id)
            )

    def add(self, clips: Iterable[ClipRow], outputs: Iterable[OutputRow]) -> None:
        """Write finished work, all or nothing.

        An output replaces what the store had for its clip and model, scores included.
        """
        with self._guarded(), self._transaction():
            for clip in clips:
                self._connection.execute(
                    "INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        clip.clip_id, clip.clip_key, clip.path, clip.sample_rate_hz, clip.frames, clip.pcm_sha256,
                        clip.group, json.dumps(dict(clip.labels), ensure_ascii=False, default=str), clip.error,
                    ),
                )  # fmt: skip
            for output in outputs:
                self._connection.execute(
                    "DELETE FROM outputs WHERE clip_id = ? AND model = ?", (output.clip_id, output.model)
                )
                self._connection.execute(
                    "INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        output.clip_id, output.model, output.output_key, output.status, output.error, output.path,
                        output.pcm_sha256, output.model_seconds, output.audio_seconds, output.run_id,
                    ),
                )  # fmt: skip
                self._add_scores(output)

    def add_scores(self, outputs: Iterable[OutputRow]) -> None:
        """Write further scores of outputs that the store already has."""
        with self._guarded(), self._transaction():
            for output in outputs:
                self._add_scores(output)

    def _add_scores(self, output: OutputRow) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    output.clip_id,
                    output.model,
                    s.metric,
                    s.metric_key,
                    s.value,
                    s.status,
                    s.reason,
                    s.seconds,
                    output.run_id,
                )
                for s in output.scores
            ],
        )

    def add_set(self, key: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write what was measured of a whole set of outputs.

        Args:
            key: Hash of ``facts``.
            facts: Everything that the rows depend on.
            rows: Rows of `eval.sets.comparing`.
        """
        with self._guarded(), self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO sets VALUES (?, ?, ?)",
                (key, json.dumps(facts, sort_keys=True), json.dumps(list(rows), sort_keys=True)),
            )

    def keep_sets(self, keys: Iterable[str]) -> None:
        """Forget what was measured of sets under any other key."""
        with self._guarded(), self._transaction():
            known = {key for (key,) in self._connection.execute("SELECT key FROM sets")}
            self._connection.executemany("DELETE FROM sets WHERE key = ?", [(k,) for k in sorted(known - set(keys))])

    # --- several processes on one store

    def claim(self, clip_ids: Sequence[str], owner: str) -> set[str]:
        """Take clips in hand that no other process has; returns those that are now the owner's."""
        now = time.time()
        with self._guarded(), self._transaction():
            self._connection.execute("DELETE FROM claims WHERE expires < ?", (now,))
            self._connection.executemany(
                "INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", [(name, owner, now + CLAIM_S) for name in clip_ids]
            )
            marks = ", ".join("?" * len(clip_ids))
            rows = self._connection.execute(
                f"SELECT clip_id FROM claims WHERE owner = ? AND clip_id IN ({marks})", (owner, *clip_ids)
            ).fetchall()
        return {name for (name,) in rows}

    def renew(self, owner: str) -> None:
        """Say that an owner is still at work."""
        with self._guarded():
            self._connection.execute("UPDATE claims SET expires = ? WHERE owner = ?", (time.time() + CLAIM_S, owner))

    def release(self, owner: str, clip_ids: Sequence[str] | None = None) -> None:
        """Give clips free, or all of an owner's."""
        with self._guarded(), self._transaction():
            if clip_ids is None:
                self._connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))
            else:
                self._connection.executemany(
                    "DELETE FROM claims WHERE owner = ? AND clip_id = ?", [(owner, name) for name in clip_ids]
                )

    # --- reading

    def clip_ids(self) -> list[str]:
        """Ids of all clips, in order."""
        with self._guarded():
            rows = self._connection.execute("SELECT clip_id FROM clips ORDER BY clip_id").fetchall()
        return [name for (name,) in rows]

    def models(self) -> list[str]:
        """Models with outputs, in order of their names."""
        with self._guarded():
            rows = self._connection.execute("SELECT DISTINCT model FROM outputs ORDER BY model").fetchall()
        return [name for (name,) in rows]

    def clip_key(self, clip_id: str) -> tuple[str, str | None] | None:
        """Key and hash of the samples of a clip, None when the store does not have it."""
        with self._guarded():
            row = self._connection.execute(
                "SELECT clip_key, pcm_sha256 FROM clips WHERE clip_id = ?", (clip_id,)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def output_key(self, clip_id: str, model: str) -> tuple[str, str, str | None] | None:
        """Key, status and path of an output, None when the store does not have it."""
        with self._guarded():
            row = self._connection.execute(
                "SELECT output_key, status, path FROM outputs WHERE clip_id = ? AND model = ?", (clip_id, model)
            ).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def output_pcm(self, clip_id: str, model: str) -> str | None:
        """Hash of the samples of an output."""
        with self._guarded():
            row = self._connection.execute(
                "SELECT pcm_sha256 FROM outputs WHERE clip_id = ? AND model = ?", (clip_id, model)
            ).fetchone()
        return None if row is None else row[0]

    def metric_keys(self, clip_id: str, model: str) -> dict[str, str]:
        """Metric to key of the scores that an output has."""
        with self._guarded():
            rows = self._connection.execute(
                "SELECT metric, metric_key FROM scores WHERE clip_id = ? AND model = ?", (clip_id, model)
            ).fetchall()
        return dict(rows)

    def clip(self, clip_id: str) -> ClipRow:
        """A clip.

        Raises:
            StoreError: If the store does not have it.
        """
        with self._guarded():
            row = self._connection.execute(
                "SELECT clip_id, clip_key, path, sample_rate_hz, frames, group_name, labels, pcm_sha256, error"
                " FROM clips WHERE clip_id = ?",
                (clip_id,),
            ).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: has no clip {clip_id!r}")
        clip_id, key, path, rate, frames, group, labels, pcm, error = row
        return ClipRow(clip_id, key, path, rate, frames, group, json.loads(labels), pcm, error)

    def outputs(self, model: str, *, with_scores: bool = False) -> Iterator[OutputRow]:
        """Outputs of a model in the order of their clips."""
        with self._guarded():
            rows = self._connection.execute(
                "SELECT clip_id, model, output_key, status, error, path, pcm_sha256, model_seconds, audio_seconds,"
                " run_id FROM outputs WHERE model = ? ORDER BY clip_id",
                (model,),
            ).fetchall()
        for row in rows:
            made = OutputRow(*row)
            yield replace(made, scores=self.scores(made.clip_id, model)) if with_scores else made

    def scores(self, clip_id: str, model: str) -> list[ScoreRow]:
        """Scores of an output in the order of their metrics."""
        with self._guarded():
            rows = self._connection.execute(
                "SELECT metric, metric_key, value, status, reason, seconds FROM scores"
                " WHERE clip_id = ? AND model = ? ORDER BY metric",
                (clip_id, model),
            ).fetchall()
        return [ScoreRow(*row) for row in rows]

    def set_rows(self, key: str) -> list[dict[str, Any]] | None:
        """What was measured of a set of outputs under a key, None when the store does not have it."""
        with self._guarded():
            row = self._connection.execute("SELECT rows FROM sets WHERE key = ?", (key,)).fetchone()
        return None if row is None else [dict(entry) for entry in json.loads(row[0])]

    def values(self, model: str, metric: str) -> dict[str, tuple[float | None, str, str | None]]:
        """Clip to (value, status, reason) of a metric over a model's outputs."""
        with self._guarded():
            rows = self._connection.execute(
                "SELECT clip_id, value, status, reason FROM scores WHERE model = ? AND metric = ? ORDER BY clip_id",
                (model, metric),
            ).fetchall()
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def run_document(self, run_id: str) -> dict[str, Any] | None:
        """The record of a finished run."""
        with self._guarded():
            row = self._connection.execute("SELECT document FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None or row[0] is None else dict(json.loads(row[0]))


def _lock(folder: Path, shared: bool) -> tuple[IO[str], bool]:
    """Hold the folder for this process, and whether it is the only one; the lock goes with it, however it ends."""
    path = folder / ".lock"
    try:
        stream = path.open("w")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({system_reason(error)})") from None
    try:
        import fcntl
    except ImportError:
        return stream, True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
        if shared:
            fcntl.flock(stream, fcntl.LOCK_SH)
    except OSError:
        alone = False
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise StoreError(
                f"{folder}: another run is writing there; wait for it or name another output folder"
            ) from None
    return stream, alone


def _check_whole(path: Path) -> None:
    """Refuse a database that is shorter than its header says before anything is written into it.

    While there is a log of changes, the file may be behind its header, and SQLite makes good for it.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        with path.open("rb") as stream:
            head = stream.read(100)
        size, logged = path.stat().st_size, log.exists() and log.stat().st_size > 0
    except OSError:
        return
    if len(head) == 100 and head.startswith(b"SQLite format 3\0") and not logged:
        # Where the page size and their number stand: https://www.sqlite.org/fileformat.html, section 1.3.
        page = int.from_bytes(head[16:18]) or 1
        promised = (65_536 if page == 1 else page) * int.from_bytes(head[28:32])
        if size < promised:
            raise StoreError(
                f"{path}: is cut short, {size} of {promised} bytes; put it back whole or name another output folder"
            )
