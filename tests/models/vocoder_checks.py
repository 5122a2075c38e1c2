"""What the tests of the vocoders share: small checkpoints, and a corpus in memory."""

import dataclasses
from pathlib import Path

import torch

from models.checkpoint import save
from models.training.data import ClipStore
from models.training.task import Recipe, Task, TaskContext
from models.vocoder import VocoderConfig, vocoder_frontend
from tests.signals import noise, tone

RATE_HZ = 22_050


def write_checkpoint(
    folder: Path, name: str, config: VocoderConfig, tensors: dict[str, torch.Tensor], **card: object
) -> Path:
    """A checkpoint whose card can be changed by the arguments."""
    frontend = vocoder_frontend(config.n_mels)
    facts: dict[str, object] = {
        "name": name,
        "config": dataclasses.asdict(config),
        "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
    }
    save(folder, tensors, {**facts, **card})
    return folder


def waveforms(samples: int) -> torch.Tensor:
    """A tone of 440 Hz, one of 1,000 Hz and noise, shape ``(3, samples)``."""
    seconds = samples / RATE_HZ + 0.1
    rows = [tone(440.0, seconds, RATE_HZ), tone(1000.0, seconds, RATE_HZ), noise(seconds, RATE_HZ)]
    return torch.stack([torch.as_tensor(row)[:samples].float() * 0.3 for row in rows])


def task(recipe: Recipe, **changes: object) -> Task:
    """A task of a recipe with changes, over clips that are one segment long, so that every step sees the same ones."""
    recipe = recipe.changed({key: str(value) for key, value in changes.items()})
    samples = recipe.settings.segment_samples  # type: ignore[attr-defined]  # a vocoder's settings have it
    pcm = (waveforms(samples)[1:] * 32767.0).to(torch.int16)
    store = ClipStore(pcm, ("a", "b"), torch.tensor([0, 0]), (), RATE_HZ)
    return recipe.task(
        TaskContext(
            recipe.config, recipe.frontend, recipe.settings, store, store, 3, torch.device("cpu"), bfloat16=False
        )
    )


def train(made: Task, steps: int, learning_rate: float) -> list[dict[str, float]]:
    """Reports of some steps with a constant rate."""
    optimisers = {
        name: torch.optim.AdamW(part.parameters, learning_rate, betas=part.betas) for name, part in made.parts().items()
    }
    reports = []
    for step in range(steps):
        for name, loss in made.losses(step):
            optimisers[name].zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimisers[name].step()
        reports.append(made.report())
    return reports
