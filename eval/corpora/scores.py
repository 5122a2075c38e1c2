"""Scores for the renderer: which ones, and how their notes are read.

The scores are MusicXML files that the ``music21`` package (BSD licence) brings along for study; they are read
from the installed package and never copied. Only works whose composers died before 1900 and only files that
claim no rights are used: encodings with a rights notice (all of the Kern files, some madrigals) are left out.

The reader here knows what sounding notes need: divisions, voices, chords, ties and transposing instruments.
Grace notes, cue notes and repeats are passed over.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from models.errors import InputError

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass(frozen=True)
class Source:
    """One score file and what it is.

    Attributes:
        path: Path inside music21's corpus folder.
        composer: Surname, as MusicNet writes it.
        composition: Title of the work.
        movement: Title or number of the movement.
        catalog_name: Opus or catalogue number; with the composer it names the work.
        parts: Number of parts that the score has.
        quarters_per_minute: Tempo at which it is played here.
        held_out: Whether the work is reserved for the held-out set.
    """

    path: str
    composer: str
    composition: str
    movement: str
    catalog_name: str
    parts: int
    quarters_per_minute: float
    held_out: bool = False

    @property
    def work(self) -> str:
        """The leak-free unit: composer and catalogue number."""
        return f"{self.composer} {self.catalog_name}"


@dataclass(frozen=True)
class ScoreNote:
    """A sounding note, in quarter notes from the start of the score."""

    part: int
    start: Fraction
    duration: Fraction
    pitch: int


# folder, composer, composition, catalogue number, movements (file, quarters per minute), held out
_QUARTETS: tuple[tuple[str, str, str, str, tuple[tuple[str, float], ...], bool], ...] = (
    ("beethoven", "Beethoven", "String Quartet No 1 in F major", "OP18NO1",
     tuple((f"opus18no1/movement{n}", q) for n, q in ((1, 150), (2, 66), (3, 200), (4, 110))), False),
    ("beethoven", "Beethoven", "String Quartet No 3 in D major", "OP18NO3", (("opus18no3", 120),), False),
    ("beethoven", "Beethoven", "String Quartet No 4 in C minor", "OP18NO4", (("opus18no4", 120),), True),
    ("beethoven", "Beethoven", "String Quartet No 5 in A major", "OP18NO5", (("opus18no5", 120),), False),
    ("beethoven", "Beethoven", "String Quartet No 7 in F major", "OP59NO1",
     tuple((f"opus59no1/movement{n}", q) for n, q in ((1, 132), (2, 100), (3, 60), (4, 110))), False),
    ("beethoven", "Beethoven", "String Quartet No 8 in E minor", "OP59NO2",
     tuple((f"opus59no2/movement{n}", q) for n, q in ((1, 120), (2, 60), (3, 120), (4, 140))), False),
    ("beethoven", "Beethoven", "String Quartet No 9 in C major", "OP59NO3",
     tuple((f"opus59no3/movement{n}", q) for n, q in ((1, 120), (2, 80), (3, 110), (4, 150))), False),
    ("beethoven", "Beethoven", "String Quartet No 10 in E-flat major", "OP74", (("opus74", 110),), True),
    ("beethoven", "Beethoven", "String Quartet No 15 in A minor", "OP132", (("opus132", 100),), False),
    ("beethoven", "Beethoven", "Grosse Fuge in B-flat major", "OP133", (("opus133", 120),), False),
    ("mozart", "Mozart", "String Quartet No 1 in G major", "K80",
     tuple((f"k80/movement{n}", q) for n, q in ((1, 66), (2, 130), (3, 120), (4, 110))), False),
    ("mozart", "Mozart", "String Quartet No 2 in D major", "K155",
     tuple((f"k155/movement{n}", q) for n, q in ((1, 120), (2, 72), (3, 120))), False),
    ("mozart", "Mozart", "String Quartet No 3 in G major", "K156",
     tuple((f"k156/movement{n}", q) for n, q in ((1, 140), (2, 60), (3, 120))), True),
    ("mozart", "Mozart", "String Quartet No 17 in B-flat major", "K458",
     tuple((f"k458/movement{n}", q) for n, q in ((1, 150), (2, 110), (3, 50), (4, 130))), False),
    ("haydn", "Haydn", "String Quartet in B-flat major", "OP1NO1",
     tuple((f"opus1no1/movement{n + 1}", q) for n, q in enumerate((150, 120, 60, 120, 140))),
     False),
    ("haydn", "Haydn", "String Quartet in C major", "OP74NO1",
     tuple((f"opus74no1/movement{n}", q) for n, q in ((1, 130), (2, 80), (3, 150), (4, 130))), True),
    ("schumann_robert", "Schumann", "String Quartet No 1 in A minor", "OP41NO1",
     tuple((f"opus41no1/movement{n}", q) for n, q in ((1, 80), (2, 130), (3, 66), (4, 130))), False),
)  # fmt: skip

_KEYBOARD: tuple[Source, ...] = (
    Source("schumann_clara/polonaise_op1n1.mxl", "Schumann (Clara)", "Four Polonaises", "1", "OP1", 1, 92),
    Source("schumann_clara/polonaise_op1n2.mxl", "Schumann (Clara)", "Four Polonaises", "2", "OP1", 1, 92),
    Source("schumann_clara/polonaise_op1n3.mxl", "Schumann (Clara)", "Four Polonaises", "3", "OP1", 1, 92),
    Source("schumann_clara/polonaise_op1n4.mxl", "Schumann (Clara)", "Four Polonaises", "4", "OP1", 1, 92),
    Source("mozart/k545/movement1_exposition.mxl", "Mozart", "Piano Sonata No 16 in C major", "1. Allegro",
           "K545", 1, 132, True),
    Source("cpebach/h186.mxl", "Bach (C. P. E.)", "Sonata in A major", "2. Poco adagio", "H186", 1, 60, True),
)  # fmt: skip

_DUO = Source(
    "weber/concertino_clarinet.mxl",
    "Weber",
    "Concertino for Clarinet in E-flat major",
    "",
    "OP26",
    2,
    100,
    True,
)

HELD_OUT_CHORALES = (
    "BWV26", "BWV60", "BWV85", "BWV87", "BWV116", "BWV122", "BWV133", "BWV140", "BWV187", "BWV226", "BWV229",
    "BWV262", "BWV300", "BWV343", "BWV371", "BWV399",
)  # fmt: skip
"""Bach's works whose chorales are held out, every movement of them.

Their tunes occur in no other work of the collection: no 16 intervals of a soprano are found elsewhere.
"""


@cache
def corpus_folder() -> Path:
    """Where the installed music21 keeps its scores.

    Raises:
        InputError: If music21 is not installed or came without its scores.
    """
    spec = find_spec("music21")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "corpus" / "bach").is_dir():
            return Path(place) / "corpus"
    raise InputError("the scores come from the package music21, which is missing: `pip install music21`")


def _chorales() -> Iterator[Source]:
    folder = corpus_folder() / "bach"
    for path in sorted(folder.glob("bwv*.mxl"), key=lambda p: p.name):
        # Names are bwv<work>[.<movement>][-<variant>]; variants repeat a movement in another arrangement
        stem = path.stem.removeprefix("bwv")
        if "-" in stem or not stem.split(".")[0].isdigit():
            continue
        work, _, movement = stem.partition(".")
        name = f"BWV{int(work)}"
        yield Source(
            f"bach/{path.name}",
            "Bach",
            f"Chorale from {name}",
            movement,
            name,
            4,
            76,
            name in HELD_OUT_CHORALES,
        )


@cache
def chorales() -> tuple[Source, ...]:
    """Bach's chorales; not all of them are `usable`."""
    return tuple(_chorales())


@cache
def quartets() -> tuple[Source, ...]:
    """Movements of string quartets."""
    return tuple(
        Source(f"{folder}/{name}.mxl", composer, title, name.partition("/movement")[2], catalog, 4, tempo, held)
        for folder, composer, title, catalog, movements, held in _QUARTETS
        for name, tempo in movements
    )


def keyboard() -> tuple[Source, ...]:
    """Pieces for one keyboard."""
    return _KEYBOARD


def duo() -> Source:
    """A piece for clarinet and piano."""
    return _DUO


@lru_cache(maxsize=1024)
def usable(source: Source) -> bool:
    """Whether a score has the parts it should have and claims no rights."""
    root = _document(source.path)
    rights = " ".join("".join(element.itertext()).strip() for element in root.iter("rights")).strip()
    return len(root.findall("part")) == source.parts and (not rights or "public domain" in rights.lower())


@lru_cache(maxsize=4)
def _document(path: str) -> ElementTree.Element:
    file = corpus_folder() / path
    try:
        with zipfile.ZipFile(file) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            rootfile = next(e for e in container.iter() if e.tag.rpartition("}")[2] == "rootfile")
            return ElementTree.fromstring(archive.read(rootfile.attrib["full-path"]))
    except (OSError, KeyError, StopIteration, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise InputError(f"{file}: cannot read this score ({error}); reinstall music21") from None


def _pitch(note: ElementTree.Element, transpose: int) -> int | None:
    pitch = note.find("pitch")
    if pitch is None:
        return None
    step, octave = pitch.findtext("step", "C"), int(pitch.findtext("octave", "4"))
    alter = round(float(pitch.findtext("alter") or 0))
    return 12 * (octave + 1) + _STEPS[step.strip()] + alter + transpose


def _measure(
    measure: ElementTree.Element, part: int, state: dict[str, int]
) -> tuple[list[tuple[ScoreNote, bool, bool]], Fraction]:
    """Notes of a measure, each with whether a tie ends or starts there, and the measure's length."""
    notes: list[tuple[ScoreNote, bool, bool]] = []
    place = last = length = Fraction(0)
    for element in measure:
        if element.tag == "attributes":
            state["divisions"] = int(element.findtext("divisions") or state["divisions"])
            transpose = element.find("transpose")
            if transpose is not None:
                state["transpose"] = round(float(transpose.findtext("chromatic") or 0)) + 12 * int(
                    transpose.findtext("octave-change") or 0
                )
        elif element.tag in ("backup", "forward"):
            step = Fraction(element.findtext("duration") or 0) / state["divisions"]
            place += step if element.tag == "forward" else -step
        elif element.tag == "note" and element.find("grace") is None:
            duration = Fraction(element.findtext("duration") or 0) / state["divisions"]
            start = last if element.find("chord") is not None else place
            pitch = _pitch(element, state["transpose"])
            if pitch is not None and element.find("cue") is None and duration > 0:
                ties = {tie.get("type") for tie in element.findall("tie")}
                notes.append((ScoreNote(part, start, duration, pitch), "stop" in ties, "start" in ties))
            if element.find("chord") is None:
                last, place = place, place + duration
        length = max(length, place)
    return notes, length


@lru_cache(maxsize=64)
def read_notes(path: str) -> tuple[ScoreNote, ...]:
    """The sounding notes of a score, tied notes joined, by start, part and pitch.

    Raises:
        InputError: If the score cannot be read.
    """
    parts = [part.findall("measure") for part in _document(path).findall("part")]
    states = [{"divisions": 1, "transpose": 0} for _ in parts]
    open_ties: dict[tuple[int, int], ScoreNote] = {}
    found: list[ScoreNote] = []
    offset = Fraction(0)
    for index in range(max(map(len, parts))):
        length = Fraction(0)
        for number, measures in enumerate(parts):
            if index >= len(measures):
                continue
            notes, measure_length = _measure(measures[index], number, states[number])
            length = max(length, measure_length)
            for note, ends, starts in notes:
                placed = ScoreNote(number, note.start + offset, note.duration, note.pitch)
                key = (number, note.pitch)
                before = open_ties.pop(key, None)
                if before is not None:
                    if ends and before.start + before.duration == placed.start:
                        placed = ScoreNote(number, before.start, before.duration + note.duration, note.pitch)
                    else:
                        found.append(before)
                if starts:
                    open_ties[key] = placed
                else:
                    found.append(placed)
        offset += length
    found.extend(open_ties.values())
    return tuple(sorted(found, key=lambda n: (n.start, n.part, n.pitch)))
