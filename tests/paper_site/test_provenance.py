from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from paper_site.build import build
from paper_site.check import check_site
from paper_site.errors import ContentError
from paper_site.manifest import read_companion
from paper_site.provenance import Ledger, card_script, ledger_of, printed_numbers, untraced
from tests.paper_site.example import RUN, results_document, run_document

MEAN = "runs/" + RUN + ".html#mean.tones.reconstruction.log_mel_l1"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger([results_document()], runs={RUN: run_document()})


def _cell(inner: str) -> str:
    return f"<table><thead><tr><th>Metric 1</th></tr></thead><tbody><tr><th>3 rows</th><td>{inner}</td></tr></table>"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.4512", [0.4512]),
        ("\u22120.40 [\u22120.43, \u22120.37]", [-0.4, -0.43, -0.37]),
        ("64\u202f000 codes", [64000]),
        ("1.25\u202f×\u202f10⁻⁵", [1.25e-5]),
        ("95 % of 12", [95, 12]),
        ("no number", []),
    ],
)
def test_printed_numbers_are_read_as_they_are_printed(text: str, values: list[float]) -> None:
    assert [p.value for p in printed_numbers(text)] == pytest.approx(values)


def test_a_printed_number_shows_what_rounds_to_it() -> None:
    (printed,) = printed_numbers("0.45")
    assert printed.shows(0.4512) and printed.shows(0.445) and not printed.shows(0.456)


@pytest.mark.parametrize(
    "inner",
    [
        f'<a class="num" href="{MEAN}">0.451</a> <span class="interval">[0.430, 0.472]</span> <span>n = 12</span>',
        f'<a class="num best" href="./{MEAN}">0.45</a>',
        f'<span data-source="{MEAN}">0.451</span>',
        "no value",
        f'<a class="num" href="runs/{RUN}.html#metric-si_sdr">3.1</a>',
        '<a class="num" href="data/results/tones.json">0.5</a>',
        '<span class="axis">0.5</span>',
    ],
)
def test_sourced_numbers_pass(ledger: Ledger, inner: str) -> None:
    assert untraced(_cell(inner), "results.html", ledger) == []


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("0.451", "'0.451' has no source"),
        ("<b>about</b> <i>0.45</i>", "'0.45' has no source"),
        (f'<a href="{MEAN}">0.451</a>', "has no source"),
        ('<a class="num" href="study.html">0.451</a>', "which is no record of a run"),
        (f'<a class="num" href="runs/{RUN}.html#mean.tones.other.log_mel_l1">0.451</a>', "does not hold"),
        (f'<a class="num" href="runs/{RUN}.html">0.451</a>', "does not hold"),
        (f'<a class="num" href="{MEAN}">0.461</a>', "0.461 is not what the source holds: Log-mel L1 of Toy codec"),
        (f'<a class="num" href="{MEAN}">0.451</a> [0.431, 0.472]', "0.431 is not"),
        (f'<a class="num" href="{MEAN}">0.451</a> n = 13', "13 is not"),
    ],
)
def test_typed_digits_are_found(ledger: Ledger, inner: str, words: str) -> None:
    found = untraced("<p>\n" + _cell(inner), "results.html", ledger)
    assert len(found) == 1 and words in found[0].message
    assert found[0].line == 2


def test_a_score_of_a_clip_is_held_against_its_manifest(companion: Path) -> None:
    ledger = ledger_of(read_companion(companion))
    value = ledger.clips[RUN, "si_sdr"]["brass_acoustic_046-069-075.phase"][0]
    link = f'<a class="num" id="clip-brass_acoustic_046-069-075.phase.si_sdr" href="../runs/{RUN}.html#metric-si_sdr">'
    assert untraced(_cell(f"{link}{value:.3f}</a>"), "models/phase.html", ledger) == []
    assert "is not what" in untraced(_cell(f"{link}{value + 0.5:.3f}</a>"), "models/phase.html", ledger)[0].message


@pytest.mark.parametrize("name", ["results.md", "index.md", "_models/codec.md"])
def test_a_typed_digit_in_a_table_of_results_stops_the_build(companion: Path, tmp_path: Path, name: str) -> None:
    layout = {"results.md": "results", "index.md": "home"}.get(name)
    front = f"---\n{f'layout: {layout}' if layout else 'title: Toy codec'}\n---\n"
    (companion / name).write_text(f"{front}\n| system | score |\n|---|---|\n| ours | 0.99 |\n", encoding="utf-8")
    site = tmp_path / "site"
    with pytest.raises(ContentError, match=r"'0\.99' has no source") as caught:
        build(companion, site)
    assert caught.value.path == companion / name
    assert not site.exists()


def test_a_layout_of_the_companion_cannot_print_another_number(companion: Path, tmp_path: Path) -> None:
    (companion / "_layouts").mkdir()
    text = (Path(__file__).parents[2] / "paper_site" / "templates" / "results.html").read_text(encoding="utf-8")
    wrong = text.replace("{{ row | interval_text }}", "[{{ row.low - 1 }}, {{ row.high }}]")
    assert wrong != text
    (companion / "_layouts" / "results.html").write_text(wrong, encoding="utf-8")
    with pytest.raises(ContentError, match="is not what the source holds"):
        build(companion, tmp_path / "site")


def test_the_checker_finds_a_changed_digit_in_a_built_site(built_site: Path, tmp_path: Path) -> None:
    site = Path(shutil.copytree(built_site, tmp_path / "site"))
    page = site / "results.html"
    text = page.read_text(encoding="utf-8")
    assert ">0.451</a>" in text
    page.write_text(text.replace(">0.451</a>", ">0.351</a>", 1), encoding="utf-8")
    assert any("0.351 is not what the source holds" in str(problem) for problem in check_site(site))


def test_every_number_has_an_element_of_its_own_on_the_page_of_its_run(built_site: Path, companion: Path) -> None:
    page = (built_site / "runs" / f"{RUN}.html").read_text(encoding="utf-8")
    figures = ledger_of(read_companion(companion)).of_run(RUN)
    systems, means, differences, ranks, sets = 2, 6, 3, 3, 6 + 2 * 2
    assert len(figures) == systems + means + differences + ranks + sets
    for figure in figures:
        assert page.count(f'id="{figure.address}"') == 1


def test_the_card_holds_command_seed_hashes_and_numbers() -> None:
    figures = Ledger([results_document()]).of_run(RUN)
    text = card_script(run_document() | {"command": "</script>"}, figures, [results_document()]).decode()
    assert "</script" not in text
    facts = json.loads(text.removeprefix("earwitnessRun(").removesuffix(");\n").replace("<\\/", "</"))
    assert facts["seed"] == 7 and facts["commit"] == "e" * 40 and facts["data"] == "c" * 64
    assert facts["reproduce"] == f"python -m eval reproduce _data/runs/{RUN}.json"
    assert facts["models"]["codec"]["weights"] == "d" * 64
    mean = facts["figures"]["mean.tones.reconstruction.si_sdr"]
    assert (mean["value"], mean["n"], mean["unit"]) == (12.41, 10, "dB")
    assert len(facts["metrics"]["si_sdr"]["sha256"]) == 64
