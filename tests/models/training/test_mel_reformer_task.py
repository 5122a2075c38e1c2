import dataclasses
from typing import Any

import pytest
import torch

from models.errors import InputError
from models.mel_reformer import FRONTEND, MelReformer, MelReformerConfig
from models.training.data import ClipStore
from models.training.mel_reformer_task import (
    FLOW_RECIPE,
    GAN_RECIPE,
    RECIPE,
    AdversarialSettings,
    AdversarialTask,
    FlowTask,
    MelReformerSettings,
    MelReformerTask,
    edge_energy,
    shifted_bands,
    small_config,
)
from models.training.task import TaskContext

SMALL_FRONTEND = dataclasses.replace(FRONTEND, n_mels=16)
SIZES: dict[str, Any] = {"n_mels": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "feedforward": 64}
SMALL = dataclasses.replace(small_config(16, 32), window_frames=64, shrink=16, dropout=0.0, **SIZES)
SMALL_FLOW = dataclasses.replace(SMALL, stop=False, objective="flow", flow_steps=4, flow_scale=1.5)
STILL = {"gain_db": 0.0, "band_shift": 0, "batch_size": 2, "input_noise": 0.0, "own_past": 0.0, "cut": 0.0}


def store(clips: int = 2, frames: int = 64) -> ClipStore:
    generator = torch.Generator().manual_seed(3)
    samples = frames * 256
    beats = (torch.arange(samples) % 3000 < 900).float()
    wave = torch.randn(clips, samples, generator=generator) * beats * 0.2
    pcm = (wave.clamp(-1, 1) * 32767).to(torch.int16)
    return ClipStore(pcm, tuple(f"c{i}" for i in range(clips)), torch.zeros(clips, dtype=torch.int64), (), 22_050)


def context(config: MelReformerConfig, settings: MelReformerSettings, clips: ClipStore | None = None) -> TaskContext:
    clips = clips or store()
    return TaskContext(config, SMALL_FRONTEND, settings, clips, clips, 1, torch.device("cpu"), False)


def train(task: MelReformerTask, steps: int, rate: float = 3e-3) -> list[dict[str, float]]:
    optimisers = {name: torch.optim.Adam(part.parameters, rate) for name, part in task.parts().items()}
    reports = []
    for step in range(steps):
        for name, loss in task.losses(step):
            optimisers[name].zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimisers[name].step()
        reports.append(task.report())
    for module in task.modules().values():
        module.train(False)
    return reports


def test_a_few_steps_overfit_two_clips() -> None:
    task = MelReformerTask(context(SMALL, MelReformerSettings(**STILL)))
    reports = train(task, 80)
    assert reports[-1]["l1"] < 0.5 * reports[0]["l1"]
    with torch.no_grad():
        found = task.validate()
    assert found["l1_teacher_forced"] < 0.5 * found["l1_cubic"]


def test_a_few_steps_overfit_free_running_with_a_past_of_its_own() -> None:
    settings = MelReformerSettings(**{**STILL, "input_noise": 0.1, "own_past": 0.5})
    task = MelReformerTask(context(SMALL, settings))
    train(task, 80)
    with torch.no_grad():
        found = task.validate()
    assert found["l1"] < 0.6 * found["l1_cubic"]


def test_a_few_steps_overfit_the_flow() -> None:
    task = FlowTask(context(SMALL_FLOW, MelReformerSettings(**STILL)))
    reports = train(task, 120)
    early = sum(r["squared_error"] for r in reports[:10])
    late = sum(r["squared_error"] for r in reports[-10:])
    assert late < 0.6 * early
    assert reports[-1]["base_l1"] < 0.7 * reports[0]["base_l1"]
    with torch.no_grad():
        found = task.validate()
    assert found["l1"] < 0.8 * found["l1_cubic"]


def test_the_discriminator_learns_before_the_network() -> None:
    settings = AdversarialSettings(**STILL, critic_frames=32, critic_channels=4)
    task = AdversarialTask(context(SMALL, settings))
    first = {k: v.clone() for k, v in task.network.state_dict().items()}
    names = [name for name, loss in task.losses(0) if loss.backward() is None]  # type: ignore[no-untyped-call]
    assert names == ["discriminator", "network"]
    assert all(torch.equal(v, first[k]) for k, v in task.network.state_dict().items())
    reports = train(task, 40, rate=1e-3)
    assert reports[-1]["discriminator"] < reports[0]["discriminator"]
    assert set(task.export()) == set(MelReformer(SMALL).state_dict())
    with pytest.raises(InputError, match="critic_frames"):
        AdversarialTask(context(SMALL, dataclasses.replace(settings, critic_frames=65)))


def test_equal_seeds_take_equal_steps() -> None:
    settings = MelReformerSettings(batch_size=3)
    a, b = (train(MelReformerTask(context(SMALL, settings)), 3) for _ in range(2))
    assert a == b


def test_the_stop_head_learns_where_clips_end() -> None:
    settings = MelReformerSettings(**{**STILL, "cut": 1.0, "batch_size": 8, "stop_weight": 1.0})
    task = MelReformerTask(context(SMALL, settings))
    reports = train(task, 150)
    early = sum(r["stop"] for r in reports[:10])
    assert sum(r["stop"] for r in reports[-10:]) < 0.5 * early


def test_batches_end_where_they_say() -> None:
    task = MelReformerTask(context(SMALL, MelReformerSettings(cut=1.0, batch_size=8)))
    batch = task.batch(0)
    assert batch.mel.shape == (8, 16, 64)
    for mel, length in zip(batch.mel, batch.lengths.tolist(), strict=True):
        assert 1 <= length <= 64
        assert bool((mel[:, length:] == SMALL.floor).all())
    whole = MelReformerTask(context(SMALL, MelReformerSettings(cut=0.0))).batch(0)
    assert set(whole.lengths.tolist()) == {65}


def test_short_clips_are_filled_up_and_no_clips_validate_to_nothing() -> None:
    task = MelReformerTask(context(SMALL, MelReformerSettings(**STILL), store(frames=20)))
    assert bool((task.batch(0).mel[..., 20:] == SMALL.floor).all())
    short = store(clips=0)
    lone = dataclasses.replace(context(SMALL, MelReformerSettings(**STILL)), validation=short)
    assert MelReformerTask(lone).validate() == {}


def test_a_config_of_another_floor_is_refused() -> None:
    with pytest.raises(InputError, match="floor"):
        MelReformerTask(context(dataclasses.replace(SMALL, floor=-11.5), MelReformerSettings()))


def test_bands_move_and_edges_stay() -> None:
    mel = torch.arange(5.0)[:, None].expand(5, 2)
    assert shifted_bands(mel, 2)[:, 0].tolist() == [0, 0, 0, 1, 2]
    assert shifted_bands(mel, -1)[:, 0].tolist() == [1, 2, 3, 4, 4]


def test_blur_lowers_edge_energy() -> None:
    mel = torch.randn(1, 16, 64)
    blurred = torch.nn.functional.avg_pool2d(mel, 3, stride=1)
    assert float(edge_energy(blurred)) < 0.6 * float(edge_energy(mel))


def test_recipes_fit_their_front_end() -> None:
    for recipe in (RECIPE, GAN_RECIPE, FLOW_RECIPE):
        assert recipe.frontend is FRONTEND
        assert recipe.config.floor == pytest.approx(-5.0)
        assert recipe.config.tokens * recipe.config.fold == 512
        assert recipe.clip_s * recipe.sample_rate_hz >= 512 * 256
