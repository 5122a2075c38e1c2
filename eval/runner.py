"""The loop over clips and systems.

Clips of one length form a batch; a batch is one piece of work: read, resample, run every model that still has to,
score, write. Several pieces are under way at once, so that reading and writing go on while a model computes; only
finished pieces reach the results store. On a CPU each piece computes with one thread, which makes the numbers
independent of how many pieces run side by side; on a GPU the models take turns.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.metrics import definition_sha256, metric
from eval.protocols import Progress, Silent, System
from eval.results import CLAIM_S, ClipRow, OutputRow, ResultsStore, ScoreRow
from eval.timing import stopwatch
from models.errors import AudioError, EarwitnessError, InputError, OutputError, StoreError

if TYPE_CHECKING:
    from eval.corpora import Clip

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
STAGES = ("read", "model", "metrics", "encode")
_RENEW_S = CLAIM_S / 4
_POLL_S = 0.5


@dataclass(frozen=True)
class SystemEntry:
    """A system as the runner needs it.

    Attributes:
        name: Column in the store; the model's name, with its checkpoint when it is not the shipped one.
        key: Hash of what the model is made of: table row, weights, code.
        load: Builds the system; called when there is something to do.
        summary: One sentence for readers; None where the table of models has it.
    """

    name: str
    key: str
    load: Callable[[], System]
    summary: str | None = None


@dataclass
class StageClock:
    """Seconds by stage, summed over all threads."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.perf_counter() - start


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        clips: Clips in the split.
        computed: Pairs of clip and model that were computed in this run.
        kept: Pairs that the store already had.
        failed: Pairs without an output, whenever they failed.
        failed_clips: Clips that at least one system has no output for.
        first_error: Why the first of them has none.
        wall_s: Duration.
        stage_seconds: Seconds by stage, summed over threads.
        workers: Pieces of work that ran side by side.
        clip_ids: Ids of the clips of the split, in order.
    """

    clips: int
    computed: int
    kept: int
    failed: int
    failed_clips: int
    first_error: str | None
    wall_s: float
    stage_seconds: Mapping[str, float]
    workers: int
    clip_ids: Sequence[str]


@cache
def code_sha256(package: str) -> str:
    """Hash of a Python file of the project, or of those of a folder, such as ``models`` or ``eval/metrics``."""
    digest = hashlib.sha256()
    root = ROOT / package
    if root.suffix == ".py":
        return hashlib.sha256(root.read_bytes()).hexdigest()
    for path in sorted(root.rglob("*.py")):
        if "training" in path.relative_to(root).parts:
            continue  # how weights came about stands in their card
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def metric_key(name: str) -> str:
    """Hash of a metric's definition, of the code that computes it and of the labels and packages it uses."""
    row = metric(name)
    targets = [row.target, *([row.plan] if row.plan else []), "eval.metrics.scoring:"]
    modules = sorted({module for target in targets for module in metric_modules(target.partition(":")[0])})
    code = [code_sha256(f"{module.replace('.', '/')}.py") for module in modules]
    return _hash(definition_sha256(name), row.needs_labels, row.package and _version(row.package), *code)


@cache
def metric_modules(module: str) -> frozenset[str]:
    """A module of ``eval.metrics`` and those that it imports, directly or not; the tables of rows are left out."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = ROOT / f"{name.replace('.', '/')}.py"
        if name in found or not name.startswith("eval.metrics.") or not path.is_file():
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
    return frozenset(found - {"eval.metrics.definition"})


def _version(package: str) -> str:
    """Version of the distribution that an import name belongs to; empty where there is none."""
    for name in importlib.metadata.packages_distributions().get(package, ()):
        return importlib.metadata.version(name)
    return ""


def _hash(*parts: object) -> str:
    return hashlib.sha256("\n".join(str(part) for part in parts).encode("utf-8", "surrogateescape")).hexdigest()


def clip_seed(seed: int, clip_id: str) -> int:
    """Seed of a clip: a function of the run's seed and the clip's id, below 2**63."""
    return int(_hash(seed, clip_id)[:16], 16) >> 1


def clip_key(clip: Clip) -> str:
    """Cheap hash that changes when the clip's file or its place in it does."""
    try:
        status = clip.path.stat()
        facts: tuple[object, ...] = (status.st_size, status.st_mtime_ns)
    except OSError:
        facts = ("missing",)
    return _hash(clip.path.absolute(), *facts, clip.start_samples, clip.frames)


def safe_name(name: str) -> str:
    """A file name for any text: itself where that is harmless, else its harmless part with a hash.

    Letters, digits, ``_``, ``-``, ``+`` and inner dots pass; the result never leads out of a folder, is never hidden
    and is never longer than 120 characters. Different texts give different names.
    """
    clean = re.sub(r"[^A-Za-z0-9_+.-]+", "_", name)[:100].strip("._-+").replace("..", "_") or "clip"
    return name if clean == name else f"{clean}-{_hash(name)[:10]}"


def remove_partial(folder: Path) -> None:
    """Remove what writers that were killed left behind; only while nobody writes there."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            path.unlink()


def pick_device(wanted: str = "auto") -> str:
    """The device to compute on: CUDA where there is one, unless something else is asked for.

    Raises:
        InputError: If the wanted device is not there.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {wanted!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from None
    return wanted


def worker_count(device: str) -> int:
    """How many pieces of work run side by side."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, cores) if device == "cpu" else max(2, min(8, cores))


@dataclass(frozen=True)
class Task:
    """What is left to do for a clip.

    Attributes:
        clip: The clip.
        key: Its `clip_key`.
        identity: What outputs depend on: the hash of the clip's samples; None until the clip is read.
        models: Systems to run.
        scores: System to the path of its output and the metrics that it lacks.
    """

    clip: Clip
    key: str
    identity: str | None
    models: Sequence[str]
    scores: Mapping[str, tuple[str, Sequence[str]]]


def batches(tasks: Iterable[Task], size: int, pending: int = 1024) -> Iterator[list[Task]]:
    """Batches of clips of one length and rate, in a bounded window over the stream.

    Args:
        tasks: Any stream of tasks.
        size: Clips in a full batch.
        pending: How many clips may wait for company before the fullest bucket goes as it is.
    """
    buckets: dict[tuple[int, int], list[Task]] = defaultdict(list)
    waiting = 0
    for task in tasks:
        kind = (task.clip.sample_rate_hz, task.clip.frames)
        buckets[kind].append(task)
        waiting += 1
        if len(buckets[kind]) < size:
            if waiting < pending:
                continue
            kind = max(buckets, key=lambda key: len(buckets[key]))
        waiting -= len(buckets[kind])
        yield buckets.pop(kind)
    yield from buckets.values()


@dataclass(frozen=True)
class _Done:
    clips: Sequence[ClipRow]
    outputs: Sequence[OutputRow]
    added: Sequence[OutputRow]


class Runner:
    """Evaluates systems on the clips of a corpus into a results store.

    Args:
        store: Where results go.
        systems: Systems in the order of publication.
        metrics: Names of metrics.
        seed: Seed of the run; every clip derives its own.
        run_id: Id that new rows carry.
        device: ``"cpu"`` or a CUDA device.
        batch_size: Clips in a full batch; chosen by the device when None.
        workers: Pieces of work side by side; chosen by the device when None.
        retry_failed: Whether to try again what failed before.
        progress: Whoever watches.
    """

    def __init__(
        self,
        store: ResultsStore,
        systems: Sequence[SystemEntry],
        metrics: Sequence[str],
        *,
        seed: int,
        run_id: str,
        device: str = "cpu",
        batch_size: int | None = None,
        workers: int | None = None,
        retry_failed: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.store = store
        self.systems = {entry.name: entry for entry in systems}
        self.metrics = {metric(name).name: metric_key(name) for name in metrics}
        self.seed = seed
        self.run_id = run_id
        self.device = device
        self.batch_size = batch_size or (4 if device == "cpu" else 32)
        self.workers = workers or worker_count(device)
        self.retry_failed = retry_failed
        self.progress = progress or Silent()
        self.clock = StageClock()
        self.owner = f"{run_id} {platform.node()} {os.getpid()} {secrets.token_hex(4)}"
        self._computed, self._renewed = 0, time.monotonic()
        self.loaded: dict[str, System] = {}
        # Clips that a model took at once after a batch did not fit into memory.
        self._fitting: dict[str, int] = {}
        self._model_lock: Any = threading.Lock() if device != "cpu" else _NoLock()
        self._load_lock = threading.Lock()

    def run(self, clips: Callable[[], Iterable[Clip]]) -> RunReport:
        """Evaluate every clip that the store does not have yet.

        Args:
            clips: Starts a pass over the clips; called twice, so that none but the ids has to be kept.

        Raises:
            StoreError: If the store cannot be used.
            OutputError: If an output cannot be written.
        """
        started = time.perf_counter()
        clip_ids: list[str] = []
        needed: set[str] = set()
        todo = 0
        self._computed = 0
        for clip in clips():
            clip_ids.append(clip.clip_id)
            task = self._task(clip)
            needed.update(task.models)
            todo += bool(task.models or task.scores)
        if todo and self.device == "cpu":
            import torch

            # For the whole process, and left so: one thread a piece makes numbers independent of the machine, and
            # going back to several breaks batched linear algebra in some versions of torch.
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)
        for name, entry in self.systems.items():
            if name in needed:
                # Weights that cannot be used end the run here, before they would be taken for a fault of every clip.
                self.system(entry)
            if self.store.alone:
                remove_partial(self.store.folder / "outputs" / safe_name(name))
        self.progress.start("evaluate", todo)
        mine: set[str] = set()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="evaluate") as pool:
            running: set[Future[_Done]] = set()
            try:
                # What another process has in hand is looked at again, in case it does not finish.
                while todo and self._round(clips, pool, running, mine):
                    time.sleep(_POLL_S)
            except BaseException:
                for future in running:
                    future.cancel()
                raise
            finally:
                # The pool waits for what is under way; the claims end with it or expire.
                with suppress(StoreError, OutputError):
                    self.store.release(self.owner)
        computed = self._computed
        self.progress.finish()
        members = frozenset(clip_ids)
        failed = [
            output
            for name in self.systems
            for output in self.store.outputs(name)
            if output.status != "ok" and output.clip_id in members
        ]
        return RunReport(
            clips=len(clip_ids),
            computed=computed,
            kept=len(clip_ids) * len(self.systems) - computed,
            failed=len(failed),
            failed_clips=len({output.clip_id for output in failed}),
            first_error=failed[0].error if failed else None,
            wall_s=time.perf_counter() - started,
            stage_seconds=dict(self.clock.seconds),
            workers=self.workers,
            clip_ids=clip_ids,
        )

    # --- what is left to do

    def _output_key(self, entry: SystemEntry, identity: str) -> str:
        ours = [code_sha256(f"eval/{name}.py") for name in ("audio_io", "runner")]
        return _hash(entry.key, *ours, identity, self.seed, self.device.split(":")[0])

    def _task(self, clip: Clip) -> Task:
        key = clip_key(clip)
        known = self.store.clip_key(clip.clip_id)
        if known is None or known[0] != key:
            return Task(clip, key, None, list(self.systems), {})
        identity = known[1] or _unreadable(key)
        return Task(clip, key, identity, *self._plan(clip.clip_id, identity))

    def _plan(self, clip_id: str, identity: str) -> tuple[list[str], dict[str, tuple[str, Sequence[str]]]]:
        """Systems still to run on a clip, and metrics that stored outputs lack."""
        models: list[str] = []
        scores: dict[str, tuple[str, Sequence[str]]] = {}
        for name, entry in self.systems.items():
            have = self.store.output_key(clip_id, name)
            if have is None or have[0] != self._output_key(entry, identity):
                models.append(name)
                continue
            _, status, path = have
            if status != "ok":
                if self.retry_failed:
                    models.append(name)
                continue
            if path is None or not (self.store.folder / path).is_file():
                models.append(name)
                continue
            stored = self.store.metric_keys(clip_id, name)
            missing = [m for m, wanted in self.metrics.items() if stored.get(m) != wanted]
            if missing:
                scores[name] = (path, missing)
        return models, scores

    def _round(
        self,
        clips: Callable[[], Iterable[Clip]],
        pool: ThreadPoolExecutor,
        running: set[Future[_Done]],
        mine: set[str],
    ) -> int:
        """A pass over what is left to do; returns how many clips another process has in hand."""
        elsewhere = 0
        left = (task for task in map(self._task, clips()) if task.clip.clip_id not in mine)
        for batch in batches((task for task in left if task.models or task.scores), self.batch_size):
            got = self.store.claim([task.clip.clip_id for task in batch], self.owner)
            elsewhere += len(batch) - len(got)
            # Another process may have finished a clip since it was looked at.
            again = (self._task(task.clip) for task in batch if task.clip.clip_id in got)
            work = [task for task in again if task.models or task.scores]
            self.store.release(self.owner, sorted(got - {task.clip.clip_id for task in work}))
            if work:
                mine.update(task.clip.clip_id for task in work)
                running.add(pool.submit(self._piece, work))
            if len(running) > self.workers:
                self._collect(running)
        while running:
            self._collect(running)
        return elsewhere

    def _collect(self, running: set[Future[_Done]]) -> None:
        done: set[Future[_Done]] = set()
        while not done:
            done, _ = wait(running, timeout=_RENEW_S, return_when=FIRST_COMPLETED)
            if not done or time.monotonic() - self._renewed > _RENEW_S:
                self.store.renew(self.owner)
                self._renewed = time.monotonic()
        for future in done:
            running.discard(future)
            result = future.result()
            self.store.add(result.clips, result.outputs)
            self.store.add_scores(result.added)
            self.store.release(self.owner, [clip.clip_id for clip in result.clips])
            self._computed += len(result.outputs)
            failed = {o.clip_id for o in result.outputs if o.status != "ok"}
            self.progress.advance(len(result.clips), len(failed))

    # --- one piece of work, in a thread of its own

    def _piece(self, tasks: Sequence[Task]) -> _Done:
        import torch

        from eval import audio_io

        clip_rows: list[ClipRow] = []
        outputs: list[OutputRow] = []
        added: list[OutputRow] = []
        waveforms: dict[str, Any] = {}
        readable: list[Task] = []
        for task in tasks:
            clip_id = task.clip.clip_id
            try:
                with self.clock.stage("read"):
                    audio = task.clip.load()
                    pcm = audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz)
            except EarwitnessError as error:
                task = self._settled(task, _unreadable(task.key))
                clip_rows.append(self._clip_row(task, None, str(error)))
                outputs += [self._failure(task, name, str(error)) for name in task.models]
                continue
            waveforms[clip_id] = torch.from_numpy(audio.waveform[0])
            task = self._settled(task, pcm)
            clip_rows.append(self._clip_row(task, pcm, None))
            readable.append(task)
        for name, entry in self.systems.items():
            mine = [task for task in readable if name in task.models]
            if mine:
                outputs += self._reconstruct(entry, mine, waveforms)
            for task in readable:
                if name in task.scores:
                    row, made = self._rescore(entry, task, waveforms)
                    (outputs if made else added).append(row)
        return _Done(clip_rows, outputs, added)

    def _settled(self, task: Task, identity: str) -> Task:
        """The task once its clip is read: a file that only moved or was touched needs nothing again."""
        if task.identity == identity:
            return task
        return Task(task.clip, task.key, identity, *self._plan(task.clip.clip_id, identity))

    def _clip_row(self, task: Task, pcm: str | None, error: str | None) -> ClipRow:
        c = task.clip
        return ClipRow(
            c.clip_id, task.key, str(c.path), c.sample_rate_hz, c.frames, c.group, c.labels, pcm_sha256=pcm, error=error
        )

    def _failure(self, task: Task, name: str, error: str) -> OutputRow:
        text = " ".join(error.split())[:500]
        key = self._output_key(self.systems[name], task.identity or "")
        return OutputRow(task.clip.clip_id, name, key, "failed", error=text, run_id=self.run_id)

    def system(self, entry: SystemEntry) -> System:
        """A system, built when it is first asked for."""
        with self._load_lock:
            if entry.name not in self.loaded:
                self.loaded[entry.name] = entry.load()
            return self.loaded[entry.name]

    def _reconstruct(self, entry: SystemEntry, tasks: Sequence[Task], waveforms: Mapping[str, Any]) -> list[OutputRow]:
        import torch

        most = self._fitting.get(entry.name, len(tasks))
        if most < len(tasks):
            parts = [tasks[start : start + most] for start in range(0, len(tasks), most)]
            return [row for part in parts for row in self._reconstruct(entry, part, waveforms)]
        batch = torch.stack([waveforms[task.clip.clip_id] for task in tasks])
        fault = ""
        try:
            estimate, seconds = self._through_model(entry, batch, tasks)
        except Exception as error:  # whatever a model raises is a failure of its clip, not of the run
            fault = f"{type(error).__name__}: {error}"
            full = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if fault:
            # Out here the exception is gone, and with it what its frames held in memory.
            if len(tasks) == 1:
                return [self._failure(tasks[0], entry.name, fault)]
            half = len(tasks) // 2
            if full:
                self._fitting[entry.name] = min(half, self._fitting.get(entry.name, half))
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()
            parts = [tasks[:half], tasks[half:]]
            return [row for part in parts for row in self._reconstruct(entry, part, waveforms)]
        rate = tasks[0].clip.sample_rate_hz
        with self.clock.stage("metrics"):
            from eval.metrics.scoring import score_batch

            scores = score_batch(
                estimate,
                batch,
                sample_rate_hz=rate,
                names=list(self.metrics),
                labels=[task.clip.labels for task in tasks],
            )
        rows = []
        for index, task in enumerate(tasks):
            row = estimate[index]
            if not bool(torch.isfinite(row).all()):
                rows.append(self._failure(task, entry.name, "the output holds samples that are not finite numbers"))
                continue
            with self.clock.stage("encode"):
                path, pcm = self._write(entry.name, task.clip.clip_id, row.numpy()[None], rate)
            rows.append(
                OutputRow(
                    task.clip.clip_id,
                    entry.name,
                    self._output_key(entry, task.identity or ""),
                    "ok",
                    path=path,
                    pcm_sha256=pcm,
                    model_seconds=seconds / len(tasks),
                    audio_seconds=task.clip.frames / rate,
                    run_id=self.run_id,
                    scores=self._score_rows(scores[index]),
                )
            )
        return rows

    def _through_model(self, entry: SystemEntry, batch: Any, tasks: Sequence[Task]) -> tuple[Any, float]:
        """The model's output at the clips' own rate, and the seconds the model itself took."""
        import torch

        system = self.system(entry)
        rate = tasks[0].clip.sample_rate_hz
        seeds = [clip_seed(self.seed, task.clip.clip_id) for task in tasks]
        model_rate = system.sample_rate_hz or rate
        with self.clock.stage("read"):
            given = self._resample(batch, rate, model_rate)
        # Not inference mode: windows that models keep from call to call must serve those that optimise, too.
        with self._model_lock, torch.no_grad(), self.clock.stage("model"), stopwatch(self.device) as watch:
            # Only a system of finished files has to know which clips they are.
            which = {"clip_ids": [task.clip.clip_id for task in tasks]} if getattr(system, "by_clip", False) else {}
            made = system.reconstruct(given.to(self.device), sample_rate_hz=model_rate, seeds=seeds, **which)
            made = made.detach().float().cpu()
        if tuple(made.shape) != tuple(given.shape):
            raise ValueError(f"the model gave shape {tuple(made.shape)} for {tuple(given.shape)}")
        with self.clock.stage("read"):
            back = self._resample(made, model_rate, rate)
        length = batch.shape[-1]
        back = torch.nn.functional.pad(back, (0, max(0, length - back.shape[-1])))[..., :length]
        return back.contiguous(), watch.seconds

    @staticmethod
    def _resample(batch: Any, from_hz: int, to_hz: int) -> Any:
        if from_hz == to_hz:
            return batch
        import torch

        from eval import audio_io

        finite = torch.nan_to_num(batch)
        if not torch.equal(finite, batch):
            raise ValueError("the output holds samples that are not finite numbers")
        return torch.from_numpy(audio_io.resample(batch.numpy(), from_hz, to_hz))

    def _write(self, model: str, clip_id: str, waveform: Any, rate: int) -> tuple[str, str]:
        from eval import audio_io

        relative = f"outputs/{safe_name(model)}/{safe_name(clip_id)}.wav"
        path = self.store.folder / relative
        audio_io.make_folder(path.parent)
        audio_io.write_float(path, waveform, rate)
        return relative, audio_io.pcm_sha256(waveform, rate)

    def _score_rows(self, scores: Mapping[str, Any]) -> list[ScoreRow]:
        return [
            ScoreRow(name, self.metrics[name], s.value, s.status, s.reason, s.seconds) for name, s in scores.items()
        ]

    def _rescore(self, entry: SystemEntry, task: Task, waveforms: Mapping[str, Any]) -> tuple[OutputRow, bool]:
        """Further scores of a stored output, or the output anew (True) where its file is not what was stored."""
        import torch

        from eval import audio_io
        from eval.metrics.scoring import score_batch

        path, missing = task.scores[entry.name]
        reference = waveforms[task.clip.clip_id]
        try:
            with self.clock.stage("read"):
                audio = audio_io.read(self.store.folder / path)
                pcm = audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz)
        except AudioError:
            pcm = None
        if pcm is None or pcm != self.store.output_pcm(task.clip.clip_id, entry.name):
            return self._reconstruct(entry, [task], waveforms)[0], True
        with self.clock.stage("metrics"):
            scores = score_batch(
                torch.from_numpy(audio.waveform),
                reference[None],
                sample_rate_hz=audio.sample_rate_hz,
                names=list(missing),
                labels=[task.clip.labels],
            )
        key = self._output_key(entry, task.identity or "")
        row = OutputRow(
            task.clip.clip_id, entry.name, key, "ok", run_id=self.run_id, scores=self._score_rows(scores[0])
        )
        return row, False


def _unreadable(key: str) -> str:
    """What stands for the samples of a clip that has none."""
    return f"unreadable {key}"


class _NoLock:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
