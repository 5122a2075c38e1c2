import subprocess
import sys
from pathlib import Path

import pytest

from eval.corpora import LAYOUTS, Corpus, detect_layout, open_corpus
from models.errors import AudioError, CorpusError
from tests.eval.corpora.makers import make_nsynth, notes, write_audio


def test_every_layout_names_a_reader_that_says_its_name() -> None:
    for name, layout in LAYOUTS.items():
        reader = layout.reader
        assert reader.layout_name == name  # type: ignore[attr-defined]
        assert callable(layout.detect)
        assert layout.summary


def test_the_table_needs_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; from eval.corpora import LAYOUTS; [l.detect for l in LAYOUTS.values()];"
        "print(sorted({'numpy', 'torch', 'soundfile', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_layouts_are_detected(tmp_path: Path) -> None:
    make_nsynth(tmp_path / "nsynth", {"train": notes(2)})
    write_audio(tmp_path / "musicnet" / "train_data" / "1727.wav")
    write_audio(tmp_path / "fma" / "fma_small" / "000" / "000002.mp3", duration_s=0.5)
    write_audio(tmp_path / "bare_fma" / "000" / "000002.wav")
    write_audio(tmp_path / "lj" / "wavs" / "LJ001-0001.wav")
    (tmp_path / "lj" / "metadata.csv").write_text("LJ001-0001|a|b\n")
    write_audio(tmp_path / "any" / "deep" / "er" / "x.OGG")
    wanted = {
        "nsynth": "nsynth", "musicnet": "musicnet", "fma": "fma", "bare_fma": "fma", "lj": "ljspeech",
        "any": "folder",
    }  # fmt: skip
    for folder, layout in wanted.items():
        assert detect_layout(tmp_path / folder) == layout
        corpus: Corpus = open_corpus(tmp_path / folder)
        assert (corpus.layout, corpus.name) == (layout, folder)


def test_folders_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no audio")
    (tmp_path / "file").write_text("")
    for name, message in (
        ("missing", "no such corpus folder"),
        ("empty", "the corpus folder is empty"),
        ("file", "is a file; a corpus is a folder"),
        ("texts", "holds no audio files and none of the layouts nsynth, musicnet, fma, ljspeech, folder"),
    ):
        with pytest.raises(CorpusError, match=message):
            open_corpus(tmp_path / name)
    with pytest.raises(CorpusError, match="unknown corpus layout 'nsyth': nsynth, "):
        open_corpus(tmp_path / "texts", layout="nsyth")
    with pytest.raises(CorpusError, match="has not the layout 'nsynth'"):
        open_corpus(tmp_path / "texts", layout="nsynth")


def test_options_are_checked(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav")
    for options, message in (
        ({"clip_s": 0.0}, "clip_s 0.0"),
        ({"max_clips": 3}, "only together with clip_s"),
        ({"clip_s": 1.0, "max_clips": 0}, "at least 1"),
        ({"clips": 3}, "unknown corpus option 'clips'"),
    ):
        with pytest.raises(CorpusError, match=message):
            open_corpus(tmp_path, **options)
    assert open_corpus(tmp_path, name="mine").name == "mine"


def test_unknown_rules_splits_and_empty_splits(tmp_path: Path) -> None:
    corpus = open_corpus(make_nsynth(tmp_path / "c", {"train": notes(3, 1), "valid": []}))
    with pytest.raises(CorpusError, match="no split rule 'hsh': corpus, hash, none, notono"):
        corpus.clips(split="train", rule="hsh")
    with pytest.raises(CorpusError, match="no split 'test' under rule 'corpus': train, valid"):
        corpus.clips(split="test")
    for call in (corpus.content_sha256, corpus.fingerprint):
        with pytest.raises(CorpusError, match="no split 'test'"):
            call(split="test")
    with pytest.raises(CorpusError, match="split 'valid' under rule 'corpus' holds no recordings"):
        list(corpus.clips(split="valid"))


def test_recordings_are_cut_into_clips(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", duration_s=1.0)
    write_audio(tmp_path / "b.wav", duration_s=0.25, sample_rate_hz=8_000)
    corpus = open_corpus(tmp_path, clip_s=0.3)
    clips = list(corpus.clips(split="all", rule="none"))
    assert [(c.clip_id, c.start_samples, c.frames) for c in clips] == [
        ("a_00000", 0, 4_800),
        ("a_00001", 4_800, 4_800),
        ("a_00002", 9_600, 4_800),
        ("b", 0, 2_000),
    ]
    whole = next(open_corpus(tmp_path).clips(split="all", rule="none")).load().waveform
    got = clips[1].load()
    assert got.sample_rate_hz == 16_000
    assert (got.waveform == whole[:, 4_800:9_600]).all()
    few = open_corpus(tmp_path, clip_s=0.3, max_clips=2).clips(split="all", rule="none")
    assert [c.clip_id for c in few] == ["a_00000", "a_00001", "b"]


def test_a_bad_file_is_a_clip_that_does_not_load(tmp_path: Path) -> None:
    write_audio(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF what is this")
    (tmp_path / "empty.flac").touch()
    clips = {c.clip_id: c for c in open_corpus(tmp_path, clip_s=1.0).clips(split="all", rule="none")}
    assert clips["good"].load().waveform.shape == (1, 1_600)
    for name in ("bad", "empty"):
        assert clips[name].frames == 0
        with pytest.raises(AudioError, match=name):
            clips[name].load()


def test_a_file_that_changes_after_listing_is_an_error(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", duration_s=1.0)
    clip = next(open_corpus(tmp_path).clips(split="all", rule="none"))
    write_audio(path, duration_s=0.5)
    with pytest.raises(AudioError, match="are not all in its 8000"):
        clip.load()


def test_listing_is_lazy(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_audio(tmp_path / f"{name}.wav")
    clips = open_corpus(tmp_path).clips(split="all", rule="none")
    assert next(clips).clip_id == "a"
    (tmp_path / "b.wav").unlink()
    assert next(clips).frames == 0


def test_hashes(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path / "c", {"train": notes(4), "valid": notes(2, family="brass")})
    corpus = open_corpus(root)
    first = corpus.content_sha256(split="train")
    seen: list[int] = []
    assert corpus.content_sha256(split="train", progress=seen.append) == first
    assert seen[-1] == 5  # four notes and their table
    assert corpus.content_sha256(split="valid") != first
    print_before = corpus.fingerprint(split="train")
    assert print_before == open_corpus(root).fingerprint(split="train")
    assert print_before != open_corpus(root, clip_s=1.0).fingerprint(split="train")

    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert open_corpus(moved).content_sha256(split="train") == first
    write_audio(moved / "train" / "audio" / f"{notes(4)[0]}.wav", frequency_hz=300)
    assert open_corpus(moved).content_sha256(split="train") != first
    assert open_corpus(moved).fingerprint(split="train") != print_before


def test_hashes_are_remembered_and_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_nsynth(tmp_path / "c", {"train": notes(3)})
    first = open_corpus(root).content_sha256(split="train")
    opened: list[Path] = []
    original = Path.open

    def counted(self: Path, *arguments: object, **options: object) -> object:
        opened.append(self)
        return original(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counted)
    assert open_corpus(root).content_sha256(split="train") == first
    assert not [path for path in opened if path.suffix == ".wav"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "train" / "examples.json" / "no folder"))
    assert open_corpus(root).content_sha256(split="train") == first
    assert [path for path in opened if path.suffix == ".wav"]


def test_the_development_recordings(shared_corpora: Path) -> None:
    for folder, layout, count in (("notes", None, 222), ("music", "musicnet", 2), ("speech/fsdd", None, 240)):
        corpus = open_corpus(shared_corpora / folder, layout=layout)
        split, rule = ("test", "corpus") if corpus.default_rule == "corpus" else ("all", "none")
        clips = list(corpus.clips(split=split, rule=rule))
        assert len(clips) == count
        assert clips[0].load().waveform.shape == (1, clips[0].frames)
