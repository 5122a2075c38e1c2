"""Random draws of units, made once for every column that has the same number of them.

A draw is a row of counts (how often each unit is taken) or of signs; what it makes of a column of units is their
weighted sum, so that thousands of draws of hundreds of columns are one product of matrices. The columns hold whole
numbers small enough for every sum to be exact in float64: an order of summation, a block size, a number of threads or a
library for matrices changes no bit of the result.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["resample", "flip"]

# Numbers of one call to the generator. Part of the definition: for signs, the stream depends on it.
_DRAWN = 1 << 20
_BLOCK = 1 << 18
_FEW_COLUMNS = 2


def default_threads() -> int:
    """How many threads a table of statistics may use: one a core, at most eight."""
    return max(1, min(8, os.cpu_count() or 1))


def whole_numbers(columns: Floats) -> tuple[Floats, Floats]:
    """Columns as whole numbers whose weighted sums over a draw are exact.

    Args:
        columns: Shape ``(units, columns)``.

    Returns:
        The whole numbers and the size of their unit, one a column; the error is at most half a unit, which is below
        ``units · 2⁻⁵²`` of the largest entry.
    """
    bits = 52 - max(1, int(np.ceil(np.log2(max(2, columns.shape[0])))))
    largest = np.abs(columns).max(axis=0, initial=0.0)
    _, exponent = np.frexp(largest)
    # In two steps: a power of two that brings a denormal number up is no finite number itself.
    shift = bits - exponent
    half = shift // 2
    whole = np.rint(np.ldexp(np.ldexp(columns, half), shift - half))
    return whole, np.ldexp(np.ldexp(np.ones(columns.shape[1]), -half), half - shift)


def drawn_sums(
    tables: Sequence[Floats], *, draws: int, seed: int | Sequence[int], kind: Kind, threads: int = 1
) -> list[Floats]:
    """Weighted sums of the columns of many tables under the same draws.

    Tables of one number of units share their draws by the position of the unit, so what a position means has to be
    settled by the caller, for instance by sorting.

    Args:
        tables: Whole numbers, each of shape ``(units, columns)``; see :func:`whole_numbers`.
        draws: Number of draws.
        seed: Seed of the draws.
        kind: ``"resample"`` takes as many units as there are, with replacement; ``"flip"`` takes each unit or not.
        threads: How many threads work at it; no result depends on it.

    Returns:
        One array of shape ``(draws, columns)`` a table.
    """
    results = [np.empty((draws, table.shape[1])) for table in tables]
    by_units: dict[int, list[int]] = {}
    for index, table in enumerate(tables):
        by_units.setdefault(table.shape[0], []).append(index)
    for units, members in by_units.items():
        joined = np.ascontiguousarray(np.concatenate([tables[index] for index in members], axis=1))
        made = _sums(joined, units, draws, seed, kind, threads)
        start = 0
        for index in members:
            width = tables[index].shape[1]
            results[index] = made[:, start : start + width]
            start += width
    return results


def resampled_positions(units: int, draws: int, seed: int | Sequence[int]) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Rows of drawn positions, a bounded number at a time, each with the number of its first row."""
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWN // units)
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        yield start, generator.integers(0, units, size=(count, units), dtype=np.int32)


def _flips(units: int, draws: int, seed: int | Sequence[int]) -> Iterator[tuple[int, NDArray[np.int8]]]:
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWN // units)
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        yield start, generator.integers(0, 2, size=(count, units), dtype=np.int8)


def counted(drawn: NDArray[np.int32], units: int, dtype: type = np.float64) -> NDArray[np.floating]:
    """How often each unit occurs in each row, shape ``(rows, units)``."""
    if units >= 512:
        counts: NDArray[np.floating] = np.empty((len(drawn), units), dtype=dtype)
        for index, row in enumerate(drawn):
            counts[index] = np.bincount(row, minlength=units)
        return counts
    shifted = drawn + np.arange(len(drawn), dtype=np.int64)[:, None] * units
    return np.bincount(shifted.ravel(), minlength=len(drawn) * units).reshape(len(drawn), units).astype(dtype)


def _sums(table: Floats, units: int, draws: int, seed: int | Sequence[int], kind: Kind, threads: int) -> Floats:
    sums = np.empty((draws, table.shape[1]))
    few = kind == "resample" and table.shape[1] <= _FEW_COLUMNS

    def fill(start: int, drawn: NDArray[np.int32] | NDArray[np.int8]) -> None:
        rows = len(drawn) if few else max(1, _BLOCK // units)
        for first in range(0, len(drawn), rows):
            part = drawn[first : first + rows]
            target = sums[start + first : start + first + len(part)]
            if few:
                for column in range(table.shape[1]):
                    target[:, column] = table[:, column].take(part).sum(axis=1)
            elif kind == "resample":
                np.matmul(counted(part, units), table, out=target)  # type: ignore[arg-type]
            else:
                np.matmul(part.astype(np.float64), table, out=target)

    stream = resampled_positions(units, draws, seed) if kind == "resample" else _flips(units, draws, seed)
    if threads <= 1 or draws * units <= 4 * _DRAWN:
        for start, drawn in stream:
            fill(start, drawn)
        return sums
    # Few pieces wait at a time, which keeps memory flat.
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[None]] = deque()
        for start, drawn in stream:
            running.append(pool.submit(fill, start, drawn))
            if len(running) > threads:
                running.popleft().result()
        for future in running:
            future.result()
    return sums
