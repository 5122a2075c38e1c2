"""Command line of the models: train, list, card, settings."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from models import registry
from models.errors import EarwitnessError, InputError

if TYPE_CHECKING:
    from models.training.loop import Progress

# Spinning threads starve whatever else runs; the variable is read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(prog="python -m models", description="Train and inspect the models.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="train|list|card|settings")
    train = verbs.add_parser("train", help="train a model on the training split of corpora")
    train.add_argument("name", metavar="NAME", help="model to train, see 'list'")
    train.add_argument("--corpus", type=Path, action="append", required=True, metavar="PATH", help="folder, repeatable")
    train.add_argument("--rule", help="split rule of the corpora (default: each corpus's own)")
    length = train.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="steps of the whole run")
    length.add_argument("--minutes", type=float, help="wall time of the whole run, resumptions included")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    train.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    train.add_argument("--seed", type=int, default=20261121, help="seed (default: %(default)s)")
    train.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of state, loss log and checkpoint (default: _results/training/NAME)",
    )
    train.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another size or way of learning, e.g. batch_size=16; repeatable; 'models settings NAME' lists them",
    )
    train.add_argument("--init", type=Path, metavar="CHECKPOINT", help="start from the weights in this folder")
    train.add_argument("--compile", dest="compiled", action="store_true", help="compile the networks, for long runs")
    train.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="auto: bfloat16 where it is fast"
    )
    train.add_argument(
        "--validation-share",
        type=float,
        default=0.03,
        help="part of the clips to validate on (default: 0.03)",
    )
    settings = verbs.add_parser("settings", help="list what --set can change")
    settings.add_argument("name", metavar="NAME", help="model that can be trained")
    verbs.add_parser("list", help="list the models")
    card = verbs.add_parser("card", help="print the card of a model's checkpoint")
    card.add_argument("name", metavar="NAME[@PATH]", help="model, and another checkpoint's folder if wanted")
    return parser.parse_args(arguments)


def print_list() -> None:
    """One line per model."""
    for line in registry.MODELS.values():
        kind = "trainable" if line.trainer is not None else "no weights" if line.checkpoint is None else "weights"
        print(f"{line.name:<20} {kind:<11} {line.title}. {line.summary}")


def print_settings(name: str) -> None:
    """Fields that ``--set`` can change, with their values."""
    recipe = registry.recipe(name)
    for group in (recipe.config, recipe.settings):
        for key, value in dataclasses.asdict(group).items():
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            print(f"{key}={text}")


def parse_changes(texts: list[str]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a dictionary.

    Raises:
        InputError: If one has no ``=``.
    """
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: need KEY=VALUE")
        changes[key.strip()] = value.strip()
    return changes


class ProgressLine:
    """Reports of a training: a bar on a terminal, else lines."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()

    def __call__(self, progress: Progress) -> None:
        """Show how the run stands."""
        left = time.strftime("%H:%M:%S", time.gmtime(progress.left_s))
        if self.terminal:
            filled = round(24 * progress.done)
            bar = "#" * filled + "." * (24 - filled)
            speed = f"{progress.steps_per_s:.2f} steps/s"
            text = f"[{bar}] step {progress.step}  loss {progress.loss:.4g}  {speed}  {left} left"
            print(f"\r{text:<100}", end="", flush=True)
            if progress.done >= 1:
                print()
            return
        terms = " ".join(f"{key} {value:.4g}" for key, value in progress.terms.items())
        print(f"step {progress.step}  {terms}  {progress.steps_per_s:.2f} steps/s  {left} left", flush=True)


def print_card(name: str) -> None:
    """Card of a checkpoint, or the table line of a model that has none."""
    name, _, path = name.partition("@")
    folder = registry.checkpoint_folder(name, Path(path) if path else None)
    if folder is None:
        line = registry.entry(name)
        card: object = {"name": line.name, "title": line.title, "summary": line.summary, "checkpoint": None}
    else:
        from models.card import read_card

        card = read_card(folder)
    print(json.dumps(card, indent=2, ensure_ascii=False))


def train(options: argparse.Namespace) -> int:
    """Train, write the checkpoint, return the exit status."""
    registry.recipe(options.name)
    from models.training.jobs import TrainingOptions, train_model

    interrupted: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, frame: interrupted.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    started = time.monotonic()

    def clips_read(n: int) -> None:
        if interrupted:
            raise KeyboardInterrupt
        if n % 1000 == 0:
            print(f"{n} clips read", flush=True)

    output = options.output or Path("_results/training") / options.name
    try:
        outcome = train_model(
            TrainingOptions(
                name=options.name,
                corpora=tuple(options.corpus),
                output=output,
                rule=options.rule,
                steps=options.steps,
                minutes=options.minutes,
                device=options.device,
                resume=options.resume,
                seed=options.seed,
                changes=parse_changes(options.changes),
                init=options.init,
                compiled=options.compiled,
                precision=options.precision,
                validation_share=options.validation_share,
            ),
            stop=lambda: bool(interrupted),
            progress=ProgressLine(),
            clips_read=clips_read,
        )
    except EarwitnessError:
        # The reader's process receives Ctrl-C too; its complaint is not the news then.
        if interrupted:
            return 128 + interrupted[0]
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    print(f"{outcome.step} steps in {time.monotonic() - started:.0f} s; checkpoint and state in {output}")
    if interrupted:
        print("stopped early; go on with --resume", file=sys.stderr)
        return 128 + interrupted[0]
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; errors raised on purpose become one line."""
    options = parse_arguments(arguments)
    try:
        if options.verb == "list":
            print_list()
        elif options.verb == "card":
            print_card(options.name)
        elif options.verb == "settings":
            print_settings(options.name)
        else:
            return train(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (EarwitnessError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
