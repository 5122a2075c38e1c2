"""How far descriptors of the spectrum that change over time lie apart.

``X`` is the magnitude spectrogram of the reference, ``X̂`` that of the estimate, as in :mod:`eval.metrics.spectral`. A
descriptor of silence means nothing (libraries call its centroid 0 Hz and its flatness 1), so frames in which either
signal is quieter than a threshold are left out, and a pair without a frame that counts has no value. An estimate that
falls silent is therefore not punished here; other metrics do that.

* :func:`spectral_centroid_error`, :func:`spectral_rolloff_error`: brightness, in hertz.
* :func:`spectral_flatness_error`: noise or tone.
* :func:`spectral_flux_error`: how much changes from frame to frame.
* :func:`spectral_sharpness_error`: how blurred a log-mel spectrogram is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.spectral import evaluate_plan
from eval.metrics.sums import Plan, Request


def _in_sounding_frames(
    settings: Stft, quantity: str, scale: float, threshold_db: float, *more: float, floor: float = 0.0
) -> Plan:
    requests = (
        Request(settings, quantity, floor, numbers=(threshold_db, *more)),
        Request(settings, "sounding_frames", numbers=(threshold_db,)),
    )
    # 0 / 0 where no frame counts.
    return Plan(requests, lambda sums, samples: scale * sums[0] / sums[1])


def spectral_centroid_error_plan(
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    threshold_db: float = -80.0,
) -> Plan:
    """:func:`spectral_centroid_error` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    return _in_sounding_frames(settings, "centroid_error", sample_rate_hz / n_fft, threshold_db)


def spectral_centroid_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    threshold_db: float = -80.0,
) -> Tensor:
    """Mean distance of the centroids ``Σ f·X / Σ X`` of the frames in hertz.

    Zero for equal signals; lower is better; symmetric; blind to the gain of either signal.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        threshold_db: Frames count in which the strongest bin of both signals reaches this level; 0 dB is a full-scale
            sine.

    Returns:
        Distance in Hz per clip, shape ``(...)``, float64, in ``[0, sample_rate_hz / 2]``; ``nan`` where no frame
        counts.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Grey and Gordon, "Perceptual effects of spectral modifications on musical timbres", JASA 63(5), 1978; centroid
        of the magnitude as in librosa.
    """
    plan = spectral_centroid_error_plan(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        threshold_db=threshold_db,
    )
    return evaluate_plan(plan, estimate, reference)


def spectral_rolloff_error_plan(
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    share: float = 0.85,
    threshold_db: float = -80.0,
) -> Plan:
    """:func:`spectral_rolloff_error` as sums."""
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it has to lie between 0 and 1")
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    return _in_sounding_frames(settings, "rolloff_error", sample_rate_hz / n_fft, threshold_db, share)


def spectral_rolloff_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    share: float = 0.85,
    threshold_db: float = -80.0,
) -> Tensor:
    """Mean distance of the frequencies below which a share of the magnitude of the frames lies.

    The frequency is that of the first bin up to which the sum of the magnitudes reaches ``share``. Zero for equal
    signals; lower is better; symmetric; blind to the gain of either signal.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        share: Share of the sum of the magnitudes, between 0 and 1.
        threshold_db: Frames count in which the strongest bin of both signals reaches this level; 0 dB is a full-scale
            sine.

    Returns:
        Distance in Hz per clip, shape ``(...)``, float64, in ``[0, sample_rate_hz / 2]``; ``nan`` where no frame
        counts.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Tzanetakis and Cook, "Musical genre classification of audio signals", IEEE TSAP 10(5), 2002; share as in
        librosa.
    """
    plan = spectral_rolloff_error_plan(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        share=share,
        threshold_db=threshold_db,
    )
    return evaluate_plan(plan, estimate, reference)


def spectral_flatness_error_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-5,
    threshold_db: float = -80.0,
) -> Plan:
    """:func:`spectral_flatness_error` as sums."""
    if not floor > 0:
        raise ValueError(f"floor is {floor}; a logarithm needs one above 0")
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    return _in_sounding_frames(settings, "flatness_error", 1.0, threshold_db, floor=floor)


def spectral_flatness_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
    floor: float = 1e-5,
    threshold_db: float = -80.0,
) -> Tensor:
    """Mean distance of the flatnesses of the frames: geometric over arithmetic mean of the power.

    Flatness is 1 for a spectrum without any structure and near 0 for a few partials; white noise reads about 0.56. Zero
    for equal signals; lower is better; symmetric; blind to gain above the floor.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        floor: Smaller magnitudes are raised to it first.
        threshold_db: Frames count in which the strongest bin of both signals reaches this level; 0 dB is a full-scale
            sine.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, 1]``; ``nan`` where no frame counts.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Johnston, "Transform coding of audio signals using perceptual noise criteria", IEEE JSAC 6(2), 1988; floor as in
        librosa.
    """
    plan = spectral_flatness_error_plan(
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        floor=floor,
        threshold_db=threshold_db,
    )
    return evaluate_plan(plan, estimate, reference)


def spectral_flux_error_plan(
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
) -> Plan:
    """:func:`spectral_flux_error` as sums."""
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    return Plan(
        (Request(settings, "flux_error"), Request(settings, "reference_flux")),
        lambda sums, samples: sums[0] / sums[1],
    )


def spectral_flux_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
) -> Tensor:
    """Gap between the changes of the spectrum from frame to frame, relative to the reference's.

    With the flux ``F_t = ‖X_t − X_{t−1}‖₂``, ``Σ_t |F_t − F̂_t| / Σ_t F_t``. Zero for equal signals, 1 for an estimate
    that never changes; lower is better; not symmetric. A common gain changes nothing.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.

    Returns:
        Relative gap per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` or ``inf`` where the reference never
        changes.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Masri, "Computer modelling of sound for transformation and synthesis of musical signals", PhD thesis, University
        of Bristol 1996, for the flux.
    """
    plan = spectral_flux_error_plan(
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
    )
    return evaluate_plan(plan, estimate, reference)


def spectral_sharpness_error_plan(
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
) -> Plan:
    """:func:`spectral_sharpness_error` as sums."""
    if not floor > 0 or n_mels < 2:
        raise ValueError(f"floor is {floor}, n_mels {n_mels}; a floor above 0 and at least 2 bands are needed")
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    mel = Mel(sample_rate_hz, n_mels, f_min_hz, f_max_hz)
    requests = tuple(
        Request(settings, "mel_steps", floor, mel, (float(signal), float(over_time)))
        for signal in (0, 1)
        for over_time in (0, 1)
    )

    def combine(sums: Sequence[Tensor], samples: int) -> Tensor:
        frames = settings.frames(samples)
        made, wanted = (sums[i] / (frames * (n_mels - 1)) + sums[i + 1] / ((frames - 1) * n_mels) for i in (0, 2))
        return torch.abs(made / wanted - 1)

    return Plan(requests, combine)


def spectral_sharpness_error(
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
) -> Tensor:
    """By how much a log-mel spectrogram is less or more sharp than the reference's.

    Sharpness is the mean absolute step from band to band plus that from frame to frame of ``ln max(M, floor)``; blur
    lowers it, noise raises it. With its ratio ``s`` between estimate and reference the value is ``|s − 1|``: 0.2 is a
    fifth of the sharpness lost or added. Zero for equal signals; lower is better; not symmetric. Blind to gain above
    the floor, and to where in the spectrogram the steps are.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.
        n_mels: Number of bands, at least 2.
        f_min_hz: Lower edge of the first band.
        f_max_hz: Upper edge of the last band; half the sample rate when ``None``.
        floor: Smallest band magnitude told apart from zero.

    Returns:
        Relative gap per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` or ``inf`` where the reference lies
        below the floor everywhere.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.

    Source:
        Mean absolute gradient as a measure of focus: Brenner et al., "An automated microscope for cytologic research",
        Journal of Histochemistry and Cytochemistry 24(1), 1976, there squared and on images.
    """
    plan = spectral_sharpness_error_plan(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode=pad_mode,
        n_mels=n_mels,
        f_min_hz=f_min_hz,
        f_max_hz=f_max_hz,
        floor=floor,
    )
    return evaluate_plan(plan, estimate, reference)
