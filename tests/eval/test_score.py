from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.metrics import METRICS, chosen
from eval.metrics.scoring import score_batch
from eval.score import COLUMNS, Row, cell, score_folders, summary_lines, to_csv
from models.errors import EarwitnessError, InputError, OutputError
from tests.eval.fakes import write
from tests.signals import noise, silence, tone


def table(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        found = {(row["clip"], row["metric"]): row for row in reader}
        assert tuple(reader.fieldnames or ()) == COLUMNS
    return found


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    reference, estimate = tmp_path / "ref", tmp_path / "est"
    for number in range(4):
        wave = tone(200 + 50 * number, 0.5)
        write(reference / "sub" / f"clip {number}.wav", wave, subtype="FLOAT")
        write(estimate / "sub" / f"clip {number}.flac", wave + noise(0.5, amplitude=0.01, seed=number))
    return reference, estimate, tmp_path / "scores.csv"


def test_values_are_those_of_the_metrics(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    report = score_folders(reference, estimate, output)
    assert (report.pairs, report.failed, report.only_reference, report.only_estimate) == (4, {}, [], [])
    found = table(output)
    assert len(found) == 4 * len(chosen(()))
    from eval import audio_io

    made = audio_io.read(estimate / "sub" / "clip 2.flac").waveform
    wanted = audio_io.read(reference / "sub" / "clip 2.wav").waveform
    scores = score_batch(torch.from_numpy(made), torch.from_numpy(wanted), sample_rate_hz=16_000, names=chosen(()))[0]
    for name, score in scores.items():
        row = found["sub/clip 2", name]
        assert float(row["value"]) == score.value and row["status"] == "ok" and row["unit"] == METRICS[name].unit
    lines = summary_lines(report)
    assert len(lines) == 1 + len(chosen(())) and all(" to " in line for line in lines[1:])


def test_any_number_of_workers_writes_the_same_file(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    texts = []
    for workers in (1, 3):
        score_folders(reference, estimate, output, metrics=["si_sdr"], workers=workers)
        texts.append(output.read_bytes())
    assert texts[0] == texts[1]


def test_files_without_a_partner_are_told(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    (estimate / "sub" / "clip 1.flac").unlink()
    write(estimate / "extra.wav", tone())
    report = score_folders(reference, estimate, output, metrics=["si_sdr"])
    assert (list(report.only_reference), list(report.only_estimate)) == (["sub/clip 1"], ["extra"])
    found = table(output)
    assert found["extra", "si_sdr"]["status"] == found["sub/clip 1", "si_sdr"]["status"] == "skipped"
    assert "reference" in found["extra", "si_sdr"]["reason"] and "estimate" in found["sub/clip 1", "si_sdr"]["reason"]
    assert report.missing == {"si_sdr": 0} and len(report.values["si_sdr"]) == 3


def test_mixed_rates_are_refused_unless_resampling_is_asked_for(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    write(estimate / "sub" / "clip 3.flac", tone(350, 0.5, 44_100), 44_100)
    with pytest.raises(InputError, match=r"has 44100 Hz .* 16000 Hz.*--resample"):
        score_folders(reference, estimate, output)
    assert not output.exists()
    report = score_folders(reference, estimate, output, metrics=["si_sdr"], resample_hz=0)
    assert report.failed == {} and float(table(output)["sub/clip 3", "si_sdr"]["value"]) > 20
    score_folders(reference, estimate, output, metrics=["si_sdr"], resample_hz=8000)
    assert float(table(output)["sub/clip 3", "si_sdr"]["value"]) > 20


def test_lengths(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    write(estimate / "sub" / "clip 0.flac", np.pad(tone(200, 0.5), (0, 700)))
    write(estimate / "sub" / "clip 1.flac", np.pad(tone(250, 0.5), (0, 900)))
    report = score_folders(reference, estimate, output, metrics=["waveform_l1"])
    found = table(output)
    assert found["sub/clip 0", "waveform_l1"]["status"] == "ok"
    assert "8700 samples, the reference 8000: cut" in found["sub/clip 0", "waveform_l1"]["reason"]
    assert (
        found["sub/clip 1", "waveform_l1"]["status"] == "failed" and found["sub/clip 1", "waveform_l1"]["value"] == ""
    )
    assert list(report.failed) == ["sub/clip 1"]


def test_bad_files_do_not_stop_the_others(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    (estimate / "sub" / "clip 0.flac").write_bytes(b"junk")
    write(reference / "sub" / "clip 1.wav", silence(0.5))
    report = score_folders(reference, estimate, output, metrics=["si_sdr", "log_mel_l1"])
    found = table(output)
    assert found["sub/clip 0", "si_sdr"]["status"] == "failed" and "clip 0.flac" in report.failed["sub/clip 0"]
    assert found["sub/clip 1", "si_sdr"]["status"] == "undefined"
    assert found["sub/clip 2", "si_sdr"]["status"] == "ok"


def test_nothing_to_score(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    reference, estimate, output = folders
    for path in (estimate / "sub").iterdir():
        path.write_bytes(b"junk")
    with pytest.raises(EarwitnessError, match="none of 4 pairs"):
        score_folders(reference, estimate, output, metrics=["si_sdr"])
    assert len(table(output)) == 4
    (tmp_path / "empty").mkdir()
    write(tmp_path / "elsewhere" / "z.wav", tone())
    for other, part in (
        ("empty", "holds no audio"),
        ("missing", "no such folder"),
        ("elsewhere", "no file has the name"),
    ):
        with pytest.raises(InputError, match=part):
            score_folders(reference, tmp_path / other, output)


def test_two_files_of_one_name(folders: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = folders
    write(estimate / "sub" / "clip 0.wav", tone())
    with pytest.raises(InputError, match=r"'clip 0\.flac' and 'clip 0\.wav'"):
        score_folders(reference, estimate, output)


def test_the_output_is_looked_at_first(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    reference, estimate, _ = folders
    for output in (tmp_path, tmp_path / "no" / "scores.csv"):
        with pytest.raises(InputError, match=r"CSV file in a folder"):
            score_folders(reference, estimate, output)
    with pytest.raises((OutputError, InputError), match=r"cannot be written"):
        score_folders(reference, estimate, Path("/proc/scores.csv"), metrics=["si_sdr"])
    with pytest.raises(InputError, match="si_sdr"):
        score_folders(reference, estimate, tmp_path / "s.csv", metrics=["nosuch"])


def test_links_are_not_followed_out_of_the_folder(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    reference, estimate, output = folders
    secret = write(tmp_path / "secret.wav", tone())
    (reference / "l.wav").symlink_to(secret)
    shutil.copy(secret, estimate / "l.wav")
    report = score_folders(reference, estimate, output, metrics=["si_sdr"])
    assert report.only_estimate == ["l"]


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "\tx", "\rx", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text: str) -> None:
    read = next(csv.reader(io.StringIO(to_csv([Row(text, "si_sdr", -1.5, "ok", None)]).split("\n", 1)[1])))
    assert read[0] == f"'{text}".replace("\r", "\\r") and read[2] == "-1.5"


def test_odd_names_survive_the_file() -> None:
    for name in ('a "b", c', "line\nbreak", "ünï", "<b>"):
        text = to_csv([Row(name, "si_sdr", None, "failed", "x, y")])
        rows = list(csv.reader(io.StringIO(text)))
        assert len(rows) == 2 and rows[1][0] == name and rows[1][5] == "x, y"
    assert cell(None) == "" and cell(1e-20) == "1e-20"
    assert cell("a\udcff") == "a\\xff"
