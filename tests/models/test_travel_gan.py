from pathlib import Path

import pytest
import torch

from models.checkpoint import load_weights
from models.errors import CheckpointError, CorpusError, InputError
from models.training.loop import Trainer, TrainingConfig
from models.training.task import TaskContext
from models.travel_gan import (
    FRONTEND,
    Critic,
    Generator,
    Siamese,
    TravelConfig,
    TravelGAN,
    TravelTask,
    TravelTraining,
    converted,
    margin_loss,
    scaled,
    travel_loss,
    unscaled,
)
from tests.models.style_fakes import RATE_HZ, SMALL_TRAVEL, sound, store, travel_checkpoint

PUBLISHED = TravelConfig(n_mels=192, generator_channels=256, siamese_channels=256, critic_channels=512, embedding=128)


def size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def task(config: TravelConfig = SMALL_TRAVEL, seed: int = 0, **settings: float) -> TravelTask:
    chosen = TravelTraining(batch_size=4, learning_rate=2e-3, warmup_steps=0, **settings)  # type: ignore[arg-type]
    clips = store()
    return TravelTask(TaskContext(config, FRONTEND, chosen, clips, clips, seed, torch.device("cpu"), bfloat16=False))


def test_sizes() -> None:
    assert (size(Generator(PUBLISHED)), size(Siamese(PUBLISHED)), size(Critic(PUBLISHED))) == (
        2_934_785,
        1_394_304,
        4_498_433,
    )
    assert size(Generator(TravelConfig())) == 440_065


def test_travel_loss_is_zero_if_and_only_if_differences_are_kept() -> None:
    source = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert float(travel_loss(source, source + torch.tensor([3.0, -1.0, 0.0, 2.0, 9.0]))) == pytest.approx(0, abs=1e-5)
    assert float(travel_loss(source, 1.5 * source)) > 0.1
    assert float(travel_loss(source, -source)) > 2.0
    # A map onto one point keeps no difference.
    assert float(travel_loss(source, torch.zeros_like(source))) > 1.0


def test_margin_loss_of_known_distances() -> None:
    points = torch.tensor([[0.0], [1.0], [5.0]])
    assert float(margin_loss(points, 2.0)) == pytest.approx(1.0 / 3.0, abs=1e-4)
    assert float(margin_loss(5.0 * points, 2.0)) == 0.0


def test_scaling_reaches_the_floor_and_comes_back() -> None:
    config = TravelConfig()
    mel = torch.tensor([-5.0, -3.0, 0.0, 1.5, 4.0])
    picture = scaled(mel, config)
    assert picture.tolist() == pytest.approx([-0.95, -0.3654, 0.5115, 0.95, 0.95], abs=1e-3)
    torch.testing.assert_close(unscaled(picture, config), mel.clamp_max(1.5))
    # All that a tanh can give is a mel that the front end could have given.
    assert float(unscaled(torch.tensor(-1.0), config)) == -5.0


def test_generator_output_lies_in_range_and_pieces_are_apart() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL_TRAVEL).train(False)
    picture = 2.0 * torch.rand(2, 128, 72) - 1.0
    out = converted(generator, picture, 24).detach()
    assert out.shape == picture.shape
    assert float(out.abs().max()) < 1.0
    changed = picture.clone()
    changed[..., 48:] = 0.0
    other = converted(generator, changed, 24)
    torch.testing.assert_close(out[..., :48], other[..., :48])
    assert not torch.allclose(out[..., 48:], other[..., 48:])
    torch.testing.assert_close(out[..., 24:48], generator(picture[..., 24:48]))


def test_siamese_gives_one_vector_a_piece() -> None:
    assert Siamese(SMALL_TRAVEL)(torch.randn(3, 128, 24)).shape == (3, 8)
    assert Critic(SMALL_TRAVEL)(torch.randn(3, 128, 72)).shape == (3,)


def test_both_steps_see_the_same_source_and_target() -> None:
    made = task()
    source, target = made.excerpts("source", 5), made.excerpts("target", 5)
    assert source.shape == (4, 128, 72)
    seen = []
    made.critic.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach()))
    into = []
    made.generator.register_forward_pre_hook(lambda _module, given: into.append(given[0].detach()))
    steps = [name for name, _ in made.losses(5)]
    assert steps == ["critic", "generator"]
    assert torch.equal(seen[0], target)
    assert torch.equal(seen[1], seen[2])
    pieces = source.reshape(4, 128, 3, 24).transpose(1, 2).reshape(12, 128, 24)
    assert torch.equal(into[0][:12], pieces)
    # Flutes are the source: without partials, the upper bands lie on the floor.
    assert float(source[:, 110:].mean()) < float(target[:, 110:].mean()) - 0.2


def test_a_few_steps_learn_to_convert_and_keep_differences(tmp_path: Path) -> None:
    made = task()
    for module in made.modules().values():
        module.train(False)
    with torch.no_grad():
        before = made.validate()
    start = TravelTask(made.context)
    list(start.losses(0))
    Trainer(made, TrainingConfig(steps=30, learning_rate=2e-3, warmup_steps=0), tmp_path / "run").run()
    for module in made.modules().values():
        module.train(False)
    with torch.no_grad():
        after = made.validate()
    assert after["travel"] < 0.5 * before["travel"]
    assert after["gap_after"] < 0.5 * after["gap_before"]
    # Pieces of the target come back as they are.
    assert made.report()["identity"] < 0.95 * start.report()["identity"]


def test_exported_generator_is_the_trained_one(tmp_path: Path) -> None:
    made = task()
    for _, loss in made.losses(0):
        loss.backward()
    plain = Generator(SMALL_TRAVEL)
    load_weights(plain, made.export(), tmp_path)
    picture = 2.0 * torch.rand(2, 128, 24) - 1.0
    made.generator.train(False)
    torch.testing.assert_close(plain.train(False)(picture), made.generator(picture), atol=1e-5, rtol=1e-4)


def test_seeds_repeat() -> None:
    first, second, other = task(), task(), task(seed=1)
    losses = [[float(loss.detach()) for _, loss in t.losses(2)] for t in (first, second, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.parametrize("samples", [1, 6144, 20_001])
def test_rows_and_lengths(tmp_path: Path, samples: int) -> None:
    model = TravelGAN(checkpoint=travel_checkpoint(tmp_path / "a"))
    clips = torch.stack([sound("Flute", 220.0, samples), sound("Flute", 330.0, samples)])
    mel = model.convert(clips, sample_rate_hz=RATE_HZ)
    assert mel.shape == (2, 128, -(-samples // 256))
    assert float(mel.min()) >= -5.0
    assert torch.equal(mel[1:], model.convert(clips[1:], sample_rate_hz=RATE_HZ))
    assert model.convert(clips[:0], sample_rate_hz=RATE_HZ).shape[0] == 0


def test_missing_domains_and_wrong_input_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="target ensembles Oboe"):
        task(TravelConfig(source=("Flute",), target=("Oboe",)))
    with pytest.raises(ValueError, match="no ensemble twice"):
        TravelConfig(source=("Flute",), target=("Flute",))
    with pytest.raises(InputError, match="at least 2"):
        TravelTraining(batch_size=1)
    model = TravelGAN(checkpoint=travel_checkpoint(tmp_path / "a"))
    with pytest.raises(InputError, match="sample rate"):
        model.convert(torch.zeros(1, 9000), sample_rate_hz=16_000)
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        TravelGAN(checkpoint=travel_checkpoint(tmp_path / "b", frontend={"sha256": "0" * 64}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(tmp_path: Path) -> None:
    folder = travel_checkpoint(tmp_path / "a")
    clip = sound("Flute", 220.0, 30_000)[None]
    ours = TravelGAN(checkpoint=folder).convert(clip, sample_rate_hz=RATE_HZ)
    theirs = TravelGAN(checkpoint=folder, device="cuda").convert(clip, sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
