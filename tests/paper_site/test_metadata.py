"""The site for machines, read back by the rules of each form."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import DataError
from paper_site.manifest import read_companion
from paper_site.metadata import bibtex, latex, tags
from tests.paper_site.example import RUN

CFF = """\
cff-version: 1.2.0
message: Please cite it.
title: A study of tones & noise
authors:
  - {given-names: Ada, family-names: Tone, orcid: "https://orcid.org/0000-0002-1825-0097", affiliation: University}
  - {name: The Noise Group}
date-released: 2026-11-21
doi: 10.1234/tones.5
url: https://example.org/tones
license: MIT
keywords: [tones, noise]
preferred-citation:
  type: conference-paper
  title: Tones & noise
  authors:
    - {given-names: Ada, family-names: Tone}
  conference: {name: Conference on Tones}
  year: 2026
"""


@pytest.fixture
def cited(companion: Path) -> Path:
    (companion / "CITATION.cff").write_text(CFF, encoding="utf-8")
    return companion


class _Head(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "meta":
            self.tags.append((values.get("name") or values.get("property", ""), values.get("content", "")))
        self.inside = tag == "script" and values.get("type") == "application/ld+json"

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)


def _head(page: Path) -> _Head:
    head = _Head()
    head.feed(page.read_text(encoding="utf-8"))
    return head


def test_the_first_page_says_how_to_cite_it_to_every_reader(cited: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build(cited, site)
    head = _head(site / "index.html")
    found = dict(head.tags)
    assert found["citation_title"] == "Tones & noise" and found["citation_author"] == "Tone, Ada"
    assert found["citation_conference_title"] == "Conference on Tones" and found["citation_doi"] == "10.1234/tones.5"
    assert found["citation_publication_date"] == "2026/11/21"
    assert found["og:title"] == "A study of tones" and found["og:type"] == "article"
    (script,) = head.scripts
    article = json.loads(script)
    assert article["@type"] == "ScholarlyArticle" and article["author"][0]["familyName"] == "Tone"
    assert article["identifier"] == "https://doi.org/10.1234/tones.5" and article["keywords"] == ["tones", "noise"]
    for part in (*article["hasPart"], *article["subjectOf"]):
        assert (site / part["url"]).is_file()
    assert (site / "CITATION.cff").read_text(encoding="utf-8") == CFF
    assert check_site(site) == []


def test_bibtex_names_the_kind_of_work(cited: Path) -> None:
    citation = read_companion(cited).citation
    assert citation is not None
    text = bibtex(citation).decode()
    assert text.startswith("@inproceedings{tone2026tones,\n  title = {{Tones \\& noise}},\n  author = {Tone, Ada},")
    assert text.count("{") == text.count("}") and "booktitle = {Conference on Tones}" in text
    assert tags(citation)[:2] == [("citation_title", "Tones & noise"), ("citation_author", "Tone, Ada")]


def test_without_the_file_the_site_itself_is_cited(companion: Path) -> None:
    citation = read_companion(companion).citation
    assert citation is not None and citation.title == "A study of tones"
    assert [a.name for a in citation.authors] == ["The example's authors"] and citation.authors[0].given == ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("message: Please cite it.\n", "", "the field 'message' is missing"),
        ("doi: 10.1234/tones.5", "doi: https://doi.org/10.1234", "doi"),
        ("0000-0002-1825-0097", "0000-0002", "orcid"),
        ("authors:\n  - {given", "authors: []\nothers:\n  - {given", "authors: [] is too short"),
        ("cff-version: 1.2.0", "cff-version: [", "broken YAML"),
    ],
)
def test_a_wrong_citation_names_file_and_line(cited: Path, old: str, new: str, words: str) -> None:
    path = cited / "CITATION.cff"
    assert old in CFF
    path.write_text(CFF.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        read_companion(cited)
    assert caught.value.path == path and caught.value.line is not None


def test_every_sound_is_an_audio_object_with_its_hash(built_site: Path) -> None:
    document = json.loads((built_site / "data" / "tones.jsonld").read_text(encoding="utf-8"))
    assert len(document["@graph"]) == 3 * 3 * 3
    import hashlib

    for sound in document["@graph"]:
        path = (built_site / "data" / sound["contentUrl"]).resolve()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sound["sha256"]
        assert sound["encodingFormat"] == f"audio/{path.suffix[1:]}" and sound["duration"] == "PT0.5S"
        assert sound["contentSize"] == f"{path.stat().st_size} B"
    page = (built_site / "listen" / "tones.html").read_text(encoding="utf-8")
    assert '<link rel="alternate" type="application/ld+json" href="../data/tones.jsonld">' in page


def test_the_crate_leads_from_every_run_to_what_it_used_and_made(built_site: Path) -> None:
    crate = json.loads((built_site / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    entities: dict[str, Any] = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert {"name", "description", "datePublished", "license"} <= entities["./"].keys()
    for part in entities["./"]["hasPart"]:
        file = built_site / part["@id"]
        assert entities[part["@id"]]["contentSize"] == str(file.stat().st_size)
    action = entities[f"#run-{RUN}"]
    assert {"data/results/tones.json", "data/clips/tones.json", "data/tones.yml"} <= {
        r["@id"] for r in action["result"]
    }
    assert entities[action["instrument"]["@id"]]["softwareVersion"] == "e" * 40
    given = [entities[entry["@id"]] for entry in action["object"]]
    assert {entry["sha256"] for entry in given} == {"c" * 64, "d" * 64}

    def references(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"@id"} and not value["@id"].startswith("http"):
                yield value["@id"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    assert set(references(crate["@graph"])) <= entities.keys()


def test_croissant_describes_the_table_of_sounds(built_site: Path) -> None:
    import hashlib

    document = json.loads((built_site / "croissant.json").read_text(encoding="utf-8"))
    (table,) = document["distribution"]
    data = (built_site / table["contentUrl"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == table["sha256"]
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    (records,) = document["recordSet"]
    assert [field["name"] for field in records["field"]] == list(rows[0])
    assert len(rows) == 4 * 3 * 3 and len({row["path"] for row in rows}) == len(rows)
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0"


def test_tables_are_there_as_csv_and_latex_with_the_source_of_each_number(built_site: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((built_site / "tables" / "tones.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 6
    mean = next(row for row in rows if row["row"] == "SI-SDR" and row["column"] == "Toy codec")
    assert (mean["value"], mean["low"], mean["n"], mean["unit"], mean["better"]) == (
        "12.41",
        "11.8",
        "10",
        "dB",
        "higher",
    )
    assert mean["note"] == "1 undefined, 1 failed"
    for row in rows:
        page, _, address = row["address"].partition("#")
        assert f'id="{address}"' in (built_site / page).read_text(encoding="utf-8")
    text = (built_site / "tables" / "tones.tex").read_text(encoding="utf-8")
    assert text.splitlines()[1] == f"% run {RUN}: python build_site.py --model 'codec'"
    assert r"SI-SDR (dB, higher is better) & 12.41 [11.80, 13.02] & 4.02 [3.47, 4.57] \\" in text
    assert text.count(r"\\") == 4 and r"\bottomrule" in text
    other = (built_site / "tables" / "tones-minus-phase.tex").read_text(encoding="utf-8")
    assert "$-$0.402" in other
    page = (built_site / "results.html").read_text(encoding="utf-8")
    assert 'href="./tables/tones.csv"' in page and 'href="./tables/tones-minus-phase.tex"' in page


def test_latex_prints_every_sign() -> None:
    assert latex("50 % of a_b & #1 \u2212 x^2") == r"50 \% of a\_b \& \#1 $-$ x\textasciicircum{}2"
