"""Back from magnitudes: mel bands to STFT magnitudes, STFT magnitudes to a waveform."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from models.frontends.griffin_lim_loop import griffin_lim_rounds
from models.frontends.mel import MelConfig, mel_filterbank
from models.frontends.phase_integration import integrated_phase
from models.frontends.stft import StftConfig, istft, stft

INITIAL_PHASES = ("random", "integrated")


def initial_phase(magnitude: Tensor, config: StftConfig, *, kind: str, seeds: Sequence[int]) -> Tensor:
    """Complex numbers of magnitude one to start Griffin-Lim from, shape and device of ``magnitude``.

    Args:
        magnitude: Non-negative, shape ``(batch, n_fft / 2 + 1, frames)``.
        config: Settings of the transform.
        kind: ``"random"``, or ``"integrated"`` from the magnitude, see `models.frontends.phase_integration`.
        seeds: One per row; an integrated phase does not follow them.

    Raises:
        ValueError: If the kind is another or the number of seeds is not that of rows.
    """
    if kind not in INITIAL_PHASES:
        raise ValueError(f"kind must be one of {', '.join(INITIAL_PHASES)}, got {kind!r}")
    if kind == "integrated":
        return integrated_phase(magnitude, config)
    batch, bins, frames = magnitude.shape
    return random_phase((batch, bins, frames), seeds, magnitude.dtype).to(magnitude.device)


def random_phase(shape: tuple[int, int, int], seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Unit vectors of random angle, shape ``(batch, bins, frames)``; row ``i`` follows ``seeds[i]``."""
    if len(seeds) != shape[0]:
        raise ValueError(f"need one seed per row, got {len(seeds)} for {shape[0]}")
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed % 2**63)
        angle = torch.rand(shape[1:], generator=generator, dtype=torch.float64) * (2.0 * torch.pi)
        rows.append(angle.to(dtype))
    angles = torch.stack(rows)
    return torch.polar(torch.ones_like(angles), angles)


def griffin_lim(
    magnitude: Tensor,
    config: StftConfig,
    *,
    length: int,
    iterations: int = 32,
    momentum: float = 0.99,
    start: Tensor | None = None,
) -> Tensor:
    """Waveform whose STFT magnitude is near a given one.

    Args:
        magnitude: Non-negative, shape ``(batch, n_fft / 2 + 1, frames)``.
        config: Settings of the transform.
        length: Samples wanted.
        iterations: Rounds; 0 only applies the starting phase.
        momentum: 0 is the classic algorithm, 0.99 the fast one.
        start: Complex numbers of magnitude one to start from, shape of ``magnitude``; ``None`` is phase zero.

    Returns:
        Waveform ``(batch, length)``.

    Raises:
        ValueError: If shapes disagree or the momentum is outside [0, 1).

    Source:
        Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984;
        Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013.
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    frames = config.frames(length)
    if magnitude.ndim != 3 or magnitude.shape[1:] != (config.n_fft // 2 + 1, frames):
        expected = f"(batch, {config.n_fft // 2 + 1}, {frames})"
        raise ValueError(f"magnitude must have shape {expected}, got {tuple(magnitude.shape)}")
    if start is None:
        start = torch.ones_like(magnitude).to(torch.promote_types(magnitude.dtype, torch.complex64))
    if magnitude.device.type == "cpu" and not (torch.is_grad_enabled() and magnitude.requires_grad):
        # Row by row: a single signal stays in the cache, and no row can depend on its company.
        rows = [
            griffin_lim_rounds(m, s, config, length=length, iterations=iterations, momentum=momentum)
            for m, s in zip(magnitude.detach(), start.detach().expand_as(magnitude), strict=True)
        ]
        return torch.stack(rows) if rows else magnitude.new_zeros(0, length)
    spectrum = magnitude * start
    previous: Tensor | None = None
    tiny = torch.finfo(magnitude.dtype).tiny
    for _ in range(iterations):
        rebuilt = stft(istft(spectrum, config, length=length), config)
        angles = rebuilt if previous is None else rebuilt - (momentum / (1.0 + momentum)) * previous
        # Divide first: a bin that vanished must give 0, not 0 times infinity.
        spectrum = (angles / (angles.abs() + tiny)) * magnitude
        previous = rebuilt
    return istft(spectrum, config, length=length)


def mel_to_magnitude_pinv(mel: Tensor, config: MelConfig) -> Tensor:
    """STFT magnitude by the pseudo-inverse of the bands, negative values cut off.

    Args:
        mel: Bands without logarithm, shape ``(batch, n_mels, frames)``.
        config: Settings that made them.
    """
    inverse = _pseudo_inverse(config).to(device=mel.device, dtype=mel.dtype)
    linear: Tensor = (inverse @ mel).clamp_min(0.0)
    return linear if config.power == 1 else linear.sqrt()


def mel_to_magnitude_nnls(mel: Tensor, config: MelConfig, *, iterations: int = 60) -> Tensor:
    """STFT magnitude that gives the bands with no negative value, by accelerated projected gradients.

    Starts from the pseudo-inverse. Where an exact answer exists, 60 rounds leave a residual of about a
    thousandth.

    Args:
        mel: Bands without logarithm, shape ``(batch, n_mels, frames)``.
        config: Settings that made them.
        iterations: Rounds.

    Source:
        Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009.
    """
    bands64, scale, inverse64, step = _unit_bands(config)
    inverse = inverse64.to(device=mel.device, dtype=mel.dtype)
    bands = bands64.to(device=mel.device, dtype=mel.dtype)
    target = mel / scale.to(device=mel.device, dtype=mel.dtype)
    x: Tensor = (inverse @ target).clamp_min(0.0)
    ahead, weight = x, 1.0
    for _ in range(iterations):
        new = (ahead - step * (bands.T @ (bands @ ahead - target))).clamp_min(0.0)
        next_weight = 0.5 * (1.0 + (1.0 + 4.0 * weight * weight) ** 0.5)
        ahead = new + ((weight - 1.0) / next_weight) * (new - x)
        x, weight = new, next_weight
    return x if config.power == 1 else x.sqrt()


@functools.lru_cache(maxsize=8)
def _pseudo_inverse(config: MelConfig) -> Tensor:
    inverse: Tensor = torch.linalg.pinv(mel_filterbank(config))
    return inverse


@functools.lru_cache(maxsize=8)
def _unit_bands(config: MelConfig) -> tuple[Tensor, Tensor, Tensor, float]:
    """Bands of unit norm, their scale, their pseudo-inverse and the length of a gradient step, float64."""
    bands = mel_filterbank(config)
    # They are better conditioned; the scaling leaves exact solutions where they are.
    scale = bands.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
    bands = bands / scale
    return bands, scale, torch.linalg.pinv(bands), 1.0 / float(torch.linalg.matrix_norm(bands, 2)) ** 2
