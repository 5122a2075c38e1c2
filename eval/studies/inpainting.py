"""Inpainting of held-out notes: the three tasks of NOTONO's page, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Stft, stft
from eval.stats import mean_interval, paired_difference
from eval.studies.base import Cell, Claim, Column, Listening, Measured, Row, StudyContext, Table, Track, demo_label
from eval.studies.codemap_notes import (
    BITS,
    MODELS,
    RATE_HZ,
    Note,
    class_numbers,
    interval,
    load_codemaps,
    notes,
    per_cell,
)
from models.codemap_masks import TASKS, beneath, task_masks
from models.codemap_transformer import model_inputs, to_sequence
from models.codemaps import Codemaps
from models.frontends.mel_if import MelIFConfig, band_centres_hz

__all__ = ["MODELS", "NAME", "QUESTION", "TITLE", "listen", "measure"]

NAME = "inpainting"
TITLE = "Inpainting"
QUESTION = (
    "Where part of a note is drawn anew, does the rest stay as it was, is there a seam, and do the tokens that were"
    " kept help?"
)

TITLES = {
    TASKS[0]: "First two seconds, all frequencies",
    TASKS[1]: "Lowest quarter of the bands, all of the time",
    TASKS[2]: "Top map kept, all of the bottom map drawn",
}
REAL, CODED, OURS, UNIGRAM = "Real notes", "Coded and decoded, nothing drawn", "Drawn", "Each cell from another note"
LISTENED = ("keyboard", "string")

PAINTED: tuple[tuple[str, range, range, int], ...] = (
    ("everything", range(4), range(4), 1),
    ("the first second", range(4), range(1), 1),
    ("the first two seconds", range(4), range(2), 1),
    ("the last two seconds", range(4), range(2, 4), 2),
    ("the lowest quarter of the bands", range(1), range(4), 1),
    ("the lower half of the bands", range(2), range(4), 1),
    ("the upper half of the bands", range(2, 4), range(4), 2),
    ("the lower half, first two seconds", range(2), range(2), 1),
)
"""Regions that are drawn anew beforehand for a reader who paints one: name, quarters of the bands, low ones first,
quarters of the time, draws. With the three tasks these are as many rows as are computed together, twice; one more would
cost as much as eight."""
PAINTED_FAMILY = "guitar"

_STFT = Stft(1024, 256, 1024, "reflect")
_FLOOR = 1e-3
_APART = 4
"""Frames between the two sides of a border: less, and the windows overlap; the same number of bins for frequencies."""
_CLEAR_S = 0.35
_CLEAR_SEMITONES = 6.0

COLUMNS = (
    Column("kept", "Kept tokens identical", "%", "higher"),
    Column("seam", "Step across the border", "dB", "lower"),
    Column("ratio", "Step, as a multiple of the real notes'", None, "lower"),
    Column("preserved", "Change of the kept region", "dB", "lower"),
    Column("top_bits", "True top tokens, given the kept ones", "bit/token", "lower"),
    Column("blind_bits", "The same, given none", "bit/token", "lower"),
    Column("bottom_bits", "True bottom tokens, given the top map", "bit/token", "lower"),
)

Floats = NDArray[np.float64]


def levels_db(waveform: NDArray[np.float32]) -> Floats:
    """Levels of a clip, dB, ``(bins, frames)``; what lies under the floor counts as the floor."""
    magnitude = stft(torch.from_numpy(waveform)[None], _STFT)[0].abs()
    return np.asarray(20.0 * magnitude.clamp_min(_FLOOR).log10().numpy(), np.float64)


def border(task: str) -> tuple[int | None, int | None]:
    """Frame, or bin, of `levels_db` at which the drawn region of a task ends."""
    if task == TASKS[0]:
        config = MelIFConfig()
        return round(config.n_frames / 2 * config.hop_length / _STFT.hop_length), None
    if task == TASKS[1]:
        config = MelIFConfig()
        edge_hz = float(band_centres_hz(config)[config.n_bins // 4 - 1 : config.n_bins // 4 + 1].mean())
        return None, round(edge_hz * _STFT.n_fft / config.sample_rate_hz)
    return None, None


def seam_db(levels: Floats, task: str) -> float | None:
    """Mean step of the level across the border of a task; ``None`` for a task without one.

    Across a moment, over all bins; across a frequency, over the frames within 40 dB of the loudest, since the step
    between two silences says nothing.
    """
    frame, place = border(task)
    half = _APART // 2
    if frame is not None:
        return float(np.abs(levels[:, frame + half] - levels[:, frame - half]).mean())
    if place is not None:
        loud = levels.max(0) >= levels.max() - 40.0
        return float(np.abs(levels[place + half, loud] - levels[place - half, loud]).mean())
    return None


def preserved_db(levels: Floats, before: Floats, task: str) -> float | None:
    """Mean change of the levels in the region that is kept, well away from the border; ``None`` where all is drawn."""
    frame, place = border(task)
    if frame is not None:
        start = frame + round(_CLEAR_S * RATE_HZ / _STFT.hop_length)
        return float(np.abs(levels[:, start:] - before[:, start:]).mean())
    if place is not None:
        start = round(place * 2.0 ** (_CLEAR_SEMITONES / 12.0))
        return float(np.abs(levels[start:] - before[start:]).mean())
    return None


@dataclasses.dataclass(frozen=True)
class Maps:
    """Code maps of the held-out notes, or of what became of them."""

    top: Tensor
    bottom: Tensor


def kept_share(new: Maps, old: Maps, masks: tuple[Tensor, Tensor]) -> list[float]:
    """Share of the kept tokens of each note that are what they were; empty where none is kept."""
    shares = []
    for row in range(old.top.shape[0]):
        same = [
            (after[row] == before[row])[~mask]
            for after, before, mask in ((new.top, old.top, masks[0]), (new.bottom, old.bottom, masks[1]))
        ]
        kept = torch.cat(same)
        if kept.numel():
            shares.append(float(kept.double().mean()))
    return shares


def true_token_bits(
    codemaps: Codemaps, old: Maps, found: Sequence[Note], masks: tuple[Tensor, Tensor]
) -> tuple[list[float], list[float], list[float]]:
    """Bits a true token in the drawn region: top given what is kept, top given nothing, bottom given the top map."""
    pitch, family = class_numbers(found)
    hidden_top = to_sequence(masks[0][None], 1)[0]
    hidden_bottom = to_sequence(masks[1][None], codemaps.patch)[0]
    given: list[float] = []
    blind: list[float] = []
    below: list[float] = []
    for start in range(0, len(found), 8):
        rows = slice(start, start + 8)
        top, bottom = old.top[rows], old.bottom[rows]
        n = top.shape[0]
        if bool(hidden_top.any()):
            for mask, values in ((masks[0], given), (torch.ones_like(masks[0]), blind)):
                target, source, _ = model_inputs(codemaps.top.config, top, bottom, mask.expand(n, -1, -1))
                nll = codemaps.top.token_nll(source, target, pitch[rows], family[rows])
                values += (nll[:, hidden_top].double().mean(1) * BITS).tolist()
        target, source, _ = model_inputs(codemaps.bottom.config, top, bottom, masks[0].expand(n, -1, -1))
        nll = codemaps.bottom.token_nll(source, target, pitch[rows], family[rows])
        below += (nll[:, hidden_bottom].double().mean(1) * BITS).tolist()
    return given, blind, below


def ratio(values: Sequence[float], real: Sequence[float], found: Sequence[Note], seed: int) -> Cell:
    """Mean step as a multiple of the real notes' mean; the interval is that of the paired difference."""
    groups = [n.group for n in found]
    base = mean_interval(real, seed=seed, groups=groups).mean
    if not base:
        return Cell(None, reason="real notes have no step here")
    gap = paired_difference(values, real, seed=seed, groups=groups)
    low, high = (None if end is None else 1.0 + end / base for end in (gap.low, gap.high))
    return Cell(1.0 + (gap.mean or 0.0) / base, low, high, len(values))


def task_table(
    codemaps: Codemaps, old: Maps, found: Sequence[Note], task: str, context: StudyContext
) -> tuple[Table, dict[str, dict[str, Cell]]]:
    """One task: what is drawn beside real notes, their reconstruction and cells drawn one by one."""
    seed, groups = context.seed, [n.group for n in found]
    masks = task_masks(task, codemaps.shape_top, codemaps.patch)
    context.note(f"{TITLES[task]}: {len(found)} notes")
    drawn = Maps(
        *codemaps.inpaint(
            old.top,
            old.bottom,
            mask_top=masks[0],
            mask_bottom=masks[1],
            pitches=[n.pitch for n in found],
            families=[n.family for n in found],
            seeds=[seed + i for i in range(len(found))],
        )
    )
    generator = torch.Generator().manual_seed(seed)
    blindly = Maps(
        torch.where(masks[0], per_cell(old.top, generator), old.top),
        torch.where(masks[1], per_cell(old.bottom, generator), old.bottom),
    )
    sounds = {REAL: torch.stack([torch.from_numpy(n.waveform) for n in found])}
    for label, maps in ((CODED, old), (OURS, drawn), (UNIGRAM, blindly)):
        sounds[label] = codemaps.decode(maps.top, maps.bottom)
    pictures = {label: [levels_db(wave) for wave in made.numpy()] for label, made in sounds.items()}
    seams = {label: [seam_db(picture, task) for picture in found_here] for label, found_here in pictures.items()}
    nothing = Cell(None, reason="all of the bottom map is drawn: there is no border and no kept region")
    rows: dict[str, dict[str, Cell]] = {label: {} for label in sounds}
    for label, cells in rows.items():
        steps = [step for step in seams[label] if step is not None]
        real = [step for step in seams[REAL] if step is not None]
        cells["seam"] = interval(steps, groups, seed=seed) if steps else nothing
        if steps and label != REAL:
            cells["ratio"] = ratio(steps, real, found, seed)
        if label in (OURS, UNIGRAM):
            shares = kept_share(drawn if label == OURS else blindly, old, masks)
            cells["kept"] = interval(shares, groups, seed=seed, scale=100.0)
            changes = [preserved_db(a, b, task) for a, b in zip(pictures[label], pictures[CODED], strict=True)]
            known = [change for change in changes if change is not None]
            cells["preserved"] = interval(known, groups, seed=seed) if known else nothing
    given, blind, below = true_token_bits(codemaps, old, found, masks)
    none = Cell(None, reason="no top token is drawn")
    rows[OURS]["top_bits"] = interval(given, groups, seed=seed) if given else none
    rows[OURS]["blind_bits"] = interval(blind, groups, seed=seed) if blind else none
    rows[OURS]["bottom_bits"] = interval(below, groups, seed=seed)
    table = Table(
        TITLES[task],
        COLUMNS,
        [Row(label, cells) for label, cells in rows.items()],
        "The step is the mean gap of the levels 32 ms before and after the border, or two bins below and above it. The"
        " kept region is compared with the same codes decoded with nothing drawn. Intervals by drawing whole"
        " instruments.",
    )
    return table, rows


def claims(results: dict[str, dict[str, dict[str, Cell]]]) -> list[Claim]:
    """The bars, with what was reached."""
    shares = [rows[OURS]["kept"] for rows in results.values()]
    lowest = min(cell.value for cell in shares if cell.value is not None)
    found = [
        Claim(
            "Inpainting leaves kept tokens identical",
            f"{lowest:.0f} % of them in each of the {len(results)} tasks",
            lowest == 100.0,
        )
    ]
    for task, rows in results.items():
        cell = rows[OURS].get("ratio")
        if cell is None or cell.value is None:
            continue
        ends = "" if cell.low is None or cell.high is None else f" (95 % interval {cell.low:.2f} to {cell.high:.2f})"
        coded = rows[CODED]["ratio"].value
        met = cell.value <= 1.0 or (cell.low is not None and cell.low <= 1.0)
        found.append(
            Claim(
                f"{TITLES[task]}: a seam no larger than real notes show",
                f"{cell.value:.2f} times the step of the real notes{ends}; coding alone makes it {coded:.2f} times",
                met,
                "the interval reaches down to 1" if met and cell.value > 1.0 else None if met else _why(cell, coded),
            )
        )
    return found


def _why(cell: Cell, coded: float | None) -> str:
    if coded is not None and cell.value is not None and coded > 1.0:
        share = (coded - 1.0) / (cell.value - 1.0)
        return f"coding without any drawing accounts for {100 * min(1.0, share):.0f} % of the excess"
    return "what is drawn differs more from its neighbours than real notes do"


def measure(context: StudyContext) -> Measured:
    """Draw part of every held-out note anew, in three ways."""
    codemaps, found = load_codemaps(context), notes(context)
    context.note(f"coding {len(found)} held-out notes")
    old = Maps(*codemaps.encode(torch.stack([torch.from_numpy(n.waveform) for n in found])))
    tables, results = [], {}
    for task in TASKS:
        table, results[task] = task_table(codemaps, old, found, task, context)
        tables.append(table)
    return Measured(tables, (), claims(results))


def painted_mask(bands: range, times: range, shape: tuple[int, int]) -> Tensor:
    """Top mask ``(bins, frames)`` of a region named by quarters of bands and time."""
    mask = torch.zeros(shape, dtype=torch.bool)
    bins, frames = shape
    mask[bands.start * bins // 4 : bands.stop * bins // 4, times.start * frames // 4 : times.stop * frames // 4] = True
    return mask


def listen(context: StudyContext) -> list[Listening]:
    """Two notes through the three tasks, and one of them with many regions drawn anew, for a reader to paint."""
    codemaps, every = load_codemaps(context), notes(context)
    picked = [[n for n in every if n.family == family] for family in LISTENED]
    found = [mine[len(mine) // 2] for mine in picked if mine]
    if not found:
        return []
    count, masks = len(found), [task_masks(task, codemaps.shape_top, codemaps.patch) for task in TASKS]
    others = [n for n in every if all(n.name != other.name for other in found)]
    canvas = next((n for n in others if n.family == PAINTED_FAMILY), others[0] if others else None)
    if canvas is not None:
        found.append(canvas)
    old = Maps(*codemaps.encode(torch.stack([torch.from_numpy(n.waveform) for n in found])))
    # Who is drawn, through which masks, with which seed.
    jobs = [(i, *mask, context.seed + k * count + i) for k, mask in enumerate(masks) for i in range(count)]
    regions: list[tuple[str, range, range, int]] = []
    for name, bands, times, draws in PAINTED if canvas is not None else ():
        mask = painted_mask(bands, times, codemaps.shape_top)
        under = beneath(mask[None], codemaps.patch)[0]
        for draw in range(draws):
            regions.append((name, bands, times, len(jobs)))
            jobs.append((count, mask, under, context.seed + draw))
    who = [job[0] for job in jobs]
    new = Maps(
        *codemaps.inpaint(
            old.top[who],
            old.bottom[who],
            mask_top=torch.stack([job[1] for job in jobs]),
            mask_bottom=torch.stack([job[2] for job in jobs]),
            pitches=[found[i].pitch for i in who],
            families=[found[i].family for i in who],
            seeds=[job[3] for job in jobs],
        )
    )
    plain = [_track("Coded and decoded", old, i, wave) for i, wave in enumerate(codemaps.decode(old.top, old.bottom))]
    made = codemaps.decode(new.top, new.bottom)
    size = codemaps.top.config.codebook_size
    rows = []
    for i, note in enumerate(found[:count]):
        tracks = [Track(f"Held-out note {note.name}", note.waveform), plain[i]]
        tracks += [_track(TITLES[task], new, k * count + i, made[k * count + i]) for k, task in enumerate(TASKS)]
        labels = {"pitch": note.pitch, "family": note.family}
        rows.append(
            Listening(
                f"{note.family}_{note.pitch}", _title(note), RATE_HZ, tracks, labels, (), True, codebook_size=size
            )
        )
    return [*rows, *([_painting(canvas, plain[count], regions, jobs, new, made, size)] if canvas is not None else [])]


def _title(note: Note) -> str:
    return f"{note.family.replace('_', ' ')}, MIDI pitch {note.pitch}"


def _track(title: str, maps: Maps, row: int, waveform: Tensor) -> Track:
    codes = {"top": maps.top[row].cpu().numpy(), "bottom": maps.bottom[row].cpu().numpy()}
    return Track(title, waveform.cpu().numpy(), codes)


def _painting(
    note: Note,
    plain: Track,
    regions: Sequence[tuple[str, range, range, int]],
    jobs: Sequence[tuple[int, Tensor, Tensor, int]],
    new: Maps,
    made: Tensor,
    size: int,
) -> Listening:
    """The row of a note with regions drawn anew, which a reader chooses by painting."""
    tracks = [plain]
    settings: list[dict[str, Any] | None] = [None]
    for name, bands, times, row in regions:
        seed = jobs[row][3]
        tracks.append(_track(f"Drawn anew: {name}, seed {seed}", new, row, made[row]))
        cells = [[int(band in bands and time in times) for time in range(4)] for band in range(4)]
        settings.append({"region": name, "seed": seed, "cells": cells})
    labels = {
        "pitch": note.pitch,
        "family": note.family,
        **demo_label("mask", settings, bands=4, times=4, note=note.name),
    }
    return Listening(
        f"paint_{note.family}_{note.pitch}",
        f"Paint over a note: {_title(note)}",
        RATE_HZ,
        tracks,
        labels,
        ("spectrogram", "codemap"),
        codebook_size=size,
    )
