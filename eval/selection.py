"""Rules by which samples are chosen for publication.

A rule is a function from the candidates to an ordered list of clip ids, and a line in `RULES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """A clip that may be published: it can be read. Whether a model failed on it plays no part.

    Attributes:
        clip_id: Id.
        value: The value that a rule by quality looks at; None where the metric gave none.
    """

    clip_id: str
    value: float | None = None


@dataclass(frozen=True)
class Selection:
    """What was chosen, by which rule, out of how many.

    Attributes:
        rule: Name of the rule.
        clip_ids: Chosen clips in the order of publication.
        population: Number of clips in the held-out set.
        seed: Seed of the draw; None for a rule without chance.
        text: The rule in a sentence, for readers.
    """

    rule: str
    clip_ids: Sequence[str]
    population: int
    seed: int | None
    text: str


def _rank(seed: int, clip_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{clip_id}".encode("utf-8", "surrogateescape")).digest()


def random_draw(candidates: Sequence[Candidate], count: int, seed: int) -> list[str]:
    """Clips in the order of the SHA-256 of seed and id: a uniform draw without replacement.

    Whether a clip precedes another does not depend on the rest of the set, so a draw stays the same when other clips
    come or go, as far as it can.
    """
    return [c.clip_id for c in sorted(candidates, key=lambda c: _rank(seed, c.clip_id))[:count]]


def all_clips(candidates: Sequence[Candidate], count: int, seed: int) -> list[str]:
    """The first clips by id."""
    return sorted(c.clip_id for c in candidates)[:count]


@dataclass(frozen=True)
class Rule:
    """A line of the table."""

    choose: Callable[[Sequence[Candidate], int, int], list[str]]
    uses_seed: bool
    text: str


RULES: Mapping[str, Rule] = {
    "random": Rule(
        random_draw,
        True,
        "{count} of the {population} held-out clips, drawn at random without replacement (seed {seed}): the clips with"
        " the smallest SHA-256 of seed and id.",
    ),
    "all": Rule(all_clips, False, "The first {count} of the {population} held-out clips in the order of their ids."),
}


def select(candidates: Sequence[Candidate], *, rule: str, count: int, seed: int, population: int) -> Selection:
    """Choose clips by a named rule.

    Args:
        candidates: Clips that can be published.
        rule: One of `RULES`.
        count: How many; all there are when fewer.
        seed: Seed of a draw.
        population: Size of the held-out set.

    Raises:
        InputError: If the rule is not known.
    """
    if rule not in RULES:
        raise InputError(f"selection rule {rule!r} is not known: {', '.join(RULES)}")
    line = RULES[rule]
    chosen = line.choose(candidates, count, seed)
    text = line.text.format(count=len(chosen), population=population, seed=seed)
    return Selection(rule, chosen, population, seed if line.uses_seed else None, text)


def worst(
    candidates: Sequence[Candidate], *, count: int, population: int, metric: str, model: str, higher_is_better: bool
) -> Selection:
    """The clips that a model does worst by a metric, the worst first.

    Clips without a value are left out: an undefined value is not a bad one.
    """
    known = [(c.value, c.clip_id) for c in candidates if c.value is not None]
    known.sort(key=lambda pair: (pair[0] if higher_is_better else -pair[0], pair[1]))
    chosen = [clip_id for _, clip_id in known[:count]]
    text = (
        f"The {len(chosen)} of the {population} held-out clips on which {model} is worst by {metric}; chosen by their"
        " score, not by ear and not at random."
    )
    return Selection("worst", chosen, population, None, text)
