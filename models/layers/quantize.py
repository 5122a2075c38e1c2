"""Vector quantisation with a codebook that follows its data by moving averages."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What the quantiser gives back.

    Attributes:
        vectors: Nearest code vectors, shape of the input, with the gradient of the normalised input.
        codes: Their numbers, shape ``(batch, height, width)``, int64.
        commitment: Mean squared distance of normalised input and code; its gradient reaches the input only.
        perplexity: Effective number of codes used in this call, 1 to ``codebook_size``.
    """

    vectors: Tensor
    codes: Tensor
    commitment: Tensor
    perplexity: Tensor


class Codebook(nn.Module):
    """Nearest-neighbour codebook learned by exponential moving averages.

    For the first ``delay`` training calls vectors pass through unchanged, so that the encoder has something
    to say before it is quantised; the batch after that supplies the first codes by k-means. A code whose
    average use falls under ``restart_below`` times the mean use is put on a random vector of the batch.

    Args:
        size: Number of codes.
        dim: Length of a code vector.
        decay: Weight of the past in the moving averages, 0 to 1.
        epsilon: Laplace smoothing of the counts.
        restart_below: Share of the mean use under which a code counts as dead; 0 switches restarts off.
        delay: Training calls before quantisation sets in.
        scale_decay: Weight of the past in the running mean and variance that vectors are normalised by. Both
            are settled when the first codes are; following them further would blow up whatever dimension the
            encoder has no use for.

    Source:
        van den Oord, Vinyals and Kavukcuoglu, "Neural Discrete Representation Learning", 2017, appendix A.1;
        restarts as in Dhariwal et al., "Jukebox", 2020.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    ready: Tensor
    calls: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        restart_below: float = 0.03,
        delay: int = 0,
        scale_decay: float = 0.98,
    ) -> None:
        super().__init__()
        if size < 1 or dim < 1 or not 0.0 <= decay < 1.0:
            raise ValueError(f"need size >= 1, dim >= 1 and 0 <= decay < 1, got {size}, {dim}, {decay}")
        self.size, self.dim, self.decay, self.epsilon = size, dim, decay, epsilon
        self.restart_below, self.delay, self.scale_decay = restart_below, delay, scale_decay
        self.register_buffer("codes", torch.zeros(size, dim))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Number of the nearest code for each row of ``(n, dim)``."""
        distance = self.codes.square().sum(1) - 2.0 * vectors @ self.codes.T
        return distance.argmin(1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Code vectors ``(batch, dim, height, width)`` of numbers ``(batch, height, width)``.

        Raises:
            ValueError: If a number is outside the codebook.
        """
        if codes.numel():
            low, high = int(codes.min()), int(codes.max())
            if low < 0 or high >= self.size:
                raise ValueError(f"codes must lie in 0..{self.size - 1}, got {low}..{high}")
        return self.codes[codes].permute(0, 3, 1, 2)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Quantise ``(batch, dim, height, width)``; learn the codes when in training mode.

        Args:
            x: Encoder output.
            generator: Source of the random picks for first codes and restarts, on the CPU.
        """
        with torch.autocast(device_type=x.device.type, enabled=False):
            x = self._normalise(x.float())
            flat = x.permute(0, 2, 3, 1).reshape(-1, self.dim)
            if not bool(self.ready) and (not self.training or int(self.calls) <= self.delay):
                codes = torch.zeros(x.shape[0], x.shape[2], x.shape[3], dtype=torch.int64, device=x.device)
                return Quantized(x, codes, x.new_zeros(()), x.new_ones(()))
            with torch.no_grad():
                if self.training and not bool(self.ready):
                    self._first_codes(flat, generator)
                index = self.nearest(flat)
                use = torch.bincount(index, minlength=self.size).to(flat.dtype)
                codes = index.view(x.shape[0], x.shape[2], x.shape[3])
                picked = self.lookup(codes)
                share = use / use.sum()
                perplexity = torch.exp(-(share * torch.log(share + 1e-10)).sum())
                if self.training:
                    self._learn(flat, index, use, generator)
            commitment = (picked - x).square().mean()
            return Quantized(x + (picked - x).detach(), codes, commitment, perplexity)

    def _normalise(self, x: Tensor) -> Tensor:
        if self.training and not bool(self.ready):
            with torch.no_grad():
                weight = self.scale_decay if int(self.calls) else 0.0
                self.calls += 1
                self.mean.lerp_(x.mean((0, 2, 3)), 1.0 - weight)
                self.variance.lerp_(x.var((0, 2, 3), unbiased=False), 1.0 - weight)
        spread = (self.variance + 1e-8).sqrt()
        return (x - self.mean[:, None, None]) / spread[:, None, None]

    def _pick(self, flat: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
        rows = torch.randint(0, flat.shape[0], (n,), generator=generator).to(flat.device)
        return flat[rows]

    def _first_codes(self, flat: Tensor, generator: torch.Generator | None) -> None:
        # A few rounds of k-means on the first batch: random picks alone leave most codes in the silence.
        self._k_means(flat, generator, rounds=8)
        mean_use = flat.shape[0] / self.size
        self.counts.fill_(mean_use)
        self.sums.copy_(self.codes * mean_use)
        self.ready.fill_(True)

    @torch.no_grad()
    def fit(self, vectors: Tensor, generator: torch.Generator | None = None, *, rounds: int = 24) -> None:
        """Replace all codes by k-means centres of vectors ``(n, dim)``, not yet normalised, and quantise from now on.

        The normalisation stays, so that a decoder goes on understanding the codes.
        """
        flat = (vectors - self.mean) / (self.variance + 1e-8).sqrt()
        self._k_means(flat, generator, rounds=rounds)
        self.counts.fill_(1.0)
        self.sums.copy_(self.codes)
        self.ready.fill_(True)

    def _k_means(self, flat: Tensor, generator: torch.Generator | None, *, rounds: int) -> None:
        spread = flat.std() * 1e-3
        centres = self._pick(flat, self.size, generator)
        self.codes.copy_(centres + spread * torch.randn(centres.shape, generator=generator).to(flat))
        for _ in range(rounds):
            # In slices: the table of all distances would not fit for long recordings.
            index = torch.cat([self.nearest(part) for part in torch.split(flat, 1 << 16)])
            use = torch.bincount(index, minlength=self.size).to(flat.dtype)
            sums = torch.zeros_like(self.codes).index_add_(0, index, flat)
            means = sums / use.clamp_min(1.0)[:, None]
            fresh = self._pick(flat, self.size, generator)
            self.codes.copy_(torch.where((use > 0)[:, None], means, fresh))

    def _learn(self, flat: Tensor, index: Tensor, use: Tensor, generator: torch.Generator | None) -> None:
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        self.counts.mul_(self.decay).add_(use, alpha=1.0 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1.0 - self.decay)
        mean_use = flat.shape[0] / self.size
        dead = self.counts < self.restart_below * mean_use
        n_dead = int(dead.sum())
        if n_dead:
            self.counts[dead] = mean_use
            self.sums[dead] = self._pick(flat, n_dead, generator) * mean_use
        total = self.counts.sum()
        smooth = (self.counts + self.epsilon) / (total + self.size * self.epsilon) * total
        self.codes.copy_(self.sums / smooth[:, None])
