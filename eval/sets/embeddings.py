"""Embeddings that need no download: one vector a clip, from the clip's own spectra or from the shipped classifier.

========================  ======  ====================================================================================
name                      size    what it holds
========================  ======  ====================================================================================
``log_mel``               64      mean and deviation over time of 32 mel bands, dB
``mfcc``                  40      mean and deviation of 20 cosine coefficients of 40 log-mel bands, without the level
``chroma``                24      mean and deviation of the 12 pitch classes, the strongest of a frame at 1
``modulation``            64      level of 8 modulation bands (0.5 to 32 Hz) in 8 mel bands, dB below the mean
``note_classifier``       64      the layer before the answers of the shipped classifier of notes, at 16 kHz
``FILE``                  any     a network of the user's own, see `eval.sets.adapters`
========================  ======  ====================================================================================

The first four are computed in float64 by NumPy with settings in hertz and seconds, so that they do not change with the
sample rate as long as it reaches 15.2 kHz. Their bands begin at 40 Hz and end at 7,600 Hz. Levels are floored 80 dB
under the loudest band of the clip.

A clip that is silent, too short or holds NaN has no vector; it raises `Undefined` or ``ValueError``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.metrics.frontend import hann, mel_filters
from eval.sets.definition import CLASSIFIER, EMBEDDING_NAMES, Undefined
from models.errors import InputError

Floats = NDArray[np.float64]

SILENCE_PEAK = 2.0**-24
LOW_HZ, HIGH_HZ = 40.0, 7_600.0
RANGE_DB = 80.0
WINDOW_S, HOP_S = 0.064, 0.016


@dataclasses.dataclass(frozen=True)
class Vector:
    """What an embedding gives for a clip.

    Attributes:
        values: float64, shape ``(d,)``.
        pitch: Probability of each MIDI number where the embedding is the classifier, shape ``(128,)``.
        family: Probability of each instrument family, shape ``(11,)``.
    """

    values: Floats
    pitch: Floats | None = None
    family: Floats | None = None


class Embedding(Protocol):
    """Turns clips into vectors."""

    @property
    def name(self) -> str:
        """Identifier in results."""

    @property
    def sample_rate_hz(self) -> int | None:
        """The rate that it hears; ``None`` where any rate from 15.2 kHz will do."""

    def embed(self, waveform: NDArray[Any], sample_rate_hz: int) -> Vector:
        """Vector of one clip ``(time,)``, full scale at 1.

        Raises:
            Undefined: If the clip is silent or too short.
            ValueError: If the rate does not fit or a sample is not finite.
        """

    def describe(self) -> dict[str, object]:
        """What decides its numbers, ready for JSON."""


def check_clip(waveform: NDArray[Any], least_samples: int) -> Floats:
    """One clip as float64.

    Raises:
        ValueError: If it is not one-dimensional or a sample is not finite.
        Undefined: If it is shorter than ``least_samples`` or silent.
    """
    clip = np.asarray(waveform, dtype=np.float64)
    if clip.ndim != 1:
        raise ValueError(f"a clip of shape (time,) is needed, got {clip.shape}")
    if not np.isfinite(clip).all():
        raise ValueError("the clip holds samples that are not finite numbers")
    if len(clip) < least_samples:
        raise Undefined(f"the clip has {len(clip)} samples, this embedding needs {least_samples}")
    if np.abs(clip).max() <= SILENCE_PEAK:
        raise Undefined("the clip is silent")
    return clip


def power_spectrogram(clip: Floats, sample_rate_hz: int, window_s: float, hop_s: float) -> Floats:
    """Power ``(frames, bins)`` of whole Hann windows, scaled so that a full-scale sine peaks at 1 at every rate."""
    length = 2 * round(window_s * sample_rate_hz / 2)
    hop = round(hop_s * sample_rate_hz)
    frames = np.lib.stride_tricks.sliding_window_view(clip, length)[::hop]
    spectrum = np.fft.rfft(frames * hann(length), axis=1)
    out: Floats = np.abs(spectrum) * (2.0 / hann(length).sum())
    return out * out


def mel_power(clip: Floats, sample_rate_hz: int, bands: int) -> Floats:
    """Power ``(frames, bands)`` in mel bands, their weights summing to 1."""
    power = power_spectrogram(clip, sample_rate_hz, WINDOW_S, HOP_S)
    n_fft = 2 * (power.shape[1] - 1)
    filters = mel_filters(sample_rate_hz, n_fft, bands, f_min_hz=LOW_HZ, f_max_hz=HIGH_HZ)
    out: Floats = power @ (filters / filters.sum(axis=1, keepdims=True)).T
    return out


def decibels(power: Floats) -> Floats:
    """Levels in dB, floored `RANGE_DB` under the strongest one."""
    out: Floats = 10.0 * np.log10(np.maximum(power, power.max() * 10.0 ** (-RANGE_DB / 10.0)))
    return out


def mean_and_deviation(rows: Floats) -> Floats:
    """Mean and standard deviation of every column, one after the other."""
    return np.concatenate([rows.mean(axis=0), rows.std(axis=0)])


def log_mel_statistics(clip: Floats, sample_rate_hz: int, *, bands: int = 32) -> Floats:
    """Mean and deviation over time of mel levels in dB, shape ``(2 * bands,)``."""
    return mean_and_deviation(decibels(mel_power(clip, sample_rate_hz, bands)))


def mfcc_statistics(clip: Floats, sample_rate_hz: int, *, bands: int = 40, coefficients: int = 20) -> Floats:
    """Mean and deviation of cosine coefficients 1, 2 … of mel levels in dB, shape ``(2 * coefficients,)``.

    The orthonormal transform; coefficient 0, the level, is left out, so that gain changes nothing.
    """
    levels = decibels(mel_power(clip, sample_rate_hz, bands))
    order = np.arange(1, coefficients + 1)[:, None]
    basis = np.sqrt(2.0 / bands) * np.cos(np.pi * order * (np.arange(bands) + 0.5) / bands)
    return mean_and_deviation(levels @ basis.T)


@lru_cache(maxsize=8)
def _chroma_filters(sample_rate_hz: int, bins: int) -> Floats:
    """Weights ``(12, bins)``: every bin goes to the pitch classes around it, falling off like a Gaussian."""
    frequency = np.arange(bins) * (sample_rate_hz / (2.0 * (bins - 1)))
    heard = (frequency >= 80.0) & (frequency <= 4_000.0)
    semitone = 69.0 + 12.0 * np.log2(np.maximum(frequency, 1.0) / 440.0)
    gap = (semitone[None] - np.arange(12)[:, None] + 6.0) % 12.0 - 6.0
    weights: Floats = np.exp(-0.5 * (gap / 0.5) ** 2) * heard
    weights.setflags(write=False)
    return weights


def chroma_statistics(clip: Floats, sample_rate_hz: int) -> Floats:
    """Mean and deviation of the 12 pitch classes from C on, the strongest of every frame at 1, shape ``(24,)``.

    Frames more than 80 dB under the loudest one are left out.
    """
    power = power_spectrogram(clip, sample_rate_hz, 0.256, 0.064)
    chroma = power @ _chroma_filters(sample_rate_hz, power.shape[1]).T
    peak = chroma.max(axis=1)
    if not peak.max() > 0:
        raise Undefined("the clip has no energy between 80 and 4,000 Hz")
    loud = peak > peak.max() * 10.0 ** (-RANGE_DB / 10.0)
    return mean_and_deviation(chroma[loud] / peak[loud, None])


def modulation_statistics(clip: Floats, sample_rate_hz: int, *, bands: int = 8, modulations: int = 8) -> Floats:
    """Level of the envelope's modulations relative to its mean, dB, shape ``(bands * modulations,)``.

    The envelope is the magnitude in ``bands`` mel bands every 8 ms; its spectrum over the whole clip is summed within
    ``modulations`` bands from 0.5 to 32 Hz, spaced by their logarithm, and floored at -80 dB.
    """
    power = power_spectrogram(clip, sample_rate_hz, 0.032, 0.008)
    filters = mel_filters(sample_rate_hz, 2 * (power.shape[1] - 1), bands, f_min_hz=LOW_HZ, f_max_hz=HIGH_HZ)
    envelope = np.sqrt(power @ filters.T)
    mean = envelope.mean(axis=0)
    window = hann(len(envelope))[:, None]
    length = max(8192, 1 << (len(envelope) - 1).bit_length())
    spectrum = np.abs(np.fft.rfft((envelope - mean) * window, n=length, axis=0)) ** 2
    frame_s = round(0.008 * sample_rate_hz) / sample_rate_hz
    frequency = np.arange(len(spectrum)) / (length * frame_s)
    edges = np.geomspace(0.5, 32.0, modulations + 1)
    place = np.searchsorted(edges, frequency, side="right") - 1
    sums = np.stack([spectrum[place == i].sum(axis=0) for i in range(modulations)])
    share = sums / (length * float((window**2).sum()) * np.maximum(mean, 1e-300) ** 2)
    out: Floats = 10.0 * np.log10(np.maximum(share, 10.0 ** (-RANGE_DB / 10.0)))
    return out.T.reshape(-1)


@dataclasses.dataclass(frozen=True)
class Statistics:
    """An embedding by a function of the samples.

    Attributes:
        name: Identifier.
        function: ``(clip, sample_rate_hz) -> (d,)``.
        dimensions: d.
        least_s: Shortest clip.
        version: Raised whenever the numbers change.
        sample_rate_hz: Always ``None``.
    """

    name: str
    function: Callable[[Floats, int], Floats]
    dimensions: int
    least_s: float
    version: int = 1
    sample_rate_hz: int | None = None

    def embed(self, waveform: NDArray[Any], sample_rate_hz: int) -> Vector:
        """Vector of one clip; see `Embedding`."""
        if sample_rate_hz < 2 * HIGH_HZ:
            raise ValueError(
                f"{self.name} needs a sample rate of {2 * HIGH_HZ:.0f} Hz or more, got {sample_rate_hz} Hz"
            )
        clip = check_clip(waveform, round(self.least_s * sample_rate_hz) + 1)
        return Vector(self.function(clip, sample_rate_hz))

    def describe(self) -> dict[str, object]:
        """Name, version and size."""
        return _with_hash({"name": self.name, "version": self.version, "dimensions": self.dimensions})


STATISTICS: Mapping[str, Statistics] = MappingProxyType(
    {
        made.name: made
        for made in (
            Statistics("log_mel", log_mel_statistics, 64, 0.128),
            Statistics("mfcc", mfcc_statistics, 40, 0.128),
            Statistics("chroma", chroma_statistics, 24, 0.384),
            Statistics("modulation", modulation_statistics, 64, 2.0),
        )
    }
)

EMBEDDINGS = EMBEDDING_NAMES


class ClassifierEmbedding:
    """The layer before the answers of the shipped classifier of notes, with its answers.

    Args:
        checkpoint: Another checkpoint's folder; the shipped one for None.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights cannot be used.
    """

    name = CLASSIFIER

    def __init__(self, checkpoint: Path | None = None, device: str = "cpu") -> None:
        from models import registry

        self.model = registry.load(CLASSIFIER, checkpoint=checkpoint, device=device)
        self.sample_rate_hz: int | None = int(self.model.sample_rate_hz)

    def embed(self, waveform: NDArray[Any], sample_rate_hz: int) -> Vector:
        """Vector and answers of one clip; see `Embedding`."""
        import torch

        clip = check_clip(waveform, round(0.1 * sample_rate_hz))
        judged = self.model.judge(torch.from_numpy(clip)[None].float(), sample_rate_hz=sample_rate_hz)
        return Vector(judged.embedding[0].numpy(), judged.pitch[0].numpy(), judged.family[0].numpy())

    def describe(self) -> dict[str, object]:
        """Name, size and hash of the weights."""
        return _with_hash(
            {
                "name": self.name,
                "version": 1,
                "dimensions": self.model.config.embedding,
                "sample_rate_hz": self.sample_rate_hz,
                "weights_sha256": self.model.card["tensors_sha256"],
                "frontend_sha256": self.model.card["frontend"]["sha256"],
            }
        )


def _with_hash(facts: dict[str, object]) -> dict[str, object]:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return {**facts, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def open_embedding(name: str, *, device: str = "cpu") -> Embedding:
    """An embedding by its name, or by the path of a network's file.

    Raises:
        InputError: If there is no such name or file.
        CheckpointError: If weights cannot be used.
    """
    if name in STATISTICS:
        return STATISTICS[name]
    if name == CLASSIFIER:
        return ClassifierEmbedding(device=device)
    if Path(name).suffix:
        from eval.sets.adapters import FileEmbedding

        return FileEmbedding(Path(name))
    raise InputError(f"embedding {name!r} is unknown; known: {', '.join(EMBEDDINGS)}, or the file of a network")
