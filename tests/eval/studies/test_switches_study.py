import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from eval.studies import switches
from eval.studies.base import StudyContext
from eval.studies.switches import (
    BOTH,
    FADE_AUDIO,
    FADE_MEL,
    HALF,
    Remembrance,
    blend_pairs,
    blend_table,
    checkerboard_db,
    grid_table,
    l1_db,
    listen,
    make_blends,
    measure,
    measure_memory,
    memory_claims,
    memory_plot,
    memory_table,
    nearest_db,
    remembered,
    sharpness,
)
from models.checkpoint import save
from models.errors import CorpusError
from models.frontends.mel import log_mel
from models.switch_decoder import SwitchConfig, SwitchGenerator, build_decoder, memorise, switch_pairs
from models.training.data import ClipStore
from models.vocoder import vocoder_frontend
from tests.models.expansion_fakes import FakeVocoder
from tests.signals import noise, tone

RATE_HZ = 22_050
SMALL = SwitchConfig(r=8, songs=3, positions=2, latent=1024, width=16, n_mels=32, frames=64)
FRONTEND = vocoder_frontend(32)


def store() -> ClipStore:
    samples = 80 * 256
    seconds = samples / RATE_HZ + 0.1
    tones = [tone(f, seconds, RATE_HZ) for f in (220.0, 1500.0, 4000.0)]
    rows = [torch.as_tensor(row)[:samples].float() for row in (*tones, noise(seconds, RATE_HZ))]
    fade = torch.linspace(1.0, 0.05, samples)
    pcm = torch.stack([row * fade * 0.3 for row in rows]) * 32767.0
    return ClipStore(pcm.to(torch.int16), ("a", "b", "c", "d"), torch.zeros(4, dtype=torch.long), (), RATE_HZ)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SwitchGenerator:
    folder = tmp_path_factory.mktemp("switches")
    torch.manual_seed(0)
    facts: dict[str, object] = {
        "name": "switch_r16",
        "config": dataclasses.asdict(SMALL),
        "frontend": {"settings": FRONTEND.as_dict(), "sha256": FRONTEND.sha256()},
        "memorised": list(memorise(store(), SMALL, FRONTEND).labels),
        "step": 7,
        "seconds": 1.5,
    }
    save(folder, build_decoder(SMALL).state_dict(), facts)
    return SwitchGenerator(checkpoint=folder)


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("period", [2, 4, 8, 16, 32, 64])
def test_noise_has_no_grid(period: int) -> None:
    assert abs(checkerboard_db(white(32, 128, 512), period)) < 1.0


@pytest.mark.parametrize("period", [2, 4, 8, 16, 32, 64])
def test_a_grid_shows_at_its_own_period(period: int) -> None:
    cell = white(period, period, seed=1)
    cell -= cell.mean()
    grid = cell.repeat(128 // period, 512 // period)
    residual = white(32, 128, 512) + grid
    assert checkerboard_db(residual, period) > 5.0
    # What repeats every few cells also repeats every few times as many, less strongly beside noise.
    if period < 64:
        assert 3.0 < checkerboard_db(residual, 2 * period) < checkerboard_db(residual, period)


def test_checkerboard_of_known_strength() -> None:
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(512), indexing="ij")
    board = (1.0 - 2.0 * ((rows + columns) % 2)).float()
    # Along either axis of n cells a line of the board has power a^2 n^2 at the last frequency, noise has n there.
    amplitude = 0.1
    found = checkerboard_db(white(64, 128, 512) + amplitude * board, 2)
    wanted = [10.0 * math.log10(1.0 + amplitude**2 * n) for n in (128, 512)]
    assert found == pytest.approx(sum(wanted) / 2, abs=0.4)


def test_impossible_periods_are_refused() -> None:
    for period in (1, 3, 128):
        with pytest.raises(ValueError, match="period must be"):
            checkerboard_db(white(128, 512), period)


def test_distances_have_known_answers() -> None:
    pool = torch.stack([torch.full((4, 6), value) for value in (0.0, 1.0, 3.0)])
    assert l1_db(pool[:1], pool).tolist() == [0.0, 20.0, 60.0]
    assert nearest_db(torch.full((1, 4, 6), 2.9), pool).tolist() == pytest.approx([2.0], abs=1e-4)
    assert nearest_db(pool, pool, skip_self=True).tolist() == [20.0, 20.0, 40.0]
    assert sharpness(torch.tensor([[0.0, 1.0], [0.0, 1.0]])) == 20.0


def test_learned_excerpts_are_found_by_name_and_content(model: SwitchGenerator) -> None:
    targets, waveforms = remembered(model, store())
    wanted = memorise(store(), SMALL, FRONTEND)
    assert torch.equal(targets, wanted.targets)
    torch.testing.assert_close(log_mel(waveforms, FRONTEND), targets, atol=1e-4, rtol=1e-4)
    fewer = dataclasses.replace(
        store(), pcm=store().pcm[:1], clip_ids=("a",), corpus_index=torch.zeros(1, dtype=torch.long)
    )
    with pytest.raises(CorpusError, match="is in no training corpus; name the corpus"):
        remembered(model, fewer)
    other = dataclasses.replace(store(), pcm=store().pcm.flip(1))
    with pytest.raises(CorpusError, match="is not the recording that it learned"):
        remembered(model, other)


def test_perfect_and_useless_memory(model: SwitchGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, _ = remembered(model, store())
    monkeypatch.setattr(model, "spectrogram", lambda given: targets + 0.1)
    near = measure_memory("near", model, targets, 8)
    assert near.errors_db == pytest.approx([2.0] * 6, abs=1e-4)
    monkeypatch.setattr(model, "spectrogram", lambda given: targets.mean(0, keepdim=True).expand_as(targets))
    assert measure_memory("mean", model, targets, 8).ratio == pytest.approx(1.0)
    assert (near.parameters, near.steps, near.seconds) == (model.parameters, 7, 1.5)
    assert set(near.checkerboards_db) == {2, 4, 8, 16}


def remembrance(ratio: float, excerpts: int = 64, period: int | None = 2) -> Remembrance:
    errors = tuple(2.0 + 0.01 * i for i in range(excerpts))
    return Remembrance("some", errors, ratio, {2: 1.5, 4: -0.5}, period, 740_000, 60.0, 1500)


def test_tables_and_plot() -> None:
    targets = -5.0 * torch.rand(64, 32, 64, generator=torch.Generator().manual_seed(0))
    found = [remembrance(0.15), remembrance(0.3, period=None)]
    table = memory_table(found, targets, [str(i // 2) for i in range(64)], 1)
    assert [row.label for row in table.rows][2:] == ["Mean spectrogram of all excerpts", "Nearest other excerpt"]
    assert table.rows[0].cells["checkerboard"].value == 1.5
    assert table.rows[1].cells["checkerboard"].reason == "its last layer has no period"
    assert table.rows[2].cells["ratio"].value == pytest.approx(1.0)
    first = table.rows[0].cells["error"]
    assert first.low is not None
    assert first.high is not None
    assert first.low < 2.315 < first.high
    assert [column.key for column in grid_table(found).columns] == ["p2", "p4"]
    plot = memory_plot({2: found[0], 16: found[1]}, [remembrance(0.2)])
    assert [(point.x, point.group) for point in plot.points] == [
        (1.0, "pixel shuffle"),
        (4.0, "pixel shuffle"),
        (0.0, "some"),
    ]


def test_claims_follow_the_numbers() -> None:
    made = memory_claims({2: remembrance(0.3), 16: remembrance(0.2), 32: remembrance(0.1, excerpts=63)})
    assert [claim.met for claim in made] == [False, True, False]
    assert made[0].reason == "not reached in 1500 steps with 740,000 parameters"
    assert made[1].figure.startswith("0.200 of it")


def test_blends_pair_different_songs() -> None:
    pairs = blend_pairs(6, 2, 10, seed=3)
    assert len(set(pairs)) == 10
    assert all(one[0] != other[0] and one[1] == other[1] for one, other in pairs)
    assert pairs == blend_pairs(6, 2, 10, seed=3)


def test_blends_and_their_table(model: SwitchGenerator) -> None:
    targets, waveforms = remembered(model, store())
    blends = make_blends(model, waveforms, 3, seed=1)
    assert len(blends) == 3
    own = model.spectrogram(switch_pairs(SMALL))
    for blend in blends:
        one, other = blend.parents
        torch.testing.assert_close(blend.ways[FADE_MEL], 0.5 * (own[one] + own[other]))
        mixed = 0.5 * (waveforms[one] + waveforms[other])
        torch.testing.assert_close(blend.ways[FADE_AUDIO], log_mel(mixed[None], FRONTEND)[0])
        assert not torch.allclose(blend.ways[HALF], blend.ways[BOTH])
    table = blend_table(blends, targets, 1)
    assert [row.label for row in table.rows] == [HALF, BOTH, FADE_MEL, FADE_AUDIO, "The learned excerpts"]
    for row in table.rows[:4]:
        near, far = row.cells["near"].value, row.cells["far"].value
        nearest = row.cells["nearest"].value
        assert near is not None
        assert far is not None
        assert nearest is not None
        assert nearest <= near <= far


class Wide(FakeVocoder):
    def __init__(self) -> None:
        super().__init__(FRONTEND)


def context(model: SwitchGenerator, training: tuple[Path, ...] = ()) -> StudyContext:
    class Context(StudyContext):
        def load(self, name: str) -> Any:
            return Wide() if name == "melgan" else model

    return Context(1, "cpu", Path("notes"), Path("music"), training, {}, lambda text: None)


def test_the_whole_study(model: SwitchGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "read_clips", lambda folders, **settings: store())
    measured = measure(context(model, (Path("corpus"),)))
    assert len(measured.tables) == 3
    assert len(measured.claims) == 6
    # Six excerpts are not 64, and the network never learned them.
    assert not any(claim.met for claim in measured.claims)
    with pytest.raises(CorpusError, match="needs the corpus that the decoders were trained on"):
        measure(context(model))


def test_all_sounds_are_generated(model: SwitchGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "_HEARD", ((0, 2),))
    rows = listen(context(model))
    assert [row.id for row in rows] == ["set_1_3", "blend_1_3", "decoders"]
    demo = rows[0].labels["demo"]
    assert demo["kind"] == "sliders" and [axis["title"] for axis in demo["axes"]] == ["Song 1", "Song 3"]
    for track, setting in zip(rows[0].tracks, demo["settings"], strict=True):
        shares = [axis["values"][place] for axis, place in zip(demo["axes"], setting["at"], strict=True)]
        assert track.title == "Song 1 at {:.0f} %, song 3 at {:.0f} %".format(*shares)
    assert len({tuple(s["at"]) for s in demo["settings"]}) == 9
    for row in rows:
        assert "generated" in str(row.labels["sound"])
    for row in rows[1:]:
        for track in row.tracks:
            assert "memorised output" in track.title or track.title in (HALF, BOTH)
            assert track.waveform.shape == (64 * 256,)
