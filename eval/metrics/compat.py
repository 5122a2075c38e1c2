"""Numbers as other projects print them, for comparison with their tables and for nothing else.

These keep what the metrics of this project leave out: constants added to ratios, norms over a whole batch, signs turned
because the number is a loss, front ends of one model. Functions ending in ``_batch`` give one number for a batch, which
depends on the batch's size and on the clips that stand together in it, so they have no row in the table; a batch of one
gives the number of a clip. The formulas are read from the projects' code; everything is computed in float64, where they
use float32.

* :func:`auraloss_stft_batch`, :func:`auraloss_multi_resolution_stft_batch`, :func:`auraloss_stft`: auraloss 0.4.0.
  `eval.metrics.spectral.multi_resolution_stft` is its multi-resolution loss for a batch of one.
* :func:`dac_multi_scale_stft`: Descript Audio Codec. Its two mel distances are
  `eval.metrics.mel_distance.multi_scale_mel` at the defaults (training) and with windows of 2048 and 512, 150 and 80
  bands, ``power=2`` and ``magnitude_weight=1`` (its evaluation script).
* :func:`audiocraft_multi_resolution_stft_batch`, :func:`audiocraft_multi_resolution_stft`,
  :func:`audiocraft_si_snr_loss`: AudioCraft.
* :func:`hifigan_mel`, :func:`vocos_mel`: the mel errors of two vocoders. The periodicity, pitch and voicing errors of
  Vocos and CARGAN stand in `eval.metrics.periodicity`, versa's mel-cepstral distortion in `eval.metrics.world`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from eval.metrics.frontend import Stft, mel_filters, stft
from eval.metrics.mel_distance import htk_filters
from eval.metrics.pairs import check_shapes, per_clip
from eval.metrics.spectral import evaluate_plan, log_stft_magnitude_plan, spectral_convergence_plan
from eval.metrics.sums import Plan, Request
from eval.metrics.tiles import magnitude_tiles

FLOAT32_EPS = 2.0**-23
"""Spacing of float32 at 1, which several libraries add to both parts of a ratio."""

# Long clips are worked on by so many frames at a time, so that memory stays flat.
_FRAMES = 64

_RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))


def _batched(estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    check_shapes(estimate, reference)
    if estimate.ndim != 2 or not len(estimate):
        raise ValueError(f"signals of shape {tuple(estimate.shape)}; (batch, time) with at least one clip is needed")
    return estimate.to(torch.float64), reference.to(torch.float64)


def auraloss_stft_batch(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 1024,
    hop_length: int = 256,
    win_length: int = 1024,
    convergence_weight: float = 1.0,
    log_weight: float = 1.0,
    linear_weight: float = 0.0,
) -> Tensor:
    """The ``STFTLoss`` of auraloss for a batch: spectral convergence with one norm over all clips, plus log magnitude.

    Magnitudes are the root of the power, which is raised to 1e-8. Zero for equal signals; lower is better.

    Args:
        estimate: Synthesised waveforms, shape ``(batch, time)``, full scale at 1.
        reference: Recorded waveforms, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        convergence_weight: Weight of the spectral convergence.
        log_weight: Weight of the mean absolute difference of the natural logarithms.
        linear_weight: Weight of the mean absolute difference.

    Returns:
        One number, float64.

    Raises:
        ValueError: If the shapes differ or are not ``(batch, time)``, or the clips are shorter than ``n_fft``.

    Source:
        auraloss 0.4.0, ``auraloss.freq.STFTLoss``.
    """
    settings = Stft(n_fft, hop_length, win_length)
    made, wanted = (stft(signal, settings).abs().clamp_min(1e-4) for signal in _batched(estimate, reference))
    convergence: Tensor = torch.linalg.vector_norm(wanted - made) / torch.linalg.vector_norm(wanted)
    log = (wanted.log() - made.log()).abs().mean()
    return convergence_weight * convergence + log_weight * log + linear_weight * (wanted - made).abs().mean()


def auraloss_multi_resolution_stft_batch(estimate: Tensor, reference: Tensor) -> Tensor:
    """The ``MultiResolutionSTFTLoss`` of auraloss for a batch at its defaults: the mean of three of its ``STFTLoss``.

    Args:
        estimate: Synthesised waveforms, shape ``(batch, time)``, full scale at 1.
        reference: Recorded waveforms, same shape and sample rate.

    Returns:
        One number, float64.

    Raises:
        ValueError: If the shapes differ or are not ``(batch, time)``, or the clips are shorter than 2048 samples.

    Source:
        auraloss 0.4.0, ``auraloss.freq.MultiResolutionSTFTLoss``; BigVGAN's M-STFT is this with a batch of one.
    """
    parts = [
        auraloss_stft_batch(estimate, reference, n_fft=n_fft, hop_length=hop, win_length=win)
        for n_fft, hop, win in _RESOLUTIONS
    ]
    return torch.stack(parts).mean()


def auraloss_stft_plan(*, n_fft: int = 1024, hop_length: int = 256, win_length: int = 1024) -> Plan:
    """:func:`auraloss_stft` as sums."""
    convergence = spectral_convergence_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, floor=1e-4, precision="float64"
    )
    log = log_stft_magnitude_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, floor=1e-4, precision="float64"
    )
    return Plan(
        convergence.requests + log.requests,
        lambda sums, samples: convergence.combine(sums[:2], samples) + log.combine(sums[2:], samples),
    )


def auraloss_stft(
    estimate: Tensor, reference: Tensor, *, n_fft: int = 1024, hop_length: int = 256, win_length: int = 1024
) -> Tensor:
    """The ``STFTLoss`` of auraloss at its defaults, each clip by itself: spectral convergence plus log magnitude.

    Zero for equal signals; lower is better; not symmetric.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than ``n_fft``.

    Source:
        auraloss 0.4.0, ``auraloss.freq.STFTLoss``, with a batch of one.
    """
    plan = auraloss_stft_plan(n_fft=n_fft, hop_length=hop_length, win_length=win_length)
    return evaluate_plan(plan, estimate, reference)


def dac_multi_scale_stft_plan(*, window_lengths: Sequence[int] = (2048, 512)) -> Plan:
    """:func:`dac_multi_scale_stft` as sums."""
    settings = [Stft(window, window // 4, window) for window in window_lengths]
    requests = tuple(
        Request(one, quantity, floor)
        for one in settings
        for quantity, floor in (("log_error", 1e-5), ("absolute_error", 0.0))
    )

    def combine(sums: Sequence[Tensor], samples: int) -> Tensor:
        parts = [
            (2 / math.log(10) * sums[2 * index] + sums[2 * index + 1]) / (one.bins * one.frames(samples))
            for index, one in enumerate(settings)
        ]
        return torch.stack(parts).sum()

    return Plan(requests, combine)


def dac_multi_scale_stft(estimate: Tensor, reference: Tensor, *, window_lengths: Sequence[int] = (2048, 512)) -> Tensor:
    """Multi-scale STFT distance of the Descript Audio Codec.

    ``Σ over windows of mean |log10 max(X, 1e-5)² − log10 max(X̂, 1e-5)²| + mean |X − X̂|`` with a step of a quarter of
    the window. Zero for equal signals; lower is better; symmetric.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        window_lengths: Lengths of the Hann windows and of their transforms in samples, even.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than the longest window.

    Source:
        descript-audio-codec 1.0.0, ``MultiScaleSTFTLoss`` at its defaults.
    """
    return evaluate_plan(dac_multi_scale_stft_plan(window_lengths=window_lengths), estimate, reference)


def audiocraft_multi_resolution_stft_batch(estimate: Tensor, reference: Tensor) -> Tensor:
    """AudioCraft's ``MRSTFTLoss`` of a batch at its defaults.

    The mean over three resolutions of 0.1 times spectral convergence, with one norm over all clips, plus 0.1 times the
    log magnitude; the power is raised to 1e-7, and the spacing of float32 is added to the norm and in the logarithms.

    Args:
        estimate: Synthesised waveforms, shape ``(batch, time)``, full scale at 1.
        reference: Recorded waveforms, same shape and sample rate.

    Returns:
        One number, float64.

    Raises:
        ValueError: If the shapes differ or are not ``(batch, time)``, or the clips are shorter than 2048 samples.

    Source:
        AudioCraft, ``audiocraft.losses.MRSTFTLoss``, commit 896ec7c.
    """
    pair = _batched(estimate, reference)
    parts = []
    for n_fft, hop, win in _RESOLUTIONS:
        made, wanted = (stft(signal, Stft(n_fft, hop, win)).abs().clamp_min(math.sqrt(1e-7)) for signal in pair)
        norm = torch.linalg.vector_norm(wanted) + FLOAT32_EPS
        log = (torch.log(FLOAT32_EPS + wanted) - torch.log(FLOAT32_EPS + made)).abs().mean()
        parts.append(torch.linalg.vector_norm(wanted - made) / norm + log)
    return 0.1 * torch.stack(parts).mean()


def audiocraft_multi_resolution_stft_plan() -> Plan:
    """:func:`audiocraft_multi_resolution_stft` as sums."""
    settings = [Stft(n_fft, hop, win) for n_fft, hop, win in _RESOLUTIONS]
    floor = math.sqrt(1e-7)
    requests = tuple(
        Request(one, quantity, floor, numbers=numbers)
        for one in settings
        for quantity, numbers in (("error_energy", ()), ("reference_energy", ()), ("offset_log_error", (FLOAT32_EPS,)))
    )

    def combine(sums: Sequence[Tensor], samples: int) -> Tensor:
        parts = []
        for index, one in enumerate(settings):
            error, energy, log = sums[3 * index : 3 * index + 3]
            convergence = error.sqrt() / (energy.sqrt() + FLOAT32_EPS)
            parts.append(convergence + log / (one.bins * one.frames(samples)))
        return 0.1 * torch.stack(parts).mean()

    return Plan(requests, combine)


def audiocraft_multi_resolution_stft(estimate: Tensor, reference: Tensor) -> Tensor:
    """AudioCraft's ``MRSTFTLoss`` at its defaults, each clip by itself.

    Zero for equal signals; lower is better; not symmetric. See :func:`audiocraft_multi_resolution_stft_batch`.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than 2048 samples.

    Source:
        AudioCraft, ``audiocraft.losses.MRSTFTLoss``, commit 896ec7c, with a batch of one.
    """
    return evaluate_plan(audiocraft_multi_resolution_stft_plan(), estimate, reference)


def audiocraft_si_snr_loss(
    estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, segment_s: float = 20.0, overlap: float = 0.5
) -> Tensor:
    """AudioCraft's ``SISNR``: the negative of the mean SI-SNR of overlapping pieces.

    Pieces start every ``segment_s · (1 − overlap)`` seconds as long as there are samples, the last ones filled up with
    zeros, so a clip shorter than a piece is one or two pieces with zeros in them. The mean of the piece is taken off.
    The spacing of float32 times the length of a piece is added to all energies. Lower is better, because it is a loss.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        segment_s: Length of a piece in seconds.
        overlap: Share of a piece that the next one covers too, below 1.

    Returns:
        Negative ratio in dB per clip, shape ``(...)``, float64.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a piece or its step has none.

    Source:
        AudioCraft, ``audiocraft.losses.SISNR``, commit 896ec7c.
    """
    length = int(segment_s * sample_rate_hz)
    step = int(length * (1 - overlap))
    if length < 1 or step < 1:
        raise ValueError(f"segment_s {segment_s}, overlap {overlap}: a piece and its step need at least one sample")
    eps = FLOAT32_EPS * length

    def value(e: Tensor, r: Tensor) -> Tensor:
        count = math.ceil(r.numel() / step)
        ratios = []
        for first in range(0, count * step, step):
            made, wanted = (
                torch.nn.functional.pad(s[first : first + length], (0, length - s[first : first + length].numel()))
                for s in (e, r)
            )
            made, wanted = made - made.mean(), wanted - wanted.mean()
            target = (wanted * made).sum() / (eps + wanted.square().sum()) * wanted
            ratios.append((eps + target.square().sum()) / (eps + (made - target).square().sum()))
        return -10 * torch.log10(torch.stack(ratios)).mean()

    return per_clip(estimate, reference, value)


def hifigan_mel(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, n_mels: int = 80) -> Tensor:
    """HiFi-GAN's mel error of validation, ``mean |ln max(M, 1e-5) − ln max(M̂, 1e-5)|``, with its front end.

    Hann windows and transforms of 1,024 samples with a step of 256 and no centring; the clip is reflected by 384
    samples at each end. The magnitude is the root of the power plus 1e-9; Slaney's mel bands reach up to half the
    sample rate. Training multiplies the number by 45. Zero for equal signals; lower is better; symmetric.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both; the settings are made for 22,050 Hz.
        n_mels: Number of bands.

    Returns:
        Error in nepers per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than 1,024 samples.

    Source:
        HiFi-GAN, ``meldataset.mel_spectrogram`` with ``config_v1``.
    """
    weights = mel_filters(sample_rate_hz, 1024, n_mels)

    def value(e: Tensor, r: Tensor) -> Tensor:
        Stft(1024, 256, 1024).check(r.numel())
        window = torch.hann_window(1024, dtype=torch.float64, device=r.device)
        bank = torch.from_numpy(weights.T.copy()).to(r.device)
        framed = [
            torch.nn.functional.pad(signal[None, None], (384, 384), mode="reflect")[0, 0].unfold(0, 1024, 256)
            for signal in (e, r)
        ]
        total, cells = torch.zeros((), dtype=torch.float64, device=r.device), 0
        for first in range(0, len(framed[0]), _FRAMES):
            logs = []
            for frames in framed:
                power = torch.fft.rfft(frames[first : first + _FRAMES] * window).abs().square()
                logs.append(torch.matmul(torch.sqrt(power + 1e-9), bank).clamp_min(1e-5).log())
            total, cells = total + (logs[0] - logs[1]).abs().sum(), cells + logs[0].numel()
        return total / cells

    return per_clip(estimate, reference, value)


def vocos_mel(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, n_mels: int = 100) -> Tensor:
    """Vocos' mel error, ``mean |ln max(M, 1e-7) − ln max(M̂, 1e-7)|``, with its front end.

    Centred Hann windows and transforms of 1,024 samples with a step of 256; magnitudes; triangles of height 1 on HTK's
    mel scale up to half the sample rate. Training multiplies the number by 45. Zero for equal signals; lower is better;
    symmetric.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both; the settings are made for 24,000 Hz.
        n_mels: Number of bands.

    Returns:
        Error in nepers per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than 1,024 samples.

    Source:
        Vocos, ``MelSpecReconstructionLoss``, commit c859e3b.
    """
    weights = htk_filters(sample_rate_hz, 1024, n_mels)

    def value(e: Tensor, r: Tensor) -> Tensor:
        bank = torch.from_numpy(weights.T.copy()).to(r.device)
        total, cells = torch.zeros((), dtype=torch.float64, device=r.device), 0
        for made, wanted in magnitude_tiles(e, r, Stft(1024, 256, 1024)):
            logs = [torch.matmul(magnitude, bank).clamp_min(1e-7).log() for magnitude in (made, wanted)]
            total, cells = total + (logs[0] - logs[1]).abs().sum(), cells + logs[0].numel()
        return total / cells

    return per_clip(estimate, reference, value)
