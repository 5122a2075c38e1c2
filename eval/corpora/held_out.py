"""The list of what is held out, and the writing of the shipped held-out set.

Each part of the set has a ``held_out.json`` with the hashes of its samples and the names of its instruments
and works. Whatever streams clips for training asks `HeldOut` about each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eval.corpora import HELD_OUT
from eval.corpora.base import Clip
from models.errors import CorpusError, InputError

NOTES_PER_FAMILY: Final = 12
SEED: Final = 0
_LIST = "held_out.json"


def _plain(name: str) -> str:
    """A name without case, spaces and marks, so that ``Op. 74 No. 1`` is ``OP74NO1``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class HeldOut:
    """What must not be trained on.

    Attributes:
        pcm_sha256: Hashes of samples, as `eval.audio_io.pcm_sha256` makes them.
        instruments: Values of NSynth's ``instrument_str``.
        works: Composer and catalogue number, without spaces and case.
    """

    pcm_sha256: frozenset[str]
    instruments: frozenset[str]
    works: frozenset[str]

    def reason(self, clip: Clip, pcm_sha256: str | None) -> str | None:
        """Why a clip must not be trained on; None if nothing speaks against it."""
        if pcm_sha256 in self.pcm_sha256:
            return "its samples are in the held-out set"
        instrument = clip.labels.get("instrument_str")
        if instrument in self.instruments:
            return f"its instrument {instrument} is held out"
        work = clip.labels.get("work")
        if isinstance(work, str) and _plain(work) in self.works:
            return f"its work {work} is held out"
        return None


def read_held_out(folder: Path = HELD_OUT) -> HeldOut:
    """What every ``held_out.json`` below a folder lists.

    Raises:
        CorpusError: If there is none, or one is broken: training without it would not be honest.
    """
    lists: dict[str, set[str]] = {"pcm_sha256": set(), "instruments": set(), "works": set()}
    paths = sorted(folder.glob(f"*/{_LIST}"))
    if not paths:
        raise CorpusError(f"{folder}: no */{_LIST} there, so what is held out is not known")
    for path in paths:
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path}: not readable JSON ({error})") from None
        if not isinstance(data, dict) or data.get("schema_version") != 1:
            raise CorpusError(f"{path}: schema_version is not 1")
        for key, names in lists.items():
            values = data.get(key)
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise CorpusError(f"{path}: field {key!r} is not a list of text")
            names.update(values)
    return HeldOut(
        frozenset(lists["pcm_sha256"]),
        frozenset(lists["instruments"]),
        frozenset(map(_plain, lists["works"])),
    )


def write_list(folder: Path, layout: str) -> None:
    """Write the ``held_out.json`` of a rendered part of the set from what it holds."""
    from eval import audio_io
    from eval.corpora import open_corpus

    hashes: list[str] = []
    instruments: set[str] = set()
    works: set[str] = set()
    for clip in open_corpus(folder, layout=layout).clips(split="test", rule="corpus"):
        audio = clip.load()
        hashes.append(audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz))
        instruments.update({clip.labels["instrument_str"]} if layout == "nsynth" else ())
        works.update({clip.labels["work"]} if layout == "musicnet" else ())
    if layout == "nsynth":
        from eval.corpora.presets import presets

        # Not only those that were drawn: every preset that is set aside
        instruments.update(preset.instrument_str for preset in presets(held_out=True))
    else:
        from eval.corpora import scores

        sources = (*scores.quartets(), *scores.keyboard(), scores.duo(), *scores.chorales())
        works.update(source.work for source in sources if source.held_out)
    document = {
        "schema_version": 1,
        "pcm_sha256": sorted(hashes),
        "instruments": sorted(instruments),
        "works": sorted(works),
    }
    audio_io.write_text(folder / _LIST, json.dumps(document, indent=1) + "\n")


def write_held_out(output: Path, *, soundfont: Path, progress: Callable[[int, int], None]) -> Mapping[str, Path]:
    """Render the held-out set into ``output/notes`` and ``output/music``, with lists and recipes.

    Returns:
        The two folders.

    Raises:
        InputError: If something that is needed is missing, or a folder is already there.
    """
    from eval.corpora import render_music, render_notes
    from eval.corpora.render import new_folder, recipe

    facts = recipe(soundfont)
    folders = {"notes": output / "notes", "music": output / "music"}
    taken = next((path for path in folders.values() if path.exists()), None)
    if taken is not None:
        raise InputError(f"{taken}: is already there; choose another --output or remove it")
    with new_folder(folders["notes"]) as folder:
        render_notes.render_held_out(folder, NOTES_PER_FAMILY, seed=SEED, soundfont=soundfont, progress=progress)
        write_list(folder, "nsynth")
        _write_recipe(folder, "nsynth", facts)
    with new_folder(folders["music"]) as folder:
        render_music.render_held_out(folder, soundfont=soundfont, progress=progress)
        write_list(folder, "musicnet")
        _write_recipe(folder, "musicnet", facts)
    return folders


_RECIPES = {
    "nsynth": """# How these notes were made

Single notes in NSynth layout: {clips} notes of {groups} instruments in eleven families, 4 s, 16 kHz, mono,
16-bit FLAC. Each instrument is a preset of the sound font FluidR3 GM that is held out: renderings for
training never use it, nor any preset that shares a recorded sample with it. `eval/corpora/presets.py` is
the table, with pitch ranges; `eval/corpora/render_notes.py` says how a note is rendered, scaled and
labelled, and which notes are drawn.
""",
    "musicnet": """# How these clips were made

Polyphonic music in MusicNet layout with note labels: {clips} clips of 10 s from {groups} works, 22.05 kHz,
mono, 16-bit FLAC. The scores are of works in the public domain and come from the package music21, in
encodings that claim no rights; their paths stand in the column `source` of `musicnet_metadata.csv`. The
works are held out: no movement of them occurs in renderings for training. Some of the players' presets do
occur there (violin, cello, flute, clarinet, bassoon, trumpet, trombone, piano), so the set tests unheard
music rather than unheard instruments. Label times count samples at 44.1 kHz, MusicNet's own rate.
`eval/corpora/render_music.py` says how a clip is rendered and labelled and which clips are drawn,
`eval/corpora/scores.py` which scores there are.
""",
}


def _write_recipe(folder: Path, layout: str, facts: Mapping[str, str]) -> None:
    from eval import audio_io
    from eval.corpora import open_corpus

    corpus = open_corpus(folder, layout=layout)
    clips = list(corpus.clips(split="test", rule="corpus"))
    groups = len({clip.group for clip in clips})
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in facts.items())
    text = (
        f"{_RECIPES[layout].format(clips=len(clips), groups=groups)}\n"
        "    python -m eval.corpora render --held-out --output DIR\n\n"
        "makes the same bytes again with the same versions:\n\n"
        f"| what | version or SHA-256 |\n|---|---|\n{rows}\n"
        f"| content hash of the split `test` | `{corpus.content_sha256(split='test', rule='corpus')}` |\n"
    )
    audio_io.write_text(folder / "RECIPE.md", text)
