"""Command line of the evaluation: ``python -m eval run | study | generate | list | score | report |
compare | verify | reproduce``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from models.errors import CorpusError, EarwitnessError, InputError

if TYPE_CHECKING:
    from eval.evaluation import Finished
    from eval.results import ResultsStore

_EXIT = (
    "Exit status: 0 done, 1 nothing could be scored or the output cannot be written, 2 wrong input, 130 interrupted."
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of two or more different seeds such as 0,1,2")
    return seeds


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise argparse.ArgumentTypeError(f"{text!r} is not a part such as 1/8")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m eval", description="Evaluate models that turn sound into sound.", epilog=_EXIT)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    run = verbs.add_parser(
        "run",
        help="run models over a corpus and score what they make",
        description="Run models over a split of a corpus. Results go to OUTPUT/results.sqlite, a row per clip, model"
        " and metric, audio to OUTPUT/outputs. The same command goes on after an interruption; further models, metrics"
        " or clips are added without doing anything twice. A clip that fails is recorded with its error.",
        epilog=_EXIT,
    )
    run.add_argument(
        "--model", action="append", required=True, metavar="MODEL",
        help="NAME of the table, NAME@FOLDER with your checkpoint, or the YAML file of a model of yours; repeatable",
    )  # fmt: skip
    run.add_argument("--corpus", type=Path, required=True, metavar="PATH", help="folder of recordings")
    run.add_argument("--layout", metavar="L", help="its layout (default: found out)")
    run.add_argument("--split", metavar="S", help="train, valid, test … (default: test, valid or all, as there is)")
    run.add_argument("--rule", metavar="R", help="rule of splitting (default: the corpus's own, else by hash)")
    run.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of results")
    run.add_argument("--metric", action="append", default=[], metavar="M", help="a metric, a group or all; repeatable")
    run.add_argument("--limit", type=_positive, metavar="N", help="only the first N clips")
    run.add_argument("--clip-s", type=float, metavar="S", help="cut recordings into clips of S seconds")
    run.add_argument("--max-clips", type=_positive, metavar="N", help="at most N clips of a recording")
    run.add_argument("--batch-size", type=_positive, metavar="B", help="clips of one length in a batch")
    run.add_argument("--workers", type=_positive, metavar="W", help="batches side by side; no number depends on it")
    run.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    run.add_argument("--seed", type=int, metavar="S", help="seed of models that draw (default: a fixed one)")
    run.add_argument(
        "--seeds", type=_seeds, metavar="S,S…",
        help="several seeds, such as 0,1,2: each into OUTPUT/seed_S; report OUTPUT keeps their spread from the clips'",
    )  # fmt: skip
    run.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    run.add_argument("--shard", type=_shard, metavar="I/N", help="only part I of N of the clips; see merge")
    run.add_argument(
        "--engine", choices=("process", "ray"), default="process",
        help="ray: cut the clips into shards, run them on a Ray cluster and merge (default: process)",
    )  # fmt: skip
    run.add_argument("--shards", type=_positive, default=8, metavar="N", help="shards of --engine ray (default: 8)")
    run.add_argument("--ray-address", metavar="A", help="a running cluster (default: two workers of this machine)")

    study = verbs.add_parser(
        "study",
        help="measure a study and write its document",
        description="Measure a study: an experiment that is more than the reconstruction of clip after clip. Its"
        " numbers and claims go to OUTPUT/_data/studies/NAME.json, the record of the run to OUTPUT/_data/runs, from"
        " where build_site.py makes its page; both are meant to be committed.",
        epilog=_EXIT,
    )
    study.add_argument("study", metavar="NAME", help="a study of the table; see python -m eval list studies")
    study.add_argument(
        "--training", type=Path, action="append", default=[], metavar="FOLDER",
        help="a training corpus, for studies that look at one; may be repeated",
    )  # fmt: skip
    study.add_argument(
        "--model", action="append", default=[], metavar="NAME@FOLDER",
        help="weights of your own in place of the shipped ones; may be repeated",
    )  # fmt: skip
    study.add_argument("--seed", type=int, metavar="S", help="seed of what is drawn (default: a fixed one)")
    study.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    study.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="a companion's folder (default: .)")

    generate = verbs.add_parser(
        "generate",
        help="let a generator make sounds",
        description="Write COUNT sounds of a generator to DIR/NAME-SEED.wav with the seeds SEED, SEED + 1 …, and"
        " DIR/NAME.json, which says which weights made them.",
        epilog=_EXIT,
    )
    generate.add_argument("--model", required=True, metavar="NAME[@FOLDER]", help="a generator of the table")
    generate.add_argument("--count", type=_positive, default=1, metavar="N", help="how many sounds (default: 1)")
    generate.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first one (default: 0)")
    generate.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    generate.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the sounds")

    names = verbs.add_parser("list", help="name models, corpora, metrics and studies", epilog=_EXIT)
    names.add_argument(
        "what", nargs="?", choices=("models", "corpora", "metrics", "sets", "studies"), help="only these"
    )

    speed = verbs.add_parser(
        "speed",
        help="measure how fast models are",
        description="Seconds of sound that each model makes in a second, one clip at a time and in the best batch, with"
        " interval, latency, peak memory, parameters and multiply-adds. Measure on an idle machine; on a CPU with the"
        " threads that OMP_NUM_THREADS gives.",
        epilog=_EXIT,
    )
    speed.add_argument("--model", action="append", required=True, metavar="MODEL", help="as for run; repeatable")
    speed.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    speed.add_argument("--clip-s", type=float, default=4.0, metavar="S", help="length of a clip (default: 4)")
    speed.add_argument("--seconds", type=float, default=3.0, metavar="S", help="time for each batch size (default: 3)")
    speed.add_argument("--batch", type=_positive, default=32, metavar="B", help="largest batch (default: 32)")
    speed.add_argument("--output", type=Path, metavar="JSON", help="write all measurements there, too")

    merge = verbs.add_parser(
        "merge",
        help="bring the stores of several shards together",
        description="Copy the results of the folders into the store of DIR; what two of them have counts once."
        " The command of the whole job, with DIR as output and without --shard, then only sums up.",
        epilog=_EXIT,
    )
    merge.add_argument("stores", type=Path, nargs="+", metavar="FOLDER", help="output folder of a run with --shard")
    merge.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the whole")

    score = verbs.add_parser(
        "score",
        help="score anybody's files against references",
        description="Score the files in one folder against those of the same name (without suffix) in another. The CSV"
        " file has a row per clip and metric with the columns clip, metric, value, unit, status (ok, undefined, failed,"
        " skipped) and reason. Lengths that differ by up to 50 ms are cut to the shorter. A text that a spreadsheet"
        " would take for a formula starts with an apostrophe.",
        epilog=_EXIT,
    )
    score.add_argument("--reference", type=Path, required=True, metavar="DIR", help="folder of references")
    score.add_argument("--estimate", type=Path, required=True, metavar="DIR", help="folder of estimates")
    score.add_argument("--output", type=Path, required=True, metavar="CSV", help="the CSV file")
    score.add_argument(
        "--metric", action="append", default=[], metavar="M", help="a metric, a group or all; repeatable"
    )
    score.add_argument(
        "--resample", type=_positive, nargs="?", const=0, metavar="HZ",
        help="accept several sample rates: bring both files to HZ, or without HZ the estimate to its reference's rate",
    )  # fmt: skip
    score.add_argument("--workers", type=_positive, metavar="W", help="pairs side by side")
    _add_sets_verb(verbs)
    _add_record_verbs(verbs)
    return parser


def _add_sets_verb(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """The verb that compares two folders as crowds."""
    sets = verbs.add_parser(
        "sets",
        help="compare a folder of sounds with another as a crowd",
        description="Measure how far the sounds in one folder lie from those in another as a whole; names and numbers"
        " need not match. Each distance comes with the number of clips on both sides, a 95 % interval, a permutation p"
        " and what the reference scores against itself in halves, all in FILE.json or FILE.csv.",
        epilog=_EXIT,
    )
    sets.add_argument("--reference", type=Path, required=True, metavar="DIR", help="folder of recorded sounds")
    sets.add_argument("--estimate", type=Path, required=True, metavar="DIR", help="folder of a model's sounds")
    sets.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .json or .csv file")
    sets.add_argument("--metric", action="append", default=[], metavar="M", help="a metric of sets; repeatable")
    sets.add_argument(
        "--embedding", action="append", default=[], metavar="E",
        help="log_mel, mfcc, chroma, modulation, note_classifier, or the file of a network (.ts, .pt, .onnx) with a"
        " .json beside it; repeatable (default: log_mel)",
    )  # fmt: skip
    sets.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all draws (default: 0)")
    sets.add_argument(
        "--permutations", type=int, default=999, metavar="P", help="divisions for p, at most (default: 999)"
    )
    sets.add_argument(
        "--resample", type=_positive, metavar="HZ", help="bring all sounds to HZ; several rates are refused without"
    )


def _add_record_verbs(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """The verbs that read what earlier runs recorded."""
    report = verbs.add_parser(
        "report",
        help="tables of results: intervals, differences, ranks, ties",
        description="Tables of a results store (a folder that 'run' wrote) or of a results document: per metric and"
        " model the number of clips, mean and median with intervals, the difference to a baseline with its corrected p"
        " and effect size, the smallest difference that could show, ranks, and which models cannot be told apart. A"
        " document gives what it holds. CSV and Parquet have one row per metric and model with every column; what was"
        " measured of whole sets goes into a second file, FILE.sets.csv beside FILE.csv.",
        epilog=_EXIT,
    )
    report.add_argument(
        "source", type=Path, nargs="+", metavar="STORE_OR_DOCUMENT",
        help="a results store or document, or the stores of several seeds (or the folder of 'run --seeds')",
    )  # fmt: skip
    report.add_argument(
        "--format", default="text", choices=("text", "csv", "parquet", "latex", "markdown"),
        help="text (default), csv, parquet (needs the extra 'tables'), latex (with booktabs) or markdown",
    )  # fmt: skip
    report.add_argument(
        "--metric", action="append", default=[], metavar="M", help="a metric, a group or all; repeatable"
    )
    report.add_argument("--baseline", metavar="NAME", help="model that the others are compared with")
    report.add_argument(
        "--equivalence", action="append", default=[], metavar="METRIC=MARGIN",
        help="test whether the others differ from the baseline by less than MARGIN (two one-sided tests); repeatable",
    )  # fmt: skip
    report.add_argument("--output", type=Path, metavar="FILE", help="a file (default: the terminal)")

    compare = verbs.add_parser(
        "compare",
        help="say what changed between two evaluations, and whether it is more than noise",
        description="Compare two results stores, results documents or records of runs, the older one first: what"
        " changed (weights, code, recordings, metric definitions, seeds, environment), by how much each metric of each"
        " model moved, and whether that is more than noise. Values are paired clip by clip where both have rows, else"
        " means are held against each other, which is said.",
        epilog="Exit status: 0 nothing is worse by more than noise, 1 something is, 2 wrong input, 130 interrupted.",
    )
    compare.add_argument("first", type=Path, metavar="A", help="the state before")
    compare.add_argument("second", type=Path, metavar="B", help="the state after")

    verify = verbs.add_parser(
        "verify",
        help="derive every published number again and hash every file again",
        description="Verify a companion's folder (with _data/ and assets/) or a results store: every aggregate and"
        " difference follows from the rows per clip, every file has the hash and the decoded samples that are stated,"
        " and manifests, results and records of runs name each other. One line a finding: file, field, found,"
        " expected.",
        epilog="Exit status: 0 everything holds, 1 something does not, 2 wrong input, 130 interrupted.",
    )
    verify.add_argument("folder", type=Path, nargs="?", default=Path(), metavar="FOLDER", help="default: .")
    verify.add_argument("--workers", type=_positive, metavar="W", help="files side by side")

    again = verbs.add_parser(
        "reproduce",
        help="run a recorded evaluation again and compare clip by clip",
        description="Run the evaluation of a record of a run, a results document or a results store again into a fresh"
        " store and compare: equal, within tolerance, or different, with the first stage that differs. Refuses when the"
        " recordings, the weights or the definitions of metrics are not those of the record.",
        epilog="Exit status: 0 equal or within tolerance, 1 different, 2 wrong input or refused, 130 interrupted.",
    )
    again.add_argument("result", type=Path, metavar="RESULT", help="record of a run, results document or results store")
    again.add_argument("--corpus", type=Path, metavar="PATH", help="the recordings, where not found from the record")
    again.add_argument(
        "--model", action="append", default=[], metavar="MODEL",
        help="NAME@FOLDER or a YAML file, for a model that is not where the record says; may be repeated",
    )  # fmt: skip
    again.add_argument("--limit", type=_positive, metavar="N", help="only the first N clips")
    again.add_argument("--tolerance", type=float, metavar="T", help="largest relative difference (default: 1e-5)")
    again.add_argument("--device", metavar="D", help="cpu or cuda (default: as in the record)")
    again.add_argument("--workers", type=_positive, metavar="W", help="batches side by side; no number depends on it")
    again.add_argument("--output", type=Path, metavar="DIR", help="fresh folder to keep the results in")


def _list(what: str | None) -> int:
    from eval.corpora import HELD_OUT, LAYOUTS
    from eval.metrics import METRICS
    from eval.sets import SET_METRICS
    from eval.studies import STUDIES
    from models.registry import MODELS

    directions = {True: ", higher is better", False: ", lower is better", None: ""}
    kinds = {"system": "", "generator": " [generator]", "judge": " [judge]"}
    sections = {
        "models": [(e.name, f"{e.title}. {e.summary}{kinds.get(e.kind, '')}") for e in MODELS.values()],
        "corpora": [
            *((name, layout.summary) for name, layout in LAYOUTS.items()),
            *((str(_shown(path)), "shipped held-out set") for path in (HELD_OUT / "notes", HELD_OUT / "music")),
        ],
        "metrics": [
            (m.name, f"{m.title}, {m.unit}, {'higher' if m.higher_is_better else 'lower'} is better")
            for m in METRICS.values()
        ],
        "sets": [
            (m.name, f"{m.title}, of {m.input}, {m.unit}{directions[m.higher_is_better]}") for m in SET_METRICS.values()
        ],
        "studies": [(name, f"python -m eval study {name}") for name in STUDIES],
    }
    for title, rows in sections.items():
        if what in (None, title):
            if what is None:
                print(f"{title}:")
            width = max((len(name) for name, _ in rows), default=0)
            for name, text in rows:
                print(f"  {name:<{width}}  {text}")
    return 0


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _run(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from eval.evaluation import DEFAULT_SEED, Evaluation, evaluate, open_split, seed_folder, system_entries
    from eval.progress import Bar
    from eval.results import ResultsStore

    wanted = Evaluation(
        corpus=options.corpus,
        models=tuple(options.model),
        split=options.split,
        rule=options.rule,
        layout=options.layout,
        clip_s=options.clip_s,
        max_clips=options.max_clips,
        limit=options.limit,
        metrics=tuple(options.metric),
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        shard=options.shard,
    )
    # What is wrong with the command is said before a folder is made or torch is loaded.
    _ = wanted.metric_names
    system_entries(wanted.models)
    open_split(wanted)
    if options.seeds and (options.seed is not None or options.engine == "ray"):
        other = "--seed" if options.seed is not None else "--engine ray"
        raise InputError(f"--seeds runs one seed after the other here; leave {other} out")
    if options.engine == "ray":
        _run_on_ray(options)
    for seed in options.seeds or [wanted.seed]:
        output = seed_folder(options.output, seed) if options.seeds else options.output
        with ResultsStore(output, shared=True) as store:
            finished = evaluate(
                replace(wanted, seed=seed),
                store,
                device=options.device,
                batch_size=options.batch_size,
                workers=options.workers,
                retry_failed=options.retry_failed,
                progress=Bar(sys.stderr),
                command=shlex.join(["python", "-m", "eval", *options.told]),
            )
            _summary(finished, store)
        report = finished.report
        print(f"results: {output / 'results.sqlite'} ({report.computed} outputs made, {report.kept} kept)")
        if report.failed:
            pairs = report.clips * len(wanted.models)
            print(f"warning: {report.failed} of {pairs} outputs failed; first: {report.first_error}", file=sys.stderr)
    if options.seeds:
        print(f"seeds: python -m eval report {shlex.quote(str(options.output))} tells their spread from that of clips")
    return 0


def _run_on_ray(options: argparse.Namespace) -> None:
    from eval.engines import run_on_ray
    from eval.evaluation import ROOT
    from eval.progress import Bar

    if options.shard is not None:
        raise InputError("--engine ray cuts the clips into shards itself; leave --shard out")
    command = ["--corpus", str(options.corpus.resolve()), "--workers", str(options.workers or 1)]
    for name in options.model:
        model, at, folder = name.partition("@")
        place = Path(folder or model)
        # Workers run elsewhere: what is a path here has to be one there.
        command += [
            "--model",
            f"{model}{at}{place.resolve()}" if at else str(place.resolve()) if place.suffix else name,
        ]
    for name in options.metric:
        command += ["--metric", name]
    for flag in ("layout", "split", "rule", "limit", "clip_s", "max_clips", "batch_size", "device", "seed"):
        value = getattr(options, flag)
        if value is not None:
            command += [f"--{flag.replace('_', '-')}", str(value)]
    if options.retry_failed:
        command.append("--retry-failed")
    run_on_ray(
        command,
        options.output.resolve(),
        shards=options.shards,
        address=options.ray_address,
        progress=Bar(sys.stderr),
        root=ROOT,
    )


def _speed(options: argparse.Namespace) -> int:
    import json

    from eval.audio_io import write_text
    from eval.evaluation import environment, system_entries
    from eval.runner import pick_device
    from eval.speed import measure_speed, speed_document, speed_lines

    device = pick_device(options.device)
    found = [
        measure_speed(
            entry.load(), device=device, clip_s=options.clip_s, seconds=options.seconds, largest_batch=options.batch
        )
        for entry in system_entries(options.model, device)
    ]
    for line in speed_lines(found):
        print(line)
    if options.output is not None:
        write_text(options.output, json.dumps(speed_document(found, environment()), indent=1) + "\n")
    return 0


def _merge(options: argparse.Namespace) -> int:
    from eval.merge import merge_stores
    from eval.results import ResultsStore

    with ResultsStore(options.output) as store:
        report = merge_stores(store, options.stores)
    print(
        f"{report.stores} stores into {options.output}: {report.outputs} outputs added, {report.equal} were there,"
        f" {report.clips} clips in all"
    )
    return 0


def _told(argument: str) -> str:
    """An argument as records tell it: of an absolute path only the last name, since no other machine has the rest."""
    before, at, path = argument.rpartition("@")
    return f"{before}{at}{Path(path).name}" if Path(path).is_absolute() else argument


def _study(options: argparse.Namespace) -> int:
    from eval.evaluation import DEFAULT_SEED
    from eval.progress import Bar
    from eval.runner import pick_device
    from eval.studies import load_study
    from eval.studies.context import make_context, parse_checkpoints
    from eval.studies.run import measure_study

    load_study(options.study)
    checkpoints = parse_checkpoints(options.model)
    context = make_context(
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        device=pick_device(options.device),
        training=options.training,
        checkpoints=checkpoints,
        note=Bar(sys.stderr).note,
    )
    recorded = measure_study(
        options.study,
        context,
        output=options.output,
        command=shlex.join(["python", "-m", "eval", *map(_told, options.told)]),
    )
    for claim in recorded.claims:
        print(f"{'met' if claim.met else 'missed'}: {claim.text}: {claim.figure}")
    print(f"study: {recorded.document}, run record {recorded.run}")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from eval.generate import generate

    name, _, folder = options.model.partition("@")
    report = generate(
        name,
        checkpoint=Path(folder) if folder else None,
        count=options.count,
        seed=options.seed,
        device=options.device,
        output=options.output,
    )
    print(f"sounds: {len(report.sounds)} in {options.output}, described in {report.description}")
    return 0


def _summary(finished: Finished, store: ResultsStore) -> None:
    from eval.metrics import METRICS
    from eval.summary import Table, aggregate

    systems = list(finished.runner.systems)
    metrics = list(finished.runner.metrics)
    table = Table.from_store(store, finished.report.clip_ids, systems, metrics)
    opened = finished.opened
    print(
        f"{finished.report.clips} clips of {opened.corpus.name}, split {opened.split} (rule {opened.rule});"
        " mean and 95 % interval"
    )
    width = max(map(len, systems))
    for name in metrics:
        print(f"{name} ({METRICS[name].unit}, {'higher' if METRICS[name].higher_is_better else 'lower'} is better)")
        for model in systems:
            row = aggregate(table, model, name, finished.runner.seed)
            if row["mean"] is None:
                text = "no value"
            elif row["low"] is None:
                text = f"{row['mean']:.5g}"
            else:
                text = f"{row['mean']:.5g} ({row['low']:.5g} to {row['high']:.5g})"
            without = row["n_undefined"] + row["n_failed"]
            print(f"  {model:<{width}}  {text}" + (f", {without} without a value" if without else ""))


def _score(options: argparse.Namespace) -> int:
    from eval.progress import Bar
    from eval.score import score_folders, summary_lines

    report = score_folders(
        options.reference,
        options.estimate,
        options.output,
        metrics=options.metric,
        resample_hz=options.resample,
        workers=options.workers,
        progress=Bar(sys.stderr),
    )
    for line in summary_lines(report):
        print(line)
    print(f"scores: {options.output} ({report.pairs} pairs)")
    for names, lacks in ((report.only_reference, "estimate"), (report.only_estimate, "reference")):
        if names:
            print(f"warning: {len(names)} files have no {lacks}, such as {names[0]!r}", file=sys.stderr)
    if report.failed:
        name, reason = next(iter(report.failed.items()))
        print(f"warning: {len(report.failed)} pairs failed; first: {name!r}: {reason}", file=sys.stderr)
    return 0


def _report(options: argparse.Namespace) -> int:
    from eval.report import make_report, parse_margins, sets_file, write_report

    margins = parse_margins(options.equivalence)
    report = make_report(options.source, metrics=options.metric, baseline=options.baseline, margins=margins)
    text = write_report(report, options.format, options.output)
    print(f"report: {options.output} ({len(report.lines)} rows)" if text is None else text.removesuffix("\n"))
    if text is None and report.sets and options.format in ("csv", "parquet"):
        print(f"sets: {sets_file(options.output)} ({len(report.sets)} rows)")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from eval.compare import compare, lines

    comparison = compare(options.first, options.second)
    for line in lines(comparison):
        print(line)
    return 1 if comparison.worse else 0


def _verify(options: argparse.Namespace) -> int:
    from eval.verify import summary, verify

    done = verify(options.folder, workers=options.workers)
    for finding in done.findings:
        print(finding)
    for text in done.unchecked:
        print(f"note: {text}", file=sys.stderr)
    print(summary(done))
    return 1 if done.findings else 0


def _reproduce(options: argparse.Namespace) -> int:
    from eval.progress import Bar
    from eval.reproduce import DIFFERENT, TOLERANCE, lines, reproduce

    done = reproduce(
        options.result,
        corpus=options.corpus,
        models=options.model,
        output=options.output,
        limit=options.limit,
        tolerance=TOLERANCE if options.tolerance is None else options.tolerance,
        device=options.device,
        workers=options.workers,
        progress=Bar(sys.stderr),
    )
    for line in lines(done):
        print(line)
    return 1 if done.verdict == DIFFERENT else 0


def _sets(options: argparse.Namespace) -> int:
    from eval.progress import Bar
    from eval.sets.comparing import compare_to_file, summary_lines

    found = compare_to_file(
        options.reference,
        options.estimate,
        options.output,
        metrics=options.metric,
        embeddings=options.embedding,
        seed=options.seed,
        permutations=max(0, options.permutations),
        resample_hz=options.resample,
        progress=Bar(sys.stderr),
    )
    for line in summary_lines(found):
        print(line)
    print(f"sets: {options.output}")
    for comparison in found:
        left_out = sum(comparison.left_out_estimate.values()) + sum(comparison.left_out_reference.values())
        if left_out:
            name = comparison.embedding["name"]
            print(f"warning: {left_out} sounds left out of {name}; first: {comparison.first_left_out}", file=sys.stderr)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    options.told = sys.argv[1:] if arguments is None else list(arguments)
    # Read once, when torch is loaded: spinning threads slow everything down as soon as two programs share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    verbs = {
        "run": _run, "score": _score, "study": _study, "generate": _generate, "speed": _speed, "merge": _merge,
        "sets": _sets, "report": _report, "compare": _compare, "verify": _verify, "reproduce": _reproduce,
    }  # fmt: skip
    try:
        return _list(options.what) if options.verb == "list" else verbs[options.verb](options)
    except EarwitnessError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError | CorpusError) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
