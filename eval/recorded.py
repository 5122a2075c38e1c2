"""What stands recorded of evaluations: results stores, results documents and records of runs, opened for reading.

Nothing here writes, locks or changes a file, so that any number of readers and a run may share a store.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from eval import manifest
from eval.metrics import METRICS
from eval.results import FILE_NAME, SCHEMA_VERSION, ClipRow, OutputRow, ScoreRow
from eval.summary import Table
from models.errors import InputError, ManifestError, system_reason


@dataclass(frozen=True)
class MetricFacts:
    """A metric as a record tells it.

    Attributes:
        name: Name.
        title: Name for readers.
        unit: Unit; empty where it is not known.
        higher_is_better: Direction; None where it is not known.
        definition: Hash or text of its definition; None where it is not recorded.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool | None
    definition: str | None = None

    @property
    def direction(self) -> str:
        """In words."""
        if self.higher_is_better is None:
            return "direction not recorded"
        return "higher is better" if self.higher_is_better else "lower is better"


@dataclass(frozen=True)
class StoreContents:
    """All rows of a results store.

    Attributes:
        path: The database.
        runs: Records of finished runs, the oldest first.
        clips: Clip id to its row.
        outputs: ``outputs[model][clip_id]``, without scores.
        scores: ``scores[model][metric][clip_id]``.
        sets: Key to what it is the hash of, and the rows that were measured of whole sets under it.
    """

    path: Path
    runs: Sequence[Mapping[str, Any]]
    clips: Mapping[str, ClipRow]
    outputs: Mapping[str, Mapping[str, OutputRow]]
    scores: Mapping[str, Mapping[str, Mapping[str, ScoreRow]]]
    sets: Mapping[str, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Systems, those of the last run first and in its order."""
        named = [str(text) for text in self.settings.get("models", ())]
        last = [name for text in named if (name := column_name(text)) in self.outputs]
        return [*dict.fromkeys(last), *(name for name in sorted(self.outputs) if name not in last)]

    @property
    def metrics(self) -> list[str]:
        """Metrics with rows, those of the last run first and in its order."""
        found = {name for scores in self.scores.values() for name in scores}
        last = [name for name in self.settings.get("metrics", ()) if name in found]
        known = [name for name in METRICS if name in found]
        return [*dict.fromkeys([*last, *known, *sorted(found)])]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the last run."""
        settings = self.runs[-1].get("settings") if self.runs else None
        return settings if isinstance(settings, Mapping) else {}

    @cached_property
    def clip_ids(self) -> list[str]:
        """Clips in the order of their ids."""
        return sorted(self.clips)

    def table(self, clip_ids: Sequence[str] | None = None, models: Sequence[str] | None = None) -> Table:
        """Values as the summaries of an evaluation take them.

        Args:
            clip_ids: Clips; all when None.
            models: Systems; all when None.
        """
        ids = self.clip_ids if clip_ids is None else list(clip_ids)
        values: dict[str, dict[str, list[tuple[float | None, str, str | None] | None]]] = {}
        errors: dict[str, dict[str, str]] = {}
        for model in self.models if models is None else models:
            rows = self.outputs.get(model, {})
            errors[model] = {
                clip_id: rows[clip_id].error or "no reason is known"
                for clip_id in ids
                if clip_id in rows and rows[clip_id].status != "ok"
            }
            values[model] = {}
            for name in self.metrics:
                held = self.scores.get(model, {}).get(name, {})
                values[model][name] = [
                    (row.value, row.status, row.reason) if (row := held.get(clip_id)) else None for clip_id in ids
                ]
        return Table(ids, [self.clips[clip_id].group for clip_id in ids], values, errors)


@dataclass(frozen=True)
class Recorded:
    """A results store, a results document or the record of a run, with what belongs to it as far as it is there.

    Attributes:
        path: What was named.
        kind: ``store``, ``results`` or ``run``.
        run: The record of the (last) run; None where it is not there.
        results: The results document; None where there is none.
        rows: Per-clip rows; None where there are none of this run.
        metrics: Metrics by name, in order.
    """

    path: Path
    kind: str
    run: Mapping[str, Any] | None
    results: Mapping[str, Any] | None
    rows: StoreContents | None
    metrics: Mapping[str, MetricFacts] = field(default_factory=dict)


def column_name(text: str) -> str:
    """Name of a system in a store, from ``NAME`` or ``NAME@FOLDER`` as settings have it."""
    name, at, folder = text.partition("@")
    return f"{name}@{Path(folder).name}" if at else text


def open_recorded(path: Path) -> Recorded:
    """Read a results store (its folder or its file), a results document or the record of a run.

    Raises:
        InputError: If it is none of these, of another version, damaged, or holds nothing.
    """
    if path.is_dir():
        path = path / FILE_NAME if (path / FILE_NAME).is_file() else path
    if path.is_dir():
        hint = "; its documents lie in _data/results" if (path / "_data").is_dir() else ""
        raise InputError(f"{path}: holds no {FILE_NAME}, so it is no results store{hint}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a results store, a results document or the record of a run")
    if path.suffix == ".json":
        return _open_document(path)
    contents = read_store(path)
    if not contents.outputs:
        raise InputError(f"{path}: holds no outputs; nothing was evaluated into it")
    run = contents.runs[-1] if contents.runs else None
    return Recorded(path, "store", run, None, contents, _metric_facts(contents.metrics, run, None))


def shown(text: str) -> str:
    """A text in one line without control characters, which a terminal or a page might obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


# --- documents


def read_document(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read a JSON document and hold it against its schema.

    Args:
        path: The file.
        kind: ``results``, ``run``, ``study`` …; not checked when None.

    Raises:
        InputError: If it cannot be read, is not JSON, is of another version or does not hold its schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({system_reason(error)})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); it may be cut short") from None
    except RecursionError:
        raise InputError(f"{path}: not a document of ours (nested too deeply)") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a document of ours (its top is no object)")
    version = document.get("schema_version")
    if version != manifest.SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version is {version!r}, need {manifest.SCHEMA_VERSION}")
    if kind is not None:
        try:
            manifest.check(document, kind, path)
        except ManifestError as error:
            raise InputError(str(error)) from None
    return document


def _open_document(path: Path) -> Recorded:
    document = read_document(path)
    if "aggregates" in document:
        results = read_document(path, "results")
        run_path = path.parent.parent / "runs" / f"{results['run']}.json"
        run: Mapping[str, Any] | None = read_document(run_path, "run") if run_path.is_file() else None
        kind = "results"
    elif "run_id" in document:
        run, results, kind = read_document(path, "run"), None, "run"
        for other in sorted((path.parent.parent / "results").glob("*.json")):
            try:
                found = read_document(other, "results")
            except InputError:
                continue
            if found["run"] == run["run_id"]:
                results = found
    else:
        raise InputError(f"{path}: neither a results document nor the record of a run")
    rows = None
    if results is not None:
        store = path.parent.parent.parent / "_results" / str(results["collection"]) / FILE_NAME
        rows = _rows_of(store, str(results["run"]))
    names = [str(row["name"]) for row in results["metrics"]] if results is not None else []
    return Recorded(path, kind, run, results, rows, _metric_facts(names, run, results))


def _rows_of(store: Path, run_id: str) -> StoreContents | None:
    """The rows behind a document, unless the store has moved on since."""
    if not store.is_file():
        return None
    try:
        contents = read_store(store)
    except InputError:
        return None
    return contents if contents.runs and contents.runs[-1].get("run_id") == run_id else None


def _metric_facts(
    names: Sequence[str], run: Mapping[str, Any] | None, results: Mapping[str, Any] | None
) -> dict[str, MetricFacts]:
    published = {row["name"]: row for row in results["metrics"]} if results is not None else {}
    defined = run.get("metrics", {}) if run is not None else {}
    facts = {}
    for name in dict.fromkeys([*names, *defined]):
        row, definition, ours = published.get(name), defined.get(name), METRICS.get(name)
        source = row or definition or {}
        sha = None
        if definition is not None:
            sha = definition_hash(definition)
        elif row is not None:
            sha = row.get("definition_sha256")
        higher = source.get("higher_is_better", None if ours is None else ours.higher_is_better)
        title = source.get("title") or (name if ours is None else ours.title)
        unit = source.get("unit", "" if ours is None else ours.unit)
        facts[name] = MetricFacts(name, str(title), str(unit), higher, sha)
    return facts


def definition_hash(definition: Mapping[str, Any]) -> str:
    """Hash of a metric's recorded definition, as `eval.metrics.definition_sha256` makes it."""
    import hashlib

    text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


# --- stores


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A results store's database for reading only.

    Raises:
        InputError: If it cannot be read, now or while it is used.
    """
    # Without a journal there is no writer to wait for, and nothing beside the file is touched or made.
    journal = path.with_name(f"{path.name}-wal")
    try:
        quiet = not journal.is_file() or journal.stat().st_size == 0
    except OSError:
        quiet = True
    uri = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if quiet else ''}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=30.0)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise InputError(f"{path}: not a usable results store ({error}); it may be cut short") from None


def read_store(path: Path) -> StoreContents:
    """Read a results store.

    Args:
        path: The database, or the folder it lies in.

    Raises:
        InputError: If it is missing, damaged, something else, or of another version.
    """
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such results store")
    with open_database(path) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"meta", "runs", "clips", "outputs", "scores"} <= tables:
            raise InputError(
                f"{path}: is {'empty' if not tables else 'a database of something else'}, no results store"
            )
        row = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        if row is None or row[0] != str(SCHEMA_VERSION):
            found = "none" if row is None else row[0]
            raise InputError(f"{path}: schema_version is {found}, need {SCHEMA_VERSION}; run the evaluation again")
        try:
            return _contents(path, db, with_sets="sets" in tables)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: a row cannot be read ({error}); the store is damaged") from None


def _contents(path: Path, db: sqlite3.Connection, *, with_sets: bool) -> StoreContents:
    runs = []
    for (text,) in db.execute("SELECT document FROM runs WHERE document IS NOT NULL ORDER BY created, run_id"):
        runs.append(dict(json.loads(text)))
    clips = {}
    for row in db.execute(
        "SELECT clip_id, clip_key, path, sample_rate_hz, frames, group_name, labels, pcm_sha256, error FROM clips"
    ):
        clip_id, key, place, rate, frames, group, labels, pcm, error = row
        clips[clip_id] = ClipRow(clip_id, key, place, rate, frames, group, json.loads(labels), pcm, error)
    outputs: dict[str, dict[str, OutputRow]] = {}
    for row in db.execute(
        "SELECT clip_id, model, output_key, status, error, path, pcm_sha256, model_seconds, audio_seconds, run_id"
        " FROM outputs ORDER BY model, clip_id"
    ):
        outputs.setdefault(row[1], {})[row[0]] = OutputRow(*row)
        clips.setdefault(row[0], ClipRow(row[0], "", "", 0, 0, row[0], {}))
    scores: dict[str, dict[str, dict[str, ScoreRow]]] = {}
    for clip_id, model, *row in db.execute(
        "SELECT clip_id, model, metric, metric_key, value, status, reason, seconds FROM scores ORDER BY model, clip_id"
    ):
        scores.setdefault(model, {}).setdefault(row[0], {})[clip_id] = ScoreRow(*row)
    found = db.execute("SELECT key, facts, rows FROM sets ORDER BY key") if with_sets else ()
    sets = {key: (dict(json.loads(facts)), [dict(row) for row in json.loads(rows)]) for key, facts, rows in found}
    return StoreContents(path, runs, clips, outputs, scores, sets)
