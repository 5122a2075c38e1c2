"""Griffin-Lim from a log-mel: the baseline that learns nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.batching import check_waveform
from models.errors import InputError
from models.frontends.mel import MelConfig, expand, log_mel
from models.frontends.phase_recovery import INITIAL_PHASES, griffin_lim, initial_phase, mel_to_magnitude_nnls
from models.frontends.settings import later, plain
from models.frontends.stft import StftConfig


@dataclasses.dataclass(frozen=True)
class GriffinLimConfig:
    """Settings of the baseline.

    Attributes:
        window_s: Window length aimed at; the nearest power of two in samples is used, hop a quarter of it.
        n_mels: Bands from 0 Hz to half the sample rate.
        floor: Least mel magnitude.
        nnls_iterations: Rounds from mel bands to STFT magnitudes.
        iterations: Rounds of Griffin-Lim.
        momentum: 0.99 is the fast algorithm.
        initial_phase: One of ``INITIAL_PHASES``; from an integrated one, 8 rounds come nearer than 32 from noise.
    """

    window_s: float = 0.064
    n_mels: int = 128
    floor: float = 1e-5
    nnls_iterations: int = 60
    iterations: int = 32
    momentum: float = 0.99
    initial_phase: str = later("random")

    def __post_init__(self) -> None:
        if self.initial_phase not in INITIAL_PHASES:
            raise ValueError(f"initial_phase must be one of {', '.join(INITIAL_PHASES)}, got {self.initial_phase!r}")

    def frontend(self, sample_rate_hz: int) -> MelConfig:
        """Mel settings at a sample rate."""
        n_fft = max(16, 2 ** round(torch.log2(torch.tensor(self.window_s * sample_rate_hz)).item()))
        return MelConfig(
            sample_rate_hz=sample_rate_hz,
            stft=StftConfig(n_fft, n_fft // 4, n_fft, padding="zeros"),
            n_mels=min(self.n_mels, n_fft // 8),
            floor=self.floor,
        )


class GriffinLimSystem:
    """Log-mel, non-negative least squares, fast Griffin-Lim from a seeded random phase or an integrated one.

    Args:
        checkpoint: Must be ``None``; there is nothing to load.
        device: Where to compute.
        config: Settings.
    """

    name = "griffin_lim"
    title = "Griffin-Lim"
    sample_rate_hz: int | None = None
    parameters = 0
    deterministic = True

    def __init__(
        self, *, checkpoint: Path | None = None, device: str = "cpu", config: GriffinLimConfig | None = None
    ) -> None:
        if checkpoint is not None:
            raise InputError(f"{self.name}: has no weights, got checkpoint {checkpoint}")
        self.device = torch.device(device)
        self.config = config or GriffinLimConfig()

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` rebuilt from its log-mel.

        Rows are worked on one by one: on a CPU that is faster than a batch, and no row can depend on another.

        Args:
            waveform: Full scale 1, shape ``(batch, time)``.
            sample_rate_hz: Any rate.
            seeds: Seed of the starting phase of each row.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(waveform, sample_rate_hz=sample_rate_hz, seeds=seeds, expected_hz=None, name=self.name)
        mel_config = self.config.frontend(sample_rate_hz)
        rows = [
            self._one(row[None].to(self.device, torch.float32), mel_config, seed)
            for row, seed in zip(waveform, seeds, strict=True)
        ]
        return torch.cat(rows).to(waveform) if rows else waveform.clone()

    def _one(self, row: Tensor, mel_config: MelConfig, seed: int) -> Tensor:
        mel = expand(log_mel(row, mel_config), mel_config)
        magnitude = mel_to_magnitude_nnls(mel, mel_config, iterations=self.config.nnls_iterations)
        return griffin_lim(
            magnitude,
            mel_config.stft,
            length=row.shape[1],
            iterations=self.config.iterations,
            momentum=self.config.momentum,
            start=initial_phase(magnitude, mel_config.stft, kind=self.config.initial_phase, seeds=[seed]),
        )

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def describe(self) -> dict[str, object]:
        """Settings; those of the front end depend on the clip's rate and are given at 16 kHz."""
        frontend = self.config.frontend(16_000)
        return {
            "name": self.name,
            "config": plain(self.config),
            "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
            "checkpoint": None,
            "parameters": 0,
        }
