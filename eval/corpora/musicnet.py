"""The MusicNet layout: ``{train,test}_data``, ``{train,test}_labels`` and ``musicnet_metadata.csv``.

Audio may be in another format and at another rate; labels and metadata may be missing. Times in the label
files count samples at 44.1 kHz, MusicNet's own rate, whatever the rate of the audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final

from eval.corpora import splits
from eval.corpora.base import FolderCorpus, Recording, audio_files, merge, printable, read_table
from models.errors import CorpusError

LABEL_RATE_HZ: Final = 44_100
_METADATA = "musicnet_metadata.csv"
_NOTE_COLUMNS = ("start_time", "end_time", "instrument", "note")


def detect(root: Path) -> bool:
    """Whether a folder holds ``train_data`` or ``test_data``."""
    return any((root / f"{split}_data").is_dir() for split in ("train", "test"))


def read_labels(path: Path) -> list[dict[str, Any]]:
    """The notes of a label file, by time, in seconds from the start of the recording.

    Raises:
        CorpusError: If a column is missing or a value is not what it should be.
    """
    notes = []
    for line, row in read_table(path, _NOTE_COLUMNS):
        values: dict[str, float] = {}
        for column in (*_NOTE_COLUMNS, "start_beat", "end_beat"):
            if column not in row:
                continue
            try:
                values[column] = float(row[column])
            except ValueError:
                raise CorpusError(f"{path}: line {line}: {column} is {row[column]!r} instead of a number") from None
        if not 0 <= values["start_time"] <= values["end_time"] < 2**53:
            raise CorpusError(
                f"{path}: line {line}: end_time {row['end_time']!r} is not at or after start_time {row['start_time']!r}"
            )
        if not (0 <= values["note"] <= 127 and values["note"].is_integer()):
            raise CorpusError(f"{path}: line {line}: note is {row['note']!r} instead of a pitch from 0 to 127")
        note: dict[str, Any] = {
            "start_s": values["start_time"] / LABEL_RATE_HZ,
            "end_s": values["end_time"] / LABEL_RATE_HZ,
            "pitch": int(values["note"]),
            "instrument": int(values["instrument"]),
        }
        note.update({key: values[key] for key in ("start_beat", "end_beat") if key in values})
        if "note_value" in row:
            note["note_value"] = row["note_value"]
        notes.append(note)
    notes.sort(key=lambda n: (n["start_s"], n["pitch"], n["instrument"]))
    return notes


class MusicNetCorpus(FolderCorpus):
    """Recordings in MusicNet's folders.

    The labels of a clip are the columns of the metadata, and ``notes`` where the recording has a label file:
    a list of dictionaries with ``start_s`` and ``end_s`` from the start of the clip and cut to it, ``pitch``,
    ``instrument`` (General MIDI program, counted from 1) and, where given, ``start_beat``, ``end_beat`` (a
    length, as MusicNet uses it) and ``note_value``.
    """

    layout_name: ClassVar[str] = "musicnet"
    group_means: ClassVar[str] = "work"

    def own_splits(self) -> tuple[str, ...]:
        """``train`` and ``test``, as far as their folders are there."""
        return tuple(split for split in ("train", "test") if (self.root / f"{split}_data").is_dir())

    def paper_rules(self) -> Mapping[str, splits.PaperRule]:
        """MelReformer's and featuresynth's splits."""
        return {"melreformer": splits.MELREFORMER, "featuresynth": splits.FEATURESYNTH}

    def label_files(self, own_split: str | None) -> list[Path]:
        """The metadata."""
        path = self.root / _METADATA
        return [path] if path.is_file() else []

    def _metadata(self) -> dict[str, dict[str, str]]:
        path = self.root / _METADATA
        rows: dict[str, dict[str, str]] = {}
        if path.is_file():
            for line, row in read_table(path, ("id",)):
                if row["id"] in rows:
                    raise CorpusError(f"{path}: line {line}: id {row['id']!r} occurs twice")
                rows[row["id"]] = row
        return rows

    def recordings(self, own_split: str | None) -> Iterator[Recording]:
        """The recordings of a folder, or of both."""
        metadata = self._metadata()
        if own_split is None:
            return merge(self._of(split, metadata) for split in self.own_splits())
        return self._of(own_split, metadata)

    def _of(self, split: str, metadata: Mapping[str, Mapping[str, str]]) -> Iterator[Recording]:
        folder = self.root / f"{split}_data"
        for path in sorted(audio_files(folder, self.root), key=lambda p: (p.stem, p.name)):
            row = metadata.get(path.stem, {})
            work = row.get("catalog_name") or row.get("composition")
            group = f"{row.get('composer', '')} {work}".strip() if work else printable(path.stem)
            labels: dict[str, Any] = {key: value for key, value in row.items() if key != "id" and value}
            if work:
                labels["work"] = group
            notes = self.root / f"{split}_labels" / f"{path.stem}.csv"
            yield Recording(printable(path.stem), path, group, split, labels, notes if notes.is_file() else None)

    def clip_labels(self, recording: Recording, start_s: float, end_s: float) -> Mapping[str, Any]:
        """The metadata, and the notes that sound between two times."""
        if recording.label_file is None:
            return recording.labels
        notes = [
            {
                **note,
                "start_s": max(note["start_s"] - start_s, 0.0),
                "end_s": min(note["end_s"], end_s) - start_s,
            }
            for note in _cached_labels(recording.label_file)
            if note["start_s"] < end_s and note["end_s"] > start_s
        ]
        return {**recording.labels, "notes": notes}


@lru_cache(maxsize=1)
def _cached_labels(path: Path) -> list[dict[str, Any]]:
    # The clips of one recording come one after the other and share its label file
    return read_labels(path)
