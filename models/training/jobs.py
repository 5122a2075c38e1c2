"""A training job from corpora to a checkpoint folder, one builder per trainable model."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import safetensors
import torch

from models.checkpoint import save
from models.errors import InputError
from models.frontends.mel_if import MelIFConfig
from models.training.data import Augmentation, ClipStore, read_clips
from models.training.loop import Outcome, Progress, Task, Trainer, TrainingConfig
from models.training.vqvae2_task import VQVAE2Task
from models.vqvae2 import VQVAE2Config


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What a user chooses for a run; see ``python -m models train --help``."""

    name: str
    corpora: tuple[Path, ...]
    output: Path
    rule: str | None = None
    steps: int | None = None
    minutes: float | None = None
    device: str = "auto"
    resume: bool = False
    seed: int = 20261121
    width: int = 128
    batch_size: int = 8
    learning_rate: float = 5e-4
    validation_share: float = 0.03

    def __post_init__(self) -> None:
        if self.width < 16 or self.width % 16:
            raise InputError(f"width: must be a multiple of 16, got {self.width}")
        if self.batch_size < 1 or self.learning_rate <= 0:
            raise InputError("batch size and learning rate must be positive")
        if not 0 <= self.validation_share < 1:
            raise InputError(f"validation share: must lie in [0, 1), got {self.validation_share}")


@dataclasses.dataclass(frozen=True)
class Job:
    """A task and what its card says of it."""

    task: Task
    config: Mapping[str, Any]
    frontend: Mapping[str, Any]
    notes: Mapping[str, Any]


def pick_device(name: str) -> str:
    """Device to train on: ``auto`` takes CUDA where there is one.

    Raises:
        InputError: If the device is unknown or absent.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {name!r}: this machine has no CUDA device; use cpu")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    return name


def has_fast_bfloat16(device: str) -> bool:
    """Whether convolutions gain from bfloat16 there."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check()) if check is not None else False


def vqvae2_job(options: TrainingOptions, training: ClipStore, validation: ClipStore, device: str) -> Job:
    """The VQ-VAE-2 on Mel-IF pictures."""
    config = VQVAE2Config(channels=options.width)
    frontend = MelIFConfig()
    augmentation = Augmentation()
    bfloat16 = has_fast_bfloat16(device)
    task = VQVAE2Task(
        config,
        frontend,
        training=training,
        validation=validation,
        seed=options.seed,
        batch_size=options.batch_size,
        device=device,
        bfloat16=bfloat16,
        augmentation=augmentation,
    )
    return Job(
        task,
        dataclasses.asdict(config),
        {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
        {"augmentation": dataclasses.asdict(augmentation), "bfloat16": bfloat16},
    )


JOBS: Mapping[str, Callable[[TrainingOptions, ClipStore, ClipStore, str], Job]] = MappingProxyType(
    {"vqvae2": vqvae2_job}
)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
    }


def train_model(
    options: TrainingOptions,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Progress], None] = lambda report: None,
    clips_read: Callable[[int], None] = lambda n: None,
    store: ClipStore | None = None,
) -> Outcome:
    """Read the clips, train, keep ``output/checkpoint`` up to date.

    Args:
        options: What the user chose.
        stop: Asked after every step.
        progress: Told now and then.
        clips_read: Told the number of clips read so far.
        store: Clips to use in place of those of ``options.corpora``.

    Raises:
        InputError: If an option is impossible.
        CorpusError: If the clips cannot be read.
        CheckpointError: If there is no usable state to resume.
    """
    if options.name not in JOBS:
        raise InputError(f"model {options.name!r} cannot be trained; trainable: {', '.join(JOBS)}")
    device = pick_device(options.device)
    config = TrainingConfig(
        steps=options.steps, minutes=options.minutes, seed=options.seed, learning_rate=options.learning_rate
    )
    if store is None:
        frontend = MelIFConfig()
        clip_s = frontend.n_samples / frontend.sample_rate_hz
        store = read_clips(
            options.corpora,
            sample_rate_hz=frontend.sample_rate_hz,
            clip_s=clip_s,
            rule=options.rule,
            progress=clips_read,
        )
    training, validation = store.split(options.validation_share)
    if len(training) == 0:
        raise InputError("no clip is left to train on; lower the validation share")
    job = JOBS[options.name](options, training, validation, device)
    extra = {
        "trained_on": list(store.corpora),
        "clips": {"training": len(training), "validation": len(validation)},
        "training": {
            **{key: value for key, value in dataclasses.asdict(config).items() if value is not None},
            "batch_size": options.batch_size,
            "device": torch.device(device).type,
            "threads": torch.get_num_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            **job.notes,
        },
    }

    def export(step: int, validation_losses: dict[str, float] | None) -> None:
        write_checkpoint(options.output / "checkpoint", options.name, job, step, validation_losses, extra)

    trainer = Trainer(
        job.task, config, options.output, resume=options.resume, stop=stop, progress=progress, saved=export
    )
    return trainer.run()


def write_checkpoint(
    folder: Path,
    name: str,
    job: Job,
    step: int,
    validation: Mapping[str, float] | None,
    extra: Mapping[str, Any],
) -> str:
    """Weights and card of a job's network; returns the hash of the tensors."""
    network = job.task.network
    card = {
        "name": name,
        "config": dict(job.config),
        "frontend": dict(job.frontend),
        "step": step,
        "seed": extra["training"]["seed"],
        "losses": {"validation": dict(validation) if validation else None},
        **extra,
        "parameters": sum(p.numel() for p in network.parameters()),
        "versions": versions(),
    }
    return save(folder, network.state_dict(), card)
