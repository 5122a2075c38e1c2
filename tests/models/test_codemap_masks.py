import pytest
import torch

from models.codemap_masks import (
    MIXTURE,
    STRATEGIES,
    TASKS,
    beneath,
    bernoulli,
    count,
    draw_masks,
    mixture,
    task_masks,
    zones,
)
from models.errors import InputError

SHAPE = (32, 4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pieces(mask: torch.Tensor) -> int:
    """Number of four-connected regions of a mask."""
    left = {tuple(cell) for cell in mask.nonzero().tolist()}
    found = 0
    while left:
        found += 1
        edge = [left.pop()]
        while edge:
            b, f = edge.pop()
            for cell in ((b + 1, f), (b - 1, f), (b, f + 1), (b, f - 1)):
                if cell in left:
                    left.remove(cell)
                    edge.append(cell)
    return found


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_masks_have_their_shape_and_repeat(strategy: str) -> None:
    masks = draw_masks(strategy, 5, SHAPE, generator())
    assert masks.shape == (5, 32, 4)
    assert masks.dtype == torch.bool
    assert torch.equal(masks, draw_masks(strategy, 5, SHAPE, generator()))


def test_full_hides_everything() -> None:
    assert draw_masks("full", 3, SHAPE, generator()).all()


def test_bernoulli_has_one_probability_a_batch_and_all_of_them_over_batches() -> None:
    shares = torch.stack([bernoulli(16, SHAPE, generator(s)).float().mean((1, 2)) for s in range(300)])
    # Within a batch the shares scatter as those of 128 draws do; between batches they fill [0, 1] evenly.
    assert float(shares.std(1).max()) < 0.09
    means = shares.mean(1)
    assert float(means.mean()) == pytest.approx(0.5, abs=0.06)
    assert float(means.std()) == pytest.approx(12**-0.5, abs=0.03)


def test_count_is_uniform_from_one_to_all() -> None:
    hidden = count(4000, SHAPE, generator()).sum((1, 2))
    assert int(hidden.min()) >= 1
    assert int(hidden.max()) == 128
    assert float(hidden.float().mean()) == pytest.approx(64.5, abs=2.0)
    quarters = torch.histc(hidden.float(), 4, 0.5, 128.5) / 4000
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_zones_are_few_pieces() -> None:
    masks = zones(200, SHAPE, generator())
    scattered = count(200, SHAPE, generator())
    hidden_or_kept = [min(pieces(m), pieces(~m)) for m in masks]
    assert max(hidden_or_kept) <= 3
    assert sum(pieces(m) for m in scattered) > 5 * sum(pieces(m) for m in masks)
    assert masks.flatten(1).any(1).all()


def test_mixture_holds_its_shares() -> None:
    masks = mixture(3000, SHAPE, generator())
    full_share = masks.flatten(1).all(1).float().mean()
    # Zones and counts are now and then the whole map, too.
    assert MIXTURE["full"] - 0.03 < float(full_share) < MIXTURE["full"] + 0.1
    assert sum(MIXTURE.values()) == pytest.approx(1.0)


def test_beneath_marks_the_whole_patch() -> None:
    top = torch.zeros(1, 2, 2, dtype=torch.bool)
    top[0, 1, 0] = True
    assert beneath(top, 2)[0].int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_tasks_of_the_page() -> None:
    top, bottom = task_masks(TASKS[0], SHAPE, 2)
    assert top[:, :2].all()
    assert not top[:, 2:].any()
    assert bottom[:, :4].all()
    assert not bottom[:, 4:].any()
    top, bottom = task_masks(TASKS[1], SHAPE, 2)
    assert top[:8].all()
    assert not top[8:].any()
    assert int(bottom.sum()) == 16 * 8
    top, bottom = task_masks(TASKS[2], SHAPE, 2)
    assert not top.any()
    assert bottom.shape == (64, 8)
    assert bottom.all()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="known: full, bernoulli"):
        draw_masks("half", 1, SHAPE, generator())
    with pytest.raises(InputError, match="two_seconds_all_frequencies"):
        task_masks("half", SHAPE, 2)
