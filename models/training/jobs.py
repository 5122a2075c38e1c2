"""A training job from corpora to a checkpoint folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import safetensors
import torch

from models import registry
from models.card import read_card
from models.checkpoint import halved, load, save
from models.errors import CheckpointError, CorpusError, InputError
from models.training.data import ClipStore, read_clips
from models.training.distributed import Group
from models.training.loop import Outcome, Progress, Trainer, TrainingConfig
from models.training.task import Task, TaskContext

_CURVE_POINTS = 200


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
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    init: Path | None = None
    compiled: bool = False
    precision: str = "auto"
    validation_share: float = 0.03

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise InputError(f"validation share: must lie in [0, 1), got {self.validation_share}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise InputError(f"precision {self.precision!r} is unknown; use auto, float32 or bfloat16")
        if self.resume and self.init is not None:
            raise InputError("--resume goes on from the run's own state; leave out --init")


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


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
    }


def code_version() -> dict[str, str | None]:
    """Commit, where there is one, and hash of the code that trains and is trained."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    return {"commit": commit or None, "models_sha256": digest.hexdigest()}


def device_title(device: str) -> str:
    """A device for readers."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


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
        store: Clips to use instead of reading the corpora.

    Raises:
        InputError: If an option makes no sense or no clip is left to train on.
        CorpusError: If a corpus cannot be used, or a clip lacks a label that the model needs.
        CheckpointError: If there is no usable state to resume, or no usable weights to start from.
        OutputError: If the output cannot be written.
    """
    recipe = registry.recipe(options.name).changed(options.changes)
    group = Group(pick_device(options.device))
    config = TrainingConfig(
        steps=options.steps,
        minutes=options.minutes,
        seed=options.seed,
        learning_rate=recipe.settings.learning_rate,
        warmup_steps=recipe.settings.warmup_steps,
    )
    if store is None:
        store = read_clips(
            options.corpora,
            sample_rate_hz=recipe.sample_rate_hz,
            clip_s=recipe.clip_s,
            rule=options.rule,
            progress=clips_read,
        )
    check_labels(store, recipe.labels)
    training, validation = store.split(options.validation_share)
    if len(training) == 0:
        raise InputError("no clip is left to train on; lower --validation-share")
    fast = has_fast_bfloat16(group.device)
    bfloat16 = fast if options.precision == "auto" else options.precision == "bfloat16"
    context = TaskContext(
        recipe.config,
        recipe.frontend,
        recipe.settings,
        training,
        validation,
        group.seed(options.seed),
        torch.device(group.device),
        bfloat16,
        group.rank,
    )
    task = recipe.task(context)
    start = initialise(task, options.init) if options.init is not None else None
    if options.compiled:
        for module in task.modules().values():
            module.compile()
    card = {
        "name": options.name,
        "licence": "MIT (weights); the training recordings keep their own licences, see trained_on",
        "config": dataclasses.asdict(recipe.config),
        "frontend": {"settings": recipe.frontend.as_dict(), "sha256": recipe.frontend.sha256()},
        "trained_on": list(store.corpora),
        "clips": {"training": len(training), "validation": len(validation)},
        "training": {
            **{key: value for key, value in dataclasses.asdict(config).items() if value is not None},
            **dataclasses.asdict(recipe.settings),
            **({"init": start} if start else {}),
            "device": device_title(group.device),
            "processes": group.size,
            "bfloat16": bfloat16,
            "compiled": options.compiled,
        },
        "code": code_version(),
        "versions": versions(),
    }

    def export(outcome: Outcome) -> None:
        tensors = {name: value.detach().cpu() for name, value in task.export().items()}
        facts = {
            "step": outcome.step,
            "seconds": round(outcome.elapsed_s, 1),
            "seed": options.seed,
            "finished": outcome.finished,
            "losses": {"validation": outcome.validation, "curve": loss_curve(options.output / "loss.jsonl")},
            "parameters": {name: sum(p.numel() for p in m.parameters()) for name, m in task.modules().items()},
            "shipped_numbers": sum(value.numel() for value in tensors.values()),
            **extra_facts(task),
        }
        save(options.output / "checkpoint", halved(tensors) if recipe.half else tensors, {**card, **facts})

    trainer = Trainer(
        task, config, options.output, resume=options.resume, stop=stop, progress=progress, saved=export, group=group
    )
    try:
        return trainer.run()
    finally:
        group.close()


def extra_facts(task: Task) -> Mapping[str, Any]:
    """What a task adds to its card: the result of its method ``card``, where it has one."""
    method = getattr(task, "card", None)
    return dict(method()) if method is not None else {}


def check_labels(store: ClipStore, wanted: tuple[str, ...]) -> None:
    """Refuse clips that lack labels.

    Raises:
        CorpusError: Naming the first such clip and label.
    """
    for clip_id, labels in zip(store.clip_ids, store.labels or ({},) * len(store), strict=True):
        for name in wanted:
            if labels.get(name) is None:
                raise CorpusError(
                    f"clip {clip_id!r}: has no label {name!r}, which this model learns from; use a corpus that has it"
                    " (NSynth layout)"
                )


def initialise(task: Task, folder: Path) -> dict[str, Any]:
    """Start a task from the weights of a checkpoint; returns what the card says of them.

    Raises:
        CheckpointError: If the weights cannot be used or do not fit.
    """
    card = read_card(folder)
    tensors = load(folder, name=str(card.get("name"))).tensors
    method = getattr(task, "initialise", None)
    if method is not None:
        method(tensors)
    else:
        network = next(iter(task.modules().values()))
        try:
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        except RuntimeError as error:
            raise CheckpointError(f"{folder}: weights do not fit: {str(error).splitlines()[0]}") from None
    return {"name": card.get("name"), "tensors_sha256": card.get("tensors_sha256"), "step": card.get("step")}


def loss_curve(log: Path) -> list[dict[str, Any]]:
    """The loss log, thinned to at most 200 lines, each term to five digits; the last line stays."""
    try:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    except (OSError, ValueError):
        return []
    every = max(1, -(-len(lines) // _CURVE_POINTS))
    kept = lines[::-1][::every][::-1]
    return [{key: float(f"{v:.5g}") if isinstance(v, float) else v for key, v in line.items()} for line in kept]
