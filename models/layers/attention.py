"""Attention with learned relative positions, and what a step by step decoder keeps of it.

Which key stands where, seen from a query, is a table of offset numbers ``(queries, keys)``. Sequences and grids,
causal masks and attention from one map to another differ in that table only.

Source:
    Vaswani et al., "Attention Is All You Need", 2017;
    Huang et al., "Music Transformer", 2018 (a learned vector for every offset);
    Raffel et al., "Exploring the Limits of Transfer Learning", 2020 (a learned number for every offset);
    Press et al., "Train Short, Test Long", 2021 (the slopes that those numbers start from).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sequence_offsets(queries: Tensor, keys: Tensor) -> tuple[Tensor, int]:
    """Offset numbers along a sequence.

    Args:
        queries: Places of the queries, integers, shape ``(queries,)``.
        keys: Places of the keys, shape ``(keys,)``.

    Returns:
        Numbers from 0, shape ``(queries, keys)``, and how many there can be.
    """
    offsets = queries[:, None] - keys[None, :]
    low = int(offsets.min())
    return offsets - low, int(offsets.max()) - low + 1


def grid_offsets(queries: Tensor, keys: Tensor) -> tuple[Tensor, int, Tensor]:
    """Offset numbers on a grid.

    Args:
        queries: Cells of the queries, integers, shape ``(queries, 2)``.
        keys: Cells of the keys, shape ``(keys, 2)``.

    Returns:
        Numbers from 0, shape ``(queries, keys)``, how many there can be, and the city-block distance that each stands
        for, shape ``(numbers,)``.
    """
    offsets = queries[:, None] - keys[None, :]
    low, high = offsets.amin((0, 1)), offsets.amax((0, 1))
    height, width = (high - low + 1).tolist()
    numbers = (offsets[..., 0] - low[0]) * width + offsets[..., 1] - low[1]
    first = (torch.arange(height) + low[0]).abs()
    second = (torch.arange(width) + low[1]).abs()
    return numbers, height * width, (first[:, None] + second[None, :]).flatten()


class OffsetVectors(nn.Module):
    """A learned vector for every head and offset; the query's product with it is added to the attention logit.

    Args:
        index: Offset numbers, shape ``(queries, keys)``.
        offsets: How many numbers there are.
        heads: Attention heads.
        head_dim: Width of a head.
    """

    index: Tensor

    def __init__(self, index: Tensor, offsets: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("index", index, persistent=False)
        self.vectors = nn.Parameter(torch.randn(heads, offsets, head_dim) * head_dim**-0.5)

    def forward(self, query: Tensor, rows: slice, keys: int) -> Tensor:
        """Addition to the logits, ``(batch, heads, queries, keys)``; queries are scaled, head_dim wide."""
        every = query @ self.vectors.transpose(1, 2).to(query.dtype)
        index = self.index[rows, :keys].expand(query.shape[0], query.shape[1], -1, -1)
        return every.gather(-1, index)


class OffsetBias(nn.Module):
    """A learned number for every head and offset, added to the attention logit.

    Args:
        index: Offset numbers, shape ``(queries, keys)``.
        distance: How far each offset reaches, shape ``(offsets,)``; the numbers start as minus slope times distance,
            with slopes from 1/2 down to 1/64 over the first three quarters of the heads and none in the rest.
        heads: Attention heads.
    """

    index: Tensor

    def __init__(self, index: Tensor, distance: Tensor, *, heads: int) -> None:
        super().__init__()
        self.register_buffer("index", index, persistent=False)
        sloped = max(1, heads * 3 // 4)
        slopes = torch.zeros(heads)
        slopes[:sloped] = 0.5 ** torch.linspace(1.0, 6.0, sloped)
        self.bias = nn.Parameter(-slopes[:, None] * distance)

    def forward(self, query: Tensor, rows: slice, keys: int) -> Tensor:
        """Addition to the logits, ``(heads, queries, keys)``; the queries themselves do not matter."""
        return self.bias[:, self.index[rows, :keys]].to(query.dtype)


class RelativeAttention(nn.Module):
    """Multi-head attention of queries to keys, of which some are hidden.

    Args:
        d_model: Width; a multiple of ``heads``.
        heads: Attention heads.
        relative: What the offsets add to the logits; ``None`` for attention without them.
        hidden: True where a query must not see a key, shape ``(queries, keys)``; ``None`` hides nothing.
        dropout: Share of attention weights dropped in training.
    """

    hidden: Tensor | None

    def __init__(
        self,
        d_model: int,
        heads: int,
        *,
        relative: OffsetVectors | OffsetBias | None,
        hidden: Tensor | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if d_model % heads:
            raise ValueError(f"d_model must be a multiple of heads, got {d_model} and {heads}")
        self.heads, self.head_dim = heads, d_model // heads
        self.relative = relative
        self.to_query = nn.Linear(d_model, d_model)
        self.to_memory = nn.Linear(d_model, 2 * d_model)
        self.to_output = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("hidden", hidden, persistent=False)

    def memory(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``(batch, heads, keys, head_dim)`` of ``(batch, keys, d_model)``."""
        keys, values = self._split(self.to_memory(x), 2)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, rows: slice | None = None) -> Tensor:
        """What queries find, ``(batch, queries, d_model)``.

        Args:
            x: Queries, shape ``(batch, queries, d_model)``.
            keys: From `memory`; the first ones if there are fewer than the table has.
            values: From `memory`.
            rows: Which queries of the table these are; all of them, from the first, when ``None``.
        """
        n, count = x.shape[1], keys.shape[2]
        rows = slice(0, n) if rows is None else rows
        (query,) = self._split(self.to_query(x), 1)
        query = query * (1.0 / math.sqrt(self.head_dim))
        # Not matmul: it would copy the keys of a partly filled cache.
        shape = (x.shape[0], self.heads, n, count)
        logits = torch.bmm(query.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2)).reshape(shape)
        change = self.relative(query, rows, count) if self.relative is not None else logits.new_zeros(())
        if self.hidden is not None:
            change = change.masked_fill(self.hidden[rows, :count], -torch.inf)
        # Autocast would carry all logits to float32 and back for the softmax, which sums in float32 anyway.
        with torch.autocast(x.device.type, enabled=False):
            weights = torch.softmax(logits + change.to(logits.dtype), -1)
        found = torch.bmm(self.dropout(weights).flatten(0, 1), values.flatten(0, 1))
        found = found.reshape(x.shape[0], self.heads, n, -1).transpose(1, 2).reshape(x.shape[0], n, -1)
        return torch.as_tensor(self.to_output(found))

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        batch, n, _ = x.shape
        return x.reshape(batch, n, parts, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
