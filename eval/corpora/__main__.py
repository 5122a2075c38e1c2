"""``python -m eval.corpora``: render corpora, stream clips for training, hash a split."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from models.errors import AudioError, CorpusError, EarwitnessError, InputError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eval.corpora", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    render = commands.add_parser("render", help="render notes and music with FluidSynth and FluidR3 GM")
    render.add_argument("--notes", type=int, default=0, metavar="N", help="notes in NSynth layout, for training")
    render.add_argument("--music", type=int, default=0, metavar="M", help="10 s clips in MusicNet layout, for training")
    render.add_argument("--held-out", action="store_true", help="the shipped held-out set instead")
    render.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets the folders notes and music")
    render.add_argument("--seed", type=int, default=0, help="decides what is drawn for training (default 0)")
    render.add_argument(
        "--soundfont", type=Path, metavar="PATH", help="FluidR3_GM.sf2, where it is not found by itself"
    )

    held_out = commands.add_parser("heldout", help="the same as render --held-out")
    held_out.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets the folders notes and music")
    held_out.add_argument(
        "--soundfont", type=Path, metavar="PATH", help="FluidR3_GM.sf2, where it is not found by itself"
    )
    held_out.set_defaults(held_out=True)

    stream = commands.add_parser("stream", help="write the clips of training splits to standard output")
    stream.add_argument("--corpus", type=Path, action="append", required=True, metavar="PATH", help="may be repeated")
    stream.add_argument("--split", default="train")
    stream.add_argument("--rule", help="rule of splitting; each corpus's own default if not given")
    stream.add_argument("--layout", help="layout of the corpora; found out if not given")
    stream.add_argument("--sample-rate-hz", type=int, required=True)
    stream.add_argument("--clip-s", type=float, required=True)
    stream.add_argument("--limit", type=int, help="at most so many clips of each corpus")

    hashed = commands.add_parser("hash", help="print the content hash of a split")
    hashed.add_argument("--corpus", type=Path, required=True, metavar="PATH")
    hashed.add_argument("--split", required=True)
    hashed.add_argument("--rule")
    hashed.add_argument("--layout")
    return parser


def _counter() -> Callable[[int, int], None]:
    """Progress on standard error, where a person looks at it."""
    if not sys.stderr.isatty():
        return lambda done, count: None

    def show(done: int, count: int) -> None:
        end = "\n" if done == count else ""
        print(f"\r{done} of {count}", end=end, file=sys.stderr, flush=True)

    return show


def _render(arguments: argparse.Namespace) -> None:
    from eval.corpora.held_out import write_held_out
    from eval.corpora.render import render
    from eval.corpora.synth import find_soundfont

    soundfont = find_soundfont(arguments.soundfont)
    if arguments.held_out:
        if getattr(arguments, "notes", 0) or getattr(arguments, "music", 0):
            raise InputError("--held-out has a fixed size; leave out --notes and --music")
        made = list(write_held_out(arguments.output, soundfont=soundfont, progress=_counter()).values())
    else:
        made = render(
            arguments.output,
            notes=arguments.notes,
            music=arguments.music,
            seed=arguments.seed,
            soundfont=soundfont,
            progress=_counter(),
        )
    for path in made:
        print(path)


def _stream(arguments: argparse.Namespace) -> None:
    from eval.corpora.stream import StreamSettings, stream_clips

    settings = StreamSettings(
        arguments.corpus,
        arguments.split,
        arguments.rule,
        arguments.layout,
        arguments.sample_rate_hz,
        arguments.clip_s,
        arguments.limit,
    )
    stream_clips(settings, sys.stdout.buffer)


def _hash(arguments: argparse.Namespace) -> None:
    from eval.corpora import open_corpus

    corpus = open_corpus(arguments.corpus, layout=arguments.layout)
    print(corpus.content_sha256(split=arguments.split, rule=arguments.rule))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit status: 0, 1 for a job that could not be done, 2 for wrong input, 130 when interrupted.
    """
    parsed = _parser().parse_args(arguments)
    commands = {"render": _render, "heldout": _render, "stream": _stream, "hash": _hash}
    try:
        commands[parsed.command](parsed)
    except EarwitnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError | CorpusError | AudioError) else 1
    except BrokenPipeError:
        # Whoever read the stream has had enough; keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
