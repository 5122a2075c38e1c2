from collections import Counter
from fractions import Fraction

import pytest

from eval.corpora import render_music, scores
from eval.corpora.scores import Source
from tests.eval.corpora.soundfont import needs_scores

pytestmark = needs_scores


def _all() -> list[Source]:
    return [*scores.quartets(), *scores.keyboard(), scores.duo(), *scores.chorales()]


def test_held_out_works_are_whole_works() -> None:
    sides: dict[str, set[bool]] = {}
    for source in _all():
        sides.setdefault(source.work, set()).add(source.held_out)
    assert all(len(side) == 1 for side in sides.values())
    assert 20 <= sum(True in side for side in sides.values()) <= len(sides) / 4


def test_listed_scores_are_there_and_can_be_used() -> None:
    for source in (*scores.quartets(), *scores.keyboard(), scores.duo()):
        assert (scores.corpus_folder() / source.path).is_file(), source.path
    for source in (scores.duo(), *scores.keyboard()):
        assert scores.usable(source), source.path
    chorales = {source.path: source for source in scores.chorales()}
    assert scores.usable(chorales["bach/bwv6.6.mxl"])
    assert not scores.usable(chorales["bach/bwv1.6.mxl"])  # has parts for the orchestra too


def test_kern_files_and_their_rights_are_left_out() -> None:
    assert all(source.path.endswith(".mxl") for source in _all())
    assert not [source for source in _all() if source.path.startswith(("palestrina", "monteverdi"))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "path",
    [
        "bach/bwv112.5.mxl",
        "bach/bwv6.6.mxl",
        "schumann_clara/polonaise_op1n1.mxl",
        "mozart/k156/movement1.mxl",
    ],
)
def test_notes_are_those_that_music21_reads(path: str) -> None:
    from music21 import corpus

    score = corpus.parse(path, forceSource=True).stripTies().toSoundingPitch()
    wanted = Counter(
        (round(float(note.offset), 4), pitch.midi, round(float(note.quarterLength), 4))
        for part in score.parts
        for note in part.flatten().notes
        if not note.duration.isGrace
        for pitch in note.pitches
    )
    got = Counter(
        (round(float(note.start), 4), note.pitch, round(float(note.duration), 4)) for note in scores.read_notes(path)
    )
    assert got == wanted


def test_notes_are_sorted_and_exact() -> None:
    notes = scores.read_notes("bach/bwv6.6.mxl")
    assert list(notes) == sorted(notes, key=lambda n: (n.start, n.part, n.pitch))
    assert all(isinstance(n.start, Fraction) and n.duration > 0 and 21 <= n.pitch <= 108 for n in notes)
    assert {n.part for n in notes} == {0, 1, 2, 3}


def test_training_never_plays_a_held_out_work() -> None:
    held_out = {source.work for source in _all() if source.held_out}
    plans = [render_music.training_plan(number, seed=0) for number in range(30)]
    assert not {plan.source.work for plan in plans} & held_out
    assert len({plan.source.work for plan in plans}) > 12
    assert plans[7] == render_music.training_plan(7, seed=0)
    assert plans[7] != render_music.training_plan(7, seed=1)
    later = [render_music.training_plan(number, seed=0) for number in range(1_000, 1_010)]
    assert {plan.semitones for plan in later} - {0}
    assert not {plan.source.work for plan in later} & held_out
    assert all(plan.source.held_out for plan in render_music.held_out_plans())
