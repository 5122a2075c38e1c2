"""Every table of numbers as a CSV and a LaTeX file, each number with its run and its address."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paper_site.filters import interval_text, mean_text, slug_id
from paper_site.manifest import Companion, Results, Study
from paper_site.metadata import latex
from paper_site.pages import run_path, safe_name
from paper_site.provenance import reproduce_command


@dataclass(frozen=True)
class _Cell:
    """A number in its place; the line tells rows of one name apart."""

    line: int
    row: str
    column: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    unit: str
    direction: str
    address: str
    note: str

    @property
    def mean(self) -> float | None:
        return self.value


def results_stem(collection: str, baseline: str | None = None) -> str:
    """Name the files of a collection's table, without ``.csv`` or ``.tex``."""
    return f"tables/{safe_name(collection)}" + (f"-minus-{safe_name(baseline)}" if baseline else "")


def study_stem(study: str, number: int) -> str:
    """Name the files of a study's table, counted from 1."""
    return f"tables/{safe_name(study)}-{number}"


def table_files(companion: Companion) -> dict[str, bytes]:
    """Make all files: path inside the site -> bytes."""
    made: dict[str, bytes] = {}
    for stem, title, run, cells in _tables(companion):
        raw = companion.runs[run].raw if run in companion.runs else {"run_id": run}
        made[f"{stem}.csv"] = _csv(run, cells)
        made[f"{stem}.tex"] = _tex(title, run, str(raw.get("command") or ""), reproduce_command(raw), cells)
    return made


def _tables(companion: Companion) -> Iterator[tuple[str, str, str, list[_Cell]]]:
    for collection in companion.collections:
        results = collection.results
        if results is None:
            continue
        yield results_stem(collection.name), f"{collection.title}: means", results.run, list(_means(results))
        for baseline in results.baselines:
            titles = {system.category: system.title for system in results.systems}
            title = f"{collection.title}: differences to {titles.get(baseline, baseline)}"
            cells = list(_differences(results, baseline, titles))
            yield results_stem(collection.name, baseline), title, results.run, cells
    for study in companion.studies:
        if study.findings:
            for number, table in enumerate(study.findings.tables, 1):
                title = f"{study.title}: {table.title}"
                yield study_stem(study.name, number), title, study.findings.run, list(_study(study, number))


def _means(results: Results) -> Iterator[_Cell]:
    for index, metric in enumerate(results.metrics):
        for system in results.systems:
            row = results.aggregate(system.category, metric.name)
            if row is not None:
                address = f"mean.{results.collection}.{system.category}.{metric.name}"
                parts = ((row.n_undefined, "undefined"), (row.n_failed, "failed"))
                note = ", ".join(f"{count} {word}" for count, word in parts if count)
                place = (index, metric.title, system.title, row.mean, row.low, row.high, row.n_ok)
                yield _Cell(*place, metric.unit, metric.direction, address, note)


def _differences(results: Results, baseline: str, titles: dict[str, str]) -> Iterator[_Cell]:
    for index, metric in enumerate(results.metrics):
        for row in results.differences:
            if row.metric == metric.name and row.baseline == baseline:
                address = f"diff.{results.collection}.{row.category}.{baseline}.{metric.name}"
                place = (
                    index,
                    metric.title,
                    titles.get(row.category, row.category),
                    row.mean,
                    row.low,
                    row.high,
                    row.n,
                )
                yield _Cell(*place, metric.unit, metric.direction, address, results.verdict(row))


def _study(study: Study, number: int) -> Iterator[_Cell]:
    table = study.findings.tables[number - 1] if study.findings else None
    for line, row in enumerate(table.rows if table else (), 1):
        for place, column in enumerate(table.columns if table else (), 1):
            cell = row.cells.get(column.key)
            if cell is not None:
                where = (line, row.label, column.title, cell.value, cell.low, cell.high, cell.n)
                address = f"table.{number}.{line}.{place}"
                yield _Cell(*where, column.unit or "", column.direction, address, cell.reason or "")


def _csv(run: str, cells: Sequence[_Cell]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "value", "low", "high", "n", "unit", "better", "note", "run", "address"])
    for cell in cells:
        values: list[Any] = [cell.row, cell.column, cell.value, cell.low, cell.high, cell.n, cell.unit]
        address = f"{run_path(run)}#{slug_id(cell.address)}"
        writer.writerow([*values, cell.direction.removesuffix(" is better"), cell.note, run, address])
    return text.getvalue().encode()


def _tex(title: str, run: str, command: str, again: str, cells: Sequence[_Cell]) -> bytes:
    """A tabular for the package booktabs; the comments say where the numbers come from."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    rows = list(dict.fromkeys(cell.line for cell in cells))
    found = {(cell.line, cell.column): cell for cell in cells}
    names = {cell.line: cell.row for cell in cells}

    def about(cell: _Cell) -> str:
        return ", ".join(part for part in (cell.unit, cell.direction) if part)

    # In results the rows are metrics, in studies the columns are: units stand where they are the same.
    by_row = all(len({about(found[r, c]) for c in columns if (r, c) in found}) <= 1 for r in rows)
    head = [latex(c if by_row else f"{c} ({_one(found, rows, c, about)})") for c in columns]
    lines = [
        f"% {title}",
        f"% run {run}: {_line(command)}",
        f"% again: {_line(again)}; brackets are intervals",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *head]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        unit = next((about(found[row, c]) for c in columns if (row, c) in found), "")
        name = f"{names[row]} ({unit})" if by_row and unit else names[row]
        printed = [_printed(found.get((row, column))) for column in columns]
        lines.append(" & ".join([latex(name), *printed]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines).encode()


def _one(found: dict[tuple[int, str], _Cell], rows: Sequence[int], column: str, about: Any) -> str:
    return next((about(found[r, column]) for r in rows if (r, column) in found), "") or "1"


def _line(text: str) -> str:
    return " ".join(text.split())


def _printed(cell: _Cell | None) -> str:
    if cell is None:
        return ""
    if cell.value is None:
        return "--"
    interval = interval_text(cell)
    return latex(f"{mean_text(cell)} {interval}".strip())


FILTERS = {"study_stem": study_stem, "table_stem": results_stem}
