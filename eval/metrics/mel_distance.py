"""Distances between mel spectrograms at several scales, and in decibels relative to the reference.

* :func:`multi_scale_mel`: log-mel L1 summed over windows from very short to long.
* :func:`relative_volume_mel`: how loud the error of the mel bands is beside the bands.

Both are blind to phase.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.pairs import per_clip
from eval.metrics.spectral import evaluate_plan
from eval.metrics.sums import Plan, Request
from eval.metrics.tiles import magnitude_tiles


def multi_scale_mel_plan(
    *,
    sample_rate_hz: int,
    window_lengths: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048),
    n_mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
    floor: float = 1e-5,
    power: float = 1.0,
    log_weight: float = 1.0,
    magnitude_weight: float = 0.0,
    precision: str = "adaptive",
) -> Plan:
    """:func:`multi_scale_mel` as sums."""
    if not floor > 0:
        raise ValueError(f"floor is {floor}; a logarithm needs one above 0")
    requests: list[Request] = []
    scales: list[tuple[Stft, int]] = []
    for window, bands in zip(window_lengths, n_mels, strict=True):
        settings = Stft(window, max(1, window // 4), window, "reflect", precision)
        mel = Mel(sample_rate_hz, bands)
        scales.append((settings, bands))
        requests.append(Request(settings, "mel_log_error", floor, mel))
        if magnitude_weight:
            requests.append(Request(settings, "mel_absolute_error", 0.0, mel))

    def combine(sums: Sequence[Tensor], samples: int) -> Tensor:
        per_scale = len(requests) // len(scales)
        parts = []
        for index, (settings, bands) in enumerate(scales):
            cells = bands * settings.frames(samples)
            parts.append(log_weight * power / math.log(10) * sums[per_scale * index] / cells)
            if magnitude_weight:
                parts.append(magnitude_weight * sums[per_scale * index + 1] / cells)
        return torch.stack(parts).sum()

    return Plan(tuple(requests), combine)


def multi_scale_mel(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    window_lengths: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048),
    n_mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
    floor: float = 1e-5,
    power: float = 1.0,
    log_weight: float = 1.0,
    magnitude_weight: float = 0.0,
    precision: str = "adaptive",
) -> Tensor:
    """Gap between log-mel spectrograms, summed over windows of several lengths.

    ``Σ over windows of mean |log10 max(M, floor)^power − log10 max(M̂, floor)^power|``, plus ``magnitude_weight`` times
    ``mean |M − M̂|``. The step is a quarter of the window; ``M`` are mel bands of the magnitude, Slaney's scale and
    norm, up to half the sample rate. Zero for equal signals; lower is better; symmetric. Short windows notice smeared
    attacks, long ones wrong partials. Without the magnitude term a gain of ``g`` on one signal costs
    ``power·|log10 g|`` per window where both lie above the floor.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        window_lengths: Lengths of the Hann windows and of their transforms in samples, even.
        n_mels: Number of bands, one per window.
        floor: Smallest band magnitude told apart from zero.
        power: Exponent of the band magnitude inside the logarithm.
        log_weight: Weight of the logarithmic term.
        magnitude_weight: Weight of the linear term.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than the longest window, the lists differ in length, or a
            parameter is out of range.

    Source:
        Kumar et al., "High-fidelity audio compression with improved RVQGAN", NeurIPS 2023, sec. 3.4, with the windows
        and bands of its training.
    """
    plan = multi_scale_mel_plan(
        sample_rate_hz=sample_rate_hz,
        window_lengths=window_lengths,
        n_mels=n_mels,
        floor=floor,
        power=power,
        log_weight=log_weight,
        magnitude_weight=magnitude_weight,
        precision=precision,
    )
    return evaluate_plan(plan, estimate, reference)


@lru_cache(maxsize=16)
def htk_filters(sample_rate_hz: int, n_fft: int, n_mels: int, f_max_hz: float | None = None) -> NDArray[np.float64]:
    """Triangles of height 1 that are evenly spaced on HTK's mel scale, ``2595·log10(1 + f / 700)``, from 0 Hz up.

    Shape ``(n_mels, n_fft // 2 + 1)``, read-only; equal to ``librosa.filters.mel`` with ``htk=True, norm=None``.
    """
    top = 2595 * math.log10(1 + (sample_rate_hz / 2 if f_max_hz is None else f_max_hz) / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    centres = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    rising = (centres - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - centres) / np.diff(edges)[1:, None]
    weights = np.maximum(0, np.minimum(rising, falling))
    weights.setflags(write=False)
    return weights


def relative_volume_mel(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 512,
    hop_length: int = 128,
    n_mels: int = 80,
    limit_db: float = 25.0,
    quietest_db: float = -25.0,
) -> Tensor:
    """Level of the error of a mel spectrogram beside the level of the reference's, averaged over its cells.

    Both signals are divided by the root mean square of the reference (at least −25 dB of full scale). With ``Z`` the
    root of the mel bands of the power (HTK's scale, no norm, unit-energy window), the value is the mean of
    ``20·log10 |Z − Ẑ| − 20·log10 max(Z, quietest)``, limited to ``±limit_db``. Lower is better: −25 dB for equal
    signals, 0 dB where the error is as loud as the reference. Not symmetric; a common gain changes nothing while the
    reference is louder than −25 dB of full scale. Cells in which reference and error are both quiet count as their
    distance from ``quietest_db``, not as the worst.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the Hann window and of the transform in samples, even.
        hop_length: Step between frames in samples.
        n_mels: Number of bands from 0 Hz to half the sample rate.
        limit_db: Largest distance of a cell from 0 dB.
        quietest_db: Level of the normalised reference under which a cell counts as this loud.

    Returns:
        Relative level in dB per clip, shape ``(...)``, float64, in ``[−limit_db, limit_db]``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Kreuk et al. and the authors of MusicGen and EnCodec, AudioCraft, "relative volume mel" (2023), where both rates
        and bands are made for 24 kHz.
    """
    settings = Stft(n_fft, hop_length, n_fft)
    bank = htk_filters(sample_rate_hz, n_fft, n_mels)

    def value(e: Tensor, r: Tensor) -> Tensor:
        level = r.square().mean().sqrt().clamp_min(10 ** (-25 / 20))
        weights = torch.from_numpy(bank.T.copy()).to(r.device)
        # The squares of a Hann window add up to 3/8 of its length.
        scale = level * math.sqrt(0.375 * n_fft)
        total, cells = torch.zeros((), dtype=torch.float64, device=r.device), 0
        for pair in magnitude_tiles(e, r, settings):
            made, wanted = (torch.matmul((magnitude / scale).square(), weights).sqrt() for magnitude in pair)
            error_db = 20 * torch.log10((wanted - made).abs().clamp_min(1e-6))
            wanted_db = 20 * torch.log10(wanted.clamp_min(10 ** (quietest_db / 20)))
            total = total + (error_db - wanted_db).clamp(-limit_db, limit_db).sum()
            cells += made.numel()
        return total / cells

    return per_clip(estimate, reference, value)
