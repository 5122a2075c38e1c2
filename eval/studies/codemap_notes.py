"""What the studies of generation and of inpainting share: held-out notes and tokens drawn without a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.stats import mean_interval
from eval.studies.base import Cell, StudyContext
from models import registry
from models.codemap_transformer import FAMILIES, PITCHES
from models.codemaps import Codemaps
from models.errors import CorpusError

if TYPE_CHECKING:
    from eval.corpora import Clip

__all__ = [
    "BITS",
    "MODELS",
    "RATE_HZ",
    "SAMPLES",
    "Note",
    "class_numbers",
    "interval",
    "load_codemaps",
    "notes",
    "per_cell",
]

MODELS = ("vqvae2", "codemap_top", "codemap_bottom")
RATE_HZ = 16_000
SAMPLES = 64_000
BITS = 1.0 / math.log(2.0)

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Note:
    """A held-out note.

    Attributes:
        name: Its clip id.
        family: Instrument family.
        pitch: MIDI pitch as labelled.
        group: Instrument.
        waveform: Four seconds, shape ``(time,)``.
    """

    name: str
    family: str
    pitch: int
    group: Hashable
    waveform: Floats


def notes(context: StudyContext, limit: int | None = None) -> list[Note]:
    """Held-out notes, cut or filled up to four seconds.

    Raises:
        CorpusError: If a note has no pitch or a family that NSynth does not know, or there is none.
    """
    found = [_note(clip, waveform) for clip, waveform in context.clips("notes", limit)]
    if not found:
        raise CorpusError(f"{context.notes}: no held-out note")
    return found


def _note(clip: Clip, waveform: Floats) -> Note:
    pitch, family = clip.labels.get("pitch"), clip.labels.get("instrument_family_str")
    if not isinstance(pitch, int) or family not in FAMILIES or clip.sample_rate_hz != RATE_HZ:
        raise CorpusError(
            f"clip {clip.clip_id!r}: need a pitch, one of the families {', '.join(FAMILIES)} and {RATE_HZ} Hz, got"
            f" {pitch!r}, {family!r} and {clip.sample_rate_hz} Hz"
        )
    fitted = np.pad(waveform[:SAMPLES], (0, max(0, SAMPLES - waveform.size))).astype(np.float32)
    return Note(clip.clip_id, str(family), pitch, clip.group, fitted)


def load_codemaps(context: StudyContext) -> Codemaps:
    """Both priors and the VQ-VAE-2, with the weights of the context.

    Raises:
        CheckpointError: If weights cannot be used, or do not belong together.
    """
    vqvae, top, bottom = (context.checkpoints.get(name, registry.SHIPPED / name) for name in MODELS)
    return Codemaps(checkpoint=top, bottom=bottom, vqvae=vqvae, device=context.device)


def class_numbers(found: Sequence[Note], *, known: bool = True) -> tuple[Tensor, Tensor]:
    """Pitches and family numbers of notes, or as many times no class."""
    if not known:
        return torch.full((len(found),), PITCHES), torch.full((len(found),), len(FAMILIES))
    return torch.tensor([n.pitch for n in found]), torch.tensor([FAMILIES.index(n.family) for n in found])


def per_cell(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Maps whose cells are each taken from another of the given maps: right cell by cell, without any dependence.

    Args:
        codes: Two maps or more, shape ``(notes, bins, frames)``.
        generator: Draws which map each cell comes from; never the map of the same row.
    """
    n = codes.shape[0]
    if n < 2:
        raise ValueError("at least two maps are needed")
    away = torch.randint(1, n, codes.shape, generator=generator)
    rows = (torch.arange(n)[:, None, None] + away) % n
    return codes.gather(0, rows)


def interval(values: Sequence[float], groups: Sequence[Hashable], *, seed: int, scale: float = 1.0) -> Cell:
    """Mean with its interval, whole groups drawn."""
    found = mean_interval(values, seed=seed, groups=groups)
    if found.mean is None:
        return Cell(None, reason="no note")
    low, high = (None if end is None else scale * end for end in (found.low, found.high))
    return Cell(scale * found.mean, low, high, found.n)
