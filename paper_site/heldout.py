"""The scores of every held-out clip: where a shown clip stands among all, which are best, median and worst."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Extreme:
    """A clip at one place of the order by a metric."""

    place: str
    clip: str
    value: float


@dataclass(frozen=True)
class HeldOut:
    """What stands in ``_data/clips/<collection>.json``.

    Attributes:
        collection: Name of the collection.
        run: Id of the run.
        clips: Ids of all clips.
        scores: Category -> metric -> one value a clip, None where there is none.
    """

    collection: str
    run: str
    clips: tuple[str, ...]
    scores: Mapping[str, Mapping[str, tuple[float | None, ...]]]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Id of every clip to its place in the lists."""
        return {clip: index for index, clip in enumerate(self.clips)}

    @cached_property
    def _orders(self) -> dict[tuple[str, str], list[float]]:
        return {}

    def _order(self, category: str, metric: str) -> list[float]:
        key = (category, metric)
        if key not in self._orders:
            values = self.scores.get(category, {}).get(metric, ())
            self._orders[key] = sorted(value for value in values if value is not None)
        return self._orders[key]

    def count(self, category: str, metric: str) -> int:
        """Number of clips with a value."""
        return len(self._order(category, metric))

    def percentile(self, category: str, metric: str, value: float | None, *, higher_is_better: bool) -> float | None:
        """Share of the other clips of the system that score worse, in percent, those that score the same by half.

        Returns:
            0 for the worst clip, 100 for the best; None where there is nothing to compare.
        """
        order = self._order(category, metric)
        if value is None or len(order) < 2:
            return None
        below, above = bisect_left(order, value), len(order) - bisect_right(order, value)
        same = len(order) - below - above
        if not same:
            return None
        worse = below if higher_is_better else above
        return 100.0 * (worse + 0.5 * (same - 1)) / (len(order) - 1)

    def extremes(self, category: str, metric: str, *, higher_is_better: bool) -> list[Extreme]:
        """The best, the median and the worst clip; ties go by the clips' ids. Empty without values.

        Of an even number of clips the median is the better one of the two in the middle.
        """
        values = self.scores.get(category, {}).get(metric, (None,) * len(self.clips))
        known = [(v, clip) for clip, v in zip(self.clips, values, strict=True) if v is not None]
        known.sort(key=lambda pair: (-pair[0] if higher_is_better else pair[0], pair[1]))
        if not known:
            return []
        places = {"best": 0, "median": (len(known) - 1) // 2, "worst": len(known) - 1}
        return [Extreme(name, known[at][1], known[at][0]) for name, at in places.items()]


def held_out(document: Mapping[str, Any]) -> HeldOut:
    """Read a document that holds its schema."""
    return HeldOut(
        str(document["collection"]),
        str(document["run"]),
        tuple(document["clips"]),
        {c: {m: tuple(values) for m, values in metrics.items()} for c, metrics in document["scores"].items()},
    )
