import filecmp
import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from eval import audio_io
from eval.corpora import HELD_OUT, open_corpus, render_notes, synth
from eval.corpora.__main__ import main
from eval.corpora.presets import FAMILIES, NSYNTH_VELOCITIES, PRESETS, presets
from eval.corpora.render import recipe
from models.errors import InputError
from tests.eval.corpora.makers import samples_of
from tests.eval.corpora.soundfont import SOUNDFONT, needs_fluidsynth, needs_scores


def _same_versions(part: str) -> None:
    """Skip where another FluidSynth or sound font than the recipe's would give other bytes."""
    assert SOUNDFONT is not None
    text = (HELD_OUT / part / "RECIPE.md").read_text()
    for name, value in recipe(SOUNDFONT).items():
        if f"| {name} | `{value}` |" not in text and name in (
            "FluidSynth",
            "sound font FluidR3_GM.sf2",
            "soxr",
        ):
            pytest.skip(f"the shipped set was rendered with another {name} than {value}")


def test_training_order_is_fixed_balanced_and_never_held_out() -> None:
    first = list(islice(render_notes.training_order(0), 2_200))
    assert first[:100] == list(islice(render_notes.training_order(0), 100))
    assert first[:100] != list(islice(render_notes.training_order(1), 100))
    assert len({(p.number, pitch, velocity) for p, pitch, velocity in first}) == 2_200
    assert set(Counter(p.family for p, _, _ in first).values()) == {200}
    assert {velocity for _, _, velocity in first} == set(NSYNTH_VELOCITIES)
    assert not any(p.held_out for p, _, _ in first)
    assert all(p.low <= pitch <= p.high for p, pitch, _ in first)


def test_large_training_sets_turn_to_other_velocities() -> None:
    many = list(islice(render_notes.training_order(0), 12_000))
    assert len({(p.number, pitch, velocity) for p, pitch, velocity in many}) == 12_000
    assert not any(p.held_out for p, _, _ in many)
    vocal = [velocity for p, _, velocity in many if p.family == "vocal"]
    usual = [velocity in NSYNTH_VELOCITIES for velocity in vocal]
    assert usual == sorted(usual, reverse=True)
    assert not usual[-1]


def test_held_out_notes_are_spread() -> None:
    wanted = render_notes.held_out_notes(12, 0)
    assert Counter(p.family for p, _, _ in wanted) == dict.fromkeys(FAMILIES, 12)
    assert {p for p, _, _ in wanted} == set(presets(held_out=True))
    for family in FAMILIES:
        notes = [row for row in wanted if row[0].family == family]
        assert len({velocity for _, _, velocity in notes}) >= 4
        members = [p for p in presets(held_out=True) if p.family == family]
        low, high = min(p.low for p in members), max(p.high for p in members)
        pitches = [pitch for _, pitch, _ in notes]
        assert max(pitches) - min(pitches) > 0.6 * (high - low)


def test_qualities() -> None:
    time = np.arange(64_000) / 16_000

    def found(signal: np.ndarray) -> list[str]:
        flags = render_notes.qualities(audio_io.quantise(signal, 16))
        return [name for name, flag in zip(render_notes.QUALITIES, flags, strict=True) if flag]

    low, high = np.sin(2 * np.pi * 200 * time), np.sin(2 * np.pi * 3_000 * time)
    assert found(0.5 * low) == ["dark", "long_release"]
    assert found(0.5 * high * np.exp(-3 * time)) == ["bright", "fast_decay"]
    assert found(0.5 * (low + 0.5 * high) * (time < 3.5)) == []


@needs_fluidsynth
def test_a_note_depends_on_nothing_that_was_rendered_before() -> None:
    assert SOUNDFONT is not None
    long_release = next(p for p in PRESETS if p.name == "Warm Pad")
    bell = next(p for p in PRESETS if p.name == "Tubular Bells")
    one, two = render_notes.NoteRenderer(SOUNDFONT), render_notes.NoteRenderer(SOUNDFONT)
    try:
        two.render(long_release, 40, 127)
        first, second = one.render(bell, 65, 100), two.render(bell, 65, 100)
        assert first is not None and second is not None
        np.testing.assert_array_equal(first, second)
        assert first.shape == (64_000,)
        loud, soft = one.render(bell, 65, 127), one.render(bell, 65, 25)
        assert loud is not None and soft is not None
        assert np.abs(loud).max() > 4 * np.abs(soft).max()
        # What FluidSynth leaves silent is left out
        tuba = next(p for p in PRESETS if p.name == "Tuba")
        assert one.render(tuba, 90, 100) is None
    finally:
        one.close()
        two.close()


@needs_fluidsynth
def test_rendered_notes_are_a_corpus_and_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Three presets are enough here; their gains are what takes the time
    few = [p for p in PRESETS if p.name in ("Acoustic Bass", "Celesta", "Violin")]
    monkeypatch.setattr(render_notes, "presets", lambda *, held_out: [p for p in few if p.held_out is held_out])
    for name, count in (("a", 24), ("b", 9)):
        assert main(["render", "--notes", str(count), "--output", str(tmp_path / name)]) == 0
    corpus = open_corpus(tmp_path / "a" / "notes")
    assert corpus.layout == "nsynth"
    clips = list(corpus.clips(split="all", rule="none"))
    assert len(clips) == 24
    for clip in clips:
        assert set(clip.labels) == {
            "note", "note_str", "instrument", "instrument_str", "pitch", "velocity", "sample_rate", "qualities",
            "qualities_str", "instrument_family", "instrument_family_str", "instrument_source",
            "instrument_source_str",
        }  # fmt: skip
        waveform = clip.load().waveform[0]
        assert waveform.shape == (64_000,)
        assert 10 ** (-66 / 20) <= np.abs(waveform).max() <= 10 ** (-1 / 20)
    smaller = sorted((tmp_path / "b" / "notes").rglob("*.flac"))
    assert len(smaller) == 9
    for path in smaller:
        twin = tmp_path / "a" / path.relative_to(tmp_path / "b")
        assert path.read_bytes() == twin.read_bytes()
    assert json.loads((tmp_path / "a" / "notes" / "render.json").read_text())["notes"] == 24


@needs_fluidsynth
def test_some_shipped_notes_are_rendered_again() -> None:
    _same_versions("notes")
    assert SOUNDFONT is not None
    renderer = render_notes.NoteRenderer(SOUNDFONT)
    try:
        for preset, pitch, velocity in render_notes.held_out_notes(12, 0)[::40]:
            path = HELD_OUT / "notes" / "test" / "audio" / f"{preset.note_str(pitch, velocity)}.flac"
            samples = renderer.render(preset, pitch, velocity)
            assert samples is not None
            np.testing.assert_array_equal(samples_of(path)[:, 0] * 32_768, samples)
    finally:
        renderer.close()


@needs_fluidsynth
@needs_scores
def test_rendered_music_is_a_corpus_and_repeats(tmp_path: Path) -> None:
    for name, count in (("a", 4), ("b", 2)):
        assert main(["render", "--music", str(count), "--output", str(tmp_path / name)]) == 0
    corpus = open_corpus(tmp_path / "a" / "music")
    assert corpus.layout == "musicnet"
    clips = list(corpus.clips(split="train"))
    assert [clip.clip_id for clip in clips] == [str(100_001 + n) for n in range(4)]
    for path in sorted((tmp_path / "b" / "music").glob("train_*/*")):
        assert path.read_bytes() == (tmp_path / "a" / path.relative_to(tmp_path / "b")).read_bytes()


@needs_fluidsynth
@needs_scores
@pytest.mark.slow
def test_the_shipped_set_is_rendered_again_byte_for_byte(tmp_path: Path) -> None:
    for part in ("notes", "music"):
        _same_versions(part)
    assert main(["render", "--held-out", "--output", str(tmp_path)]) == 0
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    shipped = sorted(p.relative_to(HELD_OUT) for p in HELD_OUT.rglob("*") if p.is_file() and p.name != "LICENSE.md")
    assert made == shipped
    names = [path.as_posix() for path in made if path.name != "RECIPE.md"]
    assert filecmp.cmpfiles(tmp_path, HELD_OUT, names, shallow=False) == (names, [], [])


def _level_db(power: np.ndarray, hertz: np.ndarray, frequency_hz: float) -> float:
    near = np.abs(hertz / frequency_hz - 1) < 0.03
    return float(10 * np.log10(power[near].max() + 1e-12))


def test_shipped_labels_fit_what_is_heard() -> None:
    """At the middle of its notes a clip has more at their fundamentals than a tritone beside them."""
    for clip in open_corpus(HELD_OUT / "music").clips(split="test"):
        waveform = clip.load().waveform[0]
        margins = []
        for note in clip.labels["notes"]:
            middle = round((note["start_s"] + note["end_s"]) / 2 * 22_050)
            frame = waveform[max(0, middle - 2_048) : middle + 2_048]
            power = np.abs(np.fft.rfft(frame * np.hanning(frame.size), 8_192)) ** 2
            hertz = np.fft.rfftfreq(8_192, 1 / 22_050)
            frequency = 440 * 2 ** ((note["pitch"] - 69) / 12)
            sounding = {n["pitch"] for n in clip.labels["notes"] if n["start_s"] < note["end_s"] and
                        n["end_s"] > note["start_s"]}  # fmt: skip
            if note["pitch"] >= 48 and not {note["pitch"] + 6 - 12 * k for k in range(4)} & sounding:
                margins.append(_level_db(power, hertz, frequency) - _level_db(power, hertz, frequency * 2**0.5))
        assert len(margins) > 5, clip.clip_id
        assert np.median(margins) > 10, (clip.clip_id, clip.labels["ensemble"], np.median(margins))


# --- bad input


def _error(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_missing_or_wrong_sound_font(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["render", "--notes", "3", "--output", str(tmp_path / "out")]
    missing = _error([*command, "--soundfont", str(tmp_path / "no.sf2")], capsys)
    assert "no such file" in missing.lower()
    assert "apt-get install fluidsynth fluid-soundfont-gm" in missing
    (tmp_path / "text.sf2").write_text("not a sound font")
    assert "not a SoundFont 2 file" in _error([*command, "--soundfont", str(tmp_path / "text.sf2")], capsys)
    monkeypatch.setattr(synth, "DEFAULT_SOUNDFONTS", (tmp_path / "no.sf2",))
    assert "apt-get install fluidsynth fluid-soundfont-gm" in _error(command, capsys)
    assert not (tmp_path / "out").exists()


def test_a_missing_library(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    font = tmp_path / "a.sf2"
    font.write_bytes(b"RIFF\0\0\0\0sfbk")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    command = ["render", "--notes", "3", "--output", str(tmp_path / "out"), "--soundfont", str(font)]
    assert "FluidSynth library is not installed: `apt-get install fluidsynth fluid-soundfont-gm`" in _error(
        command, capsys
    )
    assert not (tmp_path / "out").exists()


@needs_fluidsynth
def test_a_broken_sound_font(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    font = tmp_path / "a.sf2"
    font.write_bytes(b"RIFF\0\0\0\0sfbk" + bytes(100))
    command = ["render", "--notes", "3", "--output", str(tmp_path / "out"), "--soundfont", str(font)]
    assert "cannot load this sound font" in _error(command, capsys)


def test_missing_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.corpora import scores

    scores.corpus_folder.cache_clear()
    monkeypatch.setattr(scores, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install music21"):
        scores.corpus_folder()


@needs_fluidsynth
def test_outputs_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to render" in _error(["render", "--output", str(tmp_path)], capsys)
    assert "nothing to render" in _error(["render", "--notes", "-1", "--output", str(tmp_path)], capsys)
    (tmp_path / "notes").mkdir()
    assert "is already there" in _error(["render", "--notes", "3", "--output", str(tmp_path)], capsys)
    assert "is already there" in _error(["heldout", "--output", str(tmp_path)], capsys)
    assert "fixed size" in _error(["render", "--held-out", "--notes", "3", "--output", str(tmp_path / "x")], capsys)
    (tmp_path / "file").write_text("")
    message = _error(["render", "--notes", "3", "--output", str(tmp_path / "file")], capsys, status=1)
    assert "cannot be made" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "notes"]


@needs_fluidsynth
def test_a_failure_half_way_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [p for p in PRESETS if p.name == "Celesta"]
    monkeypatch.setattr(render_notes, "presets", lambda *, held_out: [p for p in few if p.held_out is held_out])
    monkeypatch.setattr(render_notes, "_LOWEST_OTHER_VELOCITY", 128)
    write = audio_io.write_bytes
    written: list[Path] = []

    def full(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(audio_io, "write_bytes", full)
    message = _error(["render", "--notes", "9", "--output", str(tmp_path / "out")], capsys, status=1)
    assert "no space left on device" in message
    assert len(written) == 5
    assert not list((tmp_path / "out").iterdir())


def test_shipped_files() -> None:
    total = sum(path.stat().st_size for path in HELD_OUT.rglob("*") if path.is_file())
    assert total <= 20 * 2**20
    for part in ("notes", "music"):
        for name in ("LICENSE.md", "RECIPE.md", "held_out.json"):
            assert (HELD_OUT / part / name).is_file()
        assert "Permission is hereby granted" in (HELD_OUT / part / "LICENSE.md").read_text()
        corpus = open_corpus(HELD_OUT / part)
        recorded = re.search(
            r"content hash of the split `test` \| `(\w+)`", (HELD_OUT / part / "RECIPE.md").read_text()
        )
        assert recorded is not None
        assert recorded[1] == corpus.content_sha256(split="test", rule="corpus")


def test_shipped_notes() -> None:
    clips = list(open_corpus(HELD_OUT / "notes").clips(split="test"))
    assert Counter(clip.labels["instrument_family_str"] for clip in clips) == dict.fromkeys(FAMILIES, 12)
    held_out = {preset.instrument_str for preset in presets(held_out=True)}
    for clip in clips:
        assert (clip.sample_rate_hz, clip.frames) == (16_000, 64_000)
        assert clip.group in held_out
        assert 0.0005 < np.abs(clip.load().waveform).max() < 0.9
