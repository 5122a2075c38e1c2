import itertools
import math

import pytest

from models.training.schedule import warmup_cosine


def test_known_values() -> None:
    assert warmup_cosine(0, 0.0, warmup_steps=10) == pytest.approx(0.1)
    assert warmup_cosine(9, 0.0, warmup_steps=10) == pytest.approx(1.0)
    assert warmup_cosine(500, 0.5, warmup_steps=10, final=0.0) == pytest.approx(0.5)
    assert warmup_cosine(1000, 1.0, warmup_steps=10, final=0.02) == pytest.approx(0.02)
    assert warmup_cosine(1000, 7.0, warmup_steps=10, final=0.02) == pytest.approx(0.02)


def test_never_rises_after_the_warm_up() -> None:
    values = [warmup_cosine(step, step / 100, warmup_steps=5) for step in range(5, 101)]
    assert all(math.isfinite(v) and b <= v for v, b in itertools.pairwise(values))
