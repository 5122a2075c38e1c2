"""Errors of the temporal envelope: the level of short frames, and when and how fast a note starts.

* :func:`envelope_error`: distance of the levels of all frames.
* :func:`onset_time_error`, :func:`attack_time_error`: for clips of one note.

All are blind to phase and to the spectrum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eval.metrics.pairs import per_clip


def _lengths(sample_rate_hz: int, frame_s: float, step_s: float) -> tuple[int, int]:
    frame, step = round(frame_s * sample_rate_hz), round(step_s * sample_rate_hz)
    if not 1 <= step <= frame:
        raise ValueError(f"frame_s {frame_s}, step_s {step_s}: a step has at least one sample and at most a frame")
    return frame, step


def _levels(signal: Tensor, frame: int, step: int) -> Tensor:
    """Root mean square of the frames that fit, shape ``(frames,)``."""
    return signal.square().unfold(0, frame, step).mean(-1).sqrt()


def envelope_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    frame_s: float = 0.02,
    step_s: float = 0.005,
    quietest_db: float = -80.0,
) -> Tensor:
    """Mean distance of the levels of short frames in dB.

    The level is the root mean square of the frame; levels below ``quietest_db`` of full scale are raised to it. Zero
    for equal signals; lower is better; symmetric. A gain of ``g`` on one signal costs ``|20·log10 g|`` dB.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        frame_s: Length of a frame in seconds.
        step_s: Step between frames in seconds.
        quietest_db: Levels below count as equal to it.

    Returns:
        Distance in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where the clip is shorter than a
        frame.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Mean absolute difference of short-time levels.
    """
    frame, step = _lengths(sample_rate_hz, frame_s, step_s)
    floor = 10 ** (quietest_db / 20)

    def value(e: Tensor, r: Tensor) -> Tensor:
        if r.numel() < frame:
            return torch.tensor(torch.nan, dtype=torch.float64, device=r.device)
        levels = [_levels(signal, frame, step).clamp_min(floor) for signal in (e, r)]
        return (20 * torch.log10(levels[0] / levels[1])).abs().mean()

    return per_clip(estimate, reference, value)


def _start(levels: Tensor, low: float, high: float) -> Tensor:
    """When a rising envelope passes two shares of its maximum, in frames between frames, shape ``(2,)``."""
    peak = int(torch.argmax(levels))
    times = []
    for share in (low, high):
        wanted = share * levels[peak]
        # The last crossing before the maximum is the one of the note; earlier ones belong to what comes before it.
        under = torch.nonzero(levels[: peak + 1] < wanted)
        if not len(under):
            times.append(levels.new_zeros(()))
            continue
        at = int(under[-1])
        times.append(at + (wanted - levels[at]) / (levels[at + 1] - levels[at]))
    return torch.stack(times)


def _start_error(
    estimate: Tensor,
    reference: Tensor,
    sample_rate_hz: int,
    frame_s: float,
    step_s: float,
    shares: tuple[float, float],
    *,
    attack: bool,
) -> Tensor:
    frame, step = _lengths(sample_rate_hz, frame_s, step_s)
    if not 0 < shares[0] < shares[1] <= 1:
        raise ValueError(f"low {shares[0]}, high {shares[1]}: shares of the maximum have to rise between 0 and 1")

    def value(e: Tensor, r: Tensor) -> Tensor:
        if r.numel() < frame:
            return torch.tensor(torch.nan, dtype=torch.float64, device=r.device)
        # A single sample already makes a frame loud, so the frames end where the clip's samples do.
        starts = []
        for signal in (e, r):
            padded = torch.nn.functional.pad(signal[None, None], (frame - 1, 0))[0, 0]
            starts.append(_start(_levels(padded, frame, step), *shares))
        made, wanted = (pair[1] - pair[0] if attack else pair[0] for pair in starts)
        return (made - wanted).abs() * (1000 * step / sample_rate_hz)

    return per_clip(estimate, reference, value)


def onset_time_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    frame_s: float = 0.01,
    step_s: float = 0.001,
    low: float = 0.1,
    high: float = 0.9,
) -> Tensor:
    """Distance of the times at which the envelope passes ``low`` of its maximum for the last time before it.

    Zero for equal signals; lower is better; symmetric; blind to the gain of either signal. Made for clips of one note:
    of several it sees the loudest. :func:`attack_time_error` says how fast the note rises from there.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        frame_s: Length of the frames of which the envelope is the root mean square, in seconds.
        step_s: Step between frames in seconds; crossings are interpolated between frames.
        low: Share of the maximum at which the note starts.
        high: Share of the maximum at which the attack ends; not used here.

    Returns:
        Distance in milliseconds per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where the clip is shorter
        than a frame.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Thresholds on the energy envelope as in Peeters et al., "The Timbre Toolbox", JASA 130(5), 2011.
    """
    return _start_error(estimate, reference, sample_rate_hz, frame_s, step_s, (low, high), attack=False)


def attack_time_error(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    frame_s: float = 0.01,
    step_s: float = 0.001,
    low: float = 0.1,
    high: float = 0.9,
) -> Tensor:
    """Distance of the times that the envelope takes from ``low`` to ``high`` of its maximum.

    Zero for equal signals; lower is better; symmetric; blind to the gain of either signal and to a delay of the whole
    note. Made for clips of one note.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        frame_s: Length of the frames of which the envelope is the root mean square, in seconds.
        step_s: Step between frames in seconds; crossings are interpolated between frames.
        low: Share of the maximum at which the attack starts.
        high: Share of the maximum at which the attack ends.

    Returns:
        Distance in milliseconds per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where the clip is shorter
        than a frame.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Peeters et al., "The Timbre Toolbox: extracting audio descriptors from musical signals", JASA 130(5), 2011, with
        fixed thresholds.
    """
    return _start_error(estimate, reference, sample_rate_hz, frame_s, step_s, (low, high), attack=True)
