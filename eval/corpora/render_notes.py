"""Single notes in NSynth layout, rendered from the presets of ``presets.py``.

Every note: 4 s at 16 kHz, mono, 16 bit; the key is held for 3 s. It is rendered at 48 kHz from a new
synthesizer, mixed to mono, resampled, multiplied with the gain of its preset and quantised once, so its bytes
depend on the note alone. The gain puts the loudest of every third pitch of the preset, at velocity 127, at a
peak of -2 dBFS; dynamics between velocities and pitches stay. Notes above -1 dBFS or below -66 dBFS are
left out.

The notes of a training set are the first N of one fixed order, so that a smaller set is a part of a larger
one: families take turns, and within a family the order is that of the SHA-256 of ``<seed>:<note_str>``, the
five velocities of NSynth before all others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eval import audio_io
from eval.corpora.presets import FAMILIES, NSYNTH_VELOCITIES, SOURCES, Preset, presets
from eval.corpora.synth import Event, Synth
from models.errors import InputError

SAMPLE_RATE_HZ: Final = 16_000
SYNTH_RATE_HZ: Final = 48_000
HELD_S: Final = 3
DURATION_S: Final = 4
QUALITIES: Final = (
    "bright",
    "dark",
    "distortion",
    "fast_decay",
    "long_release",
    "multiphonic",
    "nonlinear_env",
    "percussive",
    "reverb",
    "tempo-synced",
)
_TARGET_PEAK: Final = 10 ** (-2 / 20)
_HIGHEST_PEAK: Final = 10 ** (-1 / 20)
_LOWEST_PEAK: Final = 10 ** (-66 / 20)
_LOWEST_OTHER_VELOCITY: Final = 20
_VALID_SHARE: Final = 0.1
_GAIN_STEP: Final = 3

Wanted = tuple[Preset, int, int]  # preset, pitch, velocity


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class NoteRenderer:
    """Renders notes of presets, each with the preset's own gain.

    Args:
        soundfont: FluidR3_GM.sf2.
    """

    def __init__(self, soundfont: Path) -> None:
        self._synth = Synth(soundfont, SYNTH_RATE_HZ)
        self._gains: dict[int, float] = {}

    def close(self) -> None:
        """Free the sound font."""
        self._synth.close()

    def _raw(self, preset: Preset, pitch: int, velocity: int) -> NDArray[np.float32]:
        events = [Event(0, 0, pitch, velocity), Event(HELD_S * SYNTH_RATE_HZ, 0, pitch, 0)]
        stereo = self._synth.render([(preset.bank, preset.program)], events, DURATION_S * SYNTH_RATE_HZ)
        mono: NDArray[np.float32] = (stereo[0] + stereo[1]) * np.float32(0.5)
        return mono

    def gain(self, preset: Preset) -> float:
        """Factor for every note of a preset."""
        if preset.number not in self._gains:
            peak = max(
                float(np.abs(self._raw(preset, pitch, 127)).max())
                for pitch in range(preset.low, preset.high + 1, _GAIN_STEP)
            )
            self._gains[preset.number] = _TARGET_PEAK / max(peak, 1e-9)
        return self._gains[preset.number]

    def render(self, preset: Preset, pitch: int, velocity: int) -> NDArray[np.int16] | None:
        """One note.

        Returns:
            16-bit samples, shape ``(64000,)``; None where the note is silent or too loud.
        """
        waveform = audio_io.resample(self._raw(preset, pitch, velocity), SYNTH_RATE_HZ, SAMPLE_RATE_HZ)
        waveform = waveform * np.float32(self.gain(preset))
        if not _LOWEST_PEAK <= float(np.abs(waveform).max()) <= _HIGHEST_PEAK:
            return None
        return audio_io.quantise(waveform, 16)


def qualities(samples: NDArray[np.int16]) -> list[int]:
    """The four qualities that simple rules can tell, in NSynth's order of ten.

    ``bright``: over 25 % of the energy above 2 kHz; ``dark``: over 97 % below 500 Hz; ``fast_decay``: 30 dB
    below the loudest 50 ms before 3 s; ``long_release``: within 20 dB of it between 3.6 and 4 s.
    """
    waveform = samples.astype(np.float64)
    power = np.abs(np.fft.rfft(waveform)) ** 2
    hertz = np.fft.rfftfreq(waveform.size, 1 / SAMPLE_RATE_HZ)
    total = max(float(power.sum()), 1e-9)
    blocks = np.sqrt((waveform.reshape(-1, SAMPLE_RATE_HZ // 20) ** 2).mean(axis=1)) + 1e-9
    level_db = 20 * np.log10(blocks / blocks.max())
    held = level_db[int(level_db.argmax()) : 20 * HELD_S]
    found = {
        "bright": float(power[hertz > 2000].sum()) / total > 0.25,
        "dark": float(power[hertz < 500].sum()) / total > 0.97,
        "fast_decay": bool(held.size and held.min() < -30),
        "long_release": bool(level_db[72:].max() > -20),
    }
    return [int(found.get(name, False)) for name in QUALITIES]


def fields(preset: Preset, pitch: int, velocity: int, samples: NDArray[np.int16]) -> dict[str, Any]:
    """NSynth's thirteen fields of a note."""
    flags = qualities(samples)
    return {
        "note": preset.note(pitch, velocity),
        "note_str": preset.note_str(pitch, velocity),
        "instrument": preset.instrument,
        "instrument_str": preset.instrument_str,
        "pitch": pitch,
        "velocity": velocity,
        "sample_rate": SAMPLE_RATE_HZ,
        "qualities": flags,
        "qualities_str": [name for name, flag in zip(QUALITIES, flags, strict=True) if flag],
        "instrument_family": FAMILIES[preset.family],
        "instrument_family_str": preset.family,
        "instrument_source": SOURCES[preset.source],
        "instrument_source_str": preset.source,
    }


def _family_order(family: str, seed: int) -> Iterator[Wanted]:
    usual = set(NSYNTH_VELOCITIES)
    for velocities in (usual, set(range(_LOWEST_OTHER_VELOCITY, 128)) - usual):
        pool = [
            (_digest(f"{seed}:{preset.note_str(pitch, velocity)}"), preset, pitch, velocity)
            for preset in presets(held_out=False)
            if preset.family == family
            for pitch in range(preset.low, preset.high + 1)
            for velocity in velocities
        ]
        pool.sort(key=lambda row: row[0])
        yield from (row[1:] for row in pool)


def training_order(seed: int) -> Iterator[Wanted]:
    """Every note that may be used for training, in the fixed order of the module's docstring."""
    turns = [_family_order(family, seed) for family in FAMILIES]
    while turns:
        for turn in tuple(turns):
            wanted = next(turn, None)
            if wanted is None:
                turns.remove(turn)
            else:
                yield wanted


def held_out_notes(per_family: int, seed: int) -> list[Wanted]:
    """The notes of the held-out set: spread over presets, pitch range and velocities.

    Within a family the presets take turns. The notes of one preset divide its pitch range into equal parts,
    one note at a place inside each part that the seed decides; velocities go round in NSynth's order from a
    start that the seed decides.
    """
    chosen: list[Wanted] = []
    for family in FAMILIES:
        members = [preset for preset in presets(held_out=True) if preset.family == family]
        for place, preset in enumerate(members):
            count = len(range(place, per_family, len(members)))
            span = preset.high - preset.low + 1
            start = int(_digest(f"{seed}:{preset.instrument_str}")[:8], 16)
            for part in range(count):
                first, last = span * part // count, span * (part + 1) // count - 1
                draw = int(_digest(f"{seed}:{preset.instrument_str}:{part}")[:8], 16)
                pitch = preset.low + first + draw % (last - first + 1)
                velocity = NSYNTH_VELOCITIES[(start + 2 * part) % len(NSYNTH_VELOCITIES)]
                chosen.append((preset, pitch, velocity))
    return chosen


def _write(
    wanted: Iterator[Wanted],
    output: Path,
    count: int,
    place: Callable[[str], str],
    renderer: NoteRenderer,
    progress: Callable[[int, int], None],
) -> None:
    tables: dict[str, dict[str, Any]] = {}
    done = 0
    for preset, pitch, velocity in wanted:
        if done == count:
            break
        samples = renderer.render(preset, pitch, velocity)
        if samples is None:
            continue
        entry = fields(preset, pitch, velocity, samples)
        name = entry["note_str"]
        split = place(name)
        if split not in tables:
            tables[split] = {}
            (output / split / "audio").mkdir(parents=True, exist_ok=True)
        target = output / split / "audio" / f"{name}.flac"
        audio_io.write_integers(target, samples[None], SAMPLE_RATE_HZ, bits=16, kind="flac")
        tables[split][name] = entry
        done += 1
        progress(done, count)
    if done < count:
        raise InputError(f"--notes {count}: there are only {done} notes to render")
    for split, table in tables.items():
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table))
        audio_io.write_text(output / split / "examples.json", "{\n" + lines + "\n}\n")


def render_training(
    output: Path, count: int, *, seed: int, soundfont: Path, progress: Callable[[int, int], None]
) -> None:
    """Write ``count`` notes for training under ``output/train`` and ``output/valid``.

    About one note in ten is for validation: those whose SHA-256 of ``note_str``, read as a fraction, is at
    least 0.9. Its instruments also occur in ``train``; the rule ``hash`` of the reader separates instruments.

    Raises:
        InputError: If FluidSynth or the sound font is missing, or there are fewer notes than asked for.
    """

    def place(name: str) -> str:
        return "valid" if int(_digest(name)[:8], 16) / 2**32 >= 1 - _VALID_SHARE else "train"

    renderer = NoteRenderer(soundfont)
    try:
        _write(training_order(seed), output, count, place, renderer, progress)
    finally:
        renderer.close()


def render_held_out(
    output: Path, per_family: int, *, seed: int, soundfont: Path, progress: Callable[[int, int], None]
) -> None:
    """Write the held-out notes under ``output/test``.

    Raises:
        InputError: If FluidSynth or the sound font is missing, or a chosen note is silent or too loud.
    """
    wanted = held_out_notes(per_family, seed)
    renderer = NoteRenderer(soundfont)
    try:
        _write(iter(wanted), output, len(wanted), lambda name: "test", renderer, progress)
    finally:
        renderer.close()
