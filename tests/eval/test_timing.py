"""Clocks and memory meters."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eval.timing import Measured, compare, measure, peak_memory, peak_rss_bytes, rss_bytes, stopwatch


def busy(seconds: float) -> str:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"


def test_measure_counts_what_it_says() -> None:
    calls = []
    result, cost = measure(lambda: (calls.append(1), time.sleep(0.05), "done")[-1], audio_s=0.5, warm_up=2, repeats=3)
    assert (result, len(calls)) == ("done", 5)
    assert 0.05 <= cost.seconds < 1
    assert cost.rtf == pytest.approx(cost.seconds / 0.5)
    assert measure(lambda: None)[1].rtf is None


def test_measure_takes_the_fastest_call_and_leaves_the_warm_up_out() -> None:
    waits = iter([0.3, 0.2, 0.01])
    _, cost = measure(lambda: time.sleep(next(waits)), warm_up=1, repeats=2)
    assert cost.seconds < 0.15


@pytest.mark.parametrize("arguments", [{"repeats": 0}, {"warm_up": -1}, {"audio_s": 0.0}])
def test_measure_refuses_nonsense(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        measure(lambda: None, **arguments)  # type: ignore[arg-type]


def test_a_stopwatch_stops_when_its_block_fails() -> None:
    with pytest.raises(RuntimeError), stopwatch() as watch:
        time.sleep(0.01)
        raise RuntimeError
    assert watch.seconds >= 0.01


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak")
def test_peak_memory_sees_a_temporary_and_forgets_earlier_ones() -> None:
    def allocate(megabytes: int) -> None:
        np.ones(megabytes << 17)

    with peak_memory() as large:
        allocate(200)
    with peak_memory() as small:
        allocate(1)
    assert large.bytes is not None
    assert small.bytes is not None
    assert large.bytes - small.bytes > 150 << 20
    assert rss_bytes() <= peak_rss_bytes()


def test_ratio_is_that_of_the_work() -> None:
    compared = compare(lambda: busy(0.006), lambda: busy(0.002), rounds=5, round_seconds=0.006)
    assert compared.ratio == pytest.approx(3.0, rel=0.25)
    assert compared.rounds == 5


def test_ratio_does_not_count_waiting() -> None:
    compared = compare(lambda: (time.sleep(0.01), busy(0.002)), lambda: busy(0.002), rounds=3, round_seconds=0.002)
    assert compared.ratio < 2


def test_compare_refuses_no_rounds() -> None:
    with pytest.raises(ValueError, match="rounds"):
        compare(lambda: None, lambda: None, rounds=0)


def test_cuda_is_waited_for() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    matrix = torch.randn(4096, 4096, device="cuda")
    _, cost = measure(lambda: [matrix @ matrix for _ in range(20)], device="cuda", warm_up=1)
    assert isinstance(cost, Measured)
    assert cost.peak_memory_bytes > matrix.nbytes
    started = time.perf_counter()
    _ = [matrix @ matrix for _ in range(20)]
    queued = time.perf_counter() - started
    assert cost.seconds > queued


def test_timing_imports_no_torch() -> None:
    program = "import sys, eval.timing as timing; timing.measure(lambda: 1); assert 'torch' not in sys.modules"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
