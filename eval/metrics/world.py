"""Mel-cepstral distortion of the envelopes of the WORLD vocoder (package ``pyworld``), as versa prints it.

For comparison with its tables only: `eval.metrics.cepstral` needs no package and has no settings of one sample rate.
The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

import math
import threading
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.pairs import per_clip

__all__ = ["versa_mel_cepstral_distortion"]

Floats = NDArray[np.float64]

_ORDER = 39
_WARPING = 0.466
_FFT = 1024
_STEP_MS = 5.0
_F0_HZ = (40.0, 800.0)
_LOW_CUT_HZ = 70.0
_TAPS = 255
# WORLD keeps the state of its random numbers between calls.
_one_world = threading.Lock()


def versa_mel_cepstral_distortion(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int) -> Tensor:
    """Mel-cepstral distortion of versa without time warping, ``mean over frames of 10/ln 10 · √(2 Σ (c_d − ĉ_d)²)``.

    Both signals lose what lies below 70 Hz by a filter of 255 taps and are scaled to 16 bits. WORLD finds the pitch
    (Harvest, 40 to 800 Hz) and the envelope (CheapTrick, 1,024 points) every 5 ms; the envelope's cepstrum is warped
    by 0.466 at every sample rate, and coefficients 0 to 39 are compared, the level among them. Zero for equal signals;
    lower is better; symmetric.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both, at least 8 kHz; the warping is made for 24 kHz.

    Returns:
        Distortion in dB per clip, shape ``(...)``, float64, in ``[0, ∞)``; ``nan`` where a signal is silent.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the rate is below 8 kHz.

    Source:
        versa, ``versa/sequence_metrics/mcd_f0.py``, commit c398480, at its defaults; Morise et al., "WORLD: a
        vocoder-based high-quality speech synthesis system", IEICE Transactions E99-D(7), 2016.
    """
    if sample_rate_hz < 8_000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; this distortion needs 8000 Hz or more")

    def value(e: Tensor, r: Tensor) -> Tensor:
        clips = [signal.cpu().numpy() for signal in (e, r)]
        if not all(clip.any() for clip in clips):
            return torch.tensor(math.nan, dtype=torch.float64)
        ours, theirs = (_mel_cepstra(clip, sample_rate_hz) for clip in clips)
        gaps = np.sqrt(2 * np.square(ours - theirs).sum(axis=1))
        return torch.tensor(10 / math.log(10) * gaps.mean(), dtype=torch.float64)

    return per_clip(estimate, reference, value)


def _mel_cepstra(clip: Floats, sample_rate_hz: int) -> Floats:
    """Warped cepstra of WORLD's envelopes, shape ``(frames, 40)``."""
    from scipy.signal import firwin, lfilter

    world = _world()
    taps = firwin(_TAPS, _LOW_CUT_HZ / (sample_rate_hz // 2), pass_zero=False)
    samples = np.ascontiguousarray(lfilter(taps, 1, clip * np.iinfo(np.int16).max))
    with _one_world:
        f0, times = world.harvest(samples, sample_rate_hz, f0_floor=_F0_HZ[0], f0_ceil=_F0_HZ[1], frame_period=_STEP_MS)
        envelope = world.cheaptrick(samples, f0, times, sample_rate_hz, fft_size=_FFT)
    return warped_cepstra(np.asarray(envelope), _ORDER, _WARPING)


def _world() -> Any:
    with warnings.catch_warnings():
        # The package asks for its version by a module that is to be withdrawn.
        warnings.simplefilter("ignore")
        import pyworld

    return pyworld


def warped_cepstra(power: Floats, order: int, warping: float) -> Floats:
    """Mel cepstra of power spectra.

    Args:
        power: Power spectra, above 0, shape ``(frames, n_fft // 2 + 1)``.
        order: Highest coefficient.
        warping: Coefficient of the all-pass that bends the frequency axis, between 0 and 1.

    Returns:
        Coefficients 0 to ``order``, natural logarithm of the magnitude, shape ``(frames, order + 1)``.

    Source:
        Tokuda et al., "Mel-generalized cepstral analysis", ICSLP 1994, for the warping.
    """
    cepstra = np.fft.irfft(np.log(power))[:, : power.shape[1]]
    cepstra[:, 0] /= 2
    warped: Floats = cepstra @ _warp(power.shape[1], order, warping)
    return warped


@lru_cache(maxsize=4)
def _warp(terms: int, order: int, warping: float) -> Floats:
    """Powers of the all-pass ``(w + a) / (1 + a w)`` as series in ``w``, shape ``(terms, order + 1)``."""
    rows = np.zeros((terms, order + 1))
    rows[0, 0] = 1
    for n in range(1, terms):
        rows[n, 0] = warping * rows[n - 1, 0]
        for m in range(1, order + 1):
            rows[n, m] = rows[n - 1, m - 1] + warping * (rows[n - 1, m] - rows[n, m - 1])
    return rows
