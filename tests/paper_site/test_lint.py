"""Every fault that the audio lint knows, in files made for the purpose."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from paper_site.audio import facts_of
from paper_site.build import build
from paper_site.errors import DataError
from paper_site.lint import RULES, AudioReport, Files, lint_audio, orphans, read_settings

RATE = 8000
TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def _noise(seed: int) -> np.ndarray:
    return np.asarray(0.2 * np.random.default_rng(seed).uniform(-1, 1, RATE))


class Bench:
    """One row of two tracks in WAV files, and what lint says of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, dict[str, Any]] = {"original": {}, "phase": {}}
        self.sample: dict[str, Any] = {
            "sample_rate_hz": RATE,
            "duration_s": 1.0,
            "systems": {"phase": {"model": "phase", "title": "Phase"}},
            "files": self.files,
            "loudness_lufs": {"original": -20.0, "phase": -21.0},
        }
        self.write("original", TONE)
        self.write("phase", _noise(1))

    def write(
        self, category: str, samples: np.ndarray, *, kind: str = "PCM_16", rate: int = RATE, form: str = "wav"
    ) -> Path:
        path = self.root / "assets" / "audio" / f"{category}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, format=form.upper(), subtype=kind)
        self.name(category, path, form)
        return path

    def name(self, category: str, path: Path, form: str = "wav") -> None:
        entry = {
            "path": path.relative_to(self.root).as_posix(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        self.files.setdefault(category, {})[form] = entry

    def report(self, settings: dict[str, Any] | None = None) -> AudioReport:
        document = {"tones": {"a": self.sample}}
        return lint_audio(self.root, document, read_settings(settings, self.root / "site.yml"), Files())

    def rules(self) -> list[str]:
        return [finding.rule for finding in self.report().findings]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_good_files_of_all_formats_pass(bench: Bench) -> None:
    bench.write("original", TONE, kind="PCM_16", form="flac")
    bench.write("phase", _noise(1), kind="VORBIS", form="ogg")
    for number, kind in enumerate(["PCM_24", "FLOAT", "PCM_U8", "PCM_32"]):
        bench.write("phase", _noise(number), kind=kind)
        assert bench.rules() == []
    assert bench.report().files == 4


def _broken_header(bench: Bench) -> None:
    path = bench.root / "assets" / "audio" / "phase.wav"
    path.write_bytes(path.read_bytes()[:30])
    bench.name("phase", path)


def _pointer(bench: Bench) -> None:
    path = bench.root / "assets" / "audio" / "phase.wav"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    bench.name("phase", path)


def _wrong_type(bench: Bench) -> None:
    path = bench.write("phase", _noise(1), kind="VORBIS", form="ogg")
    wrong = path.with_name("phase2.flac")
    path.rename(wrong)
    bench.files["phase"] = {}
    bench.name("phase", wrong, "flac")


def _missing(bench: Bench) -> None:
    (bench.root / "assets" / "audio" / "phase.wav").unlink()


def _other_bytes(bench: Bench) -> None:
    bench.files["phase"]["wav"]["sha256"] = "0" * 64


def _doubled(bench: Bench) -> None:
    bench.files["phase"] = dict(bench.files["original"])


def _same_bytes(bench: Bench) -> None:
    bench.write("phase", TONE)


def _spread(bench: Bench) -> None:
    bench.sample["loudness_lufs"]["phase"] = -40.0


CLIPPED = np.where(np.arange(RATE) == 5, 1.0, TONE)


@pytest.mark.parametrize(
    ("rule", "harm"),
    [
        ("missing", _missing),
        ("bytes", _other_bytes),
        ("doubled", _doubled),
        ("same_bytes", _same_bytes),
        ("lfs", _pointer),
        ("type", _wrong_type),
        ("type", _broken_header),
        ("float64", lambda b: b.write("phase", _noise(1), kind="DOUBLE")),
        ("rate", lambda b: b.write("phase", np.repeat(_noise(1), 2), rate=2 * RATE)),
        ("rate", lambda b: b.write("phase", np.repeat(_noise(1), 2), rate=2 * RATE, kind="VORBIS", form="ogg")),
        ("duration", lambda b: b.write("phase", _noise(1)[:-100])),
        ("duration", lambda b: b.write("phase", _noise(1)[:-100], form="flac")),
        ("duration", lambda b: b.write("phase", _noise(1)[:-100], kind="VORBIS", form="ogg")),
        ("full_scale", lambda b: b.write("phase", CLIPPED)),
        ("full_scale", lambda b: b.write("phase", -CLIPPED, kind="PCM_24")),
        ("silence", lambda b: b.write("phase", 1e-4 * TONE)),
        ("dc", lambda b: b.write("phase", TONE + 0.02)),
        ("level_spread", _spread),
    ],
)
def test_every_fault_is_found(bench: Bench, rule: str, harm: Any) -> None:
    assert bench.rules() == []
    harm(bench)
    assert bench.rules() == [rule]


def test_the_same_clip_of_the_same_system_may_be_published_twice(bench: Bench) -> None:
    again = bench.root / "assets" / "audio" / "again.wav"
    again.write_bytes((bench.root / "assets" / "audio" / "phase.wav").read_bytes())
    entry = {"path": "assets/audio/again.wav", "sha256": bench.files["phase"]["wav"]["sha256"]}
    worst = {**bench.sample, "files": {"phase": {"wav": entry}}}
    settings = read_settings(None, bench.root)
    assert lint_audio(bench.root, {"tones": {"a": bench.sample}, "tones_worst": {"a": worst}}, settings).errors == []
    found = lint_audio(bench.root, {"tones": {"a": bench.sample}, "tones_worst": {"b": worst}}, settings).errors
    assert [finding.rule for finding in found] == ["same_bytes"]


def test_severities_limits_and_allowances_come_from_the_site(bench: Bench) -> None:
    bench.write("phase", CLIPPED)
    assert bench.report({"severity": {"full_scale": "warning"}}).errors == []
    assert bench.report({"severity": {"full_scale": "off"}}).findings == ()
    assert bench.report({"limits": {"full_scale_samples": 1}}).findings == ()
    allow = [{"rule": "full_scale", "files": "assets/audio/ph*", "reason": "the tape is like that"}]
    report = bench.report({"allow": allow})
    assert report.errors == [] and report.findings[0].reason == "the tape is like that"
    assert bench.report({"allow": [{**allow[0], "rule": "dc"}]}).errors != []
    with pytest.raises(DataError, match="did you mean 'full_scale'"):
        bench.report({"severity": {"fullscale": "off"}})
    with pytest.raises(DataError, match="did you mean 'dc_fs'"):
        bench.report({"limits": {"dcfs": 1}})


@pytest.mark.parametrize("cut", [0, 3, 11, 20, 43, 60])
def test_no_bytes_are_too_broken_to_be_looked_at(bench: Bench, cut: int) -> None:
    for form, kind in (("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS")):
        data = bench.write("phase", TONE, kind=kind, form=form).read_bytes()
        facts = facts_of(data[:cut])
        assert facts.container in {form, "unknown"}
        assert facts.problem or facts.container == "unknown" or facts.frames is not None
        facts_of(data[:4] + bytes(range(256)))


def test_wav_extensible_opus_head_and_rf64() -> None:
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    body = (TONE * 32767).astype("<i2").tobytes()
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    data = b"WAVE" + chunks + b"data" + struct.pack("<I", len(body)) + body
    plain = facts_of(b"RIFF" + struct.pack("<I", len(data)) + data)
    assert (plain.coding, plain.bits, plain.frames, plain.sample_rate_hz) == ("pcm", 16, RATE, RATE)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, len(body), RATE, 0)
    data = b"WAVE" + sizes + chunks + b"data" + b"\xff" * 4 + body
    assert facts_of(b"RF64" + b"\xff" * 4 + data).frames == RATE
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 48000, 0, 0)
    page = b"OggS" + struct.pack("<BBqIIIB", 0, 2, 48312, 7, 0, 0, 1) + bytes([len(head)]) + head
    opus = facts_of(page)
    assert (opus.coding, opus.channels, opus.duration_s) == ("opus", 2, 1.0)


def test_orphans_are_files_that_neither_manifest_nor_page_names() -> None:
    pages = {"about.html": b'<a href="assets/extra/heard.ogg">', "data.json": b"unheard.ogg"}
    published = ["assets/a.wav", "assets/extra/heard.ogg", "assets/extra/unheard.ogg", "assets/x.png"]
    assert list(orphans(published, ["assets/a.wav"], pages)) == ["assets/extra/unheard.ogg"]


def test_a_fault_stops_the_build_and_an_allowed_one_is_printed(companion: Path, tmp_path: Path) -> None:
    manifest = companion / "_data" / "tones.yml"
    document = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    entry = document["flute_acoustic_002-077-100"]["files"]["phase"]["wav"]
    path = companion / entry["path"]
    soundfile.write(path, np.where(np.arange(4000) == 5, 1.0, 0.1 * TONE[:4000]), RATE, subtype="PCM_16")
    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    site = tmp_path / "site"
    with pytest.raises(DataError, match=r"1 samples at full scale.*lint\.allow") as caught:
        build(companion, site)
    assert caught.value.path == companion / "_data" / "site.yml" and not site.exists()
    with (companion / "_data" / "site.yml").open("a", encoding="utf-8") as file:
        file.write('lint:\n  allow:\n    - {rule: full_scale, files: "*flute*", reason: A <test> of clipping}\n')
    build(companion, site)
    page = (site / "reproduce.html").read_text(encoding="utf-8")
    assert "A &lt;test&gt; of clipping" in page and "1 samples at full scale" in page
    (companion / "assets" / "extra").mkdir()
    (companion / "assets" / "extra" / "left.ogg").write_bytes(b"OggS")
    with pytest.raises(DataError, match=r"assets/extra/left\.ogg: no manifest and no page names this file"):
        build(companion, site)


def test_a_second_look_reads_no_file(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os
    import time

    from paper_site.cache import Cache, using

    for path in (tmp_path / "assets" / "audio").iterdir():
        os.utime(path, ns=(time.time_ns() - 10**10,) * 2)
    time.sleep(0.1)
    settings = read_settings(None, tmp_path)
    document = {"tones": {"a": bench.sample}}
    with using(Cache(tmp_path / "cache")):
        files = Files()
        first = lint_audio(tmp_path, document, settings, files)
        files.save()

    read_bytes = Path.read_bytes

    def refuse(self: Path) -> bytes:
        assert not self.is_relative_to(tmp_path), f"{self} was read again"
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with using(Cache(tmp_path / "cache")):
        assert lint_audio(tmp_path, document, settings, Files()) == first


def test_every_rule_is_described() -> None:
    assert all(severity in {"error", "warning"} and text for severity, text in RULES.values())
