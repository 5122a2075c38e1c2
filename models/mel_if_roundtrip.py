"""The Mel-IF front end alone: what the picture loses before any network sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.batching import check_waveform, cut
from models.errors import InputError
from models.frontends.mel_if import MelIF, MelIFConfig, MelIFInverseConfig


class MelIFRoundTrip:
    """Waveform to Mel-IF pictures of four seconds each and back.

    Args:
        checkpoint: Must be ``None``; there is nothing to load.
        device: Where to compute.
        config: Settings of the picture.
        inverse: Settings of the way back.
    """

    name = "mel_if"
    title = "Mel-IF round trip"
    parameters = 0
    deterministic = True

    def __init__(
        self,
        *,
        checkpoint: Path | None = None,
        device: str = "cpu",
        config: MelIFConfig | None = None,
        inverse: MelIFInverseConfig | None = None,
    ) -> None:
        if checkpoint is not None:
            raise InputError(f"{self.name}: has no weights, got checkpoint {checkpoint}")
        self.config = config or MelIFConfig()
        self.sample_rate_hz: int | None = self.config.sample_rate_hz
        self.device = torch.device(device)
        self.frontend = MelIF(self.config, inverse).to(self.device)

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` after the front end and its inverse; the seeds are not used.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform,
            sample_rate_hz=sample_rate_hz,
            seeds=seeds,
            expected_hz=self.sample_rate_hz,
            name=self.name,
        )
        out = torch.empty_like(waveform)
        for i, pieces in enumerate(cut(waveform, self.config.n_samples)):
            rebuilt = [self.frontend.inverse(self.frontend(p[None].to(self.device))) for p in pieces]
            out[i] = torch.cat(rebuilt, 1)[0, : waveform.shape[1]].to(waveform)
        return out

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def describe(self) -> dict[str, object]:
        """Settings of the front end."""
        return {
            "name": self.name,
            "config": {"inverse": dataclasses.asdict(self.frontend.inverse_config)},
            "frontend": {"settings": self.config.as_dict(), "sha256": self.config.sha256()},
            "checkpoint": None,
            "parameters": 0,
        }
