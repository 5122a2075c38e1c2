"""Seconds, real-time factor and peak memory, measured with care.

* A GPU computes while the program goes on: every clock here waits for the device before it starts and before it stops.
* The first call of anything pays for caches, kernels and plans: :func:`measure` can warm up first.
* Two seconds of one machine are not two seconds of another, nor of the same one when it is busy: :func:`compare` times
  a piece of work against a reference operation, round by round in turn, and gives their ratio.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

_LONG_S = 0.3
LONGEST_REFERENCE_S = 0.1
"""Longest time of a reference operation in a round of `Interleaved`, seconds."""


@dataclass(frozen=True)
class Measured:
    """Cost of one piece of work.

    Attributes:
        seconds: Wall time per call.
        rtf: Real-time factor, compute seconds per second of audio (below 1 is faster than real time); ``None`` where
            the amount of audio is not known.
        peak_memory_bytes: Highest memory use during the work: of the device's allocator on a CUDA device, of the whole
            process elsewhere; ``None`` where the system does not tell.
    """

    seconds: float
    rtf: float | None
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Compared:
    """A piece of work beside a reference operation.

    Attributes:
        seconds: Shortest CPU seconds of one call of the work.
        reference_seconds: Shortest CPU seconds of one call of the reference operation in the same run.
        rounds: Number of rounds, in each of which both were timed.
    """

    seconds: float
    reference_seconds: float
    rounds: int

    @property
    def ratio(self) -> float:
        """Work in units of the reference operation."""
        return self.seconds / self.reference_seconds


class Stopwatch:
    """Elapsed time of a ``with`` block, see :func:`stopwatch`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Wall seconds, set when the block ends."""


def synchronise(device: str | torch.device) -> None:
    """Wait until a device has done what was queued; returns at once for the CPU."""
    kind = str(device).partition(":")[0]
    if kind == "cpu":
        return
    import torch

    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


@contextmanager
def stopwatch(device: str | torch.device = "cpu") -> Iterator[Stopwatch]:
    """Time a block, waiting for the device before and after it.

    >>> with stopwatch() as watch:
    ...     _ = sum(range(1000))
    >>> watch.seconds > 0
    True
    """
    watch = Stopwatch()
    synchronise(device)
    started = time.perf_counter()
    try:
        yield watch
    finally:
        synchronise(device)
        watch.seconds = time.perf_counter() - started


def measure(
    work: Callable[[], Result],
    *,
    device: str | torch.device = "cpu",
    audio_s: float | None = None,
    warm_up: int = 0,
    repeats: int = 1,
) -> tuple[Result, Measured]:
    """Run a piece of work and say what it cost.

    Args:
        work: What to run.
        device: Where it runs.
        audio_s: Seconds of audio it processes, for the real-time factor.
        warm_up: Calls before the clock starts.
        repeats: Calls on the clock; the time is that of the fastest.

    Returns:
        What the last call returned, and its cost.

    Raises:
        ValueError: If ``repeats`` is below 1, ``warm_up`` below 0 or ``audio_s`` not above 0.
    """
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"repeats is {repeats} and warm_up {warm_up}; at least 1 and 0 are needed")
    if audio_s is not None and not audio_s > 0:
        raise ValueError(f"audio_s is {audio_s}; it has to be above 0")
    for _ in range(warm_up):
        work()
    fastest = math.inf
    with peak_memory(device) as memory:
        for _ in range(repeats):
            with stopwatch(device) as watch:
                result = work()
            fastest = min(fastest, watch.seconds)
    return result, Measured(fastest, None if audio_s is None else fastest / audio_s, memory.bytes)


class Interleaved:
    """A piece of work and a reference operation timed in turn, round by round, for as long as it takes.

    Each round times both, so that whatever slows the machine down slows both. The shortest round of each counts, since
    everything else on a machine only ever makes a round longer; further rounds can only bring both nearer to what they
    cost undisturbed. CPU time is the default clock: time in which another process had the core does not count.

    Args:
        work: The work.
        reference: The reference operation.
        round_seconds: Time per side and round that the number of calls is chosen for. Beside work that takes longer,
            the reference operation gets up to `LONGEST_REFERENCE_S`, so that both see the same disturbances.
        clock: Gives seconds.

    Attributes:
        round_s: Roughly how long a round takes, seconds.
    """

    def __init__(
        self,
        work: Callable[[], object],
        reference: Callable[[], object],
        *,
        round_seconds: float = 0.02,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        work_s, reference_s = (_seconds_a_call(side, clock) for side in (work, reference))
        span = min(max(round_seconds, work_s), max(round_seconds, LONGEST_REFERENCE_S))
        self._sides = (
            (work, max(1, math.ceil(round_seconds / work_s))),
            (reference, max(1, math.ceil(span / reference_s))),
        )
        self.round_s = self._sides[0][1] * work_s + self._sides[1][1] * reference_s
        self._best = [math.inf, math.inf]
        self._rounds = 0

    def run(self, rounds: int) -> Compared:
        """Time further rounds; what all rounds so far gave.

        Raises:
            ValueError: If ``rounds`` is below 1.
        """
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}; at least 1 is needed")
        collected = gc.isenabled()
        gc.disable()
        try:
            for _ in range(rounds):
                for index, (side, calls) in enumerate(self._sides):
                    started = self._clock()
                    for _ in range(calls):
                        side()
                    self._best[index] = min(self._best[index], (self._clock() - started) / calls)
        finally:
            if collected:
                gc.enable()
        self._rounds += rounds
        return Compared(self._best[0], self._best[1], self._rounds)


def compare(
    work: Callable[[], object],
    reference: Callable[[], object],
    *,
    rounds: int = 9,
    round_seconds: float = 0.02,
    clock: Callable[[], float] = time.process_time,
) -> Compared:
    """Time work against a reference operation, in turn; see `Interleaved`.

    Args:
        work: The work.
        reference: The reference operation.
        rounds: Number of rounds.
        round_seconds: Time per side and round that the number of calls is chosen for.
        clock: Gives seconds.

    Returns:
        Both times and their ratio.

    Raises:
        ValueError: If ``rounds`` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; at least 1 is needed")
    return Interleaved(work, reference, round_seconds=round_seconds, clock=clock).run(rounds)


def _seconds_a_call(side: Callable[[], object], clock: Callable[[], float]) -> float:
    seconds = math.inf
    for _ in range(2):
        started = clock()
        side()
        seconds = max(clock() - started, 1e-7)
        if seconds > _LONG_S:
            break  # what a first call pays for is little beside it
    return seconds


class PeakMemory:
    """Highest memory use during a ``with`` block, see :func:`peak_memory`."""

    def __init__(self) -> None:
        self.bytes: int | None = None
        """Set when the block ends."""


@contextmanager
def peak_memory(device: str | torch.device = "cpu") -> Iterator[PeakMemory]:
    """Highest memory use during a block.

    On a CUDA device, that of torch's allocator, reset at the start. Elsewhere, the resident size of the whole process,
    which Linux can reset at the start; other systems only know the highest value since the process began. Blocks must
    not be nested on one device, since the inner one resets what the outer one reads.
    """
    memory = PeakMemory()
    if str(device).startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        try:
            yield memory
        finally:
            torch.cuda.synchronize(device)
            memory.bytes = int(torch.cuda.max_memory_allocated(device))
        return
    _reset_peak_rss()
    try:
        yield memory
    finally:
        memory.bytes = peak_rss_bytes()


def peak_rss_bytes() -> int | None:
    """Highest resident size of this process so far, or since the last :func:`peak_memory` block began (Linux)."""
    status = _linux_status()
    if "VmHWM" in status:
        return status["VmHWM"]
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rss_bytes() -> int | None:
    """Resident size of this process now; ``None`` where the system does not tell."""
    return _linux_status().get("VmRSS")


def _linux_status() -> dict[str, int]:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 (no file of ours)
            fields = [line.split() for line in lines if line.startswith(("VmHWM", "VmRSS"))]
    except OSError:
        return {}
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in fields}


def _reset_peak_rss() -> None:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as refs:  # noqa: PTH123 (no file of ours)
            refs.write("5")
    except OSError:
        pass  # not Linux, or not allowed: the peak is then that since the process began
