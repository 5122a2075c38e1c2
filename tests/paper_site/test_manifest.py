from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paper_site.errors import DataError
from paper_site.manifest import anchor, read_companion
from tests.paper_site.example import HOSTILE, RUN


def _edit_yaml(path: Path, change: Callable[[Any], None]) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _edit_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def test_the_example_is_read_whole_and_in_order(companion: Path) -> None:
    read = read_companion(companion)
    (tones,) = read.collections
    assert [s.id for s in tones.samples] == ["brass_acoustic_046-069-075", "flute_acoustic_002-077-100", HOSTILE]
    first = tones.samples[0]
    assert [t.category for t in first.tracks] == ["original", "reconstruction", "phase"]
    assert list(first.tracks[0].files) == ["ogg", "flac", "wav"]
    assert first.labels["pitch"] == 69
    assert "files" not in first.labels
    assert tones.worst is not None and len(tones.worst.samples) == 1
    assert tones.main_metric == "log_mel_l1"
    assert list(read.runs) == [RUN]
    assert read.missing == ()


def test_before_any_evaluation_the_jobs_are_missing(companion: Path) -> None:
    for path in (companion / "_data").rglob("*"):
        if path.is_file() and path.name != "site.yml":
            path.unlink()
    read = read_companion(companion)
    assert read.collections == ()
    assert [job.collection for job in read.missing] == ["tones"]


def test_verdicts_come_from_intervals_and_directions(companion: Path) -> None:
    results = read_companion(companion).collections[0].results
    assert results is not None

    def verdict(category: str, baseline: str, metric: str) -> str:
        row = results.difference(category, baseline, metric)
        assert row is not None
        return results.verdict(row)

    assert verdict("reconstruction", "phase", "log_mel_l1") == "better"  # lower is better, difference negative
    assert verdict("reconstruction", "phase", "si_sdr") == "better"  # higher is better, difference positive
    assert verdict("reconstruction", "phase", "log_spectral_distance") == "unclear"
    assert verdict("phase", "reconstruction", "si_sdr") == "worse"  # turned round
    best = {m.name: results.best(m) for m in results.metrics}
    assert best == {"log_mel_l1": "reconstruction", "si_sdr": "reconstruction", "log_spectral_distance": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["brass_acoustic_046-069-075"].pop("files"), ["'files' is missing"]),
        (lambda d: d["brass_acoustic_046-069-075"].update(duration_s="4 s"), ["duration_s", '"4 s"', "a number"]),
        (lambda d: d["brass_acoustic_046-069-075"].update(duration_s=-1), ["duration_s", "more than 0"]),
        (lambda d: d["flute_acoustic_002-077-100"]["files"]["original"]["ogg"].update(sha256="abc"), ["sha256", "abc"]),
        (
            lambda d: d["flute_acoustic_002-077-100"]["scores"]["phase"]["si_sdr"].update(status="okay"),
            ["status", "okay", "did you mean 'ok'"],
        ),
        (
            lambda d: d["flute_acoustic_002-077-100"]["files"]["original"]["ogg"].update(
                path="assets/../../etc/passwd"
            ),
            ["must be a path below assets/"],
        ),
        (lambda d: d["flute_acoustic_002-077-100"]["files"]["original"]["ogg"].update(path="/etc/passwd"), ["/etc"]),
        (
            lambda d: d["flute_acoustic_002-077-100"]["files"]["original"]["ogg"].update(path="assets/audio/none.ogg"),
            ["assets/audio/none.ogg", "missing", "build_site.py"],
        ),
    ],
)
def test_a_wrong_manifest_names_line_field_and_value(
    companion: Path, change: Callable[[Any], None], words: list[str]
) -> None:
    path = companion / "_data" / "tones.yml"
    _edit_yaml(path, change)
    with pytest.raises(DataError) as caught:
        read_companion(companion)
    assert str(path) in str(caught.value)
    assert caught.value.line is not None
    for word in words:
        assert word in str(caught.value)


def test_the_line_is_that_of_the_field(companion: Path) -> None:
    path = companion / "_data" / "tones.yml"
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = next(i for i, line in enumerate(lines, 1) if line.strip().startswith("duration_s"))
    lines[wanted - 1] = "  duration_s: long"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_companion(companion)
    assert caught.value.line == wanted


def test_a_misspelt_field_gets_a_suggestion(companion: Path) -> None:
    path = companion / "_data" / "site.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("subtitle:", "subtitel:"), encoding="utf-8")
    with pytest.raises(DataError, match=r"site\.yml:3: subtitel: .*did you mean 'subtitle'"):
        read_companion(companion)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "java\\tscript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "../up",
        "/x",
    ],
)
def test_addresses_that_could_hide_a_script_are_refused(companion: Path, address: str) -> None:
    path = companion / "_data" / "site.yml"
    text = path.read_text(encoding="utf-8").replace("https://example.org/code", address)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"site\.yml:9: links\[0\]\.url"):
        read_companion(companion)


def test_a_missing_run_record_stops_the_build(companion: Path) -> None:
    (companion / "_data" / "runs" / f"{RUN}.json").unlink()
    with pytest.raises(DataError, match=f"{RUN}.json is missing"):
        read_companion(companion)


def test_results_are_held_against_their_schema(companion: Path) -> None:
    _edit_json(companion / "_data" / "results" / "tones.json", lambda d: d.update(schema_version=2))
    with pytest.raises(DataError, match=r"tones\.json:2: schema_version: 2 must be 1"):
        read_companion(companion)


def test_numeric_sample_ids_must_be_quoted(companion: Path) -> None:
    path = companion / "_data" / "tones.yml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("brass_acoustic_046-069-075:", "123:", 1), encoding="utf-8"
    )
    with pytest.raises(DataError, match="quotes"):
        read_companion(companion)


def test_media_behind_a_link_that_leaves_the_folder_are_refused(companion: Path, tmp_path: Path) -> None:
    target = companion / "assets" / "audio" / "tones" / "brass_acoustic_046-069-075-original.ogg"
    secret = tmp_path / "secret.ogg"
    secret.write_bytes(target.read_bytes())
    target.unlink()
    target.symlink_to(secret)
    with pytest.raises(DataError, match="missing"):
        read_companion(companion)


def test_anchors_stay_apart() -> None:
    assert anchor("brass_acoustic_046-069-075") == "brass_acoustic_046-069-075"
    names = ["a b", "a-b", "a/b", "ä", "ö", "../x", "<x>", "1"]
    assert len({anchor(n) for n in names}) == len(names)
    assert all(c.isalnum() or c in "._-" for n in names for c in anchor(n))
