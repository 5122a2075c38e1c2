import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from models import melgan
from models.errors import CheckpointError, InputError
from models.melgan import (
    CONTEXT_FRAMES,
    RECIPE,
    Discriminator,
    FastGenerator,
    Generator,
    MelGANConfig,
    MelGANSystem,
    MultiScaleDiscriminator,
    plain_forward,
)
from tests.models.vocoder_checks import RATE_HZ, task, train, waveforms, write_checkpoint

SMALL = MelGANConfig(n_mels=20, base_channels=4, discriminator_channels=16, mel_centre=-2.0, mel_range=1.5)


def seeded(config: MelGANConfig = SMALL, *, normed: bool = False) -> Generator:
    torch.manual_seed(1)
    return Generator(config, normed=normed).train(False)


def mels(rows: int, frames: int, n_mels: int = 20) -> torch.Tensor:
    return torch.randn(rows, n_mels, frames, generator=torch.Generator().manual_seed(2)) - 2.0


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("melgan"), "melgan", SMALL, seeded().state_dict())


@pytest.fixture(scope="module")
def system(folder: Path) -> MelGANSystem:
    return MelGANSystem(checkpoint=folder, level_rounds=0)


@pytest.mark.parametrize(
    ("n_mels", "normed", "parameters"),
    [(80, False, 4_260_257), (80, True, 4_266_050), (128, False, 4_432_289), (128, True, 4_438_082)],
)
def test_published_generator(n_mels: int, normed: bool, parameters: int) -> None:
    assert count(Generator(MelGANConfig(n_mels=n_mels), normed=normed)) == parameters


def test_published_discriminators() -> None:
    judges = MultiScaleDiscriminator(MelGANConfig())
    assert [count(scale) for scale in judges.scales] == 3 * [5_641_362]


def test_shapes() -> None:
    made = seeded()(mels(2, 32))
    assert made.shape == (2, 8192)
    maps = MultiScaleDiscriminator(SMALL)(made, mels(2, 32))
    assert [len(scale) for scale in maps] == [7, 7, 7]
    assert [scale[-1].shape[-1] for scale in maps] == [32, 16, 8]
    assert [m.shape[1] for m in maps[0]] == [16, 16, 16, 16, 16, 16, 1]


def test_condition_reaches_the_scores() -> None:
    judges = MultiScaleDiscriminator(dataclasses.replace(SMALL, conditioned=True))
    waveform = waveforms(4096)[:1]
    one, other = judges(waveform, mels(1, 16)), judges(waveform, mels(1, 16) + 1.0)
    assert all(not torch.equal(a[-1], b[-1]) for a, b in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="needs the mel"):
        Discriminator(dataclasses.replace(SMALL, conditioned=True))(waveform[:, None, None])


def test_drawing_weights_after_weight_norm_has_no_effect() -> None:
    layer = weight_norm(nn.Conv1d(3, 5, 3))
    before = layer(torch.ones(1, 3, 8))
    layer.weight.data.normal_(0.0, 0.02)
    assert torch.equal(layer(torch.ones(1, 3, 8)), before)


def test_weight_norm_can_be_taken_away_and_put_back() -> None:
    normed, plain, again = seeded(normed=True), seeded(), Generator(SMALL, normed=True)
    plain.load_state_dict(normed.plain_state())
    again.load_plain_state(plain.state_dict())
    mel = mels(1, 16)
    assert torch.allclose(plain(mel), normed(mel), atol=1e-6)
    assert torch.allclose(again(mel), normed(mel), atol=1e-6)
    with pytest.raises(RuntimeError, match="other tensors"):
        again.load_plain_state({})


@pytest.mark.parametrize("frames", [4, 50, 105])
def test_quick_ways_agree_with_the_published_layers(frames: int) -> None:
    generator, mel = seeded(), mels(2, frames)
    with torch.no_grad():
        expected = plain_forward(generator, mel)
        assert torch.allclose(generator(mel), expected, atol=1e-5)
        assert torch.allclose(FastGenerator(generator, piece_frames=32)(mel), expected, atol=1e-5)


def test_half_precision_is_within_its_tolerance() -> None:
    generator, mel = seeded(), mels(1, 64)
    with torch.no_grad():
        expected = plain_forward(generator, mel)
        error = FastGenerator(generator, dtype=torch.bfloat16)(mel) - expected
    assert float(error.square().mean()) < 0.03**2 * float(expected.square().mean())


def test_a_sample_depends_on_the_stated_frames() -> None:
    generator, mel = seeded().double(), mels(1, 31).double()
    changed = mel.clone()
    changed[:, :, 15] += 1.0
    with torch.no_grad():
        differs = torch.nonzero((generator(changed) - generator(mel))[0].abs() > 1e-12)[:, 0] // 256
    reach = max(15 - int(differs.min()), int(differs.max()) - 15)
    assert reach == CONTEXT_FRAMES


def test_a_steady_mel_gives_a_waveform_that_repeats_every_frame() -> None:
    with torch.no_grad():
        made = seeded().double()(mels(1, 1).double().expand(-1, -1, 32))[0].reshape(32, 256)
    assert torch.allclose(made[10], made[20], atol=1e-9)


def test_losses_are_the_published_ones() -> None:
    real = [[torch.full((1, 2, 1, 4), 1.0)] * 6 + [torch.full((1, 1, 1, 4), 0.4)]] * 3
    fake = [[torch.full((1, 2, 1, 4), 3.0)] * 6 + [torch.full((1, 1, 1, 4), -0.2)]] * 3
    assert float(melgan.discriminator_loss(real, fake)) == pytest.approx(3 * (0.6 + 0.8))
    assert float(melgan.generator_loss(fake)) == pytest.approx(3 * 0.2)
    assert float(melgan.feature_loss(real, fake)) == pytest.approx(3 * 6 * 2.0 * 0.8 / 3)


def test_a_few_steps_learn_a_batch() -> None:
    made = task(
        RECIPE,
        n_mels=40,
        base_channels=8,
        discriminator_channels=16,
        batch_size=2,
        segment_samples=2048,
        gain_low=1.0,
        adversarial_from=39,
    )
    reports = train(made, 40, 5e-3)
    assert reports[38]["spectral"] < 0.6 * reports[0]["spectral"]
    assert set(reports[0]) == {"loss", "spectral"}
    assert set(reports[39]) == {"loss", "spectral", "discriminator", "scores", "features"}
    assert made.validate()["spectral"] > 0


def test_published_settings_are_the_defaults() -> None:
    settings = melgan.VocoderTraining()
    assert (settings.batch_size, settings.learning_rate, settings.beta1, settings.beta2) == (16, 1e-4, 0.5, 0.9)
    assert (settings.segment_samples, settings.feature_weight, settings.spectral_weight) == (8192, 10.0, 0.0)
    with pytest.raises(InputError, match="nothing to learn"):
        melgan.VocoderTraining(adversarial_from=-1)


def test_front_end_follows_the_bands() -> None:
    assert RECIPE.changed({"n_mels": "80"}).frontend.n_mels == 80


def test_export_fits_the_system(tmp_path: Path) -> None:
    made = task(RECIPE, n_mels=20, base_channels=4, discriminator_channels=16, adversarial_from=-1)
    half = {k: v.half() if v.ndim > 1 else v for k, v in made.export().items()}
    config = made.context.config  # type: ignore[attr-defined]  # a vocoder's task has it
    assert MelGANSystem(checkpoint=write_checkpoint(tmp_path, "melgan", config, half)).parameters == count(
        seeded(config)
    )


@pytest.mark.parametrize("samples", [1, 255, 4097])
def test_any_length_comes_back(system: MelGANSystem, samples: int) -> None:
    x = waveforms(samples)
    assert system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[0, 1, 2]).shape == x.shape


def test_a_row_does_not_depend_on_the_others(system: MelGANSystem) -> None:
    x = waveforms(5000)
    together = system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[0, 1, 2])
    for i in range(3):
        assert torch.equal(system.reconstruct(x[i : i + 1], sample_rate_hz=RATE_HZ, seeds=[7]), together[i : i + 1])


@pytest.mark.parametrize("sizes", [(40,), (1, 3, 20, 16), (9, 9, 9, 9, 4)])
def test_blocks_come_out_as_the_whole(system: MelGANSystem, sizes: tuple[int, ...]) -> None:
    mel = mels(2, 40)
    whole = system.vocode(mel)
    blocks = list(system.stream(mel.split(sizes, 2)))
    assert torch.allclose(torch.cat(blocks, 1), whole, atol=1e-5)
    assert whole.shape == (2, 40 * 256)


def test_levels_are_moved_towards_the_mel(folder: Path, system: MelGANSystem) -> None:
    x = waveforms(16_384)[2:]
    mel = system.mel(x)
    gaps = [
        float((system.mel(MelGANSystem(checkpoint=folder, level_rounds=n).vocode(mel)) - mel).abs().mean())
        for n in (0, 4)
    ]
    assert gaps[1] < 0.5 * gaps[0]


def test_bad_input_is_refused(system: MelGANSystem, folder: Path) -> None:
    with pytest.raises(InputError, match="mel must have shape"):
        system.vocode(torch.zeros(1, 21, 8))
    with pytest.raises(InputError, match="not finite"):
        system.vocode(torch.full((1, 20, 8), float("nan")))
    with pytest.raises(InputError, match="22050 Hz"):
        system.reconstruct(waveforms(500), sample_rate_hz=16_000, seeds=[0, 1, 2])
    with pytest.raises(InputError, match="precision"):
        MelGANSystem(checkpoint=folder, fast=False, precision="bfloat16")


def test_another_front_end_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "melgan", SMALL, seeded().state_dict(), frontend={"sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        MelGANSystem(checkpoint=folder)


def test_card_is_told(system: MelGANSystem) -> None:
    told = system.describe()
    assert told["parameters"] == count(seeded())
    assert system.codes(waveforms(500), sample_rate_hz=RATE_HZ) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(system: MelGANSystem, folder: Path) -> None:
    mel = mels(2, 40)
    there = MelGANSystem(checkpoint=folder, device="cuda", level_rounds=0).vocode(mel)
    assert torch.allclose(there, system.vocode(mel), atol=1e-3)
