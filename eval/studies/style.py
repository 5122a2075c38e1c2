"""Style transfer: what is kept of one clip and reached of another, by every variant and by just playing both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Mel, Stft, mel_magnitude, stft
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
from models.errors import CorpusError
from models.style_transfer import DiscriminatorFeatures, FeatureNetwork, TransferConfig, moments, transfer

if TYPE_CHECKING:
    from eval.corpora import Clip
    from models.siamese_style import SiameseStyle
    from models.travel_gan import TravelGAN
    from models.vocoder import MelVocoder

NAME = "style"
TITLE = "Style transfer: what is kept and what is reached"
QUESTION = (
    "Does any way of moving a clip towards the style of another do more than to play both at once? And does the"
    " discriminator of a vocoder know style at all?"
)
MODELS: tuple[str, ...] = ("melgan_discriminator", "siamese_style", "travel_gan", "melgan")

CONTENT = ("Solo Piano", "Harpsichord", "Clarinet and Piano")
STYLE = ("String Quartet",)
PAIRS = 8
SAMPLES = 99_225
STEPS = 16
STYLE_WEIGHTS = (1.0, 10.0)
GAINS_DB = (-24.0, -18.0, -12.0, -6.0, 0.0, 6.0, 12.0, 18.0)
HEARD_SAMPLES = 39_690
HEARD_STEPS = 5
PROBED_SAMPLES = 55_125
ENDS = ("Content", "Style clip")
_LEVEL = 0.07
_COEFFICIENTS = 20


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two excerpts of equal length and level.

    Attributes:
        content: Samples of the clip whose content is to stay, shape ``(time,)``.
        style: Samples of the clip whose style is wanted, same shape.
        content_id: Name of the first clip.
        style_id: Name of the second.
    """

    content: Tensor
    style: Tensor
    content_id: str
    style_id: str


def levelled(waveform: Tensor, level: float = _LEVEL) -> Tensor:
    """The waveform at a root mean square, so that no measure rewards loudness; silence stays silence."""
    return waveform * (level / waveform.square().mean().sqrt().clamp_min(1e-6))


def choose_pairs(clips: Sequence[tuple[Clip, NDArray[np.float32]]], count: int, samples: int) -> list[Pair]:
    """Pairs of a keyboard's excerpt and a string quartet's, every recording as often as can be.

    Raises:
        CorpusError: If there are no clips of one of the two kinds that are long enough.
    """
    excerpts: dict[str, list[tuple[str, Tensor]]] = {"content": [], "style": []}
    for place in (0, 1):
        for clip, wave in clips:
            role = next((r for r, names in (("content", CONTENT), ("style", STYLE)) if _ensemble(clip) in names), None)
            start = place * (len(wave) - samples)
            if role is None or start < 0 or len(wave) < samples or (place and len(wave) < 2 * samples):
                continue
            excerpts[role].append((clip.clip_id, torch.from_numpy(wave[start : start + samples].copy())))
    if not excerpts["content"] or not excerpts["style"]:
        raise CorpusError(
            f"style study: need clips of {', '.join(CONTENT)} and of {', '.join(STYLE)} of {samples} samples"
        )
    pairs = []
    for i in range(count):
        kept_id, kept = excerpts["content"][i % len(excerpts["content"])]
        wanted_id, wanted = excerpts["style"][(3 * i) % len(excerpts["style"])]
        pairs.append(Pair(levelled(kept), levelled(wanted), kept_id, wanted_id))
    return pairs


def _ensemble(clip: Clip) -> str:
    return str(clip.labels.get("ensemble", ""))


def mix(content: Tensor, style: Tensor, gain_db: float) -> Tensor:
    """Both clips at once, the second one louder by a gain, at the usual level."""
    return levelled(content + 10.0 ** (gain_db / 20.0) * style)


@lru_cache(maxsize=4)
def _pitch_classes(sample_rate_hz: int, n_fft: int) -> Tensor:
    """Matrix ``(12, bins)`` that sums the bins of 100 to 4,000 Hz by pitch class, A first."""
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate_hz / n_fft)
    inside = (frequency >= 100.0) & (frequency <= 4_000.0)
    classes = torch.round(12.0 * torch.log2(frequency.clamp_min(1.0) / 440.0)).long() % 12
    matrix = torch.zeros(12, frequency.numel(), dtype=torch.float64)
    matrix[classes, torch.arange(frequency.numel())] = inside.double()
    return matrix


def chroma(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """Compressed energy by pitch class ``(12, frames)`` of a waveform ``(time,)``, in frames of 46 ms at 22,050 Hz.

    Source:
        Müller, "Fundamentals of Music Processing", 2015, section 3.1.
    """
    spectrum = stft(waveform, Stft(4096, 1024, 4096)).abs().square()
    energy = (_pitch_classes(sample_rate_hz, 4096) @ spectrum).sqrt()
    return torch.log1p(100.0 * energy / energy.max().clamp_min(1e-9))


def onset_envelope(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """Rise of the log-mel, summed over bands, ``(frames,)`` of a waveform ``(time,)``."""
    mel = mel_magnitude(waveform, Stft(2048, 512, 2048), Mel(sample_rate_hz, 64))
    return torch.diff(torch.log(mel.clamp_min(1e-3)), dim=-1).clamp_min(0.0).sum(0)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of all entries; 0 where one of them does not vary.

    >>> correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
    1.0
    """
    a, b = (x.double().flatten() - x.double().mean() for x in (a, b))
    size = float(a.norm() * b.norm())
    return round(float(a @ b) / size, 12) if size > 1e-12 else 0.0


def chroma_correlation(a: Tensor, b: Tensor, sample_rate_hz: int) -> float:
    """How alike the pitch classes of two clips run, from -1 to 1; level and timbre hardly matter."""
    rows = [chroma(x, sample_rate_hz) for x in (a, b)]
    return correlation(*(row - row.mean(0, keepdim=True) for row in rows))


def onset_correlation(a: Tensor, b: Tensor, sample_rate_hz: int) -> float:
    """How alike the onsets of two clips run, from -1 to 1."""
    return correlation(onset_envelope(a, sample_rate_hz), onset_envelope(b, sample_rate_hz))


def cepstral_moments(waveform: Tensor, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
    """Mean ``(20,)`` and covariance ``(20, 20)`` over time of the log-mel's cosine coefficients 1 to 20.

    Only frames within 40 dB of the loudest count, and no band sinks further than 60 dB under the loudest one, so that
    what is too soft to be heard has no style. The coefficient of the level is left out.
    """
    mel = mel_magnitude(waveform, Stft(2048, 512, 2048), Mel(sample_rate_hz, 64))
    energy = mel.square().sum(0)
    mel = mel[:, energy >= 1e-4 * energy.max()]
    bands = torch.arange(64, dtype=torch.float64)
    order = torch.arange(1, _COEFFICIENTS + 1, dtype=torch.float64)
    basis = torch.cos(torch.pi / 64 * (bands[None] + 0.5) * order[:, None]) * (2.0 / 64) ** 0.5
    coefficients = basis @ torch.log(torch.maximum(mel, 1e-3 * mel.max().clamp_min(1e-6)))
    mean = coefficients.mean(1)
    gap = coefficients - mean[:, None]
    return mean, gap @ gap.T / max(1, gap.shape[1] - 1)


def style_distance(a: Tensor, b: Tensor, sample_rate_hz: int) -> float:
    """Fréchet distance of the cepstral moments of two clips: 0 for equal clips, and wherever one starts.

    None of the variants sees cosine coefficients, and what is measured has no order in time.

    Source:
        Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982.
    """
    (mean_a, cov_a), (mean_b, cov_b) = (cepstral_moments(x, sample_rate_hz) for x in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors @ torch.diag(values.clamp_min(0.0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0.0).sqrt().sum()
    square = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2.0 * cross
    return float(square.clamp_min(0.0).sqrt())


MEASURES: Mapping[str, Callable[[Tensor, Pair, int], float]] = {
    "chroma": lambda out, pair, rate: chroma_correlation(out, pair.content, rate),
    "onset": lambda out, pair, rate: onset_correlation(out, pair.content, rate),
    "style": lambda out, pair, rate: style_distance(out, pair.style, rate),
    "leak": lambda out, pair, rate: chroma_correlation(out, pair.style, rate),
}
COLUMNS = (
    Column("chroma", "Chroma correlation with the content", better="higher"),
    Column("onset", "Onset correlation with the content", better="higher"),
    Column("style", "Style distance to the style clip", better="lower"),
    Column("leak", "Chroma correlation with the style clip", better="lower"),
)


@dataclasses.dataclass(frozen=True)
class Tools:
    """The models of the study.

    Attributes:
        features: The discriminator.
        siamese: The style encoder.
        travel: The generator.
        vocoder: What turns the generator's mel into sound.
        sample_rate_hz: Rate of all of them.
    """

    features: DiscriminatorFeatures
    siamese: SiameseStyle
    travel: TravelGAN
    vocoder: MelVocoder
    sample_rate_hz: int

    def vocoded(self, mel: Tensor, samples: int) -> Tensor:
        """Waveform ``(samples,)`` of a log-mel ``(1, bands, frames)``."""
        return self.vocoder.vocode(mel)[0, :samples]


def load_tools(context: StudyContext) -> Tools:
    """Load what the study compares."""
    travel: TravelGAN = context.load("travel_gan")
    return Tools(
        context.load("melgan_discriminator"),
        context.load("siamese_style"),
        travel,
        context.load("melgan"),
        travel.sample_rate_hz,
    )


Variant = Callable[[Pair], Tensor]


def variants(tools: Tools, seed: int, steps: int, weights: Sequence[float]) -> dict[str, tuple[str, Variant]]:
    """Label to the group of its points and to what makes a clip of a pair."""
    network, siamese = tools.features.network, tools.siamese
    out: dict[str, tuple[str, Variant]] = {
        "Content itself": ("Content", lambda pair: pair.content),
        "Style clip itself": ("Style clip", lambda pair: pair.style),
    }
    for gain_db in GAINS_DB:
        out[f"Mix at {gain_db:+.0f} dB"] = ("Mix", partial(_mixed, gain_db=gain_db))
    untrained = tools.features.untrained(seed)
    kinds: tuple[tuple[str, str, FeatureNetwork, str], ...] = (
        ("Positional features", "positional", network, "lbfgs"),
        ("Gram matrices", "gram", network, "lbfgs"),
        ("Moments", "moments", network, "lbfgs"),
        # The loss on a log-mel is too rough for L-BFGS, and the others too steep for Adam.
        ("Siamese style loss", "siamese", network, "adam"),
        ("Gram matrices, untrained network", "gram", untrained, "lbfgs"),
    )
    for title, method, by, optimiser in kinds:
        for weight in weights:
            config = TransferConfig(method=method, style_weight=weight, steps=steps, optimiser=optimiser)
            out[f"{title}, style weight {weight:g}"] = (title, _optimised(by, config, siamese))
    out["Content through the vocoder alone"] = ("Vocoder alone", partial(_vocoded, tools=tools))
    out["TraVeL generator"] = ("TraVeL generator", partial(_converted, tools=tools))
    return out


def _mixed(pair: Pair, gain_db: float) -> Tensor:
    return mix(pair.content, pair.style, gain_db)


def _vocoded(pair: Pair, tools: Tools) -> Tensor:
    return tools.vocoded(tools.vocoder.mel(pair.content[None]), pair.content.numel())


def _converted(pair: Pair, tools: Tools) -> Tensor:
    mel = tools.travel.convert(pair.content[None], sample_rate_hz=tools.sample_rate_hz)
    return tools.vocoded(mel, pair.content.numel())


def _optimised(network: FeatureNetwork, config: TransferConfig, siamese: SiameseStyle) -> Variant:
    encoder = siamese if config.method == "siamese" else None
    return lambda pair: transfer(pair.content, pair.style, network, config, siamese=encoder).waveform


def measure_pair(out: Tensor, pair: Pair, sample_rate_hz: int) -> dict[str, float]:
    """All measures of one output."""
    out = levelled(out.detach())
    return {name: measure(out, pair, sample_rate_hz) for name, measure in MEASURES.items()}


def mix_at(content_kept: float, curve: Sequence[tuple[float, float]]) -> float:
    """Style distance of the mix that keeps so much content, between the measured gains; the end ones beyond them.

    Args:
        content_kept: Chroma correlation.
        curve: (chroma correlation, style distance) of mixes.

    >>> mix_at(0.5, [(0.0, 1.0), (1.0, 3.0)])
    2.0
    """
    points = sorted(curve)
    return float(np.interp(content_kept, [p[0] for p in points], [p[1] for p in points]))


def measure(context: StudyContext) -> Measured:
    """Send pairs of held-out clips through every variant."""
    tools = load_tools(context)
    clips = context.clips("music")
    rate = tools.sample_rate_hz
    pairs = choose_pairs(clips, PAIRS, SAMPLES)
    values: dict[str, dict[str, list[float]]] = {}
    groups: dict[str, str] = {}
    made = variants(tools, context.seed, STEPS, STYLE_WEIGHTS)
    for label, (group, make) in made.items():
        context.note(f"style: {label}")
        groups[label] = group
        rows = [measure_pair(make(pair), pair, rate) for pair in pairs]
        values[label] = {name: [row[name] for row in rows] for name in MEASURES}
    recordings = [pair.content_id for pair in pairs]
    table, plot, means = frontier(values, groups, recordings, context.seed)
    context.note("style: linear probe")
    probe, accuracy = probe_table(clips, tools, context.seed)
    return Measured((table, probe), (plot,), [*frontier_claims(means, groups), *probe_claims(accuracy)])


def frontier(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    groups: Mapping[str, str],
    recordings: Sequence[str],
    seed: int,
) -> tuple[Table, Plot, dict[str, dict[str, float]]]:
    """Table, plot and means of the variants.

    Args:
        values: Label to measure to one number a pair.
        groups: Label to the group of its point.
        recordings: Content recording of each pair; intervals draw whole recordings.
        seed: Of the intervals.
    """
    cells: dict[str, dict[str, Cell]] = {}
    for label, measures in values.items():
        found = {name: mean_interval(list(v), seed=seed, groups=list(recordings)) for name, v in measures.items()}
        cells[label] = {name: Cell(f.mean, f.low, f.high, f.n) for name, f in found.items()}
    means = {label: {name: c.value or 0.0 for name, c in row.items()} for label, row in cells.items()}
    table = Table(
        "Content kept and style reached",
        COLUMNS,
        [Row(label, row) for label, row in cells.items()],
        f"{len(recordings)} pairs of held-out excerpts, keyboards as content and string quartets as style, all at one"
        " level. The style distance is measured on cosine coefficients that no variant sees; notes of the style clip"
        " that are heard raise the last column.",
    )
    plot = Plot(
        "Content against style",
        "Content kept: chroma correlation with the content",
        "Style distance to the style clip",
        [Point(label, row["chroma"], row["style"], groups[label]) for label, row in means.items()],
        "Below the line of the mixes: more style at as much content than by playing both at once.",
        joined=True,
    )
    return table, plot, means


def frontier_claims(means: Mapping[str, Mapping[str, float]], groups: Mapping[str, str]) -> list[Claim]:
    """What the frontier says."""
    mixes = [label for label, group in groups.items() if group == "Mix"]
    ends = [label for label, group in groups.items() if group in ENDS]
    curve = [(means[label]["chroma"], means[label]["style"]) for label in (*mixes, *ends)]
    others = [label for label, group in groups.items() if group not in ("Mix", "Vocoder alone", *ENDS)]
    gain = {label: mix_at(means[label]["chroma"], curve) - means[label]["style"] for label in others}
    finite = all(np.isfinite(v) for row in means.values() for v in row.values())
    claims = [
        Claim(
            "Every variant and the mix of both songs stand on one plot",
            f"{len(others)} points of {len({groups[label] for label in others})} variants, {len(mixes)} mixes",
            bool(others and mixes and finite),
        )
    ]
    best = max(gain, key=lambda label: gain[label])
    beyond = sum(value > 0 for value in gain.values())
    claims.append(
        Claim(
            "Some variant reaches more style than a mix that keeps as much content",
            f"{beyond} of {len(gain)} do; best: {best}, style distance {means[best]['style']:.2f} where the mix has"
            f" {means[best]['style'] + gain[best]:.2f}",
            beyond > 0,
            None if beyond else "no loss on features moved the clip further than adding the other one",
        )
    )
    leak = {group: max(means[x]["leak"] for x in others if groups[x] == group) for group in {groups[x] for x in others}}
    free = [name for name in ("Gram matrices", "Moments", "Siamese style loss") if name in leak]
    if "Positional features" in leak and free:
        positional = leak["Positional features"]
        met = all(leak[name] < positional for name in free)
        claims.append(
            Claim(
                "Statistics without time bring in fewer of the style clip's notes than positional features",
                f"chroma correlation with the style clip {positional:.2f} for positional features; "
                + ", ".join(f"{name} {leak[name]:.2f}" for name in free),
                met,
                None if met else "the features that were matched say more about notes than about sound",
            )
        )
    rated = {group: max(gain[x] for x in others if groups[x] == group) for group in leak}
    by_features = [name for name in ("Positional features", "Gram matrices", "Moments") if name in rated]
    if "Siamese style loss" in rated and by_features:
        best_features = max(by_features, key=lambda name: rated[name])
        met = rated["Siamese style loss"] > rated[best_features]
        untrained = [f"{name}: {rated[name]:+.2f}" for name in rated if "untrained" in name]
        claims.append(
            Claim(
                "A trained style vector serves better than what is matched on the discriminator's features",
                f"style distance below that of a mix with as much content: siamese {rated['Siamese style loss']:+.2f},"
                f" best by features {rated[best_features]:+.2f} ({best_features})"
                + "".join(f"; {text}" for text in untrained),
                met,
                None if met else "the encoder is satisfied by changes that the measure does not hear",
            )
        )
    return claims


def probe_accuracy(
    features: NDArray[np.float64], labels: Sequence[str], works: Sequence[str], ridge: float = 1.0
) -> list[float]:
    """Whether a ridge classifier that never saw a row's work names its label: 1 or 0 for each row.

    Args:
        features: Shape ``(rows, size)``; scaled to unit variance on the rows learned from.
        labels: What is to be told apart.
        works: Work of each row; all rows of a work are left out together.
        ridge: Penalty, per row.
    """
    names = sorted(set(labels))
    targets = np.array([[1.0 if label == name else -1.0 for name in names] for label in labels])
    right = np.zeros(len(labels))
    for work in sorted(set(works)):
        out = np.array([w == work for w in works])
        train, test = features[~out], features[out]
        mean, spread = train.mean(0), train.std(0) + 1e-9
        train, test = (train - mean) / spread, (test - mean) / spread
        offset = targets[~out].mean(0)
        # More numbers than rows: the dual form is the small one.
        kernel = train @ train.T / train.shape[1]
        weights = np.linalg.solve(kernel + ridge / 10.0 * np.eye(len(train)), targets[~out] - offset)
        found = (test @ train.T / train.shape[1]) @ weights + offset
        truth = [names.index(label) for label, o in zip(labels, out, strict=True) if o]
        right[out] = found.argmax(1) == np.array(truth)
    return [float(value) for value in right]


@torch.no_grad()
def probe_table(
    clips: Sequence[tuple[Clip, NDArray[np.float32]]], tools: Tools, seed: int
) -> tuple[Table, dict[str, float]]:
    """How well each layer tells ensembles apart, works being left out in turn."""
    works_of: dict[str, set[str]] = {}
    for clip, _ in clips:
        works_of.setdefault(_ensemble(clip), set()).add(clip.group)
    rate, samples = tools.sample_rate_hz, PROBED_SAMPLES
    excerpts: list[Tensor] = []
    labels: list[str] = []
    works: list[str] = []
    for clip, wave in clips:
        # An ensemble of one work cannot be told when that work is left out.
        if len(works_of[_ensemble(clip)]) < 2 or len(wave) < 2 * samples:
            continue
        for start in (0, len(wave) - samples):
            excerpts.append(levelled(torch.from_numpy(wave[start : start + samples].copy())))
            labels.append(_ensemble(clip))
            works.append(clip.group)
    inputs: dict[str, list[Tensor]] = {}
    untrained = tools.features.untrained(seed)
    for excerpt in excerpts:
        mel = torch.log(mel_magnitude(excerpt, Stft(2048, 512, 2048), Mel(rate, 64)).clamp_min(1e-4))
        inputs.setdefault("Log-mel, 64 bands", []).append(moments(mel[None])[0])
        inputs.setdefault("Siamese style vector", []).append(tools.siamese.features(excerpt[None])[0])
        for title, network in (("Discriminator", tools.features.network), ("Untrained network", untrained)):
            for i, maps in enumerate(network(excerpt[None])):
                inputs.setdefault(f"{title}, layer {i + 1}", []).append(moments(maps)[0])
    rows, accuracy = [], {}
    for title, vectors in sorted(inputs.items(), key=lambda item: item[0].startswith(("Disc", "Untr"))):
        right = probe_accuracy(torch.stack(vectors).double().numpy(), labels, works)
        found = mean_interval([100.0 * value for value in right], seed=seed, groups=works)
        accuracy[title] = (found.mean or 0.0) / 100.0
        rows.append(Row(title, {"accuracy": Cell(found.mean, found.low, found.high, found.n)}))
    most = max((labels.count(name) for name in set(labels)), default=0)
    table = Table(
        "Ensembles told apart by a linear probe",
        [Column("accuracy", "Right", "%", "higher")],
        rows,
        f"Means and deviations over time of {len(labels)} held-out excerpts of {len(set(labels))} ensembles, a ridge"
        f" classifier, every work left out in turn. Always naming the commonest ensemble is right for"
        f" {100.0 * most / max(1, len(labels)):.0f} %.",
    )
    return table, accuracy


def probe_claims(accuracy: Mapping[str, float]) -> list[Claim]:
    """Whether the discriminator knows style."""
    trained = {k: v for k, v in accuracy.items() if k.startswith("Discriminator")}
    plain = {k: v for k, v in accuracy.items() if k.startswith("Untrained")}
    if not trained or not plain:
        return []
    best, other = max(trained, key=lambda k: trained[k]), max(plain.values())
    met = trained[best] > other
    return [
        Claim(
            "Training a vocoder's discriminator makes its features tell ensembles apart better",
            f"{best}: {100 * trained[best]:.0f} % right; the best layer without training: {100 * other:.0f} %",
            met,
            None if met else "to tell real from vocoded sound it need not know what plays",
        )
    ]


def listen(context: StudyContext) -> list[Listening]:
    """Two pairs through the variants, with shorter excerpts and fewer updates than were measured."""
    tools = load_tools(context)
    clips = context.clips("music")
    pairs = choose_pairs(clips, PAIRS, HEARD_SAMPLES)
    made = variants(tools, context.seed, HEARD_STEPS, STYLE_WEIGHTS[-1:])
    wanted = ["Style clip itself", "Mix at +0 dB"]
    wanted += [label for label in made if "style weight" in label and "untrained" not in label]
    wanted.append("TraVeL generator")
    rows = []
    for number, place in enumerate((0, 3), start=1):
        pair = pairs[place]
        tracks = [Track("Content", _samples(pair.content))]
        tracks += [Track(label, _samples(levelled(made[label][1](pair)))) for label in wanted]
        labels: dict[str, Any] = {
            "content": pair.content_id,
            "style": pair.style_id,
            "seconds": round(HEARD_SAMPLES / tools.sample_rate_hz, 2),
            "updates": HEARD_STEPS,
        }
        title = f"Clip {pair.content_id} in the style of clip {pair.style_id}"
        rows.append(Listening(f"pair_{number}", title, tools.sample_rate_hz, tracks, labels))
    return rows


def _samples(waveform: Tensor) -> NDArray[np.float32]:
    out = waveform.detach().cpu()
    peak = float(out.abs().max())
    array: NDArray[np.float32] = (out * (0.98 / peak) if peak > 0.98 else out).numpy().astype(np.float32)
    return array
