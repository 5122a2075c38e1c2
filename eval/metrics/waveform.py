"""Distances between waveforms, sample by sample.

All of them see phase: a reconstruction with a free phase (Griffin-Lim, most generative models) can sound right and
score badly here.

* :func:`waveform_l1`: mean absolute error.
* :func:`waveform_mse`: mean squared error.
* :func:`snr`: signal-to-noise ratio.
* :func:`segmental_snr`: mean of the ratios of short frames.
* :func:`si_sdr`: scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from eval.metrics.kernels import Array, Kernel, kernel_for
from eval.metrics.pairs import per_clip


def waveform_l1(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error, ``mean |ŷ − y|``.

    Zero for equal signals; lower is better; symmetric; proportional to a common gain.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.

    Returns:
        Error relative to full scale per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or there is no sample.

    >>> waveform_l1(torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.0]))
    tensor(0.2500, dtype=torch.float64)
    """

    def value(e: Tensor, r: Tensor) -> Tensor:
        kernel = kernel_for(e.device)
        total = sum(kernel.total(kernel.absolute(gap, gap)) for gap in _gaps(kernel, e, r))
        return kernel.to_tensor([total / e.numel()])[0]

    return per_clip(estimate, reference, value, widen=False)


def waveform_mse(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error, ``mean (ŷ − y)²``.

    Zero for equal signals; lower is better; symmetric; proportional to the square of a common gain.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.

    Returns:
        Error relative to full scale squared per clip, shape ``(...)``, float64, in ``[0, ∞)``.

    Raises:
        ValueError: If the shapes differ or there is no sample.

    >>> waveform_mse(torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.0]))
    tensor(0.1250, dtype=torch.float64)
    """

    def value(e: Tensor, r: Tensor) -> Tensor:
        kernel = kernel_for(e.device)
        return kernel.to_tensor([sum(kernel.dot(gap, gap) for gap in _gaps(kernel, e, r)) / e.numel()])[0]

    return per_clip(estimate, reference, value, widen=False)


def snr(estimate: Tensor, reference: Tensor, *, eps: float = 0.0) -> Tensor:
    """Signal-to-noise ratio, ``10·log10(Σy² / Σ(ŷ − y)²)``.

    Higher is better; not symmetric. A common gain changes nothing (with ``eps=0``). 0 dB for a silent estimate, −6 dB
    for one of turned polarity.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        eps: Added to both energies; for comparison with libraries that do this, not for measuring.

    Returns:
        Ratio in dB per clip, shape ``(...)``, float64. With ``eps=0``, ``inf`` for equal signals and ``nan`` where
        either signal is silent.

    Raises:
        ValueError: If the shapes differ or there is no sample.

    >>> snr(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))
    tensor(3.0103, dtype=torch.float64)
    """

    def value(e: Tensor, r: Tensor) -> Tensor:
        kernel = kernel_for(e.device)
        parts = [
            (kernel.dot(wanted, wanted), kernel.dot(gap, gap), kernel.dot(made, made))
            for made, wanted in kernel.pieces([kernel.from_tensor(e), kernel.from_tensor(r)])
            for gap in [kernel.subtract(made, wanted, kernel.like("gap", made))]
        ]
        sums = kernel.to_tensor([sum(part) for part in zip(*parts, strict=True)])
        if not eps:
            sums = torch.where((sums[0] > 0) & (sums[2] > 0), sums, torch.nan)
        return 10 * torch.log10((sums[0] + eps) / (sums[1] + eps))

    return per_clip(estimate, reference, value, widen=False)


def segmental_snr(
    estimate: Tensor,
    reference: Tensor,
    *,
    sample_rate_hz: int,
    frame_s: float = 0.03,
    overlap: float = 0.75,
    lowest_db: float = -10.0,
    highest_db: float = 35.0,
) -> Tensor:
    """Mean over short frames of the signal-to-noise ratio of the frame, limited to ``lowest_db … highest_db``.

    Frames carry a symmetric Hann window without its zeros. Frames in which the windowed reference has no energy are
    left out; frames without an error count as ``highest_db``. Higher is better; not symmetric. A common gain changes
    nothing. Quiet passages count as much as loud ones, which is the point of it.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        sample_rate_hz: Sample rate of both.
        frame_s: Length of a frame in seconds.
        overlap: Share of a frame that the next one covers too, below 1.
        lowest_db: Frames below count as this.
        highest_db: Frames above count as this.

    Returns:
        Mean ratio in dB per clip, shape ``(...)``, float64, in ``[lowest_db, highest_db]``; ``nan`` where the clip is
        shorter than one frame or no frame of the reference has energy.

    Raises:
        ValueError: If the shapes differ, there is no sample, or a parameter is out of range.

    Source:
        Hansen and Pellom, "An effective quality evaluation protocol for speech enhancement algorithms", ICSLP 1998;
        frames and limits of Loizou, "Speech Enhancement", 2nd ed., CRC Press 2013, ch. 11.
    """
    length = round(frame_s * sample_rate_hz)
    hop = math.floor(length * (1 - overlap))
    if length < 1 or hop < 1 or not lowest_db < highest_db:
        raise ValueError(
            f"frame_s {frame_s}, overlap {overlap}, limits {lowest_db}…{highest_db} dB: a frame and its step need at "
            "least one sample, and the limits have to be in order"
        )

    def value(e: Tensor, r: Tensor) -> Tensor:
        if r.numel() < length:
            return torch.tensor(torch.nan, dtype=torch.float64, device=r.device)
        angle = 2 * torch.pi * torch.arange(1, length + 1, dtype=torch.float64, device=r.device) / (length + 1)
        weights = (0.5 - 0.5 * torch.cos(angle)).square()
        energies = [_weighted_energies(signal, weights, hop) for signal in (r, r - e)]
        ratios = 10 * torch.log10(energies[0] / energies[1])
        return ratios.clamp(lowest_db, highest_db)[energies[0] > 0].mean()

    return per_clip(estimate, reference, value)


def _weighted_energies(signal: Tensor, weights: Tensor, hop: int) -> Tensor:
    """Energy of every frame under a weight; a few frames at a time, so that memory stays flat."""
    frames = signal.square().unfold(0, len(weights), hop)
    return torch.cat([(part * weights).sum(-1) for part in torch.split(frames, 1024)])


def si_sdr(estimate: Tensor, reference: Tensor, *, zero_mean: bool = True, eps: float = 0.0) -> Tensor:
    """Scale-invariant signal-to-distortion ratio.

    ``10·log10(‖αy‖² / ‖αy − ŷ‖²)`` with ``α = ⟨ŷ, y⟩ / ⟨y, y⟩``: the energy of the part of the estimate that follows
    the reference over the energy of the rest. Higher is better. Blind to gain and polarity of either signal and, with
    ``zero_mean``, to a constant offset; symmetric in its arguments.

    Args:
        estimate: Synthesised waveform, shape ``(..., time)``, full scale at 1.
        reference: Recorded waveform, same shape and sample rate.
        zero_mean: Take the mean off both signals first.
        eps: Added to both parts of both ratios. It makes a silent estimate score 0 dB and caps good scores by level;
            for comparison with libraries that do this, not for measuring.

    Returns:
        Ratio in dB per clip, shape ``(...)``, float64. With ``eps=0``, ``inf`` for a scaled copy of the reference,
        ``-inf`` for an estimate without any part of it, and ``nan`` where either signal is silent or, with
        ``zero_mean``, constant.

    Raises:
        ValueError: If the shapes differ or there is no sample.

    Source:
        Le Roux, Wisdom, Erdogan and Hershey, "SDR – half-baked or well done?", ICASSP 2019.

    >>> si_sdr(torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1.0, 0.0, -1.0, 0.0]))
    tensor(0., dtype=torch.float64)
    """

    def value(e: Tensor, r: Tensor) -> Tensor:
        if not e.is_cuda and not eps:
            ratio = _si_sdr_of_sums(e, r, zero_mean=zero_mean)
            if ratio is not None:
                return torch.tensor(ratio, dtype=torch.float64)
        return _si_sdr_of_signals(e.double(), r.double(), zero_mean=zero_mean, eps=eps)

    return per_clip(estimate, reference, value, widen=False)


def _si_sdr_of_sums(estimate: Tensor, reference: Tensor, *, zero_mean: bool) -> float | None:
    """The ratio from the moments of the signals; ``None`` where their differences would lose digits."""
    kernel = kernel_for(estimate.device)
    parts = [
        (
            kernel.total(made),
            kernel.total(wanted),
            *(kernel.dot(*two) for two in ((made, made), (wanted, wanted), (made, wanted))),
        )
        for made, wanted in kernel.pieces([kernel.from_tensor(estimate), kernel.from_tensor(reference)])
    ]
    made, wanted, made_energy, wanted_energy, product = (float(sum(part)) for part in zip(*parts, strict=True))
    count = estimate.numel() if zero_mean else math.inf
    made_rest, wanted_rest = made_energy - made * made / count, wanted_energy - wanted * wanted / count
    if not (made_rest > 0.01 * made_energy and wanted_rest > 0.01 * wanted_energy):
        return None
    share = (product - made * wanted / count) ** 2 / (made_rest * wanted_rest)
    return 10 * math.log10(share / (1 - share)) if 1e-6 < share < 0.999 else None


def _si_sdr_of_signals(estimate: Tensor, reference: Tensor, *, zero_mean: bool, eps: float) -> Tensor:
    kernel = kernel_for(estimate.device)
    count = estimate.numel()
    pair = [kernel.from_tensor(estimate), kernel.from_tensor(reference)]
    if zero_mean:
        pair = [
            kernel.subtract(a, kernel.total(a) / count, kernel.like(f"centred {row}", a)) for row, a in enumerate(pair)
        ]
    sums = kernel.to_tensor([kernel.dot(*pair), kernel.dot(pair[1], pair[1]), kernel.dot(pair[0], pair[0])])
    scale = (sums[0] + eps) / (sums[1] + eps)
    factor = scale if estimate.is_cuda else float(scale)
    target = kernel.multiply(pair[1], factor, kernel.like("target", pair[1]))
    gap = kernel.subtract(target, pair[0], kernel.buffer("gap", (count,)))
    signal, error = kernel.to_tensor([kernel.dot(target, target), kernel.dot(gap, gap)])
    if not eps:
        # A silent estimate has no part that could be compared: 0/0, not 0.
        signal = torch.where(sums[2] > 0, signal, torch.nan)
    return 10 * torch.log10((signal + eps) / (error + eps))


def _gaps(kernel: Kernel, estimate: Tensor, reference: Tensor) -> Iterator[Array]:
    """Difference of two signals, piece by piece."""
    for made, wanted in kernel.pieces([kernel.from_tensor(estimate), kernel.from_tensor(reference)]):
        yield kernel.subtract(made, wanted, kernel.like("gap", made))
