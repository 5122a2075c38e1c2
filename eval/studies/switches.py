"""Switches to spectrogram: how well do decoders of equal size remember 64 excerpts, and what do blends give?"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
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
    demo_label,
)
from models.errors import CorpusError
from models.frontends.mel import log_mel
from models.switch_decoder import FACTORS, SwitchGenerator, memorise, switch_pairs
from models.training.data import ClipStore, read_clips

NAME = "switches"
TITLE = "Switches to spectrogram"
QUESTION = (
    "A decoder turns one-hot switches into the spectrogram of a remembered excerpt. Which factor of the pixel shuffle"
    " remembers best at equal size, how do other ways of upsampling do, and is a blend more than a cross-fade?"
)
SHUFFLES = {r: f"switch_r{r}" for r in FACTORS}
OTHERS = {
    "switch_transposed": "Transposed convolutions",
    "switch_resize": "Resizing and convolving",
    "switch_first": "Published first model",
}
MODELS = (*SHUFFLES.values(), *OTHERS, "melgan")

BLENDED = "switch_r16"
BAR = 0.2
# A decade of magnitude, the unit of the log-mels, in decibels.
_DB = 20.0
_CLIP_S = 10.0
_BLENDS = 24
_HEARD = ((0, 9), (4, 21))
_SLIDES = (0.0, 0.5, 1.0)
_SLIDE_S = 3.0


def checkerboard_db(residual: Tensor, period: int) -> float:
    """Energy that an error repeats every ``period`` cells, over that at neighbouring frequencies, in dB.

    Along bands and along frames, the power spectra of all lines are summed; of the harmonics of the period, mean and
    constant left out, the power is compared with that of the nearest frequencies that are none. 0 dB where the error
    knows nothing of the period; a grid left behind by a decoder stands out. The mean of both axes is given.

    Args:
        residual: Output less target, ``(..., bands, frames)``.
        period: In cells, a divisor of both sides, at least 2.

    Raises:
        ValueError: If the period does not divide both sides, or is as long as one.

    Source:
        Odena et al., "Deconvolution and Checkerboard Artifacts", 2016 (the artefact); the measure is ours.
    """
    found = []
    for axis in (-2, -1):
        n = residual.shape[axis]
        if period < 2 or n % period or n == period:
            raise ValueError(f"period must be at least 2 and divide {n} more than once, got {period}")
        spectrum = torch.fft.rfft(residual.double(), dim=axis).abs().square().movedim(axis, -1).flatten(0, -2).sum(0)
        step = n // period
        harmonics = torch.arange(step, n // 2 + 1, step)
        beside = torch.cat([harmonics + offset for offset in (-1, 1)])
        beside = beside[(beside < len(spectrum)) & (beside % step != 0)]
        power, around = float(spectrum[harmonics].mean()), float(spectrum[beside].mean())
        found.append(10.0 * math.log10(max(power, 1e-30) / max(around, 1e-30)))
    return sum(found) / 2


def sharpness(mel: Tensor) -> float:
    """Mean absolute step between neighbouring bands and frames of a log-mel, in dB."""
    return _DB * float(mel.diff(dim=-1).abs().mean() + mel.diff(dim=-2).abs().mean())


def l1_db(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute log-mel difference of each row, in dB."""
    return _DB * (estimate - reference).abs().mean((-2, -1))


def nearest_db(rows: Tensor, pool: Tensor, *, skip_self: bool = False) -> Tensor:
    """Distance in dB from each log-mel to the nearest one of a pool; with ``skip_self`` a row is not its own."""
    out = []
    for i, row in enumerate(rows):
        gaps = l1_db(row[None], pool)
        if skip_self:
            gaps[i] = math.inf
        out.append(gaps.min())
    return torch.stack(out)


def remembered(model: SwitchGenerator, store: ClipStore) -> tuple[Tensor, Tensor]:
    """Log-mels and waveforms of the excerpts that a model learned, in the order of `switch_pairs`.

    Raises:
        CorpusError: If an excerpt of the card is not in the store, or is another recording there.
    """
    known = {clip_id: row for row, clip_id in enumerate(store.clip_ids)}
    wanted = [label["clip_id"] for label in model.memorised if label["position"] == 0]
    missing = [clip_id for clip_id in wanted if clip_id not in known]
    if missing or not wanted:
        raise CorpusError(
            f"{model.name}: clip {missing[0] if missing else '?'!r}, which it learned, is in no training corpus;"
            " name the corpus that it was trained on with --training"
        )
    rows = torch.tensor([known[clip_id] for clip_id in wanted])
    chosen = dataclasses.replace(
        store, pcm=store.pcm[rows], clip_ids=tuple(wanted), corpus_index=store.corpus_index[rows], labels=(), groups=()
    )
    found = memorise(chosen, model.config, model.frontend)
    stated = {(label["clip_id"], label["position"]): label["pcm_sha256"] for label in model.memorised}
    for label in found.labels:
        if stated.get((label["clip_id"], label["position"])) != label["pcm_sha256"]:
            raise CorpusError(
                f"{model.name}: clip {label['clip_id']!r} is not the recording that it learned; name the corpus that it"
                " was trained on with --training"
            )
    # The choice sorts by hash of name, as it did in training, so that songs keep their switches.
    order = [known[label["clip_id"]] for label in found.labels]
    length = model.config.frames * model.frontend.stft.hop_length
    pieces = [
        store.waveforms(torch.tensor([row]))[0, label["start_sample"] : label["start_sample"] + length]
        for row, label in zip(order, found.labels, strict=True)
    ]
    return found.targets, torch.stack(pieces)


@dataclasses.dataclass(frozen=True)
class Remembrance:
    """How well a model remembers.

    Attributes:
        label: Name for readers.
        errors_db: Log-mel error of every excerpt.
        ratio: Mean error over that of the mean spectrogram.
        checkerboards_db: By period.
        period: The period that its last layer could leave behind; None for the resizing and the first model.
        parameters: Learned numbers.
        seconds: Of training, wall time; None where the card does not say.
        steps: Of training.
    """

    label: str
    errors_db: tuple[float, ...]
    ratio: float
    checkerboards_db: Mapping[int, float]
    period: int | None
    parameters: int
    seconds: float | None
    steps: int | None


def measure_memory(label: str, model: SwitchGenerator, targets: Tensor, period: int | None) -> Remembrance:
    """Let a model write all that it learned."""
    written = model.spectrogram(switch_pairs(model.config))
    errors = l1_db(written, targets)
    baseline = float(l1_db(targets.mean(0, keepdim=True), targets).mean())
    residual = written - targets
    return Remembrance(
        label,
        tuple(errors.tolist()),
        float(errors.mean()) / max(baseline, 1e-9),
        {r: checkerboard_db(residual, r) for r in FACTORS if targets.shape[-2] > r},
        period,
        model.parameters,
        model.card.get("seconds"),
        model.card.get("step"),
    )


def memory_table(found: Sequence[Remembrance], targets: Tensor, groups: Sequence[str], seed: int) -> Table:
    """A row for every decoder and two for the trivial baselines."""
    baseline = l1_db(targets.mean(0, keepdim=True), targets)
    mean_error = float(baseline.mean())
    rows = []
    for r in found:
        own = None if r.period is None else r.checkerboards_db.get(r.period)
        rows.append(
            Row(
                r.label,
                {
                    "error": _cell(r.errors_db, groups, seed),
                    "ratio": Cell(r.ratio, n=len(r.errors_db)),
                    "checkerboard": Cell(own, reason=None if own is not None else "its last layer has no period"),
                    "parameters": Cell(r.parameters),
                    "steps": Cell(r.steps, reason=None if r.steps is not None else "not on the card"),
                    "seconds": Cell(r.seconds, reason=None if r.seconds is not None else "not on the card"),
                },
            )
        )
    nearest = nearest_db(targets, targets, skip_self=True)
    for label, values in (
        ("Mean spectrogram of all excerpts", baseline),
        ("Nearest other excerpt", nearest),
    ):
        cells = {"error": _cell(values.tolist(), groups, seed), "ratio": Cell(float(values.mean()) / mean_error)}
        rows.append(Row(label, cells))
    return Table(
        f"Remembering {len(targets)} training excerpts",
        [
            Column("error", "Log-mel error", "dB", "lower"),
            Column("ratio", "Share of the mean spectrogram's error", better="lower"),
            Column("checkerboard", "Grid left at its own period", "dB", "lower"),
            Column("parameters", "Parameters"),
            Column("steps", "Training steps"),
            Column("seconds", "Training time", "s"),
        ],
        rows,
        "Mean absolute error of 128 bands by 512 frames on the clips that the decoders were trained on: this asks for"
        " memory, not for more. The first model is smaller, as published. Transposed convolutions could leave a grid of"
        " 16 cells. Steps differ, for training was cut off by time; that is wall time on a machine that did other work"
        " besides.",
    )


def grid_table(found: Sequence[Remembrance]) -> Table:
    """Checkerboard energy of every decoder at every period."""
    periods = sorted({period for r in found for period in r.checkerboards_db})
    return Table(
        "Grids in the error",
        [Column(f"p{period}", f"Every {period} cells", "dB", "lower") for period in periods],
        [Row(r.label, {f"p{p}": Cell(value) for p, value in r.checkerboards_db.items()}) for r in found],
        "Power of the error at the harmonics of a period over that of the frequencies beside them, mean of both axes:"
        " 0 dB means no grid. A shuffle by r can leave one of r cells and of every divisor of r.",
    )


def memory_plot(found: Mapping[int, Remembrance], others: Sequence[Remembrance]) -> Plot:
    """Error against the factor of the shuffle."""
    points = [Point(f"r = {r}", math.log2(r), one.ratio, "pixel shuffle") for r, one in found.items()]
    points += [Point(one.label, 0.0, one.ratio, one.label.lower()) for one in others]
    return Plot(
        "Memory against the factor of the last shuffle",
        "Doublings left to the pixel shuffle",
        "Error, share of the mean spectrogram's",
        points,
        "The transposed and the resizing decoder leave none to it. The bar is at a fifth.",
        joined=True,
    )


def memory_claims(found: Mapping[int, Remembrance]) -> list[Claim]:
    """The bar, for every factor."""
    made = []
    for r, one in found.items():
        met = one.ratio <= BAR
        made.append(
            Claim(
                f"The decoder with r = {r} reproduces at least 64 training excerpts with at most a fifth of the mean"
                " spectrogram's log-mel L1",
                f"{one.ratio:.3f} of it, {np.mean(one.errors_db):.2f} dB, over {len(one.errors_db)} excerpts",
                met and len(one.errors_db) >= 64,
                None if met else f"not reached in {one.steps} steps with {one.parameters:,} parameters",
            )
        )
    return made


@dataclasses.dataclass(frozen=True)
class Blend:
    """Two excerpts in one, in several ways.

    Attributes:
        parents: Rows of the excerpts.
        ways: Name of the way to log-mel ``(n_mels, frames)``.
    """

    parents: tuple[int, int]
    ways: Mapping[str, Tensor]


HALF, BOTH = "Both switches half on", "Both switches fully on"
FADE_MEL, FADE_AUDIO = "Cross-fade of the two outputs' log-mels", "Cross-fade of the two recordings"


def blend_pairs(songs: int, positions: int, count: int, seed: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Different (song, position) pairs of different songs at one position."""
    pairs = list(itertools.combinations(range(songs), 2))
    order = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [((pairs[i][0], k % positions), (pairs[i][1], k % positions)) for k, i in enumerate(order.tolist())]


def make_blends(model: SwitchGenerator, waveforms: Tensor, count: int, seed: int) -> list[Blend]:
    """Blends of pairs of excerpts by switches, by their log-mels and by their recordings."""
    config = model.config
    made = []
    for one, other in blend_pairs(config.songs, config.positions, count, seed):
        first, second = (song * config.positions + position for song, position in (one, other))
        half = model.blend(one, other, 0.5)
        written = model.spectrogram(torch.cat([model.switches(*one), model.switches(*other), half, _both(half)]))
        mixed = 0.5 * (waveforms[first] + waveforms[second])
        made.append(
            Blend(
                (first, second),
                {
                    HALF: written[2],
                    BOTH: written[3],
                    FADE_MEL: 0.5 * (written[0] + written[1]),
                    FADE_AUDIO: log_mel(mixed[None], model.frontend)[0],
                },
            )
        )
    return made


def _both(half: Tensor) -> Tensor:
    """The same switches, each fully on."""
    return (half > 0).to(half)


def blend_table(blends: Sequence[Blend], targets: Tensor, seed: int) -> Table:
    """How far blends are from what was learned, beside the excerpts themselves."""
    rows = []
    for way in blends[0].ways:
        mels = torch.stack([blend.ways[way] for blend in blends])
        parents = [l1_db(mel[None], targets[list(b.parents)]) for mel, b in zip(mels, blends, strict=True)]
        audio = l1_db(mels, torch.stack([b.ways[FADE_AUDIO] for b in blends]))
        cells = {
            "nearest": _cell(nearest_db(mels, targets).tolist(), None, seed),
            "near": _cell([float(p.min()) for p in parents], None, seed),
            "far": _cell([float(p.max()) for p in parents], None, seed),
            "fade": _cell(audio.tolist(), None, seed) if way != FADE_AUDIO else Cell(None, reason="the same"),
            "sharpness": _cell([sharpness(mel) for mel in mels], None, seed),
        }
        rows.append(Row(way, cells))
    own = {
        "nearest": _cell(nearest_db(targets, targets, skip_self=True).tolist(), None, seed),
        "sharpness": _cell([sharpness(mel) for mel in targets], None, seed),
    }
    rows.append(Row("The learned excerpts", own, "nearest other one"))
    return Table(
        "Blends of two songs",
        [
            Column("nearest", "To the nearest learned excerpt", "dB"),
            Column("near", "To the nearer of its two", "dB"),
            Column("far", "To the farther of its two", "dB"),
            Column("fade", "To the cross-fade of the recordings", "dB"),
            Column("sharpness", "Step between neighbouring cells", "dB"),
        ],
        rows,
        f"{len(blends)} pairs at one position, log-mel L1. Half on means each of the four switches at 0.5 or, where the"
        " two share a position, that one at 1; the switches meet in a linear layer, so this is also the mean of the two"
        " embeddings. Fully on is what the original proposes. Nearest learned excerpt: what answering with a training"
        " clip instead would leave.",
    )


def measure(context: StudyContext) -> Measured:
    """Measure memory, grids and blends; needs the corpus that the decoders were trained on.

    Raises:
        CorpusError: If no training corpus is given, or the learned excerpts are not in it.
    """
    if not context.training:
        raise CorpusError(
            f"study {NAME!r}: needs the corpus that the decoders were trained on; name it with --training"
        )
    context.note("switches: reading the training corpus")
    reference: SwitchGenerator = context.load(BLENDED)
    store = read_clips(context.training, sample_rate_hz=reference.sample_rate_hz, clip_s=_CLIP_S)
    targets, waveforms = remembered(reference, store)
    groups = [label["clip_id"] for label in reference.memorised]
    shuffled: dict[int, Remembrance] = {}
    for r, name in SHUFFLES.items():
        context.note(f"switches: {name}")
        shuffled[r] = _memory(context, name, f"Pixel shuffle, r = {r}", targets, r)
    others = [
        _memory(context, name, label, targets, 16 if name == "switch_transposed" else None)
        for name, label in OTHERS.items()
    ]
    everyone = [*shuffled.values(), *others]
    context.note("switches: blends")
    blends = make_blends(reference, waveforms, _BLENDS, context.seed)
    return Measured(
        tables=(
            memory_table(everyone, targets, groups, context.seed),
            grid_table(everyone),
            blend_table(blends, targets, context.seed),
        ),
        plots=(memory_plot(shuffled, others),),
        claims=tuple(memory_claims(shuffled)),
    )


def _memory(context: StudyContext, name: str, label: str, targets: Tensor, period: int | None) -> Remembrance:
    return measure_memory(label, context.load(name), targets, period)


def listen(context: StudyContext) -> list[Listening]:
    """Blends, and one excerpt as several decoders remember it; every sound is generated, none is a recording."""
    vocoder = context.load("melgan")
    model: SwitchGenerator = context.load(BLENDED)
    rows = [_sliders(vocoder, model, *_HEARD[0])]
    for one, other in _HEARD[1:] or _HEARD:
        half = model.blend((one, 0), (other, 0), 0.5)
        switches = torch.cat([model.switches(one, 0), model.switches(other, 0), half, _both(half)])
        titles = (
            f"Song {one + 1}, memorised output",
            f"Song {other + 1}, memorised output",
            HALF,
            BOTH,
        )
        waves = [vocoder.vocode(mel[None])[0] for mel in model.spectrogram(switches)]
        rows.append(
            Listening(
                f"blend_{one + 1}_{other + 1}",
                f"Songs {one + 1} and {other + 1}",
                model.sample_rate_hz,
                [Track(title, _array(wave)) for title, wave in zip(titles, waves, strict=True)],
                {"decoder": model.title, "sound": "generated from switches; the network learned these songs by heart"},
            )
        )
    tracks = []
    for name in (BLENDED, "switch_r2", "switch_r64", "switch_transposed", "switch_first"):
        other_model: SwitchGenerator = context.load(name)
        mel = other_model.spectrogram(other_model.switches(_HEARD[0][0], 0))
        tracks.append(Track(f"{other_model.title}, memorised output", _array(vocoder.vocode(mel)[0])))
    title = f"Song {_HEARD[0][0] + 1} as five decoders remember it"
    labels: dict[str, Any] = {"sound": "generated from switches; the networks learned this song by heart"}
    rows.append(Listening("decoders", title, model.sample_rate_hz, tracks, labels))
    return rows


def _sliders(vocoder: Any, model: SwitchGenerator, one: int, other: int) -> Listening:
    """Two songs by two sliders, at all pairs of a few steps; the first seconds, so that it stays quick to make."""
    settings = [(a, b) for a in _SLIDES for b in _SLIDES]
    blends = torch.cat([_weighted(model, one, a, other, b) for a, b in settings])
    frames = math.ceil(_SLIDE_S * model.sample_rate_hz / model.frontend.stft.hop_length)
    waves = [vocoder.vocode(mel[None, :, :frames])[0] for mel in model.spectrogram(blends)]
    tracks = [
        Track(f"Song {one + 1} at {100 * a:.0f} %, song {other + 1} at {100 * b:.0f} %", _array(wave))
        for (a, b), wave in zip(settings, waves, strict=True)
    ]
    axes = [{"title": f"Song {song + 1}", "unit": "%", "values": [100 * v for v in _SLIDES]} for song in (one, other)]
    where = [{"at": [_SLIDES.index(a), _SLIDES.index(b)]} for a, b in settings]
    labels = {
        "decoder": model.title,
        "sound": "generated from switches; the network learned these songs by heart",
        **demo_label("sliders", where, axes=axes),
    }
    title = f"Set the switches of songs {one + 1} and {other + 1}"
    return Listening(f"set_{one + 1}_{other + 1}", title, model.sample_rate_hz, tracks, labels, ("spectrogram",))


def _weighted(model: SwitchGenerator, one: int, a: float, other: int, b: float) -> Tensor:
    """Switches ``(1, n_switches)`` of two songs, each on by its own amount; the position is on by the larger."""
    row = model.switches(one, 0, a) + model.switches(other, 0, b)
    row[0, model.config.songs] = max(a, b)
    return row


def _array(waveform: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return waveform.float().cpu().numpy()


def _cell(values: Sequence[float], groups: Sequence[str] | None, seed: int) -> Cell:
    found = mean_interval(list(values), seed=seed, groups=groups)
    return Cell(found.mean, found.low, found.high, found.n, None if found.mean is not None else found.method)
