"""How well a clip keeps to the pitch classes of another.

:func:`chroma_cosine` compares chroma vectors frame by frame: the energy of the twelve pitch classes, over all octaves.
The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.frontend import Stft
from eval.metrics.pairs import per_clip
from eval.metrics.spectra import Floats, spectra, window

__all__ = ["chroma_cosine", "chroma_filters"]

_CLASSES = 12
_CENTRE_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0


@lru_cache(maxsize=16)
def chroma_filters(sample_rate_hz: int, n_fft: int) -> NDArray[np.float64]:
    """Weights from the bins of a transform to the twelve pitch classes, C first, equal to ``librosa.filters.chroma``.

    Each bin is shared among the classes by a bell around its pitch, as wide as the bins lie apart, scaled to unit
    energy, and weighed by a bell of two octaves around the fifth octave (A4 is 440 Hz).

    Args:
        sample_rate_hz: Sample rate of the signal.
        n_fft: Length of the transform.

    Returns:
        Weights of shape ``(12, n_fft // 2 + 1)``, float64, read-only.

    Source:
        Ellis, "Chroma feature analysis and synthesis", LabROSA, 2007.
    """
    frequency = np.arange(1, n_fft) * (sample_rate_hz / n_fft)
    pitch = _CLASSES * np.log2(frequency / (440.0 / 16))
    # The bin at 0 Hz is put one and a half octaves under the next.
    pitch = np.concatenate(([pitch[0] - 1.5 * _CLASSES], pitch))
    width = np.concatenate((np.maximum(np.diff(pitch), 1.0), [1.0]))
    half = _CLASSES // 2
    distance = np.remainder(pitch - np.arange(_CLASSES)[:, None] + half + 10 * _CLASSES, _CLASSES) - half
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)
    weights /= np.sqrt(np.square(weights).sum(axis=0))
    weights *= np.exp(-0.5 * ((pitch / _CLASSES - _CENTRE_OCTAVE) / _OCTAVE_WIDTH) ** 2)
    # Pitches were counted from A.
    filters = np.ascontiguousarray(np.roll(weights, -3, axis=0)[:, : n_fft // 2 + 1])
    filters.setflags(write=False)
    return filters


def chroma_cosine(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    n_fft: int = 4096,
    hop_length: int = 1024,
    floor: float = 1e-6,
    eps: float = 1e-8,
) -> Tensor:
    """Mean cosine between the chroma vectors of two clips.

    Chroma of the power spectrum, scaled to a largest class of 1 in each frame. 1 for equal pitch classes; higher is
    better; symmetric. Blind to octave, timbre and level; two unrelated pieces in the same key score high. Frames in
    which one signal is digitally silent score 0; ``floor`` and ``eps`` weigh such frames and no others.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        n_fft: Length of the transform and its Hann window in samples, even.
        hop_length: Step between frames in samples; the last frame begins before the end of the clip.
        floor: Smallest divisor in scaling a frame.
        eps: Smallest product of the norms of two chroma vectors.

    Returns:
        Cosine per clip, shape ``(...)``, float64, in ``[0, 1]``.

    Raises:
        ValueError: If the shapes differ or ``time`` is shorter than ``n_fft``.

    Source:
        Copet et al., "Simple and controllable music generation", NeurIPS 2023; parameters of audiocraft's metric, at
        the clips' own sample rate.
    """
    settings = Stft(n_fft, hop_length, n_fft, "reflect")

    def value(e: Tensor, r: Tensor) -> Tensor:
        frames = -(-e.numel() // hop_length)
        ours, theirs = (_chroma(x.cpu().numpy(), sample_rate_hz, settings, floor)[:frames] for x in (e, r))
        norms = np.sqrt(np.vecdot(ours, ours) * np.vecdot(theirs, theirs))
        cosine = np.vecdot(ours, theirs) / np.maximum(norms, eps)
        return torch.tensor(float(cosine.mean()), dtype=torch.float64)

    return per_clip(estimate, reference, value)


def _chroma(signal: Floats, sample_rate_hz: int, settings: Stft, floor: float) -> Floats:
    filters = chroma_filters(sample_rate_hz, settings.n_fft).T
    scale = float(np.square(window(settings)).sum())
    found = [np.matmul((np.square(s.real) + np.square(s.imag)) / scale, filters) for s in spectra(signal, settings)]
    chroma = np.concatenate(found)
    return np.asarray(chroma / np.maximum(chroma.max(axis=1, keepdims=True), floor))
