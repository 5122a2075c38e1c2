"""FluidSynth through its C interface: MIDI events in, a float waveform out.

Every rendering starts from a new synthesizer that shares the loaded sound font, so that no voice, controller
or phase is carried over: the same events give the same samples whatever was rendered before. Reverb and
chorus are off. FluidSynth's own 16-bit output is not used because its dither remembers earlier calls.

The sound font holds recordings at 44.1 kHz and FluidSynth has no filter against aliasing, so callers render
at 44.1 or 48 kHz and resample.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError

INSTALL_HINT: Final = "apt-get install fluidsynth fluid-soundfont-gm"
DEFAULT_SOUNDFONTS: Final = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/soundfonts/FluidR3_GM.sf2"),
    Path("/opt/homebrew/share/soundfonts/FluidR3_GM.sf2"),
)
BLOCK_SAMPLES: Final = 64  # FluidSynth moves envelopes and starts notes on this grid

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "new_fluid_settings": (_POINTER, ()),
    "delete_fluid_settings": (None, (_POINTER,)),
    "fluid_settings_setnum": (_INT, (_POINTER, ctypes.c_char_p, ctypes.c_double)),
    "fluid_settings_setint": (_INT, (_POINTER, ctypes.c_char_p, _INT)),
    "new_fluid_synth": (_POINTER, (_POINTER,)),
    "delete_fluid_synth": (None, (_POINTER,)),
    "fluid_synth_sfload": (_INT, (_POINTER, ctypes.c_char_p, _INT)),
    "fluid_synth_get_sfont_by_id": (_POINTER, (_POINTER, _INT)),
    "fluid_synth_add_sfont": (_INT, (_POINTER, _POINTER)),
    "fluid_synth_remove_sfont": (_INT, (_POINTER, _POINTER)),
    "fluid_synth_program_select": (_INT, (_POINTER, _INT, _INT, _INT, _INT)),
    "fluid_synth_noteon": (_INT, (_POINTER, _INT, _INT, _INT)),
    "fluid_synth_noteoff": (_INT, (_POINTER, _INT, _INT)),
    "fluid_synth_cc": (_INT, (_POINTER, _INT, _INT, _INT)),
    "fluid_synth_all_sounds_off": (_INT, (_POINTER, _INT)),
    "fluid_synth_write_float": (_INT, (_POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _INT, _INT)),
    "fluid_version_str": (ctypes.c_char_p, ()),
    "fluid_set_log_function": (_POINTER, (_INT, _POINTER, _POINTER)),
}


@dataclass(frozen=True)
class Event:
    """One MIDI event.

    Attributes:
        at_samples: When, in samples; taken down to FluidSynth's grid of 64 samples.
        channel: MIDI channel, 0 to 15.
        pitch: MIDI note number.
        velocity: 1 to 127 starts the note, 0 ends it.
    """

    at_samples: int
    channel: int
    pitch: int
    velocity: int


def find_soundfont(path: Path | None) -> Path:
    """The sound font to use.

    Raises:
        InputError: If the given one is not a SoundFont 2 file, or none was given and FluidR3 is not found.
    """
    if path is None:
        path = next((place for place in DEFAULT_SOUNDFONTS if place.is_file()), None)
        if path is None:
            raise InputError(
                f"no FluidR3_GM.sf2 in {DEFAULT_SOUNDFONTS[0].parent}: `{INSTALL_HINT}`, or --soundfont PATH"
            )
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError as error:
        raise InputError(f"{path}: cannot read the sound font ({error.strerror}); {INSTALL_HINT}") from None
    if head[:4] != b"RIFF" or head[8:12] != b"sfbk":
        raise InputError(f"{path}: not a SoundFont 2 file")
    return path


def _load_library() -> ctypes.CDLL:
    name = ctypes.util.find_library("fluidsynth") or ctypes.util.find_library("libfluidsynth")
    if name is None:
        raise InputError(f"the FluidSynth library is not installed: `{INSTALL_HINT}`")
    try:
        library = ctypes.CDLL(name)
        for function, (result, arguments) in _SIGNATURES.items():
            bound = getattr(library, function)
            bound.restype, bound.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise InputError(f"the FluidSynth library {name} does not work ({error}): `{INSTALL_HINT}`") from None
    return library


class Synth:
    """A loaded sound font that renders events; use it as a context manager.

    Args:
        soundfont: SoundFont 2 file.
        sample_rate_hz: Rate of what is rendered, 8,000 to 96,000.

    Raises:
        InputError: If the library or the sound font is missing or does not load.
    """

    def __init__(self, soundfont: Path, sample_rate_hz: int) -> None:
        self._library = _load_library()
        for level in range(5):
            self._library.fluid_set_log_function(level, None, None)
        self.sample_rate_hz = sample_rate_hz
        self.soundfont = soundfont
        self._settings = self._library.new_fluid_settings()
        for name, number in (("synth.sample-rate", float(sample_rate_hz)), ("synth.gain", 0.2)):
            self._library.fluid_settings_setnum(self._settings, name.encode(), number)
        for name, flag in (
            ("synth.reverb.active", 0),
            ("synth.chorus.active", 0),
            ("synth.threadsafe-api", 0),
            ("synth.cpu-cores", 1),
            ("synth.polyphony", 1024),
            ("synth.dynamic-sample-loading", 0),
        ):
            self._library.fluid_settings_setint(self._settings, name.encode(), flag)
        self._keeper = self._library.new_fluid_synth(self._settings)
        number = self._library.fluid_synth_sfload(self._keeper, str(soundfont).encode(), 0)
        if number < 0:
            self.close()
            raise InputError(f"{soundfont}: FluidSynth cannot load this sound font")
        self._font = self._library.fluid_synth_get_sfont_by_id(self._keeper, number)

    @property
    def version(self) -> str:
        """FluidSynth's version."""
        return str(self._library.fluid_version_str().decode())

    def render(self, programs: Sequence[tuple[int, int]], events: Sequence[Event], frames: int) -> NDArray[np.float32]:
        """Render events from silence.

        Args:
            programs: Bank and program of each channel, from channel 0.
            events: The events, in the order of time.
            frames: How many samples to render.

        Returns:
            Stereo waveform, shape ``(2, frames)``, not limited to full scale.

        Raises:
            InputError: If the sound font lacks a preset.
        """
        library = self._library
        total = -(-frames // BLOCK_SAMPLES) * BLOCK_SAMPLES
        out = np.zeros((2, total), np.float32)
        synth = library.new_fluid_synth(self._settings)
        try:
            number = library.fluid_synth_add_sfont(synth, self._font)
            for channel, (bank, program) in enumerate(programs):
                # channel 9 starts as drums; every channel is given its melodic preset explicitly
                if library.fluid_synth_program_select(synth, channel, number, bank, program) != 0:
                    raise InputError(f"{self.soundfont}: has no preset {program} in bank {bank}")
                library.fluid_synth_cc(synth, channel, 91, 0)
                library.fluid_synth_cc(synth, channel, 93, 0)
            done = 0
            for event in events:
                until = min(event.at_samples // BLOCK_SAMPLES * BLOCK_SAMPLES, total)
                done = self._write(synth, out, done, until)
                if event.velocity > 0:
                    library.fluid_synth_noteon(synth, event.channel, event.pitch, event.velocity)
                else:
                    library.fluid_synth_noteoff(synth, event.channel, event.pitch)
            self._write(synth, out, done, total)
            library.fluid_synth_all_sounds_off(synth, -1)
            self._write(synth, np.zeros((2, BLOCK_SAMPLES), np.float32), 0, BLOCK_SAMPLES)
        finally:
            library.fluid_synth_remove_sfont(synth, self._font)
            library.delete_fluid_synth(synth)
        return out[:, :frames]

    def _write(self, synth: int, out: NDArray[np.float32], done: int, until: int) -> int:
        if until > done:
            left, right = (out[side].ctypes.data + 4 * done for side in (0, 1))
            self._library.fluid_synth_write_float(synth, until - done, left, 0, 1, right, 0, 1)
        return max(done, until)

    def close(self) -> None:
        """Free the sound font."""
        if self._keeper:
            self._library.delete_fluid_synth(self._keeper)
            self._library.delete_fluid_settings(self._settings)
            self._keeper = None

    def __enter__(self) -> Synth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
