"""A plain folder of WAV, FLAC, Ogg or MP3 files, at any depth.

An id is the path below the folder without its suffix; where two files would share one (``a.ogg`` beside
``a.flac``) the suffix stays. Hidden files, links to folders and links that lead outside are passed over.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from eval.corpora import splits
from eval.corpora.base import AUDIO_SUFFIXES, FolderCorpus, Recording, inside, printable, relative_name

_USUAL = ("train", "valid", "test")


def detect(root: Path) -> bool:
    """Whether there is an audio file anywhere in a folder."""
    return next(_walk(root), None) is not None


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith(".") or not name.lower().endswith(AUDIO_SUFFIXES):
                continue
            path = Path(folder, name)
            if path.is_file() and (not path.is_symlink() or inside(path, root)):
                yield path


class PlainFolderCorpus(FolderCorpus):
    """Audio files of a folder, grouped by the first folder below it; without one, each by itself."""

    layout_name: ClassVar[str] = "folder"
    group_means: ClassVar[str] = "folder"

    def own_splits(self) -> tuple[str, ...]:
        """``train``, ``valid`` and ``test`` where the folder has subfolders of two or more of these names."""
        there = tuple(split for split in _USUAL if (self.root / split).is_dir())
        return there if len(there) > 1 else ()

    def paper_rules(self) -> Mapping[str, splits.PaperRule]:
        """MelReformer's and featuresynth's splits."""
        return {"melreformer": splits.MELREFORMER, "featuresynth": splits.FEATURESYNTH}

    def recordings(self, own_split: str | None) -> Iterator[Recording]:
        """The files of a subfolder named like a split, or all."""
        names = {relative_name(path, self.root): path for path in _walk(self.root)}
        bare = {name: name[: -len(Path(name).suffix)] for name in names}
        counts = Counter(bare.values())
        ids = {(stem if counts[stem] == 1 and stem not in names else name): name for name, stem in bare.items()}
        own = self.own_splits()
        for shown, name in sorted((printable(short), name) for short, name in ids.items()):
            parts = name.split("/")
            split = parts[0] if len(parts) > 1 and parts[0] in own else None
            below = parts[1:] if split else parts
            group = below[0] if len(below) > 1 else shown
            if own_split is None or split == own_split:
                yield Recording(shown, names[name], printable(group), split)
