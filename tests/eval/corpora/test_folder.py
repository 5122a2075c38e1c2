import os
from pathlib import Path

import pytest

from eval.corpora import open_corpus
from models.errors import CorpusError
from tests.eval.corpora.makers import write_audio


def _ids(root: Path) -> list[str]:
    return [clip.clip_id for clip in open_corpus(root, layout="folder").clips(split="all", rule="none")]


def test_ids_are_paths_without_suffix_and_unique(tmp_path: Path) -> None:
    for name in ("b.wav", "a.ogg", "a.flac", "deep/er/a.wav", "x.ogg.wav", "x.ogg", "with space 'ü'.wav"):
        write_audio(tmp_path / name)
    assert _ids(tmp_path) == ["a.flac", "a.ogg", "b", "deep/er/a", "with space 'ü'", "x", "x.ogg.wav"]


def test_what_is_passed_over(tmp_path: Path) -> None:
    outside = write_audio(tmp_path / "outside" / "secret.wav")
    root = tmp_path / "c"
    write_audio(root / "a.WAV")
    write_audio(root / ".hidden.wav")
    write_audio(root / ".git" / "b.wav")
    (root / "notes.txt").write_text("no audio")
    (root / "link.wav").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    (root / "loop").symlink_to(root)
    (root / "inner.wav").symlink_to(root / "a.WAV")
    (root / "broken.wav").symlink_to(root / "nothing.wav")
    assert _ids(root) == ["a", "inner"]


def test_groups_and_own_splits(tmp_path: Path) -> None:
    for name in ("train/anna/1.wav", "train/anna/2.wav", "valid/3.wav", "test/ben/4.wav", "extra/5.wav"):
        write_audio(tmp_path / name)
    corpus = open_corpus(tmp_path)
    assert corpus.default_rule == "corpus"
    assert [(c.clip_id, c.group) for c in corpus.clips(split="train")] == [
        ("train/anna/1", "anna"), ("train/anna/2", "anna"),
    ]  # fmt: skip
    assert [(c.clip_id, c.group) for c in corpus.clips(split="valid")] == [("valid/3", "valid/3")]
    everything = list(corpus.clips(split="all", rule="none"))
    assert (everything[0].clip_id, everything[0].group) == ("extra/5", "extra")
    flat = tmp_path / "train" / "anna"
    assert open_corpus(flat).default_rule == "hash"
    with pytest.raises(CorpusError, match="no split rule 'corpus': hash, none, melreformer, featuresynth"):
        open_corpus(flat).clips(split="train", rule="corpus")


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    source = write_audio(tmp_path / "a.wav")
    try:
        source.rename(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.wav"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    clip = next(open_corpus(tmp_path).clips(split="all", rule="none"))
    assert clip.clip_id == "b\\xff"
    assert clip.load().waveform.shape == (1, 1_600)
    assert open_corpus(tmp_path).content_sha256(split="all", rule="none")
    assert open_corpus(tmp_path).fingerprint(split="all", rule="none")


def test_a_folder_that_holds_links_to_the_outside_only(tmp_path: Path) -> None:
    outside = write_audio(tmp_path / "secret.wav")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.wav").symlink_to(outside)
    with pytest.raises(CorpusError, match="holds no audio files"):
        open_corpus(tmp_path / "c")
