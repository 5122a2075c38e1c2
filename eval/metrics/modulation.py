"""Distance between the modulation spectra of mel bands: how fast and how deeply the level of each band moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from eval.metrics.frontend import Mel, Stft
from eval.metrics.pairs import per_clip
from eval.metrics.tiles import log_mel_frames


def modulation_spectrum_distance(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_mels: int = 32,
    window_s: float = 0.04,
    step_s: float = 0.01,
    centres_hz: Sequence[float] = (2.0, 4.0, 8.0, 16.0, 32.0),
    floor: float = 1e-5,
    shallowest_db: float = 0.5,
) -> Tensor:
    """Mean distance of the depths of modulation of the mel bands, octave by octave of modulation rate.

    The level of each mel band in dB, without its mean and under a Hann window over the whole clip, is transformed over
    time. The root mean square of each octave around ``centres_hz`` is the depth of modulation in dB; depths below
    ``shallowest_db`` are raised to it. The value is the mean over bands and octaves of ``|20·log10|`` of the ratio of
    the depths. Zero for equal signals; lower is better; symmetric; blind to the gain of either signal above the floor,
    to delays that are short beside the clip and to the phase of the modulation.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_mels: Number of bands from 0 Hz to half the sample rate, Slaney's scale and norm.
        window_s: Length of the Hann window of the transform in seconds, rounded up to an even number of samples.
        step_s: Step between frames in seconds, rounded to samples.
        centres_hz: Middles of the octaves of modulation rate, rising; the highest octave has to end below half the
            rate of the frames.
        floor: Smallest band magnitude told apart from zero.
        shallowest_db: Depths of modulation below count as equal to it.

    Returns:
        Distance in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where the clip is shorter than two
        periods of the slowest modulation, ``2 / (centres_hz[0] / √2)``.

    Raises:
        ValueError: If the shapes differ, ``time`` is shorter than the window, or a parameter is out of range.

    Source:
        Modulation spectra of Greenberg and Kingsbury, "The modulation spectrogram", ICASSP 1997; as a distance of
        synthesis, Takamichi et al., "Postfilters to modify the modulation spectrum for statistical parametric speech
        synthesis", IEEE/ACM TASLP 24(4), 2016.
    """
    hop = round(step_s * sample_rate_hz)
    window = 2 * math.ceil(window_s * sample_rate_hz / 2)
    if not floor > 0 or not shallowest_db > 0:
        raise ValueError(f"floor is {floor}, shallowest_db {shallowest_db}; logarithms need both above 0")
    rate_hz = sample_rate_hz / max(hop, 1)
    if not centres_hz or centres_hz[0] <= 0 or centres_hz[-1] * math.sqrt(2) > rate_hz / 2:
        raise ValueError(
            f"centres_hz is {tuple(centres_hz)}; the octaves have to lie between 0 and {rate_hz / 2:g} Hz, half the "
            "rate of the frames"
        )
    settings, mel = Stft(window, hop, window), Mel(sample_rate_hz, n_mels)
    shortest = math.ceil(2 * math.sqrt(2) / centres_hz[0] * sample_rate_hz)

    def depths(signal: Tensor) -> Tensor:
        levels = log_mel_frames(signal, settings, mel, floor) * (20 / math.log(10))
        levels = levels - levels.mean(0)
        taper = torch.hann_window(len(levels), dtype=torch.float64, device=levels.device)
        # Two-sided power of the windowed level, so that its sum is the mean square of the level under the window.
        power = torch.fft.rfft(levels * taper[:, None], dim=0).abs().square()
        power = 2 * power / (len(levels) * taper.square().sum())
        rates = torch.fft.rfftfreq(len(levels), 1 / rate_hz, dtype=torch.float64, device=levels.device)
        octaves = [
            power[(rates >= centre / math.sqrt(2)) & (rates < centre * math.sqrt(2))].sum(0) for centre in centres_hz
        ]
        return torch.stack(octaves).sqrt().clamp_min(shallowest_db)

    def value(e: Tensor, r: Tensor) -> Tensor:
        if r.numel() < shortest:
            return torch.tensor(torch.nan, dtype=torch.float64, device=r.device)
        return (20 * torch.log10(depths(e) / depths(r))).abs().mean()

    return per_clip(estimate, reference, value)
