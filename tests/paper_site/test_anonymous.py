"""Names planted in every carrier that a site has; none may survive, and a survivor must be found."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from paper_site.anonymous import DenyList, anonymise, blind, deny_list, leaks, pattern_of, prove
from paper_site.audio import facts_of
from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import OutputError
from paper_site.manifest import read_companion
from paper_site.strip import strip, texts_of

NAME = "Zoë Quillfeather"
LABORATORY = "Brambleworth Acoustics"
SITE = f"""\
title: A study of tones
authors:
  - {{name: "{NAME}", affiliation: "{LABORATORY}", url: "https://quillfeather.example/me"}}
links:
  - {{label: Code, url: "https://github.com/zquill/tones"}}
licence: MIT
anonymous:
  names: [zquill, "Grant 1234-XY"]
evaluation:
  - collection: tones
    title: Single tones
    corpus: corpus
    layout: nsynth
    split: test
    rule: corpus
    models: [codec, phase]
    selection: {{rule: random, count: 3, seed: 7}}
    worst: {{count: 1, metric: log_mel_l1, model: codec}}
    bits: 16
"""
ABOUT = f"""\
---
title: About {NAME}
---
Thanks to {NAME.upper()}, {LABORATORY} and Grant 1234-XY; see [the code](https://github.com/zquill/tones/tree/main).

<p>Zo&euml; Quillfeather, Zo&#235;&nbsp;&#81;uillfeather, Quillfeather, Zoë</p>

<p><a href="mailto:zquill@example.org">mail</a> <a href="https://example.org/?q=Zo%C3%AB%20Quillfeather">search</a></p>

<p><a href="assets/extra/quillfeather_notes.txt">notes</a> <img src="assets/extra/poster.svg" alt="by zquill"></p>

<p><a href="assets/extra/slides.jpg">slides</a></p>
"""


def _tagged_sound(path: Path) -> None:
    wave, rate = soundfile.read(path)
    kind = {".ogg": "VORBIS"}.get(path.suffix, "PCM_16")
    with soundfile.SoundFile(path, "w", rate, 1, kind, format=path.suffix[1:].upper()) as file:
        file.artist, file.title, file.comment = NAME, f"Tone of {LABORATORY}", "zquill"
        file.write(wave)


def _tagged_picture(path: Path, how: str) -> None:
    info = PngInfo()
    if how == "itxt":
        info.add_itxt("Author", NAME, zip=True)
    else:
        info.add_text("Author", "Zoe Quillfeather", zip=how == "ztxt")
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, pnginfo=info)


def plant(root: Path) -> list[str]:
    """Put names into the example companion; returns what was used as carrier."""
    data = root / "_data"
    (data / "site.yml").write_text(SITE, encoding="utf-8")
    (root / "about.md").write_text(ABOUT, encoding="utf-8")
    extra = root / "assets" / "extra"
    extra.mkdir()
    (extra / "quillfeather_notes.txt").write_text("notes by z. QUILLFEATHER", encoding="utf-8")
    (extra / "poster.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg"><metadata>{NAME}</metadata></svg>', encoding="utf-8"
    )
    exif = Image.Exif()
    exif[0x013B] = "Zoe Quillfeather"
    Image.new("RGB", (8, 8)).save(extra / "slides.jpg", exif=exif, comment=b"made by zquill")
    (root / "assets" / "css").mkdir()
    (root / "assets" / "css" / "own.css").write_text("/* Zo\\u00eb Quillfeather */ p { margin: 0 }", encoding="utf-8")
    run = next((data / "runs").iterdir())
    record = json.loads(run.read_text(encoding="utf-8"))
    record["environment"]["cpu"] = f"the machine of {NAME}"
    run.write_text(json.dumps(record, ensure_ascii=True), encoding="utf-8")
    manifest = data / "tones.yml"
    document = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    sample = document["flute_acoustic_002-077-100"]
    sample["player"] = NAME
    for entry in sample["files"]["phase"].values():
        _tagged_sound(root / entry["path"])
        entry["sha256"] = hashlib.sha256((root / entry["path"]).read_bytes()).hexdigest()
        entry["bytes"] = (root / entry["path"]).stat().st_size
    for how, category in (("text", "original"), ("ztxt", "reconstruction"), ("itxt", "phase")):
        _tagged_picture(root / sample["pictures"][category]["spectrogram"]["light"], how)
    manifest.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=False), encoding="utf-8")
    return sorted({path.suffix for path in root.rglob("*") if path.is_file()})


@pytest.fixture
def planted(companion: Path) -> Path:
    plant(companion)
    return companion


def test_no_name_survives_in_any_carrier_and_the_site_stays_whole(planted: Path, tmp_path: Path) -> None:
    names = deny_list(read_companion(planted))
    assert {NAME, LABORATORY} <= {*names.names} and {"zquill", "Quillfeather"} <= {*names.words} and names.commits
    open_site, site = tmp_path / "open", tmp_path / "blind"
    build(planted, open_site)
    found = {
        path.suffix for path in open_site.rglob("*") if path.is_file() and leaks(names, path.name, path.read_bytes())
    }
    assert found >= {".html", ".css", ".json", ".yml", ".svg", ".txt", ".jpg", ".png", ".wav", ".flac", ".ogg", ".js"}
    report = build(planted, site, anonymous=True)
    assert report.hidden is not None and report.hidden.changed >= 12
    files = [path for path in site.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert report.hidden.proved == len(files)
    for path in files:
        data, name = path.read_bytes(), path.relative_to(site).as_posix()
        assert leaks(names, name, data) == []
        for form in (b"uillfeather", b"Brambleworth", b"zquill", b"e" * 40):
            assert form.lower() not in data.lower(), name
        assert "quill" not in name.lower()
    assert (site / "assets/extra/anonymous_notes.txt").is_file()
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "Anonymous authors" in home and "github" not in home
    assert check_site(site) == []
    croissant = json.loads((site / "croissant.json").read_text(encoding="utf-8"))["distribution"][0]
    assert hashlib.sha256((site / croissant["contentUrl"]).read_bytes()).hexdigest() == croissant["sha256"]
    crate = json.loads((site / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    for entity in crate:
        if entity["@type"] == "File":
            assert entity["contentSize"] == str((site / entity["@id"]).stat().st_size)


def test_sounds_and_pictures_stay_the_same_to_ear_and_eye(planted: Path, tmp_path: Path) -> None:
    build(planted, tmp_path / "site", anonymous=True)
    for form in ("wav", "flac", "ogg"):
        name = f"assets/audio/tones/flute_acoustic_002-077-100-phase.{form}"
        before, after = (planted / name).read_bytes(), (tmp_path / "site" / name).read_bytes()
        assert len(after) < len(before)
        was, now = soundfile.read(io.BytesIO(before)), soundfile.read(io.BytesIO(after))
        assert now[1] == was[1] and np.array_equal(now[0], was[0])
        assert facts_of(after).frames == facts_of(before).frames
    for picture in (planted / "assets" / "images").rglob("flute*light.png"):
        copy = tmp_path / "site" / picture.relative_to(planted)
        with Image.open(picture) as a, Image.open(copy) as b:
            assert np.array_equal(np.asarray(a), np.asarray(b)) and "Author" not in b.info


@pytest.mark.parametrize(
    "text",
    [
        "by Zoë Quillfeather",
        "BY ZOË QUILLFEATHER",
        "Zoe  Quillfeather",
        "zoe-quillfeather",
        "zoe_quillfeather",
        "Zo&euml;&nbsp;Quillfeather",
        "Zo&#xEB; Quillfeather",
        "Zo%C3%AB+Quillfeather",
        "Zo\\u00eb Quillfeather",
        "Zo\\xeb\\u0020Quillfeather".replace("\\u0020", " "),
        "Zoe\u0308 Quillfeather",
        "Quillfeather, Zoë",
        "commit eeeeeee",
        "https://github.com/anybody/else",
    ],
)
def test_every_spelling_is_taken_out_and_found(text: str) -> None:
    names = DenyList((NAME,), ("Quillfeather",), ("e" * 40,))
    assert leaks(names, "a.html", text.encode())
    made, _, changed = anonymise(names, {"a.html": text.encode()}, {})
    assert changed == 1 and leaks(names, "a.html", made["a.html"]) == []
    assert "uillfeather" not in made["a.html"].decode()


def test_words_are_whole_words_and_short_ones_keep_their_case() -> None:
    names = DenyList((), ("MIT", "Brian"), ())
    text = b"limits of the MIT licence, transmit; Brian, BRIAN and brians; Brianna"
    made, _, _ = anonymise(names, {"a.txt": text}, {})
    assert made["a.txt"] == b"limits of the anonymous licence, transmit; anonymous, anonymous and brians; Brianna"


def _pdf() -> bytes:
    return b"%PDF-1.7\n1 0 obj\nstream\n" + zlib.compress(b"(Zoe Quillfeather) Tj") + b"\nendstream"


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", "Zoe Quillfeather" * 3)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [("paper.pdf", _pdf()), ("code.zip", _zip()), ("table.bin", "Zoe Quillfeather".encode("utf-16-le"))],
)
def test_what_cannot_be_taken_out_stops_the_build(companion: Path, tmp_path: Path, name: str, data: bytes) -> None:
    (companion / "_data" / "site.yml").write_text(SITE.replace("Zoë", "Zoe"), encoding="utf-8")
    (companion / "assets" / name).write_bytes(data)
    with pytest.raises(OutputError, match=rf"assets/{re.escape(name)}: 'Zoe Quillfeather' in"):
        build(companion, tmp_path / "site", anonymous=True)
    assert not (tmp_path / "site").exists()


def test_names_may_be_kept_and_a_site_without_names_is_proved_too(companion: Path, tmp_path: Path) -> None:
    site = companion / "_data" / "site.yml"
    site.write_text(SITE.replace("anonymous:\n", f'anonymous:\n  keep: ["{LABORATORY}"]\n'), encoding="utf-8")
    names = deny_list(read_companion(companion))
    assert LABORATORY not in names.names
    assert blind(read_companion(companion)).site.links == ()
    assert prove(names, {"a.html": lambda: b"<p>nothing</p>"}) == 1
    with pytest.raises(OutputError, match=r"still names its authors: a\.html"):
        prove(names, {"a.html": lambda: b"<p>zquill</p>"})
    assert pattern_of(DenyList((), (), ())).search("anything") is None


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    names = DenyList((), ("zquill", "Grantly"), ())
    for file in ("zquill.txt", "grantly.txt"):
        (tmp_path / file).write_text("x")
    with pytest.raises(OutputError, match="one name"):
        anonymise(names, {}, {file: tmp_path / file for file in ("zquill.txt", "grantly.txt")})


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_stripped_sounds_hold_no_text(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form.lower()}"
    kind: Any = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(form, "PCM_16")
    tone = 0.3 * np.sin(np.arange(48000) / 20)
    with soundfile.SoundFile(path, "w", 48000, 1, kind, format=form) as file:
        file.artist = NAME * 40
        file.write(tone)
    data = path.read_bytes()
    assert any(NAME.encode() in text or NAME.encode("utf-16-le") in text for text in texts_of(data))
    clean = strip(data)
    assert not any(b"Quill" in text for text in texts_of(clean))
    assert strip(clean) == clean or form == "OGG"
    assert np.array_equal(soundfile.read(io.BytesIO(clean))[0], soundfile.read(path)[0])
    for cut in (3, 12, 30, 50):
        assert list(texts_of(data[:cut])) is not None


def test_the_command_line_says_what_it_did(companion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import build_site

    assert build_site.main(["--source", str(companion), "--render-only", "--anonymous", "--archive"]) == 0
    said = capsys.readouterr().out
    assert "nothing of them is left in the" in said and "archive: " in said
    assert (companion / "_anonymous" / "index.html").is_file() and (companion / "_anonymous.zip").is_file()
    shutil.rmtree(companion / "_anonymous")
