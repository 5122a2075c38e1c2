"""Speed of systems, measured so that two systems, or two machines, can be set side by side.

Every time is that of one call after some that are not counted; the device is waited for before and after. A system is
tried with one clip and with batches that double until the sound made in a second no longer grows by a twentieth; the
best batch is reported beside batch 1. The interval is that of the mean over the calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eval.protocols import System
from eval.stats import mean_interval
from eval.timing import peak_memory, stopwatch, synchronise
from models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WARM_UP = 2
GAIN = 1.05
LATENCY_S = 1.0
_RATE_HZ = 22_050


@dataclass(frozen=True)
class BatchSpeed:
    """One batch size.

    Attributes:
        batch: Clips in a call.
        seconds: Mean time of a call.
        low: Lower end of its 95 % interval; None where all calls took equally long or there was one.
        high: Upper end.
        calls: Calls on the clock.
        pace: Seconds of sound made in a second.
        rtf: Real-time factor, its inverse.
        peak_memory_bytes: Highest memory during the calls; None where the system does not tell.
    """

    batch: int
    seconds: float
    low: float | None
    high: float | None
    calls: int
    pace: float
    rtf: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class SystemSpeed:
    """One system.

    Attributes:
        model: Name.
        device: Where it ran.
        threads: Threads of torch on a CPU.
        clip_s: Length of a clip.
        sample_rate_hz: Rate of the clips.
        parameters: Learned numbers.
        gmac_per_s: Thousand millions of multiply-adds for a second of sound, as far as torch counts them: matrix
            products, convolutions and attention; None where it counts none.
        latency_s: From a clip of one second to its first sample, mean over the calls; a clip comes when it is whole.
        latency_low_s: Lower end of its 95 % interval; None where all calls took equally long.
        latency_high_s: Upper end.
        single: One clip at a time.
        best: The best of all batches that were tried.
        tried: All of them.
        failed: The batch that did not fit into memory, None where all did.
    """

    model: str
    device: str
    threads: int
    clip_s: float
    sample_rate_hz: int
    parameters: int
    gmac_per_s: float | None
    latency_s: float
    latency_low_s: float | None
    latency_high_s: float | None
    single: BatchSpeed
    best: BatchSpeed
    tried: Sequence[BatchSpeed]
    failed: int | None

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def _threads(count: int | None) -> int:
    """The number of threads of this process; a change of it within one breaks batched algebra in some torches."""
    import torch

    used = torch.get_num_threads()
    if count is not None and count != used:
        raise InputError(f"threads is {count}, this process has {used}; set OMP_NUM_THREADS={count} before it starts")
    return used


def measure_speed(
    system: System,
    *,
    device: str = "cpu",
    clip_s: float = 4.0,
    seconds: float = 3.0,
    largest_batch: int = 32,
    threads: int | None = None,
    seed: int = 0,
) -> SystemSpeed:
    """Measure a system on noise, on whose content no time depends.

    Args:
        system: The system.
        device: Where it runs.
        clip_s: Length of a clip.
        seconds: Time on the clock for each batch size, at least three calls.
        largest_batch: No batch beyond it is tried.
        threads: Threads of torch on a CPU, to make sure of; None takes what there are.
        seed: Of the noise and of what the system draws.

    Raises:
        InputError: If a length or number is impossible.
    """
    import torch

    if clip_s <= 0 or seconds <= 0 or largest_batch < 1:
        raise InputError(
            f"speed: need clip_s, seconds and largest_batch above 0, got {clip_s}, {seconds}, {largest_batch}"
        )
    rate = system.sample_rate_hz or _RATE_HZ
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(largest_batch, round(clip_s * rate), generator=generator)
    short = noise[:1, : round(LATENCY_S * rate)]

    def call(rows: Tensor) -> None:
        with torch.no_grad():
            system.reconstruct(rows.to(device), sample_rate_hz=rate, seeds=[seed + i for i in range(len(rows))])

    used = _threads(threads)
    tried: list[BatchSpeed] = []
    failed = None
    batch = 1
    while batch <= largest_batch:
        try:
            tried.append(_batch(call, noise[:batch], device, seconds, clip_s))
        except (MemoryError, torch.OutOfMemoryError):
            failed = batch
            break
        if len(tried) > 1 and tried[-1].pace < GAIN * tried[-2].pace:
            break
        batch *= 2
    if not tried:
        raise InputError(f"speed: {system.name}: not even one clip of {clip_s} s fits into memory")
    first = _batch(call, short, device, seconds / 2, LATENCY_S)
    macs = _multiply_adds(call, noise[:1])
    return SystemSpeed(
        model=system.name,
        device=device,
        threads=used,
        clip_s=clip_s,
        sample_rate_hz=rate,
        parameters=system.parameters,
        gmac_per_s=None if not macs else macs / clip_s / 1e9,
        latency_s=first.seconds,
        latency_low_s=first.low,
        latency_high_s=first.high,
        single=tried[0],
        best=max(tried, key=lambda found: found.pace),
        tried=tried,
        failed=failed,
    )


def _batch(call: Any, rows: Tensor, device: str, seconds: float, clip_s: float) -> BatchSpeed:
    for _ in range(WARM_UP):
        call(rows)
    times: list[float] = []
    synchronise(device)
    with peak_memory(device) as memory:
        started = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - started < seconds:
            with stopwatch(device) as watch:
                call(rows)
            times.append(watch.seconds)
    found = mean_interval(times, seed=0, resamples=2000)
    mean = sum(times) / len(times)
    sound = len(rows) * clip_s
    return BatchSpeed(len(rows), mean, found.low, found.high, len(times), sound / mean, mean / sound, memory.bytes)


def _multiply_adds(call: Any, rows: Tensor) -> int:
    """Multiply-adds of one call, as torch counts operations (two of which are one multiply-add)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call(rows)
    return int(counter.get_total_flops()) // 2


def speed_lines(found: Sequence[SystemSpeed]) -> list[str]:
    """A table for the terminal."""
    width = max((len(s.model) for s in found), default=5)
    head = (
        f"{'model':<{width}}  {'s/s at 1':>9} {'95 % interval':>19} {'RTF':>8} {'s/s best':>9} {'batch':>5}"
        f" {'first s':>8} {'MB':>6} {'Mparam':>7} {'GMAC/s':>7}"
    )
    lines = [head]
    for s in found:
        one = s.single
        # Times turned round: the longer the call, the slower.
        span = "-" if one.low is None or one.high is None else f"{s.clip_s / one.high:.3g} to {s.clip_s / one.low:.3g}"
        memory = "-" if s.best.peak_memory_bytes is None else f"{s.best.peak_memory_bytes / 1e6:.0f}"
        macs = "-" if s.gmac_per_s is None else f"{s.gmac_per_s:.2f}"
        lines.append(
            f"{s.model:<{width}}  {one.pace:>9.3g} {span:>19} {one.rtf:>8.3g} {s.best.pace:>9.3g} {s.best.batch:>5}"
            f" {s.latency_s:>8.3f} {memory:>6} {s.parameters / 1e6:>7.2f} {macs:>7}"
        )
        if s.failed is not None:
            lines.append(f"{'':<{width}}  a batch of {s.failed} did not fit into memory")
    return lines


def speed_document(found: Sequence[SystemSpeed], environment: Mapping[str, Any]) -> dict[str, Any]:
    """All measurements with the machine that they belong to."""
    return {"schema_version": 1, "environment": dict(environment), "systems": [s.document() for s in found]}
