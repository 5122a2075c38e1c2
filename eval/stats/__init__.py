"""Statistics over clips: means with intervals, paired differences, corrections for many tests. NumPy only."""

from eval.stats.intervals import Difference, Interval, holm, mean_interval, paired_difference

__all__ = ["Difference", "Interval", "holm", "mean_interval", "paired_difference"]
