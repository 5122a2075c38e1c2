"""Renders corpora: notes into ``<output>/notes``, music into ``<output>/music``, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eval import audio_io
from eval.corpora import render_music, render_notes
from eval.corpora.synth import Synth
from models.errors import InputError, OutputError, system_reason


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place when all went well, and is removed otherwise.

    Raises:
        InputError: If ``path`` is already there.
        OutputError: If it cannot be made.
    """
    if path.exists():
        raise InputError(f"{path}: is already there; choose another --output or remove it")
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}.part")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({system_reason(error)})") from None
    try:
        yield partial
        partial.rename(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({system_reason(error)})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def recipe(soundfont: Path) -> dict[str, str]:
    """Versions and hashes that decide the bytes of a rendering.

    Raises:
        InputError: If FluidSynth does not load.
    """
    with Synth(soundfont, 48_000) as synth:
        found = {"FluidSynth": synth.version}
    with soundfont.open("rb") as stream:
        found[f"sound font {soundfont.name}"] = hashlib.file_digest(stream, "sha256").hexdigest()
    found.update(audio_io.codec_versions())
    for package in ("numpy", "music21"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def render(
    output: Path,
    *,
    notes: int,
    music: int,
    seed: int,
    soundfont: Path,
    progress: Callable[[int, int], None],
) -> list[Path]:
    """Render corpora for training; nothing of the held-out set occurs in them.

    Args:
        output: Folder that gets ``notes`` (NSynth layout) and ``music`` (MusicNet layout).
        notes: How many notes, in ``train`` and ``valid`` together.
        music: How many clips of music, all of them ``train``.
        seed: Decides which notes and clips are drawn.
        soundfont: FluidR3_GM.sf2.
        progress: Called with what is done and what there is to do.

    Returns:
        The folders that were made.

    Raises:
        InputError: If there is nothing to do, something is missing that is needed, or a folder is there.
        OutputError: If the output cannot be written.
    """
    if notes < 0 or music < 0 or notes + music == 0:
        raise InputError(f"--notes {notes} --music {music}: nothing to render; at least one must be above 0")
    facts = recipe(soundfont) | {"seed": str(seed)}
    made = []
    jobs = (("notes", notes, render_notes.render_training), ("music", music, render_music.render_training))
    for name, count, _ in jobs:
        if count and (output / name).exists():
            raise InputError(f"{output / name}: is already there; choose another --output or remove it")
    for name, count, job in jobs:
        if count:
            with new_folder(output / name) as folder:
                job(folder, count, seed=seed, soundfont=soundfont, progress=progress)
                document = {"schema_version": 1, name: count, **facts}
                audio_io.write_text(folder / "render.json", json.dumps(document, indent=1) + "\n")
            made.append(output / name)
    return made
