from __future__ import annotations

import json
from pathlib import Path

import pytest

from paper_site.build import build
from paper_site.errors import DataError
from paper_site.heldout import HeldOut
from paper_site.manifest import read_companion
from tests.paper_site.example import RUN

SCORES = HeldOut("c", "r", ("a", "b", "c", "d", "e"), {"s": {"m": (1.0, 3.0, 2.0, None, 3.0)}})


def test_percentiles_count_the_others_that_score_worse_and_half_of_those_that_score_the_same() -> None:
    def place(value: float | None, higher: bool) -> float | None:
        return SCORES.percentile("s", "m", value, higher_is_better=higher)

    assert [place(v, True) for v in (1.0, 2.0, 3.0)] == pytest.approx([0.0, 100 / 3, 250 / 3])
    assert [place(v, False) for v in (1.0, 2.0, 3.0)] == pytest.approx([100.0, 200 / 3, 50 / 3])
    assert place(None, True) is None and place(7.0, True) is None
    assert SCORES.percentile("other", "m", 1.0, higher_is_better=True) is None
    assert SCORES.count("s", "m") == 4


def test_extremes_leave_out_what_has_no_value() -> None:
    higher = SCORES.extremes("s", "m", higher_is_better=True)
    assert [(e.place, e.clip) for e in higher] == [("best", "b"), ("median", "e"), ("worst", "a")]
    lower = SCORES.extremes("s", "m", higher_is_better=False)
    assert [(e.place, e.clip) for e in lower] == [("best", "a"), ("median", "c"), ("worst", "e")]
    assert SCORES.extremes("s", "other", higher_is_better=True) == []


def test_shown_clips_say_where_they_stand_and_chosen_ones_that_they_are_chosen(built_site: Path) -> None:
    page = (built_site / "listen" / "tones.html").read_text(encoding="utf-8")
    assert "Where they stand" in page and page.count('class="rail"') == 2
    assert page.count("chosen by its score, not drawn") == 1
    row = page[page.index('id="clip-flute_acoustic_002-077-100"') :]
    value = json.loads((built_site / "data" / "clips" / "tones.json").read_text(encoding="utf-8"))
    at = value["clips"].index("flute_acoustic_002-077-100")
    scores = value["scores"]["reconstruction"]["log_mel_l1"]
    worse = sum(score > scores[at] for score in scores)
    assert f"better than {round(100 * worse / 11)}\u202f%" in row


def test_the_extremes_have_their_own_page_with_links_to_what_can_be_heard(built_site: Path) -> None:
    page = (built_site / "extremes" / "tones.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == 3 + 3 * 2
    assert "python -m eval reproduce _data/results/tones.json --output again" in page
    assert 'href="../listen/tones.html#' in page and f"../runs/{RUN}.html#metric-si_sdr" in page
    listening = (built_site / "listen" / "tones.html").read_text(encoding="utf-8")
    assert 'href="../extremes/tones.html"' in listening


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("run", "other", "is not the run"),
        ("collection", "notes", "must be the file's name"),
        ("clips", ["one"], "12 values for 1 clips"),
        ("scores", {"reconstruction": {"log_mel_l1": ["0.1"]}}, "must be a number or empty"),
    ],
)
def test_wrong_scores_are_refused(companion: Path, tmp_path: Path, field: str, value: object, words: str) -> None:
    path = companion / "_data" / "clips" / "tones.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {field: value}), encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        build(companion, tmp_path / "site")
    assert caught.value.path == path


def test_without_scores_of_single_clips_nothing_is_said_of_places(companion: Path, tmp_path: Path) -> None:
    (companion / "_data" / "clips" / "tones.json").unlink()
    assert read_companion(companion).collections[0].held_out is None
    build(companion, tmp_path / "site")
    assert not (tmp_path / "site" / "extremes").exists()
    assert "better than" not in (tmp_path / "site" / "listen" / "tones.html").read_text(encoding="utf-8")
