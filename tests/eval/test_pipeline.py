from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import yaml

from eval import audio_io, manifest
from eval import runner as runner_module
from eval.evaluation import clip_list_sha256
from eval.metrics import METRICS
from eval.pipeline import PipelineReport, evaluate_companion
from eval.verify import verify
from models import registry
from models.errors import ManifestError
from models.registry import ModelEntry
from tests.eval.corpora.makers import make_nsynth, notes
from tests.eval.fakes import write
from tests.signals import harmonic

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def toy_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries = {
        name: ModelEntry(name, name.capitalize(), f"tests.eval.fakes:{kind}", "A toy.", None)
        for name, kind in (("coder", "Coder"), ("halver", "Halver"), ("breaks", "Breaks"))
    }
    monkeypatch.setattr(registry, "MODELS", MappingProxyType(entries))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_companion(root: Path, **fields: Any) -> Path:
    names = notes(9, instruments=3)
    corpus = make_nsynth(root / "corpus", {"test": names}, audio=False)
    for number, name in enumerate(names):
        write(corpus / "test" / "audio" / f"{name}.wav", harmonic(150 + 20 * number, 0.4))
    job = {
        "collection": "tones",
        "title": "Tones",
        "corpus": "corpus",
        "layout": "nsynth",
        "split": "test",
        "models": ["coder", "halver"],
        "metrics": ["log_mel_l1", "waveform_l1"],
        "selection": {"rule": "random", "count": 3, "seed": 7},
        "worst": {"count": 2, "metric": "waveform_l1", "model": "halver"},
        **fields,
    }
    (root / "_data").mkdir()
    save(root, [job])
    return root


def save(root: Path, jobs: list[dict[str, Any]]) -> None:
    (root / "_data" / "site.yml").write_text(yaml.safe_dump({"title": "T", "evaluation": jobs}), encoding="utf-8")


def jobs(root: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load((root / "_data" / "site.yml").read_text())["evaluation"])


def build(root: Path, **options: Any) -> PipelineReport:
    options.setdefault("device", "cpu")
    return evaluate_companion(root, **options)


def files(root: Path) -> dict[str, bytes]:
    """Everything that is published, the time and identity of runs taken out."""
    found = {}
    for folder in (root / "_data", root / "assets"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "runs" not in path.parts:
                data = re.sub(rb"\d{8}T\d{6}Z-[0-9a-f]{8}", b"RUN", path.read_bytes())
                data = re.sub(rb'"(rtf|seconds_per_clip)": [^,]+', rb"\1", data)
                found[path.relative_to(root).as_posix()] = data
    return found


def pcm_of(path: Path) -> str:
    audio = audio_io.read(path)
    return audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz)


def documents(root: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    samples = yaml.safe_load((root / "_data" / "tones.yml").read_text(encoding="utf-8"))
    worst = yaml.safe_load((root / "_data" / "tones_worst.yml").read_text(encoding="utf-8"))
    results = json.loads((root / "_data" / "results" / "tones.json").read_text(encoding="utf-8"))
    run = json.loads((root / "_data" / "runs" / f"{results['run']}.json").read_text(encoding="utf-8"))
    return samples, worst, results, run


def test_what_is_published_holds_its_schemas_and_is_true(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    report = build(root, workers=2)
    assert (report.evaluated, report.errors, report.warnings) == (["tones"], [], [])
    samples, worst, results, run = documents(root)
    for document, kind in ((samples, "collection"), (worst, "collection"), (results, "results"), (run, "run")):
        manifest.check(document, kind, root)
    assert len(samples) == 3 and len(worst) == 2
    clips = json.loads((root / "_data" / "clips" / "tones.json").read_text(encoding="utf-8"))
    manifest.check(clips, "clips", root)
    assert clips["run"] == results["run"] and len(clips["clips"]) == 9
    for name, sample in {**samples, **worst}.items():
        for category, scores in sample["scores"].items():
            for metric, score in scores.items():
                assert clips["scores"][category][metric][clips["clips"].index(name)] == score["value"]
    for rank, (name, sample) in enumerate(samples.items(), start=1):
        assert sample["instrument_family_str"] == "bass" and isinstance(sample["pitch"], int)
        assert (sample["duration_s"], sample["sample_rate_hz"]) == (0.4, 16_000)
        assert sample["selection"] == {"rule": "random", "seed": 7, "population": 9, "rank": rank}
        assert list(sample["files"]) == ["original", "reconstruction", "halver"]
        assert list(sample["systems"]) == ["reconstruction", "halver"]
        for category, forms in sample["files"].items():
            for form, entry in forms.items():
                path = root / entry["path"]
                assert entry["path"] == f"assets/audio/tones/{name}-{category}.{form}"
                assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        assert set(sample["pictures"]["reconstruction"]) == {"spectrogram", "waveform", "difference", "codemap_top"}
        assert set(sample["pictures"]["original"]) == {"spectrogram", "waveform"}
        for picture in (p for kinds in sample["pictures"].values() for p in kinds.values()):
            assert (root / picture["light"]).is_file() and (root / picture["dark"]).is_file() and picture["alt"]
        value = sample["scores"]["halver"]["waveform_l1"]
        assert value["status"] == "ok" and value["value"] > 0
    assert [s["category"] for s in results["systems"]] == ["reconstruction", "halver"]
    assert results["systems"][0]["checkpoint_sha256"] == "a" * 64 and results["systems"][0]["n_ok"] == 9
    assert results["corpus"]["clips"] == 9 and results["corpus"]["groups"] == 3
    assert results["selection"]["population"] == 9 and "seed 7" in results["selection"]["text"]
    assert [m["name"] for m in results["metrics"]] == ["log_mel_l1", "waveform_l1"]
    assert len(results["aggregates"]) == 4
    assert [(d["category"], d["baseline"]) for d in results["differences"]] == [("reconstruction", "halver")] * 2
    assert run["clips"] == {"total": 9, "ok": 9, "failed": 0}
    assert set(samples) < set(run["clip_list"]) and len(run["clip_list"]) == 9
    for name, sample in samples.items():
        assert run["clip_list"][name] == pcm_of(root / "corpus" / "test" / "audio" / f"{name}.wav"), sample
    assert run["clip_list_sha256"] == clip_list_sha256(dict(reversed(run["clip_list"].items())))
    assert run["outputs"] == {"computed": 18, "kept": 0, "failed": 0}
    assert set(run["stage_seconds"]) == {"read", "model", "metrics", "encode", "other"}
    assert run["metrics"]["log_mel_l1"] and run["environment"]["python"] and len(run["models"]) == 2
    values = [s["scores"]["halver"]["waveform_l1"]["value"] for s in worst.values()]
    assert values == sorted(values, reverse=True)
    assert values[0] >= max(s["scores"]["halver"]["waveform_l1"]["value"] for s in samples.values())


def test_means_are_those_of_the_clips(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c", selection={"rule": "all", "count": 99})
    build(root)
    samples, _, results, _ = documents(root)
    values = {
        category: [s["scores"][category]["waveform_l1"]["value"] for s in samples.values()]
        for category in ("reconstruction", "halver")
    }
    rows = {(a["category"], a["metric"]): a for a in results["aggregates"]}
    for category, numbers in values.items():
        row = rows[category, "waveform_l1"]
        assert row["n_ok"] == len(numbers) == 9 and row["groups"] == 3
        assert row["mean"] == pytest.approx(np.mean(numbers)) and row["median"] == pytest.approx(np.median(numbers))
        assert row["low"] <= row["mean"] <= row["high"] and "bootstrap" in row["method"]
    gap = next(d for d in results["differences"] if d["metric"] == "waveform_l1")
    assert gap["mean"] == pytest.approx(np.mean(values["reconstruction"]) - np.mean(values["halver"]))


def test_seeds_stand_apart_from_clips(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c", seeds=[1, 2])
    build(root)
    results = documents(root)[2]
    rows = {(row["category"], row["metric"]): row for row in results["seed_variance"]}
    assert set(rows) == {(c, m) for c in ("reconstruction", "halver") for m in ("log_mel_l1", "waveform_l1")}
    row = rows["halver", "waveform_l1"]
    mean = next(a["mean"] for a in results["aggregates"] if (a["category"], a["metric"]) == ("halver", "waveform_l1"))
    # These systems draw nothing: all seeds give the same.
    assert row["members"] == [20261121, 1, 2] and row["between"] == 0.0 and row["mean"] == pytest.approx(mean)
    assert row["clip_sd"] > 0 and verify(root, workers=1).findings == []
    path = root / "_data" / "results" / "tones.json"
    path.write_text(path.read_text().replace('"clip_sd": ', '"clip_sd": 1'))
    assert any(finding.field.startswith("seed_variance.") for finding in verify(root, workers=1).findings)
    shutil.rmtree(root / "_results" / "tones" / "seed_2")
    assert any("the store of the seed 2 is not here" in text for text in verify(root, workers=1).unchecked)


def test_a_job_may_ask_for_no_sets_or_for_some(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c", sets=False)
    build(root)
    assert "sets" not in documents(root)[2]
    save(root, [{**jobs(root)[0], "sets": {"metrics": ["coverage", "codes"], "embeddings": ["mfcc"]}}])
    report = build(root)
    assert report.evaluated == ["tones"]
    assert {row["metric"] for row in documents(root)[2]["sets"]["rows"]} > {"coverage", "code_usage"}
    for wrong, said in (({"embeddings": ["nosuch"]}, "nosuch"), ({"metrics": ["fad"]}, "fad")):
        save(root, [{**jobs(root)[0], "sets": wrong}])
        assert said in build(root).errors[0]


def test_nothing_depends_on_the_number_of_workers(tmp_path: Path) -> None:
    made = []
    for workers in (1, 3):
        root = make_companion(tmp_path / str(workers) / "c")
        build(root, workers=workers)
        made.append(files(root))
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    build(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    report = build(root)
    assert (report.evaluated, report.unchanged) == ([], ["tones"])
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("what", ["gone", "altered", "manifest", "state"])
def test_products_that_went_missing_are_made_again(tmp_path: Path, what: str) -> None:
    root = make_companion(tmp_path / "c")
    build(root)
    before = files(root)
    audio = sorted((root / "assets" / "audio" / "tones").iterdir())[0]
    if what == "gone":
        audio.unlink()
    elif what == "altered":
        audio.write_bytes(b"x" * audio.stat().st_size)
    elif what == "manifest":
        (root / "_data" / "tones.yml").unlink()
    else:
        (root / "_results" / "state.json").write_text("{")
    report = build(root)
    assert report.evaluated == ["tones"] and files(root) == before
    assert documents(root)[3]["outputs"] == {"computed": 0, "kept": 18, "failed": 0}


def test_what_is_stale_alone_is_computed(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    build(root)
    first = next((root / "corpus" / "test" / "audio").iterdir())
    write(first, harmonic(99, 0.4))
    build(root)
    assert documents(root)[3]["outputs"] == {"computed": 2, "kept": 16, "failed": 0}
    [job] = jobs(root)
    save(
        root, [{**job, "selection": {"rule": "random", "count": 2, "seed": 8}, "models": ["coder"], "worst": None} | {}]
    )
    wanted = {k: v for k, v in job.items() if k != "worst"} | {"models": ["coder"]}
    save(root, [wanted | {"selection": {"rule": "random", "count": 2, "seed": 8}}])
    assert build(root).evaluated == ["tones"]
    assert not (root / "_data" / "tones_worst.yml").exists()
    assert not list((root / "assets").rglob("*-halver*")) and not list((root / "assets").rglob("*_worst/*"))
    samples = yaml.safe_load((root / "_data" / "tones.yml").read_text())
    assert len(samples) == 2 and len(list((root / "assets" / "audio" / "tones").iterdir())) == 2 * 2 * 3
    assert len(list((root / "_data" / "runs").iterdir())) == 1


def test_code_that_changed_makes_results_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_companion(tmp_path / "c")
    build(root)
    real = runner_module.code_sha256
    for module in ("eval.evaluation.code_sha256", "eval.pipeline.code_sha256"):
        monkeypatch.setattr(module, lambda package: f"{real(package)} {'edited' if package == 'models' else ''}")
    assert build(root).evaluated == ["tones"]
    assert documents(root)[3]["outputs"]["computed"] == 18


def test_a_job_that_fails_leaves_the_others_and_what_was_there(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    build(root)
    before = files(root)
    [job] = jobs(root)
    other = {**job, "collection": "more"}
    save(root, [{**job, "corpus": "nowhere"}, other])
    report = build(root)
    assert report.evaluated == ["more"]
    assert len(report.errors) == 1 and report.errors[0].startswith("tones: ") and "nowhere" in report.errors[0]
    after = files(root)
    assert all(after[name] == data for name, data in before.items() if name != "_data/site.yml")
    save(root, [job, other])
    assert build(root).unchanged == ["tones", "more"]
    save(root, [other])
    build(root)
    assert not (root / "_data" / "tones.yml").exists() and (root / "_data" / "more.yml").exists()
    assert (root / "corpus" / "test" / "examples.json").exists()


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"split": "valid"}, "valid"),
        ({"rule": "nosuch"}, "nosuch"),
        ({"layout": "fma"}, "fma"),
        ({"models": ["nosuch"]}, "nosuch"),
        ({"models": ["coder", "coder"]}, "models"),
        ({"models": ["coder@somewhere"]}, "coder"),
        ({"metrics": ["nosuch"]}, "nosuch"),
        ({"worst": {"count": 1, "metric": "si_sdr"}}, "si_sdr"),
        ({"worst": {"count": 1, "metric": "waveform_l1", "model": "other"}}, "other"),
        ({"baseline": "other"}, "other"),
        ({"selection": {"rule": "best", "count": 1}}, "best"),
        ({"level_policy": "loud"}, "loud"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, fields: Mapping[str, Any], part: str) -> None:
    root = make_companion(tmp_path / "c", **fields)
    try:
        lines = build(root).errors
    except ManifestError as error:
        lines = [str(error)]
    assert len(lines) == 1 and part in lines[0] and "\n" not in lines[0]
    assert not (root / "assets").exists() and not (root / "_data" / "results").exists()


def test_broken_clips_and_models_are_recorded(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c", models=["coder", "breaks"], worst={"count": 1, "metric": "waveform_l1"})
    broken = sorted((root / "corpus" / "test" / "audio").iterdir())[4]
    broken.write_bytes(b"RIFF junk")
    report = build(root)
    assert report.evaluated == ["tones"] and "10 of 18 outputs failed" in report.warnings[0]
    samples, _, results, run = documents(root)
    assert broken.stem not in samples
    assert all(sample["failures"] == {"breaks": "RuntimeError: out of <luck>"} for sample in samples.values())
    assert all(list(sample["files"]) == ["original", "reconstruction"] for sample in samples.values())
    counts = {(a["category"], a["metric"]): (a["n_ok"], a["n_failed"], a["mean"]) for a in results["aggregates"]}
    assert counts["breaks", "waveform_l1"] == (0, 9, None)
    assert counts["reconstruction", "waveform_l1"][:2] == (8, 1)
    unreadable = next(f["error"] for f in results["failures"] if f["clip"] == broken.stem)
    assert unreadable.startswith(f"test/audio/{broken.name}: ") and str(tmp_path) not in json.dumps([results, run])
    assert len(results["failures"]) == 10 and results["systems"][1]["n_failed"] == 9
    assert run["clips"] == {"total": 9, "ok": 0, "failed": 9}
    assert results["differences"][0]["n"] == 0 and results["differences"][0]["mean"] is None


def test_nothing_but_failures_is_an_error(tmp_path: Path) -> None:
    report = build(make_companion(tmp_path / "c", models=["breaks"], worst={"count": 1, "metric": "waveform_l1"}))
    assert report.evaluated == [] and "none of 9 clips could be scored" in report.errors[0]


def test_models_and_corpus_of_the_command_take_the_place_of_the_jobs(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    mine = make_nsynth(tmp_path / "mine", {"valid": notes(4, instruments=2)}, audio=False)
    for number, name in enumerate(notes(4, instruments=2)):
        write(mine / "valid" / "audio" / f"{name}.flac", harmonic(100 + 11 * number, 0.4))
    report = build(root, corpus=mine, models=["halver"], workers=1)
    assert report.errors == []
    samples, _, results, _ = documents(root)
    assert results["corpus"]["name"] == "mine" and results["corpus"]["split"] == "valid"
    assert len(samples) == 3 and [s["model"] for s in results["systems"]] == ["halver"]
    assert results["systems"][0]["category"] == "reconstruction" and results["differences"] == []
    assert "nowhere" in build(root, corpus=tmp_path / "nowhere").errors[0]
    assert build(root).evaluated == ["tones"]
    assert documents(root)[2]["corpus"]["name"] == "corpus"


def test_labels_of_strangers_are_harmless(tmp_path: Path) -> None:
    evil = {"instrument_family_str": "<script>alert(1)</script>", "files": "../../etc", "qualities_str": ["yes", "1e3"]}
    root = make_companion(tmp_path / "c")
    table = root / "corpus" / "test" / "examples.json"
    content = {name: {**fields, **evil, "note ü": "12:30"} for name, fields in json.loads(table.read_text()).items()}
    table.write_text(json.dumps(content))
    report = build(root)
    assert report.errors == []
    samples = documents(root)[0]
    for sample in samples.values():
        assert sample["instrument_family_str"] == evil["instrument_family_str"]
        assert sample["label_files"] == "../../etc" and sample["note ü"] == "12:30"
        assert sample["qualities_str"] == ["yes", "1e3"]


def test_an_output_folder_in_the_way(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    (root / "_results").write_text("in the way")
    report = build(root)
    assert len(report.errors) == 1 and "_results" in report.errors[0]


def test_a_state_file_cannot_make_it_remove_anything_else(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    precious = [tmp_path / "precious", root / "_data" / "site.yml", root / "README.md"]
    precious[0].write_text("x")
    precious[2].write_text("x")
    (root / "_results").mkdir()
    named = ["../precious", str(tmp_path / "precious"), "_data/site.yml", "README.md", "assets/../../precious"]
    entry = {"fingerprint": "f", "files": {name: [1, 1] for name in named}}
    (root / "_results" / "state.json").write_text(json.dumps({"collections": {"gone": entry}}))
    build(root)
    assert all(path.exists() for path in precious)


def test_no_torch_where_nothing_is_stale(tmp_path: Path) -> None:
    root = tmp_path / "c"
    (root / "_data").mkdir(parents=True)
    for number in range(3):
        write(root / "corpus" / f"{number}.wav", harmonic(200 + number, 0.2))
    save(root, [{"collection": "x", "corpus": "corpus", "split": "all", "rule": "none", "models": ["griffin_lim"],
                 "metrics": ["waveform_l1"]}])  # fmt: skip
    program = (
        "import sys; from pathlib import Path; from eval.pipeline import evaluate_companion\n"
        f"report = evaluate_companion(Path({str(root)!r}), device='cpu')\n"
        "assert not report.errors, report.errors\n"
        "print(report.evaluated, [m for m in ('torch', 'librosa', 'scipy', 'PIL') if m in sys.modules])"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()
        for _ in range(2)
    ]
    assert said[0].startswith("['x']") and said[1] == "[] []"


def test_the_committed_example_holds_its_schemas() -> None:
    folder = ROOT / "tests" / "data" / "companion_example" / "_data"
    checked = 0
    for path, kind in _example(folder):
        text = path.read_text(encoding="utf-8")
        manifest.check(yaml.safe_load(text) if path.suffix == ".yml" else json.loads(text), kind, path)
        checked += 1
    assert checked >= 4
    assert set(json.loads((folder / "results" / "tones.json").read_text())["metrics"][0]) >= {"name", "title", "unit"}
    assert all(name in METRICS for name in ("log_mel_l1", "waveform_l1"))


def _example(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            kind = {"results": "results", "runs": "run"}.get(path.parent.name)
            yield path, kind or ("site" if path.stem == "site" else "collection")


def test_an_edited_manifest_is_kept_and_said_to_be_edited(tmp_path: Path) -> None:
    root = make_companion(tmp_path / "c")
    build(root)
    path = root / "_data" / "tones.yml"
    text = path.read_text(encoding="utf-8").replace("pitch:", "remark: by hand\n  pitch:", 1)
    path.write_text(text, encoding="utf-8")
    report = build(root)
    assert (report.unchanged, report.errors) == (["tones"], []) and path.read_text(encoding="utf-8") == text
    assert len(report.warnings) == 1 and "_data/tones.yml is not as the evaluation wrote it" in report.warnings[0]
    path.unlink()
    assert build(root).evaluated == ["tones"] and "by hand" not in path.read_text(encoding="utf-8")
