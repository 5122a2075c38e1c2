"""What all corpora share: the clip, rules of splitting, cutting into clips, hashes.

A reader gives `Recording` values; everything else happens here. Nothing is read before it is asked for and
nothing is kept, so that memory does not grow with the number of clips.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from eval.corpora import splits
from models.errors import AudioError, CorpusError, system_reason

if TYPE_CHECKING:
    from eval.audio_io import Audio

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".mp3")


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus.

    Attributes:
        clip_id: Unique in its corpus; may hold any character, so make it safe before using it as a file name.
        path: The audio file.
        sample_rate_hz: The file's rate; 0 if the file cannot be read.
        start_samples: Where the clip starts in the file, at the file's rate.
        frames: Its length at the file's rate; 0 if the file cannot be read.
        labels: Whatever the corpus says about it.
        group: Instrument, work, artist or speaker: what must not occur on both sides of a split, and the
            cluster for statistics.
    """

    clip_id: str
    path: Path
    sample_rate_hz: int
    start_samples: int
    frames: int
    labels: Mapping[str, Any]
    group: str

    def load(self) -> Audio:
        """Read the clip, mixed to mono.

        Returns:
            float32, shape ``(1, frames)``, at the file's rate.

        Raises:
            AudioError: If the file is missing, corrupt, cut short, empty or holds NaN or infinite samples.
        """
        from eval import audio_io

        if self.frames == 0:
            audio_io.probe(self.path)
            raise AudioError(f"{self.path}: was not readable when the corpus was listed")
        return audio_io.read(self.path, start_samples=self.start_samples, frames=self.frames, mono=True)


class Corpus(Protocol):
    """What the harness asks of a corpus."""

    name: str
    root: Path

    @property
    def layout(self) -> str:
        """Name of the folder layout."""

    @property
    def default_rule(self) -> str:
        """The rule that is used when none is named."""

    def rules(self) -> Mapping[str, str]:
        """Rules of splitting by name, each with its statement."""

    def clips(self, *, split: str, rule: str | None = None) -> Iterator[Clip]:
        """The clips of a split, sorted by id."""

    def content_sha256(self, *, split: str, rule: str | None = None) -> str:
        """Hash of the paths and bytes of the files of a split."""

    def fingerprint(self, *, split: str, rule: str | None = None) -> str:
        """Cheap hash that changes when a file of the split does."""


@dataclass(frozen=True)
class Recording:
    """One audio file of a corpus, before it is cut into clips.

    Attributes:
        recording_id: Unique in the corpus.
        path: The audio file, which need not exist.
        group: See `Clip`.
        own_split: The split that the corpus itself puts it in; None where it says nothing.
        labels: What the corpus says about it.
        label_file: A file of its own with labels, such as MusicNet's notes.
    """

    recording_id: str
    path: Path
    group: str
    own_split: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    label_file: Path | None = None


class FolderCorpus(ABC):
    """A corpus in a folder; the base of every reader.

    Args:
        root: The corpus folder.
        clip_s: Cut recordings into clips of this length; a shorter rest is left out, but for a
            recording that is shorter itself.
        max_clips: At most so many clips of each recording, from its start; only with ``clip_s``.
        name: What manifests call the corpus; the folder's name when None.

    Raises:
        CorpusError: If an option makes no sense.
    """

    layout_name: ClassVar[str]
    group_means: ClassVar[str]

    def __init__(
        self,
        root: Path,
        *,
        clip_s: float | None = None,
        max_clips: int | None = None,
        name: str | None = None,
    ) -> None:
        if clip_s is not None and not 0 < clip_s < 86_400:
            raise CorpusError(f"clip_s {clip_s}: a length in seconds above 0 is needed")
        if max_clips is not None and (max_clips < 1 or clip_s is None):
            raise CorpusError(f"max_clips {max_clips}: at least 1, and only together with clip_s")
        self.root = root
        self.name = name or root.resolve().name
        self.clip_s = clip_s
        self.max_clips = max_clips

    # --- what a reader provides

    @abstractmethod
    def own_splits(self) -> tuple[str, ...]:
        """Splits that the corpus itself makes; empty if it makes none."""

    @abstractmethod
    def recordings(self, own_split: str | None) -> Iterator[Recording]:
        """Recordings sorted by id: of one of `own_splits`, or of the whole corpus for None."""

    def label_files(self, own_split: str | None) -> list[Path]:
        """Files with labels that belong to the corpus or to one of its own splits."""
        return []

    def paper_rules(self) -> Mapping[str, splits.PaperRule]:
        """Rules of source papers that this layout knows."""
        return {}

    def clip_labels(self, recording: Recording, start_s: float, end_s: float) -> Mapping[str, Any]:
        """Labels of a part of a recording."""
        return recording.labels

    # --- what everybody uses

    @property
    def layout(self) -> str:
        """Name of the folder layout."""
        return self.layout_name

    @property
    def default_rule(self) -> str:
        """``corpus`` where the corpus makes splits of its own, otherwise ``hash``."""
        return "corpus" if self.own_splits() else "hash"

    def rules(self) -> Mapping[str, str]:
        """Rules of splitting by name, each with a statement in one sentence."""
        known = {}
        own = self.own_splits()
        if own:
            known["corpus"] = f"The corpus's own splits: {', '.join(own)}."
        known["hash"] = splits.HASH_STATEMENT.format(group=self.group_means)
        known["none"] = splits.NONE_STATEMENT
        known.update({name: rule.statement for name, rule in self.paper_rules().items()})
        return known

    def splits(self, rule: str | None = None) -> tuple[str, ...]:
        """The names of the splits that a rule makes.

        Raises:
            CorpusError: If the rule is not known.
        """
        rule = self._rule(rule)
        if rule == "corpus":
            return self.own_splits()
        if rule == "hash":
            return splits.HASH_SPLITS
        if rule == "none":
            return ("all",)
        return self.paper_rules()[rule].splits

    def _rule(self, rule: str | None) -> str:
        rule = rule or self.default_rule
        if rule not in self.rules():
            raise CorpusError(
                f"{self.root}: layout {self.layout} has no split rule {rule!r}: {', '.join(self.rules())}"
            )
        return rule

    def _selected(self, split: str, rule: str | None) -> Iterator[Recording]:
        """Recordings of a split; the arguments are checked at once, the rest when it is asked for."""
        name = self._rule(rule)
        known = self.splits(name)
        if split not in known:
            raise CorpusError(f"{self.root}: no split {split!r} under rule {name!r}: {', '.join(known)}")
        return self._checked(self._by_rule(split, name), split, name)

    def _by_rule(self, split: str, rule: str) -> Iterator[Recording]:
        if rule == "corpus":
            return self.recordings(split)
        if rule == "none":
            return self.recordings(None)
        if rule == "hash":
            return (r for r in self.recordings(None) if splits.hash_split(r.group) == split)
        return self.paper_rules()[rule].select(self, split)

    def _checked(self, recordings: Iterable[Recording], split: str, rule: str) -> Iterator[Recording]:
        before: Recording | None = None
        for recording in recordings:
            if before is not None and before.recording_id == recording.recording_id:
                raise CorpusError(
                    f"{self.root}: id {before.recording_id!r} occurs twice: {before.path}, {recording.path}"
                )
            before = recording
            yield recording
        if before is None:
            raise CorpusError(f"{self.root}: split {split!r} under rule {rule!r} holds no recordings")

    def clips(self, *, split: str, rule: str | None = None) -> Iterator[Clip]:
        """The clips of a split, sorted by id, made one by one.

        A file that cannot be read still gives a clip, with no frames, whose ``load`` raises.

        Raises:
            CorpusError: If the rule or split is not known, labels are wrong, or the split is empty.
        """
        recordings = self._selected(split, rule)
        return (clip for recording in recordings for clip in self._cut(recording))

    def _cut(self, recording: Recording) -> Iterator[Clip]:
        from eval import audio_io

        try:
            info = audio_io.probe(recording.path)
        except AudioError:
            labels = self.clip_labels(recording, 0.0, 0.0)
            yield Clip(recording.recording_id, recording.path, 0, 0, 0, labels, recording.group)
            return
        rate = info.sample_rate_hz
        length = info.frames if self.clip_s is None else max(1, round(self.clip_s * rate))
        count = max(1, info.frames // length)
        if self.max_clips is not None:
            count = min(count, self.max_clips)
        for number in range(count):
            start = number * length
            frames = min(length, info.frames - start)
            labels = self.clip_labels(recording, start / rate, (start + frames) / rate)
            whole = frames == info.frames
            name = recording.recording_id if whole else f"{recording.recording_id}_{number:05d}"
            yield Clip(name, recording.path, rate, start, frames, labels, recording.group)

    def _files(self, split: str, rule: str | None) -> Iterator[tuple[str, Path]]:
        rule = self._rule(rule)
        label_files = self.label_files(split if rule == "corpus" else None)
        for recording in self._selected(split, rule):
            yield relative_name(recording.path, self.root), recording.path
            if recording.label_file is not None:
                label_files.append(recording.label_file)
        for path in label_files:
            yield relative_name(path, self.root), path

    def content_sha256(
        self,
        *,
        split: str,
        rule: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Hash over the relative path and the SHA-256 of every audio and label file of a split.

        Hashes of files are kept in a cache outside the corpus, by path, size and time of change.

        Raises:
            CorpusError: As `clips`.
        """
        from eval.corpora.hashing import FileHashes

        digest = hashlib.sha256(b"earwitness corpus 1\n")
        with FileHashes() as hashes:
            for done, (name, path) in enumerate(self._files(split, rule), start=1):
                digest.update(f"{len(name)} {name} {hashes.sha256(path)}\n".encode("utf-8", "surrogateescape"))
                if progress is not None:
                    progress(done)
        return digest.hexdigest()

    def fingerprint(self, *, split: str, rule: str | None = None) -> str:
        """Hash over relative paths, sizes and times of change of the files of a split; no audio is read.

        Raises:
            CorpusError: As `clips`.
        """
        options = f"{self.layout} {split} {self._rule(rule)} {self.clip_s} {self.max_clips}\n"
        digest = hashlib.sha256(options.encode())
        for name, path in self._files(split, rule):
            try:
                status = path.stat()
                facts = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                facts = "missing"
            digest.update(f"{len(name)} {name} {facts}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


# --- helpers for readers


def relative_name(path: Path, root: Path) -> str:
    """A path below the root with forward slashes."""
    return path.relative_to(root).as_posix()


def printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def check_name(name: object, where: str) -> str:
    """A name from a corpus's own tables that becomes part of a path.

    Raises:
        CorpusError: If it is not text or would lead out of its folder.
    """
    if not isinstance(name, str) or not name.strip():
        raise CorpusError(f"{where}: id {name!r} is not a name")
    if "/" in name or "\\" in name or "\0" in name or name in (".", "..") or Path(name).is_absolute():
        raise CorpusError(f"{where}: id {name!r} would leave the corpus folder; an id is a plain file name")
    return name


def inside(path: Path, root: Path) -> bool:
    """Whether a path, with its links followed, lies in the corpus folder."""
    return path.resolve().is_relative_to(root.resolve())


def find_audio(folder: Path, name: str, root: Path, first: str = ".wav") -> Path:
    """The audio file of a name, whatever its format; the first choice where there is none."""
    for suffix in (first, *AUDIO_SUFFIXES):
        path = folder / (name + suffix)
        if path.is_file() and (not path.is_symlink() or inside(path, root)):
            return path
    return folder / (name + first)


def audio_files(folder: Path, root: Path) -> Iterator[Path]:
    """Audio files directly in a folder, unsorted; links that lead outside the corpus are passed over."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.lower().endswith(AUDIO_SUFFIXES):
                    continue
                path = Path(entry.path)
                if entry.is_file() and (not entry.is_symlink() or inside(path, root)):
                    yield path
    except OSError as error:
        raise CorpusError(f"{folder}: cannot be listed ({system_reason(error)})") from None


def merge(streams: Iterable[Iterator[Recording]]) -> Iterator[Recording]:
    """Several sorted streams of recordings as one."""
    return heapq.merge(*streams, key=lambda recording: recording.recording_id)


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file with their line numbers.

    Raises:
        CorpusError: If the file cannot be read as UTF-8 CSV.
    """
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({system_reason(error)})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def read_table(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header line, as dictionaries, with their line numbers.

    Raises:
        CorpusError: If a required column is missing or a row has another number of fields.
    """
    header: list[str] | None = None
    for line, row in read_rows(path):
        if header is None:
            header = [column.strip() for column in row]
            missing = [column for column in required if column not in header]
            if missing:
                raise CorpusError(f"{path}: has no column {missing[0]!r}; it needs {', '.join(required)}")
        elif len(row) != len(header):
            if row:
                raise CorpusError(f"{path}: line {line}: {len(row)} fields instead of {len(header)}")
        else:
            yield line, dict(zip(header, row, strict=True))
    if header is None:
        raise CorpusError(f"{path}: is empty; it needs a header with {', '.join(required)}")
