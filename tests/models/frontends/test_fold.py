import pytest
import torch

from models.frontends.fold import fold, pad_to_multiple, unfold


@pytest.mark.parametrize("n", [1, 8, 16, 32, 64])
@pytest.mark.parametrize("frames", [1, 63, 64, 100])
def test_unfolding_undoes_folding(n: int, frames: int) -> None:
    mel = torch.randn(3, 5, frames)
    tokens = fold(mel, n, floor=-5.0)
    assert tokens.shape == (3, -(-frames // n), 5 * n)
    torch.testing.assert_close(unfold(tokens, n, frames=frames), mel, rtol=0, atol=0)
    rest = unfold(tokens, n)[..., frames:]
    assert bool((rest == -5.0).all())


@pytest.mark.parametrize("n", [2, 8])
def test_folding_undoes_unfolding(n: int) -> None:
    tokens = torch.randn(2, 4, 6 * n)
    torch.testing.assert_close(fold(unfold(tokens, n), n, floor=0.0), tokens, rtol=0, atol=0)


def test_tokens_are_mel_major() -> None:
    mel = torch.arange(2 * 128 * 96).reshape(2, 128, 96).float()
    tokens = fold(mel, 32, floor=0.0)
    assert tokens.shape == (2, 3, 4096)
    assert tokens[1, 2, 77 * 32 + 5] == mel[1, 77, 2 * 32 + 5]


def test_padding_leaves_whole_blocks_alone() -> None:
    mel = torch.randn(1, 2, 16)
    assert pad_to_multiple(mel, 8, floor=0.0) is mel
    assert pad_to_multiple(mel[..., :0], 8, floor=-5.0).shape == (1, 2, 8)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 column"):
        pad_to_multiple(torch.zeros(1, 2, 3), 0, floor=0.0)
    with pytest.raises(ValueError, match="batch, n_mels, frames"):
        fold(torch.zeros(2, 3), 2, floor=0.0)
    with pytest.raises(ValueError, match="tokens must have shape"):
        unfold(torch.zeros(1, 2, 7), 2)
    with pytest.raises(ValueError, match="hold 4 frames"):
        unfold(torch.zeros(1, 2, 6), 2, frames=5)
