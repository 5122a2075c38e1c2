import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from models.__main__ import main
from models.checkpoint import save
from models.registry import MODELS
from models.training import jobs
from models.training.data import ClipStore


def test_list_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODELS)


def test_card_of_a_given_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, {"x": torch.zeros(1)}, {"name": "vqvae2", "step": 12})
    assert main(["card", f"vqvae2@{tmp_path}"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 12


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["card", "nothing"], 2, "known: vqvae2"),
        (["card", "griffin_lim@somewhere"], 2, "no weights"),
        (["card", "vqvae2@/no/such/folder"], 1, "card.json: missing"),
        (["train", "griffin_lim", "--corpus", "x", "--steps", "1"], 2, "nothing to train"),
        (["train", "vqvae2", "--corpus", "x", "--steps", "0"], 2, "positive"),
        (["train", "vqvae2", "--corpus", "x", "--steps", "1", "--set", "channels=17"], 2, "multiple of 16"),
        (["train", "vqvae2", "--corpus", "x", "--steps", "1", "--set", "channels"], 2, "need KEY=VALUE"),
        (["settings", "griffin_lim"], 2, "nothing to train"),
        (["train", "vqvae2", "--corpus", "x", "--steps", "1", "--device", "abacus"], 2, "abacus"),
        (["train", "vqvae2", "--corpus", "/no/such/corpus", "--steps", "1"], 1, "/no/such/corpus"),
    ],
)
def test_errors_are_one_line(arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == status
    written = capsys.readouterr().err
    assert written.startswith("error: ")
    assert words in written
    assert written.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["train", "vqvae2", "--corpus", "x"], ["sing"]])
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_signal_saves_and_resume_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pcm = (torch.rand(4, 64_000, generator=torch.Generator().manual_seed(0)) * 1000).to(torch.int16)
    clips = ClipStore(pcm, ("a", "b", "c", "d"), torch.zeros(4, dtype=torch.int64), (), 16_000)
    timers: list[threading.Timer] = []

    def read_then_signal(*args: object, **options: object) -> ClipStore:
        timers.append(threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)))
        timers[-1].start()
        return clips

    common = ["train", "vqvae2", "--corpus", "x", "--output", str(tmp_path / "run"), "--set", "channels=16"]
    common += ["--set", "batch_size=1", "--device", "cpu", "--validation-share", "0"]
    monkeypatch.setattr(jobs, "read_clips", read_then_signal)
    assert main([*common, "--steps", "100000"]) == 128 + signal.SIGTERM
    assert "--resume" in capsys.readouterr().err
    step = json.loads((tmp_path / "run" / "checkpoint" / "card.json").read_text())["step"]
    assert step >= 1
    monkeypatch.setattr(jobs, "read_clips", lambda *args, **options: clips)
    assert main([*common, "--steps", str(step + 1), "--resume"]) == 0
    assert f"{step + 1} steps" in capsys.readouterr().out
