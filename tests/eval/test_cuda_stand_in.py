"""The code paths for a CUDA device on stand-ins: the kernel in torch on the CPU, a model on the meta device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from eval.corpora import open_corpus
from eval.metrics import METRICS, cepstral, kernels, mel_distance, sums, tiles, waveform
from eval.metrics.scoring import score_batch
from eval.results import ResultsStore
from eval.runner import Runner
from eval.timing import peak_memory, stopwatch
from tests.eval.fakes import Fake, as_entry, make_folder
from tests.signals import harmonic, noise

RATE = 44_100
NAMES = [row.name for row in METRICS.values() if not row.package and not row.needs_labels]


def test_the_kernel_for_a_gpu_gives_what_the_other_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    # In float64, because a CPU takes float32 clips in single precision where it may.
    clip = torch.from_numpy(harmonic(220, 2.0, RATE) + noise(2.0, RATE, amplitude=0.02)).double()[None]
    made = 0.9 * clip + torch.from_numpy(noise(2.0, RATE, amplitude=0.02, seed=1))[None]
    here = score_batch(made, clip, sample_rate_hz=RATE, names=NAMES)[0]
    used = []

    def kernel_for(device: torch.device) -> kernels.Kernel:
        used.append(device)
        return kernels._CudaKernel(torch.device("cpu"))

    for module in (sums, tiles, waveform, cepstral, mel_distance):
        monkeypatch.setattr(module, "kernel_for", kernel_for, raising=False)
    plans = [name for name in NAMES if METRICS[name].plan]
    there = score_batch(made, clip, sample_rate_hz=RATE, names=plans)[0]
    assert used and len(plans) > 10
    for name in plans:
        assert there[name].status == here[name].status, (name, there[name].reason)
        if here[name].value is not None:
            assert there[name].value == pytest.approx(here[name].value, rel=1e-9, abs=1e-12), name


def test_models_on_a_gpu_take_turns(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 8)
    inside = threading.Semaphore(1)
    devices = set()

    def alone(given: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        assert inside.acquire(blocking=False), "two pieces were on the device at once"
        devices.add(given.device.type)
        made = torch.full(given.shape, 0.1)
        inside.release()
        return made

    with ResultsStore(tmp_path / "out") as store:
        runner = Runner(
            store, [as_entry(Fake(change=alone))], ["waveform_l1"], seed=1, run_id="r", device="meta", batch_size=2,
            workers=4,
        )  # fmt: skip
        corpus = open_corpus(folder, layout="folder")
        report = runner.run(lambda: corpus.clips(split="all", rule="none"))
    assert (report.computed, report.failed, devices) == (8, 0, {"meta"})


def test_clocks_wait_for_a_gpu_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: told.append(f"{name} {device}") or 7)
    with stopwatch("cuda:1"):
        told.append("work")
    assert told == ["synchronize cuda:1", "work", "synchronize cuda:1"]
    told.clear()
    with peak_memory("cuda:1") as memory:
        told.append("work")
    assert memory.bytes == 7
    assert [word.partition(" ")[0] for word in told] == [
        "synchronize", "reset_peak_memory_stats", "work", "synchronize", "max_memory_allocated"
    ]  # fmt: skip


def test_room_is_given_back_before_a_smaller_batch_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, told = make_folder(tmp_path / "in", 4), []

    def fit(given: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        told.append(len(given))
        if len(given) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.full(given.shape, 0.1)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("emptied"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    with ResultsStore(tmp_path / "out") as store:
        runner = Runner(store, [as_entry(Fake(change=fit))], ["waveform_l1"], seed=1, run_id="r", device="cuda")
        corpus = open_corpus(folder, layout="folder")
        report = runner.run(lambda: corpus.clips(split="all", rule="none"))
    assert (report.computed, report.failed) == (4, 0)
    assert told == [4, "emptied", 2, 2]
