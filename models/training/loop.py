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
from typing import Any

import torch
from torch import nn

from models.checkpoint import write_atomically
from models.errors import CheckpointError, EarwitnessError, InputError, OutputError, system_reason
from models.training.data import derived_seed
from models.training.distributed import Group
from models.training.schedule import warmup_cosine
from models.training.task import Part, Task


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast.

    Attributes:
        steps: Steps of the whole run, or ``None`` when ``minutes`` rules.
        minutes: Wall time of the whole run over all resumptions, or ``None`` when ``steps`` rules.
        seed: Seed of everything random.
        learning_rate: Peak of the schedule, for parts that name none.
        warmup_steps: Steps of the linear rise.
        log_every: Steps between lines of the loss log.
        validate_every: Steps between validations.
        save_every_s: Wall time between saves of the state.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    learning_rate: float = 5e-4
    warmup_steps: int = 200
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
    done: float
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
        saved: Called after every save of the state, with how the run stands.
        group: The processes that train together; this one alone when None.

    Raises:
        CheckpointError: If the state to resume is missing or unreadable.
        InputError: If a new run would overwrite an old one, or a resumed one has another seed.
        OutputError: If the folder cannot be made.
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
        saved: Callable[[Outcome], None] = lambda outcome: None,
        group: Group | None = None,
    ) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.stop, self.progress, self.saved = stop, progress, saved
        self.group = group or Group("cpu")
        self.step = 0
        self.elapsed_s = 0.0
        self.validation: dict[str, float] | None = None
        self.parts = dict(task.parts())
        self.modules = dict(task.modules())
        self.optimisers = {
            name: torch.optim.AdamW(part.parameters, self._rate(part), betas=part.betas, weight_decay=part.weight_decay)
            for name, part in self.parts.items()
        }
        self.state_file = folder / "state.pt"
        self.log_file = folder / "loss.jsonl"
        if resume:
            self._load()
        elif self.state_file.exists():
            raise InputError(f"{self.state_file}: a run is there already; resume it or choose another folder")
        elif self.group.leads:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self.log_file.write_text("")
            except OSError as error:
                raise OutputError(f"{folder}: cannot be written: {system_reason(error)}") from None
        self.group.share(self.modules.values())

    def run(self) -> Outcome:
        """Train until the end of the schedule or until asked to stop; the state is saved either way.

        Raises:
            EarwitnessError: If a loss is not finite; the last saved state stays.
            OutputError: If the state cannot be written; the one before stays.
        """
        config = self.config
        started, before = time.monotonic(), self.elapsed_s
        first_step, last_save = self.step, started
        self._set_mode(training=True)
        stopped = False
        while not stopped and self._done() < 1.0:
            value = self._step()
            self.step += 1
            now = time.monotonic()
            stopped, self.elapsed_s = self.group.agree(self.stop(), before + now - started)
            finished = self._done() >= 1.0
            validated = self.step % config.validate_every == 0 or finished
            if validated and self.group.leads:
                self._validate()
            if self.group.leads and (validated or self.step % config.log_every == 0):
                numbers = self.task.report()
                entry: dict[str, Any] = {"step": self.step, **numbers, "elapsed_s": round(self.elapsed_s, 2)}
                if validated:
                    entry["validation"] = self.validation
                self._log(entry)
                speed = (self.step - first_step) / max(1e-9, now - started)
                report = Progress(
                    self.step, value, numbers, speed, min(1.0, self._done()), self._left_s(speed), self.validation
                )
                self.progress(report)
            if self.group.leads and (stopped or finished or now - last_save >= config.save_every_s):
                self._save()
                last_save = now
        return self._outcome()

    def _step(self) -> float:
        config = self.config
        scale = warmup_cosine(self.step, self._done(), warmup_steps=config.warmup_steps)
        rise = warmup_cosine(self.step, 0.0, warmup_steps=config.warmup_steps)
        # Dropout draws from the global generator, so it starts every step at a place of its own.
        torch.manual_seed(derived_seed(self.group.seed(config.seed), self.step, "trainer") % 2**62)
        value = math.nan
        for name, loss in self.task.losses(self.step):
            value = float(loss.detach())
            if not math.isfinite(value):
                raise EarwitnessError(
                    f"training: the {name} loss of step {self.step} is {value}; go on with --resume from the last saved"
                    f" state, with a lower --set learning_rate (now {config.learning_rate:g})"
                )
            part, optimiser = self.parts[name], self.optimisers[name]
            for group in optimiser.param_groups:
                group["lr"] = self._rate(part) * (scale if part.schedule == "cosine" else rise)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            self.group.average_gradients(part.parameters)
            if part.clip_norm is not None:
                nn.utils.clip_grad_norm_(part.parameters, part.clip_norm)
            optimiser.step()
        self.group.share_buffers(self.modules.values())
        return value

    def _rate(self, part: Part) -> float:
        return self.config.learning_rate if part.learning_rate is None else part.learning_rate

    def _outcome(self) -> Outcome:
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

    def _set_mode(self, *, training: bool) -> None:
        for module in self.modules.values():
            module.train(training)

    def _validate(self) -> None:
        self._set_mode(training=False)
        with torch.no_grad():
            self.validation = self.task.validate() or None
        self._set_mode(training=True)

    def _log(self, entry: dict[str, Any]) -> None:
        try:
            with self.log_file.open("a") as handle:
                handle.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"{self.log_file}: cannot be written: {system_reason(error)}") from None

    def _save(self) -> None:
        state = {
            "version": 2,
            "seed": self.config.seed,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "validation": self.validation,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }
        try:
            write_atomically(self.state_file, lambda path: torch.save(state, path))
            self.saved(self._outcome())
        # torch reports a full disk as a RuntimeError of its zip writer.
        except (OSError, RuntimeError) as error:
            reason = system_reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
            raise OutputError(
                f"{self.folder}: the state of step {self.step} cannot be saved: {reason}; the one before is whole,"
                " make room and go on with --resume"
            ) from None

    def _load(self) -> None:
        if not self.state_file.is_file():
            raise CheckpointError(f"{self.state_file}: no training state to resume")
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
            if set(state["modules"]) != set(self.modules) or set(state["optimisers"]) != set(self.optimisers):
                raise KeyError("other modules than this task's")
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
            self.step, self.elapsed_s = int(state["step"]), float(state["elapsed_s"])
            self.validation = state["validation"]
        except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{self.state_file}: not a state of this network: {reason}") from None
        seed = state.get("seed", self.config.seed)
        if seed != self.config.seed:
            raise InputError(f"{self.state_file}: the run has seed {seed}, asked to go on with {self.config.seed}")
        if not self.group.leads:
            return
        kept = []
        if self.log_file.exists():
            for line in self.log_file.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= self.step:
                        kept.append(line)
                except (ValueError, KeyError):
                    continue
        self.log_file.write_text("".join(line + "\n" for line in kept))
