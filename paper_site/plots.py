"""Where to draw the points, lines and labels of a plot, so that a template only has to place them.

Positions are shares of the picture's width and height in per cent: the picture takes whatever width the page has, and
its texts keep their size.
"""

from __future__ import annotations

from dataclasses import dataclass

from paper_site.charts import nice_ticks, tick_texts
from paper_site.filters import number
from paper_site.studies import Plot, Point

LEFT, RIGHT, TOP, BOTTOM = 12.0, 97.0, 4.0, 90.0
STYLES = 6
_MOST_LABELS = 16
_LONGEST_LABEL = 30
# A usual size of the picture and of its letters in pixels, by which labels keep clear of each other.
_WIDTH, _HEIGHT, _LETTER, _LINE = 720.0, 340.0, 6.8, 14.0


@dataclass(frozen=True)
class Label:
    """A text beside a point: shifted from it in pixels."""

    text: str
    dx: int
    dy: int
    anchor: str


@dataclass(frozen=True)
class Mark:
    """A point in its place."""

    point: Point
    x: float
    y: float
    label: Label | None


@dataclass(frozen=True)
class Series:
    """The points of one group; ``style`` numbers its mark and colour."""

    name: str
    style: int
    marks: tuple[Mark, ...]

    @property
    def segments(self) -> list[tuple[Mark, Mark]]:
        """Pairs of neighbours, for the line through them."""
        return list(zip(self.marks, self.marks[1:], strict=False))


@dataclass(frozen=True)
class Placed:
    """A plot with everything in its place."""

    plot: Plot
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    description: str

    @property
    def has_legend(self) -> bool:
        """Whether the groups have to be told apart."""
        return len(self.series) > 1 or any(series.name for series in self.series)


def _place(value: float, ticks: list[float], first: float, last: float) -> float:
    return round(first + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (last - first), 2)


class _Labels:
    """Finds room for labels: beside the points and clear of them and of each other."""

    def __init__(self, places: list[tuple[float, float]]) -> None:
        self.taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]

    def find(self, text: str, x: float, y: float) -> Label | None:
        width = len(text) * _LETTER
        for dx, dy, anchor in ((9, 4, "start"), (-9, 4, "end"), (0, -10, "middle"), (0, 20, "middle")):
            left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            box = (left, y + dy - _LINE, left + width, y + dy + 3)
            inside = box[0] >= LEFT / 100 * _WIDTH and box[2] <= _WIDTH and box[1] >= 0 and box[3] <= 0.92 * _HEIGHT
            if inside and not any(_meet(box, other) for other in self.taken):
                self.taken.append(box)
                return Label(text, dx, dy, anchor)
        return None


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place_plot(plot: Plot) -> Placed | None:
    """Place a plot; None if it has no points."""
    if not plot.points:
        return None
    xs, ys = [p.x for p in plot.points], [p.y for p in plot.points]
    counted = all(x == round(x) for x in xs)  # there is no run, step or fold between two
    x_ticks, y_ticks = nice_ticks(min(xs), max(xs), 5, least=float(counted)), nice_ticks(min(ys), max(ys), 5)
    places = [(_place(p.x, x_ticks, LEFT, RIGHT), _place(p.y, y_ticks, BOTTOM, TOP)) for p in plot.points]
    labels = _Labels([(x / 100 * _WIDTH, y / 100 * _HEIGHT) for x, y in places])
    wanted = len({p.label for p in plot.points}) > 1 and len(plot.points) <= _MOST_LABELS
    marks: dict[str, list[Mark]] = {group: [] for group in plot.groups}
    for point, (x, y) in zip(plot.points, places, strict=True):
        text = point.label if len(point.label) <= _LONGEST_LABEL else point.label[: _LONGEST_LABEL - 1] + "…"
        label = labels.find(text, x / 100 * _WIDTH, y / 100 * _HEIGHT) if wanted and text else None
        marks[point.group].append(Mark(point, x, y, label))
    return Placed(
        plot,
        tuple(Series(name, index % STYLES, tuple(marks[name])) for index, name in enumerate(marks)),
        tuple(
            (_place(tick, x_ticks, LEFT, RIGHT), text) for tick, text in zip(x_ticks, tick_texts(x_ticks), strict=True)
        ),
        tuple(
            (_place(tick, y_ticks, BOTTOM, TOP), text) for tick, text in zip(y_ticks, tick_texts(y_ticks), strict=True)
        ),
        _describe(plot, xs, ys),
    )


def _describe(plot: Plot, xs: list[float], ys: list[float]) -> str:
    named = [group for group in plot.groups if group]
    kind = "Line plot" if plot.joined else "Scatter plot"
    groups = f" in the groups {', '.join(named)}" if len(named) > 1 else f" of {named[0]}" if named else ""
    y_low, y_high = (number(float(edge)) for edge in (min(ys), max(ys)))
    return (
        f"{plot.title}. {kind} of {plot.y_title} against {plot.x_title}: {len(plot.points)}"
        f" {'point' if len(plot.points) == 1 else 'points'}{groups}."
        f" {plot.x_title} runs from {number(float(min(xs)))} to {number(float(max(xs)))},"
        f" {plot.y_title} from {y_low} to {y_high}. Every point stands in the table below."
    )
