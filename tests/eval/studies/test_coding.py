"""The catalogue of training notes answers as the metrics would, and the bars are judged from the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from eval.corpora import Clip
from eval.metrics.spectral import log_mel_l1, log_spectral_distance
from eval.studies import coding
from eval.studies.base import Cell
from eval.studies.coding import Catalogue, Scores, attack_error_db, fitted, log_magnitude, log_mel, picture_distance_db


def tone(midi: float, *, level: float = 0.3, attack_s: float = 0.005) -> np.ndarray:
    time = np.arange(coding.SAMPLES) / coding.RATE_HZ
    f0 = 440.0 * 2 ** ((midi - 69) / 12)
    wave = sum(np.sin(2 * np.pi * k * f0 * time) / k for k in range(1, 6))
    envelope = np.minimum(1.0, time / attack_s) * np.exp(-time)
    return (level * wave * envelope).astype(np.float32)


def clip(name: str, midi: int, family: str = "organ") -> Clip:
    labels = {"pitch": midi, "instrument_family_str": family}
    return Clip(name, Path(name), coding.RATE_HZ, 0, coding.SAMPLES, labels, name)


def pair(a: np.ndarray, b: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(a)[None], torch.from_numpy(b)[None]


def test_pictures_give_the_same_distances_as_the_metrics() -> None:
    a, b = tone(60), tone(61.5, level=0.1)
    e, r = pair(a, b)
    gap = float(np.abs(log_mel(a) - log_mel(b)).mean())
    assert gap == pytest.approx(float(log_mel_l1(e, r, sample_rate_hz=coding.RATE_HZ)), rel=1e-5)
    distance = picture_distance_db(log_magnitude(a), log_magnitude(b))
    assert distance == pytest.approx(float(log_spectral_distance(e, r)), rel=1e-5)


def test_attack_error_sees_a_slow_attack_and_no_change_of_phase() -> None:
    sharp = tone(60)
    assert attack_error_db(sharp, sharp) == 0
    assert attack_error_db(-sharp, sharp) == 0
    assert attack_error_db(0.5 * sharp, sharp) == pytest.approx(6.02, abs=0.05)
    assert attack_error_db(tone(60, attack_s=0.2), sharp) > 3


def catalogue(notes: list[tuple[Clip, np.ndarray]]) -> Catalogue:
    return Catalogue([c for c, _ in notes], np.stack([log_mel(w) for _, w in notes]).astype(np.float16))


def test_the_nearest_note_comes_first() -> None:
    notes = [(clip(f"n{m}", m), tone(m)) for m in (48, 60, 61, 72)]
    order = catalogue(notes).nearest(log_mel(tone(60.9)))
    assert notes[order[0]][0].clip_id == "n61"
    assert notes[order[1]][0].clip_id == "n60"


def test_alike_notes_share_family_and_nearest_pitch() -> None:
    notes = [(clip("a", 60), tone(60)), (clip("b", 60), tone(60)), (clip("c", 64), tone(64))]
    notes.append((clip("d", 61, "reed"), tone(61)))
    found = catalogue(notes)
    assert found.alike(clip("x", 60)) == [0, 1]
    assert found.alike(clip("x", 66)) == [2]
    assert found.alike(clip("x", 80, "brass")) == []


def test_notes_are_cut_or_filled_to_four_seconds() -> None:
    assert fitted(np.ones(10, np.float32)).sum() == 10
    assert fitted(np.ones(100_000, np.float32)).shape == (coding.SAMPLES,)


def test_pitch_is_kept_lost_or_cannot_be_told() -> None:
    assert coding.pitch_kept(tone(60.3), tone(60)) == 1.0
    assert coding.pitch_kept(tone(61), tone(60)) == 0.0
    noise = np.random.default_rng(0).standard_normal(coding.SAMPLES).astype(np.float32) * 0.1
    assert coding.pitch_kept(tone(60), noise) is None
    assert coding.pitch_kept(noise, tone(60)) == 0.0


def scores(mel: float, distance: float, pitch: list[float] | None = None) -> Scores:
    found = Scores()
    for i in range(4):
        found.add("log_mel_l1", mel, f"g{i}")
        found.add("log_spectral_distance", distance, f"g{i}")
    for i, value in enumerate(pitch or []):
        found.add("pitch", value, f"g{i}")
    return found


@pytest.mark.parametrize(("ours", "met"), [(0.4, True), (0.79, True), (0.85, False)])
def test_bars_compare_with_the_better_answer_of_the_catalogue(ours: float, met: bool) -> None:
    rows = {
        "vqvae2": scores(ours, 7.0, [1.0] * 9 + [0.0]),
        "Nearest training note, by log-mel L1": scores(1.0, 12.0),
        "Mean training note of family and pitch": scores(1.3, 10.0),
    }
    use = {"used_top": Cell(61.0), "used_bottom": Cell(99.0)}
    found = coding.claims({"unheard": rows, "heard": rows}, use)
    assert [c.met for c in found] == [met, True, True, met, True, True, True]
    assert "against 1 Np" in found[0].figure
    assert "against 10 dB" in found[1].figure
    assert found[2].figure == "90.0 % of 10 notes"
    assert all(c.reason for c in found if not c.met)


def test_a_map_with_few_codes_misses_its_bar() -> None:
    rows = {"vqvae2": scores(0.4, 7.0, [1.0]), "Nearest training note": scores(1.0, 12.0)}
    last = coding.claims({"unheard": rows, "heard": rows}, {"used_top": Cell(8.0), "used_bottom": Cell(99.0)})[-1]
    assert not last.met
    assert last.figure.startswith("8 %")


def test_shares_become_per_cent_with_an_interval() -> None:
    cells = scores(0.5, 7.0, [1.0, 0.0, 1.0, 1.0]).cells(seed=1)
    assert cells["pitch"].value == 75.0
    assert cells["pitch"].low is not None
    assert cells["pitch"].n == 4
    assert cells["log_mel_l1"].low is None
