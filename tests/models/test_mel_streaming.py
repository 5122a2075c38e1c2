import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.errors import InputError
from models.mel_expansion import MelReformerFlowSystem, MelReformerSystem
from models.mel_streaming import measure_streaming, stream_clip
from tests.models.expansion_fakes import SMALL_FLOW, FakeVocoder, fake_mel, write_checkpoint


@pytest.fixture
def system(tmp_path: Path) -> MelReformerSystem:
    return MelReformerSystem(checkpoint=write_checkpoint(tmp_path), vocoder=FakeVocoder())


@pytest.fixture
def flow(tmp_path: Path) -> MelReformerSystem:
    folder = write_checkpoint(tmp_path / "flow", "mel_reformer_flow", SMALL_FLOW)
    return MelReformerFlowSystem(checkpoint=folder, vocoder=FakeVocoder())


@pytest.mark.parametrize("frames", [1, 15, 16, 128, 300])
def test_chunks_join_to_the_audio_of_the_whole(system: MelReformerSystem, flow: MelReformerSystem, frames: int) -> None:
    mel = fake_mel(1, frames)
    for made in (system, flow):
        chunks = list(stream_clip(made, made.expander.condition(mel), seeds=[0], frames=frames))
        whole = made.vocoder.vocode(made.expand(mel))
        torch.testing.assert_close(torch.cat(chunks, 1), whole, rtol=0, atol=1e-5)


def test_rows_stream_together(system: MelReformerSystem) -> None:
    mel = fake_mel(3, 200)
    joined = torch.cat(list(stream_clip(system, system.expander.condition(mel), seeds=[0, 0, 0], frames=200)), 1)
    torch.testing.assert_close(joined, system.vocoder.vocode(system.expand(mel)), rtol=0, atol=1e-4)


def test_audio_comes_before_the_mel_is_written(system: MelReformerSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    blocks = system.network_expander.network.blocks

    def watched(*arguments: object, **options: object) -> Iterator[object]:
        for block in blocks(*arguments, **options):  # type: ignore[arg-type]
            written.append(block)
            yield block

    monkeypatch.setattr(system.network_expander.network, "blocks", watched)
    first = next(stream_clip(system, system.expander.condition(fake_mel(1, 300)), seeds=[0], frames=300))
    assert len(written) == 1
    assert 0 < first.shape[1] < 16 * 256


def test_the_learned_stop_ends_the_audio(system: MelReformerSystem) -> None:
    stop = system.network_expander.network.stop_head
    stop.weight.zero_()
    stop.bias.copy_(torch.tensor([9.0, 9.0]))
    condition = system.expander.condition(fake_mel(2, 128))
    assert sum(c.shape[1] for c in stream_clip(system, condition[:1], seeds=[0])) == 16 * 256
    with pytest.raises(InputError, match="one clip at a time"):
        list(stream_clip(system, condition, seeds=[0, 0]))


def test_measured_times_add_up(system: MelReformerSystem) -> None:
    ticks = itertools.count()
    condition = system.expander.condition(fake_mel(1, 160))
    found = measure_streaming(system, condition, frames=160, clock=lambda: next(ticks))
    assert found.chunks == 11
    assert (found.first_audio_s, found.total_s) == (1.0, 11.0)
    assert found.audio_s == pytest.approx(160 * 256 / 22_050)
    assert found.first_chunk_s == pytest.approx(13 * 256 / 22_050)
    assert found.real_time_factor == pytest.approx(11.0 / found.audio_s)
    assert found.least_margin_s < 0
