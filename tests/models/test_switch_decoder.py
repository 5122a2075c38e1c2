import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from models import registry, switch_decoder
from models.checkpoint import save
from models.errors import CheckpointError, InputError
from models.switch_decoder import (
    FACTORS,
    FirstModel,
    SwitchConfig,
    SwitchGenerator,
    SwitchTask,
    build_decoder,
    chosen_rows,
    excerpt_starts,
    memorise,
    reconstruction_loss,
    shuffle_channels,
    shuffle_grid,
    switch_pairs,
)
from models.training.data import ClipStore
from models.training.task import Recipe, TaskContext
from models.vocoder import vocoder_frontend
from tests.signals import noise, tone

RATE_HZ = 22_050
# 32 bands and 64 frames: two songs of two places.
SMALL = SwitchConfig(r=8, songs=2, positions=2, latent=512, width=16, n_mels=32, frames=64)
RECIPES = [line.trainer for line in registry.MODELS.values() if line.name.startswith("switch_")]


def recipe(target: str | None) -> Recipe:
    assert target is not None
    found: Recipe = getattr(switch_decoder, target.partition(":")[2])
    return found


def count(config: SwitchConfig) -> int:
    return sum(p.numel() for p in build_decoder(config).parameters())


def store() -> ClipStore:
    """Three clips of more than a second."""
    samples = 96 * 256
    seconds = samples / RATE_HZ + 0.1
    rows = [tone(440.0, seconds, RATE_HZ), tone(1500.0, seconds, RATE_HZ), noise(seconds, RATE_HZ)]
    fade = torch.linspace(1.0, 0.05, samples)
    pcm = torch.stack([torch.as_tensor(row)[:samples].float() * fade * 0.3 for row in rows]) * 32767.0
    return ClipStore(pcm.to(torch.int16), ("a", "b", "c"), torch.zeros(3, dtype=torch.long), (), RATE_HZ)


def task(config: SwitchConfig, batch_size: int = 4) -> SwitchTask:
    settings = switch_decoder.SwitchTraining(batch_size=batch_size)
    frontend = vocoder_frontend(config.n_mels)
    return SwitchTask(TaskContext(config, frontend, settings, store(), store(), 3, torch.device("cpu"), bfloat16=False))


def write_checkpoint(
    folder: Path, config: SwitchConfig = SMALL, network: nn.Module | None = None, **card: object
) -> Path:
    frontend = vocoder_frontend(config.n_mels)
    torch.manual_seed(0)
    network = network or build_decoder(config)
    facts: dict[str, object] = {
        "name": "switch_r16",
        "config": dataclasses.asdict(config),
        "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
        "memorised": [{"song": 0, "position": 0, "clip_id": "b", "start_sample": 0}],
    }
    save(folder, network.state_dict(), {**facts, **card})
    return folder


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> SwitchGenerator:
    return SwitchGenerator(checkpoint=write_checkpoint(tmp_path_factory.mktemp("switches")))


@pytest.mark.parametrize(
    ("r", "width", "height", "channels"),
    [(2, 256, 64, 4), (4, 128, 32, 16), (8, 64, 16, 64), (16, 32, 8, 256), (32, 16, 4, 1024), (64, 8, 2, 4096)],
)
def test_shuffle_takes_the_square_of_r_channels(r: int, width: int, height: int, channels: int) -> None:
    assert shuffle_channels(r) == channels
    assert shuffle_grid(r) == (height, width)
    assert channels * height * width == 128 * 512
    network = build_decoder(recipe(f":RECIPE_R{r}").config)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[-1].out_channels == channels


def test_shuffle_puts_channels_side_by_side() -> None:
    r = 4
    channels = torch.arange(r * r, dtype=torch.float32)[None, :, None, None].expand(1, r * r, 2, 3)
    picture = nn.PixelShuffle(r)(channels)[0, 0]
    assert picture.shape == (2 * r, 3 * r)
    torch.testing.assert_close(picture[:r, :r], torch.arange(16.0).reshape(4, 4))
    torch.testing.assert_close(picture[r:, 2 * r :], torch.arange(16.0).reshape(4, 4))


def test_a_factor_must_divide_both_sides() -> None:
    with pytest.raises(ValueError, match="must divide"):
        shuffle_grid(256)
    with pytest.raises(ValueError, match="power of two"):
        SwitchConfig(r=12)
    with pytest.raises(ValueError, match="decoder must be one of"):
        SwitchConfig(decoder="linear")
    with pytest.raises(ValueError, match="latent must be a multiple of 256"):
        SwitchConfig(latent=1000)


def test_variants_have_equally_many_parameters() -> None:
    sizes = {
        made.config.decoder + str(made.config.r): count(made.config)
        for made in map(recipe, RECIPES)
        if made.config.decoder != "first"
    }
    assert len(sizes) == 8
    assert max(sizes.values()) <= 1.01 * min(sizes.values()), sizes
    # As float16, beside its card, within a megabyte and a half.
    assert 2 * max(sizes.values()) < 1.5e6


def test_recipes_remember_64_excerpts_of_the_published_size() -> None:
    for made in map(recipe, RECIPES):
        assert made.config.songs * made.config.positions == 64
        assert (made.config.n_mels, made.config.frames) == (128, 512)


@pytest.mark.parametrize("name", [line.name for line in registry.MODELS.values() if line.name.startswith("switch_")])
def test_table_and_classes_agree(name: str) -> None:
    line = registry.entry(name)
    made = getattr(switch_decoder, line.target.partition(":")[2])
    assert (made.name, made.title, line.kind) == (name, line.title, "generator")
    config = recipe(line.trainer).config
    wanted = name.removeprefix("switch_")
    assert wanted in (f"r{config.r}", config.decoder)


@pytest.mark.parametrize("r", FACTORS)
def test_every_factor_makes_a_whole_spectrogram(r: int) -> None:
    config = SwitchConfig(r=r, songs=2, latent=16_384, width=16, groups=4 if r > 16 else 1)
    assert build_decoder(config)(torch.ones(1, config.n_switches)).shape == (1, 128, 512)


@pytest.mark.parametrize("decoder", ["transposed", "resize", "first"])
def test_other_decoders_make_a_whole_spectrogram(decoder: str) -> None:
    config = SwitchConfig(decoder=decoder, songs=2, latent=256, width=8)
    assert build_decoder(config)(torch.ones(1, config.n_switches)).shape == (1, 128, 512)


def test_doublings_fill_the_gap_between_small_maps_and_shuffle() -> None:
    assert [SwitchConfig(r=r).doublings for r in FACTORS] == [3, 2, 1, 0, 0, 0]
    assert SwitchConfig(decoder="resize").doublings == 4
    assert SwitchConfig(r=64).map_size == (2, 8)


def test_first_model_writes_one_number_nearly_everywhere() -> None:
    config = SwitchConfig(decoder="first", songs=4)
    torch.manual_seed(0)
    network = FirstModel(config)
    written = network(torch.eye(config.n_switches))
    varying = (written - written[:1]).abs().amax(0) > 0
    assert int(varying.sum()) <= 4
    rest = written[:, ~varying]
    torch.testing.assert_close(rest, rest[:1, :1].expand_as(rest))


def test_pairs_turn_on_one_song_and_one_position() -> None:
    switches = switch_pairs(SMALL)
    assert switches.tolist() == [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]]


def test_songs_are_chosen_by_name_alone() -> None:
    names = [f"clip {i}" for i in range(40)]
    chosen = {names[i] for i in chosen_rows(names, 8)}
    backwards = names[::-1]
    assert {backwards[i] for i in chosen_rows(backwards, 8)} == chosen
    with pytest.raises(InputError, match="41 song switches need as many training clips, got 40"):
        chosen_rows(names, 41)


def test_positions_are_spread_over_the_clip() -> None:
    assert excerpt_starts(SMALL, 96 * 256, 256) == (0, 32 * 256)
    assert excerpt_starts(dataclasses.replace(SMALL, positions=1), 96 * 256, 256) == (0,)
    with pytest.raises(InputError, match="shorter than excerpts of 16384"):
        excerpt_starts(SMALL, 63 * 256, 256)


def test_targets_and_their_labels() -> None:
    found = memorise(store(), SMALL, vocoder_frontend(32))
    assert found.targets.shape == (4, 32, 64)
    assert [(label["song"], label["position"], label["start_sample"]) for label in found.labels] == [
        (0, 0, 0),
        (0, 1, 8192),
        (1, 0, 0),
        (1, 1, 8192),
    ]
    assert len({label["pcm_sha256"] for label in found.labels}) == 4


def test_loss_counts_only_what_is_above_a_silent_target() -> None:
    target = torch.tensor([-5.0, -5.0, -2.0])
    assert float(reconstruction_loss(torch.tensor([-9.0, -4.0, -2.5]), target, -5.0)) == pytest.approx(1.5 / 3)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        dataclasses.replace(SMALL, r=2),
        dataclasses.replace(SMALL, r=16),
        dataclasses.replace(SMALL, r=32, groups=2),
        dataclasses.replace(SMALL, decoder="transposed", latent=256),
        dataclasses.replace(SMALL, decoder="resize", latent=256),
    ],
    ids=["r8", "r2", "r16", "r32", "transposed", "resize"],
)
def test_few_steps_learn_four_excerpts_by_heart(config: SwitchConfig) -> None:
    made = task(config)
    (part,) = made.parts().values()
    optimiser = torch.optim.AdamW(part.parameters, 4e-3, betas=part.betas, weight_decay=0.0)
    errors = []
    for step in range(80):
        for _, loss in made.losses(step):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
        errors.append(made.report()["to_mean_spectrogram"])
    assert min(errors[-10:]) < 0.5 < errors[0]


def test_first_model_does_not_learn() -> None:
    made = task(dataclasses.replace(SMALL, decoder="first"))
    (part,) = made.parts().values()
    optimiser = torch.optim.AdamW(part.parameters, 4e-3)
    for step in range(60):
        for _, loss in made.losses(step):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
    # Worse than the mean spectrogram, which nobody had to learn.
    with torch.no_grad():
        assert made.validate()["learned_to_mean_spectrogram"] > 1.0


def test_every_round_sees_every_excerpt_once() -> None:
    made = task(SMALL, batch_size=2)
    for first in (0, 2, 8):
        seen = torch.cat([made.rows(first), made.rows(first + 1)])
        assert sorted(seen.tolist()) == [0, 1, 2, 3]


def test_a_task_repeats_bit_for_bit() -> None:
    values = []
    for _ in range(2):
        made = task(SMALL)
        values.append([float(loss.detach()) for step in range(3) for _, loss in made.losses(step)])
    assert values[0] == values[1]


def test_rows_do_not_depend_on_each_other(generator: SwitchGenerator) -> None:
    switches = torch.rand(3, generator.config.n_switches, generator=torch.Generator().manual_seed(1))
    together = generator.spectrogram(switches)
    for i in range(3):
        assert torch.equal(generator.spectrogram(switches[i : i + 1])[0], together[i])
    assert generator.spectrogram(switches[:0]).shape == (0, 32, 64)
    assert float(together.min()) >= -5.0


def test_a_blend_lies_between_its_ends(generator: SwitchGenerator) -> None:
    one, other = generator.switches(0, 0), generator.switches(1, 1)
    assert torch.equal(generator.blend((0, 0), (1, 1), 0.0), one)
    assert torch.equal(generator.blend((0, 0), (1, 1), 1.0), other)
    assert torch.equal(generator.blend((0, 0), (1, 1), 0.5), 0.5 * (one + other))


def test_bad_switches_are_refused(generator: SwitchGenerator) -> None:
    with pytest.raises(InputError, match=r"shape \(batch, 4\), got \(1, 3\)"):
        generator.spectrogram(torch.zeros(1, 3))
    with pytest.raises(InputError, match="not finite"):
        generator.spectrogram(torch.full((1, 4), float("nan")))
    with pytest.raises(InputError, match="song 2 is unknown, there are 0 to 1"):
        generator.switches(2, 0)


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = build_decoder(SMALL)
    made = SwitchGenerator(checkpoint=write_checkpoint(tmp_path, network=network))
    switches = switch_pairs(SMALL)
    with torch.no_grad():
        wanted = torch.cat([network(row[None]) for row in switches]).clamp_min(-5.0)
    assert torch.equal(made.spectrogram(switches), wanted)
    assert made.parameters == sum(p.numel() for p in network.parameters())
    assert made.memorised[0]["clip_id"] == "b"
    assert made.describe()["parameters"] == made.parameters


def test_other_front_ends_and_names_are_refused(tmp_path: Path) -> None:
    other = vocoder_frontend(80)
    stated = {"settings": other.as_dict(), "sha256": other.sha256()}
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        SwitchGenerator(checkpoint=write_checkpoint(tmp_path / "a", frontend=stated))
    with pytest.raises(CheckpointError, match="name is 'switch_r2'"):
        SwitchGenerator(checkpoint=write_checkpoint(tmp_path / "b", name="switch_r2"))
    with pytest.raises(CheckpointError, match="got none"):
        SwitchGenerator(checkpoint=None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    switches = switch_pairs(SMALL)
    on_cpu = SwitchGenerator(checkpoint=folder).spectrogram(switches)
    on_gpu = SwitchGenerator(checkpoint=folder, device="cuda").spectrogram(switches)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-3, rtol=1e-3)
