"""Corpora: one reader per folder layout, rules of splitting, the renderer and the shipped held-out set.

A new layout is a module with ``detect`` and a subclass of ``FolderCorpus``, and a line in `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from eval.corpora.base import Clip, Corpus, FolderCorpus
from models.errors import CorpusError, system_reason

__all__ = ["HELD_OUT", "LAYOUTS", "Clip", "Corpus", "CorpusLayout", "detect_layout", "open_corpus"]

HELD_OUT = Path(__file__).resolve().parent / "heldout"
"""The shipped held-out set: ``notes`` in NSynth layout and ``music`` in MusicNet layout."""


@dataclass(frozen=True)
class CorpusLayout:
    """A folder layout.

    Attributes:
        target: ``module:class`` of its reader.
        summary: What it looks like, in a line.
    """

    target: str
    summary: str

    @property
    def reader(self) -> Callable[..., FolderCorpus]:
        """The reader's class."""
        module, _, name = self.target.partition(":")
        return cast("Callable[..., FolderCorpus]", getattr(import_module(module), name))

    @property
    def detect(self) -> Callable[[Path], bool]:
        """Tells from a folder whether it has this layout."""
        return cast("Callable[[Path], bool]", import_module(self.target.partition(":")[0]).detect)


# In the order of detection: a plain folder is what nothing else fits
LAYOUTS: dict[str, CorpusLayout] = {
    "nsynth": CorpusLayout("eval.corpora.nsynth:NSynthCorpus", "notes: <split>/examples.json, <split>/audio"),
    "musicnet": CorpusLayout("eval.corpora.musicnet:MusicNetCorpus", "{train,test}_data and _labels, metadata"),
    "fma": CorpusLayout("eval.corpora.fma:FMACorpus", "<three digits>/<track id>.mp3, fma_metadata/tracks.csv"),
    "ljspeech": CorpusLayout("eval.corpora.ljspeech:LJSpeechCorpus", "metadata.csv with id|text, and wavs"),
    "folder": CorpusLayout("eval.corpora.folder:PlainFolderCorpus", "any folder of WAV, FLAC, Ogg or MP3 files"),
}


def detect_layout(path: Path) -> str:
    """The layout of a folder.

    Raises:
        CorpusError: If it is not a folder or holds nothing that a reader knows.
    """
    _check_folder(path)
    for name, layout in LAYOUTS.items():
        if layout.detect(path):
            return name
    raise CorpusError(f"{path}: holds no audio files and none of the layouts {', '.join(LAYOUTS)}")


def _check_folder(path: Path) -> None:
    if not path.exists():
        raise CorpusError(f"{path}: no such corpus folder")
    if not path.is_dir():
        raise CorpusError(f"{path}: is a file; a corpus is a folder")
    try:
        next(path.iterdir())
    except StopIteration:
        raise CorpusError(f"{path}: the corpus folder is empty") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be listed ({system_reason(error)})") from None


def open_corpus(path: Path | str, *, layout: str | None = None, **options: Any) -> FolderCorpus:
    """Open a corpus.

    Args:
        path: Its folder.
        layout: One of `LAYOUTS`; found out when None.
        options: ``clip_s``, ``max_clips`` and ``name`` of the reader.

    Raises:
        CorpusError: If the folder is missing or empty, the layout is not known or not the folder's, or an
            option makes no sense.
    """
    path = Path(path)
    _check_folder(path)
    if layout is None:
        layout = detect_layout(path)
    elif layout not in LAYOUTS:
        raise CorpusError(f"unknown corpus layout {layout!r}: {', '.join(LAYOUTS)}")
    elif not LAYOUTS[layout].detect(path):
        raise CorpusError(f"{path}: has not the layout {layout!r} ({LAYOUTS[layout].summary})")
    unknown = sorted(set(options) - {"clip_s", "max_clips", "name"})
    if unknown:
        raise CorpusError(f"unknown corpus option {unknown[0]!r}: clip_s, max_clips, name")
    return LAYOUTS[layout].reader(path, **options)
