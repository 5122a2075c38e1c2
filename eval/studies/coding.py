"""What 640 codes keep of a note: the VQ-VAE-2 beside what a catalogue of its training notes could answer.

The catalogue answers in two ways: with the training note that is nearest to the wanted one, and with the mean of the
training notes of the same family and pitch. A coder that had only learned its training notes by heart would do no
better. The Mel-IF round trip without a network stands beside them as the ceiling.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval.corpora import open_corpus
from eval.metrics.frontend import Mel, Stft, mel_magnitude, stft
from eval.metrics.spectral import log_mel_l1, log_spectral_distance
from eval.sets.codes import code_counts, perplexity, usage
from eval.stats import mean_interval
from eval.studies.base import Cell, Claim, Column, Listening, Measured, Row, StudyContext, Table
from eval.studies.pitch import pitch_estimates
from models.errors import CorpusError

if TYPE_CHECKING:
    from eval.corpora import Clip

NAME = "coding"
TITLE = "What 640 codes keep of a note"
QUESTION = (
    "Does the VQ-VAE-2 carry unseen notes of unheard instruments through 1.44 kbit/s better than a catalogue of its "
    "training notes would, does it keep their pitch, and does it use its codes?"
)
MODELS = ("vqvae2", "vqvae2_8x4", "mel_if", "griffin_lim")

RATE_HZ = 16_000
SAMPLES = 64_000
HEARD_NOTES = 100
_SHORTLIST = 48
_STFT = Stft(2048, 512, 2048, "reflect")
_MEL = Mel(RATE_HZ, 128, 0.0, None)
_DB = 20.0 / np.log(10.0)

Floats = NDArray[np.float32]
Note = tuple["Clip", Floats]

COLUMNS = (
    Column("log_mel_l1", "Log-mel L1", "Np", "lower"),
    Column("log_spectral_distance", "Log-spectral distance", "dB", "lower"),
    Column("attack", "Attack level error", "dB", "lower"),
    Column("pitch", "Pitch kept within 50 cents", "%", "higher"),
    Column("rate", "Bit rate", "kbit/s", None),
)
CODE_COLUMNS = (
    Column("used_top", "Codes used, top map", "%", "higher"),
    Column("used_bottom", "Codes used, bottom map", "%", "higher"),
    Column("perplexity_top", "Perplexity, top map", None, "higher"),
    Column("perplexity_bottom", "Perplexity, bottom map", None, "higher"),
    Column("tokens", "Tokens counted", None, None),
)


def log_mel(waveform: Floats) -> Floats:
    """Log-mel picture ``(128, frames)`` exactly as the metric takes it."""
    mel = mel_magnitude(torch.from_numpy(waveform)[None], _STFT, _MEL)[0]
    return np.asarray(mel.clamp_min(1e-5).log().numpy(), dtype=np.float32)


def log_magnitude(waveform: Floats) -> Floats:
    """Log-magnitude picture ``(1025, frames)`` exactly as the log-spectral distance takes it."""
    magnitude = stft(torch.from_numpy(waveform)[None], _STFT)[0].abs()
    return np.asarray(magnitude.clamp_min(1e-4).log().numpy(), dtype=np.float32)


def picture_distance_db(estimate: Floats, reference: Floats) -> float:
    """Log-spectral distance of two log-magnitude pictures ``(bins, frames)``, dB."""
    gap = _DB * (estimate.astype(np.float64) - reference)
    return float(np.sqrt((gap**2).mean(0)).mean())


def attack_error_db(estimate: Floats, reference: Floats, *, rate_hz: int = RATE_HZ) -> float:
    """Mean gap of the levels in the first 300 ms, in steps of 10 ms, dB.

    Levels more than 60 dB under the loudest step of the reference count as 60 dB under it.
    """
    step = rate_hz // 100
    levels = []
    for signal in (estimate, reference):
        blocks = signal[: 30 * step].reshape(30, step).astype(np.float64)
        levels.append(10.0 * np.log10((blocks**2).mean(1) + 1e-20))
    floor = levels[1].max() - 60.0
    return float(np.abs(np.maximum(levels[0], floor) - np.maximum(levels[1], floor)).mean())


def fitted(waveform: Floats) -> Floats:
    """Four seconds of a note: cut, or silence after its end."""
    return np.pad(waveform[:SAMPLES], (0, max(0, SAMPLES - waveform.size))).astype(np.float32)


def family(clip: Clip) -> str:
    """Instrument family of a note."""
    return str(clip.labels.get("instrument_family_str", ""))


def pitch(clip: Clip) -> int:
    """MIDI pitch of a note."""
    return int(clip.labels["pitch"])


def sound(clip: Clip) -> Floats:
    """Samples of a note at 16 kHz, four seconds.

    Raises:
        CorpusError: If the corpus has another rate.
    """
    if clip.sample_rate_hz != RATE_HZ:
        raise CorpusError(f"{clip.path}: {clip.sample_rate_hz} Hz, this study needs notes at {RATE_HZ} Hz")
    return fitted(np.asarray(clip.load().waveform[0], dtype=np.float32))


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Training notes with their log-mel pictures, float16, shape ``(notes, 128, frames)``."""

    clips: Sequence[Clip]
    pictures: NDArray[np.float16]

    @classmethod
    def read(cls, clips: Sequence[Clip], note: Callable[[str], None]) -> Catalogue:
        """Read the notes once; only their pictures stay in memory."""
        pictures = np.empty((len(clips), _MEL.n_mels, _STFT.frames(SAMPLES)), np.float16)
        for i, clip in enumerate(clips):
            pictures[i] = log_mel(sound(clip))
            if (i + 1) % 1000 == 0:
                note(f"{i + 1} training notes read")
        return cls(clips, pictures)

    def nearest(self, wanted: Floats) -> NDArray[np.intp]:
        """Numbers of the notes, the one with the least log-mel L1 first."""
        gaps = np.array([float(np.abs(p.astype(np.float32) - wanted).mean()) for p in self.pictures])
        return np.argsort(gaps, kind="stable")

    def alike(self, clip: Clip) -> list[int]:
        """Notes of the same family and pitch; where there are none, those of the nearest pitch in the family."""
        same = [(abs(pitch(c) - pitch(clip)), i) for i, c in enumerate(self.clips) if family(c) == family(clip)]
        if not same:
            return []
        least = min(gap for gap, _ in same)
        return [i for gap, i in same if gap == least]


@dataclasses.dataclass
class Scores:
    """Values of one row by column, one for each note."""

    values: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    groups: dict[str, list[str]] = dataclasses.field(default_factory=lambda: defaultdict(list))

    def add(self, column: str, value: float | None, group: str) -> None:
        """File one value; None files nothing."""
        if value is not None:
            self.values[column].append(value)
            self.groups[column].append(group)

    def cells(self, seed: int) -> dict[str, Cell]:
        """Means with intervals drawn by instrument; shares become per cent."""
        cells = {}
        for column, values in self.values.items():
            scale = 100.0 if column == "pitch" else 1.0
            found = mean_interval([scale * v for v in values], seed=seed, groups=self.groups[column])
            cells[column] = Cell(found.mean, found.low, found.high, found.n)
        return cells

    def mean(self, column: str) -> float:
        """Mean of a column."""
        return float(np.mean(self.values[column]))


def pitch_kept(estimate: Floats, reference: Floats) -> float | None:
    """1 where both estimators find the estimate within 50 cents of what they find in the reference, else 0.

    None where the estimators disagree about the reference itself, so that nothing can be said.
    """
    first, second = pitch_estimates(reference, RATE_HZ)
    if first is None or second is None or abs(first - second) > 0.5:
        return None
    found = pitch_estimates(estimate, RATE_HZ)
    return float(all(f is not None and abs(f - first) <= 0.5 for f in found))


def score_sounds(estimates: Sequence[Floats], notes: Sequence[Note]) -> Scores:
    """Scores of waveforms against the notes that they stand for."""
    scores = Scores()
    for made, (clip, wanted) in zip(estimates, notes, strict=True):
        e, r = torch.from_numpy(made)[None], torch.from_numpy(wanted)[None]
        scores.add("log_mel_l1", float(log_mel_l1(e, r, sample_rate_hz=RATE_HZ)), clip.group)
        scores.add("log_spectral_distance", float(log_spectral_distance(e, r)), clip.group)
        scores.add("attack", attack_error_db(made, wanted), clip.group)
        scores.add("pitch", pitch_kept(made, wanted), clip.group)
    return scores


def rebuilt(system: Any, notes: Sequence[Note], seed: int) -> list[Floats]:
    """What a system makes of the notes."""
    made = []
    for i, (_, wanted) in enumerate(notes):
        out = system.reconstruct(torch.from_numpy(wanted)[None], sample_rate_hz=RATE_HZ, seeds=[seed + i])
        made.append(np.asarray(out[0].cpu().numpy(), dtype=np.float32))
    return made


def catalogue_rows(catalogue: Catalogue, notes: Sequence[Note]) -> Iterator[tuple[str, Scores, str]]:
    """Rows of what the catalogue answers: (label, scores, note)."""
    by_mel, by_distance, means = Scores(), Scores(), Scores()
    for clip, wanted in notes:
        target_mel, target = log_mel(wanted), log_magnitude(wanted)
        order = catalogue.nearest(target_mel)[:_SHORTLIST]
        sounds = [sound(catalogue.clips[i]) for i in order]
        distances = [picture_distance_db(log_magnitude(s), target) for s in sounds]
        for scores, place in ((by_mel, 0), (by_distance, int(np.argmin(distances)))):
            chosen = sounds[place]
            e, r = torch.from_numpy(chosen)[None], torch.from_numpy(wanted)[None]
            scores.add("log_mel_l1", float(log_mel_l1(e, r, sample_rate_hz=RATE_HZ)), clip.group)
            scores.add("log_spectral_distance", distances[place], clip.group)
            scores.add("attack", attack_error_db(chosen, wanted), clip.group)
            scores.add("pitch", pitch_kept(chosen, wanted), clip.group)
        alike = catalogue.alike(clip)
        if alike:
            mel = np.mean([catalogue.pictures[i].astype(np.float32) for i in alike], axis=0)
            means.add("log_mel_l1", float(np.abs(mel - target_mel).mean()), clip.group)
            spectrum = np.mean([log_magnitude(sound(catalogue.clips[i])) for i in alike[:64]], axis=0)
            means.add("log_spectral_distance", picture_distance_db(spectrum, target), clip.group)
    yield "Nearest training note, by log-mel L1", by_mel, "played as it is"
    yield "Nearest training note, by log-spectral distance", by_distance, f"out of the {_SHORTLIST} nearest by log-mel"
    yield "Mean training note of family and pitch", means, "mean log spectrum; makes no sound, so it has no pitch"


def code_cells(system: Any, sets: Sequence[Sequence[Note]]) -> dict[str, Cell]:
    """Use and perplexity of both maps over all notes."""
    counts = {level: np.zeros(system.config.codebook_size, dtype=np.int64) for level in ("top", "bottom")}
    for notes in sets:
        for _, wanted in notes:
            for level, codes in system.codes(torch.from_numpy(wanted)[None], sample_rate_hz=RATE_HZ).items():
                counts[level] += code_counts([codes], counts[level].size)
    cells = {}
    for level, count in counts.items():
        cells[f"used_{level}"] = Cell(100.0 * usage(count))
        cells[f"perplexity_{level}"] = Cell(perplexity(count))
    cells["tokens"] = Cell(float(sum(count.sum() for count in counts.values())))
    return cells


def kbit_per_s(system: Any) -> float:
    """Bit rate of a coder with fixed-length codes."""
    zeros = torch.zeros(1, SAMPLES)
    tokens = sum(codes.numel() for codes in system.codes(zeros, sample_rate_hz=RATE_HZ).values())
    return float(tokens * np.log2(system.config.codebook_size) / (SAMPLES / RATE_HZ) / 1000.0)


def training_notes(context: StudyContext, split: str) -> list[Clip]:
    """Notes of a split of the training corpora that have pitches.

    Raises:
        CorpusError: If there are none.
    """
    clips: list[Clip] = []
    for folder in context.training:
        corpus = open_corpus(folder)
        if split in corpus.splits(corpus.default_rule):
            found = corpus.clips(split=split, rule=corpus.default_rule)
            clips += [c for c in found if "pitch" in c.labels and c.sample_rate_hz == RATE_HZ]
    if not clips:
        raise CorpusError(f"no notes in the split {split!r} of the training corpora; give them with --training")
    return clips


def measure(context: StudyContext) -> Measured:
    """Run coders and catalogue over held-out notes of unheard instruments and left-out notes of heard ones."""
    seed = context.seed
    catalogue = Catalogue.read(training_notes(context, "train"), context.note)
    unheard = [(clip, fitted(samples)) for clip, samples in context.clips("notes")]
    left_out = training_notes(context, "valid")
    every = max(1, len(left_out) // HEARD_NOTES)
    heard = [(clip, sound(clip)) for clip in left_out[::every][:HEARD_NOTES]]
    systems = {name: context.load(name) for name in MODELS}
    coders = ("vqvae2", "vqvae2_8x4")
    titles = {
        "vqvae2": "VQ-VAE-2, maps 32 x 4 and 64 x 8",
        "vqvae2_8x4": "VQ-VAE-2, maps 32 x 4 and 128 x 16",
        "mel_if": "Mel-IF round trip, no network (ceiling)",
        "griffin_lim": "Log-mel and Griffin-Lim, no network",
    }
    tables = []
    results: dict[str, dict[str, Scores]] = {}
    for key, title, notes in (
        ("unheard", "Held-out notes of instruments that were never heard", unheard),
        ("heard", "Left-out notes of instruments that were heard", heard),
    ):
        context.note(f"{len(notes)} notes: {title}")
        rows, found = [], {}
        for name, system in systems.items():
            found[name] = score_sounds(rebuilt(system, notes, seed), notes)
            rate = Cell(kbit_per_s(system)) if name in coders else Cell(None, reason="not a coder")
            rows.append(Row(titles[name], {**found[name].cells(seed), "rate": rate}))
        for label, scores, remark in catalogue_rows(catalogue, notes):
            found[label] = scores
            missing = {
                c.key: Cell(None, reason="the mean makes no sound" if c.key != "rate" else "not a coder")
                for c in COLUMNS
                if c.key not in scores.values
            }
            rows.append(Row(label, {**missing, **scores.cells(seed)}, remark))
        results[key] = found
        remark = (
            f"{len(notes)} notes of {len({c.group for c, _ in notes})} instruments against {len(catalogue.clips)}"
            " training notes; means with 95 % bootstrap intervals drawn by instrument. Pitch: share of the notes on"
            " which two estimators agree about the original and both find the copy within 50 cents of it."
        )
        tables.append(Table(title, COLUMNS, rows, remark))
    use = {name: code_cells(systems[name], (unheard, heard)) for name in coders}
    tables.append(
        Table(
            "Use of the 512 codes of each map",
            CODE_COLUMNS,
            [Row(titles[name], cells) for name, cells in use.items()],
            "Counted over all notes of both tables. Perplexity: effective number of codes.",
        )
    )
    return Measured(tables, (), claims(results, use["vqvae2"]))


def claims(results: dict[str, dict[str, Scores]], use: dict[str, Cell]) -> list[Claim]:
    """The bars, with what was reached."""
    found = []
    for key, words in (("unheard", "unheard instruments"), ("heard", "heard instruments, left-out notes")):
        scores = results[key]
        ours = scores["vqvae2"]
        rivals = [label for label in scores if "training note" in label]
        for column, title, unit in (
            ("log_mel_l1", "log-mel L1", "Np"),
            ("log_spectral_distance", "log-spectral distance", "dB"),
        ):
            best = min(scores[label].mean(column) for label in rivals)
            value = ours.mean(column)
            found.append(
                Claim(
                    f"VQ-VAE-2, {words}: {title} well below that of the nearest training note and of the mean note of"
                    " the family and pitch",
                    f"{value:.3g} {unit} against {best:.3g} {unit}, the better of the catalogue's answers"
                    f" ({100 * (value / best - 1):+.0f} %)",
                    value < 0.8 * best,
                    None if value < 0.8 * best else "well below is read as at least a fifth below",
                )
            )
        share = 100.0 * ours.mean("pitch")
        found.append(
            Claim(
                f"VQ-VAE-2, {words}: keeps the pitch within 50 cents for at least 90 % of the notes",
                f"{share:.1f} % of {len(ours.values['pitch'])} notes",
                share >= 90.0,
                None if share >= 90.0 else "counted by two estimators that must both agree",
            )
        )
    top, bottom = use["used_top"].value or 0.0, use["used_bottom"].value or 0.0
    met = min(top, bottom) > 60.0
    figure = f"{top:.0f} % of the top map's codes and {bottom:.0f} % of the bottom map's"
    reason = None if met else "the top map carries little that the bottom map does not"
    found.append(Claim("VQ-VAE-2 uses more than 60 % of the codes in both maps", figure, met, reason))
    return found


def listen(context: StudyContext) -> list[Listening]:
    """Nothing: the listening tables of the notes hold these systems already."""
    return []


__all__ = ["MODELS", "NAME", "QUESTION", "TITLE", "listen", "measure"]
