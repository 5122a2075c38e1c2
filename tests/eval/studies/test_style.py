import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from eval.studies import style
from eval.studies.base import StudyContext
from eval.studies.style import (
    Pair,
    cepstral_moments,
    choose_pairs,
    chroma,
    chroma_correlation,
    correlation,
    frontier,
    frontier_claims,
    levelled,
    listen,
    measure,
    mix,
    mix_at,
    onset_correlation,
    probe_accuracy,
    probe_claims,
    style_distance,
)
from models.errors import CorpusError
from models.siamese_style import SiameseStyle
from models.style_transfer import DiscriminatorFeatures
from models.travel_gan import TravelGAN
from tests.models.style_fakes import RATE_HZ, features_checkpoint, siamese_checkpoint, sound, travel_checkpoint

SAMPLES = 33_075


def melody(pitches_hz: list[float], kind: str = "Flute", length: int = 11_025) -> torch.Tensor:
    return torch.cat([sound(kind, pitch, length) for pitch in pitches_hz])


UP = melody([262.0, 330.0, 392.0, 523.0])
OTHER = melody([294.0, 466.0, 208.0, 349.0])


def test_pitch_classes_of_a_tone() -> None:
    for pitch, place in ((440.0, 0), (880.0, 0), (493.9, 2), (261.6, 3)):
        energy = chroma(sound("Flute", pitch, 22_050), RATE_HZ).mean(1)
        assert int(energy.argmax()) == place
        assert float(energy[place]) > 2.0 * float(energy.sort().values[-3])


def test_chroma_correlation_hears_notes_and_not_timbre() -> None:
    same = chroma_correlation(UP, UP, RATE_HZ)
    assert same == pytest.approx(1.0)
    bright = melody([262.0, 330.0, 392.0, 523.0], "Saw")
    assert chroma_correlation(bright, UP, RATE_HZ) > chroma_correlation(OTHER, UP, RATE_HZ) + 0.3
    assert chroma_correlation(0.1 * UP, UP, RATE_HZ) == pytest.approx(1.0, abs=1e-3)


def test_onset_correlation_hears_rhythm() -> None:
    late = torch.cat([torch.zeros(4_000), UP])[: len(UP)]
    assert onset_correlation(UP, UP, RATE_HZ) == pytest.approx(1.0)
    assert onset_correlation(late, UP, RATE_HZ) < 0.5
    assert onset_correlation(OTHER, UP, RATE_HZ) > onset_correlation(late, UP, RATE_HZ)


def test_style_distance_hears_timbre_and_not_when_it_sounds() -> None:
    assert style_distance(UP, UP, RATE_HZ) == pytest.approx(0.0, abs=1e-3)
    order = melody([392.0, 262.0, 523.0, 330.0])
    bright = melody([262.0, 330.0, 392.0, 523.0], "Saw")
    near, far = style_distance(order, UP, RATE_HZ), style_distance(bright, UP, RATE_HZ)
    assert near < 0.5 * far
    assert style_distance(UP, bright, RATE_HZ) == pytest.approx(far, rel=1e-6)
    mean, covariance = cepstral_moments(UP, RATE_HZ)
    assert mean.shape == (20,)
    assert float(torch.linalg.eigvalsh(covariance).min()) > -1e-9


def test_correlation_of_constants_is_zero() -> None:
    assert correlation(torch.ones(4), torch.arange(4.0)) == 0.0
    assert correlation(torch.arange(4.0), -torch.arange(4.0)) == pytest.approx(-1.0)


def test_mix_goes_from_content_to_style() -> None:
    pair = Pair(levelled(UP), levelled(melody([294.0, 466.0, 208.0, 349.0], "Saw")), "a", "b")
    mixes = [mix(pair.content, pair.style, gain) for gain in (-40.0, -6.0, 0.0, 6.0, 40.0)]
    kept = [chroma_correlation(x, pair.content, RATE_HZ) for x in mixes]
    reached = [style_distance(x, pair.style, RATE_HZ) for x in mixes]
    assert kept == sorted(kept, reverse=True)
    assert reached[0] > reached[2] > reached[4]
    assert all(float(x.square().mean().sqrt()) == pytest.approx(0.07, rel=1e-4) for x in mixes)


def test_mix_between_and_beyond_the_gains() -> None:
    curve = [(0.9, 5.0), (0.1, 1.0)]
    assert mix_at(0.5, curve) == pytest.approx(3.0)
    assert mix_at(1.0, curve) == 5.0
    assert mix_at(-0.5, curve) == 1.0


def clip(name: str, ensemble: str, wave: torch.Tensor, work: str) -> tuple[Any, np.ndarray]:
    return SimpleNamespace(clip_id=name, labels={"ensemble": ensemble}, group=work), wave.numpy()


def clips() -> list[tuple[Any, np.ndarray]]:
    rows = []
    for i in range(3):
        rows.append(clip(f"p{i}", "Solo Piano", sound("Flute", 220.0 + 50 * i, 3 * SAMPLES), f"piano {i}"))
        rows.append(clip(f"q{i}", "String Quartet", sound("Saw", 200.0 + 70 * i, 3 * SAMPLES, i), f"quartet {i}"))
    return rows


def test_pairs_are_keyboards_and_quartets_at_one_level() -> None:
    pairs = choose_pairs(clips(), 5, SAMPLES)
    assert [pair.content_id for pair in pairs] == ["p0", "p1", "p2", "p0", "p1"]
    assert {pair.style_id for pair in pairs} <= {"q0", "q1", "q2"}
    assert not torch.equal(pairs[0].content, pairs[3].content)
    for pair in pairs:
        assert pair.content.shape == pair.style.shape == (SAMPLES,)
        assert float(pair.style.square().mean().sqrt()) == pytest.approx(0.07, rel=1e-4)
    with pytest.raises(CorpusError, match="String Quartet"):
        choose_pairs([row for row in clips() if row[0].clip_id.startswith("p")], 2, SAMPLES)


MEANS = {
    "Content itself": {"chroma": 1.0, "style": 10.0, "onset": 1.0, "leak": 0.0},
    "Style clip itself": {"chroma": 0.0, "style": 0.0, "onset": 0.0, "leak": 1.0},
    "Mix at +0 dB": {"chroma": 0.5, "style": 5.0, "onset": 0.5, "leak": 0.5},
    "Positional": {"chroma": 0.5, "style": 5.5, "onset": 0.5, "leak": 0.5},
    "Gram": {"chroma": 0.8, "style": 6.0, "onset": 0.5, "leak": 0.1},
    "Moments": {"chroma": 0.8, "style": 7.0, "onset": 0.5, "leak": 0.1},
    "Siamese": {"chroma": 0.8, "style": 7.5, "onset": 0.5, "leak": 0.1},
}
GROUPS = dict(
    zip(
        MEANS,
        ["Content", "Style clip", "Mix", "Positional features", "Gram matrices", "Moments", "Siamese style loss"],
        strict=True,
    )
)


def test_claims_follow_the_numbers() -> None:
    claims = frontier_claims(MEANS, GROUPS)
    assert [claim.met for claim in claims] == [True, True, True, False]
    assert "best: Gram" in claims[1].figure
    assert "3 of 4" in claims[1].figure
    assert "siamese +0.50, best by features +2.00 (Gram matrices)" in claims[3].figure
    assert claims[3].reason
    worse = {label: dict(row) for label, row in MEANS.items()}
    for label in ("Gram", "Moments", "Siamese"):
        worse[label] |= {"style": 9.0, "leak": 0.9}
    assert [claim.met for claim in frontier_claims(worse, GROUPS)] == [True, False, False, False]
    broken = {**MEANS, "Gram": {**MEANS["Gram"], "style": math.nan}}
    assert not frontier_claims(broken, GROUPS)[0].met


def test_frontier_has_a_row_and_a_point_for_each() -> None:
    values = {label: {name: [value, value + 0.1] for name, value in row.items()} for label, row in MEANS.items()}
    table, plot, means = frontier(values, GROUPS, ["a", "b"], 0)
    assert [row.label for row in table.rows] == [point.label for point in plot.points] == list(MEANS)
    assert means["Gram"]["style"] == pytest.approx(6.05)
    assert plot.points[4].x == means["Gram"]["chroma"]
    assert plot.points[4].y == means["Gram"]["style"]
    assert {point.group for point in plot.points} == set(GROUPS.values())


def test_probe_tells_what_can_be_told_and_leaves_works_out() -> None:
    draw = np.random.default_rng(0)
    labels = [name for name in "abc" for _ in range(8)]
    works = [f"{name}{i // 2}" for name in "abc" for i in range(8)]
    told = np.array([[ord(label) == ord(name) for name in "abc"] for label in labels], dtype=float)
    assert np.mean(probe_accuracy(told + 0.2 * draw.standard_normal((24, 3)), labels, works)) > 0.9
    assert np.mean(probe_accuracy(draw.standard_normal((24, 40)), labels, works)) < 0.7
    # Features that name the work alone are no help once the work is left out.
    by_work = np.array([[work == w for w in sorted(set(works))] for work in works], dtype=float)
    assert np.mean(probe_accuracy(by_work, labels, works)) < 0.5


def test_probe_claim() -> None:
    assert probe_claims({"Discriminator, layer 1": 0.8, "Untrained network, layer 1": 0.5})[0].met
    assert not probe_claims({"Discriminator, layer 1": 0.4, "Untrained network, layer 1": 0.5})[0].met
    assert probe_claims({"Log-mel, 64 bands": 1.0}) == []


class FakeVocoder:
    """Noise as loud as the mel says, 256 samples a frame."""

    def mel(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 128, -(-waveform.shape[1] // 256))

    def vocode(self, mel: torch.Tensor) -> torch.Tensor:
        draw = torch.randn(1, mel.shape[2] * 256, generator=torch.Generator().manual_seed(0))
        return draw * torch.pow(10.0, mel.mean(1)).repeat_interleave(256, 1)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyContext:
    loaders: dict[str, Callable[[], Any]] = {
        "melgan_discriminator": lambda: DiscriminatorFeatures(checkpoint=features_checkpoint(tmp_path / "features")),
        "siamese_style": lambda: SiameseStyle(checkpoint=siamese_checkpoint(tmp_path / "siamese")),
        "travel_gan": lambda: TravelGAN(checkpoint=travel_checkpoint(tmp_path / "travel")),
        "melgan": FakeVocoder,
    }
    monkeypatch.setattr(StudyContext, "load", lambda self, name: loaders[name]())
    monkeypatch.setattr(StudyContext, "clips", lambda self, which, limit=None: clips())
    for name, value in {"STEPS": 2, "HEARD_STEPS": 1, "PAIRS": 2}.items():
        monkeypatch.setattr(style, name, value)
    for name, value in {"SAMPLES": 16_537, "HEARD_SAMPLES": 16_537, "PROBED_SAMPLES": 16_537}.items():
        monkeypatch.setattr(style, name, value)
    monkeypatch.setattr(style, "GAINS_DB", (-6.0, 0.0))
    return StudyContext(3, "cpu", tmp_path, tmp_path, (), {}, lambda text: None)


def test_whole_study(context: StudyContext) -> None:
    found = measure(context)
    table, probe = found.tables
    labels = [row.label for row in table.rows]
    assert len(labels) == len(set(labels)) == 2 + 2 + 5 * len(style.STYLE_WEIGHTS) + 2
    assert "Siamese style loss, style weight 10" in labels
    assert all(
        cell.value is not None and math.isfinite(cell.value) for row in table.rows for cell in row.cells.values()
    )
    by_label = {row.label: row.cells for row in table.rows}
    assert by_label["Content itself"]["chroma"].value == pytest.approx(1.0)
    assert by_label["Style clip itself"]["style"].value == pytest.approx(0.0, abs=1e-3)
    assert {row.label for row in probe.rows} >= {"Log-mel, 64 bands", "Siamese style vector", "Discriminator, layer 5"}
    assert len(found.plots[0].points) == len(labels)
    assert found.claims[0].met
    assert all(claim.met or claim.reason for claim in found.claims)


def test_listening_rows(context: StudyContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "PAIRS", 8)
    rows = listen(context)
    assert [row.id for row in rows] == ["pair_1", "pair_2"]
    for row in rows:
        titles = [track.title for track in row.tracks]
        assert titles[:3] == ["Content", "Style clip itself", "Mix at +0 dB"]
        assert titles[-1] == "TraVeL generator"
        assert len(titles) == 8
        assert row.labels["updates"] == 1
        for track in row.tracks:
            assert track.waveform.dtype == np.float32
            assert track.waveform.shape == (16_537,)
            assert 0 < float(np.abs(track.waveform).max()) <= 0.98


def test_tools_are_frozen(context: StudyContext) -> None:
    tools = style.load_tools(context)
    assert dataclasses.is_dataclass(tools)
    assert not any(p.requires_grad for p in tools.features.network.parameters())
