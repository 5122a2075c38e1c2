"""Expansion as a way from clip to clip: waveform, log-mel, shrunk, written out again, vocoder, waveform.

The same shrunk mel is the condition of the networks and of the two baselines, and one vocoder serves all, so that
what differs between these systems is the expansion alone. Every system also gives it without a vocoder (`expand`).

Mels longer than a window go through in windows that overlap by a quarter. The overlap primes the next window with
the blocks already written, so there is no cross-fade and every block is final as soon as it is out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from models.batching import check_waveform, in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.frontends.fold import pad_to_multiple
from models.frontends.mel import MelConfig, log_mel
from models.frontends.time_resize import shrink, stretch
from models.mel_reformer import (
    FRONTEND,
    PUBLISHED_FRONTEND,
    Blocks,
    MelReformer,
    MelReformerConfig,
    floor_of,
    stop_frame,
)

# Columns of output per condition column, as published.
SHRINK = 32


class Vocoder(Protocol):
    """What an expansion asks of a vocoder."""

    @property
    def frontend(self) -> MelConfig:
        """Settings of the log-mel that it reads."""

    def vocode(self, mel: Tensor) -> Tensor:
        """Waveform ``(batch, frames * hop)`` of a log-mel ``(batch, n_mels, frames)``."""

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same, chunk by chunk, of a log-mel that comes block by block."""

    def describe(self) -> dict[str, object]:
        """Configuration, front end and checkpoint."""


class Expander(Protocol):
    """What writes a mel out of its shrunk self."""

    frontend: MelConfig
    parameters: int

    def condition(self, mel: Tensor) -> Tensor:
        """Shrunk mel ``(batch, n_mels, columns)`` of a log-mel of any length."""

    def expand(self, mel: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Mel of the same shape as a log-mel ``(batch, n_mels, frames)``, written from its condition alone."""

    def describe(self) -> dict[str, Any]:
        """Configuration, front end and checkpoint."""


def check_mel(mel: Tensor, n_mels: int, name: str) -> None:
    """Refuse what is no mel.

    Raises:
        InputError: If the shape is impossible or a value is not finite.
    """
    if mel.ndim != 3 or mel.shape[1] != n_mels or mel.shape[2] < 1:
        raise InputError(f"{name}: mel must have shape (batch, {n_mels}, frames >= 1), got {tuple(mel.shape)}")
    if not bool(torch.isfinite(mel).all()):
        raise InputError(f"{name}: mel holds values that are not finite numbers")


class StretchExpander:
    """The condition stretched along time; nothing is learned.

    Args:
        kind: ``"linear"`` or ``"cubic"``.
        shrink_by: Output columns per condition column.
        frontend: Settings of the log-mel.
        name: For messages.
    """

    parameters = 0

    def __init__(
        self, kind: str, *, shrink_by: int = SHRINK, frontend: MelConfig = FRONTEND, name: str = "stretch"
    ) -> None:
        self.kind, self.shrink_by, self.frontend, self.name = kind, shrink_by, frontend, name
        self.floor = floor_of(frontend)

    def condition(self, mel: Tensor) -> Tensor:
        """Area means over ``shrink_by`` columns; the last one is filled up with silence."""
        padded = pad_to_multiple(mel, self.shrink_by, floor=self.floor)
        return shrink(padded, padded.shape[-1] // self.shrink_by)

    def expand(self, mel: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Stretched condition, shape of the mel; the seeds are not used.

        Raises:
            InputError: If the mel has an impossible shape or values that are not finite.
        """
        check_mel(mel, self.frontend.n_mels, self.name)

        def work(rows: Tensor) -> Tensor:
            condition = self.condition(rows)
            whole = stretch(condition, condition.shape[-1] * self.shrink_by, self.kind)
            return whole[..., : mel.shape[-1]].clamp_min(self.floor)

        return in_fixed_groups(mel, 1, work) if mel.shape[0] else mel.clone()

    def describe(self) -> dict[str, Any]:
        """Kind, factor and front end."""
        return {
            "config": {"kind": self.kind, "shrink": self.shrink_by},
            "frontend": {"settings": self.frontend.as_dict(), "sha256": self.frontend.sha256()},
            "checkpoint": None,
            "parameters": 0,
        }


class NetworkExpander:
    """A trained MelReformer over mels of any length.

    Args:
        network: Trained weights.
        frontend: Settings of the log-mel that it was trained on.
        device: Where to compute.
        name: For messages.
        card: Card of the checkpoint.
        file_sha256: Hash of the weights file.
        temperature: Factor on a flow's noise; below 1 it writes safer and blurrier mels.
    """

    def __init__(
        self,
        network: MelReformer,
        frontend: MelConfig,
        *,
        device: str = "cpu",
        name: str = "mel_reformer",
        card: dict[str, Any] | None = None,
        file_sha256: str | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).requires_grad_(False).train(False)
        self.config, self.frontend, self.name = network.config, frontend, name
        self.card, self.file_sha256, self.temperature = card, file_sha256, temperature
        self.parameters = sum(p.numel() for p in network.parameters())
        # One clip at a time on a CPU, where batches gain little; a fixed number elsewhere.
        self.group = 1 if self.device.type == "cpu" else 16
        # The overlap of windows must end on a border of tokens and of condition columns.
        grain = self.config.shrink // math.gcd(self.config.fold, self.config.shrink)
        self.overlap = self.config.tokens // 4 // grain * grain

    @classmethod
    def from_checkpoint(cls, folder: Path, *, name: str, device: str = "cpu") -> NetworkExpander:
        """Load shipped weights.

        Raises:
            CheckpointError: If weights or card cannot be used, or the front end is neither ours nor the published one.
        """
        loaded = load_checkpoint(folder, name=name)
        config = from_card(MelReformerConfig, loaded.card, "config", folder)
        stated = loaded.card.get("frontend")
        known = {settings.sha256(): settings for settings in (FRONTEND, PUBLISHED_FRONTEND)}
        frontend = known.get(str(stated.get("sha256")) if isinstance(stated, dict) else "", FRONTEND)
        check_frontend(folder, loaded.card, frontend.sha256())
        network = MelReformer(config)
        load_weights(network, loaded.tensors, folder)
        return cls(network, frontend, device=device, name=name, card=loaded.card, file_sha256=loaded.file_sha256)

    def condition(self, mel: Tensor) -> Tensor:
        """Shrunk mel; the last column is filled up with silence."""
        return self.network.condition(pad_to_multiple(mel, self.config.shrink, floor=self.config.floor))

    @torch.no_grad()
    def expand(self, mel: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Mel of the same shape, free-running from the condition alone.

        Args:
            mel: Log-mel ``(batch, n_mels, frames)``.
            seeds: One a row, for a flow; zeros when None.

        Raises:
            InputError: If the mel has an impossible shape or values that are not finite.
        """
        check_mel(mel, self.config.n_mels, self.name)
        seeds = [0] * mel.shape[0] if seeds is None else list(seeds)
        frames, out = mel.shape[-1], []
        for start in range(0, mel.shape[0], self.group):
            rows, own = _filled(mel[start : start + self.group], seeds[start : start + self.group], self.group)
            condition = self.condition(rows.to(self.device, torch.float32))
            blocks = list(self.stream(condition, seeds=own, frames=frames))
            out.append(torch.cat(blocks, -1)[: mel.shape[0] - start])
        return torch.cat(out).to(mel) if out else mel.clone()

    @torch.no_grad()
    def teacher_forced(self, mel: Tensor) -> Tensor:
        """Mel of the same shape, every block written from the true ones before it; not for a flow.

        Raises:
            InputError: If the mel is impossible or the network is a flow.
        """
        check_mel(mel, self.config.n_mels, self.name)
        if self.config.objective == "flow":
            raise InputError(f"{self.name}: a flow writes all blocks at once, so there is nothing to force")
        out = []
        for row in mel.to(self.device, torch.float32):
            condition = self.condition(row[None])
            blocks = []
            for start, fresh, count in self._windows(condition.shape[-1] * self.config.shrink):
                first = start * self.config.fold
                piece = row[None, :, first : first + self.config.window_frames]
                past = self.network.scaled(pad_to_multiple(piece, self.config.window_frames, floor=self.config.floor))
                memory = self.network.remember(self._window(condition, start))
                blocks.append(self.network.teacher_forced(past, memory).tokens[:, fresh:count])
            out.append(self.network.mel(torch.cat(blocks, 1))[..., : mel.shape[-1]])
        return torch.cat(out).to(mel) if out else mel.clone()

    @torch.no_grad()
    def base(self, mel: Tensor) -> Tensor:
        """Mel of the same shape: what the head's output is added to, that is the condition stretched and refined.

        Raises:
            InputError: If the mel is impossible or the network has no base.
        """
        check_mel(mel, self.config.n_mels, self.name)
        if self.config.base == "none":
            raise InputError(f"{self.name}: the network has no base, config.base is 'none'")
        out = []
        for row in mel.to(self.device, torch.float32):
            condition = self.condition(row[None])
            blocks = []
            for start, fresh, count in self._windows(condition.shape[-1] * self.config.shrink):
                base = self.network.remember(self._window(condition, start)).base
                assert base is not None
                blocks.append(base[:, fresh:count])
            out.append(self.network.mel(torch.cat(blocks, 1))[..., : mel.shape[-1]])
        return torch.cat(out).to(mel) if out else mel.clone()

    @torch.no_grad()
    def stream(
        self, condition: Tensor, *, seeds: Sequence[int], frames: int | None = None, cached: bool = True
    ) -> Iterator[Tensor]:
        """Mel blocks ``(batch, n_mels, up to fold)`` in order, each as soon as it is written.

        A flow writes a window at once, so its blocks come in bursts.

        Args:
            condition: Shrunk mel, ``(batch, n_mels, columns)``.
            seeds: One a row, for a flow.
            frames: Columns to write; when None, the stop head ends the one row there is, or the condition does.
            cached: Keep keys and values between blocks.

        Raises:
            InputError: If the length is left open for several rows, or exceeds the condition's.
        """
        config = self.config
        reach = condition.shape[-1] * config.shrink
        if frames is None and config.stop and condition.shape[0] != 1:
            raise InputError(
                f"{self.name}: the stop head ends one clip at a time, got {condition.shape[0]}; give frames"
            )
        if frames is not None and not 0 < frames <= reach:
            raise InputError(f"{self.name}: {frames} frames asked for, the condition stands for 1 to {reach}")
        limit = reach if frames is None else frames
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        done, prime = 0, None
        kept: list[Tensor] = []
        for start, _, count in self._windows(limit):
            memory = self.network.remember(self._window(condition, start))
            for block in self._write(memory, prime, count, generators, cached):
                kept.append(block.tokens)
                ended = stop_frame(block.stop, config)[0] if frames is None and block.stop is not None else None
                mel = self.network.mel(block.tokens)[..., : limit - done]
                if ended is not None:
                    yield mel[..., :ended]
                    return
                done += mel.shape[-1]
                yield mel
            prime = torch.cat(kept[-self.overlap :], 1) if self.overlap else None
            kept = kept[-self.overlap :] if self.overlap else []

    def _write(
        self, memory: Any, prime: Tensor | None, count: int, generators: list[torch.Generator], cached: bool
    ) -> Iterator[Blocks]:
        """The blocks of a window after its prime, one by one."""
        if self.config.objective == "regression":
            yield from self.network.blocks(memory, prime=prime, tokens=count, cached=cached)
            return
        shape = (self.config.tokens, self.config.token_size)
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device) * self.temperature
        written = self.network.flow(memory, noise, prime=prime).tokens
        first = 0 if prime is None else prime.shape[1]
        yield from (Blocks(written[:, i : i + 1], None) for i in range(first, count))

    def _window(self, condition: Tensor, start: int) -> Tensor:
        """Condition of the window that starts at a token, silence beyond the end."""
        config = self.config
        first = start * config.fold // config.shrink
        part = condition[..., first : first + config.columns]
        return pad_to_multiple(part, config.columns, floor=config.floor)

    def _windows(self, frames: int) -> Iterator[tuple[int, int, int]]:
        """(First token, tokens known from the window before, tokens with these) of every window."""
        total = -(-frames // self.config.fold)
        start, fresh = 0, 0
        while True:
            count = min(self.config.tokens, total - start)
            yield start, fresh, count
            if start + count >= total:
                return
            start += self.config.tokens - self.overlap
            fresh = self.overlap

    def describe(self) -> dict[str, Any]:
        """Configuration, front end, checkpoint and size."""
        card = self.card or {}
        return {
            "config": dataclasses.asdict(self.config),
            "frontend": {"settings": self.frontend.as_dict(), "sha256": self.frontend.sha256()},
            "checkpoint": {
                "sha256": card.get("tensors_sha256"),
                "file_sha256": self.file_sha256,
                "step": card.get("step"),
                "trained_on": card.get("trained_on"),
            },
            "parameters": self.parameters,
        }


def _filled(rows: Tensor, seeds: Sequence[int], group: int) -> tuple[Tensor, list[int]]:
    """Rows and seeds filled up to a group: kernels may sum in another order at another batch size."""
    missing = group - rows.shape[0]
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]), [*seeds, *[0] * missing]


class ExpansionSystem:
    """From clip to clip through an expander and a vocoder that read the same front end.

    Args:
        expander: Writes the mel.
        vocoder: Makes it audible.
        device: Where to compute.

    Raises:
        CheckpointError: If the vocoder was made for another front end.
    """

    name = "expansion"
    title = "Expansion"
    deterministic = True

    def __init__(self, expander: Expander, vocoder: Vocoder, *, device: str = "cpu") -> None:
        if vocoder.frontend.sha256() != expander.frontend.sha256():
            raise CheckpointError(
                f"{self.name}: the vocoder's front end {vocoder.frontend.sha256()[:16]} is not the expansion's"
                f" {expander.frontend.sha256()[:16]}; use a vocoder of the same front end"
            )
        self.expander, self.vocoder = expander, vocoder
        self.device = torch.device(device)
        self.frontend = expander.frontend
        self.sample_rate_hz: int | None = self.frontend.sample_rate_hz
        self.parameters = expander.parameters
        self.group = 1 if self.device.type == "cpu" else 16

    def mel(self, waveform: Tensor) -> Tensor:
        """Log-mel ``(batch, n_mels, frames)`` of waveforms of any length, the last frame filled up with silence."""
        hop, least = self.frontend.stft.hop_length, self.frontend.stft.pad_samples() + 1
        wanted = max(-(-waveform.shape[1] // hop) * hop, -(-least // hop) * hop)
        padded = torch.nn.functional.pad(waveform, (0, wanted - waveform.shape[1]))
        return in_fixed_groups(padded, self.group, lambda rows: log_mel(rows.to(self.device), self.frontend))

    def expand(self, mel: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Mel of the same shape, written from its condition alone.

        Raises:
            InputError: If the mel has an impossible shape or values that are not finite.
        """
        return self.expander.expand(mel, seeds)

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` after shrinking and expanding its log-mel.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=seeds, expected_hz=self.sample_rate_hz, name=self.name
        )
        if waveform.shape[0] == 0:
            return waveform.clone()
        expanded = self.expand(self.mel(waveform), seeds)
        audible = in_fixed_groups(expanded, self.group, self.vocoder.vocode)
        return audible[:, : waveform.shape[1]].to(waveform).contiguous()

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def describe(self) -> dict[str, object]:
        """What the expander and the vocoder are."""
        return {"name": self.name, **self.expander.describe(), "vocoder": self.vocoder.describe()}


def shipped_vocoder(device: str) -> Vocoder:
    """The MelGAN that all expansions share.

    Raises:
        CheckpointError: If its weights are missing or cannot be used.
    """
    from models import registry

    vocoder: Any = registry.load("melgan", device=device)
    return vocoder  # type: ignore[no-any-return]  # the registry promises less than the vocoder has


class MelReformerSystem(ExpansionSystem):
    """The network trained with L1, free-running.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.
        vocoder: In place of the shipped MelGAN.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "mel_reformer"
    title = "MelReformer"

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu", vocoder: Vocoder | None = None) -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        network = NetworkExpander.from_checkpoint(checkpoint, name=self.name, device=device)
        super().__init__(network, vocoder or shipped_vocoder(device), device=device)
        self.network_expander = network


class MelReformerGANSystem(MelReformerSystem):
    """The network that a discriminator has taught further."""

    name = "mel_reformer_gan"
    title = "MelReformer with discriminator"


class MelReformerFlowSystem(MelReformerSystem):
    """The flow-matching network; the seeds choose its noise."""

    name = "mel_reformer_flow"
    title = "MelReformer, flow matching"


class StretchSystem(ExpansionSystem):
    """A baseline without weights of its own.

    Args:
        checkpoint: Must be ``None``; there is nothing to load but the vocoder.
        device: Where to compute.
        vocoder: In place of the shipped MelGAN.

    Raises:
        InputError: If a checkpoint is given.
    """

    kind = "linear"

    def __init__(self, *, checkpoint: Path | None = None, device: str = "cpu", vocoder: Vocoder | None = None) -> None:
        if checkpoint is not None:
            raise InputError(f"{self.name}: has no weights, got checkpoint {checkpoint}")
        super().__init__(StretchExpander(self.kind, name=self.name), vocoder or shipped_vocoder(device), device=device)


class LinearStretchSystem(StretchSystem):
    """The condition stretched by straight lines."""

    name = "stretch_linear"
    title = "Linear stretching"
    kind = "linear"


class CubicStretchSystem(StretchSystem):
    """The condition stretched by Catmull-Rom splines."""

    name = "stretch_cubic"
    title = "Cubic stretching"
    kind = "cubic"


class FoldWidthExpander(NetworkExpander):
    """An L1 model at another fold width, mel to mel.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "mel_reformer_n8"
    title = "MelReformer, 8 columns a token"
    deterministic = True

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = NetworkExpander.from_checkpoint(checkpoint, name=self.name)
        super().__init__(
            loaded.network,
            loaded.frontend,
            device=device,
            name=self.name,
            card=loaded.card,
            file_sha256=loaded.file_sha256,
        )
        self.sample_rate_hz: int | None = self.frontend.sample_rate_hz

    def describe(self) -> dict[str, Any]:
        """Configuration, front end, checkpoint and size."""
        return {"name": self.name, **super().describe()}


class MelReformerN8(FoldWidthExpander):
    """Blocks of 8 columns."""


class MelReformerN16(FoldWidthExpander):
    """Blocks of 16 columns."""

    name = "mel_reformer_n16"
    title = "MelReformer, 16 columns a token"


class MelReformerN64(FoldWidthExpander):
    """Blocks of 64 columns."""

    name = "mel_reformer_n64"
    title = "MelReformer, 64 columns a token"
