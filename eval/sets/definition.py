"""What the table says of a metric of sets. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
        value_range: The values that can occur, as an interval.
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


EMBEDDING_NAMES = ("log_mel", "mfcc", "chroma", "modulation", "note_classifier")
"""The embeddings of `eval.sets.embeddings`, named here so that naming them does not load what computes them."""
CLASSIFIER = "note_classifier"
