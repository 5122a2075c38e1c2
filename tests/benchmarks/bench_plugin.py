"""The metrics of this project as rows of a side-by-side benchmark: ``register(suite, data)`` adds them.

The benchmark times every row on one clip and on a batch and passes the signals: ``data["X"]`` and ``data["Y"]`` are
float32 arrays ``(batch, samples)``, a reference and its reconstruction, at ``data["sr"]`` hertz. The root of the
project has to be on the import path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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
from models.frontends.phase_recovery import griffin_lim, initial_phase
from models.frontends.stft import StftConfig, stft


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
    _add_phase_recovery(suite, reference, rate)
    names = chosen(())
    suite.add(
        "ours default battery",
        lambda: score_batch(estimate[:1], reference[:1], sample_rate_hz=rate, names=names),
        lambda: score_batch(estimate, reference, sample_rate_hz=rate, names=names),
        group="ours",
        note=f"{len(names)} metrics",
    )
    suite.add(
        "rivals for the default battery, one after another",
        lambda: rivals(estimate[:1], reference[:1], rate),
        lambda: [rivals(estimate[row : row + 1], reference[row : row + 1], rate) for row in range(len(estimate))],
        group="ours",
        need=("auraloss", "torchmetrics"),
        note="auraloss, torchmetrics and torch, a clip at a time, which is their faster way",
    )


def rivals(estimate: Tensor, reference: Tensor, rate: int) -> list[float]:
    """What a user of the usual libraries calls for the nine metrics of the default battery."""
    resolutions, mel, stft = _auraloss(rate)
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    window = torch.hann_window(2048)
    logs = [
        torch.stft(signal, 2048, 512, window=window, return_complex=True).abs().square().clamp(min=1e-8).log10()
        for signal in (estimate, reference)
    ]
    gap = 10 * (logs[0] - logs[1]).square().mean(-2).sqrt().mean(-1)
    batch = estimate[:, None], reference[:, None]
    values = (
        torch.nn.functional.l1_loss(estimate, reference),
        torch.nn.functional.mse_loss(estimate, reference),
        scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True),
        mel(*batch),
        stft(*batch),  # spectral convergence, log and linear magnitude in one call
        resolutions(*batch),
        gap,
    )
    return [float(value) for value in values]


@lru_cache(maxsize=4)
def _auraloss(rate: int) -> tuple[Any, Any, Any]:
    from auraloss.freq import MelSTFTLoss, MultiResolutionSTFTLoss, STFTLoss

    return (
        MultiResolutionSTFTLoss(),
        MelSTFTLoss(rate, 2048, 512, 2048, n_mels=128),
        STFTLoss(2048, 512, 2048, w_lin_mag=1.0),
    )


def _add_phase_recovery(suite: Any, reference: Tensor, rate: int) -> None:
    """Griffin-Lim beside that of librosa, whose value is the spectral convergence in dB too."""
    config = StftConfig(2048, 512, 2048, padding="zeros")
    magnitude = stft(reference[:8], config).abs()
    length = reference.shape[1]

    def recover(target: Tensor, kind: str, rounds: int) -> Tensor:
        start = initial_phase(target, config, kind=kind, seeds=range(len(target)))
        return griffin_lim(target, config, length=length, iterations=rounds, start=start)

    def convergence_db(kind: str, rounds: int) -> float:
        target = magnitude[:1]
        error = stft(recover(target, kind, rounds), config).abs() - target
        return 20 * float(torch.log10(torch.linalg.vector_norm(error) / torch.linalg.vector_norm(target)))

    for kind, rounds in (("random", 32), ("random", 48), ("integrated", 0), ("integrated", 4), ("integrated", 8)):
        suite.add(
            f"ours Griffin-Lim, {kind} phase, {rounds} it",
            lambda kind=kind, rounds=rounds: recover(magnitude[:1], kind, rounds),
            lambda kind=kind, rounds=rounds: recover(magnitude, kind, rounds),
            batch=len(magnitude),
            group="ours: phase",
            value=lambda kind=kind, rounds=rounds: convergence_db(kind, rounds),
        )
