from pathlib import Path

import pytest

from eval.corpora import open_corpus
from models.errors import AudioError, CorpusError
from tests.eval.corpora.makers import write_audio


def _make(root: Path, metadata: str) -> Path:
    for name in ("LJ001-0001", "LJ001-0002", "LJ002-0001"):
        write_audio(root / "wavs" / f"{name}.wav", sample_rate_hz=22_050)
    (root / "metadata.csv").write_text(metadata, encoding="utf-8")
    return root


def test_sentences_with_and_without_text(tmp_path: Path) -> None:
    root = _make(tmp_path, 'LJ001-0001|He said "£5"|He said "five pounds"\nLJ009-0009|gone|gone\n\n')
    clips = list(open_corpus(root).clips(split="all", rule="none"))
    assert [c.clip_id for c in clips] == ["LJ001-0001", "LJ001-0002", "LJ002-0001", "LJ009-0009"]
    assert [c.group for c in clips] == ["LJ001", "LJ001", "LJ002", "LJ009"]
    assert clips[0].labels == {"text": 'He said "£5"', "normalised_text": 'He said "five pounds"'}
    assert clips[1].labels == {}
    with pytest.raises(AudioError, match=r"LJ009-0009.wav: no such file"):
        clips[3].load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LJ001-0001 hello\n", "line 1: 1 fields instead of id"),
        ("LJ001-0001|a|a\nLJ001-0001|b|b\n", "line 2: id 'LJ001-0001' occurs twice"),
        ("../../x|a|a\n", "line 1: id '../../x' would leave the corpus folder"),
    ],
)
def test_wrong_metadata_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        list(open_corpus(_make(tmp_path, text)).clips(split="all", rule="none"))


def test_the_chapters_of_the_real_one(shared_corpora: Path) -> None:
    clips = list(open_corpus(shared_corpora / "speech" / "ljspeech").clips(split="all", rule="none"))
    assert len(clips) == 32
    assert {c.group for c in clips} == {"LJ001"}
    assert sum("text" in c.labels for c in clips) == 8
