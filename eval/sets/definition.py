"""What the table says of a metric of sets. Imports neither torch nor numpy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_RANGE = re.compile(r"[\[(]([^,]+), ([^\])]+)[\])]")
INPUTS = ("embeddings", "classes", "labelled classes", "codes")


class Undefined(ValueError):
    """Sound input has no value: too few clips, a set without spread, a covariance without full rank."""


@dataclass(frozen=True)
class SetMetric:
    """One row of the table.

    Attributes:
        name: Identifier in results and on the command line.
        title: Name for readers.
        target: ``"module:function"`` of the pure function. Of ``"embeddings"`` it takes ``(estimate, reference)``, two
            float64 matrices ``(n, d)`` with a row a clip; of ``"classes"`` ``(probabilities)`` ``(n, classes)``; of
            ``"labelled classes"`` ``(probabilities, labels)``; of ``"codes"`` ``(counts)``, integers ``(codes,)``.
        input: One of `INPUTS`.
        unit: Unit of the value; ``"1"`` for a plain ratio or count.
        higher_is_better: Direction; ``None`` where neither is.
        value_range: The values that can occur, as an interval, and what else there is to say of them.
        blind_to: What the metric does not notice, in words.
        source: Where the definition comes from.
        version: Raised whenever the same parameters give other numbers.
        parameters: Keyword arguments of the call.
        plan: ``"module:class"`` that computes the metric for many divisions of one pool of clips at once; empty where
            the function is simply called again.
        answer: Which answer of the classifier the metric is about, ``"pitch"`` or ``"family"``; empty for the others.
        facts: ``"module:function"`` of what else there is to know about the value, called as ``target``; may be empty.
        seeded: Whether the function takes a ``seed``.
        smooth: Whether leaving out a few clips moves the value a little; without that there is no interval.
        work: What one call costs, which decides how often it can be repeated: ``"pairs"``, ``"neighbours"``,
            ``"cells"``, ``"matrix"`` or ``"matrices"``.
    """

    name: str
    title: str
    target: str
    input: str
    unit: str
    higher_is_better: bool | None
    value_range: str
    blind_to: str
    source: str
    version: int = 1
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    plan: str = ""
    answer: str = ""
    facts: str = ""
    seeded: bool = False
    smooth: bool = True
    work: str = "pairs"

    def __post_init__(self) -> None:
        if self.input not in INPUTS:
            raise ValueError(f"{self.name}: input is {self.input!r}; known: {', '.join(INPUTS)}")
        if _RANGE.match(self.value_range) is None:
            raise ValueError(f"{self.name}: value_range is {self.value_range!r}; it begins with an interval, as [0, 1]")

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest value of any set; infinite where the range has no end or one that depends on the set."""
        found = _RANGE.match(self.value_range)
        assert found is not None
        return _limit(found.group(1), -math.inf), _limit(found.group(2), math.inf)


def _limit(text: str, otherwise: float) -> float:
    """The number that an end of a range names, ``ln 2`` among them."""
    number = text.removeprefix("ln ")
    try:
        return float(number) if number == text else math.log(float(number))
    except ValueError:
        return otherwise


EMBEDDING_NAMES = ("log_mel", "mfcc", "chroma", "modulation", "note_classifier")
"""The embeddings of `eval.sets.embeddings`, named here so that naming them does not load what computes them."""
CLASSIFIER = "note_classifier"
