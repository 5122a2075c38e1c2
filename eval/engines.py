"""One evaluation on several machines: cut into shards by clip, run by Ray, brought together again.

A shard is a run of its own with a store of its own below the output folder, so a worker that dies loses at most the
clips it had in flight: Ray starts the shard again, and the shard goes on from its store. Corpus, models and output
folder have to lie where every machine sees them under the same path.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.merge import MergeReport, merge_stores
from eval.protocols import Progress, Silent
from eval.results import FILE_NAME, ResultsStore
from models.errors import EarwitnessError, InputError

RETRIES = 5
FOLDER = "shards"


def shard_folders(output: Path, shards: int) -> list[Path]:
    """Folders of the shards of a job."""
    return [output / FOLDER / f"{number}-of-{shards}" for number in range(1, shards + 1)]


def run_shard(command: Sequence[str], folder: Path, number: int, shards: int, root: Path) -> tuple[int, str]:
    """Run one shard in a process of its own.

    Args:
        command: Arguments of ``python -m eval run``, without output folder and engine.
        folder: Its output folder.
        number: From 1.
        shards: How many there are.
        root: The project, to run in.

    Returns:
        Exit status, and the last line it wrote to standard error.

    Raises:
        ChildProcessError: If it did not end by itself.
    """
    words = [sys.executable, "-m", "eval", "run", *command, "--output", str(folder), "--shard", f"{number}/{shards}"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    said = lines[-1] if lines else ""
    if done.returncode not in (0, 1, 2):
        raise ChildProcessError(f"shard {number}/{shards} ended with status {done.returncode}: {said}")
    return done.returncode, said.removeprefix("error: ")


def run_on_ray(
    command: Sequence[str],
    output: Path,
    *,
    shards: int,
    address: str | None = None,
    progress: Progress | None = None,
    root: Path,
) -> MergeReport:
    """Run all shards on a Ray cluster and merge what they made into ``output``.

    Args:
        command: Arguments of ``python -m eval run``, without output folder and engine; paths absolute.
        output: Output folder of the whole job.
        shards: Into how many parts the clips are cut; some times the number of workers evens them out.
        address: Of a cluster; a local one with two workers where None.
        progress: Whoever watches.
        root: The project, seen by all machines.

    Raises:
        InputError: If Ray is not installed or cannot be reached, or the command is wrong.
        EarwitnessError: If a shard failed again and again.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise InputError("--engine ray needs the package ray; pip install 'earwitness[ray]'") from None
    progress = progress or Silent()
    settings: dict[str, Any] = {"address": address} if address else {"num_cpus": 2, "include_dashboard": False}
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="error", **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"--ray-address {address}: {' '.join(str(error).split())[:200]}") from None
    # Workers start elsewhere and may not find the project; the function goes to them as it is.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    remote: Any = ray.remote(max_retries=RETRIES, num_cpus=1, retry_exceptions=[ChildProcessError])(run_shard)
    folders = shard_folders(output, shards)
    progress.start("evaluate on Ray", shards)
    try:
        pending = [
            remote.remote(list(command), folder, number, shards, root) for number, folder in enumerate(folders, start=1)
        ]
        while pending:
            done, pending = ray.wait(pending, num_returns=1)
            try:
                status, said = ray.get(done[0])
            except ray.exceptions.RayError as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                raise EarwitnessError(f"a shard failed {RETRIES + 1} times: {lines[-1] if lines else error}") from None
            if status == 2:
                raise InputError(said)
            progress.advance(1, int(status == 1 and not said.startswith("warning")))
    finally:
        ray.shutdown()
    progress.finish()
    with ResultsStore(output) as store:
        # A shard without clips has made no store.
        return merge_stores(store, [folder for folder in folders if (folder / FILE_NAME).is_file()])
