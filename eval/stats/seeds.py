"""Variance of training seeds apart from that of clips.

Several trainings of one model, scored on the same clips, make a table of trainings by clips. Its spread has three
parts: trainings differ overall, clips differ overall, and each training has clips of its own that it does well on. Only
the first part says how far another training might land; no number of clips makes it smaller.

Source:
    Searle, Casella and McCulloch, "Variance Components", 1992, chapter 4: two-way crossed model, one value a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VarianceComponents:
    """Parts of the spread of a table of trainings by clips, as standard deviations in the unit of the values.

    Attributes:
        mean: Mean over trainings and clips.
        seed_sd: Between trainings; 0 where the estimate of its square is not above 0.
        clip_sd: Between clips.
        rest_sd: What is left: training and clip together.
        error: Standard error of ``mean`` for another set of clips and other trainings.
        error_one_seed: Standard error of one training's mean, the training being drawn as well.
        error_clips_only: Standard error of ``mean`` as far as clips make it, the trainings being as they are.
        seeds: Number of trainings.
        clips: Number of common clips.
    """

    mean: float
    seed_sd: float
    clip_sd: float
    rest_sd: float
    error: float
    error_one_seed: float
    error_clips_only: float
    seeds: int
    clips: int


def variance_components(rows: Sequence[Sequence[float | None]]) -> VarianceComponents | None:
    """Keep the variance of trainings apart from that of clips.

    Args:
        rows: One sequence a training, with one value a clip in the same order, ``None`` where there is none. Only
            clips that every training has a value for are used.

    Returns:
        The parts; ``None`` for fewer than two trainings or two common clips.

    Raises:
        ValueError: If the rows differ in length or a value is not finite.
    """
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"rows have lengths {', '.join(str(len(row)) for row in rows)}; one is needed")
    columns = [column for column in zip(*rows, strict=True) if all(value is not None for value in column)]
    seeds, clips = len(rows), len(columns)
    if seeds < 2 or clips < 2:
        return None
    table = np.array(columns, dtype=np.float64).T
    if not np.isfinite(table).all():
        raise ValueError("values contain NaN or infinity; leave clips without a value out")
    mean = float(table.mean())
    by_seed, by_clip = table.mean(axis=1), table.mean(axis=0)
    between_seeds = clips * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    between_clips = seeds * float(((by_clip - mean) ** 2).sum()) / (clips - 1)
    residuals = table - by_seed[:, None] - by_clip[None] + mean
    rest = float((residuals**2).sum()) / ((seeds - 1) * (clips - 1))
    # Equal values leave rounding errors behind, which are no spread.
    tiny = (1e-14 * float(np.abs(table).max())) ** 2
    seed, clip, rest = (
        part if part > tiny else 0.0 for part in ((between_seeds - rest) / clips, (between_clips - rest) / seeds, rest)
    )
    return VarianceComponents(
        mean=mean,
        seed_sd=math.sqrt(seed),
        clip_sd=math.sqrt(clip),
        rest_sd=math.sqrt(rest),
        error=math.sqrt(seed / seeds + clip / clips + rest / (seeds * clips)),
        error_one_seed=math.sqrt(seed + (clip + rest) / clips),
        error_clips_only=math.sqrt((clip + rest / seeds) / clips),
        seeds=seeds,
        clips=clips,
    )
