"""Which General MIDI presets of FluidR3 stand for which NSynth family, and which are held out.

One literal table. ``number`` gives every preset its NSynth-like instrument number: 500 + program for bank 0,
630 + program for bank 8, 760 + program for bank 16, so that it meets neither NSynth's own numbers (below 500)
nor other collections numbered from 900.

Held out means: the preset occurs in the shipped held-out set and never in a rendering for training. Presets
that share a recorded sample with a held-out one are held out with it, so that no recording of the sound font
is heard on both sides; ``tests/eval/corpora/test_presets.py`` checks that against the sound font.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FAMILIES: dict[str, int] = {
    "bass": 0,
    "brass": 1,
    "flute": 2,
    "guitar": 3,
    "keyboard": 4,
    "mallet": 5,
    "organ": 6,
    "reed": 7,
    "string": 8,
    "synth_lead": 9,
    "vocal": 10,
}
SOURCES: dict[str, int] = {"acoustic": 0, "electronic": 1, "synthetic": 2}
NSYNTH_VELOCITIES = (25, 50, 75, 100, 127)
LOWEST_PITCH, HIGHEST_PITCH = 21, 108

_BANK_OFFSET = {0: 500, 8: 630, 16: 760}


@dataclass(frozen=True)
class Preset:
    """One preset of the sound font as an NSynth instrument.

    Attributes:
        bank: MIDI bank.
        program: MIDI program, 0 to 127.
        name: What FluidR3 calls it.
        family: NSynth family name.
        source: ``acoustic``, ``electronic`` or ``synthetic``.
        low: Lowest MIDI pitch that is rendered.
        high: Highest MIDI pitch that is rendered.
        held_out: Whether it is reserved for the held-out set.
    """

    bank: int
    program: int
    name: str
    family: str
    source: str
    low: int
    high: int
    held_out: bool = False

    @property
    def number(self) -> int:
        """Instrument number within the table, 500 to 887."""
        return _BANK_OFFSET[self.bank] + self.program

    @property
    def instrument(self) -> int:
        """NSynth's ``instrument`` field: an id of its own, from 3000."""
        return 2500 + self.number

    @property
    def instrument_str(self) -> str:
        """NSynth's ``instrument_str`` field."""
        return f"{self.family}_{self.source}_{self.number:03d}"

    def note_str(self, pitch: int, velocity: int) -> str:
        """NSynth's ``note_str`` field for a pitch and a velocity."""
        return f"{self.instrument_str}-{pitch:03d}-{velocity:03d}"

    def note(self, pitch: int, velocity: int) -> int:
        """NSynth's ``note`` field: an id of its own, from 1,000,000."""
        return 1_000_000 + ((self.number - 500) * 128 + pitch) * 128 + velocity


# bank, program, FluidR3's name, source, low, high, held out
_Row = tuple[int, int, str, str, int, int, bool]
_OUT = True
_TABLE: dict[str, tuple[_Row, ...]] = {
    "bass": (
        (0, 32, "Acoustic Bass", "acoustic", 28, 67, False),
        (0, 33, "Fingered Bass", "electronic", 28, 67, False),
        (0, 34, "Picked Bass", "electronic", 28, 67, False),
        (0, 35, "Fretless Bass", "electronic", 28, 67, _OUT),
        (0, 36, "Slap Bass", "electronic", 28, 67, False),
        (0, 37, "Pop Bass", "electronic", 28, 67, False),
        (0, 38, "Synth Bass 1", "synthetic", 24, 72, False),
        (0, 39, "Synth Bass 2", "synthetic", 24, 72, _OUT),
        (8, 38, "Synth Bass 3", "synthetic", 24, 72, False),
        (8, 39, "Synth Bass 4", "synthetic", 24, 72, False),
    ),
    "brass": (
        (0, 56, "Trumpet", "acoustic", 52, 84, False),
        (0, 57, "Trombone", "acoustic", 40, 72, False),
        (0, 58, "Tuba", "acoustic", 28, 65, False),
        (0, 59, "Muted Trumpet", "acoustic", 52, 84, _OUT),
        (0, 60, "French Horns", "acoustic", 36, 77, _OUT),
        (0, 61, "Brass Section", "acoustic", 40, 84, False),
        (0, 62, "Synth Brass 1", "synthetic", 36, 96, False),
        (0, 63, "Synth Brass 2", "synthetic", 36, 96, False),
        (8, 61, "Brass 2", "acoustic", 40, 84, False),
        (8, 62, "Synth Brass 3", "synthetic", 36, 96, False),
        (8, 63, "Synth Brass 4", "synthetic", 36, 96, False),
    ),
    "flute": (
        (0, 72, "Piccolo", "acoustic", 74, 108, False),
        (0, 73, "Flute", "acoustic", 59, 96, False),
        (0, 74, "Recorder", "acoustic", 60, 96, _OUT),
        (0, 75, "Pan Flute", "acoustic", 55, 96, _OUT),
        (0, 76, "Bottle Chiff", "acoustic", 60, 96, False),
        (0, 77, "Shakuhachi", "acoustic", 55, 84, False),
        (0, 78, "Whistle", "acoustic", 60, 96, False),
        (0, 79, "Ocarina", "acoustic", 60, 96, False),
    ),
    "guitar": (
        (0, 15, "Dulcimer", "acoustic", 48, 84, False),
        (0, 24, "Nylon String Guitar", "acoustic", 40, 84, False),
        (0, 25, "Steel String Guitar", "acoustic", 40, 84, False),
        (0, 26, "Jazz Guitar", "electronic", 40, 84, _OUT),
        (0, 27, "Clean Guitar", "electronic", 40, 84, False),
        (0, 28, "Palm Muted Guitar", "electronic", 40, 84, False),
        (0, 29, "Overdrive Guitar", "electronic", 40, 84, False),
        (0, 30, "Distortion Guitar", "electronic", 40, 84, False),
        (0, 46, "Harp", "acoustic", 28, 96, False),
        (0, 104, "Sitar", "acoustic", 48, 77, False),
        (0, 105, "Banjo", "acoustic", 48, 84, _OUT),
        (0, 106, "Shamisen", "acoustic", 50, 79, False),
        (0, 107, "Koto", "acoustic", 55, 84, False),
        (8, 24, "Ukulele", "acoustic", 55, 84, False),
        (8, 25, "12 String Guitar", "acoustic", 40, 84, False),
        (8, 26, "Hawaiian Guitar", "electronic", 40, 84, _OUT),
        (8, 28, "Funk Guitar", "electronic", 40, 84, False),
        (16, 25, "Mandolin", "acoustic", 55, 88, False),
    ),
    "keyboard": (
        (0, 0, "Yamaha Grand Piano", "acoustic", 21, 108, False),
        (0, 1, "Bright Yamaha Grand", "acoustic", 21, 108, False),
        (0, 2, "Electric Piano", "electronic", 28, 103, False),
        (0, 3, "Honky Tonk", "acoustic", 21, 108, False),
        (0, 4, "Rhodes EP", "electronic", 28, 103, False),
        (0, 5, "Legend EP 2", "electronic", 28, 103, _OUT),
        (0, 6, "Harpsichord", "acoustic", 29, 89, _OUT),
        (0, 7, "Clavinet", "electronic", 36, 96, False),
        (8, 4, "Detuned EP 1", "electronic", 28, 103, False),
        (8, 5, "Detuned EP 2", "electronic", 28, 103, _OUT),
        (8, 6, "Coupled Harpsichord", "acoustic", 29, 89, _OUT),
    ),
    "mallet": (
        (0, 8, "Celesta", "acoustic", 60, 108, False),
        (0, 9, "Glockenspiel", "acoustic", 72, 108, False),
        (0, 10, "Music Box", "acoustic", 60, 96, False),
        (0, 11, "Vibraphone", "acoustic", 53, 89, _OUT),
        (0, 12, "Marimba", "acoustic", 45, 96, False),
        (0, 13, "Xylophone", "acoustic", 65, 108, False),
        (0, 14, "Tubular Bells", "acoustic", 60, 77, False),
        (0, 98, "Crystal", "synthetic", 48, 96, False),
        (0, 108, "Kalimba", "acoustic", 48, 84, _OUT),
        (0, 114, "Steel Drums", "acoustic", 52, 84, False),
    ),
    "organ": (
        (0, 16, "DrawbarOrgan", "electronic", 36, 96, False),
        (0, 17, "Percussive Organ", "electronic", 36, 96, False),
        (0, 18, "Rock Organ", "electronic", 36, 96, _OUT),
        (0, 19, "Church Organ", "acoustic", 24, 96, False),
        (0, 20, "Reed Organ", "acoustic", 36, 96, _OUT),
        (0, 21, "Accordian", "acoustic", 41, 96, False),
        (0, 23, "Bandoneon", "acoustic", 36, 96, False),
        (8, 16, "Detuned Organ 1", "electronic", 36, 96, False),
        (8, 17, "Detuned Organ 2", "electronic", 36, 96, False),
        (8, 19, "Church Organ 2", "acoustic", 24, 96, False),
        (8, 21, "Italian Accordion", "acoustic", 41, 96, False),
    ),
    "reed": (
        (0, 22, "Harmonica", "acoustic", 55, 91, False),
        (0, 64, "Soprano Sax", "acoustic", 56, 88, False),
        (0, 65, "Alto Sax", "acoustic", 49, 80, False),
        (0, 66, "Tenor Sax", "acoustic", 44, 76, _OUT),
        (0, 67, "Baritone Sax", "acoustic", 36, 69, False),
        (0, 68, "Oboe", "acoustic", 58, 91, _OUT),
        (0, 69, "English Horn", "acoustic", 52, 81, False),
        (0, 70, "Bassoon", "acoustic", 34, 75, False),
        (0, 71, "Clarinet", "acoustic", 50, 91, False),
        (0, 111, "Shenai", "acoustic", 58, 84, False),
    ),
    "string": (
        (0, 40, "Violin", "acoustic", 55, 100, False),
        (0, 41, "Viola", "acoustic", 48, 88, _OUT),
        (0, 42, "Cello", "acoustic", 36, 76, False),
        (0, 43, "Contrabass", "acoustic", 28, 55, False),
        (0, 44, "Tremolo", "acoustic", 36, 96, False),
        (0, 45, "Pizzicato Section", "acoustic", 36, 96, _OUT),
        (0, 48, "Strings", "acoustic", 36, 96, False),
        (0, 49, "Slow Strings", "acoustic", 36, 96, False),
        (0, 50, "Synth Strings 1", "synthetic", 36, 96, False),
        (0, 51, "Synth Strings 2", "synthetic", 36, 96, False),
        (0, 110, "Fiddle", "acoustic", 55, 96, False),
        (8, 40, "Slow Violin", "acoustic", 55, 96, False),
        (8, 48, "Orchestral Pad", "acoustic", 36, 96, False),
        (8, 50, "Synth Strings 3", "synthetic", 36, 96, False),
    ),
    "synth_lead": (
        (0, 80, "Square Lead", "synthetic", 36, 96, False),
        (0, 81, "Saw Wave", "synthetic", 36, 96, False),
        (0, 82, "Calliope Lead", "synthetic", 36, 96, _OUT),
        (0, 83, "Chiffer Lead", "synthetic", 36, 96, False),
        (0, 84, "Charang", "synthetic", 36, 96, False),
        (0, 87, "Bass & Lead", "synthetic", 36, 96, False),
        (0, 89, "Warm Pad", "synthetic", 36, 96, _OUT),
        (0, 90, "Polysynth", "synthetic", 36, 96, False),
        (0, 92, "Bowed Glass", "synthetic", 36, 96, False),
        (0, 93, "Metal Pad", "synthetic", 36, 96, _OUT),
        (0, 94, "Halo Pad", "synthetic", 36, 96, False),
        (0, 95, "Sweep Pad", "synthetic", 36, 96, False),
        (8, 80, "Sine Wave", "synthetic", 36, 96, False),
    ),
    "vocal": (
        (0, 52, "Ahh Choir", "acoustic", 41, 84, False),
        (0, 53, "Ohh Voices", "acoustic", 41, 84, _OUT),
        (0, 54, "Synth Voice", "synthetic", 41, 84, _OUT),
        (0, 85, "Solo Vox", "synthetic", 41, 84, False),
        (0, 91, "Space Voice", "synthetic", 41, 84, False),
    ),
}

PRESETS: tuple[Preset, ...] = tuple(
    Preset(bank, program, name, family, source, low, high, held_out)
    for family, rows in _TABLE.items()
    for bank, program, name, source, low, high, held_out in rows
)
"""Every preset that is rendered as single notes."""


def presets(*, held_out: bool) -> Iterator[Preset]:
    """The presets of one side: for training, or held out."""
    return (preset for preset in PRESETS if preset.held_out is held_out)
