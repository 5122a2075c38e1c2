"""One resumable training loop.

A run lives in a folder: ``state.pt`` (tensors and numbers only), ``loss.jsonl`` and whatever the caller adds.
Every random draw of a step is derived from (seed, step), so a run that was stopped and resumed takes the same
steps as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from models.checkpoint import write_atomically
from models.errors import CheckpointError, EarwitnessError, InputError
from models.training.schedule import warmup_cosine


class Task(Protocol):
    """What is trained: a network, the loss of a step and a validation."""

    @property
    def network(self) -> nn.Module:
        """What learns."""

    def step_loss(self, step: int) -> tuple[torch.Tensor, Callable[[], dict[str, float]]]:
        """Loss of step number ``step`` and a function that gives its terms as numbers."""

    def validate(self) -> dict[str, float]:
        """Losses on the validation clips, without learning."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast.

    Attributes:
        steps: Steps of the whole run, or ``None`` when ``minutes`` rules.
        minutes: Wall time of the whole run over all resumptions, or ``None`` when ``steps`` rules.
        seed: Seed of everything random.
        learning_rate: Peak of the schedule.
        warmup_steps: Steps of the linear rise.
        weight_decay: Decoupled weight decay.
        clip_norm: Largest gradient norm.
        log_every: Steps between lines of the loss log.
        validate_every: Steps between validations.
        save_every_s: Wall time between saves of the state.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    learning_rate: float = 5e-4
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    log_every: int = 20
    validate_every: int = 500
    save_every_s: float = 90.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError("training: give either steps or minutes")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise InputError("training: steps and minutes must be positive")


@dataclasses.dataclass(frozen=True)
class Progress:
    """One report of a running training."""

    step: int
    loss: float
    terms: dict[str, float]
    steps_per_s: float
    left_s: float
    validation: dict[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    elapsed_s: float
    finished: bool
    validation: dict[str, float] | None


class Trainer:
    """Runs a task to its end, or to an interruption.

    Args:
        task: What to train.
        config: How long and how fast.
        folder: Where state and log are kept.
        resume: Continue the state in ``folder`` instead of starting anew.
        stop: Asked after every step; true ends the run with its state saved.
        progress: Called now and then.
        saved: Called after every save of the state, with the step and the last validation.

    Raises:
        CheckpointError: If the state to resume is missing or unreadable.
        InputError: If a new run would overwrite an old one, or a resumed one has another seed.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        folder: Path,
        *,
        resume: bool = False,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[Progress], None] = lambda report: None,
        saved: Callable[[int, dict[str, float] | None], None] = lambda step, validation: None,
    ) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.stop, self.progress, self.saved = stop, progress, saved
        self.step = 0
        self.elapsed_s = 0.0
        self.validation: dict[str, float] | None = None
        self.optimiser = torch.optim.AdamW(
            task.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.state_file = folder / "state.pt"
        self.log_file = folder / "loss.jsonl"
        if resume:
            self._load()
        elif self.state_file.exists():
            raise InputError(f"{self.state_file}: a run is there already; resume it or choose another folder")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self.log_file.write_text("")

    def run(self) -> Outcome:
        """Train until the end of the schedule or until asked to stop; the state is saved either way."""
        config = self.config
        started, before = time.monotonic(), self.elapsed_s
        first_step, last_save = self.step, started
        self.task.network.train()
        stopped = False
        while not stopped and self._done() < 1.0:
            rate = config.learning_rate * warmup_cosine(self.step, self._done(), warmup_steps=config.warmup_steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            loss, terms = self.task.step_loss(self.step)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise EarwitnessError(f"training: the loss of step {self.step} is {value}; learn more slowly")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            nn.utils.clip_grad_norm_(self.task.network.parameters(), config.clip_norm)
            self.optimiser.step()
            self.step += 1
            now = time.monotonic()
            self.elapsed_s = before + now - started
            stopped = self.stop()
            finished = self._done() >= 1.0
            validated = self.step % config.validate_every == 0 or finished
            if validated:
                self._validate()
            if validated or self.step % config.log_every == 0:
                numbers = terms()
                entry: dict[str, Any] = {"step": self.step, "learning_rate": rate, **numbers}
                entry["elapsed_s"] = round(self.elapsed_s, 2)
                if validated:
                    entry["validation"] = self.validation
                self._log(entry)
                speed = (self.step - first_step) / max(1e-9, now - started)
                left_s = self._left_s(speed)
                self.progress(Progress(self.step, value, numbers, speed, left_s, self.validation))
            if stopped or finished or now - last_save >= config.save_every_s:
                self._save()
                last_save = now
        return Outcome(self.step, self.elapsed_s, self._done() >= 1.0, self.validation)

    def _done(self) -> float:
        if self.config.steps is not None:
            return self.step / self.config.steps
        assert self.config.minutes is not None
        return self.elapsed_s / (60.0 * self.config.minutes)

    def _left_s(self, speed: float) -> float:
        if self.config.steps is not None:
            return (self.config.steps - self.step) / max(speed, 1e-9)
        assert self.config.minutes is not None
        return max(0.0, 60.0 * self.config.minutes - self.elapsed_s)

    def _validate(self) -> None:
        self.task.network.train(False)
        with torch.no_grad():
            self.validation = self.task.validate()
        self.task.network.train()

    def _log(self, entry: dict[str, Any]) -> None:
        with self.log_file.open("a") as handle:
            handle.write(json.dumps(entry) + "\n")

    def _save(self) -> None:
        state = {
            "version": 1,
            "seed": self.config.seed,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "validation": self.validation,
            "network": self.task.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_atomically(self.state_file, lambda path: torch.save(state, path))
        self.saved(self.step, self.validation)

    def _load(self) -> None:
        if not self.state_file.is_file():
            raise CheckpointError(f"{self.state_file}: no training state to resume")
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
            self.task.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.elapsed_s = int(state["step"]), float(state["elapsed_s"])
            self.validation = state["validation"]
        except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{self.state_file}: not a state of this network: {reason}") from None
        seed = state.get("seed", self.config.seed)
        if seed != self.config.seed:
            raise InputError(f"{self.state_file}: the run has seed {seed}, asked to go on with {self.config.seed}")
        kept = []
        if self.log_file.exists():
            for line in self.log_file.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= self.step:
                        kept.append(line)
                except (ValueError, KeyError):
                    continue
        self.log_file.write_text("".join(line + "\n" for line in kept))
