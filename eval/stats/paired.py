"""What a paired difference amounts to: effect size, the smallest difference a set could show, and "no worse".

All of them look at differences ``a − b`` on the clips that both systems have. Where clips come in groups, the standard
error is that of the mean over clips with whole groups as independent units, and degrees of freedom count groups.

The effect size is the paired Cohen's d (mean of the differences over their standard deviation): the difference that is
reported and tested is a mean of paired differences, and d is that mean in units of its own spread. As d suffers from a
few extreme clips, the dominance (share of clips above minus share below) stands beside it.

Source:
    Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988; Cliff, "Dominance statistics", Psychological
    Bulletin 114(3), 1993; Schuirmann, "A comparison of the two one-sided tests procedure", Journal of Pharmacokinetics
    and Biopharmaceutics 15(6), 1987.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.stats.draws import Floats
from eval.stats.intervals import finite_numbers

POWER = 0.8
ALPHA = 0.05


@dataclass(frozen=True)
class Effect:
    """How large a paired difference is beside its spread.

    Attributes:
        d: Paired Cohen's d, without unit; ``None`` without spread or below two pairs.
        dominance: Share of clips on which ``a`` is above ``b`` minus the share on which it is below, −1 to 1;
            ``None`` without pairs.
        n: Number of pairs.
    """

    d: float | None
    dominance: float | None
    n: int


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a mean difference against a margin.

    Attributes:
        p_above: p of "the difference is at or below −margin"; small where ``a`` is no more than the margin below.
        p_below: p of "the difference is at or above +margin".
        p_value: The larger of both: p of "the systems differ by the margin or more".
        margin: The margin, in the unit of the values.
        n: Number of pairs.
        units: Number of independent units.
    """

    p_above: float | None
    p_below: float | None
    p_value: float | None
    margin: float
    n: int
    units: int


def standard_error(values: Sequence[float] | Floats, groups: Sequence[Hashable] | None = None) -> tuple[float, int]:
    """Standard error of the mean over clips and its degrees of freedom.

    Args:
        values: Finite numbers, one per clip.
        groups: Group of each value; groups are the independent units then.

    Returns:
        Standard error, NaN below two units, and the number of units minus one.

    Raises:
        ValueError: If a value is not finite or the lengths differ.
    """
    numbers = finite_numbers(values)
    if groups is not None and len(groups) != numbers.size:
        raise ValueError(f"there are {numbers.size} values and {len(groups)} groups")
    if groups is None:
        residuals = numbers - numbers.mean() if numbers.size else numbers
    else:
        mean = numbers.mean() if numbers.size else 0.0
        sums: dict[Hashable, float] = {}
        for group, value in zip(groups, (numbers - mean).tolist(), strict=True):
            sums[group] = sums.get(group, 0.0) + value
        residuals = np.array(list(sums.values()))
    units = residuals.size
    if units < 2:
        return math.nan, max(0, units - 1)
    return math.sqrt(units / (units - 1) * math.fsum(residuals**2)) / numbers.size, units - 1


def effect_size(gaps: Sequence[float] | Floats) -> Effect:
    """Effect size of paired differences.

    Args:
        gaps: ``a − b``, one per clip.

    Raises:
        ValueError: If a value is not finite.
    """
    numbers = finite_numbers(gaps)
    if numbers.size == 0:
        return Effect(None, None, 0)
    dominance = float((numbers > 0).sum() - (numbers < 0).sum()) / numbers.size
    spread = float(numbers.std(ddof=1)) if numbers.size > 1 else 0.0
    # Equal values leave rounding errors behind, which are no spread.
    tight = spread <= 1e-14 * float(np.abs(numbers).max())
    return Effect(None if tight else float(numbers.mean()) / spread, dominance, numbers.size)


def smallest_difference(
    gaps: Sequence[float] | Floats,
    *,
    groups: Sequence[Hashable] | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
    tests: int = 1,
) -> float | None:
    """Smallest true mean difference that a set of clips like this one would show.

    A paired two-sided test at ``alpha`` finds a true difference of this size with probability ``power``, given the
    spread of the differences and the number of clips and groups at hand.

    Args:
        gaps: ``a − b``, one per clip.
        groups: Group of each clip.
        alpha: Probability of a false find of the whole table.
        power: Probability of finding what is there.
        tests: Number of tests in the table, among which ``alpha`` is divided (Bonferroni, an upper bound for Holm).

    Returns:
        The difference, at least 0, in the unit of the values; ``None`` below two units.

    Raises:
        ValueError: If a value is not finite or a probability or ``tests`` is out of range.
    """
    from scipy.special import stdtrit

    if not (0 < alpha < 1 and 0 < power < 1) or tests < 1:
        raise ValueError(
            f"alpha is {alpha}, power {power}, tests {tests}; probabilities between 0 and 1 and at least one test"
            " are needed"
        )
    error, freedom = standard_error(gaps, groups)
    if freedom < 1:
        return None
    return float((stdtrit(freedom, 1 - alpha / tests / 2) + stdtrit(freedom, power)) * error)


def equivalence(
    gaps: Sequence[float] | Floats, margin: float, *, groups: Sequence[Hashable] | None = None
) -> Equivalence:
    """Whether two systems differ by less than a margin, or one is no worse by that margin.

    For "no worse" read one side: ``p_above`` where higher is better, ``p_below`` where lower is better. A large p of
    the usual test of "no difference" is no such evidence.

    Args:
        gaps: ``a − b``, one per clip.
        margin: Largest difference that would not matter, above 0.
        groups: Group of each clip.

    Returns:
        p-values of t tests with as many degrees of freedom as there are units less one; ``None`` below two units.

    Raises:
        ValueError: If a value is not finite or the margin is not above 0.
    """
    from scipy.special import stdtr

    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin is {margin}; a finite number above 0 is needed")
    numbers = finite_numbers(gaps)
    error, freedom = standard_error(numbers, groups)
    if freedom < 1:
        return Equivalence(None, None, None, margin, numbers.size, freedom + (numbers.size > 0))
    mean = float(numbers.mean())
    if error == 0:
        above, below = float(mean <= -margin), float(mean >= margin)
    else:
        above, below = float(stdtr(freedom, -(mean + margin) / error)), float(stdtr(freedom, (mean - margin) / error))
    return Equivalence(above, below, max(above, below), margin, numbers.size, freedom + 1)
