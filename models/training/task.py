"""What a model's file offers to the trainer: a recipe, and through it a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.errors import InputError
from models.training.data import ClipStore


@dataclasses.dataclass(frozen=True)
class Part:
    """What one optimiser steps.

    Attributes:
        parameters: What learns.
        learning_rate: Peak rate; ``None`` takes the settings' own.
        betas: Of AdamW.
        weight_decay: Decoupled.
        clip_norm: Largest gradient norm; ``None`` clips nothing.
        schedule: ``"cosine"`` or ``"constant"``, both after a linear warm-up.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    clip_norm: float | None = 1.0
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(f"schedule must be cosine or constant, got {self.schedule!r}")


class Task(Protocol):
    """What is trained: networks, the losses of a step, a validation, and what is shipped in the end."""

    def modules(self) -> Mapping[str, nn.Module]:
        """All that has state which a resumed run needs, by name."""

    def parts(self) -> Mapping[str, Part]:
        """What each optimiser steps, by name."""

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """Yield (part, scalar loss); the part's optimiser takes its step before the next loss is asked for."""

    def report(self) -> dict[str, float]:
        """Loss terms of the latest step."""

    def validate(self) -> dict[str, float]:
        """Losses on the validation clips, without learning; empty where there are no such clips."""

    def export(self) -> dict[str, Tensor]:
        """Tensors to ship, named as in the state of the network that the system builds."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a model learns; models add fields of their own.

    Attributes:
        batch_size: Clips or segments in a step.
        learning_rate: Peak of the schedule.
        warmup_steps: Steps of the linear rise.
    """

    batch_size: int = 8
    learning_rate: float = 3e-4
    warmup_steps: int = 200

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.learning_rate <= 0 or self.warmup_steps < 0:
            raise InputError("training: batch_size and learning_rate must be above 0, warmup_steps at least 0")


@dataclasses.dataclass(frozen=True)
class TaskContext:
    """What a task is made from.

    Attributes:
        config: Size of the network.
        frontend: Settings of the front end.
        settings: How to learn.
        training: Clips to learn from.
        validation: Clips to validate on; may be empty.
        seed: Seed of weights and draws; another one on every process of a run on several devices.
        device: Where to compute.
        bfloat16: Whether autocast to bfloat16 pays on that device.
        rank: Number of this process.
    """

    config: Any
    frontend: Any
    settings: Any
    training: ClipStore
    validation: ClipStore
    seed: int
    device: torch.device
    bfloat16: bool
    rank: int = 0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained; the registry names one for every trainable model.

    Attributes:
        config: Size of the network, a frozen dataclass with defaults.
        frontend: Settings of the front end, with ``as_dict()`` and ``sha256()``.
        settings: How to learn.
        sample_rate_hz: Rate that clips are read at.
        clip_s: Length that clips are cut or padded to.
        task: Builder of the task.
        labels: Labels that every clip must have.
        half: Whether floating tensors of two or more dimensions are shipped as float16.
    """

    config: Any
    frontend: Any
    settings: TrainingSettings
    sample_rate_hz: int
    clip_s: float
    task: Callable[[TaskContext], Task]
    labels: tuple[str, ...] = ()
    half: bool = True

    def changed(self, changes: Mapping[str, str]) -> Recipe:
        """The recipe with fields of ``config`` or ``settings`` set from text.

        Raises:
            InputError: If there is no such field or the text is no value for it.
        """
        config, settings = self.config, self.settings
        for key, text in changes.items():
            if key in _fields(config):
                config = _replaced(config, key, text)
            elif key in _fields(settings):
                settings = _replaced(settings, key, text)
            else:
                known = ", ".join(sorted([*_fields(config), *_fields(settings)]))
                raise InputError(f"--set {key}={text}: there is no setting {key!r}; known: {known}")
        return dataclasses.replace(self, config=config, settings=settings)


def _fields(values: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(values)]


def _replaced(values: Any, key: str, text: str) -> Any:
    """A copy of a dataclass with one field read from text, as the kind of value that it now has."""
    present = getattr(values, key)
    try:
        if isinstance(present, bool):
            value: Any = {"true": True, "false": False}[text.lower()]
        elif isinstance(present, tuple):
            kind = type(present[0]) if present else str
            value = tuple(kind(part) for part in text.split(",") if part)
        else:
            value = type(present)(text)
        return dataclasses.replace(values, **{key: value})
    except (ValueError, KeyError) as error:
        reason = f": {error}" if isinstance(error, ValueError) and str(error) else ""
        raise InputError(f"--set {key}={text}: need a value like {present!r}{reason}") from None
