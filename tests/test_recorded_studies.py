"""Studies are measured by hand and kept as documents, which must belong to the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval import manifest
from eval.studies import STUDIES, load_study
from eval.studies.context import model_facts

ROOT = Path(__file__).parent.parent
KEPT = sorted((ROOT / "_data" / "studies").glob("*.json"))


def stale(document: dict[str, Any]) -> list[str]:
    """Models whose weights are not those that a document was measured with."""
    return [model["name"] for model in document["models"] if model != model_facts(model["name"])]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_studies_are_of_the_shipped_weights(path: Path) -> None:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    manifest.check(document, "study", path)
    assert document["study"] == path.stem and path.stem in STUDIES
    again = f"measure it again: python -m eval study {path.stem}"
    assert stale(document) == [], again
    assert {model["name"] for model in document["models"]} == set(load_study(path.stem).MODELS), again
    run = json.loads((ROOT / "_data" / "runs" / f"{document['run']}.json").read_text(encoding="utf-8"))
    manifest.check(run, "run", path)
    assert (run["run_id"], run["study"]) == (document["run"], path.stem)
    hashes = {model["name"]: model["checkpoint_sha256"] for model in run["models"]}
    assert hashes == {model["name"]: model["checkpoint_sha256"] for model in document["models"]}


def test_every_study_of_the_site_is_in_the_table() -> None:
    site = manifest.read_site(ROOT / "_data" / "site.yml")
    assert {entry["study"] for entry in site.get("studies") or []} <= set(STUDIES)


def test_weights_that_changed_make_a_study_stale() -> None:
    facts = model_facts("vqvae2")
    assert facts["checkpoint_sha256"] and stale({"models": [facts]}) == []
    assert stale({"models": [facts, {**facts, "checkpoint_sha256": "0" * 64}]}) == ["vqvae2"]
