"""What is done once is done once: reading, transforms; and what may run side by side does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from eval import audio_io
from eval.metrics import METRICS, chosen, metric, sums, tiles
from eval.metrics.scoring import _plan, score_batch
from tests.eval.fakes import Fake, make_folder
from tests.eval.test_runner import run
from tests.signals import harmonic, noise

RATE = 22_050


def test_a_clip_is_decoded_once_for_all_models_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "in", 5)
    real, read = audio_io.read, Counter[str]()

    def counted(path: Path | str, **settings: object) -> audio_io.Audio:
        read[Path(path).name] += 1
        return real(path, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(audio_io, "read", counted)
    monkeypatch.setattr("eval.corpora.base.read", counted, raising=False)
    systems = [Fake("a"), Fake("b"), Fake("c", sample_rate_hz=8_000)]
    assert run(folder, tmp_path / "out", systems, chosen(())).computed == 15
    assert read == {f"clip_{n:04d}.wav": 1 for n in range(5)}


def test_every_transform_is_computed_once_however_many_metrics_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [row.name for row in METRICS.values() if row.plan]
    wanted = {request.stft for name in names for request in _plan(name, RATE).requests}
    asked = Counter(request.stft for name in names for request in set(_plan(name, RATE).requests))
    assert len(names) > 10 and max(asked.values()) > 5
    made = Counter[object]()

    class Counted(tiles.Spectrogram):
        def tile(self, first: int, last: int, *, single: bool, floor: float = 0.0) -> tiles.Tile:
            made[self._settings, first, single] += 1
            return super().tile(first, last, single=single, floor=floor)

    monkeypatch.setattr(sums, "Spectrogram", Counted)
    clip = torch.from_numpy(harmonic(220, 1.0, RATE)).double()[None]
    made_of = clip + torch.from_numpy(noise(1.0, RATE, amplitude=0.01))[None]
    found = score_batch(made_of, clip, sample_rate_hz=RATE, names=names)[0]
    assert all(score.value is not None for score in found.values())
    assert {settings for settings, *_ in made} == wanted and set(made.values()) == {1}
    # In single precision a tile may be taken once more in double, and that is all.
    made.clear()
    score_batch(made_of.float(), clip.float(), sample_rate_hz=RATE, names=names)
    assert {settings for settings, *_ in made} == wanted and set(made.values()) == {1}
    assert metric("log_mel_l1").plan


def test_pieces_are_read_and_written_while_another_is_in_the_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    inside: list[str] = []
    both = threading.Event()

    def change(waveform: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        inside.append(threading.current_thread().name)
        if len(set(inside)) > 1:
            both.set()
        # The first piece waits inside the model until the second has come as far.
        assert both.wait(20), "nothing ran beside this piece"
        return waveform * 0.5

    report = run(folder, tmp_path / "out", [Fake(change=change)], batch_size=2, workers=2)
    assert (report.computed, report.failed) == (4, 0)


@pytest.mark.slow
def test_a_run_with_nothing_to_do_over_10_000_clips_takes_two_seconds(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 10_000, duration_s=0.02)
    assert run(folder, tmp_path / "out", [Fake()], ["waveform_l1"], batch_size=32).computed == 10_000
    started = time.process_time()
    report = run(folder, tmp_path / "out", [Fake()], ["waveform_l1"])
    assert (report.computed, report.kept) == (0, 10_000)
    assert time.process_time() - started < 2.0
