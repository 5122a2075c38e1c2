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
            methods of its own, and is measured by a study; ``"judge"`` says something about clips and is used by
            metrics of sets.
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
        "codemap_top",
        "Codemap transformer, top",
        "models.codemaps:TopPrior",
        "Prior of the top code map: writes it token by token, given pitch, family and any tokens that are to be kept.",
        "codemap_top",
        trainer="models.codemap_transformer:RECIPE_TOP",
        kind="generator",
    ),
    ModelEntry(
        "codemap_bottom",
        "Codemap transformer, bottom",
        "models.codemaps:BottomPrior",
        "Prior of the bottom code map, given the whole top map, pitch and family.",
        "codemap_bottom",
        trainer="models.codemap_transformer:RECIPE_BOTTOM",
        kind="generator",
    ),
    ModelEntry(
        "codemaps",
        "Codemap transformers",
        "models.codemaps:Codemaps",
        "Both priors over the VQ-VAE-2: notes from pitch and family or from nothing, and inpainting of any cells.",
        "codemap_top",
        kind="generator",
    ),
    ModelEntry(
        "codemap_redraw",
        "VQ-VAE-2, bottom map redrawn",
        "models.codemaps:CodemapRedraw",
        "Keeps the top map of a clip and draws the bottom map anew: what the top map alone says of a note.",
        "codemap_bottom",
    ),
    ModelEntry(
        "siamese_style",
        "Siamese style encoder",
        "models.siamese_style:SiameseStyle",
        "One vector per clip that says how it sounds: excerpts of one ensemble lie near each other, others apart.",
        "siamese_style",
        trainer="models.siamese_style:RECIPE",
        kind="generator",
    ),
    ModelEntry(
        "mel_reformer",
        "MelReformer",
        "models.mel_expansion:MelReformerSystem",
        "Transformer that writes a mel from one shrunk 32-fold in time, trained with L1; the MelGAN makes it audible.",
        "mel_reformer",
        trainer="models.training.mel_reformer_task:RECIPE",
    ),
    ModelEntry(
        "mel_reformer_gan",
        "MelReformer with discriminator",
        "models.mel_expansion:MelReformerGANSystem",
        "The same network, taught further by a discriminator on mel patches.",
        "mel_reformer_gan",
        trainer="models.training.mel_reformer_task:GAN_RECIPE",
    ),
    ModelEntry(
        "mel_reformer_flow",
        "MelReformer, flow matching",
        "models.mel_expansion:MelReformerFlowSystem",
        "The same transformer at equal size, moving noise to a mel in twelve steps.",
        "mel_reformer_flow",
        trainer="models.training.mel_reformer_task:FLOW_RECIPE",
    ),
    ModelEntry(
        "mel_reformer_n8",
        "MelReformer, 8 columns a token",
        "models.mel_expansion:MelReformerN8",
        "The L1 model at another fold width and equal size.",
        "mel_reformer_n8",
        trainer="models.training.mel_reformer_task:RECIPE_N8",
        kind="generator",
    ),
    ModelEntry(
        "mel_reformer_n16",
        "MelReformer, 16 columns a token",
        "models.mel_expansion:MelReformerN16",
        "The L1 model at another fold width and equal size.",
        "mel_reformer_n16",
        trainer="models.training.mel_reformer_task:RECIPE_N16",
        kind="generator",
    ),
    ModelEntry(
        "mel_reformer_n64",
        "MelReformer, 64 columns a token",
        "models.mel_expansion:MelReformerN64",
        "The L1 model at another fold width and equal size.",
        "mel_reformer_n64",
        trainer="models.training.mel_reformer_task:RECIPE_N64",
        kind="generator",
    ),
    ModelEntry(
        "stretch_linear",
        "Linear stretching",
        "models.mel_expansion:LinearStretchSystem",
        "Baseline without learning: the shrunk mel stretched by straight lines, through the same vocoder.",
        None,
    ),
    ModelEntry(
        "stretch_cubic",
        "Cubic stretching",
        "models.mel_expansion:CubicStretchSystem",
        "Baseline without learning: the shrunk mel stretched by Catmull-Rom splines, through the same vocoder.",
        None,
    ),
    ModelEntry(
        "travel_gan",
        "TraVeL generator",
        "models.travel_gan:TravelGAN",
        "Turns the mel of a piano into that of strings, piece by piece, and keeps the differences between pieces.",
        "travel_gan",
        trainer="models.travel_gan:RECIPE",
        kind="generator",
    ),
    ModelEntry(
        "melgan",
        "MelGAN",
        "models.melgan:MelGANSystem",
        "Fully convolutional vocoder from 128 log-mel bands, trained with spectral, adversarial and feature losses.",
        "melgan",
        trainer="models.melgan:RECIPE",
    ),
    ModelEntry(
        "filterbank",
        "Filter-bank vocoder",
        "models.filterbank_vocoder:FilterBankSystem",
        "Vocoder of the same log-mel bands that makes five octave bands, each through a frozen bank of Morlet filters.",
        "filterbank",
        trainer="models.filterbank_vocoder:RECIPE",
    ),
    ModelEntry(
        "griffin_lim_mel",
        "Griffin-Lim, vocoders' mel",
        "models.griffin_lim_vocoder:GriffinLimVocoder",
        "Baseline without learning on the vocoders' front end: non-negative least squares, 32 rounds of Griffin-Lim.",
        None,
    ),
    ModelEntry(
        "melgan_discriminator",
        "MelGAN discriminator, as features",
        "models.style_transfer:DiscriminatorFeatures",
        "Hidden layers of the discriminator of MelGAN, against which style transfer optimises a waveform.",
        "melgan_discriminator",
        kind="generator",
    ),
    ModelEntry(
        "idea",
        "Idea model",
        "models.idea_model:IdeaModel",
        "U-Net that draws log-mels of 64 columns by flow matching, each with the factor that it is to be stretched by.",
        "idea",
        trainer="models.idea_model:RECIPE",
        kind="generator",
    ),
    ModelEntry(
        "idea_chain",
        "Idea, expansion, vocoder",
        "models.idea_chain:IdeaChain",
        "Music from nothing: the idea model draws, the MelReformer writes it out in time, the MelGAN makes it audible.",
        None,
        kind="generator",
    ),
    ModelEntry(
        "switch_r2",
        "Switches, pixel shuffle by 2",
        "models.switch_decoder:SwitchR2",
        "Decoder that writes a remembered excerpt for each pair of switches; its last doubling is a pixel shuffle.",
        "switch_r2",
        trainer="models.switch_decoder:RECIPE_R2",
        kind="generator",
    ),
    ModelEntry(
        "switch_r4",
        "Switches, pixel shuffle by 4",
        "models.switch_decoder:SwitchR4",
        "The same number of parameters with a last pixel shuffle by 4.",
        "switch_r4",
        trainer="models.switch_decoder:RECIPE_R4",
        kind="generator",
    ),
    ModelEntry(
        "switch_r8",
        "Switches, pixel shuffle by 8",
        "models.switch_decoder:SwitchR8",
        "The same number of parameters with a last pixel shuffle by 8.",
        "switch_r8",
        trainer="models.switch_decoder:RECIPE_R8",
        kind="generator",
    ),
    ModelEntry(
        "switch_r16",
        "Switches, pixel shuffle by 16",
        "models.switch_decoder:SwitchGenerator",
        "The same number of parameters with one pixel shuffle by 16 and no other upsampling.",
        "switch_r16",
        trainer="models.switch_decoder:RECIPE_R16",
        kind="generator",
    ),
    ModelEntry(
        "switch_r32",
        "Switches, pixel shuffle by 32",
        "models.switch_decoder:SwitchR32",
        "The same number of parameters with one pixel shuffle by 32 of maps of 4 x 16.",
        "switch_r32",
        trainer="models.switch_decoder:RECIPE_R32",
        kind="generator",
    ),
    ModelEntry(
        "switch_r64",
        "Switches, pixel shuffle by 64",
        "models.switch_decoder:SwitchR64",
        "The same number of parameters with one pixel shuffle by 64 of maps of 2 x 8.",
        "switch_r64",
        trainer="models.switch_decoder:RECIPE_R64",
        kind="generator",
    ),
    ModelEntry(
        "switch_transposed",
        "Switches, transposed convolutions",
        "models.switch_decoder:SwitchTransposed",
        "The same number of parameters with transposed convolutions in place of the shuffle.",
        "switch_transposed",
        trainer="models.switch_decoder:RECIPE_TRANSPOSED",
        kind="generator",
    ),
    ModelEntry(
        "switch_resize",
        "Switches, resizing and convolving",
        "models.switch_decoder:SwitchResize",
        "The same number of parameters with resizing and convolving in place of the shuffle.",
        "switch_resize",
        trainer="models.switch_decoder:RECIPE_RESIZE",
        kind="generator",
    ),
    ModelEntry(
        "switch_first",
        "Switches, published first model",
        "models.switch_decoder:SwitchFirst",
        "The published first network, whose output hardly depends on its input: a failure, kept as a baseline.",
        "switch_first",
        trainer="models.switch_decoder:RECIPE_FIRST",
        kind="generator",
    ),
    ModelEntry(
        "note_classifier",
        "Note classifier",
        "models.note_classifier:NoteClassifier",
        "Small convolutional judge of pitch and instrument family; the layer before its answers is an embedding.",
        "note_classifier",
        trainer="models.note_classifier:RECIPE",
        kind="judge",
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
