"""What each shipped model that is no system does for the benchmarks: a piece of work to time, and how well it does it.

A system turns clips into clips and is measured like all others; the rest do something of their own, and a line of
`JOBS` says what. How well is a handful of numbers on the shipped held-out clips, each with its direction; they are no
results, only marks by which a loss is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from eval.studies.switches import sharpness
from models import registry
from models.codemap_masks import full
from models.codemap_transformer import model_inputs
from models.codemaps import class_tensors
from models.frontends.mel import log_mel
from models.registry import load
from tests.benchmarks.held_out import clips, waveforms

Values = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """What a model does.

    Attributes:
        work: Makes, of the loaded model, the call that is timed; it fits into a fraction of a second.
        quality: The marks of the loaded model.
    """

    work: Callable[[Any], Callable[[], object]]
    quality: Callable[[Any], Values]


def marks(n: int, *, higher: tuple[str, ...] = (), **values: float) -> Values:
    """Values as the gate takes them; those named ``higher`` are better when they are higher."""
    return {name: {"mean": value, "n_ok": n, "higher_is_better": name in higher} for name, value in values.items()}


@cache
def loaded(name: str) -> Any:
    return load(name)


# --- priors of code maps


@cache
def codes() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    notes, rate = waveforms("notes")
    found = loaded("vqvae2").codes(notes, sample_rate_hz=rate)
    labels = [clip.labels for clip in clips("notes")]
    pitch, family = class_tensors(
        [label["pitch"] for label in labels], [label["instrument_family_str"] for label in labels]
    )
    return found["top"], found["bottom"], pitch, family


def _nll(prior: Any, rows: slice) -> Tensor:
    """Nats of every token, the top map drawn from nothing but classes, the bottom map under the top one."""
    top, bottom, pitch, family = (part[rows] for part in codes())
    everything = full(len(top), prior.config.shape_top, torch.Generator())
    target, source, _ = model_inputs(prior.config, top, bottom, everything)
    nll: Tensor = prior.token_nll(source, target, pitch, family)
    return nll


# --- mels


def mel_of(part: str, model: Any, columns: int | None = None) -> Tensor:
    """Log-mels of held-out clips at a model's front end."""
    frontend = model.frontend
    waveform, _ = waveforms(part, frontend.sample_rate_hz)
    mel = log_mel(waveform, frontend)
    return mel if columns is None else mel[..., :columns]


def mean_gap(made: Tensor, wanted: Tensor) -> float:
    """Mean distance of two mean spectra, powers of ten."""
    return float((made.mean((0, -1)) - wanted.mean((0, -1))).abs().mean())


def _expanded(model: Any) -> Values:
    mel = mel_of("music", model, 256)
    return marks(len(mel), log_mel_l1=float((model.expand(mel) - mel).abs().mean()))


def _converted(model: Any) -> Values:
    waveform, rate = waveforms("music", model.sample_rate_hz)
    made = model.convert(waveform, sample_rate_hz=rate)
    return marks(len(made), mean_spectrum_gap=mean_gap(made, mel_of("music", model)))


def _ideas(model: Any) -> Values:
    picture, factor = model.sample([0, 1])
    return marks(2, mean_spectrum_gap=mean_gap(picture, mel_of("music", model)), stretch=float(factor.std()) + 1.0)


def _chain(model: Any) -> Values:
    waveform = model.generate([0])[0][None]
    return marks(1, mean_spectrum_gap=mean_gap(log_mel(waveform, model.frontend), mel_of("music", model)))


# --- switches


def _all_switches(model: Any) -> Tensor:
    songs, positions = model.config.songs, model.config.positions
    return torch.cat([model.switches(i % songs, i % positions) for i in range(0, songs * positions, 5)])


def _remembered(model: Any) -> Values:
    mels = model.spectrogram(_all_switches(model))
    apart = torch.cdist(mels.flatten(1), mels.flatten(1), p=1)
    n = len(mels)
    distinct = float(apart.sum()) / (n * (n - 1)) / mels[0].numel()
    return marks(n, higher=("distinctness", "sharpness_db"), distinctness=distinct, sharpness_db=sharpness(mels))


SWITCHES = Job(lambda model: lambda: model.spectrogram(model.switches(0, 0)), _remembered)
"""One excerpt at a time; how far all excerpts are apart, and how sharp they are."""


# --- judges and features


def _judged(model: Any) -> Values:
    notes, rate = waveforms("notes")
    found = model.judge(notes, sample_rate_hz=rate)
    pitch = torch.tensor([clip.labels["pitch"] for clip in clips("notes")])
    family = torch.tensor([model.families.index(clip.labels["instrument_family_str"]) for clip in clips("notes")])
    rows = torch.arange(len(notes))
    return marks(
        len(notes),
        pitch_surprise=float(-found.pitch[rows, pitch].clamp_min(1e-12).log().mean()),
        family_surprise=float(-found.family[rows, family].clamp_min(1e-12).log().mean()),
    )


def _told_apart(model: Any) -> Values:
    waveform, rate = waveforms("music", model.sample_rate_hz)
    halves = waveform.reshape(-1, waveform.shape[1] // 2)
    gaps = torch.cdist(*[model.embed(halves, sample_rate_hz=rate)] * 2)
    same = torch.arange(len(halves)) // 2
    own = gaps[(same[:, None] == same) & ~torch.eye(len(halves), dtype=torch.bool)].mean()
    other = gaps[same[:, None] != same].mean()
    return marks(len(halves), higher=("distance_ratio",), distance_ratio=float(other / own))


def _features(model: Any) -> Values:
    """How much more a trained layer changes with noise than one that was never trained."""
    waveform, _ = waveforms("music", model.sample_rate_hz)
    noisy = waveform + 0.01 * torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0))

    def change(network: Any) -> float:
        with torch.no_grad():
            pairs = zip(network(noisy), network(waveform), strict=True)
            return sum(float((a - b).norm() / b.norm()) for a, b in pairs)

    gain = change(model.network) / change(model.untrained(0))
    return marks(len(waveform), higher=("sensitivity",), sensitivity=gain)


def _drawn(model: Any) -> Values:
    made = model.generate([60] * 8, ["organ"] * 8, seeds=list(range(8)))
    found = loaded("note_classifier").judge(made, sample_rate_hz=model.sample_rate_hz)
    return marks(8, pitch_surprise=float(-found.pitch[:, 60].clamp_min(1e-12).log().mean()))


def _write_out(model: Any) -> Callable[[], object]:
    """Half a second of an idea, expanded and made audible."""
    picture = mel_of("music", model, 64)[0]

    def work() -> object:
        condition, frames = model.condition(picture, 1.0)
        return model.vocoder.vocode(model.expand(condition, frames, 0))

    return work


def _prior() -> Job:
    def quality(model: Any) -> Values:
        return marks(len(codes()[0]), nll_nats=float(_nll(model, slice(None)).mean()))

    return Job(lambda model: (codes(), lambda: _nll(model, slice(0, 1)))[1], quality)


def _fold() -> Job:
    def work(model: Any) -> Callable[[], object]:
        mel = mel_of("music", model, 128)[:1]
        return lambda: model.expand(mel)

    return Job(work, _expanded)


def _one_second(call: Callable[[Any, Tensor, int], object]) -> Callable[[Any], Callable[[], object]]:
    def work(model: Any) -> Callable[[], object]:
        waveform, rate = waveforms("music", model.sample_rate_hz)
        row = waveform[:1, :rate]
        return lambda: call(model, row, rate)

    return work


JOBS: Mapping[str, Job] = {
    "codemap_top": _prior(),
    "codemap_bottom": _prior(),
    "codemaps": Job(lambda m: lambda: m.generate([60], ["organ"], seeds=[0]), _drawn),
    "siamese_style": Job(_one_second(lambda m, row, rate: m.embed(row, sample_rate_hz=rate)), _told_apart),
    "mel_reformer_n8": _fold(),
    "mel_reformer_n16": _fold(),
    "mel_reformer_n64": _fold(),
    "travel_gan": Job(_one_second(lambda m, row, rate: m.convert(row, sample_rate_hz=rate)), _converted),
    "melgan_discriminator": Job(_one_second(lambda m, row, rate: m.network(row)), _features),
    "idea": Job(lambda m: lambda: m.sample([0], steps=2), _ideas),
    "idea_chain": Job(_write_out, _chain),
    "note_classifier": Job(_one_second(lambda m, row, rate: m.judge(row, sample_rate_hz=rate)), _judged),
    **{name: SWITCHES for name in registry.MODELS if name.startswith("switch_")},
}
"""A shipped model that is no system needs a line here; the suite fails without."""
