"""Distances between magnitude spectrograms.

All are blind to phase. ``X`` is the magnitude spectrogram of the reference, ``X̂`` that of the estimate (bins × frames,
periodic Hann window, centred frames, no scaling by the window). Sums run over one clip; no value mixes clips, which the
usual libraries do for spectral convergence.

Logarithms need a floor, and each function states its own: magnitudes below it count as equal to it. The default of
1e-4 lies 134 dB under a full-scale sine in a window of 2,048 samples and just under the noise of 16-bit quantisation,
so that digital silence and dithered silence compare as nearly equal. The floor makes the logarithmic metrics depend on
level.

* :func:`log_mel_l1`, :func:`linear_magnitude_l1`, :func:`linear_magnitude_mse`, :func:`spectral_convergence`,
  :func:`log_stft_magnitude`, :func:`log_magnitude_mse`, :func:`log_spectral_distance`,
  :func:`band_log_spectral_distance`: one transform, 2048/512 by default.
* :func:`multi_resolution_stft`: three transforms.

Each function has a plan beside it that states it as sums and a formula (:mod:`eval.metrics.sums`). Frames of float32
signals are transformed in float32 where the rounding noise of that cannot show in the value, else in float64
(:mod:`eval.metrics.rounding`): nearly equal signals and parts far below the rest lose no digit. Values agree
with float64 to 1e-5 of themselves, nearly always to 1e-7. Signals in float64 are worked on in float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.pairs import per_clip
from eval.metrics.sums import Plan, Request, spectral_sums

_DB_PER_NEPER = 20 / math.log(10)


def evaluate_plan(plan: Plan, estimate: Tensor, reference: Tensor) -> Tensor:
    """Value of one planned metric per clip, shape ``(..., time)`` to ``(...)``."""

    def value(e: Tensor, r: Tensor) -> Tensor:
        sums, _ = spectral_sums(e, r, plan.requests)
        return plan.combine([sums[request] for request in plan.requests], r.shape[-1])

    return per_clip(estimate, reference, value, widen=False)


def _positive(floor: float) -> float:
    if not floor > 0:
        raise ValueError(f"floor is {floor}; a logarithm needs one above 0")
    return floor


def log_mel_l1_plan(
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    n_mels: int = 128,
    f_min_hz: float = 0.0,
    f_max_hz: float | None = None,
    floor: float = 1e-5,
    precision: str = "adaptive",
) -> Plan:
    """:func:`log_mel_l1` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    mel = Mel(sample_rate_hz, n_mels, f_min_hz, f_max_hz)
    request = Request(settings, "mel_log_error", _positive(floor), mel)
    return Plan((request,), lambda sums, samples: sums[0] / (n_mels * settings.frames(samples)))


def log_mel_l1(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    n_mels: int = 128,
    f_min_hz: float = 0.0,
    f_max_hz: float | None = None,
    floor: float = 1e-5,
    precision: str = "adaptive",
) -> Tensor:
    """Mean gap between two log-mel spectrograms, ``mean |ln max(M, floor) − ln max(M̂, floor)|``.

    ``M`` are the mel bands of the magnitude (power 1), Slaney's scale and norm. Zero for equal signals; lower is
    better; symmetric. A gain of ``g`` on one signal costs ``|ln g|`` where both lie above the floor; a gain on both
    changes nothing there.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        n_mels: Number of bands.
        f_min_hz: Lower edge of the first band.
        f_max_hz: Upper edge of the last band; half the sample rate when ``None``.
        floor: Smallest band magnitude told apart from zero.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Gap in nepers (1 Np = 8.686 dB) per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Kong, Kim and Bae, "HiFi-GAN", NeurIPS 2020 (there 1024/256, 80 bands, edges padded by ``(n_fft − hop) / 2``).
    """
    plan = log_mel_l1_plan(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        n_mels=n_mels,
        f_min_hz=f_min_hz,
        f_max_hz=f_max_hz,
        floor=floor,
        precision=precision,
    )
    return evaluate_plan(plan, estimate, reference)


def linear_magnitude_l1_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    precision: str = "adaptive",
) -> Plan:
    """:func:`linear_magnitude_l1` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    return Plan(
        (Request(settings, "absolute_error"),),
        lambda sums, samples: sums[0] / (settings.bins * settings.frames(samples)),
    )


def linear_magnitude_l1(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    precision: str = "adaptive",
) -> Tensor:
    """Mean gap between two magnitude spectrograms, ``mean |X − X̂|``.

    Zero for equal signals; lower is better; symmetric; proportional to a common gain. The transform is not scaled: a
    full-scale sine on a bin reads half the sum of the window, 512 by default.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Gap per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Arık, Jun and Diamos, "Fast spectrogram inversion using multi-head convolutional neural networks", IEEE Signal
        Processing Letters 26(1), 2019.
    """
    plan = linear_magnitude_l1_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, precision=precision
    )
    return evaluate_plan(plan, estimate, reference)


def linear_magnitude_mse_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    precision: str = "adaptive",
) -> Plan:
    """:func:`linear_magnitude_mse` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    return Plan(
        (Request(settings, "error_energy"),),
        lambda sums, samples: sums[0] / (settings.bins * settings.frames(samples)),
    )


def linear_magnitude_mse(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    precision: str = "adaptive",
) -> Tensor:
    """Mean square gap between two magnitude spectrograms, ``mean (X − X̂)²``.

    Zero for equal signals; lower is better; symmetric; proportional to the square of a common gain. The transform is
    not scaled: a full-scale sine on a bin reads half the sum of the window, 512 by default.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Mean square per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Griffin and Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32(2), 1984, as a
        mean instead of a sum.
    """
    plan = linear_magnitude_mse_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, precision=precision
    )
    return evaluate_plan(plan, estimate, reference)


def spectral_convergence_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 0.0,
    precision: str = "adaptive",
) -> Plan:
    """:func:`spectral_convergence` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    requests = (Request(settings, "error_energy", floor), Request(settings, "reference_energy", floor))
    return Plan(requests, lambda sums, samples: torch.sqrt(sums[0] / sums[1]))


def spectral_convergence(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 0.0,
    precision: str = "adaptive",
) -> Tensor:
    """Relative error of the magnitude spectrogram, ``‖X − X̂‖_F / ‖X‖_F``.

    Zero for equal signals, 1 for a silent estimate; lower is better; not symmetric. A common gain changes nothing (with
    ``floor=0``). The norm is taken per clip; libraries take it over the batch, where a score depends on its company.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smaller magnitudes are raised to it first; 1e-4 gives auraloss' definition.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Ratio per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` or ``inf`` for a silent reference.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Arık, Jun and Diamos, "Fast spectrogram inversion using multi-head convolutional neural networks", IEEE Signal
        Processing Letters 26(1), 2019, eq. 2.
    """
    plan = spectral_convergence_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, floor=floor, precision=precision
    )
    return evaluate_plan(plan, estimate, reference)


def log_stft_magnitude_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Plan:
    """:func:`log_stft_magnitude` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    return Plan(
        (Request(settings, "log_error", _positive(floor)),),
        lambda sums, samples: sums[0] / (settings.bins * settings.frames(samples)),
    )


def log_stft_magnitude(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Tensor:
    """Mean gap between two log-magnitude spectrograms, ``mean |ln max(X, floor) − ln max(X̂, floor)|``.

    Zero for equal signals; lower is better; symmetric. A gain of ``g`` on one signal costs ``|ln g|`` where both lie
    above the floor; a gain on both changes nothing there.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smallest magnitude told apart from zero.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Gap in nepers (1 Np = 8.686 dB) per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Arık, Jun and Diamos, "Fast spectrogram inversion using multi-head convolutional neural networks", IEEE Signal
        Processing Letters 26(1), 2019, eq. 3.
    """
    plan = log_stft_magnitude_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, floor=floor, precision=precision
    )
    return evaluate_plan(plan, estimate, reference)


def log_magnitude_mse_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Plan:
    """:func:`log_magnitude_mse` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    return Plan(
        (Request(settings, "log_error_energy", _positive(floor)),),
        lambda sums, samples: sums[0] / (settings.bins * settings.frames(samples)),
    )


def log_magnitude_mse(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Tensor:
    """Mean square gap between two log-magnitude spectrograms, ``mean (ln max(X, floor) − ln max(X̂, floor))²``.

    Zero for equal signals; lower is better; symmetric. A gain of ``g`` on one signal costs ``(ln g)²`` where both lie
    above the floor; a gain on both changes nothing there.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smallest magnitude told apart from zero.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Mean square in squared nepers (1 Np = 8.686 dB) per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        The square of the distance of Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5),
        1976, averaged over frames and bins alike.
    """
    plan = log_magnitude_mse_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, floor=floor, precision=precision
    )
    return evaluate_plan(plan, estimate, reference)


def multi_resolution_stft_plan(
    *,
    n_ffts: Sequence[int] = (1024, 2048, 512),
    hop_lengths: Sequence[int] = (120, 240, 50),
    win_lengths: Sequence[int] = (600, 1200, 240),
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Plan:
    """:func:`multi_resolution_stft` as sums."""
    settings = [
        Stft(n_fft, hop, win, pad_mode, precision)
        for n_fft, hop, win in zip(n_ffts, hop_lengths, win_lengths, strict=True)
    ]
    requests = tuple(
        Request(one, quantity, _positive(floor))
        for one in settings
        for quantity in ("error_energy", "reference_energy", "log_error")
    )

    def combine(sums: Sequence[Tensor], samples: int) -> Tensor:
        values = []
        for index, one in enumerate(settings):
            error, energy, log = sums[3 * index : 3 * index + 3]
            values += [torch.sqrt(error / energy), log / (one.bins * one.frames(samples))]
        return torch.stack(values).sum() / len(settings)

    return Plan(requests, combine)


def multi_resolution_stft(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_ffts: Sequence[int] = (1024, 2048, 512),
    hop_lengths: Sequence[int] = (120, 240, 50),
    win_lengths: Sequence[int] = (600, 1200, 240),
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Tensor:
    """Spectral convergence plus log-STFT magnitude, averaged over several resolutions.

    Zero for equal signals; lower is better; not symmetric. Level-dependent through the floor, which also enters
    spectral convergence here, as in auraloss, whose default loss this equals for a batch of one.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_ffts: Lengths of the transforms in samples, even.
        hop_lengths: Steps between frames in samples, one per transform.
        win_lengths: Lengths of the Hann windows in samples, one per transform.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smaller magnitudes are raised to it first.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than the longest transform, the three lists differ in
            length, or a parameter is out of range.

    Source:
        Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020, eq. 6 to 9.
    """
    plan = multi_resolution_stft_plan(
        n_ffts=n_ffts,
        hop_lengths=hop_lengths,
        win_lengths=win_lengths,
        pad_mode=pad_mode,
        floor=floor,
        precision=precision,
    )
    return evaluate_plan(plan, estimate, reference)


def log_spectral_distance_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Plan:
    """:func:`log_spectral_distance` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    return Plan(
        (Request(settings, "frame_log_error", _positive(floor)),),
        lambda sums, samples: _DB_PER_NEPER * sums[0] / settings.frames(samples),
    )


def log_spectral_distance(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Tensor:
    """Root-mean-square gap between two log-power spectra, averaged over frames.

    ``mean over frames of √(mean over bins (20·log10(X / X̂))²)`` after the floor. Zero for equal signals; lower is
    better; symmetric. A gain of ``g`` on one signal costs ``|20·log10 g|`` dB where both lie above the floor. Some
    authors give the value in units of log10 of the power, a tenth of this.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smallest magnitude told apart from zero.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Distance in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976.

    >>> log_spectral_distance(torch.ones(4096), torch.ones(4096))
    tensor(0., dtype=torch.float64)
    """
    plan = log_spectral_distance_plan(
        n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, floor=floor, precision=precision
    )
    return evaluate_plan(plan, estimate, reference)


def band_log_spectral_distance_plan(
    *,
    sample_rate_hz: int,
    low_hz: float,
    high_hz: float | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Plan:
    """:func:`band_log_spectral_distance` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode, precision)
    if low_hz < 0 or (high_hz is not None and high_hz <= low_hz):
        raise ValueError(f"band {low_hz}…{high_hz} Hz: the edges have to satisfy 0 ≤ low_hz < high_hz")
    nyquist_hz = sample_rate_hz / 2
    if low_hz >= nyquist_hz or (high_hz is not None and high_hz > nyquist_hz):
        # A part of a band is not the band; the lower half of 2 to 8 kHz would be compared with all of it.
        request = Request(settings, "frame_log_error", _positive(floor), numbers=(0, 1))
        return Plan((request,), lambda sums, samples: sums[0] * torch.nan)
    first = math.ceil(low_hz * n_fft / sample_rate_hz)
    last = settings.bins if high_hz in (None, nyquist_hz) else math.ceil(float(high_hz or 0) * n_fft / sample_rate_hz)
    if last <= first:
        raise ValueError(f"band {low_hz}…{high_hz} Hz: no bin of {sample_rate_hz / n_fft} Hz lies in it")
    return Plan(
        (Request(settings, "frame_log_error", _positive(floor), numbers=(first, last)),),
        lambda sums, samples: _DB_PER_NEPER * sums[0] / settings.frames(samples),
    )


def band_log_spectral_distance(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    low_hz: float,
    high_hz: float | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-4,
    precision: str = "adaptive",
) -> Tensor:
    """:func:`log_spectral_distance` over the bins of one band.

    ``mean over frames of √(mean over the band's bins (20·log10(X / X̂))²)`` after the floor. Zero for equal signals;
    lower is better; symmetric. The whole-band value squared is not a mean of the squares of the bands, because the root
    is taken per frame.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        low_hz: Lower edge; a bin on it belongs to the band.
        high_hz: Upper edge; a bin on it belongs to the next band. Half the sample rate, included, when ``None``.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smallest magnitude told apart from zero.
        precision: ``"adaptive"``, ``"float64"`` or ``"float32"``, see `eval.metrics.frontend.Stft`.

    Returns:
        Distance in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where the band reaches above half the
        sample rate.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, no bin lies in the band, or a parameter is
            out of range.

    Source:
        Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976, over a part of the spectrum.
    """
    plan = band_log_spectral_distance_plan(
        sample_rate_hz=sample_rate_hz,
        low_hz=low_hz,
        high_hz=high_hz,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        floor=floor,
        precision=precision,
    )
    return evaluate_plan(plan, estimate, reference)
