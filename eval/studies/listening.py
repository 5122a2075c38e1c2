"""The listening rows of a study: made, checked, exported and written down as a collection of samples."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval import manifest
from eval.corpora import HELD_OUT, open_corpus
from eval.protocols import Progress
from eval.runner import code_sha256, remove_partial, safe_name, worker_count
from eval.studies import STUDIES, collection_name
from eval.studies.base import Listening, Track
from models import registry
from models.errors import InputError

if TYPE_CHECKING:
    from eval.export import ExportedRow, Version

__all__ = ["listening_fingerprint", "publish_listening", "track_categories"]

BITS = 16
_LIBRARIES = ("numpy", "pillow", "soundfile", "soxr", "torch")


def listening_fingerprint(study: str, models: Sequence[str], *, seed: int, device: str) -> str:
    """Hash of everything that can change the listening rows of a study; the study itself is not imported.

    Args:
        study: Its name.
        models: Names of the models that it uses.
        seed: Seed of its rows.
        device: As in the settings.

    Raises:
        InputError: If a model is unknown.
        CheckpointError: If weights are missing.
        CorpusError: If the held-out set is.
    """
    spec = find_spec(STUDIES[study])
    own = Path(spec.origin).read_bytes() if spec is not None and spec.origin else b""
    facts = [
        study,
        seed,
        device,
        hashlib.sha256(own).hexdigest(),
        code_sha256("eval"),
        code_sha256("models"),
        [(name, registry.fingerprint(name, None)) for name in models],
        [open_corpus(HELD_OUT / which).fingerprint(split="test", rule="corpus") for which in ("notes", "music")],
        [importlib.metadata.version(name) for name in _LIBRARIES],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def track_categories(tracks: Sequence[Track]) -> list[str]:
    """The category of every track: part of its file names, and what a player keeps when it goes to another row.

    A first track called Original or Recording is the reference of its row, as in every other collection.
    """
    names: list[str] = []
    for place, track in enumerate(tracks):
        base = re.sub(r"[^a-z0-9]+", "_", track.title.lower()).strip("_")[:40].strip("_") or "track"
        if not base[0].isalpha():
            base = f"track_{base}"
        if place == 0 and base in {"original", "recording"}:
            names.append("original")
            continue
        name, number = base, 2
        while name in (*names, "original"):
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def publish_listening(
    source: Path,
    study: str,
    rows: Sequence[Listening],
    *,
    seed: int,
    workers: int | None,
    progress: Progress,
) -> list[str]:
    """Export the rows of a study and write ``_data/study_<name>.yml``.

    Tracks of a row that are shorter than its longest are filled up with silence, so that they can be switched between
    at one position.

    Args:
        source: The companion's folder.
        study: Name of the study.
        rows: Its rows; without any, nothing is written.
        seed: The seed that they were made with.
        workers: Rows side by side; no product depends on it.
        progress: Whoever watches.

    Returns:
        Paths of the products below the companion's folder.

    Raises:
        InputError: If a row cannot be heard: no tracks, no samples, not finite, an id twice.
        EarwitnessError: If a file cannot be written.
    """
    if not rows:
        return []
    _check(study, rows)
    collection = collection_name(study)
    for kind in ("audio", "images"):
        remove_partial(source / "assets" / kind / collection)
    products: list[str] = []
    samples: dict[str, Any] = {}
    progress.start(f"export {collection}", len(rows))
    with ThreadPoolExecutor(workers or worker_count("cpu"), thread_name_prefix="export") as pool:
        pending = [pool.submit(_export, source, collection, row) for row in rows]
        try:
            for rank, (row, future) in enumerate(zip(rows, pending, strict=True), start=1):
                exported = future.result()
                samples[row.id] = _sample(study, row, exported, seed=seed, rank=rank, population=len(rows))
                products += exported.paths
                progress.advance(1)
        except BaseException:
            for future in pending:
                future.cancel()
            raise
    progress.finish()
    path = f"_data/{collection}.yml"
    manifest.write_yaml(source / path, samples, "collection")
    return [*products, path]


def _check(study: str, rows: Sequence[Listening]) -> None:
    import numpy as np

    stems: dict[str, str] = {}
    for row in rows:
        where = f"study {study!r}, listening row {row.id!r}"
        # File systems that do not tell case apart would take two rows for one.
        stem = safe_name(row.id).lower()
        if stem in stems:
            raise InputError(f"{where}: its id is also that of row {stems[stem]!r}; ids must differ")
        stems[stem] = row.id
        if not row.id.strip():
            raise InputError(f"{where}: an id is needed")
        if not row.tracks:
            raise InputError(f"{where}: has no tracks")
        if row.sample_rate_hz < 1:
            raise InputError(f"{where}: sample_rate_hz is {row.sample_rate_hz}")
        for track in row.tracks:
            wave = np.asarray(track.waveform)
            if wave.ndim != 1 or wave.size == 0:
                raise InputError(f"{where}: track {track.title!r} has the shape {wave.shape}; (time,) is needed")
            if not np.isfinite(wave).all():
                raise InputError(f"{where}: track {track.title!r} holds samples that are not finite")


def _export(source: Path, collection: str, row: Listening) -> ExportedRow:
    from eval.export import VIEWS, export_row

    return export_row(
        row.id,
        _versions(row),
        sample_rate_hz=row.sample_rate_hz,
        collection=collection,
        folder=source,
        bits=BITS,
        label=" ".join(row.title.split())[:120],
        views=tuple(row.views) or VIEWS,
        reference=row.reference,
    )


def _versions(row: Listening) -> list[Version]:
    import numpy as np

    from eval.export import Version

    length = _length(row)
    versions = []
    for category, track in zip(track_categories(row.tracks), row.tracks, strict=True):
        wave = np.zeros(length, dtype=np.float32)
        wave[: len(track.waveform)] = track.waveform
        versions.append(
            Version(
                category, track.title, wave, track.codes, row.codebook_size, len(track.waveform) / row.sample_rate_hz
            )
        )
    return versions


def _length(row: Listening) -> int:
    return max(len(track.waveform) for track in row.tracks)


def _sample(
    study: str, row: Listening, exported: ExportedRow, *, seed: int, rank: int, population: int
) -> dict[str, Any]:
    labels: Mapping[str, Any] = {"title": row.title, **{k: v for k, v in row.labels.items() if k != "title"}}
    return {
        **manifest.sample_labels(labels),
        "study": study,
        "sample_rate_hz": row.sample_rate_hz,
        "duration_s": _length(row) / row.sample_rate_hz,
        "bits": BITS,
        "systems": {
            category: {"title": track.title}
            for category, track in zip(track_categories(row.tracks), row.tracks, strict=True)
        },
        "files": exported.files,
        "loudness_lufs": exported.loudness_lufs,
        "peak_dbfs": exported.peak_dbfs,
        "gain_db": exported.gain_db,
        "scores": {},
        "pictures": exported.pictures,
        "selection": {"rule": "study", "seed": seed, "population": population, "rank": rank},
    }
