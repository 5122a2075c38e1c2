"""Scores of anybody's files: a folder of estimates against a folder of references.

Files belong together when their names below the two folders are equal but for the suffix. Several channels are mixed to
one by their mean. The rules, which the CSV file applies row by row:

* a file without a partner gets status ``skipped``;
* a file that cannot be read gets status ``failed``;
* lengths that differ by `LENGTH_TOLERANCE_S` or less, as codecs make them, are cut to the shorter one, and ``reason``
  says so; a larger difference gets status ``failed``;
* files of several sample rates are refused as a whole unless resampling is asked for.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from eval.corpora.base import AUDIO_SUFFIXES, inside, printable
from eval.metrics import METRICS, chosen
from eval.protocols import Progress, Silent
from eval.runner import worker_count
from models.errors import AudioError, EarwitnessError, InputError

LENGTH_TOLERANCE_S = 0.05
"""Largest difference in length that is cut away, seconds."""

COLUMNS = ("clip", "metric", "value", "unit", "status", "reason")


@dataclass(frozen=True)
class Row:
    """One line of the CSV file."""

    clip: str
    metric: str
    value: float | None
    status: str
    reason: str | None

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return METRICS[self.metric].unit


@dataclass(frozen=True)
class Pair:
    """Two files of one name; one of them may be missing."""

    name: str
    reference: Path | None
    estimate: Path | None


@dataclass(frozen=True)
class ScoreReport:
    """What was scored.

    Attributes:
        pairs: Names with both files.
        only_reference: Names without an estimate.
        only_estimate: Names without a reference.
        failed: Pair to the reason why it has no score at all.
        values: Metric to the values that there are.
        missing: Metric to the number of pairs without a value.
    """

    pairs: int
    only_reference: Sequence[str]
    only_estimate: Sequence[str]
    failed: Mapping[str, str]
    values: Mapping[str, Sequence[float]]
    missing: Mapping[str, int]


def audio_files(root: Path) -> dict[str, Path]:
    """Audio files below a folder by their name without suffix; nothing that a link leads to outside of it.

    Raises:
        InputError: If there is no such folder, it holds no audio, or two of its files have one name.
    """
    if not root.is_dir():
        raise InputError(
            f"{root}: {'is a file' if root.exists() else 'no such folder'}; a folder of audio files is needed"
        )
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if name.startswith(".") or path.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            if path.is_symlink() and not inside(path, root):
                continue
            key = path.relative_to(root).with_suffix("").as_posix()
            if key in found:
                raise InputError(f"{root}: {found[key].name!r} and {name!r} have one name; keep one of them")
            found[key] = path
    if not found:
        raise InputError(f"{root}: holds no audio files ({', '.join(AUDIO_SUFFIXES)})")
    return found


def pair_up(reference: Path, estimate: Path) -> list[Pair]:
    """Pairs of files, sorted by name, with those that lack a partner.

    Raises:
        InputError: If a folder is missing or empty, has two files of one name, or no name occurs in both.
    """
    references, estimates = audio_files(reference), audio_files(estimate)
    if not references.keys() & estimates.keys():
        raise InputError(
            f"{estimate}: no file has the name of one in {reference}; pairs are made by name without suffix"
        )
    names = sorted(references.keys() | estimates.keys())
    return [Pair(name, references.get(name), estimates.get(name)) for name in names]


def check_rates(pairs: Sequence[Pair]) -> None:
    """Hold all files against one sample rate; unreadable ones are left to their turn.

    Raises:
        InputError: Naming two files of different rates.
    """
    from eval import audio_io

    first: tuple[int, Path] | None = None
    for pair in pairs:
        if pair.reference is None or pair.estimate is None:
            continue
        for path in (pair.reference, pair.estimate):
            try:
                rate = audio_io.probe(path).sample_rate_hz
            except AudioError:
                continue
            if first is None:
                first = rate, path
            elif first[0] != rate:
                raise InputError(
                    f"{path}: has {rate} Hz but {first[1]} has {first[0]} Hz; give files of one rate, or --resample"
                )


def score_pair(pair: Pair, names: Sequence[str], resample_hz: int | None) -> list[Row]:
    """Score two files; every reason for having no value stands in the rows.

    Args:
        pair: The files.
        names: Metrics.
        resample_hz: Bring both to this rate; 0 brings the estimate to the reference's, None leaves both.
    """
    if pair.reference is None or pair.estimate is None:
        lacks = "reference" if pair.reference is None else "estimate"
        return [Row(pair.name, name, None, "skipped", f"there is no {lacks} of this name") for name in names]
    import torch

    from eval import audio_io
    from eval.metrics.scoring import score_batch

    try:
        reference = audio_io.read(pair.reference, mono=True)
        estimate = audio_io.read(pair.estimate, mono=True)
    except AudioError as error:
        return [Row(pair.name, name, None, "failed", str(error)) for name in names]
    rate = resample_hz or reference.sample_rate_hz
    waves = []
    for audio in (estimate, reference):
        resampled = resample_hz is not None and audio.sample_rate_hz != rate
        waves.append(audio_io.resample(audio.waveform, audio.sample_rate_hz, rate) if resampled else audio.waveform)
    if resample_hz is None and estimate.sample_rate_hz != rate:
        reason = f"the estimate has {estimate.sample_rate_hz} Hz, the reference {rate} Hz"
        return [Row(pair.name, name, None, "failed", reason) for name in names]
    lengths = [wave.shape[-1] for wave in waves]
    note = None
    if lengths[0] != lengths[1]:
        note = f"the estimate has {lengths[0]} samples, the reference {lengths[1]}"
        if abs(lengths[0] - lengths[1]) > LENGTH_TOLERANCE_S * rate:
            return [Row(pair.name, name, None, "failed", note) for name in names]
        note += ": cut to the shorter"
    made, wanted = (torch.from_numpy(wave[..., : min(lengths)].copy()) for wave in waves)
    scores = score_batch(made, wanted, sample_rate_hz=rate, names=list(names))[0]
    rows = (Row(pair.name, name, score.value, score.status, score.reason) for name, score in scores.items())
    return [row if note is None else replace(row, reason="; ".join(filter(None, (row.reason, note)))) for row in rows]


def cell(value: object) -> str:
    """A CSV cell that no spreadsheet takes for a formula: a text with such a beginning gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    text = printable(str(value)).replace("\0", "")
    risky = text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    text = text.replace("\r", "\\r")  # csv leaves a carriage return unquoted, and readers then see a new row
    return f"'{text}" if risky else text


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV text with a header line."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([cell(value) for value in (row.clip, row.metric, row.value, row.unit, row.status, row.reason)])
    return sink.getvalue()


def score_folders(
    reference: Path,
    estimate: Path,
    output: Path,
    *,
    metrics: Sequence[str] = (),
    resample_hz: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ScoreReport:
    """Score a folder of estimates against a folder of references into a CSV file.

    Args:
        reference: Folder of references.
        estimate: Folder of estimates.
        output: The CSV file; columns as in `COLUMNS`.
        metrics: Names of metrics or groups; the default battery when empty.
        resample_hz: See `score_pair`.
        workers: Pairs side by side.
        progress: Whoever watches.

    Raises:
        InputError: If folders, metrics or rates do not fit.
        OutputError: If the file cannot be written.
        EarwitnessError: If not one pair could be scored; the file then says why.
    """
    from eval.audio_io import write_text

    progress = progress or Silent()
    names = chosen(metrics)
    if resample_hz is not None and resample_hz < 0:
        raise InputError(f"sample rate {resample_hz}: a rate in Hz above 0 is needed")
    if output.is_dir() or not output.absolute().parent.is_dir():
        fault = "is a folder" if output.is_dir() else "its folder does not exist"
        raise InputError(f"{output}: {fault}; name a CSV file in a folder that is there")
    pairs = pair_up(reference, estimate)
    if resample_hz is None:
        check_rates(pairs)
    progress.start("score", len(pairs))
    rows: list[Row] = []
    for found in _in_order(pairs, names, resample_hz, workers or worker_count("cpu")):
        rows += found
        progress.advance(1, int(all(row.status == "failed" for row in found)))
    progress.finish()
    write_text(output, to_csv(rows))
    report = _report(pairs, rows, names)
    if not any(report.values.values()):
        raise EarwitnessError(f"{output}: none of {report.pairs} pairs could be scored; the column 'reason' says why")
    return report


def _in_order(
    pairs: Sequence[Pair], names: Sequence[str], resample_hz: int | None, workers: int
) -> Iterator[list[Row]]:
    """Rows of every pair in the order of the pairs, a bounded number of pairs at a time."""
    waiting = iter(pairs)
    with ThreadPoolExecutor(workers, thread_name_prefix="score") as pool:
        running = [pool.submit(score_pair, pair, names, resample_hz) for pair in islice(waiting, workers * 2)]
        try:
            while running:
                yield running.pop(0).result()
                running += [pool.submit(score_pair, pair, names, resample_hz) for pair in islice(waiting, 1)]
        finally:
            for future in running:
                future.cancel()


def _report(pairs: Sequence[Pair], rows: Sequence[Row], names: Sequence[str]) -> ScoreReport:
    both = {pair.name for pair in pairs if pair.reference is not None and pair.estimate is not None}
    by_clip: dict[str, list[Row]] = defaultdict(list)
    values: dict[str, list[float]] = {name: [] for name in names}
    missing = dict.fromkeys(names, 0)
    for row in rows:
        if row.clip in both:
            by_clip[row.clip].append(row)
            if row.value is None:
                missing[row.metric] += 1
            else:
                values[row.metric].append(row.value)
    failed = {
        name: found[0].reason or "no reason is known"
        for name, found in by_clip.items()
        if all(row.status == "failed" for row in found)
    }
    return ScoreReport(
        pairs=len(both),
        only_reference=[pair.name for pair in pairs if pair.estimate is None],
        only_estimate=[pair.name for pair in pairs if pair.reference is None],
        failed=failed,
        values=values,
        missing=missing,
    )


def summary_lines(report: ScoreReport, *, seed: int = 0) -> list[str]:
    """The table that a reader gets: mean, 95 % interval and number of clips of every metric."""
    from eval.stats import mean_interval

    lines = [f"{'metric':<24} {'mean':>12} {'95 % interval':>28} {'clips':>7} {'none':>5}  unit"]
    for name, values in report.values.items():
        row: Any = METRICS[name]
        better = "higher is better" if row.higher_is_better else "lower is better"
        if values:
            found = mean_interval(list(values), level=0.95, resamples=10_000, seed=seed)
            numbers = f"{found.mean:>12.6g} {_span(found.low, found.high):>28}"
        else:
            numbers = f"{'-':>12} {'-':>28}"
        lines.append(f"{name:<24} {numbers} {len(values):>7} {report.missing[name]:>5}  {row.unit}, {better}")
    return lines


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.6g} to {high:.6g}"
