"""Two files on the same samples, what their disagreement shows, and how many samples would show it."""

import math
from collections.abc import Callable

from edgekd.statistics.intervals import CONFIDENCE, Interval, check_fraction, normal_quantile, score_interval

MOST_SAMPLES = 10**12
"""More than this decides nothing that anyone will measure."""


def newcombe_paired(both: int, only_a: int, only_b: int, neither: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of p_a - p_b, two proportions of the same n samples.

    Wilson intervals of p_a and p_b, squared and added, less the part that their correlation phi explains; phi is
    corrected for continuity when positive. Unlike McNemar's or Wald's it has a width when no pair disagrees.

    Args:
        both: samples on which a and b succeed.
        only_a: samples on which only a succeeds.
        only_b: samples on which only b succeeds.
        neither: samples on which both fail.
        confidence: nominal coverage, in (0, 1).

    Raises:
        ValueError: a count is negative, all are 0, or confidence is outside (0, 1).

    Source: Newcombe 1998, Stat Med 17:2635, method 10,
    https://doi.org/10.1002/(SICI)1097-0258(19981130)17:22%3C2635::AID-SIM954%3E3.0.CO;2-C
    """
    _check_counts(both, only_a, only_b, neither)
    return _newcombe(both, only_a, only_b, neither, confidence)


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided p value of the exact McNemar test: how often files that are equally good disagree so one-sidedly.

    Only samples on which one of them succeeds tell them apart, and each is a fair coin if they are equally good.
    1 without any.

    Raises:
        ValueError: a count is negative.

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996, with the binomial in place of chi squared.
    """
    from scipy.stats import binom

    if min(only_a, only_b) < 0:
        raise ValueError(f"counts {only_a}, {only_b}; expected none below 0")
    return min(1.0, 2 * float(binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def samples_to_decide(
    both: int, only_a: int, only_b: int, neither: int, limit: float, confidence: float = CONFIDENCE
) -> int | None:
    """About how many samples in all bring the interval of p_a - p_b wholly to one side of `limit`, at these rates.

    Args:
        both, only_a, only_b, neither: as `newcombe_paired` has them.
        limit: of the difference, a fraction in [-1, 1].
        confidence: of the interval, in (0, 1).

    None where the difference lies on the limit, so that no number would do. The present number where it is decided.

    Raises:
        ValueError: as `newcombe_paired` says.
    """
    _check_counts(both, only_a, only_b, neither)
    check_fraction("confidence", confidence)
    n = both + only_a + only_b + neither

    def at(total: int) -> Interval:
        scale = total / n
        return _newcombe(both * scale, only_a * scale, only_b * scale, neither * scale, confidence)

    return _fewest(at, n, (only_a - only_b) / n, limit)


def samples_to_decide_proportion(successes: int, n: int, limit: float, confidence: float = CONFIDENCE) -> int | None:
    """About how many samples in all bring Wilson's interval wholly to one side of `limit`, if the rate stays as it is.

    None where the rate is the limit. The present number where it is decided.

    Raises:
        ValueError: as `wilson` says.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} successes of {n}; expected 0 <= successes <= n and n >= 1")
    z = normal_quantile(confidence)
    return _fewest(lambda total: score_interval(successes / n, total, z), n, successes / n, limit)


def _fewest(interval: Callable[[int], Interval], n: int, rate: float, limit: float) -> int | None:
    """The least number of samples, from n on, whose interval does not straddle the limit; it narrows as they grow."""

    def decided(total: int) -> bool:
        found = interval(total)
        return found.high <= limit or found.low >= limit

    if math.isclose(rate, limit, rel_tol=0, abs_tol=1e-12):
        return None
    few, many = n - 1, n
    while not decided(many):
        few, many = many, 2 * many
        if many > MOST_SAMPLES:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decided(middle) else (middle, many)
    return many


def _newcombe(both: float, only_a: float, only_b: float, neither: float, confidence: float) -> Interval:
    """As `newcombe_paired`, of counts that need not be whole."""
    n = both + only_a + only_b + neither
    z = normal_quantile(confidence)
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    a, b = score_interval(p_a, n, z), score_interval(p_b, n, z)
    phi = _phi(both, only_a, only_b, neither)
    difference = (only_a - only_b) / n
    below = _root_of_sum(p_a - a.low, b.high - p_b, phi)
    above = _root_of_sum(a.high - p_a, p_b - b.low, phi)
    return Interval(low=max(-1.0, difference - below), high=min(1.0, difference + above))


def _phi(both: float, only_a: float, only_b: float, neither: float) -> float:
    """The correlation of a and b, with Newcombe's continuity correction; 0 where a margin is empty."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    covariance: float = both * neither - only_a * only_b
    if covariance > 0:
        covariance = max(0.0, covariance - (both + only_a + only_b + neither) / 2)
    return covariance / math.sqrt(margins)


def _root_of_sum(x: float, y: float, phi: float) -> float:
    """The third side of a triangle whose sides x and y enclose an angle of cosine phi."""
    return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))


def _check_counts(both: int, only_a: int, only_b: int, neither: int) -> None:
    counts = (both, only_a, only_b, neither)
    if min(counts) < 0 or sum(counts) == 0:
        raise ValueError(f"counts {both}, {only_a}, {only_b}, {neither}; expected none below 0, and one above")
