import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from eval.__main__ import main
from eval.speed import measure_speed, speed_lines
from models.errors import InputError
from tests.eval.fakes import Fake


class Sleeper(Fake):
    """Takes 20 ms for a call and 5 ms for a clip, and multiplies a matrix of known size."""

    def __init__(self, fits: int = 10**6) -> None:
        super().__init__("sleeper", sample_rate_hz=8000)
        self.fits = fits

    def reconstruct(self, waveform: torch.Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> torch.Tensor:
        if len(waveform) > self.fits:
            raise MemoryError
        torch.ones(10, 20) @ torch.ones(20, 30)
        time.sleep(0.02 + 0.005 * len(waveform))
        return waveform


def test_times_batches_and_operations_are_those_of_the_system() -> None:
    found = measure_speed(Sleeper(), clip_s=0.5, seconds=0.05, largest_batch=8)
    assert [b.batch for b in found.tried] == [1, 2, 4, 8]
    assert found.best.batch == 8
    assert 0.025 <= found.single.seconds < 0.1
    assert found.single.pace == pytest.approx(0.5 / found.single.seconds)
    assert found.single.rtf * found.single.pace == pytest.approx(1.0)
    assert found.single.calls >= 3
    assert found.gmac_per_s == pytest.approx(10 * 20 * 30 / 0.5 / 1e9)
    assert found.latency_s >= 0.025
    assert found.latency_low_s <= found.latency_s <= found.latency_high_s
    assert (found.parameters, found.sample_rate_hz, found.failed) == (7, 8000, None)
    assert json.loads(json.dumps(found.document()))["best"]["batch"] == 8
    head, line = speed_lines([found])
    assert "RTF" in head and "sleeper" in line and f"{found.single.rtf:.3g}" in line


def test_a_batch_that_does_not_fit_is_said_and_the_rest_counts() -> None:
    found = measure_speed(Sleeper(fits=2), clip_s=0.5, seconds=0.03, largest_batch=8)
    assert [b.batch for b in found.tried] == [1, 2]
    assert found.failed == 4
    assert "a batch of 4 did not fit" in speed_lines([found])[2]
    with pytest.raises(InputError, match="not even one clip"):
        measure_speed(Sleeper(fits=0), clip_s=0.5, seconds=0.03)
    with pytest.raises(InputError, match="above 0"):
        measure_speed(Sleeper(), clip_s=0.0)
    with pytest.raises(InputError, match="set OMP_NUM_THREADS=99"):
        measure_speed(Sleeper(), threads=99)


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code.py").write_text("def f(waveform):\n    return waveform\n")
    (tmp_path / "m.yml").write_text("name: mine\nkind: python\ntarget: code.py:f\n")
    out = tmp_path / "speed.json"
    command = ["speed", "--model", str(tmp_path / "m.yml"), "--seconds", "0.01", "--batch", "2", "--clip-s", "0.1"]
    assert main([*command, "--device", "cpu", "--output", str(out)]) == 0
    assert "mine" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert document["systems"][0]["model"] == "mine" and document["environment"]["torch"]
