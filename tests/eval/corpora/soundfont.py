"""What the tests of the renderer need to know about FluidSynth and the sound font."""

from __future__ import annotations

import ctypes.util
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from eval.corpora.synth import DEFAULT_SOUNDFONTS

SOUNDFONT = next((path for path in DEFAULT_SOUNDFONTS if path.is_file()), None)

needs_soundfont = pytest.mark.skipif(SOUNDFONT is None, reason="FluidR3_GM.sf2 is not installed")
needs_fluidsynth = pytest.mark.skipif(
    SOUNDFONT is None or ctypes.util.find_library("fluidsynth") is None,
    reason="FluidSynth or FluidR3_GM.sf2 is not installed",
)
needs_scores = pytest.mark.skipif(find_spec("music21") is None, reason="music21 is not installed")


def _chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        name, length = struct.unpack("<4sI", data[start : start + 8])
        yield name, start + 8, length
        start += 8 + length + (length & 1)


def _hydra(path: Path) -> dict[bytes, bytes]:
    """The tables of a SoundFont 2 file, without its samples."""
    with path.open("rb") as stream:
        place, size = 12, path.stat().st_size
        while place < size:
            stream.seek(place)
            name, length, kind = struct.unpack("<4sI4s", stream.read(12))
            if name == b"LIST" and kind == b"pdta":
                data = stream.read(length - 4)
                return {n: data[s : s + k] for n, s, k in _chunks(data, 0, len(data))}
            place += 8 + length + (length & 1)
    raise AssertionError("no pdta in the sound font")


def preset_samples(path: Path) -> dict[tuple[int, int], tuple[str, frozenset[tuple[int, int]]]]:
    """Name and recorded samples (start and end in the file) of every preset, by bank and program."""
    tables = _hydra(path)

    def rows(name: bytes, layout: str) -> list[tuple[int, ...]]:
        return list(struct.iter_unpack(layout, tables[name]))

    presets, preset_bags, preset_generators = (
        rows(b"phdr", "<20sHHHIII"),
        rows(b"pbag", "<HH"),
        rows(b"pgen", "<HH"),
    )
    instruments, bags, generators = rows(b"inst", "<20sH"), rows(b"ibag", "<HH"), rows(b"igen", "<HH")
    samples = rows(b"shdr", "<20sIIIIIBbHH")

    def targets(first: int, last: int, zones: list, values: list, operator: int) -> list[int]:
        return [
            values[place][1]
            for zone in range(first, last)
            for place in range(zones[zone][0], zones[zone + 1][0])
            if values[place][0] == operator
        ]

    found = {}
    for preset, following in pairwise(presets):
        used = set()
        for instrument in targets(preset[3], following[3], preset_bags, preset_generators, 41):
            first, last = instruments[instrument][1], instruments[instrument + 1][1]
            used.update(samples[s][1:3] for s in targets(first, last, bags, generators, 53))
        name = preset[0].split(b"\0")[0].decode()  # type: ignore[attr-defined]
        found[(preset[2], preset[1])] = (name, frozenset(used))
    return found
