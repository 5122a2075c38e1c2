"""Mel expansion: does a transformer write a better mel from a shrunk one than stretching does, and how fast?"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from eval.stats import mean_interval, paired_difference
from eval.studies.base import Cell, Claim, Column, Listening, Measured, Plot, Point, Row, StudyContext, Table
from models.errors import CheckpointError
from models.frontends.fold import pad_to_multiple
from models.frontends.mel import log_mel
from models.frontends.time_resize import shrink, stretch
from models.mel_expansion import MelReformerSystem, NetworkExpander, StretchExpander
from models.mel_reformer import FRONTEND, floor_of
from models.mel_streaming import Latency, measure_streaming

NAME = "expansion"
TITLE = "Mel expansion"
QUESTION = (
    "A transformer writes a mel spectrogram from one shrunk 32-fold in time. How much better is that than stretching"
    " the same columns, do a discriminator or flow matching remove the blur, and what does either cost?"
)
MODELS = (
    "mel_reformer",
    "mel_reformer_gan",
    "mel_reformer_flow",
    "stretch_linear",
    "stretch_cubic",
    "melgan",
)

LINEAR, CUBIC = "Linear stretching", "Cubic stretching"
BASE = "L1, its learned stretch alone"
FORCED, FREE = "L1, teacher-forced", "L1, free-running"
GAN, FLOW = "L1 and discriminator", "Flow matching"
_WIDTHS = {8: "mel_reformer_n8", 16: "mel_reformer_n16", 64: "mel_reformer_n64"}
_SHRINKS = (8, 16, 32, 64)
_TEMPERATURES = (0.75, 0.5, 0.0)
_RUNS = 3


class Writer(Protocol):
    """What writes a mel out of the shrunk one of another mel."""

    def __call__(self, mel: Tensor, seed: int) -> Tensor:
        """Mel of the same shape, ``(1, n_mels, frames)``."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A row of the main table.

    Attributes:
        label: Name for readers.
        write: Its expansion.
        fold: Columns in a block.
        group: Mark in the plot.
        parameters: Learned numbers.
        steps: Training steps; None where nothing was trained.
    """

    label: str
    write: Writer
    fold: int
    group: str
    parameters: int = 0
    steps: int | None = None


@dataclasses.dataclass
class Figures:
    """Measured of a subject, one number a clip, and its speed."""

    l1: list[float] = dataclasses.field(default_factory=list)
    sharpness: list[float] = dataclasses.field(default_factory=list)
    seam: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    blocks: int = 0


def edge_energy(mel: Tensor) -> float:
    """Mean absolute step from band to band plus that from column to column, log-mel units; blur lowers it.

    >>> edge_energy(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    1.0
    """
    return float(mel.diff(dim=-1).abs().mean() + mel.diff(dim=-2).abs().mean())


def seam_energy(mel: Tensor, fold: int) -> float:
    """Mean absolute step across block borders over that between the other columns; 1 where there are no seams.

    >>> seam_energy(torch.tensor([[[0.0, 1.0, 3.0, 4.0]]]), 2)
    2.0
    """
    steps = mel.diff(dim=-1).abs().mean((0, 1))
    border = torch.arange(1, mel.shape[-1]) % fold == 0
    if not bool(border.any()) or bool(border.all()):
        return math.nan
    return float(steps[border].mean() / steps[~border].mean().clamp_min(1e-9))


def clip_mel(waveform: np.ndarray[Any, Any]) -> Tensor:
    """Log-mel ``(1, n_mels, frames)`` of samples ``(time,)``, the last frame filled up with zeros."""
    wave = torch.as_tensor(waveform, dtype=torch.float32)[None]
    hop = FRONTEND.stft.hop_length
    padded = torch.nn.functional.pad(wave, (0, -wave.shape[1] % hop))
    return log_mel(padded, FRONTEND)


def cell(values: Sequence[float], seed: int, groups: Sequence[str] | None = None) -> Cell:
    """Mean with its interval; values that are not numbers are left out."""
    kept = [i for i, value in enumerate(values) if math.isfinite(value)]
    own = None if groups is None else [groups[i] for i in kept]
    found = mean_interval([values[i] for i in kept], seed=seed, groups=own)
    return Cell(found.mean, found.low, found.high, found.n, None if found.mean is not None else found.method)


def compare(
    subjects: Sequence[Subject], mels: Sequence[Tensor], seed: int, note: Callable[[str], None]
) -> dict[str, Figures]:
    """Let every subject write every mel, ``(1, n_mels, frames)`` each."""
    found: dict[str, Figures] = {}
    for subject in subjects:
        note(f"expansion: {subject.label}")
        figures = found[subject.label] = Figures()
        subject.write(mels[0], seed)
        for i, mel in enumerate(mels):
            began = time.perf_counter()
            written = subject.write(mel, seed + i)
            figures.seconds += time.perf_counter() - began
            figures.blocks += -(-mel.shape[-1] // subject.fold)
            figures.l1.append(float((written - mel).abs().mean()))
            figures.sharpness.append(edge_energy(written) / max(edge_energy(mel), 1e-9))
            figures.seam.append(seam_energy(written, subject.fold) / seam_energy(mel, subject.fold))
    return found


def main_table(
    subjects: Sequence[Subject],
    found: Mapping[str, Figures],
    latencies: Mapping[str, Latency],
    missing: Mapping[str, str],
    groups: Sequence[str],
    seed: int,
) -> Table:
    """The comparison, a row for every subject and for every model without weights."""
    rows = []
    for subject in subjects:
        figures, latency = found[subject.label], latencies.get(subject.label)
        cells = {
            "l1": cell(figures.l1, seed, groups),
            "sharpness": cell(figures.sharpness, seed, groups),
            "seam": cell(figures.seam, seed, groups),
            "blocks": Cell(figures.blocks / max(figures.seconds, 1e-9)),
            "parameters": Cell(subject.parameters),
            "steps": Cell(subject.steps) if subject.steps is not None else Cell(None, reason="nothing trained"),
        }
        if latency is not None:
            cells["first_audio"] = Cell(1000.0 * latency.first_audio_s)
            cells["real_time"] = Cell(latency.real_time_factor)
        rows.append(Row(subject.label, cells))
    rows += [Row(label, {"l1": Cell(None, reason=reason)}) for label, reason in missing.items()]
    columns = [
        Column("l1", "Log-mel L1", better="lower"),
        Column("sharpness", "Sharpness, share of the real one"),
        Column("seam", "Seams, share of the real ones"),
        Column("blocks", "Blocks written", "per s", "higher"),
        Column("first_audio", "Time to first audio", "ms", "lower"),
        Column("real_time", "Compute per second of audio", "s", "lower"),
        Column("parameters", "Parameters"),
        Column("steps", "Training steps"),
    ]
    return Table(
        "Writing a mel from every 32nd column",
        columns,
        rows,
        "Log-mel in decimal logarithms of magnitude, on held-out music. All rows get the same shrunk mel; the"
        " teacher-forced one also gets the true past, which nothing has when it is used. The learned stretch is the"
        " convolution inside the network, without the transformer. Sharpness is the mean absolute"
        " step between neighbouring bands and columns; seams are steps across block borders over steps inside, so they"
        " stand out most where the inside is blurred. A share"
        " of 1 is the real mel's. Time to first audio counts from the shrunk mel to the first samples of the vocoder.",
    )


def frontier(subjects: Sequence[Subject], found: Mapping[str, Figures]) -> Plot:
    """Sharpness against L1."""
    points = [
        Point(s.label, float(np.mean(found[s.label].l1)), float(np.mean(found[s.label].sharpness)), s.group)
        for s in subjects
    ]
    points.append(Point("Real mel", 0.0, 1.0, "real"))
    return Plot(
        "Sharpness against fidelity",
        "Log-mel L1",
        "Sharpness, share of the real one",
        points,
        "Averaging over what cannot be known lowers L1 and sharpness alike; a sharp guess costs L1.",
    )


def errors_by_step(expander: NetworkExpander, mels: Sequence[Tensor]) -> Plot:
    """Log-mel L1 of every block in turn, from the true past and from the network's own."""
    fold = expander.config.fold
    curves: dict[str, list[Tensor]] = {"teacher-forced": [], "free-running": [], "cubic stretching": []}
    blocks = min(mel.shape[-1] for mel in mels) // fold
    cubic = StretchExpander("cubic")
    for mel in mels:
        part = mel[..., : blocks * fold]
        written = {
            "teacher-forced": expander.teacher_forced(mel),
            "free-running": expander.expand(mel),
            "cubic stretching": cubic.expand(mel),
        }
        for name, estimate in written.items():
            gap = (estimate[..., : blocks * fold] - part).abs().mean((0, 1))
            curves[name].append(gap.reshape(blocks, fold).mean(1))
    points = [
        Point(f"block {i + 1}", i + 1, float(value), name)
        for name, rows in curves.items()
        for i, value in enumerate(torch.stack(rows).mean(0).tolist())
    ]
    window = expander.config.tokens
    return Plot(
        "Error as the writing goes on",
        "Block",
        "Log-mel L1",
        points,
        f"Mean over {len(mels)} clips. Windows hold {window} blocks; each further one starts from the last"
        f" {expander.overlap} of the window before.",
        joined=True,
    )


def measure_stop(expander: NetworkExpander, mels: Sequence[Tensor], groups: Sequence[str], seed: int) -> Table:
    """How well the learned stop finds the end of clips cut at a random place.

    The condition is filled up with silence to a whole window, so that its width says nothing.
    """
    config = expander.config
    draw = np.random.default_rng(seed)
    errors: dict[str, list[float]] = {"Learned stop": [], "Last column that is not silent": []}
    unstopped, own = 0, []
    for mel, group in zip(mels, groups, strict=True):
        for length in draw.integers(config.shrink, min(mel.shape[-1], config.window_frames), size=2).tolist():
            cut = pad_to_multiple(mel[..., :length], config.window_frames, floor=config.floor)
            condition = expander.condition(cut)
            written = sum(block.shape[-1] for block in expander.stream(condition, seeds=[0]))
            unstopped += written == config.window_frames
            errors["Learned stop"].append(abs(written - length))
            heard = torch.nonzero((condition > config.floor + 1e-3).any(1)[0])
            columns = int(heard[-1]) + 1 if len(heard) else 1
            errors["Last column that is not silent"].append(abs(columns * config.shrink - config.shrink // 2 - length))
            own.append(group)
    rows = []
    for label, values in errors.items():
        within = [100.0 if value <= config.fold / 4 else 0.0 for value in values]
        rows.append(Row(label, {"error": cell(values, seed, own), "within": cell(within, seed, own)}))
    return Table(
        "Where the clip ends",
        [
            Column("error", "Distance from the true end", "frames", "lower"),
            Column("within", f"Within {config.fold // 4} frames", "%", "higher"),
        ],
        rows,
        f"{len(own)} clips cut at random and filled up with silence. In {unstopped} of them the network did not stop.",
    )


def condition_sizes(mels: Sequence[Tensor], groups: Sequence[str], seed: int) -> Table:
    """What stretching makes of conditions of several sizes, with and without the low-pass."""
    ways = {
        "published": ("Every n-th column, linear", "linear", "linear"),
        "linear": ("Cell means, linear", "area", "linear"),
        "cubic": ("Cell means, cubic", "area", "cubic"),
    }
    rows = []
    for factor in _SHRINKS:
        cells = {}
        for key, (_, down, up) in ways.items():
            values = []
            for mel in mels:
                padded = pad_to_multiple(mel, factor, floor=floor_of(FRONTEND))
                condition = shrink(padded, padded.shape[-1] // factor, down)
                back = stretch(condition, padded.shape[-1], up)[..., : mel.shape[-1]]
                values.append(float((back - mel).abs().mean()))
            cells[key] = cell(values, seed, groups)
        rows.append(Row(f"{factor} frames a column", cells))
    return Table(
        "How much a shrunk mel still tells",
        [Column(key, title, "log-mel L1", "lower") for key, (title, _, _) in ways.items()],
        rows,
        "Stretching alone, no network. 32 frames a column is the published condition; the published class default would"
        " be 8.",
    )


def claims(found: Mapping[str, Figures], groups: Sequence[str], seed: int) -> list[Claim]:
    """The bars of the study, as far as their rows were measured."""
    made = []
    if FREE in found:
        better = {
            label: paired_difference(found[FREE].l1, found[label].l1, seed=seed, groups=groups)
            for label in (LINEAR, CUBIC)
        }
        met = all(d.high is not None and d.high < 0 for d in better.values())
        parts = [f"{label.lower()} {np.mean(found[label].l1):.4f} ({_gap(d)})" for label, d in better.items()]
        made.append(
            Claim(
                "MelReformer, free-running, has a lower log-mel L1 than linear and than cubic stretching",
                f"{np.mean(found[FREE].l1):.4f} against {' and '.join(parts)}",
                met,
                None if met else "an interval of the paired difference does not lie below zero",
            )
        )
    sharper = [label for label in (GAN, FLOW) if label in found]
    if FREE in found and sharper:
        off = {label: [abs(s - 1.0) for s in found[label].sharpness] for label in (FREE, *sharper)}
        texts, met = [], False
        for label in sharper:
            gain = paired_difference(off[label], off[FREE], seed=seed, groups=groups)
            cost = paired_difference(found[label].l1, found[FREE].l1, seed=seed, groups=groups)
            met = met or (gain.high is not None and gain.high < 0)
            texts.append(f"{label.lower()} {np.mean(found[label].sharpness):.2f} (L1 {_gap(cost)})")
        made.append(
            Claim(
                "The adversarial or the flow-matching variant is nearer the real sharpness, at a stated cost in L1",
                f"sharpness {np.mean(found[FREE].sharpness):.2f} of the real one with L1 alone, {', '.join(texts)}",
                met,
                None if met else "no interval of the paired difference of the distances from 1 lies below zero",
            )
        )
    return made


def _gap(difference: Any) -> str:
    if difference.low is None:
        return f"{difference.mean:+.4f}"
    return f"{difference.mean:+.4f}, 95 % {difference.low:+.4f} to {difference.high:+.4f}"


def width_plot(subjects: Sequence[Subject], found: Mapping[str, Figures]) -> Plot | None:
    """L1 against fold width at equal size; None where only one width was trained."""
    widths = sorted((s.fold, s.label) for s in subjects if s.label == FREE or s.group == "fold width")
    if len(widths) < 2:
        return None
    points = [Point(f"n = {n}", n, float(np.mean(found[label].l1)), "free-running") for n, label in widths]
    return Plot("Fold width at equal size", "Columns in a block", "Log-mel L1", points, joined=True)


def _network_subject(label: str, expander: NetworkExpander, group: str) -> Subject:
    def write(mel: Tensor, seed: int) -> Tensor:
        return expander.expand(mel, [seed])

    step = (expander.card or {}).get("step")
    return Subject(label, write, expander.config.fold, group, expander.parameters, None if step is None else int(step))


def _baseline(label: str, kind: str) -> Subject:
    expander = StretchExpander(kind)

    def write(mel: Tensor, seed: int) -> Tensor:
        return expander.expand(mel)

    return Subject(label, write, expander.shrink_by, "stretching")


def _forced_subject(expander: NetworkExpander) -> Subject:
    def write(mel: Tensor, seed: int) -> Tensor:
        return expander.teacher_forced(mel)

    return dataclasses.replace(_network_subject(FORCED, expander, "teacher-forced"), write=write)


def _cooled_subject(expander: NetworkExpander, temperature: float) -> Subject:
    cooled = NetworkExpander(
        expander.network, expander.frontend, device=str(expander.device), card=expander.card, temperature=temperature
    )
    return _network_subject(f"{FLOW}, noise times {temperature}", cooled, FLOW)


def _base_subject(expander: NetworkExpander) -> Subject:
    def write(mel: Tensor, seed: int) -> Tensor:
        return expander.base(mel)

    learned = sum(p.numel() for p in expander.network.refine.parameters())
    return dataclasses.replace(_network_subject(BASE, expander, "stretching"), write=write, parameters=learned)


def first_audio(system: MelReformerSystem, mel: Tensor) -> Latency:
    """The fastest of a few streams of one clip."""
    condition = system.network_expander.condition(mel)
    runs = [measure_streaming(system, condition, frames=mel.shape[-1]) for _ in range(_RUNS)]
    return min(runs, key=lambda run: run.first_audio_s)


def measure(context: StudyContext) -> Measured:
    """Compare on all held-out music clips."""
    clips = context.clips("music")
    mels = [clip_mel(samples) for _, samples in clips]
    groups = [clip.group for clip, _ in clips]
    subjects = [_baseline(LINEAR, "linear"), _baseline(CUBIC, "cubic")]
    latencies: dict[str, Latency] = {}
    missing: dict[str, str] = {}
    main: NetworkExpander | None = None
    for name, label in (("mel_reformer", FREE), ("mel_reformer_gan", GAN), ("mel_reformer_flow", FLOW)):
        try:
            system: MelReformerSystem = context.load(name)
        except CheckpointError as error:
            missing[label] = f"no usable weights of {name}"
            context.note(str(error))
            continue
        expander = system.network_expander
        if name == "mel_reformer":
            main = expander
            if expander.config.refine:
                subjects.append(_base_subject(expander))
            subjects.append(_forced_subject(expander))
        subjects.append(_network_subject(label, expander, label))
        if expander.config.objective == "flow":
            subjects += [_cooled_subject(expander, temperature) for temperature in _TEMPERATURES]
        latencies[label] = first_audio(system, mels[0])
    for n, name in _WIDTHS.items():
        label = f"L1, free-running, n = {n}"
        try:
            subjects.append(_network_subject(label, context.load(name), "fold width"))
        except CheckpointError as error:
            missing[label] = f"no usable weights of {name}: it was not trained for as many steps as the others"
            context.note(str(error))
    seed = context.seed
    found = compare(subjects, mels, seed, context.note)
    tables = [main_table(subjects, found, latencies, missing, groups, seed), condition_sizes(mels, groups, seed)]
    plots = [frontier(subjects, found)]
    if main is not None:
        context.note("expansion: error by step, and where clips end")
        plots.append(errors_by_step(main, mels))
        if main.config.stop:
            tables.append(measure_stop(main, mels, groups, seed))
    widths = width_plot(subjects, found)
    return Measured(tables, [*plots, *([widths] if widths is not None else [])], claims(found, groups, seed))


def listen(context: StudyContext) -> list[Listening]:
    """Nothing of its own: all systems are heard side by side in the evaluation of clips."""
    return []
