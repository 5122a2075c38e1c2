"""Phase: how it moves from frame to frame and from bin to bin, and whether it belongs to a signal at all.

Phases themselves say little: a delay of one sample turns all of them. Their differences are heard. Over frames they
are the instantaneous frequency, over bins the group delay. All differences are taken on the circle, and each counts by
the energy of the reference in the two bins it lies between, because the phase of a bin without energy is noise. Where
the estimate has no energy at all it has no phase, and counts as a random one.

* :func:`instantaneous_frequency_error`: error of the difference over frames, in hertz.
* :func:`group_delay_error`: error of the difference over bins, in milliseconds.
* :func:`border_phase_coherence`: whether the phases on both sides of a frequency keep to each other as they should.
* :func:`spectrogram_inconsistency`: how far a complex spectrogram is from that of any signal.
* :func:`phase_inconsistency`: the same for the phases of the estimate under the magnitudes of the reference.

The work is done on the CPU, wherever the signals are.

Source:
    Instantaneous frequency and group delay as in Engel et al., "GANSynth", ICLR 2019, and Průša and Holighaus, "Phase
    vocoder done right", EUSIPCO 2017; the weights and the measures made of them are this project's. Inconsistency: Le
    Roux, Ono and Sagayama, "Explicit consistency constraints for STFT spectrograms", SAPA 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eval.metrics.frontend import Stft
from eval.metrics.pairs import per_clip
from eval.metrics.spectra import Complex, Floats, spectra, window

__all__ = [
    "border_phase_coherence",
    "group_delay_error",
    "instantaneous_frequency_error",
    "phase_inconsistency",
    "spectrogram_inconsistency",
]

# Of what is consistent, rounding leaves a few parts in 10**16.
_ROUNDING = 1e-13


def instantaneous_frequency_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
) -> Tensor:
    """Mean error of the phase step from frame to frame, ``Σ w·|wrap(Δφ̂ − Δφ)| / Σ w · rate / (2π·hop)``.

    ``w`` is the product of the reference's magnitudes in the two frames. Zero for equal signals; lower is better; not
    symmetric. Gain, polarity and a constant turn of all phases of either signal change nothing. Steps are known up to
    whole turns: a frequency off by a multiple of ``rate / hop`` reads as right, and phases without relation to the
    reference's read a quarter of that (21.5 Hz at 44.1 kHz).

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.

    Returns:
        Error in Hz per clip, shape ``(...)``, float64, in ``[0, rate / (2·hop)]``; ``nan`` where the reference has no
        energy in two frames that follow each other.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.
    """
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    hz_per_radian = sample_rate_hz / (2 * math.pi * hop_length)

    def steps(spectrum: Complex) -> Complex:
        return np.asarray(spectrum[1:] * spectrum[:-1].conj())

    return _step_error(estimate, reference, settings, steps, hz_per_radian, overlap=1)


def group_delay_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
) -> Tensor:
    """Mean error of the phase step from bin to bin, ``Σ w·|wrap(Δφ̂ − Δφ)| / Σ w · n_fft / 2π``, as a time.

    ``w`` is the product of the reference's magnitudes in the two bins. Zero for equal signals; lower is better; not
    symmetric. An estimate that is ``d`` samples late reads about ``d`` while that is short beside the window. Gain,
    polarity and a constant turn of all phases change nothing. Delays are known up to multiples of ``n_fft``, and
    phases without relation to the reference's read ``n_fft / 4`` (11.6 ms at 44.1 kHz).

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.

    Returns:
        Error in ms per clip, shape ``(...)``, float64, in ``[0, 500·n_fft / rate]``; ``nan`` where the reference has no
        energy in two bins beside each other.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.
    """
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    ms_per_radian = 1000 * n_fft / (2 * math.pi * sample_rate_hz)

    def steps(spectrum: Complex) -> Complex:
        return np.asarray(spectrum[:, 1:] * spectrum[:, :-1].conj())

    return _step_error(estimate, reference, settings, steps, ms_per_radian, overlap=0)


def _step_error(
    estimate: Tensor,
    reference: Tensor,
    settings: Stft,
    steps: Callable[[Complex], Complex],
    unit_per_radian: float,
    *,
    overlap: int,
) -> Tensor:
    def value(e: Tensor, r: Tensor) -> Tensor:
        weight = error = 0.0
        for ours, theirs in _pairs(e, r, settings, overlap):
            found, wanted = steps(ours), steps(theirs)
            weights = np.abs(wanted)
            gap = np.abs(np.angle(found * wanted.conj()))
            # Rounding leaves equal steps a trace apart.
            gap[found == wanted] = 0
            gap[found == 0] = math.pi / 2
            weight += float(weights.sum())
            error += float((weights * gap).sum())
        return _scalar(error / weight * unit_per_radian if weight else math.nan)

    return per_clip(estimate, reference, value)


def border_phase_coherence(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    edges_hz: Sequence[float] = (500.0, 2000.0, 8000.0),
    reach: int = 2,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
) -> Tensor:
    """Whether the phases on both sides of band edges stand to each other as in the reference.

    ``Σ w·cos(θ̂ − θ) / Σ w`` over frames, edges and pairs of bins, where ``θ`` is the phase above an edge less that
    below, and ``w`` the product of the reference's magnitudes there. The pairs lie ``1, 3, 5, …`` bins apart around the
    edge, so that their partners belong to the same partial. A system that makes its bands apart from each other shows
    here what the mean over all bins hides. 1 where the relation is kept, 0 where it is random, -1 where it is turned
    round; higher is better; not symmetric. Gain, polarity and a constant turn of all phases change nothing; a delay
    turns the pairs by ``2π·delay / n_fft`` for each bin they are apart.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        edges_hz: Edges between bands; those beyond the spectrum are left out.
        reach: Bins on each side.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges of the clip.

    Returns:
        Coherence per clip, shape ``(...)``, float64, in ``[-1, 1]``; ``nan`` where no edge lies inside the spectrum or
        the reference has no energy at any.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, or a parameter is out of range.
    """
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    if reach < 1 or not edges_hz or min(edges_hz) <= 0:
        raise ValueError(f"edges_hz {tuple(edges_hz)} and reach {reach} have to be positive")
    places = [math.ceil(edge * n_fft / sample_rate_hz) for edge in edges_hz if 2 * edge < sample_rate_hz]
    pairs = [(p + i, p - 1 - i) for p in places for i in range(reach) if p - 1 - i >= 0 and p + i < settings.bins]
    above, below = [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def value(e: Tensor, r: Tensor) -> Tensor:
        weight = kept = 0.0
        for ours, theirs in _pairs(e, r, settings, 0):
            found = ours[:, above] * ours[:, below].conj()
            wanted = theirs[:, above] * theirs[:, below].conj()
            size = np.abs(found)
            weight += float(np.abs(wanted).sum())
            turned = (found * wanted.conj()).real
            kept += float(np.divide(turned, size, out=np.zeros(size.shape), where=size > 0).sum())
        return _scalar(max(-1.0, min(1.0, kept / weight)) if weight else math.nan)

    return per_clip(estimate, reference, value)


def spectrogram_inconsistency(
    spectrum: Tensor, *, n_fft: int = 2048, hop_length: int = 512, win_length: int = 2048
) -> Tensor:
    """How far a complex spectrogram is from that of any signal, ``20·log10(‖S − STFT(iSTFT(S))‖ / ‖S‖)``.

    The inverse is the signal whose spectrogram is nearest in the least-squares sense, so the value is the distance to
    the set of spectrograms of signals. Lower is better. For the output of a model before synthesis, whose waveform
    shows nothing of it. Norms run over the bins from 0 to half the sample rate as they stand.

    Args:
        spectrum: Complex, shape ``(..., n_fft // 2 + 1, frames)``.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the periodic Hann window in samples.

    Returns:
        Inconsistency in dB per spectrogram, shape ``(...)``, float64, at most 0; ``-inf`` where nothing is left but
        rounding, ``nan`` for a spectrogram of zeros or one that is not finite.

    Raises:
        ValueError: If the shape or a parameter does not fit, or the frames do not overlap.
    """
    settings = Stft(n_fft, hop_length, win_length)
    if not spectrum.is_complex() or spectrum.ndim < 2 or spectrum.shape[-2] != settings.bins or not spectrum.shape[-1]:
        raise ValueError(
            f"spectrum has shape {tuple(spectrum.shape)}; complex (..., {settings.bins}, frames) is needed"
        )
    if hop_length >= win_length:
        raise ValueError(f"hop_length is {hop_length}; frames overlap below win_length = {win_length}")
    rows = spectrum.detach().to("cpu", torch.complex128).reshape(-1, *spectrum.shape[-2:]).numpy()
    values = [_inconsistency(np.ascontiguousarray(row.T), settings) for row in rows]
    return torch.tensor(values, dtype=torch.float64, device=spectrum.device).reshape(spectrum.shape[:-2])


def phase_inconsistency(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int = 2048,
    pad_mode: str = "reflect",
) -> Tensor:
    """Inconsistency of the estimate's phases under the reference's magnitudes.

    :func:`spectrogram_inconsistency` of ``|X|·exp(iφ̂)``: whether the phases are such that a signal with the right
    magnitudes could have them. Lower is better; not symmetric. Unlike a difference of phases it does not ask for the
    phases of the recording: any that fit together do, a constant turn of all of them included. Random phases read about
    -4 dB.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        n_fft: Length of the transform in samples, even.
        hop_length: Step between frames in samples.
        win_length: Length of the Hann window in samples.
        pad_mode: ``"reflect"`` or ``"constant"`` at the edges.

    Returns:
        Inconsistency in dB per clip, shape ``(...)``, float64, at most 0; ``-inf`` for the phases of the reference
        itself, ``nan`` for a reference without energy.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than ``n_fft``, a parameter is out of range, or the frames
            do not overlap.
    """
    settings = Stft(n_fft, hop_length, win_length, pad_mode)
    if hop_length >= win_length:
        raise ValueError(f"hop_length is {hop_length}; frames overlap below win_length = {win_length}")

    def value(e: Tensor, r: Tensor) -> Tensor:
        mixed = []
        for ours, theirs in _pairs(e, r, settings, 0):
            size = np.abs(ours)
            turn = np.divide(ours, size, out=np.ones_like(ours), where=size > 0)
            mixed.append(np.abs(theirs) * turn)
        return _scalar(_inconsistency(np.concatenate(mixed), settings))

    return per_clip(estimate, reference, value)


def _pairs(estimate: Tensor, reference: Tensor, settings: Stft, overlap: int) -> zip[tuple[Complex, Complex]]:
    clips = (estimate.cpu().numpy(), reference.cpu().numpy())
    first, second = (spectra(clip, settings, overlap=overlap) for clip in clips)
    return zip(first, second, strict=True)


def _inconsistency(spectrum: Complex, settings: Stft) -> float:
    """The same for frames ``(frames, bins)``."""
    frames, hop = len(spectrum), settings.hop_length
    shape = window(settings)
    signal = np.zeros(settings.n_fft + (frames - 1) * hop)
    cover = np.zeros(signal.size)
    for start in range(0, frames, 32):
        pieces = np.fft.irfft(spectrum[start : start + 32], settings.n_fft) * shape
        for number, piece in enumerate(pieces, start):
            place = slice(number * hop, number * hop + settings.n_fft)
            signal[place] += piece
            cover[place] += np.square(shape)
    np.divide(signal, cover, out=signal, where=cover > 0)
    views: Floats = np.lib.stride_tricks.sliding_window_view(signal, settings.n_fft)[::hop]
    left = whole = 0.0
    for start in range(0, frames, 32):
        wanted = spectrum[start : start + 32]
        gap = np.fft.rfft(views[start : start + 32] * shape) - wanted
        left += float(np.vdot(gap, gap).real)
        whole += float(np.vdot(wanted, wanted).real)
    if not (whole > 0 and math.isfinite(whole)):
        return math.nan
    ratio = math.sqrt(left / whole)
    return 20 * math.log10(ratio) if ratio > _ROUNDING else -math.inf


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
