"""Vocoders of one mel against each other and against Griffin-Lim, on music that none was trained on."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from eval.metrics.spectral import log_spectral_distance, multi_resolution_stft, spectral_convergence
from eval.stats import mean_interval, paired_difference
from eval.studies.base import Cell, Claim, Column, Listening, Measured, Row, StudyContext, Table
from models.frontends.band_split import BandSplitConfig, join_bands, join_locally, split_bands
from models.frontends.mel import expand
from models.frontends.phase_recovery import griffin_lim, mel_to_magnitude_nnls
from models.frontends.stft import stft
from models.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from models.vocoder import HOP_SAMPLES, SAMPLE_RATE_HZ, MelVocoder, vocoder_frontend, vocoder_mel

NAME = "vocoders"
TITLE = "Vocoders"
QUESTION = (
    "From the same 128 log-mel bands, which comes nearer to the recording: MelGAN, the filter-bank vocoder or"
    " Griffin-Lim, which learns nothing? And what does the split into bands cost by itself?"
)
MODELS: tuple[str, ...] = ("melgan", "filterbank")

LOW_HZ = 500.0
ROUNDS = 32
N_MELS = 128
_BASELINE = "Griffin-Lim"
_BARS = ("multi_resolution_stft", "log_spectral_distance")
Vocode = Callable[[Tensor, int], Tensor]


@dataclass
class Contender:
    """A way from the mel to sound, and what it reached.

    Attributes:
        vocode: Waveform of a log-mel and a seed.
        parameters: Number learned.
        card: Of the weights; None where nothing learns.
        values: Metric to one value a clip.
    """

    vocode: Vocode
    parameters: int = 0
    card: Mapping[str, Any] | None = None
    values: dict[str, list[float]] = field(default_factory=dict)


def low_spectral_distance(estimate: Tensor, reference: Tensor, sample_rate_hz: int, below_hz: float = LOW_HZ) -> float:
    """Log-spectral distance of the bins below a frequency, dB.

    Args:
        estimate: Synthesised waveform, shape ``(time,)``.
        reference: Recorded waveform, same shape.
        sample_rate_hz: Rate of both.
        below_hz: Bins from this frequency on are left out.

    >>> low_spectral_distance(torch.ones(8192), torch.ones(8192), 22_050)
    0.0
    """
    window = torch.hann_window(2048, dtype=torch.float64)
    spectra = [
        torch.stft(v.double(), 2048, 512, window=window, return_complex=True).abs().clamp_min(1e-4)
        for v in (estimate, reference)
    ]
    bins = math.ceil(below_hz * 2048 / sample_rate_hz)
    gap = 20.0 * torch.log10(spectra[0][:bins] / spectra[1][:bins])
    return float(gap.square().mean(0).sqrt().mean())


def error_db(estimate: Tensor, reference: Tensor) -> float:
    """Energy of the reference over that of the error, dB; at most 300.

    >>> round(error_db(torch.tensor([0.9]), torch.tensor([1.0])))
    20
    """
    error = float((estimate.double() - reference.double()).square().sum())
    return 10.0 * math.log10(float(reference.double().square().sum()) / error) if error > 0 else 300.0


def learned(vocoder: MelVocoder) -> Vocode:
    """A vocoder by itself."""
    return lambda mel, seed: vocoder.vocode(mel)


def uncorrected(vocoder: MelVocoder) -> Vocode:
    """A vocoder as published: without the correction of its level to that of the mel."""
    plain = copy.copy(vocoder)
    plain.level_rounds = 0
    return learned(plain)


def unlearned(system: GriffinLimVocoder) -> Vocode:
    """Griffin-Lim from a random phase."""
    return lambda mel, seed: system.vocode(mel, seeds=[seed])


def polished(vocoder: MelVocoder) -> Vocode:
    """The vocoder's phases under magnitudes from the mel, then Griffin-Lim."""

    def vocode(mel: Tensor, seed: int) -> Tensor:
        config = vocoder.frontend
        magnitude = mel_to_magnitude_nnls(expand(mel, config), config)
        spectrum = stft(vocoder.vocode(mel), config.stft)
        start = spectrum / spectrum.abs().clamp_min(1e-12)
        length = mel.shape[2] * HOP_SAMPLES
        return griffin_lim(magnitude, config.stft, length=length, iterations=ROUNDS, start=start)

    return vocode


def contenders(context: StudyContext) -> tuple[dict[str, Contender], dict[str, Any]]:
    """All ways by title, and the cards of the trained ones by model name."""
    found: dict[str, Contender] = {}
    cards: dict[str, Any] = {}
    trained: dict[str, MelVocoder] = {name: context.load(name) for name in MODELS}
    for name, vocoder in trained.items():
        cards[name] = vocoder.card
        found[vocoder.title] = Contender(learned(vocoder), vocoder.parameters, vocoder.card)
    for title, config in (
        (_BASELINE, GriffinLimVocoderConfig(iterations=ROUNDS)),
        ("Griffin-Lim, pseudo-inverse", GriffinLimVocoderConfig(iterations=ROUNDS, inverse="pinv")),
        ("Griffin-Lim, classic", GriffinLimVocoderConfig(iterations=ROUNDS, momentum=0.0)),
    ):
        found[title] = Contender(unlearned(GriffinLimVocoder(device=context.device, config=config)))
    for vocoder in trained.values():
        found[f"{vocoder.title}, level not corrected"] = Contender(
            uncorrected(vocoder), vocoder.parameters, vocoder.card
        )
    for vocoder in trained.values():
        found[f"{vocoder.title}, then Griffin-Lim"] = Contender(polished(vocoder), vocoder.parameters, vocoder.card)
    return found, cards


def run(found: Mapping[str, Contender], waves: Sequence[Tensor], seed: int, device: str) -> None:
    """Vocode every clip in every way and keep the scores.

    Args:
        found: The ways; their values are filled in.
        waves: Clips, shape ``(time,)``.
        seed: Of the first clip.
        device: Torch device.
    """
    for place, wave in enumerate(waves):
        mel = vocoder_mel(wave[None].to(device), vocoder_frontend(N_MELS))
        for contender in found.values():
            started = time.perf_counter()
            made = contender.vocode(mel, seed + place)[0, : wave.numel()]
            seconds = time.perf_counter() - started
            scores = {
                "multi_resolution_stft": float(multi_resolution_stft(made, wave)),
                "log_spectral_distance": float(log_spectral_distance(made, wave)),
                "low": low_spectral_distance(made, wave, SAMPLE_RATE_HZ),
                "convergence": float(spectral_convergence(made, wave)),
                "pace": wave.numel() / SAMPLE_RATE_HZ / seconds,
            }
            for name, value in scores.items():
                contender.values.setdefault(name, []).append(value)


def interval(values: Sequence[float], groups: Sequence[str], seed: int) -> Cell:
    """Mean with its interval."""
    mean = mean_interval(values, seed=seed, groups=groups)
    return Cell(mean.mean, mean.low, mean.high, mean.n, None if mean.mean is not None else mean.method)


def results(found: Mapping[str, Contender], groups: Sequence[str], seed: int) -> Table:
    """One row a way."""
    columns = [
        Column("multi_resolution_stft", "Multi-resolution STFT distance", better="lower"),
        Column("log_spectral_distance", "Log-spectral distance", "dB", "lower"),
        Column("low", f"Log-spectral distance under {LOW_HZ:.0f} Hz", "dB", "lower"),
        Column("convergence", "Spectral convergence", better="lower"),
        Column("pace", "Sound per second of work", "s", "higher"),
        Column("parameters", "Learned parameters"),
        Column("steps", "Training steps"),
    ]
    rows = []
    for title, contender in found.items():
        cells = {name: interval(values, groups, seed) for name, values in contender.values.items()}
        cells["parameters"] = Cell(float(contender.parameters))
        untrained = Cell(None, reason="nothing to train")
        cells["steps"] = untrained if contender.card is None else Cell(float(trained_steps(contender.card)))
        rows.append(Row(title, cells))
    threads = torch.get_num_threads()
    note = (
        "Held-out music at 22,050 Hz; every way starts from the same 128 log-mel bands. Work on"
        f" {threads} thread{'s' if threads > 1 else ''}, one clip at a time, front end not counted."
    )
    return Table("Mel to sound", columns, rows, note)


def splits(waves: Sequence[Tensor], groups: Sequence[str], seed: int) -> tuple[Table, dict[str, float]]:
    """What splitting into five bands and joining them again loses; the figures of white noise by kind."""
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(8192, generator=generator, dtype=torch.float64) for _ in range(64)]
    kinds = {
        "Each edge in one band": (BandSplitConfig(exact=True), join_bands),
        "Each edge in one band, joined by finite filters": (BandSplitConfig(exact=True), join_locally),
        "Edges in both bands, as published": (BandSplitConfig(exact=False), join_bands),
    }
    rows, figures = [], {}
    for title, (config, join) in kinds.items():

        def back(wave: Tensor, config: BandSplitConfig = config, join: Any = join) -> float:
            joined: Tensor = join(split_bands(wave[None].double(), config), config)
            return error_db(joined[0, : wave.numel()], wave)

        on_noise = [back(wave) for wave in noise]
        figures[title] = sum(on_noise) / len(on_noise)
        cells = {
            "noise": interval(on_noise, [str(i) for i in range(len(noise))], seed),
            "music": interval([back(wave) for wave in waves], groups, seed),
        }
        rows.append(Row(title, cells))
    columns = [
        Column("noise", "White noise of 8,192 samples", "dB", "higher"),
        Column("music", "Held-out music", "dB", "higher"),
    ]
    note = "Signal over error after splitting into five octave bands and joining them, without a network."
    return Table("The band split alone", columns, rows, note), figures


def claims(found: Mapping[str, Contender], cards: Mapping[str, Any], groups: Sequence[str], seed: int) -> list[Claim]:
    """The bars: fairness of the training, and Griffin-Lim beaten in both distances by each vocoder."""
    made = [fairness(cards)]
    rival = found[_BASELINE]
    for title in [t for t, c in found.items() if c.card is not None and "," not in t]:
        parts, met = [], True
        for name, unit in zip(_BARS, ("", " dB"), strict=True):
            own, other = found[title].values[name], rival.values[name]
            difference = paired_difference(own, other, seed=seed, groups=groups)
            met = met and difference.mean is not None and difference.mean < 0
            label = {"multi_resolution_stft": "multi-resolution STFT", "log_spectral_distance": "log-spectral"}[name]
            means = [sum(values) / len(values) for values in (own, other)]
            parts.append(f"{label} {means[0]:.2f}{unit} against {means[1]:.2f}{unit}")
        made.append(
            Claim(
                f"{title} beats Griffin-Lim ({ROUNDS} iterations, same mel) in multi-resolution STFT distance and"
                " log-spectral distance on held-out music",
                f"{'; '.join(parts)} ({len(groups)} clips)",
                met,
                None if met else shortfall(found[title].card),
            )
        )
    return made


def trained_steps(card: Mapping[str, Any]) -> int:
    """Steps behind the weights, those of the weights that they started from included."""
    return int(card["step"]) + int((card.get("training", {}).get("init") or {}).get("step") or 0)


def shortfall(card: Mapping[str, Any] | None) -> str:
    """Why a vocoder can be behind Griffin-Lim."""
    training = (card or {}).get("training", {})
    steps = trained_steps(card) if card else 0
    samples = steps * int(training.get("batch_size", 0)) * int(training.get("segment_samples", 0))
    return (
        f"The weights are of a short training: {steps:,} steps, {samples / SAMPLE_RATE_HZ / 3600:.1f} hours of sound in"
        " all, where the published ones go on for a million steps and more. Besides, wherever the mel stands still a"
        " convolutional vocoder repeats its output every 256 samples, so that a steady tone can only come out at"
        " multiples of 86 Hz; Griffin-Lim keeps the phase running."
    )


def fairness(cards: Mapping[str, Any]) -> Claim:
    """Whether the vocoders had equal steps, batches and corpora, by their cards."""

    def facts(card: Mapping[str, Any]) -> tuple[int, int, tuple[str, ...]]:
        corpora = tuple(sorted(str(corpus.get("content_sha256")) for corpus in card.get("trained_on", [])))
        return trained_steps(card), int(card.get("training", {}).get("batch_size", 0)), corpora

    known = {name: facts(card) for name, card in cards.items()}
    text = "; ".join(
        f"{name}: {steps} steps of {batch} segments, {len(corpora)} corpora"
        for name, (steps, batch, corpora) in known.items()
    )
    return Claim("MelGAN and filter-bank vocoder, equal steps, batch and corpus", text, len(set(known.values())) == 1)


def measure(context: StudyContext) -> Measured:
    """Vocode the held-out music in every way."""
    clips = context.clips("music")
    waves = [torch.from_numpy(wave) for _, wave in clips]
    groups = [str(clip.group) for clip, _ in clips]
    found, cards = contenders(context)
    context.note(f"vocoding {len(waves)} clips in {len(found)} ways")
    run(found, waves, context.seed, context.device)
    table, _ = splits(waves, groups, context.seed)
    return Measured([results(found, groups, context.seed), table], [], claims(found, cards, groups, context.seed))


def listen(context: StudyContext) -> list[Listening]:
    """None here: the vocoders are systems of the harness, which has rows of its own for them."""
    return []
