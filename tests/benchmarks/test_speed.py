"""Speed of every stage of an evaluation and of a build. The part of a name before ``[`` is its stage."""

from __future__ import annotations

import importlib.util
import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import auraloss
import numpy as np
import pytest
import soundfile
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from eval import audio_io, manifest
from eval.corpora import open_corpus
from eval.metrics import METRICS, chosen, pitch
from eval.metrics.frontend import Mel, Stft, mel_magnitude, stft
from eval.metrics.scoring import score_batch
from eval.results import ResultsStore
from eval.runner import Runner
from eval.sets import SET_METRICS
from eval.sets.embeddings import STATISTICS, open_embedding
from eval.sets.scoring import score_embeddings
from eval.stats import mean_interval, paired_difference, quantile_interval
from eval.summary import Table, summarise
from models.frontends import mel as model_mel
from models.frontends.gansynth import GANSynthPicture
from models.frontends.mel_if import MelIF
from models.frontends.phase_recovery import griffin_lim
from models.frontends.stft import StftConfig
from models.frontends.stft import stft as model_stft
from tests.benchmarks import references
from tests.benchmarks.plugin import Speed
from tests.eval.fakes import Fake, as_entry, make_folder
from tests.eval.stores import write_store
from tests.signals import harmonic, noise

pytestmark = pytest.mark.benchmark

RATE = 16_000
CLIP_S = 4.0
METRIC_S = 2.0
METRIC_RATE = 22_050
PROJECT = Path(__file__).resolve().parents[2]


@cache
def pair(count: int = 1, clip_s: float = CLIP_S, rate: int = RATE) -> tuple[torch.Tensor, torch.Tensor]:
    """Harmonic tones in noise, and the same with more noise."""

    def row(index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        clean = harmonic(110.0 + 20 * index, clip_s, rate) + noise(clip_s, rate, amplitude=0.01, seed=index)
        return clean + noise(clip_s, rate, amplitude=0.03, seed=99 + index), clean

    estimate, reference = zip(*map(row, range(count)), strict=True)
    return torch.from_numpy(np.stack(estimate)), torch.from_numpy(np.stack(reference))


# --- reading and writing


@pytest.mark.parametrize("form", audio_io.FORMATS)
def test_decode(speed: Speed, tmp_path: Path, form: str) -> None:
    path = audio_io.write_set(tmp_path / "clip", pair()[1].numpy(), RATE, formats=(form,))[form].path
    data = path.read_bytes()

    def decoder() -> None:
        """The library alone, from memory."""
        for _ in range(8):
            soundfile.read(io.BytesIO(data), dtype="float32")

    speed(lambda: audio_io.read(path), decoder, audio_s=CLIP_S)


@pytest.mark.parametrize("form", [*audio_io.FORMATS, "all"])
def test_encode(speed: Speed, tmp_path: Path, form: str) -> None:
    waveform = pair()[1].numpy()
    formats = audio_io.FORMATS if form == "all" else (form,)

    def encoder() -> None:
        """Vorbis by the library alone, into memory."""
        soundfile.write(io.BytesIO(), waveform[0], RATE, format="OGG", subtype="VORBIS", compression_level=0.4)

    speed(lambda: audio_io.write_set(tmp_path / "clip", waveform, RATE, formats=formats), encoder, audio_s=CLIP_S)


def test_encode_pcm_hash(speed: Speed) -> None:
    waveform = pair()[1].numpy()
    speed(lambda: audio_io.pcm_sha256(waveform, RATE), references.dense_steps, audio_s=CLIP_S)


def test_decode_resampled(speed: Speed) -> None:
    waveform = pair()[1].numpy()
    speed(lambda: audio_io.resample(waveform, RATE, 22_050), references.dense_steps, audio_s=CLIP_S)


# --- front ends


def front_ends() -> dict[str, Callable[[], object]]:
    clip = pair()[1]
    magnitude = model_stft(clip, StftConfig()).abs()
    picture, gansynth = MelIF(), GANSynthPicture()
    ends: dict[str, Callable[[], object]] = {
        "stft": lambda: stft(clip, Stft()),
        "mel": lambda: mel_magnitude(clip, Stft(), Mel(RATE)),
        "model_stft": lambda: model_stft(clip, StftConfig()),
        "model_log_mel": lambda: model_mel.log_mel(clip, model_mel.NAMED["hifigan"]),
        "mel_if": lambda: picture(clip),
        "gansynth": lambda: gansynth(clip),
        "griffin_lim": lambda: griffin_lim(magnitude, StftConfig(), length=clip.shape[-1], iterations=8),
    }
    return ends


@pytest.mark.parametrize("name", ["stft", "mel", "model_stft", "model_log_mel", "mel_if", "gansynth", "griffin_lim"])
def test_front_end(speed: Speed, name: str) -> None:
    with torch.no_grad():
        speed(front_ends()[name], references.torch_transforms, audio_s=CLIP_S)


# --- metrics


@pytest.mark.parametrize("name", list(METRICS))
def test_metric(speed: Speed, name: str) -> None:
    package = METRICS[name].package
    if package and importlib.util.find_spec(package) is None:
        speed.absent(package)
        return
    # Telephone PESQ knows two rates only; the highest band needs one above 16 kHz.
    rate = RATE if package in ("pesq", "pystoi") else 44_100 if "above_8_khz" in name else METRIC_RATE
    estimate, reference = pair(1, METRIC_S, rate)

    def score() -> object:
        pitch._local.tracks = None  # as for a clip that was never seen
        return score_batch(
            estimate, reference, sample_rate_hz=rate, names=[name], labels=[{"pitch": 45, "onsets_s": [0.0]}]
        )

    found = score()[0][name]  # type: ignore[index]
    assert found.status == "ok", f"{name}: {found.reason}"
    speed(score, references.transforms, audio_s=METRIC_S, package=package or None)


@cache
def losses() -> tuple[torch.nn.Module, ...]:
    return (
        auraloss.freq.MelSTFTLoss(RATE, 2048, 512, 2048, n_mels=128, w_sc=0.0),
        auraloss.freq.STFTLoss(2048, 512, 2048, w_sc=0.0, w_log_mag=0.0, w_lin_mag=1.0),
        auraloss.freq.STFTLoss(2048, 512, 2048, w_log_mag=0.0),
        auraloss.freq.STFTLoss(2048, 512, 2048, w_sc=0.0),
        auraloss.freq.MultiResolutionSTFTLoss(),
    )


def several(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A clip of four seconds, or several short ones, so that a round stays short."""
    return pair(count, CLIP_S if count == 1 else 1.0)


def rivals(count: int) -> None:
    """The battery by the usual libraries, one call per metric, in their float32."""
    estimate, reference = several(count)
    stacked = (estimate[:, None], reference[:, None])
    (estimate - reference).abs().mean()
    (estimate - reference).square().mean()
    scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True)
    for loss in losses():
        loss(*stacked)
    window = torch.hann_window(2048)
    powers = [
        torch.stft(x, 2048, 512, window=window, return_complex=True).abs().square().clamp(min=1e-8)
        for x in (estimate, reference)
    ]
    (10 * torch.log10(powers[0] / powers[1])).square().mean(dim=1).sqrt().mean()


def battery(count: int) -> None:
    estimate, reference = several(count)
    score_batch(estimate, reference, sample_rate_hz=RATE, names=chosen(()))


def test_battery(speed: Speed) -> None:
    speed(lambda: battery(1), references.transforms, audio_s=CLIP_S)


@pytest.mark.parametrize("count", [1, 32])
def test_battery_beside_the_usual_libraries(speed: Speed, count: int) -> None:
    speed(lambda: battery(count), lambda: rivals(count), audio_s=CLIP_S if count == 1 else count)


def test_battery_of_a_batch_beside_single_clips(speed: Speed) -> None:
    estimate, reference = several(32)

    def one_by_one() -> None:
        for index in range(32):
            row = slice(index, index + 1)
            score_batch(estimate[row], reference[row], sample_rate_hz=RATE, names=chosen(()))

    speed(lambda: battery(32), one_by_one, audio_s=32)


# --- metrics of sets, and statistics


@cache
def crowds(rows: int = 200, columns: int = 40) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    draws = np.random.default_rng(0)
    return draws.standard_normal((rows, columns)) + 0.1, draws.standard_normal((rows, columns))


@pytest.mark.parametrize("name", list(SET_METRICS))
def test_set_metric(speed: Speed, name: str) -> None:
    row = SET_METRICS[name]
    module, _, function = row.target.partition(":")
    call: Any = getattr(importlib.import_module(module), function)
    draws = np.random.default_rng(0)
    answers = draws.dirichlet(np.ones(128), size=200)
    arguments: tuple[Any, ...] = {
        "embeddings": crowds(),
        "classes": (answers,),
        "labelled classes": (answers, draws.integers(0, 128, 200)),
        "codes": (draws.integers(0, 50, 512),),
    }[row.input]
    settings = {**row.parameters, **({"seed": 0} if row.seeded else {})}
    speed(lambda: call(*arguments, **settings), references.matrices)


def test_set_metric_with_interval_and_floor(speed: Speed) -> None:
    speed(lambda: score_embeddings("kernel_distance", *crowds(60), permutations=99), references.matrices)


@pytest.mark.parametrize("name", [*STATISTICS, "note_classifier"])
def test_embedding(speed: Speed, name: str) -> None:
    embedding, clip = open_embedding(name), pair()[1][0].numpy()
    speed(lambda: embedding.embed(clip, RATE), references.transforms, audio_s=CLIP_S)


def test_statistics_interval(speed: Speed) -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    speed(lambda: mean_interval(values, seed=0), references.draws)


def test_statistics_paired_difference(speed: Speed) -> None:
    draws = np.random.default_rng(0)
    first, second = draws.gamma(2.0, size=200), draws.gamma(2.0, size=200)
    speed(lambda: paired_difference(first, second, seed=0), references.draws)


def test_statistics_median(speed: Speed) -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    speed(lambda: quantile_interval(values, 0.5, seed=0), references.draws)


# --- the harness around the work, documents, the site


def test_harness_of_100_clips(speed: Speed, tmp_path: Path) -> None:
    """What the harness itself costs: a system that does next to nothing, one cheap metric, clips of 0.1 s."""
    corpus = open_corpus(make_folder(tmp_path / "in", 100, duration_s=0.1), layout="folder")

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder, ResultsStore(Path(folder)) as store:
            runner = Runner(store, [as_entry(Fake())], ["waveform_l1"], seed=1, run_id="r", workers=1)
            assert runner.run(lambda: corpus.clips(split="all", rule="none")).computed == 100

    speed(run, references.interpreter)


def test_harness_with_nothing_to_do(speed: Speed, tmp_path: Path) -> None:
    corpus = open_corpus(make_folder(tmp_path / "in", 200, duration_s=0.1), layout="folder")
    with ResultsStore(tmp_path / "out") as store:

        def run() -> object:
            runner = Runner(store, [as_entry(Fake())], ["waveform_l1"], seed=1, run_id="r", workers=1)
            return runner.run(lambda: corpus.clips(split="all", rule="none"))

        run()
        speed(run, references.interpreter)


@cache
def sample_document() -> dict[str, Any]:
    path = PROJECT / "tests" / "data" / "companion" / "_data" / "tones.yml"
    import yaml

    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def test_manifest_as_text(speed: Speed) -> None:
    speed(lambda: manifest.to_yaml(sample_document()), references.interpreter)


def test_manifest_results(speed: Speed, tmp_path: Path) -> None:
    """From rows of a store to aggregates, intervals and differences."""
    draws = np.random.default_rng(0)
    names = ["log_mel_l1", "si_sdr"]
    values = {model: {name: draws.gamma(2.0, size=50).tolist() for name in names} for model in ("a", "b")}
    folder = write_store(tmp_path / "store", values)
    with ResultsStore(folder) as store:

        def summary() -> object:
            table = Table.from_store(store, store.clip_ids(), ["a", "b"], names)
            return summarise(table, {"a": "a", "b": "b"}, names, seed=0, baseline="a")

        speed(summary, references.draws)


def test_site(speed: Speed, tmp_path: Path) -> None:
    from paper_site.build import build

    source = PROJECT / "tests" / "data" / "companion"
    speed(lambda: build(source, tmp_path / "site"), references.interpreter)
