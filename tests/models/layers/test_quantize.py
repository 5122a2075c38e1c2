import pytest
import torch

from models.layers.quantize import Codebook


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def trained_book() -> tuple[Codebook, torch.Tensor]:
    """Thirty-two codes taught on eight well separated clusters, and the centres of these."""
    book = Codebook(32, 4)
    centres = torch.randn(8, 4, generator=generator()) * 10.0
    draws = generator()
    for _ in range(50):
        pick = torch.randint(8, (256,), generator=draws)
        flat = centres[pick] + 0.01 * torch.randn(256, 4, generator=draws)
        book(flat.T.reshape(1, 4, 16, 16), draws)
    return book.train(False), centres


def normalised(book: Codebook, x: torch.Tensor) -> torch.Tensor:
    return (x - book.mean[:, None, None]) / book.variance.sqrt()[:, None, None]


def test_picks_the_nearest_code() -> None:
    book, _ = trained_book()
    x = torch.randn(2, 4, 3, 5, generator=generator()) * 10
    out = book(x)
    distance = torch.cdist(normalised(book, x).permute(0, 2, 3, 1).reshape(-1, 4), book.codes)
    assert torch.equal(out.codes.flatten(), distance.argmin(1))
    torch.testing.assert_close(out.vectors, book.lookup(out.codes))


def test_codes_find_the_clusters() -> None:
    book, centres = trained_book()
    points = normalised(book, centres.T[None, :, :, None])[0, :, :, 0].T
    assert float(torch.cdist(points, book.codes).min(1).values.max()) < 0.1


def test_gradient_goes_straight_through() -> None:
    book, _ = trained_book()
    x = torch.randn(1, 4, 2, 2, generator=generator(), requires_grad=True)
    weight = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(6))
    (book(x).vectors * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight / book.variance.sqrt()[:, None, None])


def test_commitment_pulls_the_input_only() -> None:
    book, _ = trained_book()
    x = torch.randn(1, 4, 2, 2, generator=generator(), requires_grad=True)
    out = book(x)
    out.commitment.backward()
    gap = normalised(book, x.detach()) - book.lookup(out.codes)
    expected = 2.0 * gap / x.numel() / book.variance.sqrt()[:, None, None]
    torch.testing.assert_close(x.grad, expected)
    assert not list(book.parameters())


def test_a_dead_code_comes_back() -> None:
    torch.manual_seed(0)
    book = Codebook(4, 2, restart_below=0.1)
    near = torch.rand(1, 2, 8, 8, generator=generator())
    book(near, generator())
    book.codes[3] = book.sums[3] = torch.tensor([1e3, 1e3])
    book.counts[3] = 1.0
    draws = generator()
    for _ in range(400):
        book(near + 0.01, draws)
    assert float(book.codes.abs().max()) < 10.0
    assert len(book(near).codes.unique()) == 4


def test_delay_lets_vectors_through() -> None:
    book = Codebook(4, 2, delay=2)
    x = torch.randn(1, 2, 4, 4, generator=generator())
    for _ in range(2):
        assert torch.equal(book(x, generator()).vectors, normalised(book, x))
    assert not bool(book.ready)
    assert not torch.equal(book(x, generator()).vectors, normalised(book, x))
    assert bool(book.ready)


def test_no_learning_outside_training() -> None:
    book, _ = trained_book()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    book(torch.randn(1, 4, 4, 4, generator=generator()))
    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())


def test_perplexity_counts_codes() -> None:
    book, centres = trained_book()
    even = centres.T.reshape(1, 4, 2, 4)
    assert float(book(even).perplexity) == pytest.approx(8.0, abs=1e-3)
    assert float(book(centres[:1].T.reshape(1, 4, 1, 1).expand(1, 4, 3, 3)).perplexity) == pytest.approx(1.0)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        Codebook(0, 4)
    with pytest.raises(ValueError, match=r"0\.\.3"):
        Codebook(4, 2).lookup(torch.tensor([[[4]]]))


def test_fitted_codes_are_those_of_the_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [9.0, 9.0]])
    vectors = centres.repeat(200, 1) + 0.01 * torch.randn(800, 2, generator=generator)
    book = Codebook(4, 2)
    book.fit(vectors, generator)
    assert bool(book.ready)
    assert len(book.nearest(vectors).unique()) == 4
    found = book.codes[book.nearest(centres)]
    torch.testing.assert_close(found, centres, atol=0.01, rtol=0)


def test_slices_do_not_change_the_fit() -> None:
    vectors = torch.randn((1 << 16) + 500, 2, generator=torch.Generator().manual_seed(1))
    book = Codebook(8, 2)
    book.fit(vectors, torch.Generator().manual_seed(2), rounds=3)
    use = torch.bincount(book.nearest(vectors), minlength=8)
    assert int(use.sum()) == len(vectors)
    assert int(use.min()) > 2000
