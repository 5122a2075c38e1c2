"""The verbs ``study``, ``generate``, ``list`` and ``run`` with studies and generators."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from eval import audio_io
from eval.__main__ import main
from models import registry
from models.registry import ModelEntry
from tests.eval.fakes import make_folder


class Toy:
    """A generator whose sounds are noise of their seed."""

    name = "toy"
    title = "Toy"
    parameters = 3
    sample_rate_hz = 8000

    def __init__(self, *, checkpoint: Path | None, device: str) -> None:
        self.calls: list[list[int]] = []

    def generate(self, seeds: Sequence[int]) -> list[torch.Tensor]:
        assert len(seeds) <= 8
        return [torch.randn(1, 400, generator=torch.Generator().manual_seed(seed)) * 0.1 for seed in seeds]

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "parameters": self.parameters}


class Choosy(Toy):
    """A generator of notes of given pitches, or of any."""

    def generate(self, pitches: Sequence[int], *, seeds: Sequence[int]) -> list[torch.Tensor]:  # type: ignore[override]
        raise AssertionError("no pitches were given")

    def generate_unconditional(self, *, seeds: Sequence[int]) -> torch.Tensor:
        return torch.stack([row[0] for row in super().generate(seeds)])


class Mute(Toy):
    """A generator that needs more than a seed."""

    def generate(self, mel: torch.Tensor, *, seeds: Sequence[int]) -> list[torch.Tensor]:  # type: ignore[override]
        raise AssertionError("no mel was given")


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = "tests.eval.studies.test_commands"
    entries = {
        "coder": ModelEntry("coder", "Coder", "tests.eval.fakes:Coder", "A toy.", None),
        "halver": ModelEntry("halver", "Halver", "tests.eval.fakes:Halver", "A toy.", None),
        "toy": ModelEntry("toy", "Toy", f"{here}:Toy", "Makes noise.", None, kind="generator"),
        "choosy": ModelEntry("choosy", "Choosy", f"{here}:Choosy", "Makes noise.", None, kind="generator"),
        "mute": ModelEntry("mute", "Mute", f"{here}:Mute", "Makes none.", None, kind="generator"),
    }
    monkeypatch.setattr(registry, "MODELS", MappingProxyType(entries))
    monkeypatch.setattr("eval.studies.STUDIES", {"tones": "tests.eval.studies.fake_study"})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    found: Any
    try:
        found = main(arguments)
    except SystemExit as stop:
        found = stop.code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert (found, out, len(lines)) == (status, "", 1), (found, out, err)
    assert lines[0].startswith("error: ")
    return lines[0]


def test_study_writes_its_documents_and_prints_its_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "tones", "--seed", "3", "--device", "cpu", "--output", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == ["met: Louder than −6 dB: -3.0 dB", "missed: Fewer than 100 bits: 640 bits"]
    assert err == "measuring\n"
    document = json.loads((tmp_path / "_data" / "studies" / "tones.json").read_text(encoding="utf-8"))
    run = json.loads((tmp_path / "_data" / "runs" / f"{document['run']}.json").read_text(encoding="utf-8"))
    assert run["seed"] == 3 and run["device"] == "cpu"
    # Of a path of this machine the last name is told.
    assert run["command"] == f"python -m eval study tones --seed 3 --device cpu --output {tmp_path.name}"


def test_study_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--device", "cpu", "--output", str(tmp_path / "out")]
    assert "unknown; known: tones" in refused(["study", "noises", *out], 2, capsys)
    assert "NAME@FOLDER" in refused(["study", "tones", "--model", "coder", *out], 2, capsys)
    assert "no weights" in refused(["study", "tones", "--model", "coder@x", *out], 2, capsys)
    assert "nowhere" in refused(["study", "tones", "--training", str(tmp_path / "nowhere"), *out], 2, capsys)
    assert "cannot be used here" in refused(["study", "tones", "--device", "cuda:9"], 2, capsys)
    assert not (tmp_path / "out").exists()


def test_generate_writes_sounds_and_what_made_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", "toy", "--count", "10", "--seed", "4", "--device", "cpu"]
    assert main([*command, "--output", str(tmp_path / "a")]) == 0
    assert "10 in" in capsys.readouterr().out
    document = json.loads((tmp_path / "a" / "toy.json").read_text(encoding="utf-8"))
    assert (document["model"], document["sample_rate_hz"], document["checkpoint_sha256"]) == ("toy", 8000, None)
    assert [entry["seed"] for entry in document["sounds"]] == list(range(4, 14))
    for entry in document["sounds"]:
        audio = audio_io.read(tmp_path / "a" / entry["file"])
        assert audio.waveform.shape == (1, 400) and audio.sample_rate_hz == 8000
        expected = torch.randn(1, 400, generator=torch.Generator().manual_seed(entry["seed"])) * 0.1
        np.testing.assert_array_equal(audio.waveform, expected.numpy())
        assert audio_io.pcm_sha256(audio.waveform, 8000) == entry["pcm_sha256"]
    assert main([*command, "--output", str(tmp_path / "b")]) == 0
    assert main([*command[:2], "choosy", *command[3:], "--output", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "choosy-7.wav").read_bytes() == (tmp_path / "a" / "toy-7.wav").read_bytes()
    same = [(tmp_path / f / "toy-7.wav").read_bytes() for f in "ab"]
    assert same[0] == same[1]


def test_generate_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--device", "cpu", "--output", str(tmp_path / "out")]
    assert "generators: toy, choosy, mute" in refused(["generate", "--model", "coder", *out], 2, capsys)
    assert "no sound from a seed" in refused(["generate", "--model", "mute", *out], 2, capsys)
    assert "unknown" in refused(["generate", "--model", "who", *out], 2, capsys)
    assert "no weights" in refused(["generate", "--model", "toy@x", *out], 2, capsys)
    assert "seed -1" in refused(["generate", "--model", "toy", "--seed", "-1", *out], 2, capsys)
    assert "whole number" in refused(["generate", "--model", "toy", "--count", "0", *out], 2, capsys)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("x")
    assert "file" in refused(["generate", "--model", "toy", "--output", str(tmp_path / "file")], 1, capsys)


def test_a_generator_does_not_run_in_the_harness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", "--corpus", str(make_folder(tmp_path / "in", 1)), "--output", str(tmp_path / "out"), "--model", "toy"]
    assert refused(run, 2, capsys) == "error: model 'toy' is a generator and turns no clip into another"
    monkeypatch.setattr("tests.eval.studies.fake_study.MODELS", ("toy",))
    assert refused(run, 2, capsys).endswith("into another; python -m eval study tones measures it")
    assert not (tmp_path / "out").exists()


def test_list_names_studies_and_generators(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "studies:\n  tones  python -m eval study tones\n" in out
    assert "Toy. Makes noise. [generator]" in out and "Coder. A toy.\n" in out
    assert main(["list", "studies"]) == 0
    assert capsys.readouterr().out == "  tones  python -m eval study tones\n"
