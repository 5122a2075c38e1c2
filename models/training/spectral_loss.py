"""Multi-resolution STFT loss: what a vocoder can learn from before, or without, a discriminator."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Resolution:
    """One transform of the loss, a Hann window over centred, mirrored frames.

    Attributes:
        n_fft: Length of transform and window, samples.
        hop_length: Step between frames, samples.
    """

    n_fft: int
    hop_length: int


RESOLUTIONS = (Resolution(512, 128), Resolution(1024, 256), Resolution(2048, 512))


class MultiResolutionSTFTLoss(nn.Module):
    """Spectral convergence plus mean log-magnitude difference, averaged over several transforms.

    The convergence of a row is ``|X - Y| / |X|`` in the Frobenius norm; the second term is the mean of
    ``|ln X - ln Y|`` in nepers, with magnitudes raised to the floor first. Zero for equal signals; a row does not
    depend on the others. Always computed in float32.

    Args:
        resolutions: The transforms.
        floor: Least magnitude; the transform is not scaled, so a full-scale sine reads ``n_fft / 4``.
        convergence_weight: Weight of the first term.
        log_weight: Weight of the second term.
        least_norm: Least ``|X|`` of a row per frame, which keeps near-silent rows from ruling the batch.

    Source:
        Arik, Jun and Diamos, "Fast spectrogram inversion using multi-head convolutional neural networks", 2019;
        Yamamoto, Song and Kim, "Parallel WaveGAN", 2020.
    """

    windows: list[Tensor]

    def __init__(
        self,
        resolutions: tuple[Resolution, ...] = RESOLUTIONS,
        *,
        floor: float = 1e-4,
        convergence_weight: float = 1.0,
        log_weight: float = 1.0,
        least_norm: float = 0.3,
    ) -> None:
        super().__init__()
        if not resolutions or floor <= 0:
            raise ValueError(f"need at least one resolution and a floor above 0, got {resolutions} and {floor}")
        self.resolutions, self.floor, self.least_norm = resolutions, floor, least_norm
        self.convergence_weight, self.log_weight = convergence_weight, log_weight
        for resolution in resolutions:
            window = torch.hann_window(resolution.n_fft, dtype=torch.float64).to(torch.float32)
            self.register_buffer(f"window_{resolution.n_fft}", window, persistent=False)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Loss of each row.

        Args:
            estimate: Synthesised waveform, shape ``(batch, time)``, full scale at 1.
            reference: Recorded waveform, same shape; no gradient flows into it.

        Returns:
            Loss, shape ``(batch,)``, float32.

        Raises:
            ValueError: If the shapes differ or the clips are shorter than half the longest window.
        """
        if estimate.ndim != 2 or estimate.shape != reference.shape:
            raise ValueError(f"need two equal shapes (batch, time), got {estimate.shape} and {reference.shape}")
        longest = max(resolution.n_fft for resolution in self.resolutions)
        if estimate.shape[1] <= longest // 2:
            raise ValueError(f"need more than {longest // 2} samples, got {estimate.shape[1]}")
        with torch.autocast(estimate.device.type, enabled=False):
            terms = [self._one(estimate.float(), reference.float(), resolution) for resolution in self.resolutions]
            return torch.stack(terms).mean(0)

    def _one(self, estimate: Tensor, reference: Tensor, resolution: Resolution) -> Tensor:
        y = self._magnitude(estimate, resolution)
        with torch.no_grad():
            x = self._magnitude(reference, resolution)
            least = self.least_norm * x.shape[-1] ** 0.5
            norm = x.square().sum((1, 2)).sqrt().clamp_min(least)
        gap = (x - y).square().sum((1, 2)).clamp_min(1e-12).sqrt()
        return self.convergence_weight * gap / norm + self.log_weight * (x.log() - y.log()).abs().mean((1, 2))

    def _magnitude(self, waveform: Tensor, resolution: Resolution) -> Tensor:
        window = getattr(self, f"window_{resolution.n_fft}")
        spectrum = torch.stft(waveform, resolution.n_fft, resolution.hop_length, window=window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        # The clamp comes before the root, whose gradient is infinite at 0.
        return power.clamp_min(self.floor**2).sqrt()
