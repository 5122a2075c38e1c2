from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from paper_site.quick_schema import UnknownKeywordError, compile_schema
from paper_site.schema import SCHEMA_FOLDER

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "tests" / "data" / "companion" / "_data"
DOCUMENTS = {
    "site": EXAMPLE / "site.yml",
    "collection": EXAMPLE / "tones.yml",
    "results": EXAMPLE / "results" / "tones.json",
    "run": next((EXAMPLE / "runs").iterdir()),
    "study": ROOT / "_data" / "studies" / "inpainting.json",
}


def _schema(kind: str) -> Any:
    return json.loads((SCHEMA_FOLDER / f"{kind}.json").read_text(encoding="utf-8"))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, entry in inner for place in _places(entry, (*path, key)))]


def _damage(document: Any, rng: random.Random) -> Any:
    changed = copy.deepcopy(document)
    place = rng.choice(_places(changed)[1:])
    parent = changed
    for step in place[:-1]:
        parent = parent[step]
    kind = rng.random()
    if kind < 0.3:
        del parent[place[-1]]
    elif kind < 0.5 and isinstance(parent, dict):
        parent["unknown"] = parent.pop(place[-1])
    else:
        parent[place[-1]] = rng.choice([None, True, 0, -1, 1.0, 2.5, "", "x", "assets/x", [], ["x", "x"], {}, {"a": 1}])
    return changed


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
def test_yes_and_no_are_those_of_the_full_validator(kind: str) -> None:
    schema = _schema(kind)
    document = yaml.safe_load(DOCUMENTS[kind].read_text(encoding="utf-8"))
    quick, full = compile_schema(schema), jsonschema.Draft202012Validator(schema)
    assert quick(document) and full.is_valid(document)
    rng = random.Random(kind)
    answers = []
    for _ in range(300):
        changed = _damage(document, rng)
        answers.append(quick(changed))
        assert answers[-1] == full.is_valid(changed), changed
    assert {True, False} == set(answers)


def test_every_schema_has_a_quick_check() -> None:
    for path in SCHEMA_FOLDER.glob("*.json"):
        compile_schema(json.loads(path.read_text(encoding="utf-8")))


def test_a_keyword_that_is_not_known_is_not_ignored() -> None:
    with pytest.raises(UnknownKeywordError):
        compile_schema({"properties": {"a": {"multipleOf": 2}}})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 1}, True),
        ({"enum": [0, 1]}, False),
        ({"type": "integer"}, True),
        ({"type": "number"}, False),
        ({"uniqueItems": True}, ["a", "a"]),
        ({"uniqueItems": True}, [[1], [1]]),
        ({"anyOf": [{"type": "null"}, {"minimum": 3}]}, 2),
        ({"propertyNames": {"pattern": "^a"}}, {"b": 1}),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}),
        ({"if": {"required": ["a"]}, "else": {"required": ["b"]}}, {}),
        (False, 1),
    ],
)
def test_what_is_wrong_is_refused(schema: Any, value: Any) -> None:
    assert not jsonschema.Draft202012Validator(schema).is_valid(value)
    assert not compile_schema(schema)(value)
