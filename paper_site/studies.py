"""What a study found out, as its document says it: claims, tables, plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_site.documents import read_document
from paper_site.errors import DataError
from paper_site.filters import count, mean_text
from paper_site.schema import validate


@dataclass(frozen=True)
class Claim:
    """A bar, what was reached, and whether that clears it."""

    text: str
    figure: str
    met: bool
    reason: str | None


@dataclass(frozen=True)
class Cell:
    """A number with its interval, or the reason why there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None
    reason: str | None

    @property
    def mean(self) -> float | None:
        """The value, under the name by which numbers with intervals are printed."""
        return self.value

    @property
    def reach(self) -> tuple[float, float] | None:
        """The interval; the value alone where there is none; None without a value."""
        if self.value is None:
            return None
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high


@dataclass(frozen=True)
class Column:
    """What a column of a table says about itself."""

    key: str
    title: str
    unit: str | None
    better: str | None

    @property
    def direction(self) -> str:
        """The direction of better in words; empty where there is none."""
        return f"{self.better} is better" if self.better else ""


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    label: str
    cells: Mapping[str, Cell]
    note: str | None


@dataclass(frozen=True)
class Table:
    """A table of numbers."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str | None

    def best(self, column: Column) -> Row | None:
        """The row that is best in a column, None where another row's interval reaches it or no direction is better."""
        found = [(row, cell) for row in self.rows if (cell := row.cells.get(column.key)) and cell.reach]
        if column.better is None or len(found) < 2:
            return None
        sign = 1 if column.better == "higher" else -1

        def worst_of(cell: Cell) -> float:
            return min(sign * edge for edge in cell.reach or ())

        def best_of(cell: Cell) -> float:
            return max(sign * edge for edge in cell.reach or ())

        winner, winning = max(found, key=lambda pair: sign * (pair[1].value or 0.0))
        beaten = all(best_of(cell) < worst_of(winning) for row, cell in found if row is not winner)
        return winner if beaten else None

    def text(self, column: Column, cell: Cell) -> str:
        """Print a number of a column: without decimals where no number of the column has any."""
        values = [c.value for row in self.rows if (c := row.cells.get(column.key)) and c.value is not None]
        plain = all(c.low is None for row in self.rows if (c := row.cells.get(column.key)))
        if plain and cell.value is not None and all(value == int(value) and abs(value) < 1e12 for value in values):
            return count(int(cell.value))
        return mean_text(cell)

    @property
    def has_intervals(self) -> bool:
        """Whether any number has an interval."""
        return any(cell.low is not None for row in self.rows for cell in row.cells.values())

    @property
    def has_best(self) -> bool:
        """Whether any number is the best of its column."""
        return any(self.best(column) is not None for column in self.columns)


@dataclass(frozen=True)
class Point:
    """A point of a plot."""

    label: str
    x: float
    y: float
    group: str


@dataclass(frozen=True)
class Plot:
    """Points, joined by lines within a group or not."""

    title: str
    x_title: str
    y_title: str
    joined: bool
    points: tuple[Point, ...]
    note: str | None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups in order of appearance."""
        return tuple(dict.fromkeys(point.group for point in self.points))


@dataclass(frozen=True)
class Findings:
    """What stands in ``_data/studies/<study>.json``."""

    study: str
    title: str
    question: str
    run: str
    models: tuple[Mapping[str, Any], ...]
    claims: tuple[Claim, ...]
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]

    @property
    def met(self) -> int:
        """Number of claims that were met."""
        return sum(claim.met for claim in self.claims)


def read_findings(path: Path) -> Findings:
    """Read the document of a study.

    Raises:
        DataError: If it is broken, does not hold its schema, or has not the name of its study.
    """
    raw = read_document(path)
    validate(raw, "study", path)
    if raw["study"] != path.stem:
        raise DataError(f"study: {raw['study']!r} must be the file's name {path.stem!r}", path=path)
    return Findings(
        study=raw["study"],
        title=raw["title"],
        question=raw["question"],
        run=raw["run"],
        models=tuple(raw["models"]),
        claims=tuple(Claim(**claim) for claim in raw["claims"]),
        tables=tuple(
            Table(
                table["title"],
                tuple(Column(**column) for column in table["columns"]),
                tuple(
                    Row(row["label"], {key: Cell(**cell) for key, cell in row["cells"].items()}, row["note"])
                    for row in table["rows"]
                ),
                table["note"],
            )
            for table in raw["tables"]
        ),
        plots=tuple(
            Plot(
                plot["title"],
                plot["x_title"],
                plot["y_title"],
                plot["joined"],
                tuple(Point(**point) for point in plot["points"]),
                plot["note"],
            )
            for plot in raw["plots"]
        ),
    )
