import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import registry
from models.checkpoint import load
from models.errors import CheckpointError, CorpusError, EarwitnessError, InputError, OutputError
from models.frontends.mel_if import MelIFConfig
from models.training.data import ClipStore
from models.training.jobs import TrainingOptions, loss_curve, train_model
from models.training.loop import Progress, Trainer, TrainingConfig
from models.training.task import Part, TaskContext
from models.training.vqvae2_task import RECIPE, VQVAE2Task, VQVAE2Training
from models.vqvae2 import VQVAE2Config, VQVAE2System

ROOT = Path(__file__).resolve().parents[3]


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
    settings = VQVAE2Training(batch_size=4)
    return VQVAE2Task(TaskContext(config, frontend, settings, clips, clips, 1, torch.device("cpu"), False))


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
    trainer(tmp_path, progress=reports.append, saved=lambda outcome: saves.append(outcome.step)).run()
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


class Plain:
    """A task of two networks that takes its losses from a function of the step."""

    def __init__(self, loss: Callable[[int, Tensor], Tensor] = lambda step, x: x) -> None:
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        self.loss, self.order = loss, list[str]()

    def modules(self) -> Mapping[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    def parts(self) -> Mapping[str, Part]:
        return {
            "one": Part(list(self.first.parameters()), learning_rate=1e-2, clip_norm=None, schedule="constant"),
            "two": Part(list(self.second.parameters())),
        }

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        x = torch.ones(2, 4)
        before = self.first.weight.detach().clone()
        yield "one", self.loss(step, self.first(x).square().mean())
        # The first part has taken its step by now.
        self.order.append("moved" if not torch.equal(before, self.first.weight) else "still")
        yield "two", (self.second(self.first(x).detach()) - 1).square().mean()

    def report(self) -> dict[str, float]:
        return {"weight": float(self.second[0].weight.detach().sum())}

    def validate(self) -> dict[str, float]:
        return {}

    def export(self) -> dict[str, Tensor]:
        return self.first.state_dict()


def test_parts_take_their_steps_in_turn(tmp_path: Path) -> None:
    task = Plain()
    Trainer(task, TrainingConfig(steps=3, warmup_steps=0), tmp_path).run()
    assert task.order == ["moved"] * 3


def test_dropout_repeats_after_a_resumption(tmp_path: Path) -> None:
    config = TrainingConfig(steps=9, log_every=1)
    Trainer(Plain(), config, tmp_path / "whole").run()
    Trainer(Plain(), config, tmp_path / "halves", stop=stop_after(4)).run()
    torch.manual_seed(77)
    Trainer(Plain(), config, tmp_path / "halves", resume=True).run()
    assert log_of(tmp_path / "halves") == log_of(tmp_path / "whole")


def test_divergence_is_an_error_and_the_last_state_survives(tmp_path: Path) -> None:
    config = TrainingConfig(steps=9, save_every_s=0.0)
    task = Plain(lambda step, x: x * (float("nan") if step == 5 else 1.0))
    with pytest.raises(EarwitnessError, match=r"the one loss of step 5 is nan; .* --set learning_rate") as caught:
        Trainer(task, config, tmp_path).run()
    assert "\n" not in str(caught.value)
    assert Trainer(Plain(), config, tmp_path, resume=True).step == 5


def test_a_full_disk_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig(steps=4, save_every_s=0.0)
    Trainer(Plain(), config, tmp_path, stop=stop_after(2)).run()
    good = (tmp_path / "state.pt").read_bytes()

    def full(value: object, path: Path) -> None:
        path.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="step 3 cannot be saved: no space left on device; the one before is whole"):
        Trainer(Plain(), config, tmp_path, resume=True).run()
    assert (tmp_path / "state.pt").read_bytes() == good
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loss.jsonl", "state.pt"]


@pytest.mark.parametrize("bad", [{}, {"steps": 1, "minutes": 1.0}, {"steps": 0}, {"minutes": -1.0}])
def test_length_must_be_given_once(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        TrainingConfig(**bad)  # type: ignore[arg-type]


def options(folder: Path, **changes: object) -> TrainingOptions:
    given: dict[str, object] = {
        "steps": 2,
        "device": "cpu",
        "validation_share": 0.2,
        "changes": {"channels": "16", "batch_size": "2"},
        **changes,
    }
    return TrainingOptions("vqvae2", (), folder, **given)  # type: ignore[arg-type]


def test_a_job_ends_in_a_checkpoint_that_loads(tmp_path: Path) -> None:
    store = clip_store(64_000)
    train_model(options(tmp_path / "out"), store=store)
    folder = tmp_path / "out" / "checkpoint"
    card = load(folder, name="vqvae2", frontend_sha256=MelIFConfig().sha256()).card
    assert (card["step"], card["trained_on"]) == (2, [{"root_name": "tones"}])
    assert card["config"]["channels"] == 16
    assert card["losses"]["validation"]["total"] > 0
    assert [line["step"] for line in card["losses"]["curve"]] == [2]
    assert card["seconds"] > 0
    assert len(card["code"]["models_sha256"]) == 64
    VQVAE2System(checkpoint=folder)
    train_model(options(tmp_path / "next", init=folder, steps=1), store=store)
    started = load(tmp_path / "next" / "checkpoint", name="vqvae2").card["training"]["init"]
    assert started == {"name": "vqvae2", "tensors_sha256": card["tensors_sha256"], "step": 2}


def test_weights_of_another_size_are_no_start(tmp_path: Path) -> None:
    train_model(options(tmp_path / "out", steps=1), store=clip_store(64_000))
    other = options(tmp_path / "next", init=tmp_path / "out" / "checkpoint", changes={"channels": "32"})
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        train_model(other, store=clip_store(64_000))
    assert "\n" not in str(caught.value)


def test_fresh_codebooks_are_used_from_the_first_step(tmp_path: Path) -> None:
    train_model(options(tmp_path / "out"), store=clip_store(64_000))
    changes = {"channels": "16", "batch_size": "2", "fresh_codebooks": "4"}
    start = tmp_path / "out" / "checkpoint"
    train_model(options(tmp_path / "next", init=start, changes=changes, steps=1), store=clip_store(64_000))
    assert bool(load(tmp_path / "next" / "checkpoint", name="vqvae2").tensors["codebook_top.ready"])


def test_frozen_codes_stay_while_the_decoder_learns(tmp_path: Path) -> None:
    store = clip_store(64_000)
    train_model(options(tmp_path / "out"), store=store)
    start = tmp_path / "out" / "checkpoint"
    changes = {"channels": "16", "batch_size": "2", "fresh_codebooks": "4", "frozen_codes": "true"}
    train_model(options(tmp_path / "one", init=start, changes=changes, steps=1), store=store)
    train_model(options(tmp_path / "more", init=start, changes=changes, steps=4), store=store)
    before, after = (VQVAE2System(checkpoint=tmp_path / run / "checkpoint") for run in ("one", "more"))
    assert before.codes_sha256 == after.codes_sha256
    assert before.card["tensors_sha256"] != after.card["tensors_sha256"]
    assert before.codes_sha256 != VQVAE2System(checkpoint=start).codes_sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wings": "2"}, "there is no setting 'wings'; known: .*batch_size"),
        ({"channels": "many"}, "--set channels=many: need a value like 128"),
        ({"batch_size": "0"}, "batch_size and learning_rate must be above 0"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        train_model(options(tmp_path / "out", changes=changes), store=clip_store(64_000))


def test_missing_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needy = dataclasses.replace(RECIPE, labels=("pitch",))
    monkeypatch.setattr(registry, "recipe", lambda name: needy)
    store = dataclasses.replace(clip_store(64_000), labels=({"pitch": 60},) * 5 + ({"velocity": 1},) * 7)
    with pytest.raises(CorpusError, match="clip 'tone-5': has no label 'pitch'"):
        train_model(options(tmp_path / "out"), store=store)


def test_the_curve_in_the_card_is_thinned_to_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "loss.jsonl"
    log.write_text("".join(json.dumps({"step": i, "total": 1 / 3}) + "\n" for i in range(1, 1002)))
    curve = loss_curve(log)
    assert len(curve) <= 200
    assert curve[-1] == {"step": 1001, "total": 0.33333}
    assert loss_curve(tmp_path / "none") == []


@pytest.mark.parametrize("name", [line.name for line in registry.MODELS.values() if line.trainer])
def test_every_recipe_is_whole(name: str) -> None:
    recipe = registry.recipe(name)
    assert len(recipe.frontend.sha256()) == 64
    assert recipe.sample_rate_hz > 0
    assert recipe.clip_s > 0
    json.dumps([dataclasses.asdict(recipe.config), dataclasses.asdict(recipe.settings), recipe.frontend.as_dict()])


WORKER = """
import sys, torch
from pathlib import Path
from models.training.distributed import Group
from models.training.loop import Trainer, TrainingConfig
sys.path.insert(0, {tests!r})
from test_loop import Plain
group = Group("cpu")
task = Plain(lambda step, x: x * (group.rank + 1))
outcome = Trainer(task, TrainingConfig(steps=4, warmup_steps=0), Path({folder!r}), group=group).run()
torch.save(task.first.weight.detach(), {folder!r} + f"/rank{{group.rank}}.pt")
group.close()
"""


def test_two_processes_learn_the_same(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    run = tmp_path / "run"
    script.write_text(WORKER.format(tests=str(Path(__file__).parent), folder=str(run)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [torch.load(run / f"rank{i}.pt", weights_only=True) for i in (0, 1)]
    assert torch.equal(*ranks)
    alone = Plain(lambda step, x: x * 1.5)
    Trainer(alone, TrainingConfig(steps=4, warmup_steps=0), tmp_path / "alone").run()
    torch.testing.assert_close(ranks[0], alone.first.weight.detach(), rtol=1e-4, atol=1e-6)
