import json
from pathlib import Path
from typing import Any

import pytest

from eval.corpora import open_corpus
from models.errors import AudioError, CorpusError
from tests.eval.corpora.makers import make_nsynth, note_fields, notes, write_audio

NAME = "bass_electronic_018-060-075"


def _write(root: Path, table: Any) -> Path:
    (root / "train" / "audio").mkdir(parents=True, exist_ok=True)
    text = table if isinstance(table, str) else json.dumps(table)
    (root / "train" / "examples.json").write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_notes_with_their_fields(tmp_path: Path, suffix: str) -> None:
    root = make_nsynth(tmp_path / "c", {"train": [NAME], "test": notes(3)}, suffix=suffix)
    clip = next(open_corpus(root).clips(split="train"))
    assert clip.clip_id == NAME
    assert clip.path.name == NAME + suffix
    assert clip.labels == note_fields(NAME)
    assert clip.group == "bass_electronic_018"
    assert (clip.sample_rate_hz, clip.frames) == (16_000, 1_600)
    assert clip.load().waveform.shape == (1, 1_600)
    assert [c.clip_id for c in open_corpus(root).clips(split="test")] == notes(3)


def test_folders_of_the_original_archives_and_a_single_split(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path / "c", {"nsynth-train": notes(2), "nsynth-test": notes(1)})
    assert open_corpus(root).own_splits() == ("train", "test")  # type: ignore[attr-defined]
    one = open_corpus(root / "nsynth-train")
    assert one.own_splits() == ("all",)  # type: ignore[attr-defined]
    assert len(list(one.clips(split="all"))) == 2


def test_a_missing_audio_file_is_a_clip_that_does_not_load(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path / "c", {"train": notes(2)})
    (root / "train" / "audio" / f"{notes(2)[0]}.wav").unlink()
    first, second = open_corpus(root).clips(split="train")
    with pytest.raises(AudioError, match="no such file"):
        first.load()
    second.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pitch": "60"}, "field 'pitch' is '60' instead of a whole number from 0 to 127"),
        ({"pitch": 128}, "field 'pitch' is '128' instead of a whole number"),
        ({"velocity": True}, "field 'velocity' is 'True'"),
        ({"velocity": 64.5}, "field 'velocity' is '64.5'"),
        ({"sample_rate": 0}, "field 'sample_rate' is '0'"),
        ({"instrument_str": ""}, "field 'instrument_str' is '' instead of text"),
        ({"instrument_family_str": None}, "field 'instrument_family_str' is 'None' instead of text"),
        ({"note_str": "other"}, "field 'note_str' is 'other', another note"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    root = _write(tmp_path, {NAME: note_fields(NAME, **changes)})
    with pytest.raises(CorpusError, match=f"examples.json: entry '{NAME}': {message}"):
        list(open_corpus(root).clips(split="train"))


def test_missing_fields_are_named(tmp_path: Path) -> None:
    fields = note_fields(NAME)
    del fields["pitch"]
    with pytest.raises(CorpusError, match="field 'pitch' is missing"):
        list(open_corpus(_write(tmp_path, {NAME: fields})).clips(split="train"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON object of notes .*line 1 column 1"),
        ("[1, 2]", "'{' expected: line 1 column 1"),
        ('{"a": {"pitch": 1}', "',' or '}' expected"),
        ('{"a" 1}', "':' expected"),
        ('{"a": {"pitch": }}', "Expecting value"),
        ('{"a": 5}', "entry 'a': '5' instead of an object"),
        ('{"a": {}, "a": {}}', "entry 'a' occurs twice"),
        ("{}", "holds no recordings"),
    ],
)
def test_a_broken_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        list(open_corpus(_write(tmp_path, text)).clips(split="train"))


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    _write(tmp_path, "{}")
    (tmp_path / "train" / "examples.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(CorpusError, match="not UTF-8"):
        list(open_corpus(tmp_path).clips(split="train"))


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", "a/b", "a\\b", "", " "])
def test_names_that_would_leave_the_corpus(tmp_path: Path, name: str) -> None:
    write_audio(tmp_path / "secret.wav")
    root = _write(tmp_path / "c", {name: {**note_fields(NAME), "note_str": name or "x"}})
    with pytest.raises(CorpusError, match=r"would leave the corpus folder|is not a name"):
        list(open_corpus(root).clips(split="train"))


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    secret = write_audio(tmp_path / "secret.wav")
    root = make_nsynth(tmp_path / "c", {"train": [NAME]}, audio=False)
    (root / "train" / "audio" / f"{NAME}.flac").symlink_to(secret)
    with pytest.raises(AudioError, match="no such file"):
        next(open_corpus(root).clips(split="train")).load()


def test_odd_but_harmless_names_and_labels(tmp_path: Path) -> None:
    name = "<script>alert('1')</script>".replace("/", "") + ' "ü" 音'
    fields = {**note_fields(NAME), "note_str": name, "instrument_str": "<b>../..</b>"}
    root = _write(tmp_path, {name: fields})
    write_audio(root / "train" / "audio" / f"{name}.wav")
    clip = next(open_corpus(root).clips(split="train"))
    assert clip.clip_id == name
    assert clip.labels["instrument_str"] == "<b>../..</b>"
    clip.load()


def test_the_same_note_in_two_folders_is_refused_only_when_they_are_pooled(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path / "c", {"train": [NAME], "valid": [NAME]})
    assert len(list(open_corpus(root).clips(split="train"))) == 1
    with pytest.raises(CorpusError, match=f"id '{NAME}' occurs twice"):
        list(open_corpus(root).clips(split="all", rule="none"))
