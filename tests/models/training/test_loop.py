import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from models.checkpoint import load
from models.errors import CheckpointError, EarwitnessError, InputError
from models.frontends.mel_if import MelIFConfig
from models.training.data import Augmentation, ClipStore
from models.training.jobs import TrainingOptions, train_model
from models.training.loop import Progress, Trainer, TrainingConfig
from models.training.vqvae2_task import VQVAE2Task
from models.vqvae2 import VQVAE2Config, VQVAE2System


def clip_store(samples: int, n: int = 12) -> ClipStore:
    time = torch.arange(samples) / 16_000
    pitches = torch.linspace(200, 2000, n)
    pcm = (torch.sin(2 * math.pi * pitches[:, None] * time) * 12_000).to(torch.int16)
    names = tuple(f"tone-{i}" for i in range(n))
    return ClipStore(pcm, names, torch.arange(n) % 2, ({"root_name": "tones"},), 16_000)


def tiny_task() -> VQVAE2Task:
    frontend = MelIFConfig(n_fft=256, hop_length=64, n_samples=1920, n_frames=32)
    config = VQVAE2Config(channels=16, codebook_size=16, codebook_dim=8, codebook_delay=3)
    clips = clip_store(1920)
    return VQVAE2Task(
        config,
        frontend,
        training=clips,
        validation=clips,
        seed=1,
        batch_size=4,
        augmentation=Augmentation(),
    )


def trainer(folder: Path, task: VQVAE2Task | None = None, **options: object) -> Trainer:
    config = TrainingConfig(steps=12, warmup_steps=2, log_every=1, validate_every=5, save_every_s=1e9)
    return Trainer(task or tiny_task(), config, folder, **options)  # type: ignore[arg-type]


def log_of(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "elapsed_s"} for line in lines]


def stop_after(steps: int) -> Callable[[], bool]:
    left = iter(range(steps, -1, -1))
    return lambda: next(left) == 1


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = tiny_task()
    assert trainer(tmp_path / "whole", whole).run().finished
    halves = trainer(tmp_path / "halves", stop=stop_after(7)).run()
    assert (halves.step, halves.finished) == (7, False)
    second = tiny_task()
    outcome = trainer(tmp_path / "halves", second, resume=True).run()
    assert (outcome.step, outcome.finished) == (12, True)
    assert log_of(tmp_path / "halves") == log_of(tmp_path / "whole")
    ours, theirs = second.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert bool(second.network.codebook_top.ready)


def test_another_seed_cannot_go_on(tmp_path: Path) -> None:
    trainer(tmp_path, stop=stop_after(2)).run()
    with pytest.raises(InputError, match="has seed 0, asked to go on with 5"):
        Trainer(tiny_task(), TrainingConfig(steps=12, seed=5), tmp_path, resume=True)


def test_lines_after_the_saved_step_are_dropped(tmp_path: Path) -> None:
    trainer(tmp_path, stop=stop_after(4)).run()
    with (tmp_path / "loss.jsonl").open("a") as handle:
        handle.write('{"step": 9, "total": 1.0}\n{"step": 10, "tot')
    trainer(tmp_path, resume=True).run()
    assert [line["step"] for line in log_of(tmp_path)] == list(range(1, 13))


def test_progress_and_saves_are_reported(tmp_path: Path) -> None:
    reports: list[Progress] = []
    saves: list[int] = []
    trainer(tmp_path, progress=reports.append, saved=lambda step, losses: saves.append(step)).run()
    assert [r.step for r in reports] == list(range(1, 13))
    assert saves == [12]
    assert all(r.steps_per_s > 0 and r.left_s >= 0 for r in reports)
    assert reports[-1].validation is not None
    assert reports[-1].left_s == 0


def test_minutes_end_the_run(tmp_path: Path) -> None:
    config = TrainingConfig(minutes=0.01, log_every=1)
    outcome = Trainer(tiny_task(), config, tmp_path).run()
    assert outcome.finished
    assert outcome.elapsed_s >= 0.6


def test_an_old_run_is_not_overwritten(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    with pytest.raises(InputError, match="resume"):
        trainer(tmp_path)


def test_bad_states_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no training state"):
        trainer(tmp_path, resume=True)
    (tmp_path / "state.pt").write_bytes(b"PK not really")
    with pytest.raises(CheckpointError, match="not a state"):
        trainer(tmp_path, resume=True)
    torch.save({"network": {}}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="not a state"):
        trainer(tmp_path, resume=True)
    torch.save(nn.Linear(1, 1), tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="not a state") as caught:
        trainer(tmp_path, resume=True)
    assert "\n" not in str(caught.value)


class Diverging:
    """A task whose loss is not a number."""

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1)

    def step_loss(self, step: int) -> tuple[torch.Tensor, Callable[[], dict[str, float]]]:
        return self.network(torch.zeros(1, 1)).sum() / 0.0 * 0.0, dict

    def validate(self) -> dict[str, float]:
        return {}


def test_divergence_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EarwitnessError, match="the loss of step 0 is nan"):
        Trainer(Diverging(), TrainingConfig(steps=3), tmp_path).run()


@pytest.mark.parametrize("bad", [{}, {"steps": 1, "minutes": 1.0}, {"steps": 0}, {"minutes": -1.0}])
def test_length_must_be_given_once(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        TrainingConfig(**bad)  # type: ignore[arg-type]


def test_a_job_ends_in_a_checkpoint_that_loads(tmp_path: Path) -> None:
    options = TrainingOptions(
        "vqvae2", (), tmp_path / "out", steps=2, width=16, batch_size=2, device="cpu", validation_share=0.2
    )
    train_model(options, store=clip_store(64_000))
    folder = tmp_path / "out" / "checkpoint"
    card = load(folder, name="vqvae2", frontend_sha256=MelIFConfig().sha256()).card
    assert (card["step"], card["trained_on"]) == (2, [{"root_name": "tones"}])
    assert card["losses"]["validation"]["total"] > 0
    VQVAE2System(checkpoint=folder)
