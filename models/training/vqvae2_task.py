"""What one training step of the VQ-VAE-2 is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.frontends.mel_if import MelIF, MelIFConfig
from models.training.data import Augmentation, ClipStore, draw_batch, step_generator
from models.vqvae2 import VQVAE2, PictureScale, VQVAE2Config, training_loss


class VQVAE2Task:
    """Loss of a step and validation of the VQ-VAE-2.

    Args:
        config: Size of the network.
        frontend: Settings of the pictures.
        training: Clips to learn from.
        validation: Clips to validate on; may be empty.
        seed: Seed of weights, batches and codebooks.
        batch_size: Clips per step.
        device: Where to compute.
        bfloat16: Compute convolutions in bfloat16 (worth it on processors that have it).
        augmentation: Random changes of training clips.
    """

    def __init__(
        self,
        config: VQVAE2Config,
        frontend: MelIFConfig,
        *,
        training: ClipStore,
        validation: ClipStore,
        seed: int,
        batch_size: int = 8,
        device: str = "cpu",
        bfloat16: bool = False,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.training, self.validation = training, validation
        self.seed, self.batch_size, self.bfloat16 = seed, batch_size, bfloat16
        self.device = torch.device(device)
        self.augmentation = augmentation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = VQVAE2(config)
        self.network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # valid, but not in torch's stubs
        self.scale = PictureScale(config, frontend).to(self.device)
        self.frontend = MelIF(frontend, dtype=torch.float32).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def picture(self, waveform: Tensor) -> Tensor:
        """Mel-IF pictures of waveforms, channels last, without gradient."""
        with torch.no_grad():
            picture: Tensor = self.frontend(waveform.to(self.device))
        return picture.contiguous(memory_format=torch.channels_last)

    def step_loss(self, step: int) -> tuple[Tensor, Callable[[], dict[str, float]]]:
        """Loss of step number ``step``."""
        waveform = draw_batch(
            self.training,
            batch_size=self.batch_size,
            seed=self.seed,
            step=step,
            augmentation=self.augmentation,
        )
        generator = step_generator(self.seed, step, "codebook")
        picture = self.picture(waveform)
        with self._autocast():
            loss = training_loss(self.network, self.scale, picture, generator)
        return loss.total, loss.report

    def validate(self) -> dict[str, float]:
        """Mean loss terms over the validation clips, and the perplexity of both maps over all of them."""
        n = len(self.validation)
        if n == 0:
            return {}
        sums: dict[str, float] = {}
        use = {level: torch.zeros(self.network.config.codebook_size) for level in ("top", "bottom")}
        for start in range(0, n, self.batch_size):
            rows = torch.arange(start, min(n, start + self.batch_size))
            picture = self.picture(self.validation.waveforms(rows))
            with self._autocast():
                loss = training_loss(self.network, self.scale, picture)
                top, bottom = self.network.encode(self.scale(picture))
            for name, value in loss.report().items():
                sums[name] = sums.get(name, 0.0) + value * len(rows)
            for level, quantized in (("top", top), ("bottom", bottom)):
                counts = torch.bincount(quantized.codes.flatten().cpu(), minlength=use[level].numel())
                use[level] += counts
        means = {name: value / n for name, value in sums.items()}
        for level, counts in use.items():
            share = counts / counts.sum()
            means[f"perplexity_{level}"] = float(torch.exp(-(share * torch.log(share + 1e-12)).sum()))
        return means
