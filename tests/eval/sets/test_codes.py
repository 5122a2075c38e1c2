import math

import numpy as np
import pytest
import torch

from eval.sets import Undefined
from eval.sets.codes import bit_rate, code_counts, code_statistics, dead, entropy_bits, perplexity, top_share, usage


def test_counts_know_no_batches() -> None:
    codes = torch.randint(16, (6, 4, 5), generator=torch.Generator().manual_seed(0))
    whole = code_counts([codes], 20)
    assert whole.sum() == codes.numel()
    assert np.array_equal(whole, code_counts(codes, 20))
    assert np.array_equal(whole, code_counts([codes[:1], codes[1:].numpy()], 20))
    assert code_counts([], 4).tolist() == [0, 0, 0, 0]
    for wrong in ([20], [-1]):
        with pytest.raises(ValueError, match="do not lie in a codebook of 20"):
            code_counts([wrong], 20)


def test_known_counts() -> None:
    counts = np.array([4, 4, 8, 0])
    assert (usage(counts), dead(counts), top_share(counts)) == (0.75, 1, 0.5)
    assert entropy_bits(counts) == pytest.approx(1.5)
    assert perplexity(counts) == pytest.approx(2**1.5)
    assert entropy_bits(counts, corrected=True) == pytest.approx(1.5 + 2 / 32 / math.log(2))
    assert (perplexity(np.array([0, 9])), entropy_bits(np.array([0, 9]))) == (1.0, 0.0)


def test_correction_takes_most_of_the_bias_off() -> None:
    generator = np.random.default_rng(0)
    draws = [np.bincount(generator.integers(64, size=300), minlength=64) for _ in range(200)]
    plain, corrected = (np.mean([entropy_bits(d, corrected=c) for d in draws]) for c in (False, True))
    assert plain < 5.9
    assert abs(corrected - 6.0) < 0.2 * abs(plain - 6.0)


def test_rate_adds_the_levels_up() -> None:
    even = code_statistics(np.full(512, 1000), seconds=4_000.0)
    assert even.rate_bit_per_s == pytest.approx(128.0 * 9.0)
    other = code_statistics(np.array([16, 16]), seconds=4.0)
    assert other.codes_per_s == 8.0
    assert bit_rate({"top": even, "bottom": other}) == pytest.approx(128.0 * 9.0 + 8.0)
    with pytest.raises(Undefined):
        bit_rate({"top": code_statistics(np.array([1, 1]))})
    with pytest.raises(Undefined):
        bit_rate({})


def test_what_has_no_statistics() -> None:
    for function in (usage, entropy_bits, perplexity, dead, top_share, code_statistics):
        with pytest.raises(Undefined, match="no code occurs"):
            function(np.zeros(4, dtype=np.int64))
        with pytest.raises(ValueError, match="whole numbers"):
            function(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="seconds"):
        code_statistics(np.array([1, 2]), seconds=0.0)
