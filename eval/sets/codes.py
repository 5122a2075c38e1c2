"""Use of a codebook over a whole set, from integer counts: per batch, every number would depend on the batch's size.

``counts[i]`` says how often code ``i`` occurs in the codes of all clips together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.sets.definition import Undefined

Counts = NDArray[np.int64]


def code_counts(codes: Iterable[Any], size: int) -> Counts:
    """Occurrences of every code in some arrays of codes.

    Args:
        codes: Arrays or CPU tensors of integers of any shape.
        size: Size of the codebook.

    Raises:
        ValueError: If a code lies outside of the codebook.
    """
    counts = np.zeros(size, dtype=np.int64)
    for part in codes:
        flat = np.asarray(part).reshape(-1)
        if flat.size and (flat.min() < 0 or flat.max() >= size):
            raise ValueError(f"codes from {flat.min()} to {flat.max()} do not lie in a codebook of {size}")
        counts += np.bincount(flat, minlength=size)
    return counts


def _checked(counts: Counts | Sequence[int]) -> Counts:
    out = np.asarray(counts)
    if out.ndim != 1 or not np.issubdtype(out.dtype, np.integer) or (out < 0).any():
        raise ValueError(f"counts are whole numbers of at least 0, shape (codes,); got {out.dtype} {out.shape}")
    if not out.any():
        raise Undefined("no code occurs")
    return out.astype(np.int64)


def usage(counts: Counts) -> float:
    """Share of the codebook that occurs.

    Raises:
        Undefined: If nothing was counted.
        ValueError: If counts are no counts.
    """
    return float((_checked(counts) > 0).mean())


def entropy_bits(counts: Counts, *, corrected: bool = False) -> float:
    """Entropy of the codes in bits a code.

    Args:
        counts: Shape ``(codes,)``.
        corrected: Add Miller's ``(used - 1) / (2 n)`` nats, without which small sets come out too low.

    Raises:
        Undefined: If nothing was counted.
        ValueError: If counts are no counts.

    Source:
        Miller, "Note on the bias of information estimates", in Information Theory in Psychology, 1955.

    >>> entropy_bits(np.array([2, 2, 0, 0]))
    1.0
    """
    found = _checked(counts)
    share = found[found > 0] / found.sum()
    nats = max(0.0, -float((share * np.log(share)).sum()))
    if corrected:
        nats += (len(share) - 1) / (2.0 * float(found.sum()))
    return nats / math.log(2.0)


def perplexity(counts: Counts) -> float:
    """Effective number of codes: 2 to the power of the uncorrected entropy.

    Raises:
        Undefined: If nothing was counted.
        ValueError: If counts are no counts.
    """
    return float(2.0 ** entropy_bits(counts))


def dead(counts: Counts) -> int:
    """Codes that do not occur; errors as of `usage`."""
    return int((_checked(counts) == 0).sum())


def top_share(counts: Counts) -> float:
    """Share of the most frequent code; errors as of `usage`."""
    found = _checked(counts)
    return float(found.max() / found.sum())


@dataclass(frozen=True)
class CodeStatistics:
    """Use of one codebook.

    Attributes:
        codes: Occurrences counted.
        size: Size of the codebook.
        usage: Share of the codebook that occurs.
        dead: Codes that do not occur.
        perplexity: Effective number of codes.
        entropy_bits: Entropy as counted.
        entropy_corrected_bits: Entropy with Miller's correction.
        top_share: Share of the most frequent code.
        codes_per_s: Codes in a second of sound; None where it is not known.
        rate_bit_per_s: ``codes_per_s`` times the corrected entropy, never more than codes of fixed length take: what
            an ideal coder of independent codes needs.
    """

    codes: int
    size: int
    usage: float
    dead: int
    perplexity: float
    entropy_bits: float
    entropy_corrected_bits: float
    top_share: float
    codes_per_s: float | None = None
    rate_bit_per_s: float | None = None


def code_statistics(counts: Counts, *, seconds: float | None = None) -> CodeStatistics:
    """All statistics of one codebook.

    Args:
        counts: Shape ``(codes,)``.
        seconds: Duration of the sound that the counts are of.

    Raises:
        Undefined: If nothing was counted.
        ValueError: If counts are no counts, or ``seconds`` is not above 0.
    """
    found = _checked(counts)
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds must be above 0, got {seconds}")
    corrected = entropy_bits(found, corrected=True)
    speed = None if seconds is None else float(found.sum()) / seconds
    return CodeStatistics(
        codes=int(found.sum()),
        size=len(found),
        usage=usage(found),
        dead=dead(found),
        perplexity=perplexity(found),
        entropy_bits=entropy_bits(found),
        entropy_corrected_bits=corrected,
        top_share=top_share(found),
        codes_per_s=speed,
        rate_bit_per_s=None if speed is None else speed * min(corrected, math.log2(len(found))),
    )


def bit_rate(levels: Mapping[str, CodeStatistics]) -> float:
    """Bits per second of all levels together.

    Raises:
        Undefined: If there is no level, or the duration of one is not known.
    """
    rates = [level.rate_bit_per_s for level in levels.values()]
    if not rates or any(rate is None for rate in rates):
        raise Undefined("the bit rate needs the duration of every level")
    return math.fsum(rate for rate in rates if rate is not None)
