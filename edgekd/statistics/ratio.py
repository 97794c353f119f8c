"""How many times slower a new file is than the one before it: a ratio of quantiles, bootstrapped over cycles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgekd.statistics.intervals import check_fraction

FEWEST_CYCLES = 8
"""Fewer cycles bound nothing: the spread of a handful is itself a guess, and no t quantile makes up for that."""

RESAMPLES = 1_000
"""The spread is then known to some 3 %, its own error; tails are a t distribution's, so they need no more of them."""

KNOTS = 256
"""Places at which samples are counted. Resampled quantiles are interpolated between two: 1/256 of the samples."""

Samples = Sequence[Sequence[int]] | Sequence[npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """New over base, without a unit: 1.05 is 5 % slower. low and high are the ends of its interval."""

    value: float
    low: float
    high: float


def ratio_of_quantiles(new: Samples, base: Samples, q: float = 0.5, *, error: float, seed: int = 0) -> Ratio:
    """The q-quantile of all of `new` over that of all of `base`, with an interval that each end misses by `error`.

    Samples of one cycle share the machine's mood of that second, so cycles are what counts as independent, and what is
    drawn again: both files' blocks together, which keeps what disturbed both out of the ratio. The interval is
    value * exp(+-t * s), with s the spread of the logarithm over the resamples, and t Student's quantile of cycles - 1
    degrees of freedom, times sqrt(cycles / (cycles - 1)), for the resamples' own narrowness. s is the larger of their
    standard deviation and of what the 90 % that lie nearest the estimate would have if they were normal: one alone is
    too small where a quantile sits at the edge of a second mode. A plain percentile interval misses several times too
    often with 8 cycles, and has no resamples at all out where an error of 1 in 2,000 lies.

    Args:
        new, base: item i: the samples of cycle i, positive nanoseconds; cycles may differ in length.
        q: in (0, 1).
        error: of each end, one-sided, in (0, 0.5); a 95 % interval has 0.025.
        seed: of the resampling; equal arguments give equal intervals.

    Below 8 cycles nothing is bounded: the interval is 0 to infinity.

    Raises:
        ValueError: no cycles, not as many of one file as of the other, a cycle without samples, a sample that is not
            positive, or q or error out of range.

    Source: block bootstrap, Künsch 1989, https://doi.org/10.1214/aos/1176347265; t quantiles and the correction for
    narrowness, Hesterberg 2015, https://arxiv.org/abs/1411.5279.
    """
    check_fraction("q", q)
    check_fraction("2 * error", 2 * error)
    if not len(new) == len(base) >= 1:
        raise ValueError(f"{len(new)} cycles of new and {len(base)} of base; expected equally many, at least 1")
    above, below = _checked(new), _checked(base)
    value = float(np.quantile(np.concatenate(above), q) / np.quantile(np.concatenate(below), q))
    if len(new) < FEWEST_CYCLES:
        return Ratio(value=value, low=0.0, high=math.inf)
    spread = _spread(_deviations(above, below, q, seed)) * _expanded_t(len(new), error)
    return Ratio(value=value, low=value * math.exp(-spread), high=value * math.exp(spread))


def _checked(cycles: Samples) -> list[npt.NDArray[np.float64]]:
    arrays = [np.asarray(samples, dtype=np.float64) for samples in cycles]
    if not all(samples.size and samples.min() > 0 for samples in arrays):
        raise ValueError("a cycle has no samples, or one that is not positive; expected positive nanoseconds in each")
    return arrays


def _deviations(
    new: list[npt.NDArray[np.float64]], base: list[npt.NDArray[np.float64]], q: float, seed: int
) -> npt.NDArray[np.float64]:
    """log ratio of each resample, less that of the cycles as they are. (RESAMPLES,)"""
    cycles = len(new)
    drawn = np.random.default_rng(seed).integers(cycles, size=(RESAMPLES, cycles))
    drawn += np.arange(RESAMPLES)[:, None] * cycles
    times = np.bincount(drawn.ravel(), minlength=RESAMPLES * cycles).reshape(RESAMPLES, cycles)
    weights = np.vstack([np.ones((1, cycles)), times]).astype(np.float64)
    logs = _log_quantiles(new, weights, q) - _log_quantiles(base, weights, q)
    deviations: npt.NDArray[np.float64] = logs[1:] - logs[0]
    return deviations


def _log_quantiles(
    cycles: list[npt.NDArray[np.float64]], weights: npt.NDArray[np.float64], q: float
) -> npt.NDArray[np.float64]:
    """The log q-quantile of all samples with each cycle taken so many times. weights: (n, cycles) -> (n,)"""
    pooled = np.concatenate(cycles)
    ranks = np.linspace(0, pooled.size - 1, min(KNOTS, pooled.size)).round().astype(np.int64)
    knots = np.unique(np.sort(pooled)[ranks])
    owner = np.repeat(np.arange(len(cycles)), [samples.size for samples in cycles])
    place = owner * knots.size + np.searchsorted(knots, pooled)  # the first knot that is not below the sample
    counts = np.bincount(place, minlength=len(cycles) * knots.size).reshape(len(cycles), knots.size)
    up_to = weights @ counts.cumsum(axis=1).astype(np.float64)  # samples at or below each knot: (n, knots)
    wanted = q * up_to[:, -1:]
    right = (up_to < wanted).sum(axis=1)[:, None]
    left = np.maximum(right - 1, 0)
    at_right, at_left = np.take_along_axis(up_to, right, axis=1), np.take_along_axis(up_to, left, axis=1)
    share = np.where(right > left, (wanted - at_left) / np.maximum(at_right - at_left, 1), 0.0)
    logs = np.log(knots)
    found: npt.NDArray[np.float64] = (logs[left] + share * (logs[right] - logs[left]))[:, 0]
    return found


def _spread(deviations: npt.NDArray[np.float64]) -> float:
    nearest = float(np.quantile(np.abs(deviations), 0.9)) / NormalDist().inv_cdf(0.95)
    return max(nearest, float(np.sqrt(np.mean(deviations**2))))


def _expanded_t(cycles: int, error: float) -> float:
    from scipy.special import stdtrit

    return -float(stdtrit(cycles - 1, error)) * math.sqrt(cycles / (cycles - 1))
