import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval import audio_io
from eval.__main__ import main
from eval.sets import Undefined
from eval.sets.codes import code_statistics
from eval.sets.comparing import (
    EmbeddedSet,
    Sound,
    code_rows,
    compare,
    compare_folders,
    embed_set,
    pitch_of_name,
)
from eval.sets.embeddings import STATISTICS, Vector
from models.errors import EarwitnessError, InputError

RATE_HZ = 16_000
FEW = {"permutations": 19, "splits": 5}


def sound(seed: int, slope: float) -> np.ndarray:
    """Noise whose spectrum falls by a random amount around ``slope``."""
    generator = np.random.default_rng(seed)
    spectrum = np.fft.rfft(generator.standard_normal(6_400))
    frequency = np.arange(len(spectrum)) / len(spectrum)
    shaped = np.fft.irfft(spectrum * np.exp(-(slope + 0.3 * generator.standard_normal()) * frequency))
    return (0.2 * shaped / np.abs(shaped).max()).astype(np.float32)


def folder(path: Path, count: int, slope: float, rate: int = RATE_HZ) -> Path:
    path.mkdir()
    for i in range(count):
        audio_io.write_float(path / f"noise-{60 + i:03d}-100.wav", sound(int(10 * slope) * 100 + i, slope)[None], rate)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {
        "reference": folder(root / "reference", 24, 2.0),
        "alike": folder(root / "alike", 16, 2.01),
        "other": folder(root / "other", 16, 4.0),
    }


class Judge:
    """A classifier of two classes by the sign of the mean of the clip."""

    name = "note_classifier"
    sample_rate_hz = RATE_HZ

    def embed(self, waveform: np.ndarray, sample_rate_hz: int) -> Vector:
        if not np.abs(waveform).max():
            raise Undefined("the clip is silent")
        first = 0.9 if waveform[:100].mean() > 0 else 0.1
        return Vector(waveform[:3].astype(np.float64), np.array([first, 1 - first]), np.array([1 - first, first]))

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "sha256": "0" * 64, "dimensions": 3}


def test_distances_tell_alike_from_other(folders: dict[str, Path]) -> None:
    settings: dict[str, Any] = {"embeddings": ["log_mel"], "metrics": ["kernel_distance", "coverage"], **FEW}
    (alike,) = compare_folders(folders["reference"], folders["alike"], **settings)
    (other,) = compare_folders(folders["reference"], folders["other"], **settings)
    assert alike.scores[0].value < 0.2 * other.scores[0].value
    assert other.scores[0].p_value == 0.05
    assert other.scores[1].value < alike.scores[1].value
    assert (other.scores[0].n_estimate, other.scores[0].n_reference) == (16, 24)
    row = other.as_rows()[0]
    assert (row["embedding"], row["metric"], row["unit"]) == ("log_mel", "kernel_distance", "1")
    assert row["left_out_estimate"] == {}


def test_command_writes_json_and_csv(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [
        "sets",
        "--reference",
        str(folders["reference"]),
        "--estimate",
        str(folders["other"]),
        "--permutations",
        "19",
    ]
    chosen = ["--embedding", "mfcc", "--metric", "kernel_distance", "--metric", "frechet_distance"]
    assert main([*told, *chosen, "--output", str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    assert "16:24" in out
    assert "undefined: the estimate has 16 clips, 40 dimensions need more" in out
    document = json.loads((tmp_path / "a.json").read_text())
    assert (document["reference"], document["estimate"]) == ("reference", "other")
    assert document["embeddings"]["mfcc"]["dimensions"] == 40
    assert [row["status"] for row in document["rows"]] == ["ok", "undefined"]
    assert main([*told, *chosen, "--output", str(tmp_path / "a.csv")]) == 0
    table = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert float(table[0]["value"]) == document["rows"][0]["value"]
    assert float(table[0]["floor_mean"]) == document["rows"][0]["floor"]["mean"]
    assert table[1]["value"] == ""
    for wrong, message in (
        (["--output", str(tmp_path / "a.txt")], "suffix .json or .csv"),
        (["--output", str(tmp_path / "none" / "a.json")], "its folder does not exist"),
        (["--output", str(tmp_path / "a.json"), "--metric", "fad"], "unknown metric of sets 'fad'"),
        (["--output", str(tmp_path / "a.json"), "--embedding", "clap"], "embedding 'clap' is unknown"),
    ):
        assert main([*told, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_what_has_no_vector_is_left_out_and_said(folders: dict[str, Path], tmp_path: Path) -> None:
    estimate = tmp_path / "estimate"
    shutil.copytree(folders["alike"], estimate)
    audio_io.write_float(estimate / "silent.wav", np.zeros((1, 6_400), np.float32), RATE_HZ)
    (estimate / "broken.wav").write_bytes(b"RIFF")
    (found,) = compare_folders(
        folders["reference"], estimate, embeddings=["log_mel"], metrics=["kernel_distance"], **FEW
    )
    assert found.left_out_estimate == {"the file cannot be read": 1, "the clip is silent": 1}
    assert found.scores[0].n_estimate == 16
    assert found.first_left_out is not None
    silent = tmp_path / "silent"
    silent.mkdir()
    audio_io.write_float(silent / "a.wav", np.zeros((1, 6_400), np.float32), RATE_HZ)
    with pytest.raises(EarwitnessError, match="no metric could be computed; first: no clip of the estimate"):
        compare_folders(folders["reference"], silent, embeddings=["log_mel"], metrics=["kernel_distance"], **FEW)


def test_rates_are_never_mixed_in_silence(folders: dict[str, Path], tmp_path: Path) -> None:
    faster = folder(tmp_path / "faster", 12, 2.0, 32_000)
    settings: dict[str, Any] = {"embeddings": ["log_mel"], "metrics": ["kernel_distance"], **FEW}
    with pytest.raises(InputError, match=r"has 16000 Hz but .* has 32000 Hz; .* or --resample"):
        compare_folders(folders["reference"], faster, **settings)
    (found,) = compare_folders(folders["reference"], faster, resample_hz=32_000, **settings)
    assert found.scores[0].status == "ok"
    with pytest.raises(InputError, match="two folders of sounds have none"):
        compare_folders(folders["reference"], faster, metrics=["codes"])
    one = embed_set([Sound("a", sound(0, 2.0), 32_000)], Judge())  # type: ignore[arg-type]
    assert one.resampled_from_hz == [32_000]


def test_classes_come_from_the_classifier_alone() -> None:
    judge: Any = Judge()
    sides = [
        embed_set([Sound(f"a-{i % 2:03d}-100", sound(i + k, 2.0), RATE_HZ, i % 2) for i in range(14)], judge)
        for k in (0, 100)
    ]
    found = compare(*sides, judge, metrics=["classes", "labelled classes"], **FEW)
    names = ["inception_score_pitch", "inception_score_family", "pitch_entropy", "pitch_accuracy"]
    assert [score.metric for score in found.scores] == names
    assert all(score.status == "ok" for score in found.scores)
    unlabelled = dataclasses.replace(sides[0], pitches=None)
    (score,) = compare(unlabelled, sides[1], judge, metrics=["pitch_accuracy"], **FEW).scores
    assert (score.status, score.value) == ("skipped", None)
    plain: Any = STATISTICS["log_mel"]
    assert compare(*sides, plain, metrics=["pitch_entropy"], **FEW).scores == []
    nothing = EmbeddedSet(np.zeros((0, 1)), None, None, None, {}, [])
    assert compare(nothing, sides[1], judge, metrics=["pitch_entropy"], **FEW).scores[0].status == "undefined"


def test_pitches_of_names() -> None:
    assert pitch_of_name("test/bass_electronic_018-060-075") == 60
    assert pitch_of_name("bass-999-075") is pitch_of_name("take-2") is None


class Coder:
    """Codes by the loudness of pieces, and a second level that is always 0."""

    def codes(self, waveform: torch.Tensor, *, sample_rate_hz: int) -> dict[str, torch.Tensor]:
        pieces = waveform[:, :6_400].reshape(1, 8, -1).abs().mean(-1)
        return {"top": (pieces * 100).long().clamp(0, 15), "bottom": torch.zeros(1, 4, 2, dtype=torch.long)}


def test_codes_of_a_system_are_counted_over_all_sounds() -> None:
    sounds = [Sound(str(i), sound(i, 2.0), RATE_HZ) for i in range(5)]
    rows = code_rows(Coder(), [*sounds, Sound("broken", None, 0)], {"top": 16, "bottom": 8})
    values = {(row["metric"], row["level"]): row["value"] for row in rows}
    parts = [Coder().codes(torch.from_numpy(s.waveform)[None], sample_rate_hz=RATE_HZ)["top"] for s in sounds]
    counts = np.bincount(torch.cat(parts).flatten().numpy(), minlength=16)
    assert values["code_perplexity", "top"] == code_statistics(counts).perplexity
    assert values["dead_codes", "bottom"] == 7
    assert values["code_rate", "all"] == pytest.approx(values["code_rate", "top"])
    assert {row["n_estimate"] for row in rows} == {5}
    assert code_rows(Coder(), sounds, 16)[0] == {**rows[0], "size": 16}
    with pytest.raises(InputError, match="level 'bottom'"):
        code_rows(Coder(), sounds, {"top": 16})
    with pytest.raises(Undefined, match="no codes"):
        code_rows(Coder(), [], {"top": 16})
