"""The LJ Speech layout: ``metadata.csv`` with lines ``id|text|normalised text``, and ``wavs/<id>.wav``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from eval.corpora.base import FolderCorpus, Recording, audio_files, check_name, find_audio, printable
from models.errors import CorpusError, system_reason

_METADATA = "metadata.csv"


def detect(root: Path) -> bool:
    """Whether a folder holds ``metadata.csv`` and ``wavs``."""
    return (root / _METADATA).is_file() and (root / "wavs").is_dir()


class LJSpeechCorpus(FolderCorpus):
    """Sentences of one speaker, grouped by chapter: the part of the id before the hyphen.

    Files without a line in the metadata are there without a text.
    """

    layout_name: ClassVar[str] = "ljspeech"
    group_means: ClassVar[str] = "chapter"

    def own_splits(self) -> tuple[str, ...]:
        """None: LJ Speech has no splits."""
        return ()

    def label_files(self, own_split: str | None) -> list[Path]:
        """The metadata."""
        return [self.root / _METADATA]

    def _texts(self) -> dict[str, dict[str, str]]:
        path = self.root / _METADATA
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path}: not UTF-8 ({error})") from None
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read ({system_reason(error)})") from None
        texts: dict[str, dict[str, str]] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            fields = line.split("|")
            if len(fields) not in (2, 3):
                raise CorpusError(f"{path}: line {number}: {len(fields)} fields instead of id|text|normalised text")
            name = check_name(fields[0], f"{path}: line {number}")
            if name in texts:
                raise CorpusError(f"{path}: line {number}: id {name!r} occurs twice")
            texts[name] = {"text": fields[1], "normalised_text": fields[-1]}
        return texts

    def recordings(self, own_split: str | None) -> Iterator[Recording]:
        """All sentences."""
        texts, folder = self._texts(), self.root / "wavs"
        names = {path.stem for path in audio_files(folder, self.root)} | set(texts)
        suffix = ".wav"
        for name in sorted(names):
            path = find_audio(folder, name, self.root, suffix)
            suffix = path.suffix
            shown = printable(name)
            yield Recording(shown, path, shown.partition("-")[0], None, texts.get(name, {}))
