from pathlib import Path

import pytest

from eval.corpora import HELD_OUT, open_corpus
from models.errors import CorpusError
from tests.eval.corpora.makers import write_audio

METADATA = (
    "id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds\n"
    '1727,Schubert,"Piano Quintet in A major",2. Andante,Piano Quintet,European Archive,x,OP114,447\n'
    "1728,Schubert,Piano Quintet in A major,3. Scherzo,Piano Quintet,European Archive,x,OP114,251\n"
)
LABELS = (
    "start_time,end_time,instrument,note,start_beat,end_beat,note_value\n"
    "44100,88200,43,53,4.0,1.5,Dotted Quarter\n"
    "0,66150,1,65,4.0,0.5,Eighth\n"
)


def _make(root: Path, *, rate: int = 44_100, suffix: str = ".wav") -> Path:
    write_audio(root / "train_data" / f"1727{suffix}", sample_rate_hz=rate, duration_s=2.0)
    write_audio(root / "train_data" / f"1728{suffix}", sample_rate_hz=rate, duration_s=0.5)
    write_audio(root / "test_data" / f"2303{suffix}", sample_rate_hz=rate)
    (root / "musicnet_metadata.csv").write_text(METADATA)
    (root / "train_labels").mkdir()
    (root / "train_labels" / "1727.csv").write_text(LABELS)
    return root


@pytest.mark.parametrize(("rate", "suffix"), [(44_100, ".wav"), (22_050, ".flac")])
def test_label_times_do_not_depend_on_the_rate_of_the_audio(tmp_path: Path, rate: int, suffix: str) -> None:
    corpus = open_corpus(_make(tmp_path, rate=rate, suffix=suffix))
    first, second = corpus.clips(split="train")
    assert first.group == second.group == "Schubert OP114"
    assert first.labels["composer"] == "Schubert"
    assert first.labels["notes"] == [
        {"start_s": 0.0, "end_s": 1.5, "pitch": 65, "instrument": 1, "start_beat": 4.0, "end_beat": 0.5,
         "note_value": "Eighth"},
        {"start_s": 1.0, "end_s": 2.0, "pitch": 53, "instrument": 43, "start_beat": 4.0, "end_beat": 1.5,
         "note_value": "Dotted Quarter"},
    ]  # fmt: skip
    assert "notes" not in second.labels
    assert [c.clip_id for c in corpus.clips(split="test")] == ["2303"]


def test_notes_of_a_clip_are_cut_to_it(tmp_path: Path) -> None:
    clips = list(open_corpus(_make(tmp_path), clip_s=0.75).clips(split="train"))
    assert [c.clip_id for c in clips] == ["1727_00000", "1727_00001", "1728"]
    spans = [[(n["start_s"], n["end_s"], n["pitch"]) for n in c.labels["notes"]] for c in clips[:2]]
    assert spans == [[(0.0, 0.75, 65)], [(0.0, 0.75, 65), (0.25, 0.75, 53)]]


def test_without_metadata_and_labels(tmp_path: Path) -> None:
    write_audio(tmp_path / "train_data" / "9.wav")
    corpus = open_corpus(tmp_path)
    clip = next(corpus.clips(split="train"))
    assert (clip.clip_id, clip.group, clip.labels) == ("9", "9", {})
    with pytest.raises(CorpusError, match="no split 'test' under rule 'corpus': train"):
        corpus.clips(split="test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,5,1,60,0,1,a", "line 2: start_time is 'x' instead of a number"),
        ("5,4,1,60,0,1,a", "line 2: end_time '4' is not at or after start_time '5'"),
        ("-1,4,1,60,0,1,a", "line 2: end_time"),
        ("nan,4,1,60,0,1,a", "line 2: end_time"),
        ("1,4,1,200,0,1,a", "line 2: note is '200' instead of a pitch"),
        ("1,4,1,60.5,0,1,a", "line 2: note is '60.5' instead of a pitch"),
        ("1,4,1", "line 2: 3 fields instead of 7"),
        ('1,4,1,"60', "not a CSV file"),
    ],
)
def test_wrong_labels_are_named(tmp_path: Path, line: str, message: str) -> None:
    root = _make(tmp_path)
    (root / "train_labels" / "1727.csv").write_text(LABELS.splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(CorpusError, match=f"1727.csv: {message}"):
        list(open_corpus(root).clips(split="train"))


def test_wrong_tables_are_named(tmp_path: Path) -> None:
    root = _make(tmp_path)
    (root / "train_labels" / "1727.csv").write_text("start,end\n1,2\n")
    with pytest.raises(CorpusError, match=r"1727.csv: has no column 'start_time'"):
        list(open_corpus(root).clips(split="train"))
    (root / "musicnet_metadata.csv").write_text(METADATA + METADATA.splitlines()[1] + "\n")
    with pytest.raises(CorpusError, match=r"musicnet_metadata.csv: line 4: id '1727' occurs twice"):
        list(open_corpus(root).clips(split="train"))
    (root / "musicnet_metadata.csv").write_text("")
    with pytest.raises(CorpusError, match=r"musicnet_metadata.csv: is empty"):
        list(open_corpus(root).clips(split="train"))


def test_one_id_in_two_formats_is_refused(tmp_path: Path) -> None:
    root = _make(tmp_path)
    write_audio(root / "train_data" / "1727.flac")
    with pytest.raises(CorpusError, match="id '1727' occurs twice"):
        list(open_corpus(root).clips(split="train"))


def test_the_shipped_music_is_read_with_its_notes() -> None:
    corpus = open_corpus(HELD_OUT / "music")
    clips = list(corpus.clips(split="test"))
    assert len(clips) >= 18
    assert len({clip.labels["ensemble"] for clip in clips}) >= 5
    for clip in clips:
        assert (clip.sample_rate_hz, clip.frames) == (22_050, 220_500)
        assert len(clip.labels["notes"]) >= 12
        assert all(0 <= n["start_s"] < n["end_s"] <= 10 for n in clip.labels["notes"])
