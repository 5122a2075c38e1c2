"""What to print about a sample: a heading and its facts, from whatever labels its corpus has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from paper_site.filters import note, plain, words
from paper_site.manifest import Sample, anchor

_TITLES = ("title", "track_title", "composition", "instrument_family_str", "instrument_name")
_IDENTIFIERS = {"instrument_family_str", "instrument_name"}
_FACTS: Mapping[str, str] = {
    "movement": "",
    "composer": "",
    "artist": "",
    "ensemble": "",
    "genre": "",
    "speaker": "Speaker",
    "pitch": "",
    "instrument_source_str": "",
    "velocity": "Velocity",
    "text": "",
    "transcript": "",
}


def headline(sample: Sample) -> str:
    """Choose the heading of a sample: its title or its instrument, else its id."""
    for name in _TITLES:
        value = sample.labels.get(name)
        if isinstance(value, str) and value.strip():
            return words(value) if name in _IDENTIFIERS else value
    return sample.id


def facts(sample: Sample) -> list[str]:
    """List the few facts that stand under the heading, such as ``C4, pitch 60``."""
    found = []
    for name, prefix in _FACTS.items():
        value = sample.labels.get(name)
        if value is None or value == "" or isinstance(value, list | Mapping):
            continue
        if name == "pitch":
            text = f"{note(value)} (pitch {value})" if note(value) else f"Pitch {plain(value)}"
        elif name == "instrument_source_str":
            text = words(value)
        else:
            text = f"{prefix} {plain(value)}" if prefix else str(value)
        found.append(text)
    return found


def remaining(sample: Sample) -> list[tuple[str, str]]:
    """List every label of one line, for those who want all of them."""

    def simple(value: Any) -> bool:
        if isinstance(value, list):
            return len(value) <= 24 and not any(isinstance(v, Mapping | list) for v in value)
        return not isinstance(value, Mapping)

    return [(words(key), plain(value)) for key, value in sample.labels.items() if simple(value)]


def metric_names(sample: Sample) -> list[str]:
    """List the metrics of a sample in order of appearance."""
    return list(dict.fromkeys(name for track in sample.tracks for name in track.scores))


def is_drawn(sample: Sample) -> bool:
    """Whether a rule without regard to quality put the sample where it stands; False for one chosen by its score."""
    return sample.selection.get("rule") in {"random", "all", "study"}


def common_forms(samples: Iterable[Sample]) -> str | None:
    """Name the formats that every track has under one name, such as ``ogg flac``; ``None`` where names differ."""
    found: set[tuple[str, ...]] = set()
    for sample in samples:
        for track in sample.tracks:
            paths = {form: PurePosixPath(file.path) for form, file in track.files.items()}
            stems = {path.with_suffix("") for path in paths.values()}
            if len(stems) != 1 or any(path.suffix != f".{form}" for form, path in paths.items()):
                return None
            found.add(tuple(paths))
    return " ".join(found.pop()) if len(found) == 1 else None


def forms(sample: Sample) -> str | None:
    """Name the formats of one row, as ``common_forms`` does."""
    return common_forms((sample,))


FILTERS = {
    "anchor": anchor,
    "facts": facts,
    "forms": forms,
    "headline": headline,
    "is_drawn": is_drawn,
    "metric_names": metric_names,
    "remaining": remaining,
}
