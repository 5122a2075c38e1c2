"""From the settings of a command or of ``site.yml`` to the context of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.corpora import HELD_OUT, open_corpus
from eval.studies.base import StudyContext
from models import registry
from models.card import read_card
from models.errors import InputError

__all__ = ["make_context", "model_facts", "parse_checkpoints"]


def parse_checkpoints(texts: Sequence[str]) -> dict[str, Path]:
    """Weights of one's own, from ``NAME@FOLDER``.

    Raises:
        InputError: If a text has no folder, a name is unknown, has no weights or occurs twice.
        CheckpointError: If a folder holds no checkpoint.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, at, folder = text.partition("@")
        if not at or not folder:
            raise InputError(
                f"model {text!r}: NAME@FOLDER is needed; the shipped weights are used where none are named"
            )
        if name in found:
            raise InputError(f"model {name!r} is named twice")
        registry.fingerprint(name, Path(folder))
        found[name] = Path(folder)
    return found


def make_context(
    *,
    seed: int,
    device: str = "cpu",
    training: Sequence[Path] = (),
    checkpoints: Mapping[str, Path] | None = None,
    note: Callable[[str], None] = lambda text: None,
    held_out: Path = HELD_OUT,
) -> StudyContext:
    """The context of a study, on the shipped held-out set.

    Args:
        seed: Seed of everything drawn.
        device: Torch device.
        training: Folders of training corpora.
        checkpoints: Weights in place of the shipped ones.
        note: Tells whoever watches a line.
        held_out: Folder with ``notes`` and ``music``.

    Raises:
        CorpusError: If a training folder is no corpus.
    """
    for folder in training:
        open_corpus(folder)
    return StudyContext(
        seed=seed,
        device=device,
        notes=held_out / "notes",
        music=held_out / "music",
        training=tuple(training),
        checkpoints=dict(checkpoints or {}),
        note=note,
    )


def model_facts(name: str, checkpoint: Path | None = None) -> dict[str, Any]:
    """What a study's document says of a model: name, title and which weights.

    Raises:
        InputError: If the name is unknown.
        CheckpointError: If the card cannot be read.
    """
    folder = registry.checkpoint_folder(name, checkpoint)
    card = {} if folder is None else read_card(folder)
    return {"name": name, "title": registry.entry(name).title, "checkpoint_sha256": card.get("tensors_sha256")}
