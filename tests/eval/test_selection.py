from __future__ import annotations

from collections import Counter

import pytest

from eval.selection import RULES, Candidate, select, worst
from models.errors import InputError

CLIPS = [Candidate(f"clip{n:03d}", float(n % 50)) for n in range(100)]


def drawn(seed: int, clips: list[Candidate] = CLIPS, count: int = 16) -> list[str]:
    return list(select(clips, rule="random", count=count, seed=seed, population=132).clip_ids)


def test_a_draw_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert drawn(7) == drawn(7, list(reversed(CLIPS)))
    assert drawn(7) != drawn(8)
    assert len(set(drawn(7))) == 16
    assert drawn(7, count=500) != sorted(drawn(7, count=500)) and len(drawn(7, count=500)) == 100


def test_a_draw_is_uniform() -> None:
    counts = Counter(clip for seed in range(2000) for clip in drawn(seed, count=10))
    expected = 2000 * 10 / 100
    chi_squared = sum((counts[c.clip_id] - expected) ** 2 / expected for c in CLIPS)
    assert chi_squared < 149  # 99 degrees of freedom, one in a thousand


def test_the_rule_is_said_in_words() -> None:
    chosen = select(CLIPS, rule="random", count=16, seed=7, population=132)
    assert (chosen.rule, chosen.seed, chosen.population) == ("random", 7, 132)
    for part in ("16", "132", "seed 7", "random"):
        assert part in chosen.text
    first = select(CLIPS, rule="all", count=3, seed=7, population=100)
    assert (list(first.clip_ids), first.seed) == (["clip000", "clip001", "clip002"], None)


@pytest.mark.parametrize(("higher", "expected"), [(False, ["clip049", "clip099"]), (True, ["clip000", "clip050"])])
def test_the_worst_come_first_in_the_direction_of_the_metric(higher: bool, expected: list[str]) -> None:
    clips = [*CLIPS, Candidate("none", None)]
    chosen = worst(clips, count=2, population=101, metric="M", model="x", higher_is_better=higher)
    assert list(chosen.clip_ids) == expected
    assert (
        "none" not in worst(clips, count=500, population=101, metric="M", model="x", higher_is_better=higher).clip_ids
    )


def test_an_unknown_rule_names_the_known() -> None:
    with pytest.raises(InputError) as caught:
        select(CLIPS, rule="best", count=1, seed=0, population=1)
    assert all(name in str(caught.value) for name in RULES)
