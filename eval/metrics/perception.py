"""Models of hearing, computed by the packages that are their references.

* :func:`pesq`: quality of speech, ITU-T P.862 (package ``pesq``).
* :func:`stoi`, :func:`extended_stoi`: intelligibility of speech (package ``pystoi``).
* :func:`visqol`: quality of audio or speech (package ``visqol-python``).
* :func:`zimtohrli`: audible difference (package ``zimtohrli``).

Each works at rates of its own. A clip at another rate is resampled first, both signals alike, with the SoX resampler
at its very high quality; this is part of the definition. A clip is never resampled to a rate that is said to hold more
than it does. What a package reports as an error, or answers with a number that only stands for one, comes back as
``nan`` or raises. The work is done on the CPU, wherever the signals are.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics.pairs import per_clip

__all__ = ["extended_stoi", "pesq", "stoi", "visqol", "zimtohrli"]

Floats = NDArray[np.float64]

# What pystoi returns for a clip it has too few frames of.
_STOI_TOO_SHORT = 1e-5
# Length under which what is left of a vector of equal numbers is rounding.
_EVEN = 1e-14
_VISQOL_RATES = {"audio": 48_000, "speech": 16_000}
_local = threading.local()
_one_visqol = threading.Lock()


def pesq(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, mode: str = "wb") -> Tensor:
    """Perceptual evaluation of speech quality, as a mean opinion score.

    For speech only. Higher is better; 4.64 (wide band) or 4.55 (narrow band) for equal signals; not symmetric. Blind to
    level, to a constant delay and to what lies above 8 or 4 kHz.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both. ``"wb"`` needs at least 16 kHz and ``"nb"`` at least 8 kHz; other rates
            are resampled to 16 kHz, below 16 kHz to 8 kHz.
        mode: ``"wb"``, wide band (P.862.2), or ``"nb"``, narrow band (P.862.1).

    Returns:
        Score per clip, shape ``(...)``, float64, about 1 to 4.64; ``nan`` where no utterance is found in a signal or
        the clip is shorter than a quarter of a second.

    Raises:
        ValueError: If the shapes differ, there is no sample, the mode is unknown or the rate too low for it.
        RuntimeError: If the package fails in another way.

    Source:
        Recommendations ITU-T P.862 (2001), P.862.1 (2003) and P.862.2 (2007).
    """
    lowest = {"wb": 16_000, "nb": 8_000}.get(mode)
    if lowest is None:
        raise ValueError(f"mode is {mode!r}; known: wb, nb")
    if sample_rate_hz < lowest:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; PESQ {mode} needs {lowest} Hz or more")
    rate = 16_000 if sample_rate_hz >= 16_000 else 8_000
    import pesq as package

    def score(ours: Floats, theirs: Floats) -> float:
        try:
            return float(package.pesq(rate, theirs, ours, mode))
        except (package.NoUtterancesError, package.BufferTooShortError):
            return math.nan

    return _scored(estimate, reference, sample_rate_hz, rate, "pesq", score)


def stoi(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int) -> Tensor:
    """Short-time objective intelligibility.

    For speech only. Mean correlation of the envelopes of fifteen third-octave bands over 0.4 s, without the pauses of
    the reference. Higher is better; 1 for equal signals; not symmetric. Blind to level and to what lies above 4.3 kHz.
    :func:`extended_stoi` is its newer form.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both, at least 8 kHz; the package resamples to 10 kHz by its own polyphase
            filter, as the published results do.

    Returns:
        Correlation per clip, shape ``(...)``, float64, in ``[-1, 1]``; ``nan`` where a signal is silent or less than
        0.4 s of the reference is not.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the rate is below 8 kHz.
        RuntimeError: If the package fails.

    Source:
        Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech", IEEE TASLP
        19(7), 2011.
    """
    if sample_rate_hz < 8_000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; STOI needs 8000 Hz or more")
    import warnings

    from pystoi import stoi as package

    def score(ours: Floats, theirs: Floats) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = float(package(theirs, ours, sample_rate_hz))
        return math.nan if found == _STOI_TOO_SHORT else found

    return _scored(estimate, reference, sample_rate_hz, sample_rate_hz, "pystoi", score)


def extended_stoi(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int) -> Tensor:
    """Extended short-time objective intelligibility (ESTOI).

    For speech only, also where the noise comes and goes. Spectrograms of fifteen third-octave bands over 0.4 s, without
    the pauses of the reference, are made of zero mean and unit length along time and then along bands, and correlated.
    Higher is better; 1 for equal signals; symmetric but for the pauses. Blind to level and to what lies above 4.3 kHz.
    The front end is the package's. To its normalisation it adds noise of 2e-16, so that no two calls agree; here what
    has no length stays zero instead.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both, at least 8 kHz; the package resamples to 10 kHz by its own polyphase
            filter, as the published results do.

    Returns:
        Correlation per clip, shape ``(...)``, float64, in ``[-1, 1]``; ``nan`` where a signal is silent or less than
        0.4 s of the reference is not.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the rate is below 8 kHz.
        RuntimeError: If the package fails.

    Source:
        Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise maskers",
        IEEE/ACM TASLP 24(11), 2016.
    """
    if sample_rate_hz < 8_000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; STOI needs 8000 Hz or more")
    # In the package the name of the module stands for its function.
    module, utils = importlib.import_module("pystoi.stoi"), importlib.import_module("pystoi.utils")

    def score(ours: Floats, theirs: Floats) -> float:
        pair = (theirs, ours)
        if sample_rate_hz != module.FS:
            pair = tuple(utils.resample_oct(clip, module.FS, sample_rate_hz) for clip in pair)
        pair = utils.remove_silent_frames(*pair, module.DYN_RANGE, module.N_FRAME, module.N_FRAME // 2)
        spectra = [utils.stft(clip, module.N_FRAME, module.NFFT, overlap=2) for clip in pair]
        if len(spectra[0]) < module.N:
            return math.nan
        bands = [np.sqrt(np.square(np.abs(spectrum)) @ module.OBM.T) for spectrum in spectra]
        # Segments of so many frames, (segments, bands, frames).
        views = [np.lib.stride_tricks.sliding_window_view(values, module.N, axis=0) for values in bands]
        wanted, made = (_of_unit_length(_of_unit_length(view, -1), -2) for view in views)
        return float(np.sum(wanted * made) / (module.N * len(wanted)))

    return _scored(estimate, reference, sample_rate_hz, sample_rate_hz, "pystoi", score)


def _of_unit_length(values: Floats, axis: int) -> Floats:
    """Vectors along an axis, less their mean, of length 1; those of equal numbers become 0."""
    values = values - values.mean(axis=axis, keepdims=True)
    lengths = np.linalg.norm(values, axis=axis, keepdims=True)
    found: Floats = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > _EVEN)
    return found


def visqol(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int, mode: str = "audio") -> Tensor:
    """Virtual speech quality objective listener, as a mean opinion score.

    Higher is better; about 4.73 (audio) or 5 (speech) for equal signals; not symmetric. Blind to level and to a
    constant delay. Meant for clips of 5 to 10 s.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both. ``"audio"`` works at 48 kHz and ``"speech"`` at 16 kHz; other rates are
            resampled, for ``"audio"`` from 32 kHz on, for ``"speech"`` from 16 kHz on.
        mode: ``"audio"``, with the trained map from similarity to score, or ``"speech"``, with the polynomial one.

    Returns:
        Score per clip, shape ``(...)``, float64, in ``[1, 5]``; ``nan`` where a signal is silent or the package finds
        no part of the reference to compare.

    Raises:
        ValueError: If the shapes differ, there is no sample, the mode is unknown or the rate too low for it.
        RuntimeError: If the package fails.

    Source:
        Chinen et al., "ViSQOL v3: an open source production ready objective speech and audio metric", QoMEX 2020.
    """
    rate = _VISQOL_RATES.get(mode)
    if rate is None:
        raise ValueError(f"mode is {mode!r}; known: {', '.join(_VISQOL_RATES)}")
    lowest = 32_000 if mode == "audio" else rate
    if sample_rate_hz < lowest:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; ViSQOL {mode} needs {lowest} Hz or more")
    listener = _visqol(mode)

    def score(ours: Floats, theirs: Floats) -> float:
        # Where it finds numba, its threads end the whole program when two clips meet in them.
        with _one_visqol:
            return float(listener.measure_from_arrays(theirs, ours, rate).moslqo)

    return _scored(estimate, reference, sample_rate_hz, rate, "visqol-python", score)


def _visqol(mode: str) -> Any:
    """The listener of this thread; it keeps state while it measures."""
    listeners: dict[str, Any] | None = getattr(_local, "visqol", None)
    if listeners is None:
        listeners = _local.visqol = {}
    if mode not in listeners:
        from visqol import VisqolApi

        listener = VisqolApi()
        listener.create(mode=mode, use_lattice_model=False)
        listeners[mode] = listener
    return listeners[mode]


def zimtohrli(estimate: Tensor, reference: Tensor, *, sample_rate_hz: int) -> Tensor:
    """Audible difference by a model of the ear.

    0 for equal signals; lower is better. Differences far below the threshold of hearing read as almost nothing; full
    scale stands for 80 dB of sound pressure. Short and steady differences weigh little in a long clip.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both, at least 8 kHz; the model works at 48 kHz, other rates are resampled.

    Returns:
        Distance per clip, shape ``(...)``, float64, in ``[0, 1]``; ``nan`` where a signal is silent.

    Raises:
        ValueError: If the shapes differ, there is no sample, or the rate is below 8 kHz.
        RuntimeError: If the package fails.

    Source:
        Alakuijala et al., "Zimtohrli: an efficient psychoacoustic audio similarity metric", 2025.
    """
    if sample_rate_hz < 8_000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; Zimtohrli needs 8000 Hz or more")
    ear = _ear()

    def score(ours: Floats, theirs: Floats) -> float:
        return float(ear.distance(ours, theirs))

    return _scored(estimate, reference, sample_rate_hz, 48_000, "zimtohrli", score)


@lru_cache(maxsize=1)
def _ear() -> Any:
    from zimtohrli import Pyohrli

    return Pyohrli()


def _scored(
    estimate: Tensor,
    reference: Tensor,
    sample_rate_hz: int,
    rate_hz: int,
    package: str,
    score: Callable[[Floats, Floats], float],
) -> Tensor:
    def value(e: Tensor, r: Tensor) -> Tensor:
        clips = [signal.cpu().numpy() for signal in (e, r)]
        if not all(clip.any() for clip in clips):
            return torch.tensor(math.nan, dtype=torch.float64)
        clips = [_resampled(clip, sample_rate_hz, rate_hz) for clip in clips]
        try:
            found = score(*clips)
        except Exception as error:
            # Packages raise what they like; one kind of error is told from a wrong argument.
            raise RuntimeError(f"{package} failed: {type(error).__name__}: {error}") from error
        return torch.tensor(found if math.isfinite(found) else math.nan, dtype=torch.float64)

    return per_clip(estimate, reference, value)


def _resampled(clip: Floats, from_hz: int, to_hz: int) -> Floats:
    if from_hz == to_hz:
        return clip
    import soxr

    found: Floats = soxr.resample(clip, from_hz, to_hz, quality="VHQ")
    return found
