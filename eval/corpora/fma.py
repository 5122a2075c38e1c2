"""The FMA layout: ``<folder>/<first three digits>/<track id>.mp3``, with the metadata where it is there.

The folder is the corpus folder itself or ``fma_small``, ``fma_medium``, ``fma_large``, ``fma_full`` or
``fma_data`` in it. Metadata is the official ``fma_metadata/tracks.csv`` with its three header lines, or a
plain ``fma_tracks.csv`` with the columns track_id, artist, title and genre_top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from eval.corpora.base import FolderCorpus, Recording, audio_files, merge, printable, read_rows, read_table
from models.errors import CorpusError

_FOLDERS = ("fma_small", "fma_medium", "fma_large", "fma_full", "fma_data")
_DIGITS = re.compile(r"\d{3}")
_OWN_NAMES = {"training": "train", "validation": "valid", "test": "test"}
_OFFICIAL = {
    ("set", "split"): "split",
    ("set", "subset"): "subset",
    ("track", "title"): "title",
    ("track", "genre_top"): "genre_top",
    ("track", "license"): "licence",
    ("artist", "name"): "artist",
    ("album", "title"): "album",
}


def _audio_root(root: Path) -> Path | None:
    for folder in (root, *(root / name for name in _FOLDERS)):
        if folder.is_dir() and any(_DIGITS.fullmatch(path.name) and path.is_dir() for path in folder.iterdir()):
            return folder
    return None


def detect(root: Path) -> bool:
    """Whether a folder holds folders named by three digits, or one of FMA's folders with such."""
    return _audio_root(root) is not None


class FMACorpus(FolderCorpus):
    """Tracks in FMA's folders, grouped by artist."""

    layout_name: ClassVar[str] = "fma"
    group_means: ClassVar[str] = "artist"

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self._tracks: dict[str, dict[str, str]] | None = None

    def label_files(self, own_split: str | None) -> list[Path]:
        """The metadata file that is used."""
        candidates = ("fma_metadata/tracks.csv", "tracks.csv", "fma_tracks.csv")
        return [path for path in map(self.root.joinpath, candidates) if path.is_file()][:1]

    def _metadata(self) -> dict[str, dict[str, str]]:
        if self._tracks is None:
            rows: dict[str, dict[str, str]] = {}
            for path in self.label_files(None):
                read = _simple_rows if path.name == "fma_tracks.csv" else _official_rows
                for line, track, row in read(path):
                    if not track.isdigit():
                        raise CorpusError(f"{path}: line {line}: track_id is {track!r} instead of a whole number")
                    if f"{int(track):06d}" in rows:
                        raise CorpusError(f"{path}: line {line}: track_id {track} occurs twice")
                    rows[f"{int(track):06d}"] = row
            self._tracks = rows
        return self._tracks

    def own_splits(self) -> tuple[str, ...]:
        """``train``, ``valid`` and ``test`` where the official metadata says which track is where."""
        official = any(path.name == "tracks.csv" for path in self.label_files(None))
        return ("train", "valid", "test") if official else ()

    def recordings(self, own_split: str | None) -> Iterator[Recording]:
        """The tracks of an official split, or all."""
        root = _audio_root(self.root)
        if root is None:
            raise CorpusError(f"{self.root}: has no folders named by three digits, as FMA has")
        metadata = self._metadata()
        folders = sorted(p for p in root.iterdir() if p.is_dir() and _DIGITS.fullmatch(p.name))
        tracks = merge(self._of(folder, metadata) for folder in folders)
        return (track for track in tracks if own_split is None or track.own_split == own_split)

    def _of(self, folder: Path, metadata: dict[str, dict[str, str]]) -> Iterator[Recording]:
        for path in sorted(audio_files(folder, self.root), key=lambda p: (p.stem, p.name)):
            row = metadata.get(path.stem, {})
            labels = {key: value for key, value in row.items() if value and key != "split"}
            group = row.get("artist") or printable(path.stem)
            own = _OWN_NAMES.get(row.get("split", ""), row.get("split")) or None
            yield Recording(printable(path.stem), path, group, own, labels)


def _simple_rows(path: Path) -> Iterator[tuple[int, str, dict[str, str]]]:
    for line, row in read_table(path, ("track_id",)):
        yield line, row.pop("track_id"), row


def _official_rows(path: Path) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Rows of the official table: two lines of column names, then a line with ``track_id`` alone."""
    rows = read_rows(path)
    heads = [row for _, row in (next(rows, (0, [])), next(rows, (0, [])), next(rows, (0, [])))]
    if not heads[2] or heads[2][0] != "track_id" or len(heads[0]) != len(heads[1]):
        raise CorpusError(f"{path}: not FMA's tracks.csv: its third line must start with 'track_id'")
    places = {
        number: _OFFICIAL[key] for number, key in enumerate(zip(heads[0], heads[1], strict=True)) if key in _OFFICIAL
    }
    if "split" not in places.values():
        raise CorpusError(f"{path}: not FMA's tracks.csv: it has no column set, split")
    for line, row in rows:
        if row and len(row) != len(heads[0]):
            raise CorpusError(f"{path}: line {line}: {len(row)} fields instead of {len(heads[0])}")
        if row:
            yield line, row[0], {name: row[number] for number, name in places.items()}
