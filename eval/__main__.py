"""Command line of the evaluation: ``python -m eval run | study | generate | list | score``."""

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
    run.add_argument("--retry-failed", action="store_true", help="try again what failed before")

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
    names.add_argument("what", nargs="?", choices=("models", "corpora", "metrics", "studies"), help="only these")

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
    return parser


def _list(what: str | None) -> int:
    from eval.corpora import HELD_OUT, LAYOUTS
    from eval.metrics import METRICS
    from eval.studies import STUDIES
    from models.registry import MODELS

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
    from eval.evaluation import DEFAULT_SEED, Evaluation, evaluate, open_split, system_entries
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
    )
    # What is wrong with the command is said before a folder is made or torch is loaded.
    _ = wanted.metric_names
    system_entries(wanted.models)
    open_split(wanted)
    with ResultsStore(options.output) as store:
        finished = evaluate(
            wanted,
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
    print(f"results: {options.output / 'results.sqlite'} ({report.computed} outputs made, {report.kept} kept)")
    if report.failed:
        pairs = report.clips * len(wanted.models)
        print(f"warning: {report.failed} of {pairs} outputs failed; first: {report.first_error}", file=sys.stderr)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    options.told = sys.argv[1:] if arguments is None else list(arguments)
    # Read once, when torch is loaded: spinning threads slow everything down as soon as two programs share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    verbs = {"run": _run, "score": _score, "study": _study, "generate": _generate}
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
