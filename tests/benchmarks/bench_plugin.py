"""The metrics of this project as rows of a side-by-side benchmark: ``register(suite, data)`` adds them.

The benchmark times every row on one clip and on a batch and passes the signals: ``data["X"]`` and ``data["Y"]`` are
float32 arrays ``(batch, samples)``, a reference and its reconstruction, at ``data["sr"]`` hertz. The root of the
project has to be on the import path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.metrics import chosen
from eval.metrics.alignment import aligned_correlation
from eval.metrics.cepstral import mel_cepstral_distortion, mel_cepstral_distortion_dtw
from eval.metrics.frontend import Stft
from eval.metrics.kernels import kernel_for
from eval.metrics.mel_distance import multi_scale_mel
from eval.metrics.scoring import score_batch
from eval.metrics.sdr import sdr
from eval.metrics.spectral import log_mel_l1, log_spectral_distance, multi_resolution_stft
from eval.metrics.tiles import tiles
from eval.metrics.waveform import segmental_snr, si_sdr, waveform_l1, waveform_mse


def magnitudes(signals: Tensor, settings: Stft) -> float:
    """Magnitude spectrograms of a batch, tile by tile; the largest value, so that all of them are needed."""
    kernel = kernel_for(signals.device)
    largest = 0.0
    for signal in signals:
        for tile in tiles(kernel, [kernel.from_tensor(signal)], settings):
            largest = max(largest, float(tile.magnitudes()[0, 0, 0]))
    return largest


def register(suite: Any, data: dict[str, Any]) -> None:
    """Add our rows to a benchmark.

    Args:
        suite: Where rows are added.
        data: Signals and their sample rates.
    """
    rate = int(data["sr"])
    reference, estimate = (torch.from_numpy(np.ascontiguousarray(data[key])) for key in ("X", "Y"))

    def add(name: str, work: Callable[[Tensor, Tensor], Tensor]) -> None:
        suite.add(
            f"ours {name}",
            lambda: work(estimate[:1], reference[:1]),
            lambda: work(estimate, reference),
            group="ours",
            value=lambda: float(work(estimate[:1], reference[:1])[0]),
        )

    for precision in ("adaptive", "float64", "float32"):
        settings = Stft(2048, 512, 2048, "constant", precision)
        suite.add(
            f"ours magnitude STFT 2048/512 {precision}",
            lambda settings=settings: magnitudes(reference[:1], settings),
            lambda settings=settings: magnitudes(reference, settings),
            group="ours",
        )
        add(
            f"multi-resolution STFT {precision}",
            lambda e, r, precision=precision: multi_resolution_stft(e, r, precision=precision),
        )
        add(
            f"seven-scale mel {precision}",
            lambda e, r, precision=precision: multi_scale_mel(e, r, sample_rate_hz=rate, precision=precision),
        )
    add("log-mel L1 2048/512/128", lambda e, r: log_mel_l1(e, r, sample_rate_hz=rate))
    add("log-spectral distance 2048/512", log_spectral_distance)
    add("mel-cepstral distortion", lambda e, r: mel_cepstral_distortion(e, r, sample_rate_hz=rate))
    add("mel-cepstral distortion, warped", lambda e, r: mel_cepstral_distortion_dtw(e, r, sample_rate_hz=rate))
    add("L1 + MSE waveform", lambda e, r: waveform_l1(e, r) + waveform_mse(e, r))
    add("SI-SDR", si_sdr)
    add("segmental SNR", lambda e, r: segmental_snr(e, r, sample_rate_hz=rate))
    add("SDR (512-tap)", sdr)
    add("alignment", lambda e, r: aligned_correlation(e, r, sample_rate_hz=rate))
    names = chosen(())
    suite.add(
        "ours default battery",
        lambda: score_batch(estimate[:1], reference[:1], sample_rate_hz=rate, names=names),
        lambda: score_batch(estimate, reference, sample_rate_hz=rate, names=names),
        group="ours",
        note=f"{len(names)} metrics",
    )
