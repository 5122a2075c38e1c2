"""Notes from pitch and family: is the pitch the one asked for, and how well do the priors know real notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.studies.base import Cell, Claim, Column, Listening, Measured, Row, StudyContext, Table, Track
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
from eval.studies.pitch import pitch_estimates, within_cents
from models.codemap_masks import full
from models.codemap_transformer import FAMILIES, model_inputs
from models.codemaps import Codemaps, Prior, Sampling

__all__ = ["MODELS", "NAME", "QUESTION", "TITLE", "listen", "measure"]

NAME = "generation"
TITLE = "Notes from pitch and family"
QUESTION = (
    "Does a note drawn by the codemap transformers have the pitch that was asked for, and how many bits a token do they"
    " need for notes of instruments they never heard?"
)

BAR = 0.7
SAMPLINGS = {
    "Drawn, nucleus 0.8": Sampling(),
    "Drawn, all tokens": Sampling(top_p=1.0),
    "Drawn, nucleus 0.8, guidance 2": Sampling(guidance=2.0),
}
REAL, CODED = "Held-out notes", "Held-out notes, coded and decoded"
REDRAWN, UNIGRAM = "Top maps of held-out notes, bottom maps drawn", "Each cell from another note"
OURS = next(iter(SAMPLINGS))
LISTENED = ((43, "bass"), (60, "keyboard"), (64, "flute"), (57, "string"), (69, "mallet"), (52, "vocal"))

Floats = NDArray[np.float32]


def judge(waveforms: Sequence[Floats], wanted: Sequence[Note]) -> list[tuple[bool, str]]:
    """Whether each waveform has the pitch of its note, and in a word what it has."""
    verdicts = []
    for waveform, note in zip(waveforms, wanted, strict=True):
        estimates = pitch_estimates(waveform, RATE_HZ)
        first, second = estimates
        if within_cents(estimates, note.pitch):
            verdicts.append((True, "right"))
        elif first is None or second is None or abs(first - second) > 0.5:
            verdicts.append((False, "no pitch that both estimators find"))
        elif abs((first - note.pitch + 6.0) % 12.0 - 6.0) <= 0.5:
            verdicts.append((False, "octaves off"))
        else:
            verdicts.append((False, "another pitch"))
    return verdicts


def pitch_table(verdicts: dict[str, list[tuple[bool, str]]], found: Sequence[Note], seed: int) -> Table:
    """How often the pitch is right, over all notes and by family."""
    columns = [
        Column("all", "All families", "%", "higher"),
        *(Column(family, family.replace("_", " "), "%", "higher") for family in FAMILIES),
    ]
    rows = []
    for label, judged in verdicts.items():
        hits = [float(right) for right, _ in judged]
        cells = {"all": interval(hits, [n.group for n in found], seed=seed, scale=100.0)}
        for family in FAMILIES:
            mine = [hit for hit, n in zip(hits, found, strict=True) if n.family == family]
            reason = None if mine else "no held-out note"
            cells[family] = Cell(100.0 * sum(mine) / len(mine) if mine else None, n=len(mine), reason=reason)
        misses = Counter(word for right, word in judged if not right)
        note = ", ".join(f"{count} {word}" for word, count in misses.most_common()) or None
        rows.append(Row(label, cells, note))
    return Table(
        "Pitch within 50 cents of the one asked for",
        columns,
        rows,
        "Asked for: pitch and family of every held-out note, so all are in the range of their instruments. A note"
        " counts where two estimators, of periodicity and of spectral peaks, both say so. The rows of real notes are"
        " what the estimators and the code leave possible: some organs sound an octave under their label. Intervals by"
        " drawing whole instruments.",
    )


def token_bits(prior: Prior, top: Tensor, bottom: Tensor, found: Sequence[Note], *, known: bool) -> list[float]:
    """Mean bits a token of each note's map, drawn from nothing but classes (top) or the top map (bottom)."""
    pitch, family = class_numbers(found, known=known)
    values: list[float] = []
    for start in range(0, len(found), 8):
        rows = slice(start, start + 8)
        everything = full(top[rows].shape[0], prior.config.shape_top, torch.Generator())
        target, source, _ = model_inputs(prior.config, top[rows], bottom[rows], everything)
        nll = prior.token_nll(source, target, pitch[rows], family[rows])
        values += (nll.double().mean(1) * BITS).tolist()
    return values


def unigram_bits(codes: Tensor, size: int) -> list[float]:
    """Mean bits a token of each map by how often codes occur in the other maps, one added to every count."""
    flat = codes.flatten(1)
    counts = torch.bincount(flat.flatten(), minlength=size).double()
    values = []
    for row in flat:
        others = counts - torch.bincount(row, minlength=size)
        share = (others + 1.0) / (others.sum() + size)
        values.append(float(-share[row].log2().mean()))
    return values


def likelihood_table(codemaps: Codemaps, top: Tensor, bottom: Tensor, found: Sequence[Note], seed: int) -> Table:
    """Bits a token of held-out notes."""
    size, groups = codemaps.top.config.codebook_size, [n.group for n in found]
    rows = [
        Row(
            label,
            {
                prior.level: interval(token_bits(prior, top, bottom, found, known=known), groups, seed=seed)
                for prior in (codemaps.top, codemaps.bottom)
            },
        )
        for label, known in (("Told pitch and family", True), ("Told nothing", False))
    ]
    baseline = {"top": unigram_bits(top, size), "bottom": unigram_bits(bottom, size)}
    rows.append(
        Row(
            "Frequency of each code in the other held-out notes",
            {level: interval(values, groups, seed=seed) for level, values in baseline.items()},
        )
    )
    return Table(
        "Negative log-likelihood of held-out notes",
        [
            Column("top", "Top map", "bit/token", "lower"),
            Column("bottom", "Bottom map, given the top map", "bit/token", "lower"),
        ],
        rows,
        f"A code chosen blindly costs {np.log2(size):.0f} bits.",
    )


def measure(context: StudyContext) -> Measured:
    """Ask for the pitch and family of every held-out note, and measure what comes."""
    codemaps, found = load_codemaps(context), notes(context)
    waveforms = torch.stack([torch.from_numpy(n.waveform) for n in found])
    context.note(f"coding {len(found)} held-out notes")
    top, bottom = codemaps.encode(waveforms)
    sounds: dict[str, Tensor] = {REAL: waveforms, CODED: codemaps.decode(top, bottom)}
    pitches, families = [n.pitch for n in found], [n.family for n in found]
    seeds = [context.seed + i for i in range(len(found))]
    for label, sampling in SAMPLINGS.items():
        context.note(f"{label}: {len(found)} notes")
        sounds[label] = codemaps.generate(pitches, families, seeds=seeds, sampling=sampling)
    context.note(f"{REDRAWN}: {len(found)} notes")
    everything = torch.ones(codemaps.shape_bottom, dtype=torch.bool)
    redrawn = codemaps.inpaint(top, bottom, mask_bottom=everything, pitches=pitches, families=families, seeds=seeds)
    sounds[REDRAWN] = codemaps.decode(*redrawn)
    generator = torch.Generator().manual_seed(context.seed)
    sounds[UNIGRAM] = codemaps.decode(per_cell(top, generator), per_cell(bottom, generator))
    context.note("estimating pitches")
    verdicts = {label: judge(list(made.numpy()), found) for label, made in sounds.items()}
    table = pitch_table(verdicts, found, context.seed)
    context.note("likelihood of held-out notes")
    likelihood = likelihood_table(codemaps, top, bottom, found, context.seed)
    return Measured([table, likelihood], (), [claim(verdicts, training_words(codemaps.top))])


def training_words(prior: Prior) -> str:
    """How long a prior learned, for readers, as far as its card says so."""
    step, training, clips = (prior.card.get(key) for key in ("step", "training", "clips"))
    if not (isinstance(step, int) and isinstance(training, dict) and isinstance(clips, dict)):
        return ""
    seen, notes_of_its_own = step * int(training.get("batch_size", 0)), int(clips.get("training", 0))
    if not seen or not notes_of_its_own:
        return ""
    return (
        f"the top prior learned for {step:,} steps, {seen / notes_of_its_own:.1f} times its {notes_of_its_own:,} notes"
        " (the published one: up to 420 times 180,000)"
    )


def claim(verdicts: dict[str, list[tuple[bool, str]]], trained: str = "") -> Claim:
    """The bar on pitch, with what was reached."""
    share = {label: sum(right for right, _ in judged) / len(judged) for label, judged in verdicts.items()}
    met = share[OURS] >= BAR
    misses = Counter(word for right, word in verdicts[OURS] if not right)
    words = [", ".join(f"{count} {word}" for word, count in misses.most_common()), trained]
    reason = None if met else "; ".join(word for word in words if word)
    return Claim(
        f"Notes drawn for a pitch and a family have that pitch, within 50 cents by two estimators, at least"
        f" {100 * BAR:.0f} % of the time",
        f"{100 * share[OURS]:.1f} % of {len(verdicts[OURS])} requests; of the real notes {100 * share[REAL]:.1f} %, of"
        f" these coded and decoded {100 * share[CODED]:.1f} %",
        met,
        reason,
    )


def listen(context: StudyContext) -> list[Listening]:
    """Six notes by pitch and family beside the nearest held-out note, and two from nothing."""
    codemaps, found = load_codemaps(context), notes(context)
    nearest = [
        min((n for n in found if n.family == family), key=lambda n: abs(n.pitch - pitch), default=None)
        for pitch, family in LISTENED
    ]
    asked = [n for n in nearest if n is not None]
    pitches = [*(n.pitch for n in asked), None, None]
    families = [*(n.family for n in asked), None, None]
    made = codemaps.generate(pitches, families, seeds=[context.seed + i for i in range(len(pitches))]).numpy()
    rows = [
        Listening(
            f"{n.family}_{n.pitch}",
            f"{n.family.replace('_', ' ')}, MIDI pitch {n.pitch}",
            RATE_HZ,
            [Track(f"Held-out note {n.name}", n.waveform), Track("Drawn for the same pitch and family", waveform)],
            {"pitch": n.pitch, "family": n.family},
        )
        for n, waveform in zip(asked, made[:-2], strict=True)
    ]
    free = [Track(f"Drawn, seed {context.seed + len(asked) + i}", waveform) for i, waveform in enumerate(made[-2:])]
    return [*rows, Listening("unconditional", "From nothing: neither pitch nor family given", RATE_HZ, free)]
