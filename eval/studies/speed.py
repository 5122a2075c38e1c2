"""Speed of the networks beside the plain eager loop: the layers as published, in float32, one thing after the other.

Weights are drawn, not trained, since no time depends on them. Both sides of a comparison run in turn, in the same
process and with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from eval.stats import mean_interval
from eval.studies.base import Cell, Claim, Column, Listening, Measured, Row, StudyContext, Table

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

NAME = "speed"
TITLE = "Speed"
QUESTION = (
    "How many seconds of sound does each network make in a second, beside the same layers run plainly, and how soon"
    " does a streamed clip begin to sound?"
)
MODELS: tuple[str, ...] = ()

THREADS = 2
ROUNDS = 9
STREAM_FRAMES = 512
MELGAN_BAR = 25.0
GPU_BAR = 2000.0
GPU_BATCH = 64
TOLERANCE_DB = 30.0
"""Least ratio of the plain loop's signal to the difference from it; below, a fast variant does not count."""
NO_GPU = "no GPU in this run"


@dataclass(frozen=True)
class Contest:
    """One piece of work, done plainly and in faster ways.

    Attributes:
        key: Identifier.
        title: Name for readers.
        audio_s: Seconds of sound that a call makes.
        plain: The plain loop.
        ours: Faster ways by name.
    """

    key: str
    title: str
    audio_s: float
    plain: Callable[[], Tensor]
    ours: Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Result:
    """What a way of doing a contest reached: seconds of sound per second, one number a round.

    Attributes:
        title: Name for readers.
        way: ``plain``, or the name of a faster way.
        paces: Seconds of sound per second.
        factors: The same in units of the plain loop of that round.
        deviation_db: Plain signal over the difference from it; infinite where both are equal.
    """

    title: str
    way: str
    paces: tuple[float, ...]
    factors: tuple[float, ...]
    deviation_db: float

    @property
    def pace(self) -> float:
        """Mean over the rounds."""
        return sum(self.paces) / len(self.paces)

    @property
    def counts(self) -> bool:
        """Whether the numbers are inside the tolerance."""
        return self.deviation_db >= TOLERANCE_DB


def deviation_db(plain: Tensor, ours: Tensor) -> float:
    """Energy of a signal over that of the difference from it, in dB; infinite where there is none."""
    plain, ours = plain.double().cpu(), ours.double().cpu()
    difference = float((plain - ours).square().sum())
    energy = float(plain.square().sum())
    if difference == 0:
        return math.inf
    return 10 * math.log10(energy / difference) if energy > 0 else -math.inf


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_contest(contest: Contest, *, rounds: int, device: str = "cpu") -> list[Result]:
    """Time all ways of a contest in turn, `rounds` times after one round that does not count."""
    import torch

    from eval.timing import stopwatch

    ways = {"plain": contest.plain, **contest.ours}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    outputs: dict[str, Tensor] = {}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for way, work in ways.items():
                with stopwatch(device) as watch:
                    outputs[way] = work()
                if turn:
                    seconds[way].append(watch.seconds)
    results = []
    for way, taken in seconds.items():
        results.append(
            Result(
                contest.title,
                way,
                tuple(contest.audio_s / one for one in taken),
                tuple(base / one for base, one in zip(seconds["plain"], taken, strict=True)),
                deviation_db(outputs["plain"], outputs[way]),
            )
        )
    return results


# --- the contests


def melgan(*, frames: int, batch: int = 1, device: str = "cpu", base_channels: int = 32) -> Contest:
    """MelGAN of the published size: 4,260,257 parameters at 80 mels."""
    import torch

    from models.melgan import FastGenerator, Generator, MelGANConfig, plain_forward
    from models.vocoder import HOP_SAMPLES

    config = MelGANConfig(n_mels=80, base_channels=base_channels)
    network = _ready(lambda: Generator(config), device)
    mel = _noise(batch, config.n_mels, frames, device=device)
    size = sum(p.numel() for p in network.parameters())
    single, half = FastGenerator(network), FastGenerator(network, dtype=torch.bfloat16)
    return Contest(
        "melgan" if batch == 1 else "melgan_batch",
        f"MelGAN, {size / 1e6:.2f} M parameters" + (f", {batch} clips at once" if batch > 1 else ""),
        batch * frames * HOP_SAMPLES / 22_050,
        lambda: plain_forward(network, mel),
        {"float32": lambda: single(mel), "bfloat16": lambda: half(mel)},
    )


def filterbank(*, frames: int, device: str = "cpu") -> Contest:
    """Filter-bank vocoder of the published size."""
    import torch

    from models.filterbank_vocoder import FilterBankConfig, Generator, plain_bands
    from models.frontends.band_split import join_locally
    from models.vocoder import HOP_SAMPLES

    config = FilterBankConfig()
    network = _ready(lambda: Generator(config), device)
    mel = _noise(1, config.n_mels, frames, device=device)

    def quick(bfloat16: bool) -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            bands = network.make_bands(mel)
        return join_locally(bands, config.split)

    return Contest(
        "filterbank",
        "Filter-bank vocoder",
        frames * HOP_SAMPLES / 22_050,
        lambda: join_locally(plain_bands(network, mel), config.split),
        {"float32": lambda: quick(False), "bfloat16": lambda: quick(True)},
    )


def vqvae2_decoder(*, device: str = "cpu", channels: int = 128) -> Contest:
    """Decoder of the VQ-VAE-2, from code vectors to a picture of four seconds; the way to a waveform not included."""
    import torch

    from models.vqvae2 import VQVAE2, VQVAE2Config

    config = VQVAE2Config(channels=channels)
    network = _ready(lambda: VQVAE2(config), device)
    ours = copy.deepcopy(network).to(memory_format=torch.channels_last)
    top = _noise(1, config.codebook_dim, 32, 4, device=device)
    bottom = _noise(1, config.codebook_dim, 64, 8, device=device)
    last = [x.contiguous(memory_format=torch.channels_last) for x in (top, bottom)]

    half = copy.deepcopy(ours).bfloat16()
    half_last = [x.bfloat16() for x in last]
    return Contest(
        "vqvae2_decoder",
        "VQ-VAE-2 decoder",
        4.0,
        lambda: network.decode(top, bottom),
        {"float32": lambda: ours.decode(*last), "bfloat16": lambda: half.decode(*half_last).float()},
    )


def codemap_sampling(*, notes: int, tokens: int | None = None, device: str = "cpu") -> Contest:
    """Sampling of top maps of the shipped size: with keys and values kept, beside a run over all tokens for each one.

    Args:
        notes: Maps that are drawn together; the plain loop draws them together too.
        tokens: Only so many tokens of each map.
        device: Torch device.
    """
    import torch

    from models.codemap_transformer import SHIPPED_TOP, CodemapTransformer
    from models.codemaps import Sampling, draw_sequences, draw_uniforms

    config = SHIPPED_TOP
    network = _ready(lambda: CodemapTransformer(config), device)
    count = tokens or config.tokens
    source = torch.full((notes, config.bins * config.frames), config.codebook_size, device=device)
    target = torch.zeros(notes, count, dtype=torch.int64, device=device)
    pitch = torch.full((notes,), 60, device=device)
    family = torch.zeros(notes, dtype=torch.int64, device=device)
    uniforms = draw_uniforms(range(notes), count).to(device)

    def draw(cached: bool) -> Tensor:
        hidden = torch.ones_like(target, dtype=torch.bool)
        return draw_sequences(
            network, source, target, hidden, pitch, family, uniforms, Sampling(), cached=cached
        )  # fmt: skip

    return Contest(
        "codemap_sampling",
        f"Codemap sampling, {notes} top maps of {count} tokens",
        notes * 4.0,
        lambda: draw(False),
        {"key/value cache": lambda: draw(True)},
    )


def streaming_chain(*, device: str = "cpu") -> Any:
    """MelReformer and MelGAN of the trained sizes, as `measure_streaming` takes them."""
    import dataclasses
    import tempfile
    from pathlib import Path

    from models import checkpoint
    from models.mel_expansion import NetworkExpander
    from models.mel_reformer import MelReformer
    from models.melgan import RECIPE as MELGAN
    from models.melgan import Generator, MelGANSystem
    from models.training.mel_reformer_task import RECIPE as REFORMER

    expander = NetworkExpander(_ready(lambda: MelReformer(REFORMER.config), device), REFORMER.frontend, device=device)
    frontend = {"settings": MELGAN.frontend.as_dict(), "sha256": MELGAN.frontend.sha256()}
    card = {"name": "melgan", "config": dataclasses.asdict(MELGAN.config), "frontend": frontend}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), _ready(lambda: Generator(MELGAN.config), "cpu").state_dict(), card)
        vocoder = MelGANSystem(checkpoint=Path(folder), device=device)
    return SimpleNamespace(frontend=REFORMER.frontend, network_expander=expander, vocoder=vocoder)


def _ready(build: Callable[[], nn.Module], device: str) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build()
    return network.to(device).train(False).requires_grad_(False)


def _noise(*shape: int, device: str) -> torch.Tensor:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)


# --- the study


def measure(context: StudyContext) -> Measured:
    """Run all contests; about three minutes on two idle cores."""
    count = min(THREADS, os.cpu_count() or 1)
    results: list[list[Result]] = []
    with threads(count):
        for contest, rounds in _contests():
            context.note(f"speed: {contest.title}")
            results.append(run_contest(contest, rounds=rounds))
        context.note("speed: time to first audio")
        streamed = _streaming_table(count, context.seed)
    on_gpu: list[Result] = []
    if context.device.startswith("cuda"):
        context.note("speed: MelGAN on the GPU")
        contest = melgan(frames=431, batch=GPU_BATCH, device=context.device)
        on_gpu = run_contest(contest, rounds=ROUNDS, device=context.device)
    return Measured([_contest_table(results, on_gpu, count, context.seed), streamed], (), claims(results, on_gpu))


def _contests() -> Iterator[tuple[Contest, int]]:
    """Contests on the CPU with their rounds, MelGAN first; each is built when the one before is over."""
    yield melgan(frames=431), ROUNDS
    yield filterbank(frames=431), ROUNDS
    yield vqvae2_decoder(), ROUNDS
    yield codemap_sampling(notes=8), max(3, ROUNDS // 3)


def listen(context: StudyContext) -> list[Listening]:
    """There is nothing to hear."""
    return []


def _interval(values: Sequence[float], seed: int) -> Cell:
    found = mean_interval(list(values), seed=seed)
    return Cell(found.mean, found.low, found.high, found.n)


def _contest_table(results: Sequence[Sequence[Result]], on_gpu: Sequence[Result], count: int, seed: int) -> Table:
    rows = []
    for place, found in [("CPU", f) for f in results] + ([("GPU", on_gpu)] if on_gpu else []):
        for result in found:
            way = "plain loop, float32" if result.way == "plain" else result.way
            cells = {"pace": _interval(result.paces, seed)}
            if result.way != "plain":
                cells["factor"] = _interval(result.factors, seed)
                equal = math.isinf(result.deviation_db)
                cells["deviation"] = Cell(
                    None if equal else result.deviation_db, reason="equal to the plain loop's" if equal else None
                )
            rows.append(Row(f"{result.title}, {place}", cells, way))
    if not on_gpu:
        missing = Cell(None, reason=NO_GPU)
        rows.append(Row("MelGAN, GPU", {"pace": missing, "factor": missing}, f"{GPU_BATCH} clips at once"))
    return Table(
        "Beside the plain loop",
        [
            Column("pace", "Sound per second", "s/s"),
            Column("factor", "Times the plain loop", "×"),
            Column("deviation", "Signal over the difference from it", "dB"),
        ],
        rows,
        f"CPU rows with {count} threads. Plain means the layers as published, in float32; intervals are over rounds, in"
        " which the ways took turns. Weights are drawn at random.",
    )


def _streaming_table(count: int, seed: int) -> Table:
    from models.mel_streaming import measure_streaming

    chain = streaming_chain()
    columns = -(-STREAM_FRAMES // chain.network_expander.config.shrink)
    condition = _noise(1, chain.frontend.n_mels, columns, device="cpu") - 4.0
    found = [
        measure_streaming(chain, condition, seed=seed, frames=STREAM_FRAMES, clock=time.perf_counter)
        for _ in range(ROUNDS + 1)
    ][1:]
    cells = {
        "first": _interval([1000 * one.first_audio_s for one in found], seed),
        "chunk": Cell(1000 * found[0].first_chunk_s),
        "pace": _interval([1 / one.real_time_factor for one in found], seed),
        "margin": _interval([one.least_margin_s for one in found], seed),
    }
    return Table(
        "Time to first audio",
        [
            Column("first", "From the condition to the first sound", "ms", "lower"),
            Column("chunk", "Length of the first chunk", "ms"),
            Column("pace", "Sound per second", "s/s", "higher"),
            Column("margin", "Least head start of the sound over its playback", "s"),
        ],
        [Row("MelReformer and MelGAN, block by block", cells, f"{found[0].audio_s:.1f} s in {found[0].chunks} chunks")],
        f"On a CPU with {count} threads, networks of the trained sizes.",
    )


def claims(results: Sequence[Sequence[Result]], on_gpu: Sequence[Result]) -> list[Claim]:
    """Bars and what was reached.

    Args:
        results: A list of results a contest, each beginning with the plain loop; MelGAN's contest first.
        on_gpu: MelGAN in batches on a GPU; empty where there was none.
    """
    plain = results[0][0]
    best = _best(results[0])
    others = [(_best(found), found[0]) for found in results[1:]]
    made = [
        Claim(
            f"MelGAN (4.26 M parameters) at least {MELGAN_BAR:g} times real time on two cores, within"
            f" {TOLERANCE_DB:g} dB of float32",
            f"{best.pace:.1f} times ({best.way})",
            best.pace >= MELGAN_BAR,
            f"In the same run the plain loop does {plain.pace:.1f}; the plain loop of the bar does 14 to 17.",
        )
    ]
    text = f"MelGAN at least {GPU_BAR:g} times real time on a GPU, in batches"
    if on_gpu:
        fastest = _best(on_gpu)
        made.append(
            Claim(text, f"{fastest.pace:.0f} times ({fastest.way})", fastest.pace >= GPU_BAR, f"{GPU_BATCH} clips")
        )
    else:
        made.append(Claim(text, "not measured", False, NO_GPU))
    factors = [f"{one.title}: {one.pace / base.pace:.1f}×" for one, base in others]
    made.append(
        Claim(
            "Every other network faster than its plain loop",
            "; ".join(factors),
            all(one.pace > base.pace for one, base in others),
        )
    )
    return made


def _best(found: Sequence[Result]) -> Result:
    """The fastest way whose numbers are inside the tolerance."""
    return max((result for result in found if result.counts), key=lambda result: result.pace)
