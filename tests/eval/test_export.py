from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eval import audio_io
from eval.export import CEILING_DBFS, ExportedRow, Version, export_row, level_policy, row_gain
from models.errors import InputError, OutputError
from tests.signals import harmonic, silence, tone


def versions(scale: float = 1.0) -> list[Version]:
    codes = {"top": np.arange(32 * 4).reshape(32, 4), "bottom": np.arange(64 * 8).reshape(64, 8)}
    return [
        Version("original", "recording", harmonic(220, 1.0)),
        Version("reconstruction", "Toy", np.float32(scale) * harmonic(233, 1.0), codes, 512, 1.0),
    ]


def export(folder: Path, name: str = "note", scale: float = 1.0, bits: int = 16) -> ExportedRow:
    return export_row(
        name, versions(scale), sample_rate_hz=16_000, collection="notes", folder=folder, bits=bits, label="a tone"
    )


def everything(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_export_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = export(tmp_path / "a"), export(tmp_path / "b")
    assert first == second
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert sorted(first.paths) == sorted(everything(tmp_path / "a"))
    # Audio; spectrogram and waveform of both; difference and two code maps of one; all pictures twice.
    assert len(first.paths) == 2 * 3 + 2 * (2 * 2 + 1 + 2)


@pytest.mark.parametrize("bits", [16, 24])
def test_what_is_said_of_a_file_is_true(tmp_path: Path, bits: int) -> None:
    row = export(tmp_path, bits=bits)
    for category, version in zip(("original", "reconstruction"), versions(), strict=True):
        files = row.files[category]
        assert list(files) == ["ogg", "flac", "wav"]
        for form, entry in files.items():
            path = tmp_path / entry["path"]
            assert entry["path"] == f"assets/audio/notes/note-{category}.{form}"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
            assert path.stat().st_size == entry["bytes"]
        wav, rate = soundfile.read(tmp_path / files["wav"]["path"], dtype="float32")
        flac, _ = soundfile.read(tmp_path / files["flac"]["path"], dtype="float32")
        assert rate == 16_000 and np.array_equal(wav, flac)
        assert soundfile.info(tmp_path / files["wav"]["path"]).subtype == f"PCM_{bits}"
        assert np.abs(wav - version.waveform).max() <= 0.5 / 2 ** (bits - 1)
        assert files["wav"]["pcm_sha256"] == files["flac"]["pcm_sha256"] != files["ogg"]["pcm_sha256"]
        assert row.gain_db[category] == 0.0
        assert row.peak_dbfs[category] == pytest.approx(20 * np.log10(np.abs(wav).max()), abs=1e-3)
        assert row.loudness_lufs[category] == pytest.approx(audio_io.loudness_lufs(wav, rate), abs=1e-3)


def test_one_gain_serves_the_row_and_only_where_a_version_would_clip(tmp_path: Path) -> None:
    assert row_gain(versions(1.9)) == 1.0
    row = export(tmp_path, scale=4.0)
    peaks = {c: np.abs(soundfile.read(tmp_path / f["wav"]["path"])[0]).max() for c, f in row.files.items()}
    gain = 10 ** (CEILING_DBFS / 20) / 2.0
    assert peaks["reconstruction"] == pytest.approx(10 ** (CEILING_DBFS / 20), abs=1e-4)
    assert peaks["original"] == pytest.approx(0.5 * gain, abs=1e-4)
    expected_db = pytest.approx(20 * np.log10(gain), abs=1e-3)
    assert row.gain_db == {"original": expected_db, "reconstruction": expected_db}


@pytest.mark.parametrize("name", ["../../../evil", "/etc/evil", "<b>x</b>", 'a "b"', "ünï", "x\0y"])
def test_labels_never_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "companion"
    row = export(inside, name)
    assert all(path.is_relative_to(inside / "assets") for path in tmp_path.rglob("*") if path.is_file())
    for path in row.paths:
        assert (inside / path).is_file() and ".." not in path
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/")


def test_silence_has_no_loudness(tmp_path: Path) -> None:
    row = export_row(
        "s", [Version("original", "r", silence(1.0))], sample_rate_hz=16_000, collection="c", folder=tmp_path,
        bits=16, label="nothing",
    )  # fmt: skip
    assert row.loudness_lufs == {"original": None} and row.peak_dbfs == {"original": None}
    assert "silence" in row.pictures["original"]["spectrogram"]["alt"]


def test_code_maps_end_with_the_clip(tmp_path: Path) -> None:
    codes = {"top": np.zeros((2, 12), dtype=np.int64)}
    row = export_row(
        "c", [Version("original", "r", tone(440, 10.0, 8000), codes, 16, 12.0)], sample_rate_hz=8000, collection="c",
        folder=tmp_path, bits=16, label="x",
    )  # fmt: skip
    assert "10 time steps" in row.pictures["original"]["codemap_top"]["alt"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "assets").write_text("in the way")
    with pytest.raises(OutputError, match="assets"):
        export(tmp_path)


def test_an_unknown_policy() -> None:
    assert "common gain" in level_policy("row_gain").text
    with pytest.raises(InputError, match="row_gain"):
        level_policy("louder")
