"""From nothing to sound: idea model, expansion, vocoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from models.errors import CheckpointError, InputError
from models.frontends.mel import MelConfig
from models.frontends.time_resize import shrink


class Idea(Protocol):
    """What the chain asks of the model that draws."""

    frontend: MelConfig
    parameters: int

    def sample(self, seeds: Sequence[int], steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Shrunk log-mels ``(batch, n_mels, columns)`` and stretch factors ``(batch,)``."""

    def describe(self) -> dict[str, object]:
        """Configuration, front end and checkpoint."""


class ConditionExpander(Protocol):
    """What the chain asks of the expansion's network."""

    @property
    def config(self) -> Any:
        """Has ``shrink``: frames that a column of the condition stands for."""

    @property
    def frontend(self) -> MelConfig:
        """Settings of the log-mel."""

    @property
    def parameters(self) -> int:
        """Learned parameters."""

    def stream(self, condition: Tensor, *, seeds: Sequence[int], frames: int | None = None) -> Iterator[Tensor]:
        """Log-mel blocks of a condition ``(batch, n_mels, columns)``."""

    def describe(self) -> dict[str, Any]:
        """Configuration, front end and checkpoint."""


class ChainVocoder(Protocol):
    """What the chain asks of the vocoder."""

    @property
    def frontend(self) -> MelConfig:
        """Settings of the log-mel."""

    @property
    def parameters(self) -> int:
        """Learned parameters."""

    def vocode(self, mel: Tensor) -> Tensor:
        """Waveform ``(batch, frames * hop)`` of a log-mel ``(batch, n_mels, frames)``."""

    def describe(self) -> dict[str, object]:
        """Configuration, front end and checkpoint."""


def passage_frames(factor: float, columns: int, grain_frames: int) -> int:
    """Frames that an idea of so many columns and this stretch factor is to last: the nearest multiple of the grain."""
    return grain_frames * max(1, round(factor * columns / grain_frames))


class IdeaChain:
    """Idea model, MelReformer and MelGAN, one after the other.

    The idea model draws 64 columns and a stretch factor; area means make of the columns the condition that the
    MelReformer reads, one column for 32 frames; it writes the mel, free-running and as long as the factor says; the
    vocoder makes it audible. The three were trained apart and never saw each other's output.

    Args:
        checkpoint: Nothing: the chain has no weights of its own.
        device: Where to compute.
        idea: In place of the shipped idea model.
        expander: In place of the shipped MelReformer's network.
        vocoder: In place of the shipped MelGAN.

    Raises:
        CheckpointError: If weights are missing or cannot be used, or the parts have different front ends.
    """

    name = "idea_chain"
    title = "Idea, expansion, vocoder"
    deterministic = True

    def __init__(
        self,
        *,
        checkpoint: Path | None = None,
        device: str = "cpu",
        idea: Idea | None = None,
        expander: ConditionExpander | None = None,
        vocoder: ChainVocoder | None = None,
    ) -> None:
        if checkpoint is not None:
            raise CheckpointError(
                f"{self.name}: has no weights of its own, so it takes no checkpoint; got {checkpoint}"
            )
        from models import registry

        self.idea: Idea = idea or registry.load("idea", device=device)
        if expander is None or vocoder is None:
            system = registry.load("mel_reformer", device=device)
            expander, vocoder = expander or system.expander, vocoder or system.vocoder
        self.expander, self.vocoder = expander, vocoder
        self.frontend = self.idea.frontend
        for part, frontend in (("expansion", expander.frontend), ("vocoder", vocoder.frontend)):
            if frontend.sha256() != self.frontend.sha256():
                raise CheckpointError(
                    f"{self.name}: the front end of the {part} is {frontend.sha256()[:16]}, that of the idea model"
                    f" {self.frontend.sha256()[:16]}; use checkpoints of one front end"
                )
        self.sample_rate_hz = self.frontend.sample_rate_hz
        self.parameters = self.idea.parameters + expander.parameters + vocoder.parameters

    def ideas(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """First stage: shrunk log-mels ``(batch, n_mels, columns)`` and stretch factors ``(batch,)``."""
        return self.idea.sample(seeds)

    def condition(self, picture: Tensor, factor: float) -> tuple[Tensor, int]:
        """What the expansion reads of an idea ``(n_mels, columns)``, and the frames that it stands for.

        Returns:
            Shape ``(1, n_mels, frames / shrink)``, and the frames.

        Raises:
            InputError: If the factor asks for more columns than the idea has.
        """
        per_column = int(self.expander.config.shrink)
        frames = passage_frames(factor, picture.shape[-1], per_column)
        columns = frames // per_column
        if columns > picture.shape[-1]:
            raise InputError(f"{self.name}: stretch factor is {factor:g}, must be at most {per_column}")
        return shrink(picture[None], columns), frames

    def expand(self, condition: Tensor, frames: int, seed: int) -> Tensor:
        """Second stage: log-mel ``(1, n_mels, frames)``."""
        return torch.cat(list(self.expander.stream(condition, seeds=[seed], frames=frames)), -1)

    @torch.no_grad()
    def generate(self, seeds: Sequence[int]) -> list[Tensor]:
        """Pieces of music.

        Args:
            seeds: One a piece; equal seeds give equal pieces, whatever stands beside them.

        Returns:
            Waveforms ``(time,)`` of different lengths, full scale at 1, at ``sample_rate_hz``.
        """
        pictures, factors = self.ideas(seeds)
        pieces = []
        for picture, factor, seed in zip(pictures, factors.tolist(), seeds, strict=True):
            condition, frames = self.condition(picture, factor)
            pieces.append(self.vocoder.vocode(self.expand(condition, frames, seed))[0])
        return pieces

    def describe(self) -> dict[str, object]:
        """The three parts."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "idea": self.idea.describe(),
            "expansion": self.expander.describe(),
            "vocoder": self.vocoder.describe(),
        }
