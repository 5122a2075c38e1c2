import dataclasses
import math

import pytest
import torch

from eval.studies import expansion
from eval.studies.expansion import (
    CUBIC,
    FLOW,
    FREE,
    GAN,
    LINEAR,
    Figures,
    Subject,
    claims,
    clip_mel,
    compare,
    condition_sizes,
    edge_energy,
    errors_by_step,
    first_audio,
    frontier,
    main_table,
    measure_stop,
    seam_energy,
    width_plot,
)
from models.errors import CheckpointError
from models.mel_expansion import MelReformerSystem, NetworkExpander
from models.mel_reformer import FRONTEND
from tests.models.expansion_fakes import SMALL, FakeVocoder, fake_mel, tiny_network, write_checkpoint

GROUPS = ["a", "b", "c", "d"]


def silent(text: str) -> None:
    return None


def blur(mel: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool1d(mel, 5, stride=1, padding=2, count_include_pad=False)


def stepped(mel: torch.Tensor, seed: int) -> torch.Tensor:
    return mel + (torch.arange(mel.shape[-1]) // 16 % 2) * 1.0


def subjects() -> list[Subject]:
    return [
        Subject("same", lambda mel, seed: mel.clone(), 16, "a"),
        Subject("blur", blur, 16, "a"),
        Subject("stepped", stepped, 16, "b"),
    ]


def mels() -> list[torch.Tensor]:
    return [fake_mel(1, 200, seed) for seed in range(4)]


def test_known_answers_of_the_measures() -> None:
    found = compare(subjects(), mels(), 0, silent)
    assert found["same"].l1 == [0.0] * 4
    assert found["same"].sharpness == pytest.approx([1.0] * 4)
    assert found["same"].seam == pytest.approx([1.0] * 4)
    assert max(found["blur"].sharpness) < 0.7
    assert min(found["stepped"].seam) > 1.02
    assert found["same"].blocks == 4 * 13
    assert found["same"].seconds > 0


def test_seams_need_borders() -> None:
    assert math.isnan(seam_energy(torch.randn(1, 2, 10), 16))
    ramp = torch.arange(64.0)[None, None]
    assert seam_energy(ramp, 8) == pytest.approx(1.0)
    assert edge_energy(ramp.expand(1, 4, 64)) == pytest.approx(1.0)


def test_table_and_frontier_hold_every_subject() -> None:
    found = compare(subjects(), mels(), 0, silent)
    table = main_table(subjects(), found, {}, {"Flow": "no weights"}, GROUPS, 0)
    assert [row.label for row in table.rows] == ["same", "blur", "stepped", "Flow"]
    assert table.rows[-1].cells["l1"].reason == "no weights"
    assert table.rows[1].cells["l1"].low is not None
    plot = frontier(subjects(), found)
    assert (plot.points[-1].x, plot.points[-1].y) == (0.0, 1.0)
    assert len(plot.points) == 4


def test_claims_follow_the_numbers() -> None:
    def figures(l1: float, sharpness: float) -> Figures:
        wobble = [0.0, 0.01, -0.01, 0.005]
        return Figures([l1 + w for w in wobble], [sharpness + w for w in wobble])

    found = {LINEAR: figures(0.21, 0.6), CUBIC: figures(0.2, 0.6), FREE: figures(0.19, 0.7), GAN: figures(0.2, 0.9)}
    found[FREE].l1[0] -= 0.001
    found[GAN].sharpness[0] += 0.01
    beaten, sharper = claims(found, GROUPS, 0)
    assert beaten.met and sharper.met
    assert "0.1" in beaten.figure and "0.90" in sharper.figure
    worse = {**found, FREE: figures(0.22, 0.95)}
    worse[FREE].l1[0] -= 0.001
    beaten, sharper = claims({**worse, FLOW: figures(0.3, 1.4)}, GROUPS, 0)
    assert not beaten.met and beaten.reason
    assert not sharper.met and sharper.reason
    assert claims({LINEAR: found[LINEAR]}, GROUPS, 0) == []


def test_a_study_of_fakes_has_all_its_parts(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path)  # type: ignore[arg-type]
    system = MelReformerSystem(checkpoint=folder, vocoder=FakeVocoder())

    class Context:
        seed = 0
        note = staticmethod(silent)

        def clips(self, which: str) -> list[tuple[object, object]]:
            assert which == "music"
            clip = type("FakeClip", (), {"group": "a"})
            waves = torch.randn(2, 256 * 140, generator=torch.Generator().manual_seed(0)) * 0.1
            return [(clip, wave.numpy()) for wave in waves]

        def load(self, name: str) -> object:
            if name != "mel_reformer":
                raise CheckpointError(f"{name}: missing")
            return system

    found = expansion.measure(Context())  # type: ignore[arg-type]
    labels = [row.label for row in found.tables[0].rows]
    assert labels[:5] == [LINEAR, CUBIC, expansion.BASE, expansion.FORCED, FREE]
    assert found.tables[0].rows[labels.index(GAN)].cells["l1"].reason == "no usable weights of mel_reformer_gan"
    assert found.tables[0].rows[labels.index(FREE)].cells["first_audio"].value
    assert len(found.tables) == 3 and len(found.plots) == 2
    assert len(found.claims) == 1
    assert expansion.listen(Context()) == []  # type: ignore[arg-type]


def test_errors_by_step_cover_all_blocks() -> None:
    expander = NetworkExpander(tiny_network(), FRONTEND)
    plot = errors_by_step(expander, mels())
    assert plot.joined
    assert {point.group for point in plot.points} == {"teacher-forced", "free-running", "cubic stretching"}
    assert len(plot.points) == 3 * 12
    # The first block has no past, so both ways of writing agree.
    first = {point.group: point.y for point in plot.points if point.x == 1}
    assert first["teacher-forced"] == pytest.approx(first["free-running"], abs=1e-5)


def test_stops_are_measured_against_the_condition() -> None:
    expander = NetworkExpander(tiny_network(), FRONTEND)
    head = expander.network.stop_head
    head.weight.zero_()
    head.bias.copy_(torch.tensor([-9.0, 0.0]))
    never = measure_stop(expander, mels(), GROUPS, 1)
    assert "In 8 of them" in (never.note or "")
    label_error = {row.label: row.cells["error"].value or 0.0 for row in never.rows}
    assert label_error["Last column that is not silent"] <= SMALL.shrink / 2
    assert label_error["Learned stop"] > label_error["Last column that is not silent"]


def test_smaller_conditions_tell_less() -> None:
    time = torch.arange(512)
    smooth = [(-2.0 + torch.sin(2 * math.pi * time / period)).expand(1, 128, 512) for period in (90, 120, 150, 200)]
    table = condition_sizes(smooth, GROUPS, 0)
    for key in ("published", "linear", "cubic"):
        values = [row.cells[key].value or 0.0 for row in table.rows]
        assert values == sorted(values)


def test_latency_is_that_of_a_stream(tmp_path: object) -> None:
    system = MelReformerSystem(checkpoint=write_checkpoint(tmp_path), vocoder=FakeVocoder())  # type: ignore[arg-type]
    found = first_audio(system, fake_mel(1, 200))
    assert 0 < found.first_audio_s <= found.total_s
    assert found.audio_s == pytest.approx(200 * 256 / 22_050)


def test_widths_are_drawn_in_order() -> None:
    made = [
        dataclasses.replace(s, label=label, fold=n, group=g)
        for s, label, n, g in zip(
            subjects(), (FREE, "n64", "n8"), (32, 64, 8), ("x", "fold width", "fold width"), strict=True
        )
    ]
    found = {s.label: Figures([0.1 * s.fold]) for s in made}
    plot = width_plot(made, found)
    assert plot is not None
    assert [point.x for point in plot.points] == [8, 32, 64]
    assert width_plot(made[:1], found) is None


def test_mels_of_clips_have_whole_frames() -> None:
    assert clip_mel(torch.randn(256 * 40 + 1).numpy()).shape == (1, 128, 41)
    assert expansion.NAME == "expansion"
