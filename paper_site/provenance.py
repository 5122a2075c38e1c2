"""Where every number comes from: its address in the record of its run, what may stand there, and a check of tables.

An address is the name of an element on the page of a run: ``mean.COLLECTION.SYSTEM.METRIC`` for a mean,
``diff.COLLECTION.SYSTEM.BASELINE.METRIC`` for a difference, ``ranks.COLLECTION.METRIC`` for average ranks,
``set.COLLECTION.SYSTEM.EMBEDDING.METRIC.LEVEL`` for what was measured of a whole set (``others.`` against other clips,
``floor.`` for the recordings), ``system.COLLECTION.SYSTEM`` for
what is known of a system, ``claim.N``, ``table.N.ROW.COLUMN`` and ``plot.N`` for what a study found, counted from 1. A
score of one clip leads to ``metric-METRIC`` and has its own address where it stands: ``clip-SAMPLE.SYSTEM.METRIC``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from paper_site.documents import read_document
from paper_site.filters import slug_id
from paper_site.heldout import held_out
from paper_site.manifest import Companion, anchor
from paper_site.pages import safe_name

CHECKED_KINDS = frozenset(("home", "results", "studies", "study", "model", "extremes"))
"""Kinds of pages whose tables may hold no number without a source."""

_SECTIONS = frozenset(("run", "models", "corpus", "metrics", "environment", "failures", "levels", "clips"))


@dataclass(frozen=True)
class Figure:
    """A number of a run, or several that belong together.

    Attributes:
        run: Id of the run.
        address: Name of the element on the run's page.
        label: What it is, in words.
        numbers: Everything that may be printed there as a number.
        texts: Everything that may be printed there as a text.
        card: What the card says, as known: ``value``, ``low``, ``high``, ``n``, ``unit``, ``metric``, ``system``.
    """

    run: str
    address: str
    label: str
    numbers: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)


def _numbers(value: Any) -> Iterator[float]:
    """Every number below a value; shares also as percentages."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner)


def _card(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


_TOLD = frozenset(
    ("category", "baseline", "metric", "mean", "value", "low", "high", "level", "method", "title", "unit", "definition")
)


def _also(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whatever else a row of a document says, in plain values."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}, {name}": inner for name, inner in value.items()}
        elif key not in _TOLD:
            flat[str(key)] = value
    return {key: value for key, value in flat.items() if isinstance(value, str | int | float)} or None


def results_figures(document: Mapping[str, Any]) -> Iterator[Figure]:
    """List the numbers of a results document."""
    run, collection = str(document["run"]), str(document["collection"])
    heading = str(document.get("title") or collection)
    metrics = {str(m["name"]): m for m in document["metrics"]}
    systems = {str(s["category"]): s for s in document["systems"]}

    def metric_title(name: str) -> str:
        return str(metrics.get(name, {}).get("title") or name)

    def system_title(name: str) -> str:
        return str(systems.get(name, {}).get("title") or name)

    def unit(name: str) -> str | None:
        found = metrics.get(name, {}).get("unit")
        return None if found in {None, "", "1"} else str(found)

    for name, system in systems.items():
        yield Figure(
            run,
            f"system.{collection}.{name}",
            f"{system_title(name)}, {heading}",
            tuple(_numbers(system)),
            card=_card(value=system.get("rtf"), system=system.get("model"), unit="s per s", also=_also(system)),
        )
    for row in document["aggregates"]:
        level = float(row.get("level") or 0.95)
        yield Figure(
            run,
            f"mean.{collection}.{row['category']}.{row['metric']}",
            f"{metric_title(row['metric'])} of {system_title(row['category'])}, {heading}: mean",
            (*_numbers(row), 100 * level),
            card=_card(
                value=row.get("mean"),
                low=row.get("low"),
                high=row.get("high"),
                level=level,
                method=row.get("method"),
                n=row.get("n_ok"),
                also=_also(row),
                unit=unit(row["metric"]),
                metric=row["metric"],
                system=systems.get(row["category"], {}).get("model"),
            ),
        )
    for row in document.get("differences") or []:
        yield Figure(
            run,
            f"diff.{collection}.{row['category']}.{row['baseline']}.{row['metric']}",
            f"{metric_title(row['metric'])}, {heading}: {system_title(row['category'])} minus"
            f" {system_title(row['baseline'])}, same clips",
            tuple(_numbers(row)),
            card=_card(
                value=row.get("mean"),
                low=row.get("low"),
                high=row.get("high"),
                n=row.get("n"),
                also=_also(row),
                unit=unit(row["metric"]),
                metric=row["metric"],
                system=systems.get(row["category"], {}).get("model"),
            ),
        )

    for row in document.get("critical_differences") or []:
        yield Figure(
            run,
            f"ranks.{collection}.{row['metric']}",
            f"{metric_title(row['metric'])}, {heading}: average ranks",
            (*_numbers(row), 100 * float(row["alpha"])),
            card=_card(
                value=row.get("critical_difference"), n=row.get("blocks"), metric=row["metric"], also=_also(row)
            ),
        )
    for row in (document.get("sets") or {}).get("rows") or []:
        yield from _set_figures(run, collection, heading, system_title(row["category"]), row, systems)


def _set_figures(
    run: str,
    collection: str,
    heading: str,
    system: str,
    row: Mapping[str, Any],
    systems: Mapping[str, Mapping[str, Any]],
) -> Iterator[Figure]:
    """The numbers of a whole set: against its own clips, against other clips, and what the recordings score there."""
    place = ".".join((collection, row["category"], row["embedding"] or "codes", row["metric"], row.get("level", "all")))
    title = f"{row.get('title') or row['metric']} of {system}, {heading}, as a set"
    numbers = tuple(_numbers(row))
    shared = {
        "unit": None if row["unit"] == "1" else row["unit"],
        "system": systems.get(row["category"], {}).get("model"),
    }
    own = _card(
        value=row.get("value"),
        low=row.get("low"),
        high=row.get("high"),
        n=row.get("n_estimate"),
        also=_also(row),
        **shared,
    )
    yield Figure(run, f"set.{place}", title, numbers, card=own)
    floor = row.get("floor") or {}
    if floor.get("at_floor_size") is not None:
        card = _card(value=floor["at_floor_size"], n=floor.get("n_estimate"), **shared)
        yield Figure(run, f"others.{place}", f"{title}, against the recordings of other clips", numbers, card=card)
    if floor.get("mean") is not None:
        ends = {"low": floor.get("low"), "high": floor.get("high")}
        card = _card(value=floor["mean"], n=floor.get("n_estimate"), unit=shared["unit"], **ends)
        yield Figure(
            run, f"floor.{place}", f"{row.get('title') or row['metric']}, {heading}: recordings against recordings",
            numbers, card=card,
        )  # fmt: skip


def study_figures(document: Mapping[str, Any]) -> Iterator[Figure]:
    """List the numbers of a study."""
    run, title = str(document["run"]), str(document["title"])
    for index, claim in enumerate(document["claims"], 1):
        texts = tuple(str(claim[key]) for key in ("text", "figure", "reason") if claim.get(key))
        yield Figure(run, f"claim.{index}", f"{title}: {claim['text']}", texts=texts, card=_card(text=claim["figure"]))
    for number, table in enumerate(document["tables"], 1):
        for line, row in enumerate(table["rows"], 1):
            for place, column in enumerate(table["columns"], 1):
                cell = row["cells"].get(column["key"])
                if cell is None:
                    continue
                texts = tuple(str(t) for t in (cell.get("reason"), row.get("note")) if t)
                yield Figure(
                    run,
                    f"table.{number}.{line}.{place}",
                    f"{table['title']}: {row['label']}, {column['title']}",
                    tuple(_numbers(cell)),
                    texts,
                    _card(
                        value=cell.get("value"),
                        low=cell.get("low"),
                        high=cell.get("high"),
                        n=cell.get("n"),
                        unit=column.get("unit"),
                        text=cell.get("reason"),
                    ),
                )
    for number, plot in enumerate(document["plots"], 1):
        yield Figure(
            run,
            f"plot.{number}",
            f"{title}: {plot['title']}",
            tuple(_numbers([[p["x"], p["y"]] for p in plot["points"]])),
            tuple({str(p[key]) for p in plot["points"] for key in ("label", "group")}),
            _card(n=len(plot["points"])),
        )


class Ledger:
    """Every number that the pages may print, by run and address.

    Args:
        results: Results documents.
        studies: Documents of studies.
        collections: Sample documents by their names.
        runs: Run records, for the names of their metrics.
        clips: Documents with the scores of all held-out clips.
    """

    def __init__(
        self,
        results: Iterable[Mapping[str, Any]] = (),
        studies: Iterable[Mapping[str, Any]] = (),
        collections: Mapping[str, Mapping[str, Any]] | None = None,
        runs: Mapping[str, Mapping[str, Any]] | None = None,
        clips: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        results = list(results)
        found = [figure for document in results for figure in results_figures(document)]
        found += [figure for document in studies for figure in study_figures(document)]
        self.figures = {(figure.run, slug_id(figure.address)): figure for figure in found}
        self.runs = runs or {}
        self._collections = collections or {}
        self._held_out = [held_out(document) for document in clips]
        self._higher = {
            (str(document["run"]), str(metric["name"])): bool(metric.get("higher_is_better"))
            for document in results
            for metric in document["metrics"]
        }
        self._pages = {f"runs/{safe_name(run)}.html": run for run in {*self.runs, *(f.run for f in found)}}

    def of_run(self, run: str) -> list[Figure]:
        """List the figures of a run, in the order of its documents."""
        return [figure for figure in self.figures.values() if figure.run == run]

    def run_of(self, page: str) -> str | None:
        """Name the run whose record a page of the site is."""
        return self._pages.get(page)

    @cached_property
    def clips(self) -> Mapping[tuple[str, str], Mapping[str, tuple[float, ...]]]:
        """(Run, metric) to the scores of each sample and system, keyed ``ANCHOR.SYSTEM``."""
        found: dict[tuple[str, str], dict[str, list[float]]] = {}
        for document in self._collections.values():
            for name, sample in document.items():
                systems = sample.get("systems") or {}
                for category, scores in (sample.get("scores") or {}).items():
                    run = (systems.get(category) or {}).get("run")
                    for metric, score in scores.items() if run else ():
                        if score.get("value") is not None:
                            values = found.setdefault((str(run), str(metric)), {})
                            values.setdefault(f"{anchor(name)}.{category}", []).append(float(score["value"]))
        for scores in self._held_out:
            for category, metrics in scores.scores.items():
                for metric, numbers in metrics.items():
                    values = found.setdefault((scores.run, metric), {})
                    higher = self._higher.get((scores.run, metric), False)
                    others = float(scores.count(category, metric) - 1)
                    for clip, value in zip(scores.clips, numbers, strict=True):
                        if value is not None:
                            place = scores.percentile(category, metric, value, higher_is_better=higher)
                            about = [value, others, *([] if place is None else [place])]
                            values.setdefault(f"{anchor(clip)}.{category}", []).extend(about)
        return {key: {k: tuple(v) for k, v in values.items()} for key, values in found.items()}

    def knows(self, run: str, address: str) -> bool:
        """Tell whether a run's page has such an address."""
        if (run, address) in self.figures or address in _SECTIONS:
            return True
        metrics = self.runs.get(run, {}).get("metrics") or {}
        return any(address == slug_id(f"metric-{name}") for name in metrics)


def ledger_of(companion: Companion) -> Ledger:
    """Make the ledger of a companion from the documents that it publishes."""
    documents = {name: path for name, path in companion.documents.items() if path.suffix == ".json"}
    results = [read_document(path) for name, path in documents.items() if name.startswith("data/results/")]
    studies = [read_document(path) for name, path in documents.items() if name.startswith("data/studies/")]
    clips = [read_document(path) for name, path in documents.items() if name.startswith("data/clips/")]
    heard = {part.name: companion.data[part.name] for part in companion.heard if part.name in companion.data}
    return Ledger(results, studies, heard, {run.id: run.raw for run in companion.runs.values()}, clips)


# --- printed numbers

_THIN = "\u202f"
_NUMBER = re.compile(
    rf"(?P<sign>[-+\u2212]?)(?P<digits>\d{{1,3}}(?:{_THIN}\d{{3}})+|\d+)(?P<rest>\.\d+)?"
    rf"(?:{_THIN}×{_THIN}10(?P<power>[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)|[eE](?P<plain>[-+]?\d+))?(?P<percent>{_THIN}?\s?%)?"
)
_DIGIT = re.compile(r"\d")
_POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@dataclass(frozen=True)
class Printed:
    """A number as it stands in a text, with half a unit of its last place."""

    text: str
    value: float
    half: float

    def shows(self, number: float) -> bool:
        """Tell whether this is how the number is printed, rounded to the places that are there."""
        return abs(number - self.value) <= self.half * (1 + 1e-9) + 1e-12


def printed_numbers(text: str) -> list[Printed]:
    """Find the numbers of a text.

    >>> [p.value for p in printed_numbers("−0.40 [−0.43, −0.37] n = 12")]
    [-0.4, -0.43, -0.37, 12.0]
    """
    found = []
    for match in _NUMBER.finditer(text):
        digits = match["digits"].replace(_THIN, "") + (match["rest"] or "")
        power = int((match["power"] or "0").translate(_POWERS)) + int(match["plain"] or 0)
        value = float(digits) * 10.0**power * (-1 if match["sign"] in {"-", "\u2212"} else 1)
        places = len(match["rest"]) - 1 if match["rest"] else 0
        found.append(Printed(match[0].strip(), value, 0.5 * 10.0 ** (power - places)))
    return found


# --- tables of pages


@dataclass(frozen=True)
class Untraced:
    """A number of a table that has no source, or that its source does not hold."""

    line: int
    message: str


class _Tables(HTMLParser):
    """Collects what the cells of a table print, each piece with the source that holds for it."""

    _VOID = frozenset(("br", "img", "wbr", "input", "col", "hr", "source"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        # Tag, source, id, whether left out.
        self.stack: list[tuple[str, str | None, str | None, bool]] = []
        self.pieces: list[tuple[str, str | None, str | None, int]] = []
        self.cells: list[list[tuple[str, str | None, str | None, int]]] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._VOID:
            return
        if tag in {"td", "tr"}:
            self._close("td")
        values = dict(attrs)
        classes = (values.get("class") or "").split()
        source = values.get("data-source")
        if tag == "a" and "num" in classes:
            source = values.get("href") or ""
        out = "axis" in classes or "data-no-results" in values
        self.stack.append((tag, source, values.get("id"), out))
        if tag == "td":
            self.depth += 1
            self.pieces = []

    def _close(self, tag: str) -> None:
        if any(entry[0] == tag for entry in self.stack):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or (self.stack[-1][0] != tag and all(entry[0] != tag for entry in self.stack)):
            return
        while self.stack:
            top = self.stack.pop()[0]
            if top == "td":
                self.depth -= 1
                self.cells.append(self.pieces)
                self.pieces = []
            if top == tag:
                break

    def handle_data(self, data: str) -> None:
        if not self.depth or data.isspace() or any(entry[3] for entry in self.stack):
            return
        named = [(source, name) for _, source, name, _ in self.stack if source is not None]
        source, name = named[-1] if named else (None, None)
        self.pieces.append((data, source, name, self.getpos()[0]))


def _tables(text: str) -> Iterator[tuple[int, str]]:
    """The outermost tables of a page with the line on which each begins."""
    start = text.find("<table")
    while start >= 0:
        end = text.find("</table>", start)
        if end < 0:
            end = len(text)
        yield text.count("\n", 0, start), text[start : end + 8]
        start = text.find("<table", end)


@lru_cache(4096)
def _target(page: str, href: str) -> tuple[str, str]:
    """Path inside the site and fragment of a link on a page."""
    path, _, fragment = href.partition("#")
    if not path:
        return page, unquote(fragment)
    parts = list(PurePosixPath(page).parent.parts)
    for part in unquote(path).split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts), unquote(fragment)


def untraced(text: str, page: str, ledger: Ledger) -> list[Untraced]:
    """Find the numbers in the tables of a page that have no source, or another value than their source.

    Row and column heads are names. A cell's number has to be a link of the class ``num`` to an address of a run or to a
    published document, or to stand in a cell beside one, or below an element whose ``data-source`` is such an address.
    A table that holds no results says so with ``data-no-results``.

    Args:
        text: The page.
        page: Its path inside the site.
        ledger: What the numbers are held against.
    """
    found = []
    for first, table in _tables(text):
        reader = _Tables()
        reader.feed(table)
        reader.close()
        for cell in reader.cells:
            # What stands beside a sourced number in its cell (interval, n) belongs to it.
            sourced = [(source, name) for _, source, name, _ in cell if source is not None]
            for words, source, name, line in cell:
                if not _DIGIT.search(words):
                    continue
                if source is None and sourced:
                    source, name = sourced[0]
                wrong = _wrong(words, source, name, page, ledger)
                if wrong:
                    found.append(Untraced(first + line, wrong))
    return found


def _wrong(words: str, source: str | None, name: str | None, page: str, ledger: Ledger) -> str | None:
    shown = words.strip()[:60]
    if source is None:
        return f"the number {shown!r} has no source; print it from the data, as a link to its run"
    path, address = _target(page, source)
    if path.startswith("data/"):
        return None
    run = ledger.run_of(path)
    if run is None:
        return f"the number {shown!r} leads to {source!r}, which is no record of a run"
    if not ledger.knows(run, address):
        return f"the number {shown!r} leads to {address!r}, which the run {run} does not hold"
    figure = ledger.figures.get((run, address))
    if figure is not None:
        numbers = figure.numbers
        if words.strip() in figure.texts:
            return None
        for text in sorted(filter(_DIGIT.search, figure.texts), key=len, reverse=True):
            words = re.sub(rf"(?<![\d.]){re.escape(text)}(?![\d.])", " ", words)
    elif address.startswith("metric-") and name:
        # The score of one clip, named where it stands.
        values = ledger.clips.get((run, name.rpartition(".")[2]), {})
        clip = name.rpartition(".")[0]
        found = next((values[key] for key in sorted(values, key=len, reverse=True) if clip.endswith(key)), None)
        if found is None:
            return None
        numbers = found
    else:
        return None
    for printed in printed_numbers(words):
        if not any(
            printed.shows(number) or ("%" in printed.text and printed.shows(100 * number)) for number in numbers
        ):
            label = figure.label if figure else name
            return f"{printed.text} is not what the source holds: {label}"
    return None


# --- cards


def card_script(run: Mapping[str, Any], figures: Iterable[Figure], names: Iterable[Mapping[str, Any]] = ()) -> bytes:
    """Make the small script that hands the facts of a run to the card on a page, also from disk.

    Args:
        run: The run record.
        figures: Its numbers.
        names: Results documents of the run, for the versions of their metrics.
    """
    code = run.get("code") if isinstance(run.get("code"), Mapping) else {}
    corpus = run.get("corpus") if isinstance(run.get("corpus"), Mapping) else {}
    metrics: dict[str, Any] = {}
    for name, about in (run.get("metrics") or {}).items():
        if isinstance(about, Mapping):
            metrics[name] = _card(title=about.get("title"), version=about.get("version"))
    for document in names:
        for metric in document["metrics"]:
            entry = metrics.setdefault(metric["name"], {})
            entry |= _card(title=metric.get("title"), sha256=metric.get("definition_sha256"), unit=metric.get("unit"))
    models = {}
    for model in run.get("models") or []:
        if isinstance(model, Mapping):
            checkpoint = model.get("checkpoint")
            weights = checkpoint.get("sha256") if isinstance(checkpoint, Mapping) else None
            models[str(model.get("name"))] = _card(title=model.get("title"), weights=weights)
    facts = _card(
        run=run["run_id"],
        command=run.get("command"),
        created=run.get("created"),
        seed=run.get("seed"),
        device=run.get("device") if isinstance(run.get("device"), str) else None,
        commit=(code or {}).get("commit"),
        dirty=True if (code or {}).get("dirty") else None,
        code=(code or {}).get("sha256"),
        data=(corpus or {}).get("content_sha256"),
        corpus=(corpus or {}).get("name"),
        reproduce=reproduce_command(run),
        models=models,
        metrics=metrics,
        figures={slug_id(f.address): {"label": f.label, **f.card} for f in figures},
    )
    text = json.dumps(facts, ensure_ascii=True, separators=(",", ":")).replace("</", "<\\/")
    return f"earwitnessRun({text});\n".encode()


def reproduce_command(run: Mapping[str, Any]) -> str:
    """Give the one command that does a run again and compares, or for a study, measures it again."""
    if run.get("study"):
        command = run.get("command")
        return str(command) if isinstance(command, str) else f"python -m eval study {run['study']}"
    return f"python -m eval reproduce _data/runs/{run['run_id']}.json"
