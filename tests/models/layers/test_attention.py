import pytest
import torch

from models.layers.attention import OffsetBias, OffsetVectors, RelativeAttention, grid_offsets, sequence_offsets

PLACES = torch.arange(6)
CELLS = torch.tensor([(b, f) for f in range(2) for b in range(3)])


def vectors(heads: int = 2, head_dim: int = 4) -> OffsetVectors:
    index, offsets = sequence_offsets(PLACES, PLACES)
    return OffsetVectors(index, offsets, heads=heads, head_dim=head_dim)


def bias(heads: int = 4) -> OffsetBias:
    index, _, distance = grid_offsets(CELLS, CELLS)
    return OffsetBias(index, distance, heads=heads)


def test_sequence_offsets_are_one_number_per_distance() -> None:
    index, offsets = sequence_offsets(PLACES, PLACES)
    assert offsets == 11
    assert index.min() == 0
    assert index.max() == 10
    for i in range(6):
        for j in range(6):
            assert index[i, j] == i - j + 5


def test_grid_offsets_are_equal_where_steps_are() -> None:
    index, offsets, distance = grid_offsets(CELLS, CELLS)
    assert offsets == 5 * 3
    step: dict[tuple[int, int], int] = {}
    for i, (b, f) in enumerate(CELLS.tolist()):
        for j, (c, g) in enumerate(CELLS.tolist()):
            number = int(index[i, j])
            assert step.setdefault((b - c, f - g), number) == number
            assert distance[number] == abs(b - c) + abs(f - g)
    assert len(set(step.values())) == len(step) == offsets


def test_vectors_add_the_product_with_the_offset_s_vector() -> None:
    torch.manual_seed(0)
    relative = vectors()
    query = torch.randn(3, 2, 6, 4)
    found = relative(query, slice(0, 6), 6)
    for i, j in ((0, 0), (5, 1), (2, 4)):
        expected = (query[:, :, i] * relative.vectors[:, i - j + 5]).sum(-1)
        torch.testing.assert_close(found[:, :, i, j], expected)


def test_bias_starts_as_slopes_over_distance() -> None:
    relative = bias()
    found = relative(torch.zeros(1, 4, 6, 8), slice(0, 6), 6).detach()
    assert found.shape == (4, 6, 6)
    assert not found[3].any()
    assert float(found[0, 0, 1]) == pytest.approx(-0.5)
    assert float(found[0, 0, 2]) == pytest.approx(-1.0)
    assert (found.diagonal(dim1=1, dim2=2) == 0).all()


def test_attention_without_offsets_is_torch_s_own() -> None:
    torch.manual_seed(1)
    mine = RelativeAttention(8, 2, relative=None, hidden=torch.ones(6, 6, dtype=torch.bool).triu(1))
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([mine.to_query.weight, mine.to_memory.weight]))
        theirs.in_proj_bias.copy_(torch.cat([mine.to_query.bias, mine.to_memory.bias]))
        theirs.out_proj.weight.copy_(mine.to_output.weight)
        theirs.out_proj.bias.copy_(mine.to_output.bias)
    x = torch.randn(3, 6, 8)
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(mine(x, *mine.memory(x)), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["vectors", "bias"])
def test_rows_of_the_table_are_the_queries_of_a_whole_run(kind: str) -> None:
    torch.manual_seed(2)
    relative = vectors(heads=4, head_dim=2) if kind == "vectors" else bias()
    attention = RelativeAttention(8, 4, relative=relative, hidden=torch.ones(6, 6, dtype=torch.bool).triu(1))
    x = torch.randn(2, 6, 8)
    keys, values = attention.memory(x)
    whole = attention(x, keys, values)
    for i in range(6):
        one = attention(x[:, i : i + 1], keys[:, :, : i + 1], values[:, :, : i + 1], slice(i, i + 1))
        torch.testing.assert_close(one, whole[:, i : i + 1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["vectors", "bias"])
def test_offsets_learn(kind: str) -> None:
    relative = vectors(heads=4, head_dim=2) if kind == "vectors" else bias()
    attention = RelativeAttention(8, 4, relative=relative)
    x = torch.randn(2, 6, 8)
    attention(x, *attention.memory(x)).square().sum().backward()
    for parameter in relative.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().sum()) > 0


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        RelativeAttention(10, 4, relative=None)
