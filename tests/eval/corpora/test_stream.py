import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval import audio_io
from eval.corpora import HELD_OUT, open_corpus
from eval.corpora.__main__ import main
from eval.corpora.held_out import read_held_out
from eval.corpora.stream import StreamSettings, licences, stream_clips
from models.errors import CorpusError, InputError
from tests.eval.corpora.makers import make_nsynth, notes, samples_of, write_audio


def _parse(data: bytes) -> tuple[list[tuple[dict[str, Any], np.ndarray]], dict[str, Any]]:
    stream, clips = io.BytesIO(data), []
    while True:
        head = json.loads(stream.readline())
        if head.get("end"):
            assert not stream.read()
            return clips, head
        samples = np.frombuffer(stream.read(head["frames"] * 4), "<f4")
        assert samples.size == head["frames"]
        clips.append((head, samples))


def _stream(*corpora: Path, **changes: Any) -> tuple[list[tuple[dict[str, Any], np.ndarray]], dict[str, Any]]:
    settings = {"split": "train", "rule": None, "layout": None, "sample_rate_hz": 16_000, "clip_s": 0.2}
    sink = io.BytesIO()
    count = stream_clips(StreamSettings(corpora, **{**settings, **changes}), sink)
    clips, end = _parse(sink.getvalue())
    assert count == end["clips"] == len(clips)
    return clips, end


def test_clips_come_padded_with_their_facts(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path / "mine", {"train": notes(3), "test": notes(2, family="reed")})
    clips, end = _stream(root)
    assert [head["clip_id"] for head, _ in clips] == notes(3)
    head, samples = clips[0]
    labels = head.pop("labels")
    assert labels["pitch"] == int(notes(3)[0].rsplit("-", 2)[1])
    assert labels["instrument_family_str"] == "bass"
    assert head == {
        "clip_id": notes(3)[0],
        "group": notes(3)[0].rsplit("-", 2)[0],
        "sample_rate_hz": 16_000,
        "frames": 3_200,
        "pcm_sha256": audio_io.pcm_sha256(samples, 16_000),
        "corpus": "mine",
    }
    wanted = samples_of(root / "train" / "audio" / f"{notes(3)[0]}.wav")[:, 0]
    np.testing.assert_array_equal(samples[:1_600], wanted)
    assert not samples[1_600:].any()
    content = open_corpus(root).content_sha256(split="train")
    assert end["corpora"] == [
        {"root_name": "mine", "layout": "nsynth", "split": "train", "rule": "corpus", "content_sha256": content,
         "clips": 3, "licences": []},
    ]  # fmt: skip
    assert end["refused"] == []


def test_recordings_are_resampled_and_cut(tmp_path: Path) -> None:
    write_audio(tmp_path / "m" / "train_data" / "1.wav", duration_s=1.0, sample_rate_hz=22_050)
    make_nsynth(tmp_path / "n", {"train": notes(2)})
    clips, end = _stream(tmp_path / "m", tmp_path / "n", clip_s=0.4, sample_rate_hz=8_000, limit=1)
    assert [head["clip_id"] for head, _ in clips] == ["1_00000", notes(2)[0]]
    assert all(samples.shape == (3_200,) for _, samples in clips)
    assert [corpus["clips"] for corpus in end["corpora"]] == [1, 1]
    clips, _ = _stream(tmp_path / "m", clip_s=0.4)
    assert [head["clip_id"] for head, _ in clips] == ["1_00000", "1_00001"]


def test_a_bad_file_is_reported_and_left_out(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path, {"train": notes(3)})
    bad = root / "train" / "audio" / f"{notes(3)[1]}.wav"
    bad.write_bytes(bad.read_bytes()[:-100])
    clips, end = _stream(root)
    assert [head["clip_id"] for head, _ in clips] == [notes(3)[0], notes(3)[2]]
    (refused,) = end["refused"]
    assert refused["clip_id"] == notes(3)[1]
    assert "cut short" in refused["reason"]


@pytest.mark.parametrize("split", ["valid", "test", "all"])
def test_only_a_training_split_is_streamed(tmp_path: Path, split: str) -> None:
    root = make_nsynth(tmp_path, {"train": notes(1), "valid": notes(1), "test": notes(1)})
    with pytest.raises(InputError, match="only the split 'train'"):
        _stream(root, split=split)


def test_the_held_out_set_is_never_streamed(tmp_path: Path) -> None:
    for part in ("notes", "music"):
        with pytest.raises(CorpusError, match="is the held-out set"):
            _stream(HELD_OUT / part, rule="hash")


def test_held_out_samples_are_known_under_another_name(tmp_path: Path) -> None:
    source = sorted((HELD_OUT / "notes" / "test" / "audio").glob("*.flac"))[0]
    root = make_nsynth(tmp_path / "n", {"train": notes(2)})
    shutil.copy(source, root / "train" / "audio" / f"{notes(2)[0]}.flac")
    (root / "train" / "audio" / f"{notes(2)[0]}.wav").unlink()
    music = sorted((HELD_OUT / "music" / "test_data").glob("*.flac"))[0]
    (tmp_path / "any").mkdir()
    shutil.copy(music, tmp_path / "any" / "innocent.flac")
    write_audio(tmp_path / "any" / "other.wav")
    clips, end = _stream(root)
    assert [head["clip_id"] for head, _ in clips] == [notes(2)[1]]
    assert end["refused"][0]["reason"] == "its samples are in the held-out set"
    (tmp_path / "any" / "train").mkdir()
    (tmp_path / "any" / "valid").mkdir()
    (tmp_path / "any" / "innocent.flac").rename(tmp_path / "any" / "train" / "innocent.flac")
    clips, end = _stream(tmp_path / "any", clip_s=4.0)
    assert not clips
    # Every piece that is cut from the recording is refused
    assert [row["clip_id"] for row in end["refused"]] == ["train/innocent_00000", "train/innocent_00001"]


def test_held_out_instruments_and_works_are_refused(tmp_path: Path) -> None:
    held_out = read_held_out()
    name = f"{sorted(held_out.instruments)[0]}-060-100"
    clips, end = _stream(make_nsynth(tmp_path / "n", {"train": [*notes(1), name]}))
    assert [head["clip_id"] for head, _ in clips] == notes(1)
    assert "is held out" in end["refused"][0]["reason"]
    for track in ("1", "2"):
        write_audio(tmp_path / "m" / "train_data" / f"{track}.wav")
    (tmp_path / "m" / "musicnet_metadata.csv").write_text(
        "id,composer,composition,catalog_name\n1,Beethoven,Quartet,Op. 74\n2,Beethoven,Quartet,OP95\n"
    )
    clips, end = _stream(tmp_path / "m")
    assert [head["clip_id"] for head, _ in clips] == ["2"]
    assert end["refused"][0]["reason"] == "its work Beethoven Op. 74 is held out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no \\*/held_out.json there"),
        ("{", "not readable JSON"),
        ('{"schema_version": 2}', "schema_version is not 1"),
        ('{"schema_version": 1, "pcm_sha256": [1]}', "field 'pcm_sha256' is not a list of text"),
    ],
)
def test_a_missing_or_broken_list(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "held_out.json").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_held_out(tmp_path)


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path, {"train": notes(1)})
    for changes in ({"clip_s": 0.0}, {"sample_rate_hz": 0}):
        with pytest.raises(InputError, match="both must be above 0"):
            _stream(root, **changes)


def test_the_command(tmp_path: Path) -> None:
    root = make_nsynth(tmp_path / "n", {"train": notes(3)})
    command = [sys.executable, "-m", "eval.corpora", "stream", "--corpus", str(root), "--split", "train"]
    command += ["--sample-rate-hz", "16000", "--clip-s", "0.1"]
    here = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, capture_output=True, cwd=here, check=True)
    clips, end = _parse(done.stdout)
    assert len(clips) == end["clips"] == 3
    assert done.stderr == b""
    failed = subprocess.run([*command[:-1], "0"], capture_output=True, text=True, cwd=here, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")


def test_the_hash_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_nsynth(tmp_path / "n", {"train": notes(3)})
    assert main(["hash", "--corpus", str(root), "--split", "train"]) == 0
    assert capsys.readouterr().out.strip() == open_corpus(root).content_sha256(split="train")
    assert main(["hash", "--corpus", str(root / "no"), "--split", "train"]) == 2
    assert "no such corpus folder" in capsys.readouterr().err


def test_licences_are_read_from_the_licence_file(tmp_path: Path) -> None:
    assert licences(tmp_path) == []
    (tmp_path / "LICENSE.md").write_text("- **CC-BY-3.0** - A\n- CC BY-SA 4.0 and CC0 1.0; this one is public domain\n")
    assert licences(tmp_path) == ["CC-BY-3.0", "CC-BY-SA-4.0", "CC0-1.0", "PUBLIC-DOMAIN"]
    (tmp_path / "render.json").write_text("{}")
    assert licences(tmp_path)[-2].startswith("MIT")
