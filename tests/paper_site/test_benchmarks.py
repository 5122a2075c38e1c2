"""The page on the benchmarks: what it says of a history, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import DataError
from paper_site.kinds.benchmarks import pages
from paper_site.manifest import read_companion

MACHINE = {"system": "Linux", "processor": "x86_64", "model": "Fast & Sons", "vectors": "AVX2", "cores": 2}


def run(day: int, *, pace: float = 1.0, loss: float = 1.0, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"202601{day:02d}T000000Z",
        "created": f"2026-01-{day:02d}T00:00:00Z",
        "commit": "ab" * 20,
        "dirty": False,
        "machine": MACHINE,
        "passed": True,
        "update": False,
        "speed": {"metric[si_sdr]": 2.0 * pace, "metric[snr]": 8.0 * pace, "site": 50.0, "decode[ogg]": 1.0},
        "quality": {"a <b> on notes": {"log_mel_l1": 0.5 * loss, "si_sdr": None}, "idea": {"gap": 1.5}},
        **fields,
    }


def write(companion: Path, *runs: dict[str, Any]) -> Path:
    path = companion / "_data" / "benchmarks.json"
    path.write_text(json.dumps({"schema_version": 1, "runs": list(runs)}), encoding="utf-8")
    return path


def page(companion: Path) -> Any:
    found = list(pages(read_companion(companion), {}))
    assert len(found) == 1
    return found[0]


def test_without_a_history_there_is_no_page(companion: Path, tmp_path: Path) -> None:
    assert not list(pages(read_companion(companion), {}))
    write(companion)
    assert not list(pages(read_companion(companion), {}))


def test_numbers_stand_beside_those_of_the_run_before_and_the_first(companion: Path) -> None:
    write(companion, run(1), run(2, pace=2.0, loss=1.1), run(3, pace=1.0, loss=1.2))
    context = page(companion).context
    speed = dict(context["speed"])
    assert list(speed) == ["Decoding", "Metrics", "The site"]
    row = speed["Metrics"][0]
    assert (row.name, row.value, row.since_before, row.since_first) == ("metric[si_sdr]", 2.0, -50.0, 0.0)
    quality = dict(context["quality"])
    assert [r.name for r in quality["a <b> on notes"]] == ["log_mel_l1"]
    assert quality["a <b> on notes"][0].since_first == pytest.approx(20.0)


def test_plots_are_means_over_stages_in_per_cent_of_the_first_run(companion: Path) -> None:
    write(companion, run(1), run(2, pace=1.21, loss=1.1))
    (time, _), (quality, _) = page(companion).context["plots"]
    metrics = [point.y for point in time.points if point.group == "Metrics"]
    assert metrics == pytest.approx([100.0, 121.0])
    assert [point.y for point in time.points if point.group == "The site"] == [100.0, 100.0]
    assert {point.group for point in quality.points} == {"notes"}
    assert [point.y for point in quality.points] == pytest.approx([100.0, 110.0])


def test_a_first_run_has_no_course(companion: Path) -> None:
    write(companion, run(1))
    context = page(companion).context
    assert context["plots"] == [] and dict(context["speed"])["Metrics"][0].since_first is None


def test_other_machines_are_listed_and_not_compared(companion: Path) -> None:
    write(companion, run(1, pace=9.0, machine={**MACHINE, "model": "Slow"}), run(2), run(3))
    context = page(companion).context
    assert context["others"] == 1 and len(context["runs"]) == 3
    assert dict(context["speed"])["Metrics"][0].since_first == 0.0


def test_every_number_links_to_its_run_and_the_page_is_sound(companion: Path, tmp_path: Path) -> None:
    path = write(companion, run(1), run(2, passed=False, dirty=True))
    build(companion, tmp_path / "site")
    text = (tmp_path / "site" / "benchmarks.html").read_text(encoding="utf-8")
    assert text.count('class="num" href="#run-20260102T000000Z"') == 6
    assert 'id="run-20260102T000000Z"' in text and 'id="run-20260101T000000Z"' in text
    assert "a &lt;b&gt; on notes" in text and "something was worse" in text
    assert json.loads((tmp_path / "site" / "data" / "history" / "benchmarks.json").read_text()) == json.loads(
        path.read_text()
    )
    assert "benchmarks.html" in (tmp_path / "site" / "reproduce.html").read_text(encoding="utf-8")
    assert check_site(tmp_path / "site") == []


def test_a_broken_history_is_named(companion: Path) -> None:
    write(companion, run(1, speed={"site": "fast"}))
    with pytest.raises(DataError, match=r"benchmarks\.json.*runs\[0\]\.speed\.site"):
        page(companion)
