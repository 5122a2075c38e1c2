"""Toy systems and folders of recordings, small enough to know every answer."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from eval.runner import SystemEntry
from tests.signals import tone


class Fake:
    """Halves a waveform, or does with it whatever it is told to; remembers the rows that it saw."""

    deterministic = True
    parameters = 7

    def __init__(
        self,
        name: str = "halver",
        *,
        change: Callable[[torch.Tensor, Sequence[int]], torch.Tensor] | None = None,
        sample_rate_hz: int | None = None,
        log: Path | None = None,
        pause_s: float = 0.0,
    ) -> None:
        self.name = name
        self.title = name.capitalize()
        self.sample_rate_hz = sample_rate_hz
        self.change = change or (lambda waveform, seeds: waveform * 0.5)
        self.calls: list[tuple[int, ...]] = []
        self.seeds: list[int] = []
        self.log = log
        self.pause_s = pause_s
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        """How many clips went through, in batches that worked or not."""
        return sum(shape[0] for shape in self.calls)

    def reconstruct(self, waveform: torch.Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> torch.Tensor:
        with self._lock:
            self.calls.append(tuple(waveform.shape))
            self.seeds += seeds
            if self.log is not None:
                marks = [hashlib.sha256(row.numpy().tobytes()).hexdigest()[:16] for row in waveform]
                with self.log.open("a") as stream:
                    stream.write("".join(f"{self.name} {mark}\n" for mark in marks))
                    stream.flush()
                    os.fsync(stream.fileno())
        time.sleep(self.pause_s * len(waveform))
        return self.change(waveform, seeds)

    def codes(self, waveform: torch.Tensor, *, sample_rate_hz: int) -> dict[str, torch.Tensor]:
        return {}

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "parameters": self.parameters, "checkpoint": None}


def as_entry(system: Fake, key: str = "1") -> SystemEntry:
    """A fake as the runner takes it; the key stands for its weights and code."""
    return SystemEntry(system.name, f"{system.name} {key}", lambda: system)


def seeded_noise(waveform: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Noise of each row's own seed."""
    rows = [torch.randn(waveform.shape[-1], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) * 0.1


class Halver(Fake):
    """In the form of the table of models."""

    def __init__(self, *, checkpoint: Path | None, device: str) -> None:
        super().__init__("halver")


class Coder(Fake):
    """Has code maps: four seconds are 2 × 4 codes at 8 kHz."""

    def __init__(self, *, checkpoint: Path | None, device: str) -> None:
        super().__init__("coder", change=lambda waveform, seeds: waveform * 0.9, sample_rate_hz=8000)

    def codes(self, waveform: torch.Tensor, *, sample_rate_hz: int) -> dict[str, torch.Tensor]:
        pictures = -(-waveform.shape[-1] // 32_000)
        return {"top": torch.arange(8 * pictures).reshape(1, 2, 4 * pictures) % 16}

    def describe(self) -> dict[str, object]:
        frontend = {"name": "toy", "settings": {"n_samples": 32_000}}
        checkpoint = {"sha256": "a" * 64, "step": 3}
        return {**super().describe(), "config": {"codebook_size": 16}, "frontend": frontend, "checkpoint": checkpoint}


class Breaks(Fake):
    """Never gives an output."""

    def __init__(self, *, checkpoint: Path | None, device: str) -> None:
        def refuse(waveform: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
            raise RuntimeError("out of <luck>")

        super().__init__("breaks", change=refuse)


def write(path: Path, waveform: np.ndarray, sample_rate_hz: int = 16_000, **options: Any) -> Path:
    """An audio file; one sample differs from file to file so that no two have the same samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, sample_rate_hz, **options)
    return path


def make_folder(root: Path, count: int = 6, *, duration_s: float = 0.3, sample_rate_hz: int = 16_000) -> Path:
    """A plain folder of tones of different pitch."""
    for number in range(count):
        wave = tone(200 + 37 * number, duration_s, sample_rate_hz)
        write(root / f"clip_{number:04d}.wav", wave, sample_rate_hz)
    return root
