from pathlib import Path

import pytest

from eval.corpora import open_corpus
from models.errors import CorpusError
from tests.eval.corpora.makers import write_audio

OFFICIAL = (
    ",album,artist,set,set,track,track\n"
    ",title,name,split,subset,genre_top,title\n"
    "track_id,,,,,,\n"
    '2,AWOL,AWOL,training,small,Hip-Hop,"Food, and more"\n'
    "5,AWOL,AWOL,validation,small,Hip-Hop,This World\n"
    "1003,Other,Somebody,test,small,Rock,Last\n"
)


def _make(root: Path, suffix: str = ".flac") -> Path:
    for track in ("000002", "000005", "001003"):
        write_audio(root / "fma_small" / track[:3] / f"{track}{suffix}", duration_s=0.3)
    return root


def test_official_metadata_and_splits(tmp_path: Path) -> None:
    root = _make(tmp_path)
    (root / "fma_metadata").mkdir()
    (root / "fma_metadata" / "tracks.csv").write_text(OFFICIAL)
    corpus = open_corpus(root)
    assert corpus.default_rule == "corpus"
    got = {split: [c.clip_id for c in corpus.clips(split=split)] for split in ("train", "valid", "test")}
    assert got == {"train": ["000002"], "valid": ["000005"], "test": ["001003"]}
    clip = next(corpus.clips(split="train"))
    assert clip.group == "AWOL"
    assert clip.labels == {
        "album": "AWOL", "artist": "AWOL", "subset": "small", "genre_top": "Hip-Hop", "title": "Food, and more",
    }  # fmt: skip


def test_simple_metadata_and_mp3(tmp_path: Path) -> None:
    root = _make(tmp_path, ".mp3")
    (root / "fma_tracks.csv").write_text("track_id,artist,title\n2,A,x\n1003,B,y\n")
    corpus = open_corpus(root)
    assert corpus.default_rule == "hash"
    clips = list(corpus.clips(split="all", rule="none"))
    assert [(c.clip_id, c.group) for c in clips] == [("000002", "A"), ("000005", "000005"), ("001003", "B")]
    assert clips[0].load().waveform.shape[0] == 1
    with pytest.raises(CorpusError, match="no split rule 'corpus': hash, none"):
        corpus.clips(split="train", rule="corpus")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OFFICIAL.replace("track_id", "id"), "its third line must start with 'track_id'"),
        (OFFICIAL.replace("split", "part"), "it has no column set, split"),
        (OFFICIAL + "6,a\n", "line 7: 2 fields instead of 7"),
        (OFFICIAL + "x,a,a,a,a,a,a\n", "line 7: track_id is 'x' instead of a whole number"),
        (OFFICIAL + OFFICIAL.splitlines()[3] + "\n", "line 7: track_id 2 occurs twice"),
        ("", "not FMA's tracks.csv"),
    ],
)
def test_wrong_metadata_is_named(tmp_path: Path, text: str, message: str) -> None:
    root = _make(tmp_path)
    (root / "fma_metadata").mkdir()
    (root / "fma_metadata" / "tracks.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        list(open_corpus(root).clips(split="train"))
