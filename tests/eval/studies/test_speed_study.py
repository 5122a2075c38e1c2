"""The study of speed: what it compares gives the same numbers, and its bars follow from what was timed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import pytest
import torch

from eval import manifest
from eval.studies import speed
from eval.studies.base import Table
from eval.studies.context import make_context
from eval.studies.run import study_document
from eval.studies.speed import Contest, Result, claims, deviation_db, run_contest


@pytest.mark.parametrize(
    "build",
    [
        lambda: speed.melgan(frames=6, base_channels=4),
        lambda: speed.filterbank(frames=4),
        lambda: speed.vqvae2_decoder(channels=16),
        lambda: speed.codemap_sampling(notes=2, tokens=3),
    ],
    ids=["melgan", "filterbank", "vqvae2_decoder", "codemap_sampling"],
)
def test_faster_ways_give_the_plain_loops_numbers(build: Callable[[], Contest]) -> None:
    results = run_contest(build(), rounds=1)
    assert results[0].way == "plain" and len(results) > 1
    for result in results[1:]:
        assert result.deviation_db > (90 if result.way != "bfloat16" else speed.TOLERANCE_DB), result
        assert len(result.paces) == len(result.factors) == 1 and result.pace > 0


def test_melgan_has_the_published_size() -> None:
    assert speed.melgan(frames=4).title == "MelGAN, 4.26 M parameters"


def test_rounds_are_timed_in_turn_and_the_first_does_not_count() -> None:
    calls: list[str] = []

    def work(way: str, value: float) -> torch.Tensor:
        calls.append(way)
        assert torch.is_inference_mode_enabled()
        return torch.full((4,), value)

    contest = Contest("c", "C", 2.0, lambda: work("plain", 1.0), {"wrong": lambda: work("wrong", 1.5)})
    plain, wrong = run_contest(contest, rounds=3)
    assert calls == ["plain", "wrong"] * 4
    assert plain.factors == (1.0,) * 3 and plain.deviation_db == math.inf
    assert wrong.deviation_db == pytest.approx(10 * math.log10(4)) and not wrong.counts


def test_deviation() -> None:
    one = torch.ones(10)
    assert deviation_db(one, one) == math.inf
    assert deviation_db(one, one * 1.1) == pytest.approx(20.0, abs=1e-4)
    assert deviation_db(one * 0, one) == -math.inf


def result(title: str, way: str, pace: float, deviation: float = math.inf) -> Result:
    return Result(title, way, (pace,), (1.0,), deviation)


def test_bars_count_only_what_is_inside_the_tolerance() -> None:
    melgan = [result("M", "plain", 15.0), result("M", "float32", 24.0, 100.0), result("M", "bfloat16", 60.0, 12.0)]
    other = [result("F", "plain", 2.0), result("F", "float32", 5.0, 90.0)]
    made = claims([melgan, other], [])
    assert [claim.met for claim in made] == [False, False, True]
    assert made[0].figure == "24.0 times (float32)" and "plain loop does 15.0" in str(made[0].reason)
    assert (made[1].figure, made[1].reason) == ("not measured", "no GPU in this run")
    assert made[2].figure == "F: 2.5×"
    melgan[2] = dataclasses.replace(melgan[2], deviation_db=31.0)
    gpu = [result("M", "plain", 900.0), result("M", "bfloat16", 2500.0, 40.0)]
    slower = [result("F", "plain", 2.0), result("F", "float32", 1.0, 90.0)]
    made = claims([melgan, slower], gpu)
    assert [claim.met for claim in made] == [True, True, False]
    assert made[1].figure == "2500 times (bfloat16)" and made[2].figure == "F: 1.0×"


def test_the_study_becomes_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    def contests() -> Iterator[tuple[Contest, int]]:
        yield speed.melgan(frames=4, base_channels=4), 2
        yield speed.vqvae2_decoder(channels=16), 2

    before = torch.get_num_threads()
    monkeypatch.setattr(speed, "_contests", contests)
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "STREAM_FRAMES", 96)
    said: list[str] = []
    measured = speed.measure(make_context(seed=1, note=said.append))
    assert torch.get_num_threads() == before and len(said) == 3
    beside, streamed = measured.tables
    assert isinstance(beside, Table)
    assert [row.note for row in beside.rows][:3] == ["plain loop, float32", "float32", "bfloat16"]
    assert beside.rows[-1].cells["pace"].reason == "no GPU in this run"
    cells = streamed.rows[0].cells
    first, chunk = cells["first"].value, cells["chunk"].value
    assert first is not None and chunk is not None and first > 0 and 0 < chunk < 2000
    document = study_document(speed, measured, run_id="r", models=[])  # type: ignore[arg-type]
    manifest.check(manifest.plain(document), "study", make_context(seed=0).notes)
    assert speed.listen(make_context(seed=1)) == []
