"""Build the companion site: evaluate what is stale, then render the pages.

``python build_site.py`` is the main job. It writes ``_site/`` and exits with 0 when everything was done, 1 when an
evaluation could not be done (the site is then built from what is there and says what is missing), 2 for wrong input,
130 when interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Before anything else is loaded: a Jekyll companion is up to date, or even built, sooner than the rest is imported.
    from paper_site.jekyll import quick

    if (folders := quick.only_folders(sys.argv[1:])) and (said := quick.build(*folders)):
        print(said[1], file=sys.stderr if said[0] else sys.stdout)
        sys.exit(said[0])

import argparse
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Command:
    """A job other than building: ``python build_site.py NAME …``.

    Attributes:
        help: One line for ``--help``.
        arguments: Adds its arguments to its own parser.
        run: Does it and returns the exit status.
    """

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _new_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to make; it must be empty or not exist")
    parser.add_argument("--title", metavar="T", help="title of the paper")
    parser.add_argument(
        "--from-audio",
        type=Path,
        metavar="FOLDER",
        help="folder of finished audio named by system and clip (system/clip.wav, clip-system.wav, …); in a companion"
        " that exists already only the listening table is made anew",
    )


def _new(options: argparse.Namespace) -> int:
    from paper_site.errors import SiteError
    from paper_site.starter import start_companion

    folder: Path = options.folder
    audio: Path | None = options.from_audio
    exists = audio is not None and (folder / "_data" / "site.yml").is_file()
    from eval.from_audio import EarwitnessError, import_audio, read_names, write_placeholders
    from eval.progress import Bar

    try:
        if audio is not None:
            # Said before anything is written.
            read_names(audio)
        if not exists:
            made = start_companion(folder, title=options.title, finished_audio=True)
            print(f"new companion in {folder}: {', '.join(made)}")
        placeholder = audio is None
        if audio is None:
            audio = folder / "recordings"
            write_placeholders(audio)
        done = import_audio(
            audio,
            folder,
            title="Placeholder tones" if placeholder else "Samples",
            about="Tones that a formula makes and the same with four bits: they stand in for your own."
            if placeholder
            else None,
            command=shlex.join(["python", "build_site.py", "new", str(folder), "--from-audio", str(audio)]),
            progress=Bar(sys.stderr),
        )
    except (SiteError, EarwitnessError) as wrong:
        return _fail(wrong)
    print(f"{done.rows} clips, names read as {done.reading}: {', '.join(done.systems)}")
    if done.missing:
        shown = ", ".join(f"{clip} by {system}" for clip, system in done.missing[:5])
        print(f"not there: {shown}{f' and {len(done.missing) - 5} more' if len(done.missing) > 5 else ''}")
    where = shlex.quote(str(folder))
    print(f"next: python build_site.py --source {where} --serve")
    if placeholder:
        print(f"      python build_site.py new {where} --from-audio FOLDER puts your own sounds in place of the tones")
    return 0


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="A", help="a built site")
    parser.add_argument("second", type=Path, metavar="B", help="another one")
    parser.add_argument("--json", action="store_true", help="print a list of changes as JSON")


def _diff(options: argparse.Namespace) -> int:
    import json

    from paper_site.diff import compare_sites
    from paper_site.errors import SiteError

    try:
        changes = compare_sites(options.first, options.second)
    except SiteError as wrong:
        return _fail(wrong)
    if options.json:
        print(json.dumps([change.to_json() for change in changes], indent=1, ensure_ascii=False))
    else:
        print(*changes, f"{len(changes)} differences" if changes else "no difference", sep="\n")
    return 1 if changes else 0


# A further command is one line here.
COMMANDS: dict[str, Command] = {
    "diff": Command("list the samples, numbers and files that differ between two built sites", _diff_arguments, _diff),
    "new": Command("start a companion for another paper", _new_arguments, _new),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python build_site.py",
        description="Evaluate what is stale and build the companion site.",
        epilog="Without arguments: our own companion, into _site. A companion folder holds _data/site.yml, assets/"
        " and texts in Markdown; one with _config.yml and no _data/site.yml is built as Jekyll would.",
    )
    parser.add_argument("--source", type=Path, default=PROJECT, metavar="DIR", help="the companion's folder")
    parser.add_argument("--destination", type=Path, metavar="DIR", help="the site's folder (default: SOURCE/_site)")
    evaluation = parser.add_argument_group("evaluation, in place of what site.yml says")
    evaluation.add_argument("--corpus", type=Path, metavar="PATH", help="recordings to evaluate on")
    evaluation.add_argument("--layout", metavar="L", help="their layout (found out when left away)")
    evaluation.add_argument("--split", metavar="S", help="their split, such as test")
    evaluation.add_argument("--model", action="append", metavar="NAME", help="NAME or NAME@CHECKPOINT; may be repeated")
    evaluation.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--render-only", action="store_true", help="evaluate nothing, render what is there")
    parser.add_argument(
        "--explain", action="store_true", help="say of every page why it was rendered, or that it was not"
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="build for blind review, without names, into SOURCE/_anonymous",
    )
    parser.add_argument(
        "--archive", type=Path, nargs="?", const=Path(), metavar="ZIP",
        help="pack the site into one file that opens from disk (default: beside the site)",
    )  # fmt: skip
    parser.add_argument("--serve", action="store_true", help="then serve the site, and build again when a file changes")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="port to serve on (default: 8000)")
    commands = parser.add_subparsers(title="commands in place of building", dest="action", metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.arguments(
            commands.add_parser(name, help=command.help, description=f"{command.help[:1].upper()}{command.help[1:]}.")
        )
    return parser


def _evaluate(options: argparse.Namespace, source: Path, command: str) -> int:
    """Run what is stale; returns the exit status."""
    from eval.pipeline import EarwitnessError, evaluate_companion
    from eval.progress import Bar

    started = time.perf_counter()
    try:
        report = evaluate_companion(
            source,
            corpus=options.corpus,
            layout=options.layout,
            split=options.split,
            models=options.model,
            device=options.device,
            progress=Bar(sys.stderr),
            command=command,
        )
    except EarwitnessError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 1
    for line in report.errors:
        print(f"error: {line}", file=sys.stderr)
    for line in report.warnings:
        print(f"note: {line}", file=sys.stderr)
    done = f"{', '.join(report.evaluated)} done" if report.evaluated else ""
    kept = f"{', '.join(report.unchanged)} up to date" if report.unchanged else ""
    words = "; ".join(part for part in (done, kept) if part) or "nothing done"
    print(f"evaluation: {words} ({time.perf_counter() - started:.2f} s)")
    return 1 if report.errors else 0


def _render(options: argparse.Namespace, source: Path, destination: Path) -> None:
    from paper_site.jekyll import is_jekyll

    if is_jekyll(source):
        if options.anonymous:
            from paper_site.errors import OutputError

            raise OutputError("--anonymous cannot blind a Jekyll companion; its texts and links are its own")
        from paper_site.jekyll.command import build_lines

        print("\n".join(build_lines(source, destination, explain=options.explain)))
    else:
        _render_own(options, source, destination)
    if options.archive is not None:
        from paper_site.archive import pack

        place = options.archive if options.archive.name else destination.with_name(f"{destination.name}.zip")
        packed = pack(destination, place)
        print(f"archive: {packed.files} files in {packed.path} ({packed.size_bytes / 1e6:.1f} MB)")


def _render_own(options: argparse.Namespace, source: Path, destination: Path) -> None:
    from paper_site.build import CACHE, build

    started = time.perf_counter()
    report = build(source, destination, cache=source / CACHE, anonymous=options.anonymous)
    done = report.written
    if options.explain:
        for page, reason in report.reasons.items():
            print(f"{page}: {reason}")
        kept = report.pages - len(report.reasons)
        if kept:
            print(f"{kept} {'page' if kept == 1 else 'pages'} not rendered: nothing that they read has changed")
    print(
        f"site: {report.pages} pages and {report.samples} clips in {destination} ({done.changed} files written,"
        f" {done.unchanged} unchanged, {done.removed} removed; {time.perf_counter() - started:.2f} s)"
    )
    if report.hidden:
        print(
            f"anonymous: {report.hidden.names} names and commits taken out of {report.hidden.changed} files; nothing of"
            f" them is left in the {report.hidden.proved} files of the site"
        )
    if report.missing:
        print(f"site: no results yet for {', '.join(report.missing)}; the pages say so")


def _watched(source: Path) -> list[Path]:
    """Name the folders whose files a build may read."""
    from paper_site.build import CONTENT, THEME
    from paper_site.build import PROJECT as HOME
    from paper_site.render import TEMPLATES

    source = source.resolve()
    own = source == HOME
    watched = [source / "_data", source / "assets", TEMPLATES, THEME / "css", THEME / "js"]
    return [*watched, CONTENT] if own else [*watched, source]


def _serve(
    options: argparse.Namespace, source: Path, destination: Path, seen: dict[str, int], problem: Exception | None
) -> None:
    from paper_site.errors import SiteError
    from paper_site.serve import State, start, watch

    state = State()
    state.built(problem if isinstance(problem, SiteError) else None)
    server = start(destination, options.port, state)
    print(f"serving http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends)", flush=True)

    def rebuild() -> None:
        _render(options, source, destination)

    try:
        watch(_watched(source), destination.resolve(), rebuild, state, seen)
    finally:
        state.close()
        server.shutdown()
        server.server_close()


def main(arguments: list[str] | None = None) -> int:
    """Run the main job; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.action:
        return COMMANDS[options.action].run(options)
    source: Path = options.source
    destination: Path = options.destination or source / ("_anonymous" if options.anonymous else "_site")
    try:
        command = shlex.join(["python", "build_site.py", *(sys.argv[1:] if arguments is None else arguments)])
        return _main(options, source, destination, command)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _main(options: argparse.Namespace, source: Path, destination: Path, command: str) -> int:
    from paper_site.errors import SiteError

    status = 0
    problem: SiteError | None = None
    from paper_site.jekyll import is_jekyll

    if not options.render_only and not is_jekyll(source):
        from paper_site.manifest import read_site
        from paper_site.output import check_destination

        try:
            # Said before the evaluation has taken its minutes.
            site = read_site(source)
            check_destination(destination, source)
        except SiteError as wrong:
            return _fail(wrong)
        if site.jobs or site.studies:
            status = _evaluate(options, source, command)
    seen: dict[str, int] = {}
    if options.serve:
        from paper_site.serve import stamps

        # Noted before the build, so that nothing that changes meanwhile is missed.
        seen = stamps(_watched(source), destination.resolve())
    try:
        _render(options, source, destination)
    except SiteError as wrong:
        if not options.serve:
            return _fail(wrong)
        problem = wrong
        print(f"error: {wrong}", file=sys.stderr)
    if options.serve:
        try:
            _serve(options, source, destination, seen, problem)
        except SiteError as wrong:
            return _fail(wrong)
    return status


def _fail(wrong: Exception) -> int:
    print(f"error: {wrong}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(main())
