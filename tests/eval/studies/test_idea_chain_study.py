import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from eval.studies import idea_chain
from eval.studies.base import StudyContext
from eval.studies.idea_chain import (
    STAGES,
    Clock,
    band_gaps_db,
    chain_claims,
    copying,
    copying_table,
    edges_db,
    factor_plot,
    factor_table,
    finish,
    frechet_distance,
    idea_table,
    listen,
    measure,
    passages,
    set_row,
    stage_table,
    time_table,
    wasserstein,
)
from models.idea_chain import IdeaChain
from models.idea_model import IdeaConfig
from models.mel_expansion import NetworkExpander
from models.mel_reformer import FRONTEND
from models.training.data import ClipStore
from tests.models.expansion_fakes import FakeVocoder, fake_mel, tiny_network
from tests.signals import noise

CONFIG = IdeaConfig(least_frames=64, most_frames=192, columns=64)


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_frechet_distance_of_normal_sets() -> None:
    x = white(4000, 3)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(x + torch.tensor([1.0, 2.0, 2.0]), x) == pytest.approx(9.0, abs=1e-6)
    # Equal means, deviations 2 and 1 in each of three dimensions.
    centred = x - x.mean(0)
    assert frechet_distance(2.0 * centred, centred) == pytest.approx(float(centred.var(0).sum()), rel=1e-6)
    assert frechet_distance(x, 3.0 * x) == pytest.approx(frechet_distance(3.0 * x, x), rel=1e-6)
    turned = x * torch.tensor([1.0, 2.0, 3.0]) @ torch.linalg.qr(white(3, 3, seed=2)).Q
    assert frechet_distance(turned, turned + 1.0) == pytest.approx(3.0, abs=1e-6)
    with pytest.raises(ValueError, match="at least two vectors"):
        frechet_distance(x[:1], x)


def test_earth_movers_distance_of_known_sets() -> None:
    assert wasserstein([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]) == 0.0
    assert wasserstein([0.0], [1.0, 3.0]) == pytest.approx(2.0)
    assert wasserstein([0.0, 1.0, 1.0], [0.0, 0.0, 1.0]) == pytest.approx(1.0 / 3.0)
    some = np.random.default_rng(0).normal(size=50)
    assert wasserstein(some + 2.5, some) == pytest.approx(2.5)


def test_steps_and_band_gaps() -> None:
    assert edges_db(torch.tensor([[0.0, 1.0], [0.0, 1.0]])) == 20.0
    x = white(8, 100)
    mean, spread = band_gaps_db([x + 0.5], [x])
    assert mean == pytest.approx(10.0, abs=1e-4)
    assert spread == pytest.approx(0.0, abs=1e-4)
    centred = x - x.mean(1, keepdim=True)
    mean, spread = band_gaps_db([2.0 * centred], [centred])
    assert mean == pytest.approx(0.0, abs=1e-4)
    assert spread == pytest.approx(20.0 * float(centred.std(1).mean()), rel=1e-4)


def test_passages_have_the_lengths_of_training() -> None:
    mels = [fake_mel(1, frames, seed)[0] for seed, frames in enumerate((200, 130, 50))]
    found = passages(mels, ["a", "b", "c"], CONFIG, 20, seed=1)
    assert {p.group for p in found} == {"a", "b"}
    assert {p.mel.shape[1] for p in found if p.group == "a"} == {64, 96, 128, 160, 192}
    assert {p.mel.shape[1] for p in found if p.group == "b"} == {64, 96, 128}
    for p in found:
        assert p.picture.shape == (128, 64)
        assert p.factor * 64 == p.mel.shape[1]
        torch.testing.assert_close(p.picture.mean(), p.mel.mean(), atol=1e-4, rtol=1e-4)


def test_equal_sets_lie_at_no_distance() -> None:
    mels = [fake_mel(1, 100, seed)[0] for seed in range(4)]
    row = set_row("same", mels, mels, 1)
    assert row.cells["frechet"].value == pytest.approx(0.0, abs=1e-3)
    assert row.cells["mean"].value == 0.0
    louder = set_row("louder", [mel + 0.5 for mel in mels], mels, 1)
    # Ten decibels in each of 128 / 8 dimensions.
    assert louder.cells["frechet"].value == pytest.approx(10.0 * math.sqrt(16), rel=1e-3)


def test_a_copy_is_found() -> None:
    pool = torch.stack([fake_mel(1, 64, seed)[0] for seed in range(4)])
    made = torch.stack([pool[2], fake_mel(1, 64, 9)[0]])
    nearest = copying(made, pool)
    assert nearest[0] == 0.0
    assert nearest[1] > 20.0
    assert copying(pool[:1], pool, ["a", "a", "b", "b"], ["a"])[0] > 20.0


def test_copies_break_the_claim() -> None:
    held = [10.0, 12.0]
    assert [claim.met for claim in chain_claims([9.0, 8.0], held, 0.4, 2.0)] == [True, True]
    assert [claim.met for claim in chain_claims([9.0, 1.0], held, 1.4, 2.0)] == [False, False]
    assert len(chain_claims([], [], 0.4, 2.0)) == 1


def test_tables_say_what_is_missing() -> None:
    real = passages([fake_mel(1, 200)[0]], ["a"], CONFIG, 4, seed=1)
    pictures = [p.picture for p in real]
    table, drawn, held = copying_table(pictures, real, [], 1)
    assert (drawn, held) == ([], [])
    assert table.rows[0].cells["nearest"].reason == "no training corpus was given"
    table, drawn, held = copying_table(pictures, real, real, 1)
    assert drawn == [0.0] * 4
    # All passages are of one clip, so there are no others to compare with.
    assert table.rows[2].cells["nearest"].reason == "no values"
    assert [row.label for row in idea_table(pictures, real, [], 1).rows] == [
        "Drawn",
        "Mean held-out picture",
        "Held-out passages",
    ]


def test_factors_against_the_true_ones() -> None:
    true = [1.0, 1.5, 2.0, 2.5, 3.0]
    table = factor_table(true * 8, CONFIG, 1)
    assert table.rows[0].cells["distance"].value == pytest.approx(0.0)
    assert table.rows[2].cells["distance"].value == pytest.approx(0.6)
    plot = factor_plot([2.0, 1.0], CONFIG)
    assert [point.y for point in plot.points if point.group == "drawn"] == [0.25, 0.75]
    assert [point.x for point in plot.points if point.group == "true"] == true


def test_clock_adds_up_and_times_are_per_piece() -> None:
    clock = Clock()
    assert clock("Idea", lambda: 3) == 3
    clock("Idea", lambda: None)
    assert clock.seconds["Idea"] >= 0.0
    table = time_table({"Idea": 8.0, "Expansion": 4.0, "Vocoder": 2.0}, 4, 2, 10.0)
    assert [row.cells["piece"].value for row in table.rows] == [2.0, 2.0, 1.0, 5.0]
    assert [row.cells["second"].value for row in table.rows] == pytest.approx([0.4, 0.4, 0.2, 1.0])


class FakeIdea:
    """Noise of the level of the fake mels, as if drawn."""

    name = "idea"
    parameters = 1
    frontend = FRONTEND
    config = CONFIG
    sample_rate_hz = 22_050

    def sample(self, seeds: Any, steps: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        pictures = torch.stack([fake_mel(1, 64, seed)[0] for seed in seeds])
        return pictures, torch.tensor([1.0 + seed % 3 for seed in seeds])

    def describe(self) -> dict[str, object]:
        return {}


class Vocoder(FakeVocoder):
    parameters = 2


def chain() -> IdeaChain:
    return IdeaChain(idea=FakeIdea(), expander=NetworkExpander(tiny_network(), FRONTEND), vocoder=Vocoder())


def test_stages_are_kept_apart() -> None:
    made, clock = chain(), Clock()
    pictures, factors = made.ideas([1, 2])
    finished = finish(made, list(zip(pictures, factors.tolist(), strict=True)), 1, clock)
    assert [mel.shape for mel in finished.written] == [(128, 128), (128, 192)]
    assert [mel.shape for mel in finished.stretched] == [mel.shape for mel in finished.heard]
    assert finished.seconds == pytest.approx(320 * 256 / 22_050)
    assert set(clock.seconds) == set(STAGES) - {"Idea"}
    real = passages([fake_mel(1, 200)[0]], ["a"], CONFIG, 4, seed=1)
    table = stage_table(finished, finished, [p.mel for p in real], [p.mel for p in real], 1)
    assert table.rows[0].cells["frechet"].value == pytest.approx(0.0, abs=1e-3)
    assert all(row.cells["frechet"].value is not None for row in table.rows)


def context(training: tuple[Path, ...] = ()) -> StudyContext:
    class Context(StudyContext):
        def load(self, name: str) -> Any:
            parts = {
                "idea": FakeIdea(),
                "melgan": Vocoder(),
                "mel_reformer": SimpleNamespace(expander=NetworkExpander(tiny_network(), FRONTEND)),
            }
            return parts[name]

        def clips(self, which: str, limit: int | None = None) -> list[Any]:
            assert which == "music"
            rows = [0.3 * noise(200 * 256 / 22_050, 22_050, seed=i).astype(np.float32) for i in range(4)]
            return [(SimpleNamespace(clip_id=str(i), group=f"work {i}"), row) for i, row in enumerate(rows)]

    return Context(1, "cpu", Path("notes"), Path("music"), training, {}, lambda text: None)


def test_the_whole_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idea_chain, "_AUDIBLE", 2)
    monkeypatch.setattr(idea_chain, "_PIECES", 4)
    pcm = (3000.0 * white(3, 200 * 256)).to(torch.int16)
    store = ClipStore(pcm, ("x", "y", "z"), torch.zeros(3, dtype=torch.long), (), 22_050)
    monkeypatch.setattr(idea_chain, "read_clips", lambda folders, **settings: store)
    measured = measure(context((Path("corpus"),)))
    assert len(measured.tables) == 5
    assert len(measured.claims) == 2
    assert len(measure(context()).claims) == 1


def test_listening_rows_are_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idea_chain, "_HEARD", 2)
    rows = listen(context())
    assert [row.id for row in rows] == ["piece_1", "piece_2"]
    assert all(row.labels["sound"] == "generated from noise" for row in rows)
    assert len(rows[0].tracks[0].waveform) == round(float(rows[0].labels["length_s"]) * 22_050 / 256) * 256
