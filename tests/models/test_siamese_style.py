import dataclasses
from pathlib import Path

import pytest
import torch

from models.checkpoint import load
from models.errors import CheckpointError, InputError
from models.frontends.mel import log_mel
from models.siamese_style import (
    FRONTEND,
    RECIPE,
    SiameseConfig,
    SiameseStyle,
    SiameseTask,
    SiameseTraining,
    StyleEncoder,
    contrastive_loss,
    pairwise_distance,
)
from models.training.loop import Trainer, TrainingConfig
from models.training.task import TaskContext
from tests.models.style_fakes import RATE_HZ, SMALL_SIAMESE, siamese_checkpoint, sound, store


def task(seed: int = 0, **settings: float) -> SiameseTask:
    chosen = SiameseTraining(batch_size=8, learning_rate=3e-3, warmup_steps=0, samples=16_384, **settings)  # type: ignore[arg-type]
    clips = store()
    return SiameseTask(
        TaskContext(SMALL_SIAMESE, FRONTEND, chosen, clips, clips, seed, torch.device("cpu"), bfloat16=False)
    )


def test_size() -> None:
    assert sum(p.numel() for p in StyleEncoder(SiameseConfig()).parameters()) == 373_440
    assert RECIPE.frontend.sha256() == FRONTEND.sha256()
    assert FRONTEND.n_mels == RECIPE.config.n_mels == 128


def test_contrastive_loss_of_known_distances() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    # One pair alike at distance 1; the others at 0.5 and the root of 1.25, both within the margin.
    loss = contrastive_loss(points, torch.tensor([0, 0, 1]), 2.0)
    expected = 0.5 + 0.5 * (0.5 * 1.5**2 + 0.5 * (2 - 1.25**0.5) ** 2)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_gradient_is_finite_for_equal_vectors() -> None:
    points = torch.zeros(3, 4, requires_grad=True)
    contrastive_loss(points, torch.tensor([0, 0, 1]), 2.0).backward()
    assert torch.isfinite(points.grad).all()


def test_a_clip_has_one_vector_whenever_it_sounds() -> None:
    torch.manual_seed(0)
    network = StyleEncoder(SMALL_SIAMESE).train(False)
    mel = log_mel(sound("Saw", 220.0, 66_150)[None], FRONTEND)
    assert network(mel).shape == (1, 8)
    # A shift by a multiple of all strides and of the period only moves the statistics by what happens at the ends.
    repeated = torch.cat([mel[..., :128]] * 3, -1)
    shifted = torch.roll(repeated, 64, -1)
    torch.testing.assert_close(network(repeated), network(shifted), atol=0.05, rtol=0.05)


def test_a_few_steps_tell_two_ensembles_apart(tmp_path: Path) -> None:
    made = task()
    with torch.no_grad():
        before = made.validate()["contrastive"]
    Trainer(made, TrainingConfig(steps=40, learning_rate=3e-3, warmup_steps=0), tmp_path / "run").run()
    made.network.train(False)
    with torch.no_grad():
        after = made.validate()
    assert after["contrastive"] < 0.1 * before
    assert after["alike_told"] == after["unlike_told"] == 1.0


def test_batches_are_balanced_and_repeat() -> None:
    made = task()
    waveform, groups = made.batch(3)
    assert waveform.shape == (8, 16_384)
    assert groups.tolist().count(0) == groups.tolist().count(1) == 4
    again, _ = task().batch(3)
    assert torch.equal(waveform, again)
    assert not torch.equal(waveform, task(seed=1).batch(3)[0])


def test_one_ensemble_is_not_enough() -> None:
    clips = store()
    same = dataclasses.replace(clips, labels=tuple({"ensemble": "Flute"} for _ in clips.labels))
    context = TaskContext(SMALL_SIAMESE, FRONTEND, SiameseTraining(), same, same, 0, torch.device("cpu"), False)
    with pytest.raises(InputError, match="one ensemble"):
        SiameseTask(context)
    with pytest.raises(InputError, match="multiple of 4"):
        SiameseTraining(batch_size=6)


def test_saved_model_gives_the_same_vectors(tmp_path: Path) -> None:
    folder = siamese_checkpoint(tmp_path / "a")
    model = SiameseStyle(checkpoint=folder)
    clips = torch.stack([sound("Saw", 220.0, 30_000), sound("Flute", 330.0, 30_000)])
    vectors = model.embed(clips, sample_rate_hz=RATE_HZ)
    assert vectors.shape == (2, 8)
    assert torch.equal(vectors[1:], model.embed(clips[1:], sample_rate_hz=RATE_HZ))
    network = StyleEncoder(SMALL_SIAMESE)
    network.load_state_dict(load(folder, name="siamese_style").tensors)
    torch.testing.assert_close(network(log_mel(clips, FRONTEND)).detach(), vectors, atol=1e-5, rtol=1e-5)
    assert model.describe()["parameters"] == model.parameters == sum(p.numel() for p in network.parameters())


def test_vectors_are_differentiable_down_to_the_samples(tmp_path: Path) -> None:
    model = SiameseStyle(checkpoint=siamese_checkpoint(tmp_path / "a"))
    wave = sound("Saw", 220.0, 20_000)[None].requires_grad_(True)
    model.features(wave).square().sum().backward()
    assert torch.isfinite(wave.grad).all()
    assert float(wave.grad.abs().max()) > 0


@pytest.mark.parametrize("samples", [1, 400, 9_000])
def test_any_length_has_a_vector(tmp_path: Path, samples: int) -> None:
    model = SiameseStyle(checkpoint=siamese_checkpoint(tmp_path / "a"))
    assert torch.isfinite(model.embed(torch.full((1, samples), 0.1), sample_rate_hz=RATE_HZ)).all()
    assert model.embed(torch.zeros(0, samples), sample_rate_hz=RATE_HZ).shape == (0, 8)


def test_wrong_input_and_checkpoints_are_refused(tmp_path: Path) -> None:
    model = SiameseStyle(checkpoint=siamese_checkpoint(tmp_path / "a"))
    with pytest.raises(InputError, match="sample rate"):
        model.embed(torch.zeros(1, 9000), sample_rate_hz=16_000)
    with pytest.raises(InputError, match="finite"):
        model.embed(torch.full((1, 9000), float("nan")), sample_rate_hz=RATE_HZ)
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        SiameseStyle(checkpoint=siamese_checkpoint(tmp_path / "b", frontend={"sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        SiameseStyle(checkpoint=None)


def test_distances_of_one_row_are_zero() -> None:
    assert float(pairwise_distance(torch.ones(1, 3))) == pytest.approx(1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(tmp_path: Path) -> None:
    folder = siamese_checkpoint(tmp_path / "a")
    clip = sound("Saw", 220.0, 30_000)[None]
    ours = SiameseStyle(checkpoint=folder).embed(clip, sample_rate_hz=RATE_HZ)
    theirs = SiameseStyle(checkpoint=folder, device="cuda").embed(clip, sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(ours, theirs.cpu(), atol=1e-3, rtol=1e-3)
