"""A histogram with fixed bins whose range doubles: the same counts whatever the batch and the order of the data."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 8192
"""A one-sided tensor whose largest value is just over a power of two fills a quarter of them: 2,048."""

MIDDLE = BINS // 2
SMALLEST_LIMIT = 2.0**-100
"""The limit of a tensor of zeros. With it the factor of values to bins, 2 ** 112, still is a normal float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Exact extremes of a tensor and counts of samples of it.

    low, high: of all elements; infinite with the wrong sign where none was seen yet.
    limit: a power of two above the magnitude of every element. counts: (BINS,) int64; bins of equal width span
    [-limit, limit], and bin i holds the values in [edge i, edge i + 1). n: the sum of the counts.
    """

    low: float
    high: float
    limit: float
    counts: npt.NDArray[np.int64]
    n: int

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """(BINS + 1,) float64, exact."""
        return np.arange(-MIDDLE, MIDDLE + 1, dtype=np.float64) * (self.limit / MIDDLE)


def empty() -> Histogram:
    """The histogram of nothing."""
    counts = np.zeros(BINS, dtype=np.int64)
    return Histogram(low=math.inf, high=-math.inf, limit=SMALLEST_LIMIT, counts=counts, n=0)


def add(
    histogram: Histogram, values: npt.NDArray[np.float32], *, low: float, high: float, weight: int = 1
) -> Histogram:
    """The histogram with more values, each counted `weight` times.

    values: any shape, float32, finite, within [low, high]: all elements of a tensor or samples of them.
    low, high: the extremes of all elements, finite.
    """
    low, high = min(histogram.low, low), max(histogram.high, high)
    limit = max(histogram.limit, limit_above(max(-low, high)))
    counts = np.bincount(_bins_of(values.reshape(-1), limit), minlength=BINS)
    if weight != 1:
        counts *= weight
    counts += _widened(histogram.counts, limit / histogram.limit)
    return Histogram(low=low, high=high, limit=limit, counts=counts, n=histogram.n + weight * values.size)


def limit_above(magnitude: float) -> float:
    """The smallest power of two above `magnitude`, at least SMALLEST_LIMIT.

    Above, not equal: a value on the limit would have to share the last bin, and not so once the range has doubled.
    """
    return math.ldexp(1.0, math.frexp(max(magnitude, SMALLEST_LIMIT / 2))[1])


def _bins_of(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.intp]:
    """The bin of each value.

    A power of two scales exactly, and the floor is taken before the middle is added, so nothing is rounded:
    floor(x / 2) = floor(floor(x) / 2) is why the bins of two ranges nest.
    """
    factor = MIDDLE / limit
    # A factor below 1 could turn a tiny negative float32 into zero, which lies in another bin.
    scaled = values * np.float32(factor) if factor >= 1 else values * np.float64(factor)
    bins: npt.NDArray[np.intp] = np.floor(scaled).astype(np.intp)
    bins += MIDDLE
    return bins


def _widened(counts: npt.NDArray[np.int64], factor: float) -> npt.NDArray[np.int64]:
    """The counts over a range wider by a power of two: groups of `factor` bins become one, around the middle."""
    if factor == 1:
        return counts
    merged = min(int(factor), MIDDLE)  # from there on, each half is one bin
    wide = np.zeros(BINS, dtype=np.int64)
    kept = BINS // merged // 2
    wide[MIDDLE - kept : MIDDLE + kept] = counts.reshape(2 * kept, merged).sum(axis=1)
    return wide
