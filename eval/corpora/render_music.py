"""Polyphonic music in MusicNet layout with note labels, rendered from public-domain scores.

Every clip: 10 s at 22.05 kHz, mono, 16 bit, rendered at 44.1 kHz from 3 s before its start so that notes
held over it sound, then mixed to mono, resampled, scaled to a peak of -3 dBFS and faded over 10 ms at both
ends.

Labels have MusicNet's columns. ``start_time`` and ``end_time`` count samples at 44.1 kHz, MusicNet's own
rate, whatever the rate of the audio file; ``instrument`` is the General MIDI program counted from 1;
``start_beat`` is the place in quarter notes from the start of the score and ``end_beat`` the length in
quarter notes, as MusicNet uses them.

Clip k of a training set depends on the seed and k alone, so a smaller set is a part of a larger one. The
first clips keep the scores' own key and tempo; later ones are transposed by up to three semitones and
played 15 % slower to 15 % faster. Works of the held-out set and presets that are held out for notes never
occur in it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eval import audio_io
from eval.corpora import scores
from eval.corpora.scores import ScoreNote, Source
from eval.corpora.synth import BLOCK_SAMPLES, Event, Synth
from models.errors import InputError

SAMPLE_RATE_HZ: Final = 22_050
LABEL_RATE_HZ: Final = 44_100
DURATION_S: Final = 10
FIRST_TRAINING_ID: Final = 100_001
FIRST_HELD_OUT_ID: Final = 80_001
METADATA_COLUMNS: Final = (
    "id", "composer", "composition", "movement", "ensemble", "source", "transcriber", "catalog_name",
    "seconds",
)  # fmt: skip
LABEL_COLUMNS: Final = (
    "start_time",
    "end_time",
    "instrument",
    "note",
    "start_beat",
    "end_beat",
    "note_value",
)

_LEAD_IN_S: Final = 3
_PEAK: Final = 10 ** (-3 / 20)
_FADE_S: Final = 0.01
_FEWEST_NOTES: Final = 12
_CLIPS_AS_WRITTEN: Final = 400
_NOTE_VALUES: Final = {
    Fraction(4): "Whole", Fraction(3): "Dotted Half", Fraction(2): "Half", Fraction(3, 2): "Dotted Quarter",
    Fraction(1): "Quarter", Fraction(3, 4): "Dotted Eighth", Fraction(1, 2): "Eighth",
    Fraction(1, 3): "Triplet Eighth", Fraction(3, 8): "Dotted Sixteenth", Fraction(1, 4): "Sixteenth",
    Fraction(1, 6): "Triplet Sixteenth", Fraction(1, 8): "Thirty Second",
}  # fmt: skip


@dataclass(frozen=True)
class Ensemble:
    """Who plays: one General MIDI program per part of the score; the last one also takes further parts."""

    name: str
    programs: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that decides one clip.

    Attributes:
        clip_id: Number of the clip.
        source: The score.
        ensemble: The players.
        start: Where the clip starts, as a fraction of what is left when the clip itself is taken off.
        semitones: Transposition.
        tempo: Factor on the score's tempo.
        seed: Decides the small differences in loudness between notes.
    """

    clip_id: int
    source: Source
    ensemble: Ensemble
    start: float
    semitones: int
    tempo: float
    seed: int


# Training: no preset that is held out for single notes
_TRAINING: tuple[tuple[Ensemble, str], ...] = (
    (Ensemble("String Quartet", (40, 40, 42, 42)), "quartets"),
    (Ensemble("Solo Piano", (0,)), "keyboard"),
    (Ensemble("Wind Quartet", (73, 71, 69, 70)), "chorales"),
    (Ensemble("String Orchestra", (48, 48, 48, 48)), "quartets"),
    (Ensemble("Organ", (19,)), "chorales"),
    (Ensemble("Brass Quartet", (56, 56, 57, 58)), "chorales"),
    (Ensemble("Choir", (52,)), "chorales"),
    (Ensemble("Solo Piano", (0,)), "quartets"),
    (Ensemble("Saxophone Quartet", (64, 65, 65, 67)), "quartets"),
    (Ensemble("Solo Piano", (0,)), "chorales"),
)

_STRINGS = Ensemble("String Quartet", (40, 40, 41, 42))
_WINDS = Ensemble("Wind Quartet", (73, 68, 71, 70))
_BRASS = Ensemble("Brass Quartet", (56, 59, 60, 57))
_CHOIR = Ensemble("Choir", (53,))
_REED_ORGAN = Ensemble("Reed Organ", (20,))
_RECORDERS = Ensemble("Recorder Consort", (74,))
_PIANO = Ensemble("Solo Piano", (0,))
_HARPSICHORD = Ensemble("Harpsichord", (6,))
_DUO = Ensemble("Clarinet and Piano", (71, 0))

# catalogue number, file name or its end, players, start
_HELD_OUT: tuple[tuple[str, str, Ensemble, float], ...] = (
    ("OP18NO4", "opus18no4", _STRINGS, 0.0),
    ("OP18NO4", "opus18no4", _WINDS, 0.62),
    ("OP74", "opus74", _STRINGS, 0.33),
    ("OP74NO1", "movement1", _STRINGS, 0.2),
    ("OP74NO1", "movement3", _WINDS, 0.1),
    ("OP74NO1", "movement4", _STRINGS, 0.5),
    ("K156", "movement1", _STRINGS, 0.15),
    ("K156", "movement2", _RECORDERS, 0.3),
    ("K545", "exposition", _PIANO, 0.0),
    ("K545", "exposition", _PIANO, 1.0),
    ("H186", "h186", _HARPSICHORD, 0.1),
    ("H186", "h186", _PIANO, 0.7),
    ("OP26", "concertino_clarinet", _DUO, 0.25),
    ("OP26", "concertino_clarinet", _DUO, 0.8),
    ("BWV140", "bwv140.7", _CHOIR, 0.0),
    ("BWV60", "bwv60.5", _CHOIR, 0.3),
    ("BWV26", "bwv26.6", _BRASS, 0.0),
    ("BWV226", "bwv226.2", _BRASS, 0.2),
    ("BWV85", "bwv85.6", _REED_ORGAN, 0.0),
    ("BWV371", "bwv371", _REED_ORGAN, 0.4),
    ("BWV133", "bwv133.6", _WINDS, 0.0),
    ("BWV300", "bwv300", _RECORDERS, 0.1),
)


def _pool(kind: str) -> tuple[Source, ...]:
    table: dict[str, Callable[[], tuple[Source, ...]]] = {
        "quartets": scores.quartets,
        "keyboard": scores.keyboard,
        "chorales": scores.chorales,
    }
    return tuple(source for source in table[kind]() if not source.held_out)


def training_plan(number: int, seed: int) -> Plan:
    """The clip at place ``number``, from 0, of the training set."""
    ensemble, kind = _TRAINING[number % len(_TRAINING)]
    digest = hashlib.sha256(f"{seed}:music:{number}".encode()).digest()
    draw = random.Random(int.from_bytes(digest[:8], "big"))
    pool = _pool(kind)
    source = pool[draw.randrange(len(pool))]
    while not scores.usable(source):
        source = pool[draw.randrange(len(pool))]
    start, semitones, tempo = draw.random(), draw.randint(-3, 3), draw.uniform(0.85, 1.15)
    if number < _CLIPS_AS_WRITTEN:
        semitones, tempo = 0, 1.0
    return Plan(FIRST_TRAINING_ID + number, source, ensemble, start, semitones, tempo, draw.getrandbits(32))


def held_out_plans() -> list[Plan]:
    """The clips of the held-out set."""
    sources = [*scores.quartets(), *scores.keyboard(), scores.duo(), *scores.chorales()]
    plans = []
    for place, (catalog, name, ensemble, start) in enumerate(_HELD_OUT):
        source = next(s for s in sources if s.catalog_name == catalog and s.path.endswith(name + ".mxl"))
        if not source.held_out or not scores.usable(source):
            raise InputError(f"{source.path}: this score cannot be used for the held-out set")
        plans.append(Plan(FIRST_HELD_OUT_ID + place, source, ensemble, start, 0, 1.0, place))
    return plans


@dataclass(frozen=True)
class _Placed:
    note: ScoreNote
    channel: int
    on_samples: int
    off_samples: int
    pitch: int
    velocity: int


def _place(plan: Plan) -> tuple[list[_Placed], float]:
    """Notes of the score in samples at the label rate, and the length of the piece in seconds."""
    notes = scores.read_notes(plan.source.path)
    quarter_s = 60 / (plan.source.quarters_per_minute * plan.tempo)
    draw = random.Random(plan.seed)
    placed = []
    for note in notes:
        channel = min(note.part, len(plan.ensemble.programs) - 1)
        on = round(float(note.start) * quarter_s * LABEL_RATE_HZ) // BLOCK_SAMPLES
        off = round(float(note.start + note.duration * Fraction(19, 20)) * quarter_s * LABEL_RATE_HZ)
        velocity = 78 + draw.randint(-8, 8) + (8 if note.part == 0 else 0)
        placed.append(
            _Placed(
                note,
                channel,
                on * BLOCK_SAMPLES,
                max(off // BLOCK_SAMPLES, on + 1) * BLOCK_SAMPLES,
                note.pitch + plan.semitones,
                velocity,
            )
        )
    return placed, float(max(n.start + n.duration for n in notes)) * quarter_s


def render_clip(plan: Plan, synth: Synth) -> tuple[NDArray[np.int16], list[tuple[object, ...]]] | None:
    """One clip and its label rows.

    Returns:
        16-bit samples, shape ``(220500,)``, and rows in the order of `LABEL_COLUMNS`; None where the place in
        the score has fewer than 12 notes or the rendering is silent.
    """
    placed, length_s = _place(plan)
    start = round(plan.start * max(0.0, length_s - DURATION_S) * LABEL_RATE_HZ) // BLOCK_SAMPLES * BLOCK_SAMPLES
    end = start + DURATION_S * LABEL_RATE_HZ
    lead = min(start, _LEAD_IN_S * LABEL_RATE_HZ // BLOCK_SAMPLES * BLOCK_SAMPLES)
    inside = [p for p in placed if p.off_samples > start and p.on_samples < end]
    if len(inside) < _FEWEST_NOTES:
        return None
    events: list[tuple[int, int, Event]] = []
    for p in placed:
        if p.on_samples >= end or p.off_samples <= start - lead:
            continue
        on, off = max(p.on_samples - start + lead, 0), p.off_samples - start + lead
        events.append((on, 1, Event(on, p.channel, p.pitch, p.velocity)))
        events.append((off, 0, Event(off, p.channel, p.pitch, 0)))
    events.sort(key=lambda row: (row[0], row[1], row[2].channel, row[2].pitch))
    programs = [(0, program) for program in plan.ensemble.programs]
    stereo = synth.render(programs, [event for _, _, event in events], lead + DURATION_S * LABEL_RATE_HZ)
    mono = ((stereo[0] + stereo[1]) * np.float32(0.5))[lead:]
    waveform = audio_io.resample(mono, LABEL_RATE_HZ, SAMPLE_RATE_HZ)
    peak = float(np.abs(waveform).max())
    if peak < 1e-4:
        return None
    ramp = np.linspace(0, 1, round(_FADE_S * SAMPLE_RATE_HZ), endpoint=False, dtype=np.float32)
    waveform = waveform * np.float32(_PEAK / peak)
    waveform[: ramp.size] *= ramp
    waveform[-ramp.size :] *= ramp[::-1]
    return audio_io.quantise(waveform, 16), _labels(plan, inside, start, end)


def _labels(plan: Plan, notes: Sequence[_Placed], start: int, end: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [
        (
            max(p.on_samples, start) - start,
            min(p.off_samples, end) - start,
            plan.ensemble.programs[p.channel] + 1,
            p.pitch,
            round(float(p.note.start), 6),
            round(float(p.note.duration), 6),
            _NOTE_VALUES.get(p.note.duration, "Other"),
        )
        for p in notes
    ]
    return sorted(rows, key=lambda row: (row[0], row[2], row[3], row[1], row[4]))


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _metadata(plan: Plan, version: str) -> tuple[object, ...]:
    source, changes = plan.source, ""
    if plan.semitones or plan.tempo != 1.0:
        changes = f", {plan.semitones:+d} semitones, tempo x {plan.tempo:.3f}"
    return (
        plan.clip_id,
        source.composer,
        source.composition,
        source.movement,
        plan.ensemble.name,
        f"FluidSynth {version}, FluidR3 GM, music21 {source.path}{changes}",
        "",
        source.catalog_name,
        DURATION_S,
    )


def _write(
    plans: Callable[[int], Plan | None],
    output: Path,
    folder: str,
    count: int,
    soundfont: Path,
    progress: Callable[[int, int], None],
) -> None:
    audio, labels = output / f"{folder}_data", output / f"{folder}_labels"
    for place in (audio, labels):
        place.mkdir(parents=True, exist_ok=True)
    metadata: list[tuple[object, ...]] = []
    number = 0
    with Synth(soundfont, LABEL_RATE_HZ) as synth:
        while len(metadata) < count:
            plan = plans(number)
            number += 1
            if plan is None:
                raise InputError(f"only {len(metadata)} of {count} music clips can be rendered")
            made = render_clip(plan, synth)
            if made is None:
                continue
            samples, rows = made
            target = audio / f"{plan.clip_id}.flac"
            audio_io.write_integers(target, samples[None], SAMPLE_RATE_HZ, bits=16, kind="flac")
            audio_io.write_text(labels / f"{plan.clip_id}.csv", _csv(LABEL_COLUMNS, rows))
            metadata.append(_metadata(plan, synth.version))
            progress(len(metadata), count)
    audio_io.write_text(output / "musicnet_metadata.csv", _csv(METADATA_COLUMNS, metadata))


def render_training(
    output: Path, count: int, *, seed: int, soundfont: Path, progress: Callable[[int, int], None]
) -> None:
    """Write ``count`` clips for training under ``output/train_data`` and ``output/train_labels``.

    Raises:
        InputError: If FluidSynth, the sound font or music21 is missing.
    """
    _write(lambda number: training_plan(number, seed), output, "train", count, soundfont, progress)


def render_held_out(output: Path, *, soundfont: Path, progress: Callable[[int, int], None]) -> None:
    """Write the held-out clips under ``output/test_data`` and ``output/test_labels``.

    Raises:
        InputError: If FluidSynth, the sound font or music21 is missing, or a planned clip is silent.
    """
    plans = dict(enumerate(held_out_plans()))
    _write(plans.get, output, "test", len(plans), soundfont, progress)
