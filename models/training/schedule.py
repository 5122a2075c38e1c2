"""Learning-rate schedule: linear warm-up, then half a cosine."""

from __future__ import annotations

import math


def warmup_cosine(step: int, done: float, *, warmup_steps: int, final: float = 0.02) -> float:
    """Factor on the peak learning rate.

    Args:
        step: Steps taken so far.
        done: Share of the whole run that is done, 0 to 1; by steps or by wall time.
        warmup_steps: Steps of the linear rise from 0.
        final: Factor at the end.

    >>> warmup_cosine(0, 0.0, warmup_steps=10), warmup_cosine(100, 1.0, warmup_steps=10)
    (0.1, 0.02)
    """
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    fall = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return round(rise * fall, 12)
