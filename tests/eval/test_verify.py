"""Verification: a companion as it was published holds, and every single thing that is altered is found."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from eval.verify import Verification, verify
from models import registry
from models.errors import InputError
from models.registry import ModelEntry
from tests.eval.fakes import make_folder
from tests.eval.stores import write_store
from tests.eval.test_pipeline import build, make_companion


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entries = {
        name: ModelEntry(name, name.capitalize(), f"tests.eval.fakes:{kind}", "A toy.", None)
        for name, kind in (("coder", "Coder"), ("halver", "Halver"), ("breaks", "Breaks"))
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "MODELS", MappingProxyType(entries))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        root = make_companion(tmp_path_factory.mktemp("companion") / "c")
        assert build(root, workers=1).errors == []
    return root


@pytest.fixture
def companion(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "c"))


def found(root: Path) -> list[tuple[str, str]]:
    return [(finding.file, finding.field) for finding in verify(root, workers=1).findings]


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def edit_yaml(path: Path, change: Callable[[Any], None]) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def results(root: Path) -> Path:
    return root / "_data" / "results" / "tones.json"


def run(root: Path) -> Path:
    return next((root / "_data" / "runs").glob("*.json"))


def test_what_was_published_holds(companion: Path) -> None:
    before = sorted(companion.rglob("*"))
    done = verify(companion)
    assert done.findings == [] and done.unchecked == []
    # 5 clips in 3 versions and 3 formats, and at least a picture in two colours of each version.
    assert done.files >= 5 * (9 + 6) and done.numbers > 50 and done.rows == 18 * 3
    assert sorted(companion.rglob("*")) == before


ALTERED: dict[str, tuple[Callable[[Any], None], str]] = {
    "mean": (
        lambda d: d["aggregates"][0].update(mean=d["aggregates"][0]["mean"] * 1.0001),
        "aggregates.reconstruction",
    ),
    "interval": (lambda d: d["aggregates"][3].update(high=d["aggregates"][3]["high"] + 0.1), "aggregates.halver"),
    "count": (lambda d: d["aggregates"][0].update(n_failed=1), "aggregates.reconstruction"),
    "gone": (lambda d: d["aggregates"].pop(), "aggregates.halver.waveform_l1"),
    "median": (lambda d: d["aggregates"][0].update(median_low=-9.0), "aggregates.reconstruction.log_mel_l1.median_low"),
    "rank": (lambda d: d["aggregates"][0].update(rank=2.0), "aggregates.reconstruction.log_mel_l1.rank"),
    "tied": (lambda d: d["aggregates"][0].update(tied="z"), "aggregates.reconstruction.log_mel_l1.tied"),
    "corrected": (lambda d: d["differences"][1].update(p_holm=0.01), "differences.reconstruction.waveform_l1.p_holm"),
    "effect": (lambda d: d["differences"][1].update(d=9.0), "differences.reconstruction.waveform_l1.d"),
    "detectable": (lambda d: d["differences"][0].update(detectable=0.0), "differences.reconstruction.log_mel_l1.det"),
    "diagram": (
        lambda d: d["critical_differences"][0].update(not_told_apart=[]),
        "critical_differences.log_mel_l1.not_told_apart",
    ),
    "average rank": (
        lambda d: d["critical_differences"][1]["average_ranks"][0].update(rank=1.5),
        "critical_differences.waveform_l1.average_ranks",
    ),
    "diagram gone": (lambda d: d["critical_differences"].pop(), "critical_differences.waveform_l1"),
    "set": (lambda d: d["sets"]["rows"][0].update(value=0.125), "sets.reconstruction"),
    "set's floor": (lambda d: next(r for r in d["sets"]["rows"] if r["floor"])["floor"].update(mean=0.125), "sets."),
    "set's key": (lambda d: d["sets"]["rows"][0].update(key="0" * 64), "sets.0000"),
    "set gone": (lambda d: d["sets"]["rows"].pop(), "sets."),
    "difference": (lambda d: d["differences"][0].update(p=0.5), "differences.reconstruction"),
    "failure": (lambda d: d["failures"].append({"clip": "x", "category": "halver", "error": "x"}), "failures.halver.x"),
    "run": (lambda d: d.update(run="nosuch"), "run"),
    "corpus": (lambda d: d["corpus"].update(content_sha256="0" * 64), "corpus.content_sha256"),
    "weights": (lambda d: d["systems"][0].update(checkpoint_sha256="0" * 64), "systems.coder.checkpoint_sha256"),
    "definition": (lambda d: d["metrics"][0].update(definition_sha256="0" * 64), "metrics.log_mel_l1.definition"),
    "direction": (lambda d: d["metrics"][0].update(higher_is_better=True), "metrics.log_mel_l1.higher_is_better"),
    "schema": (lambda d: d.update(surprise=1), "the document"),
    "version": (lambda d: d.update(schema_version=2), "the document"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_results_document_is_found(companion: Path, name: str) -> None:
    change, field = ALTERED[name]
    edit_json(results(companion), change)
    findings = [where for file, where in found(companion) if file == "_data/results/tones.json"]
    assert findings and any(where.startswith(field) for where in findings)


def test_an_altered_row_is_found(companion: Path) -> None:
    with sqlite3.connect(companion / "_results" / "tones" / "results.sqlite") as db:
        db.execute("UPDATE scores SET value = value + 0.5 WHERE model = 'halver' AND metric = 'waveform_l1'")
    db.close()
    fields = found(companion)
    assert any(where == "aggregates.halver.waveform_l1.mean" for _, where in fields)
    assert any(".scores.halver.waveform_l1.value" in where for _, where in fields)


def test_sets_of_other_outputs_are_found(companion: Path) -> None:
    with sqlite3.connect(companion / "_results" / "tones" / "results.sqlite") as db:
        db.execute("UPDATE outputs SET pcm_sha256 = 'x' WHERE model = 'halver'")
        db.execute("UPDATE sets SET facts = replace(facts, '\"splits\": 30', '\"splits\": 31')")
    db.close()
    fields = [where for _, where in found(companion)]
    assert any(where.startswith("sets.") and where.endswith(".outputs_sha256") for where in fields)
    assert any(where.startswith("sets.") and len(where) == len("sets.") + 64 for where in fields)


def test_altered_files_are_found(companion: Path) -> None:
    audio = sorted((companion / "assets" / "audio" / "tones").iterdir())
    flac = next(path for path in audio if path.suffix == ".flac")
    wav = next(path for path in audio if path.suffix == ".wav" and path.stem != flac.stem)
    ogg = next(path for path in audio if path.suffix == ".ogg")
    other = next(path for path in audio if path.suffix == ".ogg" and path != ogg)
    flac.unlink()
    wav.write_bytes(wav.read_bytes()[:-2] + b"\x55\x55")
    ogg.write_bytes(other.read_bytes())
    picture = next((companion / "assets" / "images" / "tones").glob("*.png"))
    picture.write_bytes(b"not a picture")
    (companion / "assets" / "audio" / "tones" / "stray.wav").write_bytes(b"x")
    lines = [str(finding) for finding in verify(companion, workers=1).findings]
    assert sum("which cannot be read" in line and flac.name in line for line in lines) == 1
    for path in (wav, ogg):
        for what in ("sha256 (", "pcm_sha256 ("):
            assert any(line.startswith(f"assets/audio/tones/{path.name}: {what}") for line in lines)
    assert any("is no PNG file" in line for line in lines) and any("stray.wav" in line for line in lines)
    assert all("\n" not in line for line in lines)


def test_a_picture_or_an_altered_hash_in_a_manifest_is_found(companion: Path) -> None:
    def change(document: Any) -> None:
        first = next(iter(document.values()))
        first["files"]["halver"]["wav"]["bytes"] = 3
        first["files"]["original"]["flac"]["path"] = "assets/audio/tones/nosuch.flac"
        first["scores"]["halver"]["log_mel_l1"]["value"] = 0.25
        first["systems"]["halver"]["run"] = "nosuch"

    edit_yaml(companion / "_data" / "tones.yml", change)
    fields = [where for _, where in found(companion)]
    assert any(where.startswith("bytes (of _data/tones.yml") for where in fields)
    for end in ("files.original.flac.path", "scores.halver.log_mel_l1.value", "systems.halver.run"):
        assert any(where.endswith(end) for where in fields)


def test_a_path_out_of_the_folder_is_found(companion: Path) -> None:
    edit_yaml(
        companion / "_data" / "tones.yml",
        lambda d: next(iter(d.values()))["files"]["original"]["flac"].update(path="../outside.flac"),
    )
    assert ("_data/tones.yml", "the document") in found(companion)


def test_clips_chosen_otherwise_are_found(companion: Path) -> None:
    edit_yaml(companion / "_data" / "tones.yml", lambda d: d.pop(next(iter(d))))
    assert ("_data/tones.yml", "the clips") in found(companion)
    edit_yaml(companion / "_data" / "tones_worst.yml", lambda d: d.update([d.popitem(), d.popitem()]))
    assert ("_data/tones_worst.yml", "the clips") in found(companion)


def test_a_record_of_another_name_or_count_is_found(companion: Path) -> None:
    edit_json(run(companion), lambda d: d.update(run_id="other"))
    edit_json(run(companion), lambda d: d["clips"].update(total=10))
    assert {"run_id", "clips.total"} <= {where for _, where in found(companion)}


def test_what_cannot_be_checked_is_said(companion: Path) -> None:
    shutil.rmtree(companion / "_results")
    done = verify(companion, workers=1)
    assert done.findings == [] and len(done.unchecked) == 1 and "not here" in done.unchecked[0]


def test_a_damaged_store_or_manifest_is_a_finding(companion: Path) -> None:
    store = companion / "_results" / "tones" / "results.sqlite"
    store.write_bytes(store.read_bytes()[:5000])
    (companion / "_data" / "tones_worst.yml").write_text("a: [", encoding="utf-8")
    run(companion).write_text("{", encoding="utf-8")
    files = {file for file, _ in found(companion)}
    assert {"_results/tones/results.sqlite", "_data/tones_worst.yml", "_data/results/tones.json"} <= files
    assert any(file.startswith("_data/runs/") for file in files)


def test_a_results_store_is_verified_to_the_samples(published: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(published / "_results" / "tones", tmp_path / "s"))
    whole = verify(store, workers=1)
    assert whole.findings == [] and whole.files == 18
    outputs = sorted((store / "outputs" / "halver").iterdir())
    outputs[0].unlink()
    outputs[1].write_bytes(outputs[2].read_bytes())
    with sqlite3.connect(store / "results.sqlite") as db:
        db.execute("UPDATE scores SET status = 'undefined' WHERE rowid = 1")
    db.close()
    fields = [finding.field for finding in verify(store, workers=1).findings]
    assert sum(where.endswith(".path") for where in fields) == 1
    assert sum(where.endswith(".pcm_sha256") for where in fields) == 1
    assert sum(where.startswith("scores.") for where in fields) == 1


def test_a_store_whose_record_says_otherwise(tmp_path: Path) -> None:
    store = write_store(
        tmp_path / "s", {"m": {"si_sdr": [1.0, 2.0]}}, failed={"m": [1]}, clips={"total": 2, "ok": 2, "failed": 0}
    )
    assert any(finding.field.endswith("clips.failed") for finding in verify(store).findings)


def test_folders_that_are_neither(tmp_path: Path) -> None:
    make_folder(tmp_path / "sounds", 1)
    for path in (tmp_path / "sounds", tmp_path / "missing"):
        with pytest.raises(InputError, match=path.name):
            verify(path)
    assert Verification().findings == []
