import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import save
from models.errors import CheckpointError, InputError
from models.frontends.mel import log_mel
from models.idea_model import (
    RECIPE,
    IdeaConfig,
    IdeaModel,
    IdeaNetwork,
    IdeaTask,
    IdeaTraining,
    Passages,
    integrate,
    time_features,
)
from models.training.data import ClipStore
from models.training.task import TaskContext
from models.vocoder import vocoder_frontend
from tests.signals import noise, tone

RATE_HZ = 22_050
SMALL = IdeaConfig(
    n_mels=32,
    columns=16,
    widths=(16, 32),
    embedding=16,
    heads=2,
    least_frames=32,
    most_frames=96,
    centre=-3.0,
    span=1.5,
    steps=3,
)


def network(config: IdeaConfig = SMALL, *, stirred: bool = True) -> IdeaNetwork:
    """With weights that say something in every layer; those of the last ones start at zero."""
    torch.manual_seed(0)
    made = IdeaNetwork(config)
    if stirred:
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return made.requires_grad_(False).train(False)


def store(clips: int = 3) -> ClipStore:
    samples = 100 * 256
    seconds = samples / RATE_HZ + 0.1
    rows = [tone(440.0, seconds, RATE_HZ), tone(1500.0, seconds, RATE_HZ), noise(seconds, RATE_HZ)][:clips]
    fade = torch.linspace(1.0, 0.05, samples)
    pcm = torch.stack([torch.as_tensor(row)[:samples].float() * fade * 0.3 for row in rows]) * 32767.0
    return ClipStore(pcm.to(torch.int16), ("a", "b", "c")[:clips], torch.zeros(clips, dtype=torch.long), (), RATE_HZ)


def task(**settings: float) -> IdeaTask:
    made = dataclasses.replace(IdeaTraining(), **settings)  # type: ignore[arg-type]  # fields of several kinds
    frontend = vocoder_frontend(SMALL.n_mels)
    return IdeaTask(TaskContext(SMALL, frontend, made, store(), store(), 3, torch.device("cpu"), bfloat16=False))


def write_checkpoint(folder: Path, made: IdeaNetwork | None = None, **card: object) -> Path:
    frontend = vocoder_frontend(SMALL.n_mels)
    facts: dict[str, object] = {
        "name": "idea",
        "config": dataclasses.asdict(SMALL),
        "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
    }
    save(folder, (made or network()).state_dict(), {**facts, **card})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> IdeaModel:
    return IdeaModel(checkpoint=write_checkpoint(tmp_path_factory.mktemp("idea")))


def test_size_of_the_shipped_network() -> None:
    assert sum(p.numel() for p in IdeaNetwork(IdeaConfig()).parameters()) == 1_555_161


def test_velocities_have_the_shapes_of_what_moves() -> None:
    speed, speed_factor = network()(torch.randn(2, 32, 16), torch.randn(2), torch.rand(2))
    assert speed.shape == (2, 32, 16)
    assert speed_factor.shape == (2,)


def test_patches_go_back_where_they_came_from() -> None:
    made = network()
    cut: list[Tensor] = []
    made.input.register_forward_hook(lambda _layer, given, _out: cut.append(given[0]))
    # Where the last layer gives what the first one got, cutting and putting together undo each other.
    made.output.register_forward_hook(lambda _layer, _given, _out: cut[0])
    picture = torch.randn(2, 32, 16)
    out, _ = made(picture, torch.zeros(2), torch.zeros(2))
    assert cut[0].shape == (2, 8, 16, 4)
    assert torch.equal(out, picture)


def test_picture_factor_and_time_all_matter() -> None:
    made = network()
    picture, factor, time = torch.randn(1, 32, 16), torch.randn(1), torch.rand(1)
    before = made(picture, factor, time)
    for changed in (
        made(picture + 0.1, factor, time),
        made(picture, factor + 1.0, time),
        made(picture, factor, time / 2),
    ):
        assert not torch.allclose(changed[0], before[0])
        assert not torch.allclose(changed[1], before[1])


def test_bands_are_told_apart() -> None:
    even = network()(torch.zeros(1, 32, 16), torch.zeros(1), torch.full((1,), 0.5))[0]
    # Away from the upper and lower edge only the learned map of bands can make rows differ.
    assert float(even[0, 10:22, 8].std()) > 1e-3


def test_times_between_zero_and_one_have_different_features() -> None:
    features = time_features(torch.linspace(0.0, 1.0, 50), 16)
    distance = torch.cdist(features, features) + 9.0 * torch.eye(50)
    assert float(distance.min()) > 1e-3


def test_sampler_finds_a_normal_distribution() -> None:
    """The flow from N(0, 1) to N(m, s) has a known velocity, and takes z to m + s z."""
    mean, spread = 1.5, 0.3

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        t = time[:, None]
        variance = (1.0 - t) ** 2 + (t * spread) ** 2
        pull = (t * spread**2 - (1.0 - t)) / variance
        return mean + pull * (x - t * mean)

    z = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    wanted = mean + spread * z
    errors = [float((integrate(velocity, z, steps) - wanted).abs().max()) for steps in (4, 16, 64)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_sampler_of_one_step_goes_straight() -> None:
    x = torch.randn(3, 2)
    assert torch.equal(integrate(lambda x, t: torch.full_like(x, 2.0), x, 1), x + 2.0)


def test_passages_keep_lengths_levels_and_silence() -> None:
    passages = Passages(store(), SMALL)
    rows = torch.arange(3).repeat(40)
    pictures, factors = passages.draw(rows, torch.Generator().manual_seed(2))
    assert pictures.shape == (120, 32, 16)
    lengths = (factors * SMALL.columns).tolist()
    assert set(lengths) == {32.0, 64.0, 96.0}
    assert float(pictures.min()) >= SMALL.floor
    # A whole passage of a clip is the mean of its columns.
    mel = log_mel(store().waveforms(torch.tensor([2])), vocoder_frontend(32))
    loudest = pictures[rows == 2].mean((1, 2))
    assert float((loudest - mel.mean()).abs().mean()) < 0.4


def test_gain_moves_the_level_alone() -> None:
    passages = Passages(store(), SMALL)
    rows = torch.tensor([2])
    plain, factor = passages.draw(rows, torch.Generator().manual_seed(4))
    moved, same = passages.draw(rows, torch.Generator().manual_seed(4), gain_db=6.0)
    assert torch.equal(factor, same)
    gap = (moved - plain)[plain > SMALL.floor + 0.5]
    assert float(gap.std()) < 0.02
    assert 0.0 < abs(float(gap.mean())) <= 0.3 + 1e-6


def test_short_clips_are_refused() -> None:
    short = dataclasses.replace(SMALL, most_frames=128)
    with pytest.raises(InputError, match="clips have 100 frames, the longest passage 128"):
        Passages(store(), short)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (12,)}, "multiples of 8"),
        ({"n_mels": 30}, "n_mels must be a multiple of 4"),
        ({"least_frames": 8}, "columns <= least_frames"),
        ({"grain_frames": 48}, "multiples of 48"),
        ({"heads": 5}, "heads must divide"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]  # fields of several kinds


def test_few_steps_lower_the_loss() -> None:
    made = task(batch_size=8, average=0.9)
    (part,) = made.parts().values()
    optimiser = torch.optim.AdamW(part.parameters, 5e-3)
    reports = []
    for step in range(60):
        for _, loss in made.losses(step):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
        reports.append(made.report()["picture"])
    assert sum(reports[-10:]) < 0.75 * sum(reports[:10])
    with torch.no_grad():
        assert made.validate()["picture"] < 0.7 * sum(reports[:5]) / 5


def test_average_follows_the_network() -> None:
    made = task(average=0.5)
    for _ in made.losses(0):
        for parameter in made.network.parameters():
            parameter.data += 1.0
    gaps = [
        float((mine.detach() - other).abs().mean())
        for mine, other in zip(made.network.parameters(), made.averaged.parameters(), strict=True)
    ]
    # After the first step the average keeps a tenth of itself.
    assert max(abs(gap - 0.1) for gap in gaps) < 1e-5


def test_a_task_repeats_bit_for_bit() -> None:
    values = []
    for _ in range(2):
        made = task(batch_size=2)
        values.append([float(loss.detach()) for step in range(2) for _, loss in made.losses(step)])
    assert values[0] == values[1]


def test_equal_seeds_equal_ideas_whatever_stands_beside_them(model: IdeaModel) -> None:
    pictures, factors = model.sample([4, 5, 6])
    assert pictures.shape == (3, 32, 16)
    for i, seed in enumerate((4, 5, 6)):
        picture, factor = model.sample([seed])
        assert torch.equal(picture[0], pictures[i])
        assert torch.equal(factor[0], factors[i])
    assert not torch.equal(pictures[0], pictures[1])
    assert float(pictures.min()) >= SMALL.floor
    assert model.sample([])[0].shape == (0, 32, 16)


def test_number_of_steps_matters_and_must_be_positive(model: IdeaModel) -> None:
    assert not torch.equal(model.sample([1])[0], model.sample([1], steps=6)[0])
    with pytest.raises(InputError, match="0 steps asked for, need at least 1"):
        model.sample([1], steps=0)


def test_factors_stay_in_a_sensible_range(model: IdeaModel) -> None:
    factors = model.sample(list(range(6)))[1]
    assert float(factors.min()) >= 0.5 * SMALL.least_frames / SMALL.columns
    assert float(factors.max()) <= 1.5 * SMALL.most_frames / SMALL.columns


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    made = network()
    loaded = IdeaModel(checkpoint=write_checkpoint(tmp_path, made))
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, made.state_dict()[name])
    assert loaded.parameters == sum(p.numel() for p in made.parameters())
    assert loaded.describe()["name"] == "idea"


def test_other_front_ends_are_refused(tmp_path: Path) -> None:
    other = vocoder_frontend(80)
    stated = {"settings": other.as_dict(), "sha256": other.sha256()}
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        IdeaModel(checkpoint=write_checkpoint(tmp_path, frontend=stated))
    with pytest.raises(CheckpointError, match="got none"):
        IdeaModel(checkpoint=None)


def test_recipe_reads_clips_that_are_long_enough() -> None:
    frames = round(RECIPE.clip_s * RECIPE.sample_rate_hz) // 256
    assert frames >= RECIPE.config.most_frames


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    on_cpu = IdeaModel(checkpoint=folder).sample([1, 2])[0]
    on_gpu = IdeaModel(checkpoint=folder, device="cuda").sample([1, 2])[0]
    torch.testing.assert_close(on_gpu, on_cpu, atol=1e-2, rtol=1e-2)
