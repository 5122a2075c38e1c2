"""The NSynth layout: ``<split>/examples.json`` and ``<split>/audio/<note_str>.wav`` (or another format).

``examples.json`` maps each note's name to its fields. It is scanned once for where each entry lies; an entry
is decoded again when its turn comes, so that the 289,000 entries of the full training split do not stay in
memory as objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from eval.corpora import splits
from eval.corpora.base import FolderCorpus, Recording, check_name, find_audio, merge
from models.errors import CorpusError, system_reason

_TABLE = "examples.json"
_PREFIX = "nsynth-"
_SPACE = re.compile(r"[ \t\r\n]*")
_WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "pitch": (0, 127),
    "velocity": (0, 127),
    "note": (0, 2**63),
    "instrument": (0, 2**63),
    "sample_rate": (1, 10**6),
    "instrument_family": (0, 10),
    "instrument_source": (0, 2),
}
_TEXTS = ("note_str", "instrument_str", "instrument_family_str", "instrument_source_str")
_REQUIRED = ("pitch", "velocity", "instrument_str", "instrument_family_str")


def detect(root: Path) -> bool:
    """Whether a folder, or a folder in it, holds an ``examples.json``."""
    return (root / _TABLE).is_file() or any(root.glob(f"*/{_TABLE}"))


def _find_entries(path: Path) -> tuple[str, list[tuple[str, int, int]]]:
    """The text of an ``examples.json``, and name, start and end of every entry, sorted by name."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 ({error})") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({system_reason(error)})") from None

    decode = json.JSONDecoder().raw_decode
    found: list[tuple[str, int, int]] = []

    def skip(place: int, wanted: str) -> int:
        place = _SPACE.match(text, place).end()  # type: ignore[union-attr]  # blanks match anywhere
        if text[place : place + 1] not in tuple(wanted):
            raise json.JSONDecodeError(f"{' or '.join(map(repr, wanted))} expected", text, place)
        return place

    try:
        place = skip(0, "{") + 1
        if text[skip(place, '"}')] != "}":
            while True:
                name, place = decode(text, skip(place, '"'))
                start = _SPACE.match(text, skip(place, ":") + 1).end()  # type: ignore[union-attr]  # blanks match anywhere
                _, end = decode(text, start)
                found.append((name, start, end))
                place = skip(end, ",}")
                if text[place] == "}":
                    break
                place += 1
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusError(f"{path}: not a JSON object of notes ({error})") from None
    found.sort()
    for one, other in pairwise(found):
        if one[0] == other[0]:
            raise CorpusError(f"{path}: entry {one[0]!r} occurs twice")
    return text, found


def _check_fields(entry: Any, name: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise CorpusError(f"{path}: entry {name!r}: {str(entry)[:40]!r} instead of an object with fields")
    missing = [field for field in _REQUIRED if field not in entry]
    if missing:
        raise CorpusError(f"{path}: entry {name!r}: field {missing[0]!r} is missing")
    for field, (low, high) in _WHOLE_NUMBERS.items():
        value = entry.get(field, low)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise CorpusError(
                f"{path}: entry {name!r}: field {field!r} is {str(value)[:40]!r} instead of a whole number "
                f"from {low} to {high}"
            )
    for field in _TEXTS:
        value = entry.get(field, "text")
        if not isinstance(value, str) or not value:
            raise CorpusError(f"{path}: entry {name!r}: field {field!r} is {str(value)[:40]!r} instead of text")
    if entry.get("note_str", name) != name:
        raise CorpusError(f"{path}: entry {name!r}: field 'note_str' is {entry['note_str']!r}, another note")
    return entry


class NSynthCorpus(FolderCorpus):
    """Notes in NSynth's folders; the folders ``nsynth-train`` and so on of the original archives also do."""

    layout_name: ClassVar[str] = "nsynth"
    group_means: ClassVar[str] = "instrument"

    def _folders(self) -> dict[str, Path]:
        if (self.root / _TABLE).is_file():
            return {"all": self.root}
        tables = sorted(self.root.glob(f"*/{_TABLE}"))
        return {path.parent.name.removeprefix(_PREFIX): path.parent for path in tables}

    def own_splits(self) -> tuple[str, ...]:
        """Names of the folders that hold an ``examples.json``."""
        usual = ("train", "valid", "test")
        return tuple(sorted(self._folders(), key=lambda s: (usual.index(s) if s in usual else 3, s)))

    def paper_rules(self) -> Mapping[str, splits.PaperRule]:
        """NOTONO's split."""
        return {"notono": splits.NOTONO}

    def label_files(self, own_split: str | None) -> list[Path]:
        """The tables of notes."""
        return [folder / _TABLE for name, folder in self._folders().items() if own_split is None or name == own_split]

    def recordings(self, own_split: str | None) -> Iterator[Recording]:
        """The notes of a folder, or of all folders."""
        if own_split is None:
            return merge(self._notes(split) for split in self.own_splits())
        if own_split not in self._folders():
            raise CorpusError(f"{self.root}: no split {own_split!r}: {', '.join(self.own_splits())}")
        return self._notes(own_split)

    def _notes(self, split: str) -> Iterator[Recording]:
        folder = self._folders()[split]
        table = folder / _TABLE
        text, entries = _find_entries(table)
        suffix = ".wav"
        for name, start, end in entries:
            check_name(name, str(table))
            fields = _check_fields(json.loads(text[start:end]), name, table)
            path = find_audio(folder / "audio", name, self.root, suffix)
            suffix = path.suffix
            yield Recording(name, path, fields["instrument_str"], split, fields)
