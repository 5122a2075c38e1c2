"""What the vocoders share: the front end, the way from clip to clip, and vocoding block by block."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.batching import check_waveform, in_fixed_groups
from models.checkpoint import check_frontend, from_card
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.frontends.mel import NAMED, MelConfig, log_mel
from models.frontends.mel_level import REACH_FRAMES, match_mel

SAMPLE_RATE_HZ = 22_050
HOP_SAMPLES = 256
# Log-mel of digital silence: log10 of the front end's floor.
SILENCE = -5.0
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclasses.dataclass(frozen=True)
class VocoderConfig:
    """Sizes that all vocoders have.

    Attributes:
        n_mels: Bands of the front end; 80 are published for MelGAN, 128 for the filter-bank vocoder.
        mel_centre: Log-mel value that the network sees as 0. Published: 0.
        mel_range: Log-mel distance that the network sees as 1. Published: 1.
    """

    n_mels: int = 128
    mel_centre: float = 0.0
    mel_range: float = 1.0


def vocoder_frontend(n_mels: int) -> MelConfig:
    """Log-mel of the vocoders: MelGAN's, with so many bands."""
    return dataclasses.replace(NAMED["melgan"], n_mels=n_mels)


# No inference mode here or below: what the front ends keep from call to call must serve training, too.
@torch.no_grad()
def vocoder_mel(waveform: Tensor, frontend: MelConfig) -> Tensor:
    """Log-mel ``(batch, n_mels, frames)`` of a waveform ``(batch, time >= 1)``, zeros filling up the last frame."""
    samples = waveform.shape[1]
    # The mirrored frames need more than 384 samples.
    whole = max(2 * HOP_SAMPLES, -(-samples // HOP_SAMPLES) * HOP_SAMPLES)
    return log_mel(torch.nn.functional.pad(waveform.float(), (0, whole - samples)), frontend)


class MelVocoder(abc.ABC):
    """A trained generator behind its front end.

    A clip is vocoded between `context_frames` frames of silence, which are cut off again: the networks click where
    their input breaks off. What the network makes is then moved towards the levels of the mel that it was given
    (`match_mel`), because networks trained for hours, not weeks, leave noise where the mel says silence. The published
    systems do not do that; ``level_rounds=0`` leaves it out.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.
        level_rounds: Rounds of that correction.
        fast: Whether to take the generator's quick way in place of the plain one.
        precision: ``"float32"``, or ``"bfloat16"``: about twice as fast where the processor has instructions for it,
            with an error that the vocoder states.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
        InputError: If the precision is unknown, or lower than the plain way has.
    """

    name: str
    title: str
    deterministic = True
    config_class: type[VocoderConfig]
    # Frames on either side of a sample that it may depend on.
    context_frames: int

    def __init__(
        self,
        *,
        checkpoint: Path | None,
        device: str = "cpu",
        fast: bool = True,
        precision: str = "float32",
        level_rounds: int = 4,
    ) -> None:
        if precision not in PRECISIONS or (precision != "float32" and not fast):
            raise InputError(f"{self.name}: precision must be float32, or bfloat16 if fast; got {precision!r}")
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        self.config = from_card(self.config_class, loaded.card, "config", checkpoint)
        self.frontend = vocoder_frontend(self.config.n_mels)
        check_frontend(checkpoint, loaded.card, self.frontend.sha256())
        self.sample_rate_hz: int | None = self.frontend.sample_rate_hz
        self.device, self.fast, self.precision = torch.device(device), fast, precision
        self.level_rounds = level_rounds
        self.context_frames = type(self).context_frames + REACH_FRAMES * level_rounds
        self.parameters = self.build(loaded.tensors, checkpoint)
        # One clip at a time on a CPU, where batches are no faster; a fixed number elsewhere.
        self.group = 1 if self.device.type == "cpu" else 16

    @abc.abstractmethod
    def build(self, tensors: Mapping[str, Tensor], folder: Path) -> int:
        """Make the generator and put the weights into it; returns the number of learned parameters."""

    @abc.abstractmethod
    def generate(self, mel: Tensor) -> Tensor:
        """Waveform ``(batch, frames * 256)`` of a log-mel ``(batch, n_mels, frames)``, as the network gives it."""

    @torch.no_grad()
    def vocode(self, mel: Tensor) -> Tensor:
        """Waveform of a log-mel.

        Args:
            mel: Shape ``(batch, n_mels, frames >= 1)``, of the front end `frontend`.

        Returns:
            Shape ``(batch, frames * 256)``, float32, on the CPU.

        Raises:
            InputError: If the shape is another or a value is not finite.
        """
        self._check(mel)
        if mel.shape[0] == 0:
            return torch.zeros(0, mel.shape[2] * HOP_SAMPLES)
        pad = self.context_frames
        return in_fixed_groups(torch.nn.functional.pad(mel, (pad, pad), value=SILENCE), self.group, self._inner).clone()

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Waveform of a log-mel that comes block by block.

        What comes out, put together, is what `vocode` gives for the blocks put together, up to rounding or the
        tolerance that the vocoder states. Output lags `context_frames` frames behind.

        Args:
            blocks: Log-mels ``(batch, n_mels, frames)``, of any numbers of frames.

        Yields:
            Waveforms ``(batch, samples)``, one a block that completes at least one frame, and the rest at the end.

        Raises:
            InputError: As `vocode`, or if the blocks differ in batch size.
        """
        pad = self.context_frames
        held: Tensor | None = None
        for block in blocks:
            self._check(block)
            if held is None:
                held = block.new_full((*block.shape[:2], pad), SILENCE)
            elif held.shape[0] != block.shape[0]:
                raise InputError(f"{self.name}: a block of {block.shape[0]} rows follows one of {held.shape[0]}")
            held = torch.cat([held, block], 2)
            if held.shape[2] > 2 * pad:
                with torch.no_grad():
                    ready = in_fixed_groups(held, self.group, self._inner).clone()
                yield ready
                held = held[:, :, -2 * pad :]
        if held is not None:
            held = torch.nn.functional.pad(held, (0, pad), value=SILENCE)
            with torch.no_grad():
                ready = in_fixed_groups(held, self.group, self._inner).clone()
            yield ready

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` rebuilt from its log-mel; the seeds are not used.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=seeds, expected_hz=self.sample_rate_hz, name=self.name
        )
        if waveform.shape[0] == 0:
            return waveform.clone()
        mel = torch.cat([self.mel(row[None]) for row in waveform])
        return self.vocode(mel)[:, : waveform.shape[1]].to(waveform).clone()

    def mel(self, waveform: Tensor) -> Tensor:
        """Log-mel of a waveform, see `vocoder_mel`."""
        return vocoder_mel(waveform.to(self.device), self.frontend)

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def describe(self) -> dict[str, object]:
        """Configuration, front end, checkpoint and size."""
        card: Mapping[str, Any] = self.card
        return {
            "name": self.name,
            "config": {
                **dataclasses.asdict(self.config),
                "fast": self.fast,
                "precision": self.precision,
                "level_rounds": self.level_rounds,
            },
            "frontend": card["frontend"],
            "checkpoint": {
                "sha256": card["tensors_sha256"],
                "file_sha256": self.file_sha256,
                "step": card.get("step"),
                "trained_on": card.get("trained_on"),
            },
            "parameters": self.parameters,
        }

    def _inner(self, mel: Tensor) -> Tensor:
        pad = self.context_frames * HOP_SAMPLES
        mel = mel.to(self.device, torch.float32)
        made = match_mel(self.generate(mel).float(), mel, self.frontend, rounds=self.level_rounds)
        return made[:, pad:-pad].cpu()

    def _check(self, mel: Tensor) -> None:
        n = self.config.n_mels
        if mel.ndim != 3 or mel.shape[1] != n or mel.shape[2] < 1:
            raise InputError(f"{self.name}: mel must have shape (batch, {n}, frames >= 1), got {tuple(mel.shape)}")
        if not bool(torch.isfinite(mel).all()):
            raise InputError(f"{self.name}: mel holds values that are not finite numbers")
