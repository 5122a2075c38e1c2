"""Test signals with known answers: tones, chirps, noise, clicks and silence, as float32 at full scale 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]


def _frames(duration_s: float, sample_rate_hz: int) -> int:
    return round(duration_s * sample_rate_hz)


def tone(
    frequency_hz: float = 440.0,
    duration_s: float = 1.0,
    sample_rate_hz: int = 16_000,
    *,
    amplitude: float = 0.5,
    phase: float = 0.0,
) -> Signal:
    """A sine, shape ``(time,)``."""
    time = np.arange(_frames(duration_s, sample_rate_hz)) / sample_rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time + phase)).astype(np.float32)


def harmonic(
    frequency_hz: float = 220.0,
    duration_s: float = 1.0,
    sample_rate_hz: int = 16_000,
    *,
    amplitude: float = 0.5,
    partials: int = 8,
) -> Signal:
    """Partials falling as 1/n below the Nyquist frequency, scaled to a peak of ``amplitude``."""
    time = np.arange(_frames(duration_s, sample_rate_hz)) / sample_rate_hz
    total = np.zeros(time.size)
    for number in range(1, partials + 1):
        if number * frequency_hz < sample_rate_hz / 2:
            total += np.sin(2 * np.pi * number * frequency_hz * time) / number
    return (amplitude * total / max(float(np.abs(total).max()), 1e-12)).astype(np.float32)


def chirp(
    start_hz: float = 50.0,
    end_hz: float = 7_000.0,
    duration_s: float = 1.0,
    sample_rate_hz: int = 16_000,
    *,
    amplitude: float = 0.5,
) -> Signal:
    """An exponential sweep; the frequency at time t is ``start * (end / start) ** (t / duration)``."""
    time = np.arange(_frames(duration_s, sample_rate_hz)) / sample_rate_hz
    ratio = np.log(end_hz / start_hz)
    angle = 2 * np.pi * start_hz * duration_s / ratio * (np.exp(ratio * time / duration_s) - 1)
    return (amplitude * np.sin(angle)).astype(np.float32)


def noise(duration_s: float = 1.0, sample_rate_hz: int = 16_000, *, amplitude: float = 0.1, seed: int = 0) -> Signal:
    """White Gaussian noise with standard deviation ``amplitude``."""
    generator = np.random.default_rng(seed)
    return (amplitude * generator.standard_normal(_frames(duration_s, sample_rate_hz))).astype(np.float32)


def click(
    at_s: float = 0.5, duration_s: float = 1.0, sample_rate_hz: int = 16_000, *, amplitude: float = 1.0
) -> Signal:
    """Zeros with a single sample of ``amplitude``."""
    signal = np.zeros(_frames(duration_s, sample_rate_hz), np.float32)
    signal[_frames(at_s, sample_rate_hz)] = amplitude
    return signal


def silence(duration_s: float = 1.0, sample_rate_hz: int = 16_000) -> Signal:
    """Zeros."""
    return np.zeros(_frames(duration_s, sample_rate_hz), np.float32)
