"""What is wrong with people's inputs and machines, line by line: a right number, a stated reason, or a clear error."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import audio_io
from eval.__main__ import main
from eval.metrics import METRICS, chosen, scoring
from eval.metrics.scoring import score_batch
from eval.results import ResultsStore
from eval.score import score_folders
from tests.eval.fakes import Fake, make_folder, write
from tests.eval.test_runner import errors, rows, run
from tests.eval.test_score import table
from tests.signals import harmonic, noise, silence, tone

RATE = 16_000


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, Path, Path]:
    (tmp_path / "reference").mkdir()
    (tmp_path / "estimate").mkdir()
    return tmp_path / "reference", tmp_path / "estimate", tmp_path / "scores.csv"


# --- signals


def test_an_estimate_that_is_late_or_upside_down_says_so(scored: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = scored
    clip = harmonic(220, 1.0) + noise(1.0, amplitude=0.05)
    late = np.concatenate([np.zeros(160, np.float32), clip[:-160]])
    for name, made in {"late": late, "inverted": -clip, "both": -late}.items():
        write(reference / f"{name}.wav", clip, subtype="FLOAT")
        write(estimate / f"{name}.wav", made, subtype="FLOAT")
    names = ["alignment_delay", "alignment_polarity", "aligned_correlation", "si_sdr", "waveform_l1", "log_mel_l1"]
    score_folders(reference, estimate, output, metrics=names)
    found = {key: float(row["value"] or "nan") for key, row in table(output).items()}
    for name, delay, polarity in (("late", 0.01, 1), ("inverted", 0.0, -1), ("both", 0.01, -1)):
        scale = {"s": 1.0, "ms": 1e3, "samples": RATE}[METRICS["alignment_delay"].unit]
        assert found[name, "alignment_delay"] == pytest.approx(delay * scale, abs=1e-9)
        assert found[name, "alignment_polarity"] == polarity
        assert found[name, "aligned_correlation"] > 0.99
    assert found["late", "si_sdr"] < 10
    # Polarity is nothing to a spectrum, and everything to a waveform.
    assert found["inverted", "log_mel_l1"] == 0 and found["inverted", "waveform_l1"] > 0.1


def test_one_sample_is_a_clip_and_none_is_not(scored: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = scored
    for folder in (reference, estimate):
        write(folder / "one.wav", np.array([0.5], np.float32))
        write(folder / "none.wav", np.zeros(0, np.float32))
        write(folder / "sound.wav", tone())
    score_folders(reference, estimate, output, metrics=["all"])
    found = table(output)
    assert {row["status"] for (clip, _), row in found.items() if clip == "none"} == {"failed"}
    assert float(found["one", "waveform_l1"]["value"]) == 0
    assert found["one", "log_mel_l1"]["status"] == "undefined" and "1 samples" in found["one", "log_mel_l1"]["reason"]
    for (clip, _), row in found.items():
        assert clip != "one" or row["value"] or row["reason"]


def test_stereo_is_mixed_to_one_channel_on_both_sides(scored: tuple[Path, Path, Path]) -> None:
    reference, estimate, output = scored
    left, right = tone(200, 0.5), tone(300, 0.5)
    write(reference / "a.wav", (left + right) / 2, subtype="FLOAT")
    write(estimate / "a.wav", np.stack([left, right]).T, subtype="FLOAT")
    score_folders(reference, estimate, output, metrics=["waveform_l1"])
    assert float(table(output)["a", "waveform_l1"]["value"]) < 1e-7


@pytest.mark.slow
def test_an_hour_is_scored_like_a_minute(tmp_path: Path) -> None:
    # Sixty equal minutes: whatever is a mean over time stays what it is, and no buffer grows with the clip.
    rate = 8_000
    minute = harmonic(110, 60.0, rate) * np.hanning(60 * rate).astype(np.float32)
    made = minute + noise(60.0, rate, amplitude=0.01)
    long = [torch.from_numpy(np.tile(wave, 60))[None] for wave in (made, minute)]
    short = [torch.from_numpy(wave)[None] for wave in (made, minute)]
    names = chosen(())
    hour = score_batch(*long, sample_rate_hz=rate, names=names)[0]
    one = score_batch(*short, sample_rate_hz=rate, names=names)[0]
    for name in names:
        assert hour[name].value == pytest.approx(one[name].value, rel=0.01), name
    written = audio_io.write_set(tmp_path / "hour", long[1].numpy(), rate)
    for form, file in written.items():
        assert audio_io.read(file.path).waveform.shape == (1, 3600 * rate), form


# --- folders


def test_an_empty_folder_and_one_without_audio_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no sound")
    for name in ("empty", "texts"):
        options = ["--corpus", str(tmp_path / name), "--output", str(tmp_path / "out")]
        assert main(["run", "--model", "griffin_lim", *options]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and name in said
        assert not (tmp_path / "out").exists()


def test_two_recordings_of_one_name_are_two_clips(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav", tone(200, 0.2))
    write(tmp_path / "in" / "a.flac", tone(300, 0.2))
    write(tmp_path / "in" / "b" / "a.wav", tone(400, 0.2))
    report = run(tmp_path / "in", tmp_path / "out", [Fake()])
    assert (report.clips, report.failed) == (3, 0)
    with ResultsStore(tmp_path / "out") as store:
        assert store.clip_ids() == ["a.flac", "a.wav", "b/a"]
        assert len({store.output_pcm(name, "halver") for name in store.clip_ids()}) == 3


# --- metrics that break


def test_a_metric_that_breaks_on_one_clip_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "in", 4)
    write(folder / "clip_0002.wav", silence(0.3) + 0.25)
    real = scoring._resolve

    def resolve(target: str) -> object:
        function = real(target)
        if target != METRICS["snr"].target:
            return function

        def snr(estimate: torch.Tensor, reference: torch.Tensor, **settings: object) -> torch.Tensor:
            if float(reference[0]) == 0.25:
                raise KeyError("bin 7")  # neither an error of values nor of torch
            made: torch.Tensor = function(estimate, reference, **settings)
            return made

        return snr

    monkeypatch.setattr(scoring, "_resolve", resolve)
    report = run(folder, tmp_path / "out", [Fake()], ["waveform_l1", "snr"])
    assert report.failed == 0
    with ResultsStore(tmp_path / "out") as store:
        found = store.values("halver", "snr")
        assert [status for _, status, _ in found.values()] == ["ok", "ok", "failed", "ok"]
        assert found["clip_0002"] == (None, "failed", "KeyError: 'bin 7'")
        assert {status for _, status, _ in store.values("halver", "waveform_l1").values()} == {"ok"}


@pytest.mark.parametrize("where", ["plan", "formula"])
def test_a_spectral_metric_that_breaks_leaves_the_others_their_values(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate, reference = torch.from_numpy(tone())[None] * 0.5, torch.from_numpy(tone())[None]
    names = ["log_mel_l1", "spectral_convergence", "log_spectral_distance"]
    sound = score_batch(estimate, reference, sample_rate_hz=RATE, names=names)[0]
    real_plan, real_resolve = scoring._plan, scoring._resolve

    def broken(*_: object, **__: object) -> torch.Tensor:
        raise AttributeError("no such thing")

    def plan(name: str, rate: int) -> object:
        if name != "spectral_convergence":
            return real_plan(name, rate)
        if where == "plan":
            raise AttributeError("no such thing")
        return real_plan(name, rate)._replace(combine=broken)

    monkeypatch.setattr(scoring, "_plan", plan)
    monkeypatch.setattr(
        scoring, "_resolve", lambda target: broken if target.endswith(":spectral_convergence") else real_resolve(target)
    )
    found = score_batch(estimate, reference, sample_rate_hz=RATE, names=names)[0]
    assert (found["spectral_convergence"].status, found["spectral_convergence"].reason) == (
        "failed", "AttributeError: no such thing"
    )  # fmt: skip
    for name in ("log_mel_l1", "log_spectral_distance"):
        assert found[name].value == pytest.approx(sound[name].value, rel=1e-12)


# --- memory that does not suffice


class Small(Fake):
    """A model on a device on which only so many clips have room at once."""

    def __init__(self, room: int, name: str = "small", error: type[BaseException] = torch.OutOfMemoryError) -> None:
        def fit(waveform: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
            if len(waveform) > room:
                raise error("CUDA out of memory. Tried to allocate 20.00 GiB")
            return waveform * 0.5

        super().__init__(name, change=fit)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_batch_without_room_is_cut_into_smaller_ones(tmp_path: Path, error: type[BaseException]) -> None:
    folder = make_folder(tmp_path / "in", 32)
    small = Small(3, error=error)
    report = run(folder, tmp_path / "out", [small], batch_size=16, workers=1)
    assert (report.computed, report.failed) == (32, 0)
    sizes = [shape[0] for shape in small.calls]
    assert sizes[:3] == [16, 8, 4] and max(sizes[3:]) <= 2, sizes  # learned once, not with every batch
    run(folder, tmp_path / "plenty", [Fake("small")], batch_size=16, workers=1)
    assert [row[6:] for row in rows(tmp_path / "out")] == [row[6:] for row in rows(tmp_path / "plenty")]


def test_a_clip_without_room_is_a_recorded_failure(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 3)
    report = run(folder, tmp_path / "out", [Small(0), Fake("halver")])
    assert (report.failed, report.failed_clips) == (3, 3)
    assert {model for _, model in errors(tmp_path / "out")} == {"small"}
    assert all("OutOfMemoryError: CUDA out of memory" in said for said in errors(tmp_path / "out").values())
    again = run(folder, tmp_path / "out", [Small(1), Fake("halver")], retry_failed=True)
    assert (again.computed, again.failed) == (3, 0)


# --- stores


def test_a_store_of_an_older_version_is_refused_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = make_folder(tmp_path / "in", 2), tmp_path / "out"
    run(folder, out, [Fake()])
    with sqlite3.connect(out / "results.sqlite") as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'schema_version'")
    db.close()
    before = rows(out)
    command = ["run", "--model", "griffin_lim", "--corpus", str(folder), "--output", str(out), "--rule", "none"]
    assert main([*command, "--layout", "folder"]) != 0
    said = capsys.readouterr().err
    assert "schema_version is 0, need 1; name a new output folder" in said and "Traceback" not in said
    assert rows(out) == before


def test_a_store_in_the_hands_of_another_program_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.errors import StoreError

    ResultsStore(tmp_path).close()
    monkeypatch.setattr("eval.results.WAIT_S", 0.1)
    other = sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreError, match="in the hands of another program"):
            ResultsStore(tmp_path)
    finally:
        other.close()
    ResultsStore(tmp_path).close()


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_store_cut_short_is_said_and_not_written_over(tmp_path: Path, share: float) -> None:
    from models.errors import StoreError

    folder, out = make_folder(tmp_path / "in", 12, duration_s=0.05), tmp_path / "out"
    run(folder, out, [Fake(), Fake("other")])
    path = out / "results.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    cut = path.read_bytes()
    with pytest.raises(StoreError, match=r"results\.sqlite"):
        run(folder, out, [Fake(), Fake("other")])
    assert path.read_bytes()[: len(cut)] == cut
    # Its outputs are still there, and a store beside it is whole again.
    assert len(list((out / "outputs").rglob("*.wav"))) == 24
    path.write_bytes(whole)
    assert run(folder, out, [Fake(), Fake("other")]).computed == 0


# --- other people's programs


def test_a_command_that_is_killed_is_a_failure_of_its_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "in", 3)
    write(folder / "clip_0001.wav", tone(440, 0.3, amplitude=0.95))
    (tmp_path / "dies.py").write_text(
        "import os, sys, soundfile\n"
        "wave, rate = soundfile.read(sys.argv[1], dtype='float32')\n"
        "if abs(wave).max() > 0.9:\n"
        "    os.kill(os.getpid(), 9)\n"
        "soundfile.write(sys.argv[2], wave / 2, rate, subtype='FLOAT')\n"
    )
    (tmp_path / "dies.yml").write_text(
        f"name: dies\nkind: command\ntarget: {sys.executable} dies.py {{input}} {{output}}\n"
    )
    command = ["run", "--model", str(tmp_path / "dies.yml"), "--corpus", str(folder), "--rule", "none"]
    output = tmp_path / "out"
    assert main([*command, "--output", str(output), "--metric", "waveform_l1"]) in (0, 1)
    capsys.readouterr()
    statuses = {row[0]: (row[3], row[4]) for row in rows(output)}
    assert len(statuses) == 3 and {status for status, _ in statuses.values()} == {"ok", "failed"}
    assert all(said is None or "status -9" in str(said) for _, said in statuses.values())
