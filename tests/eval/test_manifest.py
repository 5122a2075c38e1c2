from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eval import manifest
from models.errors import ManifestError, OutputError

AMBIGUOUS = [
    "yes", "No", "on", "Off", "y", "N", "true", "null", "~", "", "NaN", ".inf", "-.INF", "1e3", "1_000",
    "0x1F", "0o17", "017", "12:30", "190:20:30", "2026-11-21", "2026-11-21T10:00:00Z", "1.5", "-3", "+4", "=",
    "<<", "*a", "&a", "!tag", "- a", "? k", "a: b", "a #b", "#c", "'q'", '"q"', "@x", "`x`", "%d", "{a}",
    "[a]", "|", ">", " lead", "trail ", "tab\t", "line\nbreak", "\u2028", "\x85", "ünïcödé 音",
    "<script>alert(1)</script>", "../../etc", "\x07", "x" * 500,
]  # fmt: skip


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_texts_stay_texts_for_every_reader(text: str) -> None:
    written = manifest.to_yaml({"a": text, text or "empty": [text]})
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        read = yaml.load(written, Loader=loader)
        assert read == {"a": text, text or "empty": [text]}
    value = written.split("\n")[0].removeprefix("a: ")
    if not text[:1].isalpha() or text.lower() in manifest._WORDS:
        assert value.startswith('"')


def test_names_are_not_quoted_without_need_and_order_is_kept() -> None:
    names = ["string_acoustic_014-060-127", "brass_acoustic_046-069-075", "bass_synthetic_033-022-050"]
    text = manifest.to_yaml({name: {"pitch": 60, "family": "bass"} for name in names})
    assert text.splitlines()[0] == "string_acoustic_014-060-127:"
    assert list(yaml.safe_load(text)) == names
    assert "&" not in text and "!" not in text


def test_numbers_of_arrays_become_numbers_and_infinities_nothing() -> None:
    given = {1: np.float32(0.5), "b": (np.int64(3), math.inf, math.nan), "c": np.bool_(True), "d": Path("x"), "e": None}
    made = manifest.plain(given)
    assert made == {"1": 0.5, "b": [3, None, None], "c": True, "d": "x", "e": None}
    assert json.loads(json.dumps(made)) == made


def site(**fields: Any) -> dict[str, Any]:
    return {"title": "T", **fields}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("title: [", ":2: not YAML"),
        ("title: a\n\tb: c", ":2: not YAML"),
        ("- a", "the document"),
        ("{}", "title"),
        ("title: T\nevaluation:\n- {collection: a/b, corpus: x, models: [m]}", "evaluation.0.collection"),
        ("title: T\nevaluation:\n- {collection: a, corpus: x, models: []}", "evaluation.0.models"),
        ("title: T\nevaluation:\n- {collection: a, corpus: x, models: [m], bits: 20}", "evaluation.0.bits"),
        ("title: T\nevaluatoin: []", "evaluatoin"),
        ("title: !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_wrong_site_file_is_told_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "site.yml"
    path.write_text(text)
    with pytest.raises(ManifestError) as caught:
        manifest.read_site(path)
    assert part in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_site_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"site\.yml: there is no such file"):
        manifest.read_site(tmp_path / "site.yml")
    (tmp_path / "site.yml").write_bytes(b"title: \xff")
    with pytest.raises(ManifestError, match="cannot be read"):
        manifest.read_site(tmp_path / "site.yml")


def test_a_document_that_does_not_hold_its_schema_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("before")
    with pytest.raises(ManifestError, match="required"):
        manifest.write_json(path, {"schema_version": 1}, "run")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError):
        manifest.write_yaml(path / "below" / "x.yml", {}, "collection")


def test_categories_are_plain_words_and_unique() -> None:
    made = manifest.categories(["vqvae2", "griffin_lim", "vqvae2@my run", "vqvae2@my-run", "9x", "original"])
    assert list(made.values())[:3] == ["reconstruction", "griffin_lim", "vqvae2_my_run"]
    assert len(set(made.values())) == 6 and "original" not in made.values()
    assert all(name.replace("_", "").isalnum() and name[0].isalpha() for name in made.values())


def test_labels_of_strangers_do_not_take_the_place_of_ours() -> None:
    labels = {"files": "mine", "pitch": 60, "notes": list(range(500)), "text": "x" * 1000, "few": [1, 2]}
    fit = manifest.sample_labels(labels)
    assert fit["label_files"] == "mine" and "files" not in fit
    assert fit["notes_count"] == 500 and "notes" not in fit
    assert len(fit["text"]) == 400 and fit["few"] == [1, 2] and fit["pitch"] == 60


def test_the_schemas_are_sound() -> None:
    import jsonschema

    for path in sorted(manifest.SCHEMA_FOLDER.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$schema"].endswith("2020-12/schema") and schema["title"]
    assert {path.stem for path in manifest.SCHEMA_FOLDER.glob("*.json")} == {
        "benchmarks",
        "citation",
        "clips",
        "site",
        "collection",
        "results",
        "run",
        "study",
    }
