from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import audio_io
from eval.corpora import Clip, open_corpus
from eval.results import ResultsStore
from eval.runner import (
    Runner,
    RunReport,
    SystemEntry,
    Task,
    batches,
    clip_seed,
    metric_key,
    metric_modules,
    pick_device,
    safe_name,
)
from models.errors import CheckpointError, InputError, OutputError
from tests.eval.fakes import Fake, as_entry, make_folder, seeded_noise, write
from tests.signals import noise, silence, tone

ROOT = Path(__file__).parents[2]


def run(
    folder: Path,
    output: Path,
    systems: Sequence[Fake | SystemEntry],
    metrics: Sequence[str] = ("waveform_l1", "si_sdr"),
    *,
    seed: int = 1,
    batch_size: int = 4,
    workers: int = 2,
    retry_failed: bool = False,
) -> RunReport:
    corpus = open_corpus(folder, layout="folder")
    entries = [as_entry(system) if isinstance(system, Fake) else system for system in systems]
    with ResultsStore(output) as store:
        runner = Runner(
            store,
            entries,
            metrics,
            seed=seed,
            run_id="run",
            batch_size=batch_size,
            workers=workers,
            retry_failed=retry_failed,
        )
        return runner.run(lambda: corpus.clips(split="all", rule="none"))


def rows(output: Path) -> list[tuple[object, ...]]:
    """Everything in a store that must not depend on how it came about."""
    with sqlite3.connect(output / "results.sqlite") as db:
        found = db.execute(
            "SELECT o.clip_id, o.model, o.output_key, o.status, o.error, o.path, o.pcm_sha256, s.metric, s.metric_key,"
            " s.value, s.status, s.reason FROM outputs o LEFT JOIN scores s USING (clip_id, model)"
            " ORDER BY o.clip_id, o.model, s.metric"
        ).fetchall()
    db.close()
    return found


def errors(output: Path) -> dict[tuple[str, str], str]:
    with ResultsStore(output) as store, store._guarded():
        found = store._connection.execute("SELECT clip_id, model, error FROM outputs WHERE status != 'ok'").fetchall()
    return {(clip_id, model): error for clip_id, model, error in found}


def test_every_clip_goes_through_every_system_once(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 6)
    first, second = Fake("halver"), Fake("mute", change=lambda waveform, seeds: waveform * 0.0)
    report = run(folder, tmp_path / "out", [first, second])
    assert (report.clips, report.computed, report.kept, report.failed) == (6, 12, 0, 0)
    assert first.rows == second.rows == 6
    with ResultsStore(tmp_path / "out") as store:
        values = store.values("halver", "waveform_l1")
        for number, (clip_id, (value, status, _)) in enumerate(values.items()):
            wave = audio_io.read(folder / f"{clip_id}.wav").waveform
            assert clip_id == f"clip_{number:04d}" and status == "ok"
            assert value == pytest.approx(float(np.abs(wave.astype(np.float64)).mean()) / 2, rel=1e-6)
        assert {status for _, status, _ in store.values("mute", "si_sdr").values()} == {"undefined"}
        made = audio_io.read(tmp_path / "out" / "outputs" / "halver" / "clip_0003.wav")
        assert np.array_equal(made.waveform, audio_io.read(folder / "clip_0003.wav").waveform * np.float32(0.5))


def test_batches_hold_clips_of_one_length_and_wait_in_a_bounded_window() -> None:
    def clip(number: int) -> Clip:
        return Clip(f"c{number}", Path("x"), 16_000, 0, 100 + number % 3, {}, "g")

    pulled = 0

    def stream() -> Iterator[Task]:
        nonlocal pulled
        for number in range(200):
            pulled += 1
            yield Task(clip(number), "k", None, ["m"], {})

    seen: list[str] = []
    for batch in batches(stream(), 8, pending=10):
        assert len({task.clip.frames for task in batch}) == 1
        assert len(batch) <= 8
        seen += [task.clip.clip_id for task in batch]
        assert pulled - len(seen) < 10
    assert sorted(seen) == sorted(f"c{n}" for n in range(200))


def test_lengths_and_rates_are_not_mixed(tmp_path: Path) -> None:
    for number, (rate, duration_s) in enumerate([(16_000, 0.2), (8_000, 0.4), (16_000, 0.2), (96_000, 0.1)]):
        write(tmp_path / "in" / f"{number}.wav", tone(300, duration_s, rate), rate)
    system = Fake(sample_rate_hz=16_000)
    report = run(tmp_path / "in", tmp_path / "out", [system])
    assert report.failed == 0
    assert sorted(system.calls) == [(1, 1600), (1, 6400), (2, 3200)]
    with ResultsStore(tmp_path / "out") as store:
        for clip_id, rate in (("0", 16_000), ("1", 8_000), ("3", 96_000)):
            made = audio_io.read(tmp_path / "out" / "outputs" / "halver" / f"{clip_id}.wav")
            frames = store.clip(clip_id).frames
            assert (made.sample_rate_hz, made.waveform.shape[1]) == (rate, frames)
            given = audio_io.read(tmp_path / "in" / f"{clip_id}.wav").waveform[0]
            inner = slice(frames // 4, -frames // 4)
            assert np.allclose(made.waveform[0][inner], 0.5 * given[inner], atol=2e-3)


def test_a_clip_that_breaks_the_model_fails_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    loud = tone(440, 0.3, amplitude=0.95)
    write(folder / "clip_0001.wav", loud)

    def picky(waveform: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        if float(waveform.abs().max()) > 0.9:
            raise RuntimeError("too loud\nfor me")
        return waveform

    system = Fake("picky", change=picky)
    report = run(folder, tmp_path / "out", [system, Fake()])
    assert (report.failed, report.failed_clips) == (1, 1)
    assert report.first_error == "RuntimeError: too loud for me"
    assert errors(tmp_path / "out") == {("clip_0001", "picky"): "RuntimeError: too loud for me"}
    # Halved until the clip stands alone.
    assert sorted(system.calls) == [(1, 4800)] * 2 + [(2, 4800)] * 2 + [(4, 4800)]
    again = run(folder, tmp_path / "out", [system, Fake()])
    assert (again.computed, again.kept, again.failed) == (0, 8, 1)
    assert run(folder, tmp_path / "out", [system, Fake()], retry_failed=True).computed == 1


@pytest.mark.parametrize("rate", [None, 8000])
def test_an_output_that_is_not_finite_is_a_failure(tmp_path: Path, rate: int | None) -> None:
    folder = make_folder(tmp_path / "in", 3)

    def spoil(waveform: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        made = waveform.clone()
        made[seeds.index(clip_seed(1, "clip_0002")) if clip_seed(1, "clip_0002") in seeds else slice(0, 0), 5] = (
            torch.nan
        )
        return made

    report = run(folder, tmp_path / "out", [Fake("spoils", change=spoil, sample_rate_hz=rate)])
    assert report.failed == 1
    found = errors(tmp_path / "out")
    assert list(found) == [("clip_0002", "spoils")] and "not finite" in found["clip_0002", "spoils"]
    assert not (tmp_path / "out" / "outputs" / "spoils" / "clip_0002.wav").exists()


def test_an_output_of_another_shape_is_a_failure(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 2)
    report = run(folder, tmp_path / "out", [Fake("short", change=lambda waveform, seeds: waveform[:, 1:])])
    assert report.failed == 2 and "shape (1, 4799)" in str(report.first_error)


def test_bad_files_are_recorded_and_good_ones_go_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 1, duration_s=1.0)
    whole = (folder / "clip_0000.wav").read_bytes()
    (folder / "corrupt.wav").write_bytes(b"RIFF" + os.urandom(400))
    (folder / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.flac").write_text("not audio")
    write(folder / "nothing.wav", np.zeros(0, np.float32))
    write(folder / "nan.wav", np.where(np.arange(16_000) == 7, np.nan, 0.1).astype(np.float32), subtype="FLOAT")
    good = {
        "silent": write(folder / "silent.wav", silence(1.0)),
        "stereo": write(folder / "stereo.wav", np.stack([tone(300), tone(600)], 1)),
        "low": write(folder / "low.flac", tone(300, 1.0, 8_000), 8_000),
        "high": write(folder / "high.wav", tone(300, 1.0, 96_000), 96_000),
        "deep": write(folder / "deep.wav", tone(310), subtype="PCM_24"),
        "float": write(folder / "float.wav", 3 * tone(320), subtype="FLOAT"),
        "vorbis": write(folder / "vorbis.ogg", tone(330)),
    }
    bad = {"corrupt", "truncated", "empty", "text", "nothing", "nan"}
    report = run(folder, tmp_path / "out", [Fake()])
    assert report.clips == len(good) + len(bad) + 1
    found = errors(tmp_path / "out")
    assert {clip_id for clip_id, _ in found} == bad
    for (clip_id, _), text in found.items():
        assert clip_id in text and "\n" not in text
    with ResultsStore(tmp_path / "out") as store:
        scored = store.values("halver", "si_sdr")
        assert scored["silent"][:2] == (None, "undefined")
        assert scored["silent"][2]
        l1 = store.values("halver", "waveform_l1")
        assert {name: l1[name][1] for name in good if name != "silent"} == dict.fromkeys(good.keys() - {"silent"}, "ok")
        assert l1["stereo"][0] == pytest.approx(float(np.abs((tone(300) + tone(600)) / 2).mean()) / 2, rel=1e-3)
        made = audio_io.read(tmp_path / "out" / "outputs" / "halver" / "float.wav")
        assert float(np.abs(made.waveform).max()) == pytest.approx(0.75, rel=1e-2)


def test_a_new_metric_is_computed_from_stored_outputs(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    system = Fake()
    run(folder, tmp_path / "out", [system], ["waveform_l1"])
    report = run(folder, tmp_path / "out", [system], ["waveform_l1", "waveform_mse"])
    assert (system.rows, report.computed, report.kept) == (4, 0, 4)
    run(folder, tmp_path / "all", [Fake()], ["waveform_l1", "waveform_mse"])
    assert rows(tmp_path / "out") == rows(tmp_path / "all")


def test_a_new_model_leaves_the_others_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    old, new = Fake(), Fake("mute", change=lambda waveform, seeds: 0.1 * waveform)
    run(folder, tmp_path / "out", [old])
    report = run(folder, tmp_path / "out", [old, new])
    assert (old.rows, new.rows, report.computed, report.kept) == (4, 4, 4, 4)
    changed = Fake()
    run(folder, tmp_path / "out", [as_entry(changed, "2"), new])
    assert (changed.rows, new.rows) == (4, 4)


def test_what_changed_is_done_again_and_what_was_touched_is_not(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    system = Fake()
    run(folder, tmp_path / "out", [system])
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    assert run(folder, tmp_path / "out", [system]).computed == 0
    write(folder / "clip_0002.wav", noise(0.3))
    write(folder / "clip_0009.wav", noise(0.3, seed=2))
    assert run(folder, tmp_path / "out", [system]).computed == 2
    (tmp_path / "out" / "outputs" / "halver" / "clip_0001.wav").unlink()
    assert run(folder, tmp_path / "out", [system]).computed == 1
    assert run(folder, tmp_path / "out", [system], seed=2).computed == 5


def test_an_altered_output_is_made_again_before_it_is_scored(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 3)
    run(folder, tmp_path / "out", [Fake()], ["waveform_l1"])
    audio_io.write_float(tmp_path / "out" / "outputs" / "halver" / "clip_0001.wav", tone(50, 0.3), 16_000)
    (tmp_path / "out" / "outputs" / "halver" / "clip_0002.wav").write_bytes(b"junk")
    report = run(folder, tmp_path / "out", [Fake()], ["waveform_l1", "si_sdr"])
    assert report.computed == 2
    run(folder, tmp_path / "all", [Fake()], ["waveform_l1", "si_sdr"])
    assert rows(tmp_path / "out") == rows(tmp_path / "all")


def test_nothing_depends_on_batches_or_workers(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 7)
    for number, (size, workers) in enumerate([(1, 1), (3, 2), (8, 4)]):
        systems = [Fake("noise", change=seeded_noise), Fake("low", sample_rate_hz=8_000)]
        run(folder, tmp_path / str(number), systems, batch_size=size, workers=workers)
    assert rows(tmp_path / "0") == rows(tmp_path / "1") == rows(tmp_path / "2")
    assert len({row[6] for row in rows(tmp_path / "0") if row[1] == "noise"}) == 7


def test_seeds_come_from_run_and_clip_not_from_position(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    system = Fake()
    run(folder, tmp_path / "out", [system], seed=5)
    assert set(system.seeds) == {clip_seed(5, f"clip_{n:04d}") for n in range(4)}
    assert clip_seed(5, "a") != clip_seed(6, "a") != clip_seed(6, "b")
    assert all(0 <= clip_seed(n, "x") < 2**63 for n in range(100))


def test_weights_that_cannot_be_used_stop_the_run(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 2)

    def refuse() -> Fake:
        raise CheckpointError("model.safetensors: is a pickle")

    with pytest.raises(CheckpointError, match="is a pickle"):
        run(folder, tmp_path / "out", [Fake(), SystemEntry("broken", "k", refuse)])
    assert rows(tmp_path / "out") == []


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "/etc/passwd",
        "../../x",
        "a b",
        "q\"'q",
        "<script>",
        "ü\u202e",
        "x" * 300,
        "a/b",
        "\0",
        ".hidden",
        "-rf",
    ],
)
def test_names_of_strangers_become_harmless(tmp_path: Path, name: str) -> None:
    safe = safe_name(name)
    assert (tmp_path / f"{safe}.wav").resolve().parent == tmp_path.resolve()
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
    assert 0 < len(safe) <= 120 and safe[0] not in ".-"


def test_names_stay_apart_and_plain_ones_stay_as_they_are() -> None:
    assert safe_name("bass_synthetic_033-022-050") == "bass_synthetic_033-022-050"
    names = ["a b", "a_b", "a  b", "a/b", "a\\b", "ä", "ö", "../a", "a"]
    assert len({safe_name(name) for name in names}) == len(names)


def test_clips_with_hostile_names_stay_inside_the_output(tmp_path: Path) -> None:
    for name in ("a b", "x..x", 'it\'s "q"', "<b>ü</b>".replace("/", "_"), "-rf"):
        write(tmp_path / "in" / f"{name}.wav", tone(300, 0.2))
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    report = run(tmp_path / "in", tmp_path / "out", [Fake("../evil")])
    assert report.failed == 0
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")}
    assert after == before
    assert len(list((tmp_path / "out" / "outputs").rglob("*.wav"))) == 5


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="'warp'"):
        pick_device("warp")
    assert pick_device("cpu") == "cpu"


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "outputs").write_text("in the way")
    with pytest.raises(OutputError, match="outputs"):
        run(folder, out, [Fake()])


def start(folder: Path, out: Path, log: Path, *options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.eval.fake_run", str(folder), str(out), str(log), *map(str, options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stored_in(out: Path) -> set[tuple[object, object]]:
    """Clip and model of what a store has, which may not be there yet."""
    try:
        return {(row[0], row[1]) for row in rows(out)} if (out / "results.sqlite").exists() else set()
    except sqlite3.OperationalError:
        return set()


def whole(folder: Path, out: Path) -> list[tuple[object, ...]]:
    """What an uninterrupted run of the same systems stores."""
    run(folder, out, [Fake(), Fake("noise", change=seeded_noise)])
    return rows(out)


def test_kills_lose_nothing_and_nothing_is_done_twice(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 60, duration_s=0.2)
    clip_of = {
        hashlib.sha256(audio_io.read(path).waveform[0].tobytes()).hexdigest()[:16]: path.stem
        for path in folder.iterdir()
    }
    out, log = tmp_path / "out", tmp_path / "log"
    log.touch()

    def computed() -> list[tuple[str, str]]:
        return [(clip_of[mark], model) for model, mark in (line.split() for line in log.read_text().splitlines())]

    draw = random.Random(3)
    stored: set[tuple[object, object]] = set()
    for _ in range(2):
        before = len(computed())
        child = start(folder, out, log, 0.02)
        while child.poll() is None and (len(computed()) <= before or stored_in(out) <= stored):
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.3))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert not stored & set(computed()[before:])
        earlier, stored = stored, stored_in(out)
        assert earlier <= stored <= set(computed())
    assert 0 < len(stored) < 120
    before = len(computed())
    last = start(folder, out, log)
    output, problem = last.communicate(timeout=120)
    assert last.returncode == 0, problem
    assert output.split()[:3] == [str(120 - len(stored)), str(len(stored)), "0"]
    assert sorted({*stored, *computed()[before:]}) == sorted([*stored, *computed()[before:]])
    assert rows(out) == whole(folder, tmp_path / "whole")
    assert len(rows(out)) == 240
    assert {path.suffix for path in (out / "outputs").rglob("*") if path.is_file()} == {".wav"}


def test_a_full_disk_is_one_line_and_what_was_done_stays(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 12, duration_s=0.2)
    write(folder / "clip_0008.wav", tone(900, 6.0))
    child = start(folder, tmp_path / "out", tmp_path / "log", 0.0, 300_000)
    output, problem = child.communicate(timeout=120)
    assert child.returncode == 1 and output == ""
    assert problem.startswith("error: ") and problem.count("\n") == 1 and "cannot be written" in problem
    kept = {(row[0], row[1]) for row in rows(tmp_path / "out")}
    assert kept
    report = run(folder, tmp_path / "out", [Fake(), Fake("noise", change=seeded_noise)])
    assert (report.kept, report.computed) == (len(kept), 24 - len(kept))
    assert rows(tmp_path / "out") == whole(folder, tmp_path / "whole")


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    peaks = []
    for count in (100, 5000):
        folder = make_folder(tmp_path / str(count), count, duration_s=0.25, sample_rate_hz=8_000)
        child = start(folder, tmp_path / f"out{count}", tmp_path / "log")
        output, problem = child.communicate(timeout=600)
        assert child.returncode == 0, problem
        peaks.append(int(output.split()[3]))
    assert peaks[1] < peaks[0] * 1.1, peaks


def test_the_key_of_a_metric_knows_the_files_it_is_computed_by() -> None:
    assert metric_modules("eval.metrics.spectral") >= {
        "eval.metrics.spectral", "eval.metrics.sums", "eval.metrics.kernels", "eval.metrics.frontend"
    }  # fmt: skip
    assert "eval.metrics.spectral" not in metric_modules("eval.metrics.waveform")
    assert not any("tables" in module for module in metric_modules("eval.metrics.scoring"))
    assert metric_key("log_mel_l1") != metric_key("waveform_l1")


def test_two_processes_on_one_store_share_the_work(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 40, duration_s=0.2)
    out, log = tmp_path / "out", tmp_path / "log"
    log.touch()
    children = [start(folder, out, log, 0.05) for _ in range(2)]
    done = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], done
    made = [int(output.split()[0]) for output, _ in done]
    assert sum(made) == 80 and min(made) > 0, made
    assert len(log.read_text().splitlines()) == 80
    assert rows(out) == whole(folder, tmp_path / "alone")
    with ResultsStore(out) as store:
        assert store.claim(["clip_0001"], "me") == {"clip_0001"}


def test_a_process_that_died_is_replaced_by_the_one_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "in", 6, duration_s=0.2)
    out = tmp_path / "out"
    corpus = open_corpus(folder, layout="folder")
    with ResultsStore(out, shared=True) as store:
        monkeypatch.setattr("eval.results.CLAIM_S", 0.3)
        assert len(store.claim(["clip_0000", "clip_0003"], "somebody who died")) == 2
        assert store.claim(["clip_0003", "clip_0004"], "me") == {"clip_0004"}
        store.release("me")
        runner = Runner(store, [as_entry(Fake())], ["waveform_l1"], seed=1, run_id="r", batch_size=2, workers=2)
        report = runner.run(lambda: corpus.clips(split="all", rule="none"))
    assert (report.computed, report.failed) == (6, 0)
