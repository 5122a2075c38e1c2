"""Tables of results: per metric and system what was found, how sure it is, and which systems cannot be told apart.

A results store gives every column, from its rows. A results document gives what it holds; what it lacks stays empty.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from eval.metrics import chosen
from eval.recorded import MetricFacts, Recorded, StoreContents, open_recorded, shown
from eval.results import FILE_NAME
from eval.score import cell
from eval.summary import (
    RESAMPLES,
    Standing,
    Table,
    aggregates,
    checkpoint_components,
    choose_baseline,
    clusters,
    diagram_entry,
    differences,
    gaps,
    medians,
    seed_components,
    seeds_together,
    standings,
)
from models.errors import InputError

FORMATS = ("text", "csv", "parquet", "latex", "markdown")
EXTRA = "tables"


@dataclass(frozen=True)
class Line:
    """One metric of one system. What is not known is ``None``, or an empty text.

    Attributes:
        metric: Name of the metric.
        unit: Its unit.
        higher_is_better: Its direction.
        model: Name of the system.
        n: Clips with a value.
        n_undefined: Clips on which the metric has none.
        n_failed: Clips without an output or with a metric that failed.
        groups: Groups that the clips with a value come from.
        mean: Mean.
        low: Lower end of the mean's 95 % interval.
        high: Upper end.
        median: Median.
        median_low: Lower end of the median's 95 % interval.
        median_high: Upper end.
        baseline: System that this one is compared with; empty for the baseline itself.
        pairs: Clips that both have a value for.
        difference: Mean of this system's value minus the baseline's on those clips.
        difference_low: Lower end of its 95 % interval.
        difference_high: Upper end.
        p: p of the sign-flip test of "no difference".
        p_holm: The same, corrected for all comparisons of the report.
        d: Paired Cohen's d.
        dominance: Share of clips above the baseline minus share below.
        detectable: Smallest true difference that a single test at 5 % would find here in four cases of five.
        rank: Rank among the systems by the mean on the clips that all have a value for, 1 the best.
        rank_low: Best rank in its 95 % interval.
        rank_high: Worst rank.
        tied: Systems with a letter in common cannot be told apart.
        margin: Largest difference that would not matter, where one was given.
        p_equivalent: p of "this system differs from the baseline by the margin or more".
        p_not_worse: p of "this system is worse than the baseline by the margin or more".
        seeds: Seeds that the values are means over.
        seed_sd: Standard deviation between seeds.
        clip_sd: Standard deviation between clips.
        rest_sd: What is left: seed and clip together.
        error: Standard error of the mean for other clips and other seeds.
        error_one_seed: Standard error of one seed's mean, the seed being drawn as well.
    """

    metric: str
    unit: str
    higher_is_better: bool | None
    model: str
    n: int
    n_undefined: int
    n_failed: int
    groups: int | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    median: float | None = None
    median_low: float | None = None
    median_high: float | None = None
    baseline: str = ""
    pairs: int | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    d: float | None = None
    dominance: float | None = None
    detectable: float | None = None
    rank: float | None = None
    rank_low: float | None = None
    rank_high: float | None = None
    tied: str = ""
    margin: float | None = None
    p_equivalent: float | None = None
    p_not_worse: float | None = None
    seeds: int | None = None
    seed_sd: float | None = None
    clip_sd: float | None = None
    rest_sd: float | None = None
    error: float | None = None
    error_one_seed: float | None = None


COLUMNS = tuple(entry.name for entry in fields(Line))


@dataclass(frozen=True)
class Report:
    """All lines, with what stands around them.

    Attributes:
        title: What was evaluated.
        lines: Metric after metric, system after system.
        metrics: The metrics by name.
        notes: Sentences below the tables, by metric; those for all under the empty name.
        sets: What was measured of whole sets, as rows of a results document with their ``model``.
    """

    title: str
    lines: Sequence[Line]
    metrics: dict[str, MetricFacts]
    notes: dict[str, list[str]]
    sets: Sequence[Mapping[str, Any]] = ()

    def of(self, metric: str) -> list[Line]:
        """Lines of a metric."""
        return [line for line in self.lines if line.metric == metric]


def make_report(
    path: Path | Sequence[Path],
    *,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    margins: Mapping[str, float] | None = None,
    seed: int | None = None,
    threads: int | None = None,
) -> Report:
    """Gather the tables of a results store or document.

    Several stores of one job with different seeds, or a folder that holds them as ``seed_N``, are taken together: a
    clip's value is then its mean over the seeds, and the spread between seeds stands beside that between clips.

    Args:
        path: A results store, its folder, a results document, or several stores.
        metrics: Names of metrics or of groups; all that there are when empty.
        baseline: System that the others are compared with; chosen as in an evaluation when None.
        margins: Metric to the largest difference that would not matter, for tests of equivalence with the baseline.
        seed: Seed of the draws; that of the record when None.
        threads: Threads to work with; one a core when None. No number depends on it.

    Raises:
        InputError: If the file cannot be used, or a metric or baseline is not in it.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    if len(paths) == 1 and (found := seed_stores(paths[0])):
        paths = found
    opened = [open_recorded(one) for one in paths]
    recorded = opened[0]
    if len(opened) > 1:
        return _from_rows(opened, metrics, baseline, margins or {}, seed, threads)
    if recorded.kind == "store":
        return _from_rows([recorded], metrics, baseline, margins or {}, seed, threads)
    if recorded.results is None:
        raise InputError(f"{recorded.path}: is the record of a run without results; name a results store or document")
    if baseline is not None or margins:
        what = "whose baseline is settled" if baseline is not None else "which has no values to test for equivalence"
        raise InputError(f"{recorded.path}: is a document, {what}; name its results store instead")
    return _from_document(recorded, recorded.results, metrics)


def seed_stores(folder: Path) -> list[Path]:
    """Stores that a run with several seeds left in a folder, by their seeds."""
    if not folder.is_dir() or (folder / FILE_NAME).is_file():
        return []
    found = [path for path in folder.glob("seed_*") if (path / FILE_NAME).is_file()]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def parse_margins(texts: Sequence[str]) -> dict[str, float]:
    """Margins from texts such as ``si_sdr=0.5``.

    Raises:
        InputError: If one is something else.
    """
    margins = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            margin = float(number)
        except ValueError:
            margin = math.nan
        if not name or not (margin > 0 and math.isfinite(margin)):
            raise InputError(f"equivalence {text!r}: a metric and a margin above 0 are needed, such as si_sdr=0.5")
        margins[name] = margin
    return margins


def _wanted(names: Sequence[str], present: Sequence[str], path: Path) -> list[str]:
    if not names:
        return list(present)
    asked: dict[str, None] = {}
    for name in names:
        asked.update(dict.fromkeys([name] if name in present else [m for m in chosen([name]) if m in present]))
    if not asked:
        raise InputError(f"{path}: has no metric {', '.join(names)}; there are {', '.join(present)}")
    return list(asked)


def _from_rows(
    opened: Sequence[Recorded],
    metrics: Sequence[str],
    baseline: str | None,
    margins: Mapping[str, float],
    seed: int | None,
    threads: int | None,
) -> Report:
    from eval.stats import equivalence
    from eval.stats.draws import default_threads

    recorded, rows = opened[0], _rows(opened[0])
    tables = [_rows(one).table() for one in opened]
    table = tables[0] if len(tables) == 1 else seeds_together(tables)
    models = [model for model in rows.models if model in table.values]
    present = [name for name in rows.metrics if all(name in table.values[model] for model in models)]
    if not models or not table.clip_ids or not present:
        raise InputError(f"{' and '.join(str(one.path) for one in opened)}: no scores of common systems and clips")
    names = _wanted(metrics, present, recorded.path)
    for name in margins:
        if name not in names:
            raise InputError(f"{recorded.path}: equivalence: has no metric {name!r}; there are {', '.join(names)}")
    compared = choose_baseline(models, baseline)
    if margins and compared is None:
        raise InputError(f"{recorded.path}: equivalence: there is no second system to compare with")
    threads = threads or default_threads()
    if seed is None:
        seed = int(recorded.run["seed"]) if recorded.run is not None else 0
    cells = [(model, name) for name in names for model in models]
    means = dict(zip(cells, aggregates(table, cells, seed, threads=threads), strict=True))
    middles = dict(zip(cells, medians(table, cells, seed, threads=threads), strict=True))
    others = [key for key in cells if compared is not None and key[0] != compared]
    apart = (
        {}
        if compared is None
        else dict(zip(others, differences(table, others, compared, seed, threads=threads), strict=True))
    )
    tests = sum(gap["p"] is not None for gap in apart.values())
    held = clusters(table.groups)
    higher = {name: up for name in names if (up := recorded.metrics[name].higher_is_better) is not None}
    stands = standings(table, models, higher, seed, threads=threads)
    parts = {}
    if len(opened) > 1:
        found = seed_components(tables, _seeds(opened), models, names)
        parts = {(row["model"], row["metric"]): row for row in found}
    lines = []
    notes: dict[str, list[str]] = {"": _general_notes(rows, held, compared, tests)}
    if len(opened) > 1:
        notes[""].append(
            f"values are means over {len(opened)} seeds; intervals and tests are of the clips, and the standard error"
            " of one seed holds the spread between seeds as well"
        )
    for name in names:
        facts, stand = recorded.metrics[name], stands.get(name, Standing(None, None))
        for model in models:
            row = {**means[model, name], **middles[model, name], **stand.place(model)}
            line = _line(facts, model, row, apart.get((model, name)), compared or "")
            if name in margins and line.baseline:
                values, groups = gaps(table.numbers(model, name), table.numbers(line.baseline, name), held)
                test = equivalence(values, margins[name], groups=groups)
                worse = {True: test.p_above, False: test.p_below, None: None}[facts.higher_is_better]
                line = replace(line, margin=margins[name], p_equivalent=test.p_value, p_not_worse=worse)
            if (part := parts.get((model, name))) is not None:
                line = replace(
                    line, seeds=len(opened), seed_sd=part["between"], clip_sd=part["clip_sd"], rest_sd=part["rest_sd"],
                    error=part["error"], error_one_seed=part["error_one_seed"],
                )  # fmt: skip
            lines.append(line)
        said = _seed_notes(table, models, facts)
        if name in margins:
            said.append(
                f"equivalence with {compared} within ±{margins[name]:g} {facts.unit}: p of two one-sided t tests that"
                " the difference is the margin or more; small where the systems are as good as equal"
            )
        if stand.diagram is not None and len(stand.diagram.names) > 2:
            said.append(_diagram_note(diagram_entry(name, stand.diagram, {m: m for m in models}), held is not None))
        if stand.ranking is not None and stand.ranking.n < len(table.clip_ids):
            said.append(f"ranks and letters: the {stand.ranking.n} clips that all systems have a value for")
        if said:
            notes[name] = said
    sets = [
        {**row, "model": facts["model"], "p": row.get("p_value")}
        for facts, held in rows.sets.values()
        for row in held
        if facts.get("model") in models
    ]
    place = {model: index for index, model in enumerate(models)}
    sets.sort(key=lambda row: (row.get("embedding") is None, place[row["model"]]))
    return Report(
        _title(recorded, len(table.clip_ids)), lines, {n: recorded.metrics[n] for n in names}, notes,
        [] if metrics or len(opened) > 1 else sets,
    )  # fmt: skip


def _rows(recorded: Recorded) -> StoreContents:
    if recorded.kind != "store" or recorded.rows is None:
        raise InputError(f"{recorded.path}: is no results store; only stores can be taken together")
    return recorded.rows


def _seeds(opened: Sequence[Recorded]) -> list[int]:
    """Seeds of several stores, each another one."""
    seeds: list[int] = []
    for one in opened:
        if one.run is None:
            raise InputError(f"{one.path}: holds no finished run, so its seed is not known")
        seed = int(one.run["seed"])
        if seed in seeds:
            raise InputError(f"{one.path}: has the seed {seed} as {opened[seeds.index(seed)].path} has")
        seeds.append(seed)
    return seeds


def _line(facts: MetricFacts, model: str, row: Mapping[str, Any], gap: Mapping[str, Any] | None, baseline: str) -> Line:
    """A line of an aggregate and a difference, as rows of a results document have them."""
    gap = gap or {}
    return Line(
        metric=facts.name,
        unit=facts.unit,
        higher_is_better=facts.higher_is_better,
        model=model,
        n=row["n_ok"],
        n_undefined=row["n_undefined"],
        n_failed=row["n_failed"],
        groups=row.get("groups"),
        mean=row["mean"],
        low=row["low"],
        high=row["high"],
        median=row["median"],
        median_low=row.get("median_low"),
        median_high=row.get("median_high"),
        baseline=baseline if gap else "",
        pairs=gap.get("n"),
        difference=gap.get("mean"),
        difference_low=gap.get("low"),
        difference_high=gap.get("high"),
        p=gap.get("p"),
        p_holm=gap.get("p_holm"),
        d=gap.get("d"),
        dominance=gap.get("dominance"),
        detectable=gap.get("detectable"),
        rank=row.get("rank"),
        rank_low=row.get("rank_low"),
        rank_high=row.get("rank_high"),
        tied=row.get("tied") or "",
    )


def _diagram_note(entry: Mapping[str, Any], grouped: bool, names: Mapping[str, str] | None = None) -> str:
    """A critical-difference diagram in words."""
    ranks = ", ".join(
        f"{(names or {}).get(row['category'], row['category'])} {row['rank']:.2f}" for row in entry["average_ranks"]
    )
    p = "" if entry["p"] is None else f", Friedman p {_p(entry['p'])}"
    return (
        f"average ranks over {entry['blocks']} {'groups' if grouped else 'clips'}: {ranks}; critical difference"
        f" {entry['critical_difference']:.2f} (Nemenyi, {100 * entry['alpha']:g} %){p}"
    )


def _general_notes(rows: StoreContents, held: Sequence[str] | None, compared: str | None, tests: int) -> list[str]:
    drawn = "clips" if held is None else f"{len(set(held))} groups of clips"
    notes = [f"intervals: 95 %, BCa bootstrap over {drawn}, {RESAMPLES} draws"]
    if compared is not None:
        notes.append(
            f"differences to {compared} on common clips; p of the sign-flip test, Holm-corrected over {tests}"
            " comparisons; d is the paired Cohen's d; systems with a letter in common cannot be told apart at 5 %,"
            " corrected over the pairs of the metric"
        )
    spare = set(rows.clips) - {clip for held_clips in rows.outputs.values() for clip in held_clips}
    if spare:
        notes.append(f"{len(spare)} clips of the store have no output of any system")
    return notes


def _seed_notes(table: Table, models: Sequence[str], facts: MetricFacts) -> list[str]:
    """Variance of trainings, where several checkpoints of one model are there."""
    return [
        f"{row['model'].partition('@')[0]}, {len(row['members'])} checkpoints on {row['clips']} common clips: mean"
        f" {row['mean']:.5g} {facts.unit}, standard deviation between checkpoints {row['between']:.3g}, between clips"
        f" {row['clip_sd']:.3g}, rest {row['rest_sd']:.3g}; standard error of the mean {row['error']:.3g}, from clips"
        f" alone {row['error_clips_only']:.3g}"
        for row in checkpoint_components(table, models, [facts.name])
    ]


def _from_document(recorded: Recorded, results: Any, metrics: Sequence[str]) -> Report:
    from eval.stats import holm

    names = _wanted(metrics, [row["name"] for row in results["metrics"]], recorded.path)
    models = {system["category"]: system["model"] for system in results["systems"]}
    gaps = {(row["category"], row["metric"]): dict(row) for row in results["differences"] if row["metric"] in names}
    tested = [key for key, row in gaps.items() if row.get("p") is not None]
    # Over what is shown, as with a store: fewer comparisons need less correction.
    for key, p in zip(tested, holm([gaps[key]["p"] for key in tested]), strict=True):
        gaps[key]["p_holm"] = p
    diagrams = {row["metric"]: row for row in results.get("critical_differences", [])}
    lines = []
    notes: dict[str, list[str]] = {}
    grouped = False
    for name in names:
        facts = recorded.metrics[name]
        shown_rows = [row for row in results["aggregates"] if row["metric"] == name]
        grouped = grouped or any(1 < (row.get("groups") or 0) < row["n_ok"] for row in shown_rows)
        for row in shown_rows:
            gap = gaps.get((row["category"], name))
            baseline = models.get(gap["baseline"], gap["baseline"]) if gap else ""
            lines.append(_line(facts, models.get(row["category"], row["category"]), row, gap, str(baseline)))
        if name in diagrams and len(diagrams[name]["average_ranks"]) > 2:
            notes[name] = [_diagram_note(diagrams[name], grouped, models)]
    said = [f"p of the sign-flip test, Holm-corrected over {len(tested)} comparisons"]
    if not any("rank" in row for row in results["aggregates"]):
        said.insert(
            0,
            "from an older results document: intervals of medians, effect sizes, ranks and ties need the results store",
        )
    sets = [
        {**row, "model": models.get(row["category"], row["category"])}
        for row in results.get("sets", {}).get("rows", [])
    ]
    return Report(
        _title(recorded, results["corpus"]["clips"]), lines, {n: recorded.metrics[n] for n in names},
        {"": said, **notes}, [] if metrics else sets,
    )  # fmt: skip


def _title(recorded: Recorded, clips: int) -> str:
    corpus = (recorded.results or recorded.run or {}).get("corpus", {})
    name = (recorded.results or {}).get("title") or corpus.get("name") or recorded.path.parent.name
    split = f", split {corpus['split']}" if corpus.get("split") else ""
    return f"{clips} clips of {name}{split}"


# --- how a report is written


def render(report: Report, form: str) -> str:
    """A report as text of one of `FORMATS` but Parquet.

    Raises:
        InputError: If there is no such format.
    """
    forms = {"text": _text, "csv": _csv, "latex": _latex, "markdown": _markdown}
    if form not in forms:
        raise InputError(f"format {form!r} is not known: {', '.join(forms)}")
    return forms[form](report)


def write_report(report: Report, form: str, output: Path | None) -> str | None:
    """Write a report to a file, or give back its text where no file is named.

    Args:
        report: The report.
        form: One of `FORMATS`.
        output: The file; None gives the text back. CSV and Parquet have one row per metric and system; what was
            measured of whole sets goes into a file of its own beside it, `sets_file`.

    Raises:
        InputError: If the format is unknown, needs a file or a package that is not there, or the file has no folder.
        OutputError: If the file cannot be written.
    """
    from eval.audio_io import write_bytes, write_text

    if form not in FORMATS:
        raise InputError(f"format {form!r} is not known: {', '.join(FORMATS)}")
    if output is None:
        if form == "parquet":
            raise InputError("format 'parquet' is no text; name a file with --output FILE")
        return render(report, form)
    if output.is_dir() or not output.absolute().parent.is_dir():
        fault = "is a folder" if output.is_dir() else "its folder does not exist"
        raise InputError(f"{output}: {fault}; name a file in a folder that is there")
    beside = sets_file(output) if report.sets and form in ("csv", "parquet") else None
    if form == "parquet":
        write_bytes(output, _parquet(report))
        if beside is not None:
            write_bytes(beside, _parquet_bytes(_SET_KINDS, _set_rows(report)))
    else:
        write_text(output, render(report, form))
        if beside is not None:
            write_text(beside, _csv_text(SET_COLUMNS, _set_rows(report)))
    return None


def sets_file(output: Path) -> Path:
    """Where the rows of whole sets stand beside a file of CSV or Parquet: ``x.sets.csv`` beside ``x.csv``."""
    return output.with_name(f"{output.stem}.sets{output.suffix}")


def _csv(report: Report) -> str:
    return _csv_text(COLUMNS, [{name: getattr(line, name) for name in COLUMNS} for line in report.lines])


def _csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = (row[name] for name in columns)
        writer.writerow([cell(shown(value) if isinstance(value, str) else value) for value in cells])
    return sink.getvalue()


_SET_KINDS: Mapping[str, str] = {
    "metric": "str",
    "embedding": "str",
    "level": "str",
    "model": "str",
    "unit": "str",
    "higher_is_better": "bool",
    "n_estimate": "int",
    "n_reference": "int",
    "value": "float",
    "status": "str",
    "reason": "str",
    "low": "float",
    "high": "float",
    "interval": "str",
    "p": "float",
    "permutations": "int",
    "at_floor_size": "float",
    "floor_mean": "float",
    "floor_low": "float",
    "floor_high": "float",
}
SET_COLUMNS = tuple(_SET_KINDS)


def _set_rows(report: Report) -> list[dict[str, Any]]:
    """What was measured of whole sets, a flat row each."""
    rows = []
    for row in report.sets:
        floor = row.get("floor") or {}
        flat = {**row, "at_floor_size": floor.get("at_floor_size")}
        flat |= {f"floor_{name}": floor.get(name) for name in ("mean", "low", "high")}
        rows.append({name: flat.get(name) for name in SET_COLUMNS})
    return rows


def _parquet(report: Report) -> bytes:
    kinds = {entry.name: str(entry.type).partition(" ")[0] for entry in fields(Line)}
    return _parquet_bytes(kinds, [{name: getattr(line, name) for name in COLUMNS} for line in report.lines])


def _parquet_bytes(kinds: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"format 'parquet' needs pyarrow, which is not installed: pip install 'earwitness[{EXTRA}]'"
        ) from None
    types = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "float": pyarrow.float64(), "str": pyarrow.string()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), sink)
    return sink.getvalue()


def _digits(value: float, low: float | None, high: float | None) -> int:
    """Decimal places that show two figures of an interval's width, or five figures of a value without one."""
    spread = None if low is None or high is None else high - low
    figures = 2
    if not spread:
        spread, figures = abs(value), 5
    if not spread or not math.isfinite(spread):
        return 3
    return max(0, min(12, figures - 1 - math.floor(math.log10(spread))))


def _number(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _estimate(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval, to as many places as the interval allows."""
    if value is None:
        return "–"
    places = _digits(value, low, high)
    if low is None or high is None:
        return _number(value, places)
    return f"{_number(value, places)} [{_number(low, places)}, {_number(high, places)}]"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rank(line: Line) -> str:
    if line.rank is None:
        return "–"
    if line.rank_low is None or line.rank_high is None or line.rank_low == line.rank_high == line.rank:
        return f"{line.rank:g}"
    return f"{line.rank:g} [{line.rank_low:g}, {line.rank_high:g}]"


def _rough(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _shown(report: Report, metric: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table of a metric; columns that nobody fills are left away."""
    lines = report.of(metric)
    baseline = next((line.baseline for line in lines if line.baseline), "")
    table = [
        ("system", [line.model for line in lines]),
        ("n", [str(line.n) for line in lines]),
        ("no value", [str(line.n_undefined + line.n_failed or "–") for line in lines]),
        ("mean", [_estimate(line.mean, line.low, line.high) for line in lines]),
        ("median", [_estimate(line.median, line.median_low, line.median_high) for line in lines]),
        (
            f"difference to {baseline}",
            [_estimate(line.difference, line.difference_low, line.difference_high) for line in lines],
        ),
        ("p (Holm)", [_p(line.p_holm) for line in lines]),
        ("d", ["–" if line.d is None else _number(line.d, 2) for line in lines]),
        ("could show", [_rough(line.detectable) for line in lines]),
        ("rank", [_rank(line) for line in lines]),
        ("tied", [line.tied or "–" for line in lines]),
        ("p (equivalent)", [_p(line.p_equivalent) for line in lines]),
        ("p (not worse)", [_p(line.p_not_worse) for line in lines]),
        ("sd of seeds", [_rough(line.seed_sd) for line in lines]),
        ("sd of clips", [_rough(line.clip_sd) for line in lines]),
        ("rest", [_rough(line.rest_sd) for line in lines]),
        ("error of one seed", [_rough(line.error_one_seed) for line in lines]),
    ]
    kept = [(head, column) for head, column in table if head in ("system", "n", "mean") or set(column) != {"–"}]
    return [head for head, _ in kept], [list(row) for row in zip(*(column for _, column in kept), strict=True)]


SETS_TITLE = "whole sets: outputs against recordings, and the floor that recordings reach themselves"


def _set_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table of whole sets."""
    head = ["metric of sets", "of", "system", "n", "value", "other clips", "floor", "p"]
    rows = []
    for row in report.sets:
        floor = row.get("floor") or {}
        other = floor.get("at_floor_size")
        of = row.get("embedding") or f"codes, {row.get('level', 'all')}"
        value = _estimate(row["value"], row.get("low"), row.get("high"))
        rows.append(
            [
                str(row["metric"]), str(of), str(row["model"]), str(row["n_estimate"]),
                value if row["value"] is not None else str(row["status"]),
                "–" if other is None else f"{other:.4g}",
                _estimate(floor.get("mean"), floor.get("low"), floor.get("high")),
                _p(row.get("p")),
            ]
        )  # fmt: skip
    return head, rows


def _said(report: Report) -> list[str]:
    return (
        [
            *report.notes.get("", []),
            '"could show" is the smallest true difference that one test at 5 % would find in four cases of five',
        ]
        if any(line.detectable is not None for line in report.lines)
        else report.notes.get("", [])
    )


def _text(report: Report) -> str:
    out = [report.title]
    for name, facts in report.metrics.items():
        head, rows = _shown(report, name)
        out += ["", f"{name} ({', '.join(part for part in (facts.unit, facts.direction) if part)})"]
        out += _aligned(head, rows)
        out += [f"  {note}" for note in report.notes.get(name, [])]
    if report.sets:
        out += ["", SETS_TITLE, *_aligned(*_set_table(report))]
    out += ["", *_said(report)]
    return "\n".join(out) + "\n"


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    clean = [[shown(text) for text in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in clean) for k in range(len(head))]
    return [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in clean
    ]


def _markdown(report: Report) -> str:
    out = [f"# {_plain_markdown(report.title)}"]
    for name, facts in report.metrics.items():
        head, rows = _shown(report, name)
        about = ", ".join(part for part in (facts.unit, facts.direction) if part)
        out += ["", f"## {_plain_markdown(facts.title)} ({_plain_markdown(about)})", ""]
        out.append(_markdown_row(head))
        out.append("|" + "|".join("---" if k == 0 else "---:" for k in range(len(head))) + "|")
        out += [_markdown_row(row) for row in rows]
        out += [line for note in report.notes.get(name, []) for line in ("", _plain_markdown(note))]
    if report.sets:
        head, rows = _set_table(report)
        out += ["", f"## {_plain_markdown(SETS_TITLE.capitalize())}", "", _markdown_row(head)]
        out.append("|" + "|".join("---" if k < 3 else "---:" for k in range(len(head))) + "|")
        out += [_markdown_row(row) for row in rows]
    out += [line for note in _said(report) for line in ("", _plain_markdown(note))]
    return "\n".join(out) + "\n"


def _plain_markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", shown(text))


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(_plain_markdown(text) for text in texts) + " |"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "–": "--",
    "∞": r"$\infty$", "²": r"$^2$", "³": r"$^3$", "µ": r"$\mu$", "μ": r"$\mu$", "·": r"$\cdot$", "×": r"$\times$",
    "−": "$-$", "‰": r"\textperthousand{}", "°": r"$^\circ$", '"': "''", "Δ": r"$\Delta$", "\n": " ",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text as LaTeX prints it, letter by letter; brackets that LaTeX would read as an argument are braced."""
    made = "".join(_LATEX.get(letter, letter) for letter in text)
    # A minus sign in front of a digit is one, not a hyphen.
    made = re.sub(r"(?<![\w.-])-(?=\d)", "$-$", made)
    return made.replace("[", "{[}").replace("]", "{]}")


def _latex(report: Report) -> str:
    out = [f"% {shown(report.title)}", "% needs \\usepackage{booktabs}"]
    for name, facts in report.metrics.items():
        about = ", ".join(part for part in (facts.title, facts.unit, facts.direction) if part)
        notes = "; ".join(report.notes.get(name, []))
        out += _latex_table(
            f"{about}. {report.title}." + (f" {notes}." if notes else ""), name, *_shown(report, name), 1
        )
    if report.sets:
        out += _latex_table(f"{SETS_TITLE.capitalize()}. {report.title}.", "sets", *_set_table(report), 3)
    out += ["", *(f"% {shown(note)}" for note in _said(report))]
    return "\n".join(out) + "\n"


def _latex_table(caption: str, label: str, head: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> list[str]:
    """Lines of a table whose first columns, so many, are names."""
    return [
        "",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex_text(shown(caption))}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', label)}}}",
        f"  \\begin{{tabular}}{{{'l' * names}{'r' * (len(head) - names)}}}",
        r"    \toprule",
        f"    {' & '.join(latex_text(shown(text)) for text in head)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(latex_text(shown(text)) for text in row)} \\\\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
