"""Differences between two methods that share their seeds: a t interval over seeds, Newcombe's over test samples."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.statistics import CONFIDENCE, Interval, newcombe_paired


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The mean of a - b and its interval; None with a single pair, or where all pairs differ alike."""

    difference: float
    interval: Interval | None
    pairs: int

    @property
    def verdict(self) -> str:
        """`beats` where the whole interval is above zero, `loses` where it is below; where it holds zero, neither."""
        if self.interval is None:
            return "not judged"
        if self.interval.low > 0:
            return "beats"
        return "loses" if self.interval.high < 0 else "no difference shown"


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of the mean, with n - 1 degrees of freedom; None for one value or values without spread.

    Assumes independent values from about a normal distribution, which a handful of seeds can neither prove nor refute.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values; expected at least one")
    if len(values) < 2:
        return None
    deviation = statistics.stdev(values)
    if deviation == 0:
        return None  # an accuracy comes in steps of one sample: equal values are no proof of no spread
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return Interval(low=mean - half, high=mean + half)


def paired(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Paired:
    """a - b, pair by pair: the same seed gives both methods the same initial weights and order of samples.

    Source: the paired t test; Student 1908, https://doi.org/10.1093/biomet/6.1.1.

    Raises:
        ValueError: different lengths, or no pairs.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    # Rounded: a difference of fractions that are equal in exact numbers must not look like spread.
    differences = [round(difference, 12) for difference in differences]
    interval = mean_interval(differences, confidence)
    return Paired(difference=statistics.fmean(differences), interval=interval, pairs=len(differences))


def on_test(a: Sequence[int], b: Sequence[int], labels: npt.NDArray[np.integer]) -> Interval:
    """The 95 % interval of accuracy a - accuracy b for one pair of students, over the draw of the test samples.

    a, b: (n,) predicted classes; labels: (n,).
    """
    right_a, right_b = np.asarray(a) == labels, np.asarray(b) == labels
    return newcombe_paired(
        int((right_a & right_b).sum()),
        int((right_a & ~right_b).sum()),
        int((~right_a & right_b).sum()),
        int((~right_a & ~right_b).sum()),
    )
