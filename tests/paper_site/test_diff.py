from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import build_site
from paper_site.build import build
from paper_site.diff import compare_sites
from paper_site.errors import OutputError


def test_samples_numbers_and_hashes_that_changed_are_listed(
    companion: Path, built_site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = companion / "_data" / "tones.yml"
    document = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    document["flute_acoustic_002-077-100"]["pitch"] = 78
    gone, _ = document.popitem()
    manifest.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    results = companion / "_data" / "results" / "tones.json"
    text = results.read_text(encoding="utf-8")
    text = text.replace("0.4512", "0.4612").replace('"count": 3', '"count": 2')
    results.write_text(text, encoding="utf-8")
    other = tmp_path / "other"
    build(companion, other)
    changes = {(change.kind, change.name): change for change in compare_sites(built_site, other)}
    assert changes["sample", f"tones/{gone}"].what == "removed"
    pitch = changes["sample", "tones/flute_acoustic_002-077-100, pitch"]
    assert (pitch.before, pitch.after, str(pitch)) == (
        77,
        78,
        "sample changed: tones/flute_acoustic_002-077-100, pitch: 77 -> 78",
    )
    mean = changes["number", "Log-mel L1 of Toy codec, Single tones: mean"]
    assert (mean.before, mean.after) == (0.4512, 0.4612)
    assert changes["page", "results.html"].what == "changed"
    assert any(kind == "media" and change.what == "removed" for (kind, _), change in changes.items())
    assert len({name for kind, name in changes if kind == "sample"}) == 2
    assert build_site.main(["diff", str(built_site), str(other), "--json"]) == 1
    assert {"changed", "removed"} <= {change["what"] for change in json.loads(capsys.readouterr().out)}


def test_the_same_site_has_no_difference(
    companion: Path, built_site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(companion, tmp_path / "same")
    assert compare_sites(built_site, tmp_path / "same") == []
    (tmp_path / "same" / "SHA256SUMS").unlink()
    assert [change.name for change in compare_sites(built_site, tmp_path / "same")] == []
    assert build_site.main(["diff", str(built_site), str(built_site)]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert build_site.main(["diff", str(built_site), str(tmp_path)]) == 2
    with pytest.raises(OutputError, match=r"no index\.html"):
        compare_sites(tmp_path, built_site)
