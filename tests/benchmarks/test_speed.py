"""Speed of the operations that decide how long an evaluation and a build take."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import auraloss
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from eval.audio_io import write_set
from eval.metrics import chosen
from eval.metrics.frontend import Stft, stft
from eval.metrics.scoring import score_batch
from eval.metrics.spectral import multi_resolution_stft
from eval.stats import mean_interval
from models import registry
from tests.benchmarks import references
from tests.benchmarks.plugin import Speed
from tests.signals import harmonic, noise

pytestmark = pytest.mark.benchmark

RATE = 16_000
CLIP_S = 4.0
PROJECT = Path(__file__).resolve().parents[2]


@cache
def pair(count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    reference = torch.stack(
        [
            torch.from_numpy(harmonic(110.0 + 20 * i, CLIP_S) + noise(CLIP_S, amplitude=0.01, seed=i))
            for i in range(count)
        ]
    )
    gap = torch.stack([torch.from_numpy(noise(CLIP_S, amplitude=0.03, seed=99 + i)) for i in range(count)])
    return reference + gap, reference


@cache
def losses() -> tuple[torch.nn.Module, ...]:
    return (
        auraloss.freq.MelSTFTLoss(RATE, 2048, 512, 2048, n_mels=128, w_sc=0.0),
        auraloss.freq.STFTLoss(2048, 512, 2048, w_sc=0.0, w_log_mag=0.0, w_lin_mag=1.0),
        auraloss.freq.STFTLoss(2048, 512, 2048, w_log_mag=0.0),
        auraloss.freq.STFTLoss(2048, 512, 2048, w_sc=0.0),
        auraloss.freq.MultiResolutionSTFTLoss(),
    )


def anchors(count: int) -> None:
    """The battery by the usual libraries, one call per metric, in their float32."""
    estimate, reference = pair(count)
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


def score(count: int) -> None:
    estimate, reference = pair(count)
    score_batch(estimate, reference, sample_rate_hz=RATE, names=chosen(()))


def test_all_metrics(speed: Speed) -> None:
    speed(lambda: score(1), references.transforms, audio_s=CLIP_S)


@pytest.mark.parametrize("count", [1, 32])
def test_all_metrics_beside_the_usual_libraries(speed: Speed, count: int) -> None:
    speed(lambda: score(count), lambda: anchors(count), audio_s=count * CLIP_S, rounds=4 if count > 1 else 9)


def test_batch_beside_single_clips(speed: Speed) -> None:
    estimate, reference = pair(32)

    def one_by_one() -> None:
        for index in range(32):
            score_batch(
                estimate[index : index + 1], reference[index : index + 1], sample_rate_hz=RATE, names=chosen(())
            )

    speed(lambda: score(32), one_by_one, audio_s=32 * CLIP_S, rounds=4)


def test_multi_resolution_stft(speed: Speed) -> None:
    estimate, reference = pair()
    speed(lambda: multi_resolution_stft(estimate, reference), references.transforms, audio_s=CLIP_S)


def test_stft(speed: Speed) -> None:
    _, reference = pair()
    speed(lambda: stft(reference, Stft()), references.transforms, audio_s=CLIP_S)


def test_export_in_three_formats(speed: Speed, tmp_path: Path) -> None:
    waveform = pair()[1].numpy()
    speed(lambda: write_set(tmp_path / "clip", waveform, RATE), references.dense_steps, audio_s=CLIP_S)


@pytest.mark.parametrize("name", [entry.name for entry in registry.MODELS.values() if entry.kind == "system"])
def test_reconstruction(speed: Speed, name: str) -> None:
    system = registry.load(name)
    waveform = pair()[1]
    rate = system.sample_rate_hz or RATE
    reference = references.network if system.parameters else references.torch_transforms
    speed(
        lambda: system.reconstruct(waveform, sample_rate_hz=rate, seeds=[0]),
        reference,
        audio_s=waveform.shape[1] / rate,
        rounds=5,
    )


def test_interval_of_200_clips(speed: Speed) -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    speed(lambda: mean_interval(values, seed=0), references.draws)


def test_site(speed: Speed, tmp_path: Path) -> None:
    from paper_site.build import build

    source = PROJECT / "tests" / "data" / "companion"
    speed(lambda: build(source, tmp_path / "site"), references.interpreter, rounds=5)
