import dataclasses
from pathlib import Path

import pytest
import torch

from models.errors import CheckpointError, InputError
from models.frontends.time_resize import stretch
from models.mel_expansion import (
    CubicStretchSystem,
    ExpansionSystem,
    LinearStretchSystem,
    MelReformerFlowSystem,
    MelReformerN8,
    MelReformerSystem,
    NetworkExpander,
    StretchExpander,
)
from models.mel_reformer import FRONTEND, PUBLISHED_FRONTEND
from tests.models.expansion_fakes import SMALL, SMALL_FLOW, FakeVocoder, fake_mel, tiny_network, write_checkpoint
from tests.signals import noise, tone

RATE = 22_050


@pytest.fixture
def expander() -> NetworkExpander:
    return NetworkExpander(tiny_network(), FRONTEND)


@pytest.fixture
def flow() -> NetworkExpander:
    return NetworkExpander(tiny_network(SMALL_FLOW), FRONTEND)


def clips(samples: int) -> torch.Tensor:
    seconds = samples / RATE + 0.01
    rows = [tone(440.0, seconds, RATE)[:samples], noise(seconds, RATE)[:samples]]
    return torch.stack([torch.as_tensor(row, dtype=torch.float32) for row in rows])


@pytest.mark.parametrize("frames", [1, 31, 128, 129, 300])
def test_mels_of_any_length(expander: NetworkExpander, flow: NetworkExpander, frames: int) -> None:
    mel = fake_mel(2, frames)
    for made in (expander, flow, StretchExpander("cubic")):
        out = made.expand(mel)
        assert out.shape == mel.shape
        assert float(out.min()) >= -5.0
        assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("fold", [8, 16, 32, 64])
def test_windows_join_at_every_fold_width(fold: int) -> None:
    config = dataclasses.replace(SMALL, fold=fold, window_frames=256)
    made = NetworkExpander(tiny_network(config), FRONTEND)
    mel = fake_mel(1, 700)
    made.network.head.weight.zero_()
    made.network.head.bias.zero_()
    # A head that adds nothing leaves the stretched condition: no window is missing, doubled or shifted.
    condition = made.condition(mel)
    assert condition.shape[-1] == 22
    base = stretch(condition, 22 * 32, "cubic")[..., :700]
    gap = (made.expand(mel) - base).abs()
    assert float(gap.mean()) < 0.05
    assert float(gap[..., :128].max()) < 1e-5


def test_rows_do_not_depend_on_their_company(expander: NetworkExpander, flow: NetworkExpander) -> None:
    mel = fake_mel(3, 200)
    for made in (expander, flow):
        together = made.expand(mel, seeds=[5, 6, 7])
        for i in range(3):
            assert torch.equal(together[i : i + 1], made.expand(mel[i : i + 1], seeds=[5 + i]))


def test_groups_of_a_device_with_batches(expander: NetworkExpander) -> None:
    mel = fake_mel(3, 200)
    one = expander.expand(mel)
    expander.group = 4
    many = expander.expand(mel)
    torch.testing.assert_close(many, one, rtol=0, atol=1e-4)
    assert torch.equal(expander.expand(mel[:1]), many[:1])


def test_seeds_choose_a_flows_output(flow: NetworkExpander) -> None:
    mel = fake_mel(1, 200)
    assert torch.equal(flow.expand(mel, seeds=[1]), flow.expand(mel, seeds=[1]))
    assert float((flow.expand(mel, seeds=[1]) - flow.expand(mel, seeds=[2])).abs().max()) > 1e-3


def test_a_cold_flow_leaves_nothing_to_the_seeds(flow: NetworkExpander) -> None:
    cold = NetworkExpander(flow.network, FRONTEND, temperature=0.0)
    mel = fake_mel(1, 200)
    assert torch.equal(cold.expand(mel, seeds=[1]), cold.expand(mel, seeds=[2]))
    assert float((cold.expand(mel) - flow.expand(mel)).abs().max()) > 1e-3


def test_only_the_condition_is_seen(expander: NetworkExpander) -> None:
    mel = fake_mel(1, 128)
    shuffled = mel.reshape(1, 128, 4, 32).flip(-1).reshape(1, 128, 128)
    torch.testing.assert_close(expander.expand(mel), expander.expand(shuffled), rtol=0, atol=1e-4)


def test_streaming_gives_the_same_blocks(expander: NetworkExpander, flow: NetworkExpander) -> None:
    mel = fake_mel(1, 300)
    for made in (expander, flow):
        blocks = list(made.stream(made.condition(mel), seeds=[0], frames=300))
        assert {b.shape[-1] for b in blocks[:-1]} == {16}
        assert torch.equal(torch.cat(blocks, -1), made.expand(mel))


def test_caches_change_nothing(expander: NetworkExpander) -> None:
    condition = expander.condition(fake_mel(2, 300))
    fast = torch.cat(list(expander.stream(condition, seeds=[0, 0], frames=300)), -1)
    slow = torch.cat(list(expander.stream(condition, seeds=[0, 0], frames=300, cached=False)), -1)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-4)


def test_teacher_forcing_with_own_output_is_free_running(expander: NetworkExpander) -> None:
    mel = fake_mel(1, 256)
    free = expander.expand(mel)

    class SameCondition(NetworkExpander):
        def condition(self, ignored: torch.Tensor) -> torch.Tensor:
            return expander.condition(mel)

    same = SameCondition(expander.network, FRONTEND)
    # Only where nothing was lifted to the floor is the mel all that the network knows of its own past.
    assert float(free.min()) > -5.0
    torch.testing.assert_close(same.teacher_forced(free), free, rtol=0, atol=1e-3)


def test_the_base_is_what_a_silent_head_leaves(expander: NetworkExpander) -> None:
    mel = fake_mel(2, 300)
    base = expander.base(mel)
    assert float((base - expander.expand(mel)).abs().mean()) > 1e-3
    expander.network.head.weight.zero_()
    expander.network.head.bias.zero_()
    torch.testing.assert_close(expander.expand(mel), base, rtol=0, atol=1e-5)
    bare = NetworkExpander(tiny_network(dataclasses.replace(SMALL, base="none", refine=0)), FRONTEND)
    with pytest.raises(InputError, match="no base"):
        bare.base(mel)


def test_the_stop_head_ends_the_clip(expander: NetworkExpander) -> None:
    condition = expander.condition(fake_mel(1, 256))
    stop = expander.network.stop_head
    stop.weight.zero_()
    stop.bias.copy_(torch.tensor([9.0, 0.0]))
    assert sum(b.shape[-1] for b in expander.stream(condition, seeds=[0])) == 8
    stop.bias.copy_(torch.tensor([-9.0, 0.0]))
    assert sum(b.shape[-1] for b in expander.stream(condition, seeds=[0])) == 256
    with pytest.raises(InputError, match="one clip at a time"):
        list(expander.stream(condition.repeat(2, 1, 1), seeds=[0, 0]))


def test_impossible_mels_are_refused(expander: NetworkExpander, flow: NetworkExpander) -> None:
    with pytest.raises(InputError, match="mel must have shape"):
        expander.expand(torch.zeros(1, 80, 10))
    with pytest.raises(InputError, match="not finite"):
        expander.expand(torch.full((1, 128, 10), float("nan")))
    with pytest.raises(InputError, match="nothing to force"):
        flow.teacher_forced(fake_mel(1, 10))
    with pytest.raises(InputError, match="stands for 1 to 32"):
        list(expander.stream(torch.zeros(1, 128, 1), seeds=[0], frames=33))


@pytest.mark.parametrize("samples", [1, 300, 5_000, 40_001])
def test_clips_of_any_length(tmp_path: Path, samples: int) -> None:
    systems: list[ExpansionSystem] = [
        MelReformerSystem(checkpoint=write_checkpoint(tmp_path / "a"), vocoder=FakeVocoder()),
        LinearStretchSystem(vocoder=FakeVocoder()),
        CubicStretchSystem(vocoder=FakeVocoder()),
    ]
    x = clips(samples)
    for system in systems:
        y = system.reconstruct(x, sample_rate_hz=RATE, seeds=[0, 1])
        assert y.shape == x.shape
        assert torch.equal(y[1:], system.reconstruct(x[1:], sample_rate_hz=RATE, seeds=[1]))
        assert torch.equal(y, system.reconstruct(x, sample_rate_hz=RATE, seeds=[0, 1]))
        assert system.reconstruct(x[:0], sample_rate_hz=RATE, seeds=[]).shape == (0, samples)
        assert system.codes(x, sample_rate_hz=RATE) == {}


def test_frames_match_the_vocoders(tmp_path: Path) -> None:
    system = LinearStretchSystem(vocoder=FakeVocoder())
    assert system.mel(clips(256 * 40)).shape == (2, 128, 40)
    assert system.mel(clips(256 * 40 + 1)).shape == (2, 128, 41)
    assert system.mel(clips(1)).shape == (2, 128, 2)


def test_a_checkpoint_survives_the_disk(tmp_path: Path) -> None:
    system = MelReformerSystem(checkpoint=write_checkpoint(tmp_path / "a"), vocoder=FakeVocoder())
    mel = fake_mel(1, 100)
    assert torch.equal(system.expand(mel), NetworkExpander(tiny_network(), FRONTEND).expand(mel))
    told = system.describe()
    assert told["name"] == "mel_reformer"
    assert told["vocoder"] == {"name": "fake"}
    assert told["parameters"] == system.parameters > 1000
    n8 = MelReformerN8(checkpoint=write_checkpoint(tmp_path / "b", "mel_reformer_n8"))
    assert torch.equal(n8.expand(mel), system.expand(mel))
    assert n8.describe()["name"] == "mel_reformer_n8"
    flow = MelReformerFlowSystem(
        checkpoint=write_checkpoint(tmp_path / "c", "mel_reformer_flow", SMALL_FLOW), vocoder=FakeVocoder()
    )
    assert flow.expand(mel).shape == mel.shape


def test_wrong_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        MelReformerSystem(checkpoint=None, vocoder=FakeVocoder())
    other = write_checkpoint(tmp_path / "a", frontend={"settings": {}, "sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        MelReformerSystem(checkpoint=other, vocoder=FakeVocoder())
    with pytest.raises(CheckpointError, match="need 'mel_reformer_flow'"):
        MelReformerFlowSystem(checkpoint=write_checkpoint(tmp_path / "b"), vocoder=FakeVocoder())
    published = {"settings": PUBLISHED_FRONTEND.as_dict(), "sha256": PUBLISHED_FRONTEND.sha256()}
    with pytest.raises(CheckpointError, match="use a vocoder of the same front end"):
        MelReformerSystem(checkpoint=write_checkpoint(tmp_path / "c", frontend=published), vocoder=FakeVocoder())
    fitting = FakeVocoder(PUBLISHED_FRONTEND)
    assert MelReformerSystem(checkpoint=tmp_path / "c", vocoder=fitting).frontend == PUBLISHED_FRONTEND
    with pytest.raises(InputError, match="has no weights"):
        LinearStretchSystem(checkpoint=tmp_path, vocoder=FakeVocoder())


def test_wrong_waveforms_are_refused() -> None:
    system = LinearStretchSystem(vocoder=FakeVocoder())
    with pytest.raises(InputError, match="22050"):
        system.reconstruct(clips(1000), sample_rate_hz=16_000, seeds=[0, 1])
    with pytest.raises(InputError, match="not finite"):
        system.reconstruct(clips(1000) * float("nan"), sample_rate_hz=RATE, seeds=[0, 1])
