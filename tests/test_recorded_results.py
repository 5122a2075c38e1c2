"""Numbers on recordings that cannot be shipped are kept as documents, and must belong to the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.registry import MODELS, SHIPPED

ROOT = Path(__file__).parent.parent
KEPT = sorted((ROOT / "_data" / "results").glob("recorded_*.json"))


def test_there_are_some() -> None:
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_numbers_are_of_the_shipped_weights(path: Path) -> None:
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for system in results["systems"]:
        folder = MODELS[system["model"]].checkpoint
        if folder is not None:
            card = json.loads((SHIPPED / folder / "card.json").read_text(encoding="utf-8"))
            assert system["checkpoint_sha256"] == card["tensors_sha256"]
    run = json.loads((ROOT / "_data" / "runs" / f"{results['run']}.json").read_text(encoding="utf-8"))
    assert run["corpus"]["content_sha256"] == results["corpus"]["content_sha256"]
    assert run["clips"]["total"] == results["corpus"]["clips"]
