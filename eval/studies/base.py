"""What a study is made of: tables, plots, claims, listening rows, and the context that it is given.

A study is a module of this package, named in `eval.studies.STUDIES`, with `Study`'s names. Its numbers are measured
once, by ``python -m eval study NAME``, and kept in a document; its listening rows are made anew whenever the site is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eval.corpora import open_corpus
from models import registry
from models.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eval.corpora import Clip

__all__ = [
    "Cell",
    "Claim",
    "Column",
    "Listening",
    "Measured",
    "Plot",
    "Point",
    "Row",
    "Study",
    "StudyContext",
    "Table",
    "Track",
    "demo_label",
]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: What the cells of a row are filed under.
        title: Name for readers.
        unit: Unit of its numbers, None where they have none.
        better: Which direction is the better one; None where neither is, and then no cell is marked.
    """

    key: str
    title: str
    unit: str | None = None
    better: str | None = None


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        value: The number; None where there is none, and then with a reason.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Number of clips, notes or runs behind it.
        reason: Why there is no number.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table; a column without a cell here stays empty."""

    label: str
    cells: Mapping[str, Cell]
    note: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of numbers."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str | None = None


@dataclass(frozen=True)
class Point:
    """A point of a plot; points of one group have one mark."""

    label: str
    x: float
    y: float
    group: str = ""


@dataclass(frozen=True)
class Plot:
    """Points, of which those of one group are joined by a line in the order given if ``joined``."""

    title: str
    x_title: str
    y_title: str
    points: Sequence[Point]
    note: str | None = None
    joined: bool = False


@dataclass(frozen=True)
class Claim:
    """A bar and what was reached.

    Attributes:
        text: The bar.
        figure: What was measured, written by code from the numbers.
        met: Whether that clears the bar.
        reason: Why not, where it does not; or what to know where it does.
    """

    text: str
    figure: str
    met: bool
    reason: str | None = None


@dataclass(frozen=True)
class Track:
    """A sound of a listening row.

    Attributes:
        title: Name for readers.
        waveform: float32, shape ``(time,)``, full scale at 1.
        codes: Code maps by level, each ``(bins, frames)``, low frequencies first; drawn with the sound.
    """

    title: str
    waveform: NDArray[np.float32]
    codes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Listening:
    """Sounds that belong side by side.

    Attributes:
        id: Unique in the study; part of file names and addresses.
        title: Name for readers.
        sample_rate_hz: Rate of all tracks.
        tracks: The sounds, the first one being what the others are heard against.
        labels: What else is to be said about the row: text, whole numbers, numbers. A label ``demo`` makes the row one
            that a page plays by what its reader sets; `demo_label` makes it.
        views: What is drawn of every track, of `eval.export.VIEWS`; everything when empty.
        reference: Whether the first track is what the differences of the others are taken from; when ``None``, if it
            is called original or recording.
        codebook_size: Number of codes, where tracks have code maps.
    """

    id: str
    title: str
    sample_rate_hz: int
    tracks: Sequence[Track]
    labels: Mapping[str, Any] = field(default_factory=dict)
    views: Sequence[str] = ()
    reference: bool | None = None
    codebook_size: int = 512


def demo_label(kind: str, settings: Sequence[Mapping[str, Any] | None], **facts: Any) -> dict[str, Any]:
    """The label of a row that is played by what a reader sets, not track by track.

    Args:
        kind: What the page offers, such as ``mask`` or ``sliders``.
        settings: For every track what it was made with; ``None`` for one that stands beside the demonstration.
        facts: What else the page has to know.
    """
    return {"demo": {"kind": kind, **facts, "settings": [None if one is None else dict(one) for one in settings]}}


@dataclass(frozen=True)
class Measured:
    """What `Study.measure` finds out."""

    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    claims: Sequence[Claim] = ()


@dataclass(frozen=True)
class StudyContext:
    """What a study is given.

    Attributes:
        seed: Seed of everything drawn.
        device: Torch device.
        notes: Held-out notes at 16,000 Hz, NSynth layout.
        music: Held-out music at 22,050 Hz, MusicNet layout.
        training: Folders of training corpora; may be empty.
        checkpoints: Model name to the folder of weights that takes the place of the shipped one.
        note: Tells whoever watches a line.
    """

    seed: int
    device: str
    notes: Path
    music: Path
    training: Sequence[Path]
    checkpoints: Mapping[str, Path]
    note: Callable[[str], None]

    def load(self, name: str) -> Any:
        """A model with the weights of this context.

        Raises:
            InputError: If the name is unknown.
            CheckpointError: If the weights cannot be used.
        """
        return registry.load(name, checkpoint=self.checkpoints.get(name), device=self.device)

    def clips(self, which: str, limit: int | None = None) -> list[tuple[Clip, NDArray[np.float32]]]:
        """Held-out clips with their samples.

        Args:
            which: ``notes`` or ``music``.
            limit: At most so many, spread evenly over the clips in the order of their ids.

        Returns:
            Clips and their mono samples, shape ``(frames,)``, at the clip's own rate.

        Raises:
            InputError: If there is no such set or the limit makes no sense.
            CorpusError: If the corpus cannot be used.
            AudioError: If a file cannot be read.
        """
        folders = {"notes": (self.notes, "nsynth"), "music": (self.music, "musicnet")}
        if which not in folders:
            raise InputError(f"held-out set {which!r} is unknown; known: {', '.join(folders)}")
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit}: at least 1 clip is needed")
        path, layout = folders[which]
        clips = list(open_corpus(path, layout=layout).clips(split="test", rule="corpus"))
        if limit is not None and limit < len(clips):
            clips = [clips[(2 * place + 1) * len(clips) // (2 * limit)] for place in range(limit)]
        return [(clip, clip.load().waveform[0]) for clip in clips]


class Study(Protocol):
    """What the module of a study holds.

    Attributes:
        NAME: Identifier, as in `eval.studies.STUDIES`.
        TITLE: Name for readers.
        QUESTION: What it asks, in one or two sentences.
        MODELS: Names of the models that its numbers depend on.
    """

    NAME: str
    TITLE: str
    QUESTION: str
    MODELS: tuple[str, ...]

    def measure(self, context: StudyContext) -> Measured:
        """Measure; may take long."""

    def listen(self, context: StudyContext) -> list[Listening]:
        """Make the listening rows, in a few seconds; may be empty."""
