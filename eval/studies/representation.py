"""What pictures of sound lose before any network sees them, and what Griffin-Lim costs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from eval.metrics.scoring import score_batch
from eval.metrics.waveform import waveform_mse
from eval.stats import mean_interval
from eval.studies.base import Cell, Claim, Column, Listening, Measured, Plot, Point, Row, StudyContext, Table
from models.frontends.gansynth import GANSynthConfig, GANSynthPicture
from models.frontends.mel import MelConfig, log_mel, mel_filterbank
from models.frontends.mel_if import MelIF, MelIFConfig, MelIFInverseConfig
from models.frontends.phase_recovery import griffin_lim, mel_to_magnitude_nnls, mel_to_magnitude_pinv, random_phase
from models.frontends.stft import StftConfig

NAME = "representation"
TITLE = "Pictures of sound, without a network"
QUESTION = (
    "What do break frequency and phase threshold of the Mel-IF picture change by themselves? And of a mel spectrogram's"
    " way back to sound, which stage takes the time and which decides how near it comes?"
)
MODELS: tuple[str, ...] = ()

NOTES = 48
CLIPS = 8
CLIP_SAMPLES = 88_200
WINDOWS = (256, 512, 1024, 2048, 4096)
ROUNDS = (2, 4, 8, 16, 32, 64)
SWEPT_WINDOW = 1024
_NEAR = ("log_mel_l1", "log_spectral_distance")
_FAR = ("spectral_convergence", "log_spectral_distance")


def cell(values: Sequence[float], seed: int, groups: Sequence[str] | None = None) -> Cell:
    """Mean with its interval."""
    found = mean_interval(values, seed=seed, groups=groups)
    return Cell(found.mean, found.low, found.high, found.n, None if found.mean is not None else found.method)


def frequency_entropy_bits(picture: Tensor) -> float:
    """Entropy of the frequency channel of pictures over 64 equal steps of [-1, 1], bits a cell.

    >>> frequency_entropy_bits(torch.zeros(1, 2, 4, 4))
    0.0
    """
    counts = torch.histc(picture[:, 1].double().clamp(-1.0, 1.0), bins=64, min=-1.0, max=1.0)
    share = counts[counts > 0] / counts.sum()
    return max(0.0, float(-(share * share.log2()).sum()))


def scores(estimate: Tensor, reference: Tensor, names: Sequence[str], sample_rate_hz: int) -> dict[str, float]:
    """Metrics of one clip, shapes ``(time,)``."""
    row = score_batch(
        estimate[None].double(), reference[None].double(), sample_rate_hz=sample_rate_hz, names=list(names)
    )[0]
    return {name: float("nan") if row[name].value is None else float(row[name].value or 0.0) for name in names}


def picture_roads() -> dict[str, tuple[torch.nn.Module, str]]:
    """Title to front end with ``forward`` and ``inverse``, and to the group of its point."""
    roads: dict[str, tuple[torch.nn.Module, str]] = {}
    for mix, inverse, road in (
        ("unwrapped", MelIFInverseConfig(0, 0), "as published"),
        ("energy", MelIFInverseConfig(), "with our inverse"),
    ):
        for break_hz in (240.0, 700.0):
            for threshold in (True, False):
                # Nothing lies under the floor, so a threshold there is none.
                config = MelIFConfig(break_hz=break_hz, phase_mix=mix, threshold=2e-6 if threshold else 1e-6)
                title = f"Break {break_hz:.0f} Hz, {'threshold' if threshold else 'no threshold'}, {road}"
                roads[title] = (MelIF(config, inverse), road)
    roads["GANSynth, as published"] = (GANSynthPicture(), "GANSynth")
    roads["GANSynth, linear frequency axis"] = (GANSynthPicture(GANSynthConfig(mel=False)), "GANSynth")
    return roads


def measure_pictures(
    notes: Sequence[tuple[str, Tensor]],
    roads: Mapping[str, tuple[torch.nn.Module, str]],
    seed: int,
    note: Callable[[str], None],
) -> tuple[Table, Plot, dict[str, dict[str, Cell]]]:
    """Send notes through pictures and back.

    Args:
        notes: Group and samples ``(64,000,)`` of each.
        roads: As of `picture_roads`.
        seed: Of the intervals.
        note: Told of every road.
    """
    groups = [group for group, _ in notes]
    found: dict[str, dict[str, Cell]] = {}
    for title, (road, _) in roads.items():
        note(f"pictures: {title}")
        values: dict[str, list[float]] = {name: [] for name in (*_NEAR, "entropy")}
        for _, wave in notes:
            picture = road(wave[None])
            back = road.inverse(picture)[0]  # type: ignore[operator]  # both front ends have it
            for name, value in scores(back, wave, _NEAR, 16_000).items():
                values[name].append(value)
            values["entropy"].append(frequency_entropy_bits(picture))
        found[title] = {name: cell(numbers, seed, groups) for name, numbers in values.items()}
    columns = [
        Column("log_mel_l1", "Log-mel L1", better="lower"),
        Column("log_spectral_distance", "Log-spectral distance", "dB", "lower"),
        Column("entropy", "Entropy of the frequency channel", "bits a cell", "lower"),
    ]
    table = Table(
        "Round trip of the Mel-IF picture",
        columns,
        [Row(title, cells) for title, cells in found.items()],
        f"{len(notes)} held-out notes of instruments never trained on. No network: what the picture alone loses.",
    )
    points = [
        Point(title, cells["entropy"].value or 0.0, cells["log_spectral_distance"].value or 0.0, roads[title][1])
        for title, cells in found.items()
    ]
    plot = Plot(
        "What a picture costs to code, and what it loses",
        "Entropy of the frequency channel, bits a cell",
        "Log-spectral distance, dB",
        points,
    )
    return table, plot, found


def sweep_config(window: int, sample_rate_hz: int) -> MelConfig:
    """The sweep's mel: 128 bands of power, hop a quarter of the window, no logarithm."""
    return MelConfig(sample_rate_hz, StftConfig(window, window // 4, window), 128, power=2, log="none", floor=0.0)


@dataclasses.dataclass
class Stage:
    """CPU seconds of one stage per second of sound, over clips."""

    values: list[float] = dataclasses.field(default_factory=list)

    def timed(self, work: Callable[[], Tensor], duration_s: float) -> Tensor:
        """Result of some work, its time noted."""
        started = time.process_time()
        out = work()
        self.values.append((time.process_time() - started) / duration_s)
        return out


def measure_windows(
    clips: Sequence[Tensor],
    sample_rate_hz: int,
    seed: int,
    note: Callable[[str], None],
    windows: Sequence[int] = WINDOWS,
    rounds: int = 32,
) -> tuple[Table, Table, dict[tuple[int, str], dict[str, list[float]]], dict[int, dict[str, Stage]]]:
    """Windows, ways from mel to STFT and kinds of Griffin-Lim against each other, with the stages timed apart."""
    times: dict[int, dict[str, Stage]] = {}
    near: dict[tuple[int, str], dict[str, list[float]]] = {}
    for window in windows:
        note(f"Griffin-Lim: window {window}")
        config = sweep_config(window, sample_rate_hz)
        times[window] = {name: Stage() for name in ("pinv", "nnls", "griffin_lim")}
        for place, wave in enumerate(clips):
            duration_s = wave.numel() / sample_rate_hz
            mel = log_mel(wave[None], config)
            stages = times[window]
            magnitudes = {
                "pseudo-inverse": stages["pinv"].timed(partial(mel_to_magnitude_pinv, mel, config), duration_s),
                "least squares": stages["nnls"].timed(partial(mel_to_magnitude_nnls, mel, config), duration_s),
            }
            for way, magnitude in magnitudes.items():
                start = random_phase((1, magnitude.shape[1], magnitude.shape[2]), [seed + place], magnitude.dtype)
                search = partial(
                    griffin_lim, magnitude, config.stft, length=wave.numel(), iterations=rounds, start=start
                )
                for kind, momentum in (("classic", 0.0), ("fast", 0.99)):
                    back = stages["griffin_lim"].timed(partial(search, momentum=momentum), duration_s)
                    values = near.setdefault((window, f"{way}, {kind}"), {})
                    for name, value in scores(back[0], wave, _FAR, sample_rate_hz).items():
                        values.setdefault(name, []).append(value)
                    gap = float(waveform_mse(back.double(), wave[None].double())[0])
                    values.setdefault("mse", []).append(100.0 * gap)
    rows = []
    for window in windows:
        empty = int((mel_filterbank(sweep_config(window, sample_rate_hz)).sum(1) == 0).sum())
        cells = {name: cell(stage.values, seed) for name, stage in times[window].items()}
        rows.append(Row(f"{window} samples", {**cells, "empty": Cell(float(empty))}))
    unit = "CPU s / s of sound"
    costs = Table(
        "Where the time goes",
        [
            Column("pinv", "Mel to STFT, pseudo-inverse", unit, "lower"),
            Column("nnls", "Mel to STFT, least squares", unit, "lower"),
            Column("griffin_lim", f"Griffin-Lim, {rounds} rounds", unit, "lower"),
            Column("empty", "Empty mel bands of 128", better="lower"),
        ],
        rows,
        "Window, hop a quarter of it. Stages timed apart, in processor time of this machine.",
    )
    columns = [
        Column("spectral_convergence", "Spectral convergence", better="lower"),
        Column("log_spectral_distance", "Log-spectral distance", "dB", "lower"),
        Column("mse", "Waveform MSE x 100"),
    ]
    quality = Table(
        f"How near {rounds} rounds come",
        columns,
        [
            Row(f"{window} samples, {kind}", {name: cell(numbers, seed) for name, numbers in values.items()})
            for (window, kind), values in near.items()
        ],
        f"{len(clips)} held-out clips. The waveform's squared error says little: a right sound with other phases is"
        " charged in full.",
    )
    return costs, quality, near, times


def measure_rounds(
    clips: Sequence[Tensor],
    sample_rate_hz: int,
    seed: int,
    note: Callable[[str], None],
    rounds: Sequence[int] = ROUNDS,
    window: int = SWEPT_WINDOW,
) -> tuple[Plot, dict[tuple[str, int], float]]:
    """Spectral convergence over rounds, classic and fast, from the least-squares magnitudes."""
    config = sweep_config(window, sample_rate_hz)
    values: dict[tuple[str, int], list[float]] = {}
    for place, wave in enumerate(clips):
        magnitude = mel_to_magnitude_nnls(log_mel(wave[None], config), config)
        start = random_phase((1, magnitude.shape[1], magnitude.shape[2]), [seed + place], magnitude.dtype)
        for kind, momentum in (("Classic", 0.0), ("Fast", 0.99)):
            for n in rounds:
                back = griffin_lim(
                    magnitude, config.stft, length=wave.numel(), iterations=n, momentum=momentum, start=start
                )
                found = scores(back[0], wave, ("spectral_convergence",), sample_rate_hz)["spectral_convergence"]
                values.setdefault((kind, n), []).append(found)
    note("Griffin-Lim: rounds done")
    means = {key: float(np.mean(numbers)) for key, numbers in values.items()}
    plot = Plot(
        "Rounds of Griffin-Lim",
        "Rounds",
        "Spectral convergence",
        [Point(f"{kind}, {n} rounds", float(n), means[kind, n], kind) for kind in ("Classic", "Fast") for n in rounds],
        f"Window of {window} samples, 128 mel bands, least squares.",
        joined=True,
    )
    return plot, means


def measure(context: StudyContext) -> Measured:
    """Round trips of held-out notes through pictures, and a sweep of Griffin-Lim over held-out music."""
    with torch.no_grad():
        notes = [(clip.group, torch.from_numpy(wave)) for clip, wave in context.clips("notes", NOTES)]
        roads = picture_roads()
        pictures, plot, found = measure_pictures(notes, roads, context.seed, context.note)
        music = context.clips("music", CLIPS)
        rate = music[0][0].sample_rate_hz
        waves = [torch.from_numpy(wave[:CLIP_SAMPLES]) for _, wave in music]
        costs, quality, near, times = measure_windows(waves, rate, context.seed, context.note)
        rounds, means = measure_rounds(waves, rate, context.seed, context.note)
    return Measured(
        (pictures, costs, quality), (plot, rounds), [*picture_claims(found), *sweep_claims(near, times, means)]
    )


def picture_claims(found: Mapping[str, Mapping[str, Cell]]) -> list[Claim]:
    """What break frequency and threshold do, with everything else as published."""

    def value(break_hz: int, threshold: str, name: str, road: str) -> float:
        return found[f"Break {break_hz} Hz, {threshold}, {road}"][name].value or 0.0

    claims = []
    for road in ("as published", "with our inverse"):
        low, high = (value(b, "threshold", "log_spectral_distance", road) for b in (240, 700))
        claims.append(
            Claim(
                f"The break at 240 Hz loses no more than the one at 700 Hz, {road}",
                f"log-spectral distance {low:.2f} dB against {high:.2f} dB",
                low <= high,
                None if low <= high else "the bass gains bands, the treble loses them, and most STFT bins are treble",
            )
        )
    on, off = (value(240, t, "entropy", "as published") for t in ("threshold", "no threshold"))
    gap = value(240, "threshold", "log_mel_l1", "as published") - value(
        240, "no threshold", "log_mel_l1", "as published"
    )
    claims.append(
        Claim(
            "The threshold takes at least 10 % off the entropy of the frequency channel",
            f"{on:.2f} bits a cell with it, {off:.2f} without; log-mel L1 changes by {gap:+.3f}",
            on <= 0.9 * off,
            None if on <= 0.9 * off else "few cells of these notes lie under the threshold",
        )
    )
    return claims


def sweep_claims(
    near: Mapping[tuple[int, str], Mapping[str, Sequence[float]]],
    times: Mapping[int, Mapping[str, Stage]],
    means: Mapping[tuple[str, int], float],
) -> list[Claim]:
    """What the published sweep concluded, measured again."""
    window = SWEPT_WINDOW
    cost = {name: float(np.mean(stage.values)) for name, stage in times[window].items()}
    dearer = cost["nnls"] > cost["griffin_lim"]
    fast, classic = means["Fast", 32], means["Classic", 32]
    better = {
        name: float(np.mean(near[window, f"{name}, fast"]["spectral_convergence"]))
        for name in ("least squares", "pseudo-inverse")
    }
    return [
        Claim(
            f"At a window of {window}, the way from mel to STFT costs more than 32 rounds of Griffin-Lim",
            f"least squares {cost['nnls']:.3f}, pseudo-inverse {cost['pinv']:.4f}, Griffin-Lim"
            f" {cost['griffin_lim']:.3f} CPU seconds for a second of sound",
            dearer,
            None
            if dearer
            else "projected gradients in a batch are much cheaper than the solver of the published sweep",
        ),
        Claim(
            "Fast Griffin-Lim comes nearer than the classic one in 32 rounds",
            f"spectral convergence {fast:.3f} against {classic:.3f}",
            fast < classic,
        ),
        Claim(
            "Least squares come nearer than the pseudo-inverse",
            f"spectral convergence {better['least squares']:.3f} against {better['pseudo-inverse']:.3f}",
            better["least squares"] < better["pseudo-inverse"],
        ),
    ]


def listen(context: StudyContext) -> list[Listening]:
    """Nothing: the Griffin-Lim and Mel-IF systems are heard clip by clip elsewhere."""
    return []
