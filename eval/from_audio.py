"""A folder of finished audio, named by system and clip, as a listening table: no model is run, nothing is scored.

The names say what is what: ``system/clip.wav``, ``clip/system.wav``, ``clip-system.wav``, ``clip_system.wav``,
``system-clip.wav``, ``system_clip.wav``, also in subfolders. The way of reading is taken under which the files make the
fullest table; a system called ``original``, ``reference``, ``target`` and the like is the recording.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from eval import audio_io, manifest
from eval.evaluation import code_state, environment
from eval.export import ORIGINAL, Version, export_row, level_policy
from eval.protocols import Progress, Silent
from models.errors import EarwitnessError, InputError

__all__ = ["EarwitnessError", "Imported", "Named", "import_audio", "is_reference", "read_names", "write_placeholders"]

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"))
REFERENCES = {"original", "originals", "orig", "reference", "references", "ref", "groundtruth", "gt", "truth", "target"}
REFERENCES |= {"targets", "recording", "recordings", "clean", "source", "real", "input"}
STUDY = "from_audio"
LAYOUT = "finished files"
SILENT = Silent()
_SEPARATORS = "-_.@"


@dataclass(frozen=True)
class Named:
    """An audio file and what its name says.

    Attributes:
        path: The file.
        system: Who made it, as written in the name.
        clip: Which clip it is.
    """

    path: Path
    system: str
    clip: str


@dataclass(frozen=True)
class Imported:
    """What became of a folder.

    Attributes:
        collection: Name of the listening table.
        rows: Number of clips.
        systems: Titles of the systems, the recording first.
        missing: ``(clip, title)`` of every version that is not there.
        reading: How the names were read, for the user.
        products: Paths written, relative to the companion's folder.
    """

    collection: str
    rows: int
    systems: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]
    reading: str
    products: tuple[str, ...]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def is_reference(system: str) -> bool:
    """Whether a name is one that recordings go by."""
    return _plain(system) in REFERENCES


def _split_last(stem: str, separator: str) -> tuple[str, str] | None:
    clip, found, system = stem.rpartition(separator)
    return (system, clip) if found and clip and system else None


def _split_first(stem: str, separator: str) -> tuple[str, str] | None:
    system, found, clip = stem.partition(separator)
    return (system, clip) if found and clip and system else None


def _readings() -> Iterable[tuple[str, Callable[[PurePosixPath], tuple[str, str] | None]]]:
    """Ways of reading a path, the plainest first: name and function to (system, clip)."""

    def folder_is_system(path: PurePosixPath) -> tuple[str, str] | None:
        return (path.parts[0], "/".join(path.parts[1:])) if len(path.parts) > 1 else None

    def folder_is_clip(path: PurePosixPath) -> tuple[str, str] | None:
        return (path.name, path.parent.as_posix()) if len(path.parts) > 1 else None

    yield "system/clip", folder_is_system
    yield "clip/system", folder_is_clip
    for separator in _SEPARATORS:
        for words, split in ((f"clip{separator}system", _split_last), (f"system{separator}clip", _split_first)):

            def by_name(path: PurePosixPath, split: Any = split, separator: str = separator) -> tuple[str, str] | None:
                found = split(path.name, separator)
                if found is None:
                    return None
                folder = path.parent.as_posix()
                return found if folder == "." else (found[0], f"{folder}/{found[1]}")

            yield words, by_name


def read_names(folder: Path) -> tuple[list[Named], str]:
    """Find the audio files of a folder and settle which system and clip each is.

    Args:
        folder: Searched with its subfolders; hidden names are left out.

    Returns:
        The files, sorted by clip as people count, and the way in which the names were read.

    Raises:
        InputError: If there is no audio, or no way of reading makes two systems or a table that is at least half full.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of audio")
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise InputError(f"{folder} holds no audio ({', '.join(sorted(SUFFIXES))})")
    names = [PurePosixPath(path.relative_to(folder).with_suffix("").as_posix()) for path in files]
    best: tuple[tuple[float, ...], str, list[tuple[str, str]]] | None = None
    for words, read in _readings():
        parts = [read(name) for name in names]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or len(set(known)) < len(known):
            continue
        systems, clips = {system for system, _ in known}, {clip for _, clip in known}
        fullness = len(known) / (len(systems) * len(clips))
        if len(systems) < 2 or fullness < 0.5:
            continue
        score = (any(map(is_reference, systems)), round(fullness, 6), -len(systems))
        if best is None or score > best[0]:
            best = (score, words, known)
    if best is None:
        raise InputError(
            f"{folder}: the names do not say which system made which clip; call the files system/clip.wav, such as"
            " original/piano.wav and ours/piano.wav, or clip-system.wav, such as piano-original.wav and piano-ours.wav"
        )
    found = [Named(path, *part) for path, part in zip(files, best[2], strict=True)]
    return sorted(found, key=lambda one: _counted(one.clip)), best[1]


def _counted(text: str) -> list[tuple[int, str]]:
    """A key under which clip 10 comes after clip 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _categories(systems: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for system in systems:
        if is_reference(system) and ORIGINAL not in names.values():
            names[system] = ORIGINAL
            continue
        base = re.sub(r"[^A-Za-z0-9_]+", "_", system).strip("_") or "system"
        base = base if base[0].isalpha() else f"system_{base}"
        name, number = base, 2
        while name in (*names.values(), ORIGINAL):
            name, number = f"{base}_{number}", number + 1
        names[system] = name
    return names


def _title(system: str) -> str:
    text = re.sub(r"[_\s]+", " ", system).strip()
    return text[:1].upper() + text[1:]


def _load(row: Sequence[Named]) -> tuple[list[Any], int]:
    heard = [audio_io.read(one.path, mono=True) for one in row]
    rates = {audio.sample_rate_hz for audio in heard}
    if len(rates) > 1:
        shown = ", ".join(f"{one.path.name} {audio.sample_rate_hz} Hz" for one, audio in zip(row, heard, strict=True))
        raise InputError(f"{row[0].clip}: the versions have different sample rates ({shown}); bring them to one rate")
    return [audio.waveform.reshape(-1) for audio in heard], rates.pop()


def import_audio(
    audio: Path,
    companion: Path,
    *,
    collection: str = "samples",
    title: str = "Samples",
    command: str = "",
    about: str | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Make a listening table of finished files.

    Args:
        audio: Folder of the files; it is not changed.
        companion: The companion's folder, into which files, pictures and documents are written.
        collection: Name of the table.
        title: Its title, for readers.
        command: Command line, for the record.
        about: What the clips are, for readers.
        progress: Whoever watches.

    Returns:
        What was made. Channels are mixed to one; a version that is missing leaves a gap in its row.

    Raises:
        InputError: If the names do not say what is what, or the versions of a clip differ in rate.
        AudioError: If a file cannot be read.
    """
    started = time.perf_counter()
    named, reading = read_names(audio)
    systems = sorted({one.system for one in named}, key=lambda name: (not is_reference(name), _counted(name)))
    categories = _categories(systems)
    has_original = ORIGINAL in categories.values()
    rows: dict[str, list[Named]] = {}
    for one in named:
        rows.setdefault(one.clip, []).append(one)
    if has_original:
        lone = [clip for clip, row in rows.items() if all(categories[one.system] != ORIGINAL for one in row)]
        if lone:
            raise InputError(
                f"{audio}: clip {lone[0]!r} has no {systems[0]!r}, which the other clips are compared with"
            )
    content = hashlib.sha256()
    made_by: list[dict[str, str]] = []
    document: dict[str, Any] = {}
    products: list[str] = []
    missing: list[tuple[str, str]] = []
    policy = level_policy("row_gain")
    progress.start(f"import {audio.name}", len(rows))
    for rank, (clip, row) in enumerate(rows.items(), 1):
        row.sort(key=lambda one: systems.index(one.system))
        waves, rate = _load(row)
        for one, wave in zip(row, waves, strict=True):
            content.update(f"{one.path.relative_to(audio).as_posix()} {audio_io.pcm_sha256(wave, rate)}\n".encode())
        versions = [
            Version(categories[one.system], _title(one.system), wave) for one, wave in zip(row, waves, strict=True)
        ]
        done = export_row(
            clip, versions, sample_rate_hz=rate, collection=collection, folder=companion, bits=16, label=clip
        )
        products += done.paths
        absent = [system for system in systems if system not in {one.system for one in row}]
        missing += [(clip, _title(system)) for system in absent]
        entry: dict[str, Any] = {
            "title": _title(clip.rsplit("/", 1)[-1]),
            "sample_rate_hz": rate,
            "duration_s": len(waves[0]) / rate,
            "bits": 16,
            **({} if has_original else {"study": STUDY}),
            "systems": {
                categories[one.system]: {"model": categories[one.system], "title": _title(one.system)}
                for one in row
                if categories[one.system] != ORIGINAL
            },
            "files": done.files,
            "loudness_lufs": done.loudness_lufs,
            "gain_db": done.gain_db,
            "peak_dbfs": done.peak_dbfs,
            "scores": {},
            "pictures": done.pictures,
            "selection": {"rule": "curated", "seed": None, "population": len(rows), "rank": rank},
        }
        made_by += entry["systems"].values()
        document[clip] = entry
        progress.advance(1)
    progress.finish()
    created = _now()
    run_id = f"{created:%Y%m%dT%H%M%SZ}-{content.hexdigest()[:8]}"
    for system in made_by:
        system["run"] = run_id
    corpus = {
        "name": audio.resolve().name,
        "layout": LAYOUT,
        "split": "all",
        "rule": "none",
        "rule_text": about or "The files are shown as they were given; nothing says how they were chosen.",
        "content_sha256": content.hexdigest(),
        "clips": len(rows),
        "groups": len(rows),
    }
    record = {
        "schema_version": manifest.SCHEMA_VERSION,
        "run_id": run_id,
        "command": command or "python build_site.py new",
        "created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "seed": 0,
        "device": "cpu",
        "environment": environment(),
        "code": code_state(),
        "models": [],
        "corpus": corpus,
        "metrics": {},
        "wall_s": round(time.perf_counter() - started, 3),
        "stage_seconds": {},
        "peak_memory_bytes": None,
        "clips": {"total": len(rows), "ok": len(rows), "failed": 0},
    }
    results = {
        "schema_version": manifest.SCHEMA_VERSION,
        "collection": collection,
        "title": title,
        "run": run_id,
        "corpus": corpus,
        "level_policy": {"name": policy.name, "text": policy.text},
        "selection": {
            "rule": "curated",
            "seed": None,
            "count": len(rows),
            "population": len(rows),
            "text": f"All {len(rows)} clips of the folder that was given; how they were chosen is not known.",
        },
        "systems": [],
        "metrics": [],
        "aggregates": [],
        "differences": [],
        "failures": [],
    }
    data = companion / "_data"
    documents: Mapping[str, tuple[str, Any]] = {
        f"runs/{run_id}.json": ("run", record),
        f"results/{collection}.json": ("results", results),
        f"{collection}.yml": ("collection", document),
    }
    for kind, content_of in documents.values():
        manifest.check(manifest.plain(content_of), kind, data)
    _remove_former(companion, collection, products)
    for name, (kind, content_of) in documents.items():
        write = manifest.write_yaml if name.endswith(".yml") else manifest.write_json
        write(data / name, content_of, kind)
        products.append(f"_data/{name}")
    titles = tuple(_title(system) for system in systems)
    return Imported(collection, len(rows), titles, tuple(missing), reading, tuple(products))


def _remove_former(companion: Path, collection: str, products: Sequence[str]) -> None:
    """Remove the files and the record of an earlier import of the same table."""
    kept = {companion / path for path in products}
    for kind in ("audio", "images"):
        for path in sorted((companion / "assets" / kind / collection).iterdir()):
            if path not in kept and path.is_file():
                path.unlink()
    data = companion / "_data"
    try:
        run = json.loads((data / "results" / f"{collection}.json").read_text(encoding="utf-8"))["run"]
        record = data / "runs" / f"{run}.json"
        if json.loads(record.read_text(encoding="utf-8"))["corpus"]["layout"] == LAYOUT:
            record.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        return


def _now() -> datetime:
    """The time, or the one that the builds of others are told: the same inputs give the same record."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(fixed), UTC) if fixed.isdigit() else datetime.now(UTC).replace(microsecond=0)


PLACEHOLDER_HZ = 16000


def write_placeholders(folder: Path) -> list[str]:
    """Write a few short tones that a formula makes, and the same with four bits, so that a new companion can be heard.

    Returns:
        The files, relative to the folder.
    """
    time_s = np.arange(PLACEHOLDER_HZ) / PLACEHOLDER_HZ
    fade = np.minimum(1.0, np.minimum(time_s, 1.0 - time_s) / 0.02)
    tones = {
        "chord": sum(np.sin(2 * np.pi * hz * time_s) for hz in (220.0, 277.2, 329.6)) / 3 * np.exp(-2 * time_s),
        "rising tone": np.sin(2 * np.pi * (220.0 * time_s + 330.0 * time_s**2)),
        "tremolo": np.sin(2 * np.pi * 440.0 * time_s) * (0.6 + 0.4 * np.sin(2 * np.pi * 6.0 * time_s)),
    }
    written = []
    for name, tone in tones.items():
        wave = 0.5 * fade * np.asarray(tone)
        for system, version in (("original", wave), ("four bits", np.round(wave * 8) / 8)):
            path = folder / system / f"{name}.wav"
            audio_io.make_folder(path.parent)
            audio_io.write_float(path, np.asarray(version, dtype=np.float32), PLACEHOLDER_HZ)
            written.append(path.relative_to(folder).as_posix())
    return written
