"""Tiny corpora for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.signals import tone


def write_audio(
    path: Path, *, sample_rate_hz: int = 16_000, duration_s: float = 0.1, frequency_hz: float = 440.0
) -> Path:
    """A tone; the format follows the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(frequency_hz, duration_s, sample_rate_hz), sample_rate_hz)
    return path


def note_fields(name: str, **changes: Any) -> dict[str, Any]:
    """NSynth's thirteen fields, read from the note's name."""
    instrument, pitch, velocity = name.rsplit("-", 2)
    family, source, number = instrument.rsplit("_", 2)
    fields = {
        "note": int(number) * 1000 + int(pitch),
        "note_str": name,
        "instrument": int(number),
        "instrument_str": instrument,
        "pitch": int(pitch),
        "velocity": int(velocity),
        "sample_rate": 16_000,
        "qualities": [0] * 10,
        "qualities_str": [],
        "instrument_family": 0,
        "instrument_family_str": family,
        "instrument_source": 0,
        "instrument_source_str": source,
    }
    return {**fields, **changes}


def make_nsynth(root: Path, splits: Mapping[str, list[str]], *, suffix: str = ".wav", audio: bool = True) -> Path:
    """An NSynth corpus with the given note names in each split."""
    for split, names in splits.items():
        (root / split / "audio").mkdir(parents=True)
        table = {name: note_fields(name) for name in names}
        (root / split / "examples.json").write_text(json.dumps(table), encoding="utf-8")
        for name in names if audio else ():
            write_audio(root / split / "audio" / (name + suffix))
    return root


def notes(count: int, instruments: int = 10, family: str = "bass") -> list[str]:
    """Names of notes, spread over instruments and pitches."""
    return sorted(f"{family}_acoustic_{n % instruments:03d}-{21 + n % 88:03d}-{n % 128:03d}" for n in range(count))


def samples_of(path: Path) -> np.ndarray:
    """Decoded samples, shape (frames, channels)."""
    return soundfile.read(path, dtype="float32", always_2d=True)[0]
