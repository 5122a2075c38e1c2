from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from eval.from_audio import import_audio, is_reference, read_names, write_placeholders
from models.errors import AudioError, InputError
from paper_site.build import build
from paper_site.check import check_site
from paper_site.starter import start_companion

CLIPS = ("piano", "two words", "c10", "c9")
SYSTEMS = ("original", "ours", "base-line")


def _tone(seed: int, seconds: float = 0.2, rate: int = 16000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * (200 + 10 * seed) * time_s) + rng.normal(0, 1e-3, time_s.size)


def _write(folder: Path, names: list[str], rate: int = 16000) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, _tone(seed, rate=rate), rate)
    return folder


@pytest.mark.parametrize(
    ("form", "reading"),
    [
        ("{s}/{c}.wav", "system/clip"),
        ("{s}/deep/{c}.flac", "system/clip"),
        ("{c}/{s}.wav", "clip/system"),
        ("{c}-{s}.wav", "clip-system"),
        ("{c}_{s}.wav", "clip_system"),
        ("{s}_{c}.wav", "system_clip"),
        ("set/{c}_{s}.ogg", "clip_system"),
    ],
)
def test_names_say_what_is_what(tmp_path: Path, form: str, reading: str) -> None:
    systems = [s.replace("-", "") if "-" in reading else s for s in SYSTEMS]
    names = [form.format(s=s, c=c) for s in systems for c in CLIPS]
    random.Random(1).shuffle(names)
    found, read_as = read_names(_write(tmp_path / "audio", names))
    assert read_as == reading
    assert {one.system for one in found} == set(systems)
    assert len(found) == len(names)
    clips = list(dict.fromkeys(one.clip.rsplit("/", 1)[-1] for one in found))
    assert clips == ["c9", "c10", "piano", "two words"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no audio"),
        (["one.wav", "two.wav"], "do not say which system"),
        (["a-b.wav", "c-d.wav", "e-f.wav"], "do not say which system"),
        (["text.txt.wav"], "do not say"),
    ],
)
def test_names_that_say_nothing_are_refused_with_a_remedy(tmp_path: Path, names: list[str], words: str) -> None:
    (tmp_path / "audio").mkdir()
    with pytest.raises(InputError, match=words):
        read_names(_write(tmp_path / "audio", names))
    with pytest.raises(InputError, match="no such folder"):
        read_names(tmp_path / "none")


def test_a_folder_becomes_a_table_that_builds_and_passes_every_check(tmp_path: Path) -> None:
    audio = _write(tmp_path / "audio", [f"{s}/{c}.wav" for s in SYSTEMS for c in CLIPS])
    (audio / "ours" / "piano.wav").unlink()
    companion = tmp_path / "paper"
    start_companion(companion, finished_audio=True)
    done = import_audio(audio, companion, command="python build_site.py new paper --from-audio audio")
    assert (done.rows, done.systems, done.missing) == (4, ("Original", "Base-line", "Ours"), (("piano", "Ours"),))
    manifest = yaml.safe_load((companion / "_data" / "samples.yml").read_text(encoding="utf-8"))
    assert list(manifest) == ["c9", "c10", "piano", "two words"]
    assert list(manifest["c9"]["files"]) == ["original", "base_line", "ours"]
    site = companion / "_site"
    report = build(companion, site)
    assert report.samples == 4 and check_site(site) == []
    listening = (site / "listen" / "samples.html").read_text(encoding="utf-8")
    assert "chosen by the authors" in listening and "held-out" not in listening


def test_without_a_recording_the_table_is_one_of_outputs(tmp_path: Path) -> None:
    audio = _write(tmp_path / "audio", [f"{s}/{c}.wav" for s in ("one", "two") for c in CLIPS])
    start_companion(tmp_path / "paper", finished_audio=True)
    import_audio(audio, tmp_path / "paper")
    build(tmp_path / "paper", tmp_path / "site")
    assert check_site(tmp_path / "site") == []
    assert (
        "reference" not in (tmp_path / "site" / "listen" / "samples.html").read_text(encoding="utf-8").split("<main")[1]
    )


def test_the_same_folder_gives_the_same_bytes_and_another_one_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1763700000")
    audio = tmp_path / "audio"
    write_placeholders(audio)
    trees = []
    for name in ("a", "b"):
        import_audio(audio, tmp_path / name, command="c")
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        record = next((tmp_path / name / "_data" / "runs").iterdir())
        document = json.loads(record.read_text(encoding="utf-8"))
        document.pop("wall_s")
        others = {p.relative_to(tmp_path / name): p.read_bytes() for p in files if p != record}
        trees.append((record.name, document, others))
    assert trees[0] == trees[1]
    (audio / "original" / "chord.wav").unlink()
    (audio / "four bits" / "chord.wav").unlink()
    import_audio(audio, tmp_path / "a")
    assert len(list((tmp_path / "a" / "_data" / "runs").iterdir())) == 1
    assert not list((tmp_path / "a" / "assets" / "audio" / "samples").glob("chord*"))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    audio = _write(tmp_path / "audio", ["original/a.wav", "ours/a.wav"])
    soundfile.write(audio / "ours" / "a.wav", _tone(1, rate=8000), 8000)
    with pytest.raises(InputError, match=r"different sample rates .*16000 Hz.*8000 Hz"):
        import_audio(audio, tmp_path / "paper")
    (audio / "ours" / "a.wav").write_bytes(b"RIFFnonsense")
    with pytest.raises(AudioError):
        import_audio(audio, tmp_path / "paper")
    audio = _write(tmp_path / "gaps", ["original/a.wav", "ours/a.wav", "ours/b.wav"])
    with pytest.raises(InputError, match="'b' has no 'original'"):
        import_audio(audio, tmp_path / "paper")


def test_recordings_are_known_by_many_names() -> None:
    assert all(map(is_reference, ("Original", "ground_truth", "GT", "target", "Reference")))
    assert not any(map(is_reference, ("ours", "vqvae2", "originality")))
