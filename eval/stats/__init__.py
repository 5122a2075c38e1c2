"""Statistics over clips: means and medians with intervals, paired tests, ranks, variance of seeds. NumPy and SciPy."""

from eval.stats.intervals import (
    Difference,
    Interval,
    holm,
    mean_interval,
    mean_intervals,
    paired_difference,
    paired_differences,
)
from eval.stats.paired import Effect, Equivalence, effect_size, equivalence, smallest_difference, standard_error
from eval.stats.quantiles import QuantileInterval, quantile_interval, quantile_intervals
from eval.stats.ranks import CriticalDifference, Ranking, critical_difference, rankings
from eval.stats.seeds import VarianceComponents, variance_components

__all__ = [
    "CriticalDifference",
    "Difference",
    "Effect",
    "Equivalence",
    "Interval",
    "QuantileInterval",
    "Ranking",
    "VarianceComponents",
    "critical_difference",
    "effect_size",
    "equivalence",
    "holm",
    "mean_interval",
    "mean_intervals",
    "paired_difference",
    "paired_differences",
    "quantile_interval",
    "quantile_intervals",
    "rankings",
    "smallest_difference",
    "standard_error",
    "variance_components",
]
