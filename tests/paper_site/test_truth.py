"""The manifest is the only source: whatever is changed in it stops the build or is seen on a page."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from paper_site.build import build
from paper_site.errors import DataError, SiteError
from paper_site.manifest import read_companion
from tests.paper_site.example import RUN

CLIP = "flute_acoustic_002-077-100"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, inner in items:
        yield from _leaves(inner, (*path, key))


def _changed(value: Any) -> Any:
    """Another value that its schema would take as well."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 3 + 1
    if isinstance(value, float):
        return value * 1.37 + 0.01
    if value is None:
        return 1
    text = str(value)
    if len(text) in {40, 64} and all(c in "0123456789abcdef" for c in text):
        return ("0" if text[0] != "0" else "1") + text[1:]
    return text[:-1] + ("x" if text[-1:] != "x" else "y")


def _seen(site: Path) -> dict[str, str]:
    """The pages and the facts of their cards, but for the page that prints the hash of all files."""
    files = [*site.rglob("*.html"), *(site / "runs").glob("*.js"), *(site / "data").glob("*.jsonld")]
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.name != "reproduce.html"}


def _unseen(companion: Path, work: Path, name: str, wanted: Callable[[tuple[Any, ...]], bool]) -> list[str]:
    path = companion / "_data" / name
    text = path.read_text(encoding="utf-8")
    document = yaml.safe_load(text) if name.endswith(".yml") else json.loads(text)
    build(companion, work / "site", cache=work / "cache")
    before = _seen(work / "site")
    unseen = []
    for pointer, value in _leaves(document):
        if not wanted(pointer):
            continue
        other = copy.deepcopy(document)
        place = other
        for step in pointer[:-1]:
            place = place[step]
        place[pointer[-1]] = _changed(value)
        path.write_text(
            yaml.safe_dump(other, sort_keys=False, allow_unicode=True) if name.endswith(".yml") else json.dumps(other),
            encoding="utf-8",
        )
        try:
            build(companion, work / "site", cache=work / "cache")
        except SiteError as wrong:
            assert str(wrong).startswith(str(companion)), f"{pointer}: {wrong} names no file"
            continue
        if _seen(work / "site") == before:
            unseen.append(".".join(map(str, pointer)))
    path.write_text(text, encoding="utf-8")
    return unseen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tones.yml", lambda p: p[0] == CLIP),
        # The second clip is one that is shown; of the others the pages name only the best, median and worst.
        ("clips/tones.json", lambda p: p[0] not in {"scores", "clips"} or p[-1] == 1),
        (f"runs/{RUN}.json", lambda p: True),
        ("site.yml", lambda p: True),
        ("results/tones.json", lambda p: p[0] in {"aggregates", "differences", "systems", "metrics"} and p[1] == 0),
        ("results/tones.json", lambda p: p[0] in {"corpus", "selection", "level_policy", "run", "title", "collection"}),
    ],
    ids=["samples", "clips", "run", "site", "results", "results-head"],
)
def test_no_field_can_be_changed_unseen(companion: Path, tmp_path: Path, name: str, wanted: Any) -> None:
    (companion / "about.md").unlink()
    assert _unseen(companion, tmp_path, name, wanted) == []


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (
            "tones.yml",
            lambda d: d[CLIP]["systems"]["phase"].update(model="codec"),
            "'codec' is not what",
        ),
        ("tones.yml", lambda d: d[CLIP]["systems"]["phase"].update(title="Toy codec"), "'Toy codec' is not what"),
        ("tones.yml", lambda d: d[CLIP]["selection"].update(population=13), "13 is not what"),
        ("tones.yml", lambda d: d[CLIP]["selection"].update(rank=1), "rank: 1 is not what"),
        ("tones.yml", lambda d: d[CLIP]["selection"].update(rule="by ear"), "'by ear' is not what"),
        ("tones.yml", lambda d: d[CLIP]["files"]["phase"]["ogg"].update(bytes=7), "the manifest says 7"),
        (
            "tones.yml",
            lambda d: d[CLIP]["files"].update(phase=copy.deepcopy(d[CLIP]["files"]["reconstruction"])),
            "every name has one file",
        ),
        ("results/tones.json", lambda d: d["selection"].update(count=4), "selection.count: 4 clips were chosen"),
        ("results/tones.json", lambda d: d["worst"].update(count=3), "worst.count: 3 clips were chosen"),
    ],
)
def test_a_label_beside_the_wrong_file_cannot_be_written(
    companion: Path, tmp_path: Path, file: str, change: Callable[[Any], None], words: str
) -> None:
    path = companion / "_data" / file
    text = path.read_text(encoding="utf-8")
    document = yaml.safe_load(text) if file.endswith(".yml") else json.loads(text)
    change(document)
    plain = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    path.write_text(plain if file.endswith(".yml") else json.dumps(document, indent=1), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        build(companion, tmp_path / "site")
    assert words in str(caught.value)


def test_settings_changed_since_the_run_are_said_on_the_page(companion: Path, tmp_path: Path) -> None:
    site = companion / "_data" / "site.yml"
    text = site.read_text(encoding="utf-8")
    assert read_companion(companion).collections[0].other_settings == []
    site.write_text(text.replace("seed: 7", "seed: 8").replace("models: [codec, phase]", "models: [phase]"))
    found = read_companion(companion).collections[0].other_settings
    assert ("selection.seed", 8, 7) in found and ("models", ["phase"], ["codec", "phase"]) in found
    build(companion, tmp_path / "site")
    page = (tmp_path / "site" / "listen" / "tones.html").read_text(encoding="utf-8")
    assert "selection.seed: 7 in the results, 8 in site.yml" in page
