"""Griffin-Lim on the front end of the vocoders: what they have to beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.batching import check_waveform
from models.errors import InputError
from models.frontends.mel import expand
from models.frontends.phase_recovery import (
    INITIAL_PHASES,
    griffin_lim,
    initial_phase,
    mel_to_magnitude_nnls,
    mel_to_magnitude_pinv,
)
from models.frontends.settings import later, plain
from models.vocoder import HOP_SAMPLES, vocoder_frontend, vocoder_mel

INVERSES = ("nnls", "pinv")


@dataclasses.dataclass(frozen=True)
class GriffinLimVocoderConfig:
    """Settings of the baseline.

    Attributes:
        n_mels: Bands of the front end.
        inverse: From bands to magnitudes: ``"nnls"``, non-negative least squares, or ``"pinv"``, pseudo-inverse.
        nnls_iterations: Rounds of the former.
        iterations: Rounds of Griffin-Lim.
        momentum: 0.99 is the fast algorithm, 0 the classic one.
        initial_phase: One of ``INITIAL_PHASES``; from an integrated one, 8 rounds come nearer than 32 from noise.
    """

    n_mels: int = 128
    inverse: str = "nnls"
    nnls_iterations: int = 60
    iterations: int = 32
    momentum: float = 0.99
    initial_phase: str = later("random")

    def __post_init__(self) -> None:
        if self.inverse not in INVERSES:
            raise ValueError(f"inverse must be one of {', '.join(INVERSES)}, got {self.inverse!r}")
        if self.initial_phase not in INITIAL_PHASES:
            raise ValueError(f"initial_phase must be one of {', '.join(INITIAL_PHASES)}, got {self.initial_phase!r}")


class GriffinLimVocoder:
    """Log-mel of the vocoders, back to magnitudes, Griffin-Lim from a seeded random phase or an integrated one.

    Args:
        checkpoint: Must be ``None``; there is nothing to load.
        device: Where to compute.
        config: Settings.

    Raises:
        InputError: If a checkpoint is given.
    """

    name = "griffin_lim_mel"
    title = "Griffin-Lim, vocoders' mel"
    parameters = 0
    deterministic = True

    def __init__(
        self, *, checkpoint: Path | None = None, device: str = "cpu", config: GriffinLimVocoderConfig | None = None
    ) -> None:
        if checkpoint is not None:
            raise InputError(f"{self.name}: has no weights, got checkpoint {checkpoint}")
        self.device = torch.device(device)
        self.config = config or GriffinLimVocoderConfig()
        self.frontend = vocoder_frontend(self.config.n_mels)
        self.sample_rate_hz: int | None = self.frontend.sample_rate_hz

    @torch.no_grad()
    def vocode(self, mel: Tensor, *, seeds: Sequence[int] | None = None) -> Tensor:
        """Waveform ``(batch, frames * 256)`` of a log-mel.

        Rows are worked on one by one, so that none can depend on another.

        Args:
            mel: Shape ``(batch, n_mels, frames >= 2)``, of the front end `frontend`.
            seeds: Seed of the starting phase of each row; zeros by default.

        Raises:
            InputError: If the shape is another or a value is not finite.
        """
        n = self.config.n_mels
        if mel.ndim != 3 or mel.shape[1] != n or mel.shape[2] < 2:
            raise InputError(f"{self.name}: mel must have shape (batch, {n}, frames >= 2), got {tuple(mel.shape)}")
        if not bool(torch.isfinite(mel).all()):
            raise InputError(f"{self.name}: mel holds values that are not finite numbers")
        rows = [self._one(row[None], seed) for row, seed in zip(mel, seeds or [0] * mel.shape[0], strict=True)]
        return torch.cat(rows).clone() if rows else torch.zeros(0, mel.shape[2] * HOP_SAMPLES)

    def _one(self, mel: Tensor, seed: int) -> Tensor:
        bands = expand(mel.to(self.device, torch.float32), self.frontend)
        if self.config.inverse == "nnls":
            magnitude = mel_to_magnitude_nnls(bands, self.frontend, iterations=self.config.nnls_iterations)
        else:
            magnitude = mel_to_magnitude_pinv(bands, self.frontend)
        return griffin_lim(
            magnitude,
            self.frontend.stft,
            length=mel.shape[2] * HOP_SAMPLES,
            iterations=self.config.iterations,
            momentum=self.config.momentum,
            start=initial_phase(magnitude, self.frontend.stft, kind=self.config.initial_phase, seeds=[seed]),
        ).cpu()

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` rebuilt from its log-mel.

        Args:
            waveform: Full scale 1, shape ``(batch, time)``.
            sample_rate_hz: 22,050.
            seeds: Seed of the starting phase of each row.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=seeds, expected_hz=self.sample_rate_hz, name=self.name
        )
        if waveform.shape[0] == 0:
            return waveform.clone()
        mel = torch.cat([vocoder_mel(row[None].to(self.device), self.frontend) for row in waveform])
        return self.vocode(mel, seeds=seeds)[:, : waveform.shape[1]].to(waveform).clone()

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def describe(self) -> dict[str, object]:
        """Settings and front end."""
        return {
            "name": self.name,
            "config": plain(self.config),
            "frontend": {"settings": self.frontend.as_dict(), "sha256": self.frontend.sha256()},
            "checkpoint": None,
            "parameters": 0,
        }
