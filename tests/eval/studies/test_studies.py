"""Studies from their module to documents, products and the report of the main job, with a fake study."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import yaml

from eval import manifest
from eval import runner as runner_module
from eval.corpora import HELD_OUT
from eval.pipeline import PipelineReport, evaluate_companion
from eval.studies import load_study, study_of
from eval.studies.base import Listening, StudyContext, Track
from eval.studies.context import make_context, model_facts, parse_checkpoints
from eval.studies.listening import publish_listening, track_categories
from eval.studies.run import Recorded, measure_study, study_document
from models import registry
from models.errors import CheckpointError, CorpusError, InputError, ManifestError
from models.registry import ModelEntry
from tests.eval.studies import fake_study
from tests.signals import tone

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    entries = {
        name: ModelEntry(name, name.capitalize(), f"tests.eval.fakes:{name.capitalize()}", "A toy.", None)
        for name in ("coder", "halver")
    }
    monkeypatch.setattr(registry, "MODELS", MappingProxyType(entries))
    for module in ("eval.studies", "eval.pipeline", "eval.studies.listening"):
        monkeypatch.setattr(f"{module}.STUDIES", {"tones": "tests.eval.studies.fake_study"})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake_study.listened.clear()
    fake_study.rows = None
    yield
    fake_study.rows = None


def context(**fields: Any) -> StudyContext:
    return make_context(seed=fields.pop("seed", 5), **fields)


def measured(output: Path) -> tuple[Recorded, dict[str, Any], dict[str, Any]]:
    recorded = measure_study("tones", context(), output=output, command="python -m eval study tones")
    document = json.loads(recorded.document.read_text(encoding="utf-8"))
    return recorded, document, json.loads(recorded.run.read_text(encoding="utf-8"))


# --- measuring


def test_a_study_becomes_its_document_and_a_run_record(tmp_path: Path) -> None:
    recorded, document, run = measured(tmp_path)
    manifest.check(document, "study", recorded.document)
    manifest.check(run, "run", recorded.run)
    assert recorded.document == tmp_path / "_data" / "studies" / "tones.json"
    assert recorded.run == tmp_path / "_data" / "runs" / f"{document['run']}.json"
    assert (document["study"], document["question"]) == ("tones", fake_study.QUESTION)
    assert document["models"] == [
        {"name": "coder", "title": "Coder", "checkpoint_sha256": None},
        {"name": "halver", "title": "Halver", "checkpoint_sha256": None},
    ]
    assert document["claims"] == [
        {"text": "Louder than −6 dB", "figure": "-3.0 dB", "met": True, "reason": None},
        {"text": "Fewer than 100 bits", "figure": "640 bits", "met": False, "reason": "because of <reasons>"},
    ]
    assert run["run_id"] == document["run"] and run["study"] == "tones" and run["seed"] == 5
    assert run["command"] == "python -m eval study tones" and run["code"]["sha256"]
    assert [model["name"] for model in run["models"]] == ["coder", "halver"]
    assert run["models"][0]["config"] == {"codebook_size": 16}
    assert run["corpus"]["notes"]["clips"] > run["corpus"]["music"]["clips"] > 0
    assert run["settings"] == {"study": "tones", "training": [], "models": []}


def test_numbers_that_are_not_there_have_a_reason(tmp_path: Path) -> None:
    document = measured(tmp_path)[1]
    [table] = document["tables"]
    assert table["note"] == "Drawn with the seed 5"
    loud, soft, broken, vague = (row["cells"] for row in table["rows"])
    assert loud["level"] == {"value": -3.0, "low": -3.5, "high": -2.5, "n": 12, "reason": None}
    assert soft["bits"] == {"value": None, "low": None, "high": None, "n": None, "reason": "it has <none>"}
    assert (broken["level"]["value"], broken["level"]["low"]) == (None, None)
    assert broken["level"]["reason"] == "the value came out as nan"
    assert broken["bits"]["reason"] == "no value was measured"
    assert list(vague) == ["bits"] and vague["bits"]["value"] == 641.0
    assert (vague["bits"]["low"], vague["bits"]["high"]) == (None, None)
    squares, nothing = document["plots"]
    assert [point["label"] for point in squares["points"]] == [f"p{k}" for k in range(6)]
    assert squares["note"] == "1 of 7 points have no finite value and are left out."
    assert nothing["points"] == [] and nothing["note"] is None


def test_a_table_that_does_not_fit_together_is_refused() -> None:
    found = fake_study.measure(context())
    [table] = found.tables

    def refused(**fields: Any) -> str:
        wrong = replace(found, tables=[replace(table, **fields)])
        with pytest.raises(InputError) as caught:
            study_document(fake_study, wrong, run_id="r", models=[])
        return str(caught.value)

    assert "row 'Loud' has a cell 'bits'; columns are level, pitch" in refused(
        columns=[c for c in table.columns if c.key != "bits"]
    )
    assert "two columns have the key 'level'" in refused(columns=[*table.columns, table.columns[0]])
    assert "better is 'more'" in refused(columns=[replace(table.columns[0], better="more"), *table.columns[1:]])


def test_the_schema_wants_a_reason_for_a_number_that_is_not_there(tmp_path: Path) -> None:
    document = measured(tmp_path)[1]
    document["tables"][0]["rows"][1]["cells"]["bits"]["reason"] = None
    with pytest.raises(ManifestError, match="reason"):
        manifest.check(document, "study", tmp_path)


def test_weights_of_ones_own_are_recorded_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(registry.MODELS["coder"], checkpoint="coder")
    monkeypatch.setattr(registry, "MODELS", MappingProxyType({**registry.MODELS, "coder": entry}))
    with pytest.raises(CheckpointError):
        parse_checkpoints([f"coder@{tmp_path}"])
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "card.json").write_text(json.dumps({"schema_version": 1, "tensors_sha256": "b" * 64}))
    checkpoints = parse_checkpoints([f"coder@{folder}"])
    assert model_facts("coder", checkpoints["coder"])["checkpoint_sha256"] == "b" * 64
    recorded = measure_study("tones", context(checkpoints=checkpoints), output=tmp_path, command="c")
    document = json.loads(recorded.document.read_text())
    run = json.loads(recorded.run.read_text())
    assert document["models"][0]["checkpoint_sha256"] == run["models"][0]["checkpoint_sha256"] == "b" * 64
    assert run["settings"]["models"] == ["coder@mine"] and str(tmp_path) not in json.dumps([document, run])
    for texts, part in (
        (["coder"], "NAME@FOLDER"),
        ([f"coder@{folder}"] * 2, "twice"),
        (["who@x"], "unknown"),
        (["halver@x"], "no weights"),
    ):
        with pytest.raises(InputError, match=part):
            parse_checkpoints(texts)
    with pytest.raises(InputError, match="does not use model 'other'"):
        measure_study("tones", context(checkpoints={"other": folder}), output=tmp_path, command="c")


def test_the_context_gives_held_out_clips_and_models() -> None:
    given = context()
    notes = given.clips("notes", 5)
    assert [clip.sample_rate_hz for clip, _ in notes] == [16_000] * 5 and notes[0][1].ndim == 1
    assert len({clip.labels["instrument_family_str"] for clip, _ in notes}) == 5
    assert given.clips("notes", 5)[0][0].clip_id == notes[0][0].clip_id
    assert len(given.clips("music")) == len(given.clips("music", 1000))
    assert given.load("halver").name == "halver"
    for which, limit in (("voices", None), ("notes", 0)):
        with pytest.raises(InputError):
            given.clips(which, limit)
    with pytest.raises(CorpusError):
        context(training=[HELD_OUT / "nowhere"])


def test_the_table_of_studies_says_what_it_has() -> None:
    assert load_study("tones") is fake_study  # type: ignore[comparison-overlap]
    assert study_of("coder") == "tones" and study_of("nothing") is None
    with pytest.raises(InputError, match="study 'noises' is unknown; known: tones"):
        load_study("noises")


def test_every_study_of_the_table_has_the_names_of_a_study() -> None:
    program = (
        "from eval.studies import STUDIES, load_study\n"
        "from models.registry import MODELS\n"
        "for name in STUDIES:\n"
        "    study = load_study(name)\n"
        "    assert study.NAME == name and study.TITLE and study.QUESTION, name\n"
        "    assert set(study.MODELS) <= set(MODELS), (name, study.MODELS)\n"
        "    assert callable(study.measure) and callable(study.listen), name\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- listening rows


def companion(root: Path, *entries: dict[str, Any], jobs: list[dict[str, Any]] | None = None) -> Path:
    (root / "_data").mkdir(parents=True, exist_ok=True)
    site = {"title": "T", "studies": list(entries), "evaluation": jobs or []}
    (root / "_data" / "site.yml").write_text(yaml.safe_dump(site), encoding="utf-8")
    return root


def build(root: Path) -> PipelineReport:
    return evaluate_companion(root, device="cpu", workers=2)


def samples(root: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((root / "_data" / "study_tones.yml").read_text(encoding="utf-8")))


def test_listening_rows_are_a_collection_of_samples(tmp_path: Path) -> None:
    root = companion(tmp_path / "c", {"study": "tones", "seed": 9})
    report = build(root)
    assert (report.evaluated, report.errors, report.warnings) == (["study_tones"], [], [])
    assert fake_study.listened == [9]
    rows = samples(root)
    manifest.check(rows, "collection", root)
    assert list(rows) == ["first", "../second"]
    first, second = rows.values()
    assert list(first["files"]) == ["low_tone", "high_tone"] and list(second["files"]) == ["original"]
    assert first["systems"] == {"low_tone": {"title": "Low <tone>"}, "high_tone": {"title": "High tone"}}
    assert (first["title"], first["pitch"], first["label_files"]) == ('A "fifth" <i>up</i>', 55, "no")
    assert (first["study"], first["duration_s"], first["sample_rate_hz"]) == ("tones", 0.3, 16_000)
    assert first["selection"] == {"rule": "study", "seed": 9, "population": 2, "rank": 1}
    named = [entry for row in rows.values() for forms in row["files"].values() for entry in forms.values()]
    assert len(named) == 9
    for entry in named:
        path = root / entry["path"]
        assert path.parent == root / "assets" / "audio" / "study_tones"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert set(first["pictures"]["high_tone"]) == {"spectrogram", "waveform"}


def test_shorter_tracks_are_filled_up_so_that_positions_agree(tmp_path: Path) -> None:
    from eval import audio_io

    root = companion(tmp_path / "c", {"study": "tones"})
    build(root)
    first = samples(root)["first"]
    heard = {name: audio_io.read(root / forms["flac"]["path"]).waveform[0] for name, forms in first["files"].items()}
    assert len(heard["low_tone"]) == len(heard["high_tone"]) == 4800
    assert not heard["high_tone"][3200:].any() and heard["high_tone"][:3200].any()


def test_a_second_build_listens_to_nothing(tmp_path: Path) -> None:
    root = companion(tmp_path / "c", {"study": "tones"})
    build(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    report = build(root)
    assert (report.evaluated, report.unchanged) == ([], ["study_tones"]) and len(fake_study.listened) == 1
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("what", ["seed", "code", "file", "models"])
def test_what_is_stale_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    root = companion(tmp_path / "c", {"study": "tones"})
    build(root)
    if what == "seed":
        companion(root, {"study": "tones", "seed": 3})
    elif what == "code":
        real = runner_module.code_sha256
        monkeypatch.setattr("eval.studies.listening.code_sha256", lambda package: real(package) + "edited")
    elif what == "file":
        next((root / "assets" / "audio" / "study_tones").iterdir()).unlink()
    else:
        state = root / "_results" / "state.json"
        state.write_text(state.read_text().replace('"coder"', '"model_that_is_gone"'))
    assert build(root).evaluated == ["study_tones"] and len(fake_study.listened) == 2


def test_rows_that_are_gone_leave_no_files(tmp_path: Path) -> None:
    root = companion(tmp_path / "c", {"study": "tones"})
    build(root)
    companion(root, {"study": "tones", "listen": False})
    report = build(root)
    assert (report.evaluated, report.unchanged) == ([], [])
    assert not (root / "_data" / "study_tones.yml").exists() and not list((root / "assets").rglob("*.*"))
    fake_study.rows = []
    companion(root, {"study": "tones"})
    assert build(root).evaluated == ["study_tones"]
    assert not (root / "_data" / "study_tones.yml").exists() and build(root).unchanged == ["study_tones"]


def test_a_study_that_fails_leaves_the_rest_and_what_was_there(tmp_path: Path) -> None:
    jobs = [{"collection": "gone", "corpus": "nowhere", "models": ["coder"]}]
    root = companion(tmp_path / "c", {"study": "tones"}, jobs=jobs)
    assert build(root).evaluated == ["study_tones"]
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    companion(root, {"study": "tones", "seed": 1}, {"study": "noises"}, jobs=jobs)
    fake_study.rows = ZeroDivisionError("by\n<zero>")
    report = build(root)
    assert report.warnings == ["study_tones: its listening rows could not be made (ZeroDivisionError: by <zero>)"]
    assert [line.partition(":")[0] for line in report.errors] == ["gone", "study_noises"]
    assert "study 'noises' is unknown; known: tones" in report.errors[1]
    after = {p: p.read_bytes() for p in before}
    assert {p for p in before if before[p] != after[p]} == {root / "_data" / "site.yml"}


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([Listening("a", "A", 8000, [])], "no tracks"),
        ([Listening("a", "A", 8000, [Track("t", np.zeros((1, 9), np.float32))])], r"shape \(1, 9\)"),
        ([Listening("a", "A", 8000, [Track("t", np.zeros(0, np.float32))])], r"shape \(0,\)"),
        ([Listening("a", "A", 8000, [Track("t", np.full(9, np.nan, np.float32))])], "not finite"),
        ([Listening("a", "A", 0, [Track("t", np.ones(9, np.float32))])], "sample_rate_hz"),
        ([Listening(" ", "A", 8000, [Track("t", np.ones(9, np.float32))])], "id is needed"),
        ([Listening(i, "A", 8000, [Track("t", np.ones(9, np.float32))]) for i in ("row", "ROW")], "ids must differ"),
    ],
)
def test_rows_that_cannot_be_heard_are_refused(tmp_path: Path, rows: list[Listening], part: str) -> None:
    from eval.protocols import Silent

    with pytest.raises(InputError, match=part):
        publish_listening(tmp_path, "tones", rows, seed=0, workers=1, progress=Silent())
    assert not list(tmp_path.iterdir())


def test_tracks_have_categories_that_are_names() -> None:
    wave = tone(200, 0.1)
    titles = ["Original", "Original", "8 steps", "Größe", "!", "8 Steps", "x" * 90]
    names = track_categories([Track(title, wave) for title in titles])
    assert names == ["original", "original_2", "track_8_steps", "gr_e", "track", "track_8_steps_2", "x" * 40]


def test_names_in_each_others_way_are_refused(tmp_path: Path) -> None:
    for entries, jobs in (
        ([{"study": "tones"}] * 2, []),
        ([{"study": "tones"}], [{"collection": "study_tones", "corpus": "x", "models": ["coder"]}]),
    ):
        with pytest.raises(ManifestError):
            build(companion(tmp_path, *entries, jobs=jobs))


def test_a_collection_still_needs_its_recording_and_its_run(tmp_path: Path) -> None:
    root = companion(tmp_path / "c", {"study": "tones"})
    build(root)
    rows = samples(root)
    for row in rows.values():
        del row["study"]
    with pytest.raises(ManifestError):
        manifest.check(rows, "collection", root)


def test_no_torch_where_nothing_is_stale(tmp_path: Path) -> None:
    root = companion(tmp_path / "c", {"study": "quiet"})
    (tmp_path / "quiet_study.py").write_text(
        "import numpy, torch\n"
        "from eval.studies.base import Listening, Track\n"
        "NAME, TITLE, QUESTION, MODELS = 'quiet', 'Quiet', 'Is it?', ('griffin_lim',)\n"
        "def listen(context):\n"
        "    return [Listening('a', 'A', 8000, [Track('t', numpy.full(800, 0.1, numpy.float32))])]\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pathlib import Path; from eval import studies; from eval.pipeline import evaluate_companion\n"
        "studies.STUDIES['quiet'] = 'quiet_study'\n"
        f"report = evaluate_companion(Path({str(root)!r}), device='cpu')\n"
        "assert not report.errors + report.warnings, report\n"
        "print(report.evaluated, [m for m in ('torch', 'scipy', 'PIL') if m in sys.modules])"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()
        for _ in range(2)
    ]
    assert said[0].startswith("['study_quiet'] ['torch'") and said[1] == "[] []"
