from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import CheckpointError, InputError
from models.frontends.mel import MelConfig
from models.idea_chain import IdeaChain, passage_frames
from models.mel_expansion import NetworkExpander
from models.mel_reformer import FRONTEND
from models.vocoder import vocoder_frontend
from tests.models.expansion_fakes import FakeVocoder, tiny_network

HOP = 256


class FakeIdea:
    """A ramp along time whose slope and stretch factor follow the seed."""

    parameters = 3

    def __init__(self, frontend: MelConfig = FRONTEND) -> None:
        self.frontend = frontend

    def sample(self, seeds: Sequence[int], steps: int | None = None) -> tuple[Tensor, Tensor]:
        ramp = torch.linspace(-4.0, 0.0, 64).expand(len(seeds), 128, 64)
        slope = torch.tensor([1.0 + 0.1 * seed for seed in seeds])
        return ramp * slope[:, None, None] / 2.0, torch.tensor([2.0 + seed for seed in seeds])

    def describe(self) -> dict[str, object]:
        return {"name": "fake idea"}


class CountedVocoder(FakeVocoder):
    parameters = 4


def chain(idea: FakeIdea | None = None, vocoder: CountedVocoder | None = None) -> IdeaChain:
    expander = NetworkExpander(tiny_network(), FRONTEND)
    return IdeaChain(idea=idea or FakeIdea(), expander=expander, vocoder=vocoder or CountedVocoder())


def test_frames_are_the_nearest_multiple() -> None:
    assert passage_frames(9.0, 64, 32) == 576
    assert passage_frames(9.3, 64, 32) == 608
    assert passage_frames(0.1, 64, 32) == 32


def test_pieces_last_as_long_as_their_factors_say() -> None:
    made = chain()
    pieces = made.generate([0, 1, 3])
    assert [len(piece) for piece in pieces] == [64 * 2 * HOP, 64 * 3 * HOP, 64 * 5 * HOP]
    assert all(bool(torch.isfinite(piece).all()) for piece in pieces)
    assert made.generate([]) == []


def test_a_piece_does_not_depend_on_its_company() -> None:
    made = chain()
    together = made.generate([1, 2])
    assert torch.equal(made.generate([2])[0], together[1])
    assert not torch.equal(together[0], together[1][: len(together[0])])


def test_condition_keeps_the_mean_of_the_idea() -> None:
    made = chain()
    picture = made.ideas([1])[0][0]
    condition, frames = made.condition(picture, 3.0)
    assert condition.shape == (1, 128, 6)
    assert frames == 192
    torch.testing.assert_close(condition.mean(), picture.mean())
    # Time runs on evenly: the ramp stays a ramp.
    steps = condition[0, 0].diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=0.0, rtol=0.01)


def test_more_columns_than_the_idea_has_are_refused() -> None:
    made = chain()
    with pytest.raises(InputError, match="stretch factor is 40, must be at most 32"):
        made.condition(made.ideas([1])[0][0], 40.0)


def test_stages_put_together_are_the_whole() -> None:
    made = chain()
    pictures, factors = made.ideas([1])
    condition, frames = made.condition(pictures[0], float(factors[0]))
    mel = made.expand(condition, frames, 1)
    assert mel.shape == (1, 128, frames)
    assert torch.equal(made.vocoder.vocode(mel)[0], made.generate([1])[0])


def test_parts_of_different_front_ends_are_refused() -> None:
    with pytest.raises(CheckpointError, match="front end of the vocoder"):
        chain(vocoder=CountedVocoder(vocoder_frontend(80)))
    with pytest.raises(CheckpointError, match="front end of the expansion"):
        chain(idea=FakeIdea(vocoder_frontend(80)))


def test_no_checkpoint_of_its_own() -> None:
    with pytest.raises(CheckpointError, match="no weights of its own"):
        IdeaChain(checkpoint=Path("somewhere"))


def test_description_names_all_parts() -> None:
    made = chain()
    described = made.describe()
    assert {"idea", "expansion", "vocoder"} <= set(described)
    assert described["parameters"] == made.parameters == 7 + made.expander.parameters
