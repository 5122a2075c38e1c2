"""Which tokens of a code map are hidden and drawn anew: strategies for training, and the tasks of NOTONO's page.

A mask is Boolean, shape ``(batch, bins, frames)``, true where a token is to be redrawn. All draws come from the
generator that is handed in.

What NOTONO publishes for training is `bernoulli` with one probability a batch, and `count`. Users paint contiguous
zones, which its code leaves as a note; `zones` draws those, and `mixture` draws each row by one of the strategies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.errors import InputError

Shape = tuple[int, int]
Strategy = Callable[[int, Shape, torch.Generator], Tensor]


def full(batch: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """Everything hidden, as in generation from nothing."""
    return torch.ones(batch, *shape, dtype=torch.bool)


def bernoulli(batch: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """Every token hidden by itself, with one probability a batch, drawn from all between 0 and 1."""
    probability = torch.rand((), generator=generator)
    return torch.rand(batch, *shape, generator=generator) < probability


def count(batch: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """A number of hidden tokens, uniform from 1 to all of them, a row; which ones is chance."""
    cells = shape[0] * shape[1]
    hidden = torch.randint(1, cells + 1, (batch, 1), generator=generator)
    ranks = torch.rand(batch, cells, generator=generator).argsort(-1).argsort(-1)
    return (ranks < hidden).reshape(batch, *shape)


def zones(batch: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """One to three rectangles a row; in half of the rows they are what is kept."""
    bins, frames = shape
    rows = torch.arange(bins)[:, None]
    columns = torch.arange(frames)[None, :]
    masks = []
    for _ in range(batch):
        mask = torch.zeros(shape, dtype=torch.bool)
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            height = int(torch.randint(1, bins + 1, (), generator=generator))
            width = int(torch.randint(1, frames + 1, (), generator=generator))
            low = int(torch.randint(0, bins - height + 1, (), generator=generator))
            start = int(torch.randint(0, frames - width + 1, (), generator=generator))
            mask |= (rows >= low) & (rows < low + height) & (columns >= start) & (columns < start + width)
        if torch.rand((), generator=generator) < 0.5 and not bool(mask.all()):
            mask = ~mask
        masks.append(mask)
    return torch.stack(masks)


MIXTURE: Mapping[str, float] = {"full": 0.35, "zones": 0.35, "bernoulli": 0.15, "count": 0.15}


def mixture(batch: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """Each row by one of the other strategies, by the shares of ``MIXTURE``; a probability a row for `bernoulli`."""
    shares = torch.tensor(list(MIXTURE.values()))
    picks = torch.multinomial(shares, batch, replacement=True, generator=generator).tolist()
    names = list(MIXTURE)
    return torch.cat([STRATEGIES[names[pick]](1, shape, generator) for pick in picks])


STRATEGIES: dict[str, Strategy] = {
    "full": full,
    "bernoulli": bernoulli,
    "count": count,
    "zones": zones,
    "mixture": mixture,
}


def draw_masks(strategy: str, batch: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """Masks of a training batch.

    Raises:
        InputError: If there is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"mask strategy {strategy!r} is unknown; known: {', '.join(STRATEGIES)}")
    return STRATEGIES[strategy](batch, shape, generator)


def beneath(mask_top: Tensor, patch: int) -> Tensor:
    """Bottom cells under the marked top cells, ``(batch, bins * patch, frames * patch)``."""
    return mask_top.repeat_interleave(patch, -2).repeat_interleave(patch, -1)


def first_half(shape: Shape) -> Tensor:
    """The first two of four seconds, over all frequencies; shape ``(bins, frames)``."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, : shape[1] // 2] = True
    return mask


def lowest_quarter(shape: Shape) -> Tensor:
    """The lowest quarter of the bins, over all of the time; shape ``(bins, frames)``."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[: shape[0] // 4] = True
    return mask


TASKS: tuple[str, ...] = (
    "two_seconds_all_frequencies",
    "all_duration_bottom_quarter_frequencies",
    "keep_top_resample_full_bottom",
)
"""The inpainting tasks of NOTONO's page, by the names of its folders."""


def task_masks(task: str, shape_top: Shape, patch: int) -> tuple[Tensor, Tensor]:
    """Top mask ``(bins, frames)`` and bottom mask ``(bins * patch, frames * patch)`` of a task.

    Raises:
        InputError: If there is no such task.
    """
    if task == TASKS[0]:
        top = first_half(shape_top)
    elif task == TASKS[1]:
        top = lowest_quarter(shape_top)
    elif task == TASKS[2]:
        top = torch.zeros(shape_top, dtype=torch.bool)
        return top, torch.ones(shape_top[0] * patch, shape_top[1] * patch, dtype=torch.bool)
    else:
        raise InputError(f"inpainting task {task!r} is unknown; known: {', '.join(TASKS)}")
    return top, beneath(top, patch)
