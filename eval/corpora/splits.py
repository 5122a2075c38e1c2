"""Rules of splitting: ours, leak-free by group, and those of the source papers by name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.corpora.base import FolderCorpus, Recording

HASH_SPLITS = ("train", "valid", "test")
HASH_STATEMENT = (
    "Leak-free by {group}: the first 32 bits of the SHA-256 of the {group}, as a fraction of their range, "
    "below 0.8 is train, below 0.9 valid, otherwise test."
)
NONE_STATEMENT = "No split: every recording of the corpus is in `all`."


@dataclass(frozen=True)
class PaperRule:
    """A rule of a source paper.

    Attributes:
        statement: The rule in one sentence.
        splits: Names of the splits it makes.
        select: Recordings of a split of a corpus, sorted by id.
    """

    statement: str
    splits: tuple[str, ...]
    select: Callable[[FolderCorpus, str], Iterator[Recording]]


def hash_fraction(text: str) -> float:
    """The first 32 bits of the SHA-256 of a text as a number from 0 to below 1."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big") / 2**32


def hash_split(group: str) -> str:
    """The split of a group under the rule ``hash``."""
    fraction = hash_fraction(group)
    return "train" if fraction < 0.8 else "valid" if fraction < 0.9 else "test"


def random_split(count: int, test_share: float, random_state: int) -> tuple[Any, Any]:
    """Places of the larger and the smaller part, as scikit-learn's ``train_test_split`` draws them.

    A permutation from NumPy's legacy generator; the smaller part is its first ``ceil(share * count)`` places.

    Args:
        count: How many things are split.
        test_share: Share of the smaller part, 0 to 1.
        random_state: Seed of the generator.

    Returns:
        Two integer arrays, in the order of the draw.
    """
    import numpy as np

    order = np.random.RandomState(random_state).permutation(count)
    held = math.ceil(test_share * count)
    return order[held:], order[:held]


def _drawn(recordings: Sequence[Recording], split: str, test_share: float, random_state: int) -> Iterator[Recording]:
    larger, smaller = random_split(len(recordings), test_share, random_state)
    chosen = larger if split == "train" else smaller
    return (recordings[int(place)] for place in sorted(chosen.tolist()))


def _notono(corpus: FolderCorpus, split: str) -> Iterator[Recording]:
    if split == "test":
        return corpus.recordings("test")
    from eval.corpora.base import merge

    pooled = merge(corpus.recordings(own) for own in ("train", "valid") if own in corpus.own_splits())
    return _drawn([r for r in pooled if 24 <= r.labels["pitch"] <= 84], split, 0.2, 20_200_117)


def _melreformer(corpus: FolderCorpus, split: str) -> Iterator[Recording]:
    return _drawn(list(corpus.recordings(None)), split, 0.1, 42)


NOTONO = PaperRule(
    "NOTONO's: train and valid pooled, pitches 24 to 84 kept, names sorted and drawn 80 to 20 with random "
    "state 20200117 into train and valid, so that instruments occur on both sides; test is the corpus's own.",
    ("train", "valid", "test"),
    _notono,
)
MELREFORMER = PaperRule(
    "MelReformer's: all files sorted and drawn 90 to 10 with scikit-learn's random state 42 into train and "
    "valid, so that works and players may occur on both sides.",
    ("train", "valid"),
    _melreformer,
)
FEATURESYNTH = PaperRule(
    "featuresynth's: none; what is evaluated is what was trained on, so train and valid are both the whole corpus.",
    ("train", "valid"),
    lambda corpus, split: corpus.recordings(None),
)
