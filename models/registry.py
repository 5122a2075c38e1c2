"""The table of models: name to system.

Nothing heavy is imported here; a system's module is imported when it is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from models.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from models.training.task import Recipe

SHIPPED = Path(__file__).resolve().parent / "checkpoints"


class System(Protocol):
    """A model that turns a waveform into a waveform.

    Attributes:
        name: Identifier, as in the table of models.
        title: Name for readers.
        sample_rate_hz: The rate it works at; None where any rate will do.
        parameters: Number of learned parameters.
        deterministic: Whether equal seeds give equal outputs.
    """

    name: str
    title: str
    sample_rate_hz: int | None
    parameters: int
    deterministic: bool

    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Reconstruct a batch of equally long clips.

        Calls may come from several threads. A row must not depend on the other rows of its batch.

        Args:
            waveform: float32, shape ``(batch, time)``, full scale at 1.
            sample_rate_hz: Rate of the waveform.
            seeds: One seed a row.

        Returns:
            Same shape.
        """

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """Code maps by level, each ``(batch, bins, frames)``; empty for a model without codes."""

    def describe(self) -> dict[str, object]:
        """Configuration, front end and checkpoint, ready for JSON."""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """One line of the table.

    Attributes:
        name: Name on the command line and in manifests.
        title: Name for readers.
        target: ``module:class``; called with ``checkpoint=`` and ``device=``.
        summary: One sentence for readers.
        checkpoint: Folder under ``models/checkpoints``, ``None`` for models without weights.
        trainer: ``module:name`` of its training recipe, ``None`` where there is nothing to train.
        kind: ``"system"`` turns clips into clips and runs in the harness; ``"generator"`` does something else, with
            methods of its own, and is measured by a study.
    """

    name: str
    title: str
    target: str
    summary: str
    checkpoint: str | None
    trainer: str | None = None
    kind: str = "system"


_ENTRIES = (
    ModelEntry(
        "vqvae2",
        "VQ-VAE-2",
        "models.vqvae2:VQVAE2System",
        "Two-level vector-quantised autoencoder on modified Mel-IF pictures: four seconds become 640 codes of 9 bits.",
        "vqvae2",
        trainer="models.training.vqvae2_task:RECIPE",
    ),
    ModelEntry(
        "vqvae2_8x4",
        "VQ-VAE-2, finer maps",
        "models.vqvae2:VQVAE2FineSystem",
        "The same autoencoder with a bottom map of 128 x 16 codes: four times the codes in time and frequency.",
        "vqvae2_8x4",
        trainer="models.training.vqvae2_task:RECIPE_8X4",
    ),
    ModelEntry(
        "griffin_lim",
        "Griffin-Lim",
        "models.griffin_lim:GriffinLimSystem",
        "Baseline without learning: 128 log-mel bands, non-negative least squares, fast Griffin-Lim.",
        None,
    ),
    ModelEntry(
        "mel_if",
        "Mel-IF round trip",
        "models.mel_if_roundtrip:MelIFRoundTrip",
        "The front end of the VQ-VAE-2 and its inverse, no network between: what the picture alone loses.",
        None,
    ),
)

MODELS: Mapping[str, ModelEntry] = MappingProxyType({e.name: e for e in _ENTRIES})


def entry(name: str) -> ModelEntry:
    """Line of the table.

    Raises:
        InputError: If there is no such model; the message lists those there are.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise InputError(f"model {name!r} is unknown; known: {', '.join(MODELS)}") from None


def checkpoint_folder(name: str, checkpoint: Path | None) -> Path | None:
    """Folder of the weights to use: the given one, else the shipped one, ``None`` for models without weights.

    Raises:
        InputError: If a checkpoint is given to a model without weights.
    """
    line = entry(name)
    if line.checkpoint is None:
        if checkpoint is not None:
            raise InputError(f"model {name!r} has no weights, so it takes no checkpoint; got {checkpoint}")
        return None
    return checkpoint if checkpoint is not None else SHIPPED / line.checkpoint


def _attribute(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def recipe(name: str) -> Recipe:
    """How a model is trained.

    Raises:
        InputError: If the name is unknown or there is nothing to train.
    """
    target = entry(name).trainer
    if target is None:
        known = ", ".join(line.name for line in MODELS.values() if line.trainer is not None)
        raise InputError(f"model {name!r} has nothing to train; trainable: {known}")
    found: Recipe = _attribute(target)
    return found


def load(name: str, *, checkpoint: Path | None = None, device: str = "cpu") -> Any:
    """Build a model, ready for use: a `System`, or a generator with methods of its own.

    Args:
        name: Name in the table.
        checkpoint: Folder with ``model.safetensors`` and ``card.json`` in place of the shipped one.
        device: Torch device.

    Raises:
        InputError: If the name is unknown.
        CheckpointError: If the weights cannot be used.
    """
    folder = checkpoint_folder(name, checkpoint)
    return _attribute(entry(name).target)(checkpoint=folder, device=device)


def fingerprint(name: str, checkpoint: Path | None) -> str:
    """Hash of what a model is made of beside its code: table line, bytes of weights and card.

    Raises:
        InputError: If the name is unknown.
        CheckpointError: If a file of the checkpoint is missing.
    """
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(entry(name)), sort_keys=True).encode())
    folder = checkpoint_folder(name, checkpoint)
    if folder is not None:
        for part in ("model.safetensors", "card.json"):
            path = folder / part
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
