"""Music from nothing: what the chain of idea model, expansion and vocoder makes, against held-out music."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.stats import mean_interval
from eval.studies.base import (
    Cell,
    Claim,
    Column,
    Listening,
    Measured,
    Plot,
    Point,
    Row,
    StudyContext,
    Table,
    Track,
)
from models.frontends.mel import log_mel
from models.frontends.time_resize import shrink, stretch
from models.idea_chain import IdeaChain
from models.idea_model import IdeaConfig, IdeaModel
from models.training.data import read_clips

NAME = "idea_chain"
TITLE = "Music from nothing"
QUESTION = (
    "An idea model draws a small mel and how long it is to last, a transformer writes it out, a vocoder makes it"
    " audible. How near does what comes out lie to held-out music, which stage loses what, and is it copied?"
)
MODELS = ("idea", "mel_reformer", "melgan")

# A decade of magnitude, the unit of the log-mels, in decibels.
_DB = 20.0
_CLIP_S = 10.0
_PIECES = 32
_AUDIBLE = 12
_HEARD = 4
# Bands that are averaged into one dimension of the Fréchet distance, which needs more passages than dimensions.
_POOLED = 8
_PASSAGES_PER_CLIP = 4


def frechet_distance(estimate: Tensor, reference: Tensor) -> float:
    """Fréchet distance of two sets of vectors ``(n, size)``, each taken to be normally distributed.

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``; 0 for sets of equal mean and covariance. In the unit of the
    vectors, squared. Sets that are small beside their size come out too far apart, so that two samples of one kind
    belong beside it.

    Raises:
        ValueError: If the sizes differ or a set has fewer than two vectors.

    Source:
        Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982.

    >>> x = torch.randn(500, 3)
    >>> round(frechet_distance(x + 2.0, x), 3)
    12.0
    """
    if estimate.shape[1:] != reference.shape[1:] or min(len(estimate), len(reference)) < 2:
        raise ValueError(
            f"need two sets of at least two vectors, got {tuple(estimate.shape)} and {tuple(reference.shape)}"
        )
    one, other = estimate.double(), reference.double()
    gap = (one.mean(0) - other.mean(0)).square().sum()
    c1, c2 = torch.cov(one.T).reshape(one.shape[1], -1), torch.cov(other.T).reshape(one.shape[1], -1)
    values, vectors = torch.linalg.eigh(c1)
    root = vectors * values.clamp_min(0.0).sqrt() @ vectors.T
    # The eigenvalues of C1 C2 are those of the symmetric C1^(1/2) C2 C1^(1/2).
    cross = torch.linalg.eigvalsh(root @ c2 @ root).clamp_min(0.0).sqrt().sum()
    return max(0.0, float(gap + torch.trace(c1) + torch.trace(c2) - 2.0 * cross))


def wasserstein(estimate: Sequence[float], reference: Sequence[float]) -> float:
    """Earth mover's distance between two sets of numbers of any sizes, in their unit.

    >>> wasserstein([1.0, 2.0], [2.0, 1.0, 1.0, 2.0])
    0.0
    """
    a, b = np.sort(np.asarray(estimate, dtype=float)), np.sort(np.asarray(reference, dtype=float))
    cuts = np.unique(np.concatenate([np.arange(1, len(a) + 1) / len(a), np.arange(1, len(b) + 1) / len(b)]))
    widths = np.diff(np.concatenate([[0.0], cuts]))
    middles = cuts - widths / 2
    x = a[np.minimum((middles * len(a)).astype(int), len(a) - 1)]
    y = b[np.minimum((middles * len(b)).astype(int), len(b) - 1)]
    return float(np.sum(widths * np.abs(x - y)))


def edges_db(mel: Tensor) -> float:
    """Mean absolute step between neighbouring bands and columns of a log-mel, in dB; blur lowers it."""
    return _DB * float(mel.diff(dim=-1).abs().mean() + mel.diff(dim=-2).abs().mean())


def pooled_columns(mels: Sequence[Tensor]) -> Tensor:
    """Every column of some log-mels ``(n_mels, columns)`` as a vector of means over neighbouring bands, in dB."""
    columns = torch.cat([mel.T for mel in mels])
    return _DB * columns.reshape(len(columns), -1, _POOLED).mean(2)


def band_gaps_db(estimate: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[float, float]:
    """Mean distance in dB between the means, and between the standard deviations, of each band of two sets."""
    one, other = (_DB * torch.cat(list(mels), 1) for mels in (estimate, reference))
    return (
        float((one.mean(1) - other.mean(1)).abs().mean()),
        float((one.std(1) - other.std(1)).abs().mean()),
    )


@dataclasses.dataclass(frozen=True)
class Passage:
    """A piece of real music as the idea model would have drawn it.

    Attributes:
        mel: Log-mel ``(n_mels, frames)``.
        picture: The same, shrunk, ``(n_mels, columns)``.
        factor: Frames per column.
        group: What it was cut from.
    """

    mel: Tensor
    picture: Tensor
    factor: float
    group: str


def passages(mels: Sequence[Tensor], groups: Sequence[str], config: IdeaConfig, each: int, seed: int) -> list[Passage]:
    """Passages cut out of log-mels as in training: any length of the grain, any place."""
    draw = np.random.default_rng(seed)
    found = []
    for mel, group in zip(mels, groups, strict=True):
        most = min(config.most_frames, mel.shape[1])
        if most < config.least_frames:
            continue
        for _ in range(each):
            choices = (most - config.least_frames) // config.grain_frames + 1
            frames = config.least_frames + config.grain_frames * int(draw.integers(choices))
            start = int(draw.integers(mel.shape[1] - frames + 1))
            piece = mel[:, start : start + frames]
            found.append(Passage(piece, shrink(piece[None], config.columns)[0], frames / config.columns, group))
    return found


def set_row(label: str, mels: Sequence[Tensor], reference: Sequence[Tensor], seed: int, note: str | None = None) -> Row:
    """How a set of log-mels differs from a reference set."""
    mean_gap, spread_gap = band_gaps_db(mels, reference)
    found = mean_interval([edges_db(mel) for mel in mels], seed=seed)
    return Row(
        label,
        {
            "frechet": Cell(math.sqrt(frechet_distance(pooled_columns(mels), pooled_columns(reference))), n=len(mels)),
            "mean": Cell(mean_gap, n=len(mels)),
            "spread": Cell(spread_gap, n=len(mels)),
            "edges": Cell(found.mean, found.low, found.high, found.n, None if found.mean is not None else found.method),
        },
        note,
    )


_SET_COLUMNS = (
    Column("frechet", "Fréchet distance", "dB", "lower"),
    Column("mean", "Between the bands' means", "dB", "lower"),
    Column("spread", "Between their standard deviations", "dB", "lower"),
    Column("edges", "Step between neighbouring cells", "dB"),
)


def copying(
    pictures: Tensor, pool: Tensor, groups: Sequence[str] | None = None, own: Sequence[str] = ()
) -> list[float]:
    """Distance in dB from each picture to the nearest one of a pool.

    Args:
        pictures: Shape ``(n, n_mels, columns)``.
        pool: Shape ``(m, n_mels, columns)``.
        groups: Clip of every one in the pool.
        own: Clip of every picture; those of the same clip are left out, and pictures that then have nothing beside them
            too.
    """
    found = []
    for i, picture in enumerate(pictures):
        gaps = _DB * (pool - picture).abs().mean((1, 2))
        if groups is not None:
            gaps[torch.tensor([group == own[i] for group in groups])] = math.inf
        found.append(float(gaps.min()))
    return [gap for gap in found if math.isfinite(gap)]


@dataclasses.dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def __call__(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do some work and remember how long it took."""
        began = time.perf_counter()
        done = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
        return done


STAGES = ("Idea", "Expansion", "Vocoder")


@dataclasses.dataclass(frozen=True)
class Finished:
    """What came out of the chain for some ideas.

    Attributes:
        written: Log-mels after the expansion, ``(n_mels, frames)`` each.
        stretched: The same conditions stretched linearly instead.
        heard: Log-mels of the audio.
        seconds: Of audio.
    """

    written: list[Tensor]
    stretched: list[Tensor]
    heard: list[Tensor]
    seconds: float


def finish(chain: IdeaChain, ideas: Sequence[tuple[Tensor, float]], seed: int, clock: Clock) -> Finished:
    """Take ideas, drawn or cut from real music, through the other two stages."""
    written, stretched, heard, samples = [], [], [], 0
    for i, (picture, factor) in enumerate(ideas):
        condition, frames = chain.condition(picture, factor)
        mel: Tensor = clock("Expansion", functools.partial(chain.expand, condition, frames, seed + i))
        audio: Tensor = clock("Vocoder", functools.partial(chain.vocoder.vocode, mel))
        written.append(mel[0])
        stretched.append(stretch(condition, frames)[0])
        heard.append(log_mel(audio, chain.frontend)[0])
        samples += audio.shape[1]
    return Finished(written, stretched, heard, samples / chain.sample_rate_hz)


def stage_table(
    drawn: Finished, real: Finished, held_out: Sequence[Tensor], other_half: Sequence[Tensor], seed: int
) -> Table:
    """Full-length log-mels after each stage, from drawn ideas and from real ones."""
    rows = [
        set_row("Other held-out passages", other_half, held_out, seed, "as near as real music comes"),
        set_row("Real ideas, written out", real.written, held_out, seed),
        set_row("Real ideas, written out and vocoded", real.heard, held_out, seed),
        set_row("Drawn ideas, stretched", drawn.stretched, held_out, seed, "no expansion"),
        set_row("Drawn ideas, written out", drawn.written, held_out, seed),
        set_row("Drawn ideas, written out and vocoded", drawn.heard, held_out, seed, "the whole chain"),
    ]
    return Table(
        "The chain against held-out music",
        list(_SET_COLUMNS),
        rows,
        "Columns of log-mels as sets, against one half of the held-out passages. Real ideas are held-out passages of"
        " the other half, shrunk: what the later stages lose by themselves. The Fréchet distance is the root of the one"
        f" between means over {_POOLED} bands.",
    )


def idea_table(pictures: Sequence[Tensor], real: Sequence[Passage], training: Sequence[Passage], seed: int) -> Table:
    """Shrunk mels: drawn, learned and held out."""
    reference = [p.picture for p in real]
    mean_picture = torch.stack(reference).mean(0)
    rows = [set_row("Drawn", pictures, reference, seed)]
    if training:
        rows.append(set_row("Training passages", [p.picture for p in training], reference, seed))
    rows.append(set_row("Mean held-out picture", [mean_picture] * 2, reference, seed, "what a model of one idea draws"))
    rows.append(set_row("Held-out passages", reference, reference, seed))
    return Table(
        "Ideas against held-out passages",
        list(_SET_COLUMNS),
        rows,
        "128 bands by 64 columns; steps between neighbouring cells say how sharp a picture is.",
    )


def factor_table(drawn: Sequence[float], config: IdeaConfig, seed: int) -> Table:
    """Distribution of the stretch factor."""
    grain = config.grain_frames
    true = [frames / config.columns for frames in range(config.least_frames, config.most_frames + 1, grain)]
    sample = np.random.default_rng(seed).choice(true, size=(200, len(drawn)))
    expected = float(np.mean([wasserstein(row.tolist(), true) for row in sample]))
    rows = []
    for label, values, distance in (
        ("Drawn", drawn, wasserstein(drawn, true)),
        ("As many true ones", true, expected),
        ("Always the middle", [config.stretch_centre], wasserstein([config.stretch_centre], true)),
    ):
        cells = {
            "mean": Cell(float(np.mean(values))),
            "spread": Cell(float(np.std(values))),
            "distance": Cell(distance, n=len(drawn) if label != "Always the middle" else None),
        }
        rows.append(Row(label, cells))
    return Table(
        "Stretch factors",
        [
            Column("mean", "Mean", "frames per column"),
            Column("spread", "Standard deviation", "frames per column"),
            Column("distance", "Earth mover's distance to the true ones", "frames per column", "lower"),
        ],
        rows,
        f"In training all lengths from {config.least_frames} to {config.most_frames} frames are equally likely.",
    )


def copying_table(
    pictures: Sequence[Tensor], real: Sequence[Passage], training: Sequence[Passage], seed: int
) -> tuple[Table, list[float], list[float]]:
    """Distance to the nearest training passage, of drawn and of held-out ones."""
    title = "Distance to what was learned"
    column = Column("nearest", "To the nearest training passage", "dB")
    if not training:
        reason = "no training corpus was given"
        rows = [Row(label, {"nearest": Cell(None, reason=reason)}) for label in ("Drawn", "Held-out passages")]
        return Table(title, [column], rows), [], []
    pool = torch.stack([p.picture for p in training])
    drawn = copying(torch.stack(list(pictures)), pool)
    held = copying(torch.stack([p.picture for p in real]), pool)
    groups = [p.group for p in training]
    some = training[:: max(1, len(training) // 100)]
    own = copying(torch.stack([p.picture for p in some]), pool, groups, [p.group for p in some])
    rows = []
    for label, values in (
        ("Drawn", drawn),
        ("Held-out passages", held),
        ("Training passages, to those of other clips", own),
    ):
        found = mean_interval(values, seed=seed)
        cells = {
            "nearest": Cell(found.mean, found.low, found.high, found.n, None if values else found.method),
            "least": Cell(min(values)) if values else Cell(None, reason=found.method),
        }
        rows.append(Row(label, cells))
    note = (
        f"Mean absolute log-mel difference to the nearest of {len(training)} training passages. A model that copies"
        " comes nearer to them than held-out music does."
    )
    return Table(title, [column, Column("least", "Least of all", "dB")], rows, note), drawn, held


def time_table(clock: Mapping[str, float], ideas: int, pieces: int, seconds: float) -> Table:
    """Compute by stage and second of audio."""
    per_piece = seconds / max(1, pieces)
    rows = []
    total = 0.0
    for stage in STAGES:
        own = clock[stage] / (ideas if stage == "Idea" else pieces)
        total += own
        rows.append(Row(stage, {"piece": Cell(own), "second": Cell(own / per_piece)}))
    rows.append(Row("Together", {"piece": Cell(total), "second": Cell(total / per_piece)}))
    return Table(
        "Compute by stage",
        [
            Column("piece", "A piece", "s", "lower"),
            Column("second", "A second of audio", "s", "lower"),
        ],
        rows,
        f"Pieces last {per_piece:.1f} s on average.",
    )


def chain_claims(
    drawn_nearest: Sequence[float], held_nearest: Sequence[float], distance: float, middle: float
) -> list[Claim]:
    """What can be said with a bar."""
    made = [
        Claim(
            "Stretch factors are distributed like the true ones: less than half as far from them as the best constant",
            f"earth mover's distance {distance:.2f} against {middle:.2f} frames per column",
            distance < 0.5 * middle,
            None if distance < 0.5 * middle else "the drawn factors have another distribution",
        )
    ]
    if drawn_nearest:
        ours, theirs = float(np.mean(drawn_nearest)), float(np.mean(held_nearest))
        met = min(drawn_nearest) > 0.5 * min(held_nearest)
        made.append(
            Claim(
                "No drawn idea is a copy: the one nearest to a training passage is at least half as far from it as the"
                " nearest held-out passage is",
                f"nearest {min(drawn_nearest):.2f} dB, mean {ours:.2f} dB; held-out {min(held_nearest):.2f} and"
                f" {theirs:.2f} dB",
                met,
                None if met else "an idea lies close to a training passage",
            )
        )
    return made


def factor_plot(drawn: Sequence[float], config: IdeaConfig) -> Plot:
    """Distribution functions of drawn and true stretch factors."""
    values = sorted(drawn)
    points = [Point(f"{v:.1f}", v, (i + 0.5) / len(values), "drawn") for i, v in enumerate(values)]
    steps = range(config.least_frames, config.most_frames + 1, config.grain_frames)
    points += [
        Point(f"{frames / config.columns:.1f}", frames / config.columns, (i + 0.5) / len(steps), "true")
        for i, frames in enumerate(steps)
    ]
    return Plot(
        "Stretch factors",
        "Frames per column",
        "Share of ideas with less",
        points,
        joined=True,
    )


def make_chain(context: StudyContext) -> IdeaChain:
    """The chain with the weights of the context."""
    system = context.load("mel_reformer")
    return IdeaChain(
        device=context.device,
        idea=context.load("idea"),
        expander=system.expander,
        vocoder=context.load("melgan"),
    )


def measure(context: StudyContext) -> Measured:
    """Measure ideas, stages, factors, copying and time.

    Raises:
        CorpusError: If a corpus cannot be read.
    """
    chain = make_chain(context)
    model: IdeaModel = context.load("idea")
    config, seed = model.config, context.seed
    clips = context.clips("music")
    mels = [_mel(samples, chain) for _, samples in clips]
    groups = [clip.group or clip.clip_id for clip, _ in clips]
    halves = [sorted(set(groups))[i::2] for i in (0, 1)]
    picked = [[i for i, group in enumerate(groups) if group in half] for half in halves]
    reference, others = (
        passages([mels[i] for i in rows], [groups[i] for i in rows], config, _PASSAGES_PER_CLIP, seed + k)
        for k, rows in enumerate(picked)
    )
    training: list[Passage] = []
    if context.training:
        context.note("idea chain: reading the training corpus")
        store = read_clips(context.training, sample_rate_hz=model.sample_rate_hz, clip_s=_CLIP_S)
        learned = [log_mel(store.waveforms(torch.tensor([i])), chain.frontend)[0] for i in range(len(store))]
        training = passages(learned, store.clip_ids, config, _PASSAGES_PER_CLIP, seed)
    context.note(f"idea chain: drawing {_PIECES} ideas")
    clock = Clock()
    pictures, factors = clock("Idea", lambda: chain.ideas(range(seed, seed + _PIECES)))
    drawn = list(zip(pictures, factors.tolist(), strict=True))
    context.note(f"idea chain: making {_AUDIBLE} of them audible")
    finished = finish(chain, drawn[:_AUDIBLE], seed, clock)
    spent = dict(clock.seconds)
    real = finish(chain, [(p.picture, p.factor) for p in others[:_AUDIBLE]], seed, Clock())
    real_mels = [p.mel for p in reference]
    everyone = [*reference, *others]
    copies, drawn_nearest, held_nearest = copying_table(list(pictures), everyone, training, seed)
    factor = factor_table(factors.tolist(), config, seed)
    distances = [row.cells["distance"].value or 0.0 for row in factor.rows]
    return Measured(
        tables=(
            stage_table(finished, real, real_mels, [p.mel for p in others], seed),
            idea_table(list(pictures), everyone, training, seed),
            factor,
            copies,
            time_table(spent, _PIECES, min(_AUDIBLE, len(drawn)), finished.seconds),
        ),
        plots=(factor_plot(factors.tolist(), config),),
        claims=tuple(chain_claims(drawn_nearest, held_nearest, distances[0], distances[2])),
    )


def listen(context: StudyContext) -> list[Listening]:
    """Generated pieces, one a row."""
    chain = make_chain(context)
    seeds = list(range(context.seed, context.seed + _HEARD))
    return [
        Listening(
            f"piece_{i + 1}",
            f"Piece {i + 1}",
            chain.sample_rate_hz,
            [Track(f"Seed {seed}", piece.float().cpu().numpy())],
            {"length_s": round(len(piece) / chain.sample_rate_hz, 2), "sound": "generated from noise"},
        )
        for i, (seed, piece) in enumerate(zip(seeds, chain.generate(seeds), strict=True))
    ]


def _mel(samples: np.ndarray[Any, Any], chain: IdeaChain) -> Tensor:
    hop = chain.frontend.stft.hop_length
    wave = torch.as_tensor(samples, dtype=torch.float32)[None]
    return log_mel(wave[:, : wave.shape[1] // hop * hop], chain.frontend)[0]
