"""Intervals of measured numbers: proportions and quantiles of latencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
P99_MIN_SAMPLES = 1_000
QUANTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Both ends belong to the interval. An end is infinite where the data cannot bound it."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a proportion, `successes` out of `n`; it never leaves [0, 1] and is right near 0 and 1.

    Raises:
        ValueError: n < 1, successes outside 0..n, or confidence outside (0, 1).

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; compared with ten others by Newcombe 1998,
    Stat Med 17:857.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} successes of {n}; expected 0 <= successes <= n and n >= 1")
    return score_interval(successes / n, n, normal_quantile(confidence))


def score_interval(p: float, n: float, z: float) -> Interval:
    """Wilson's interval of a share p of n, which need not be whole; z: the normal quantile of the confidence."""
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At p = 0 and p = 1 one end equals p exactly; rounding must not push it past the estimate.
    return Interval(low=max(0.0, min(p, centre - half)), high=min(1.0, max(p, centre + half)))


def share_interval(
    value: float, *, variance: float, alike: float, most: float, confidence: float = CONFIDENCE
) -> Interval:
    """The score interval of a mean share in [0, 1] that is no plain proportion, such as F1 or a mean of shares.

    As Wilson's of as many samples as would give a proportion that variance (Korn and Graubard 1998, "Confidence
    intervals for proportions with small expected number of positive counts", Survey Methodology 24:193). variance: of
    the value, not of one sample. alike: how many samples it counts for where all are alike, which leaves no variance;
    most: how many otherwise, at most. Few that are all right are no proof.
    """
    spread = value * (1.0 - value)
    n = alike if variance <= 0 or spread <= 0 else min(most, spread / variance)
    return score_interval(value, max(n, 1.0), normal_quantile(confidence))


def quantile_interval(
    samples: Sequence[int] | npt.NDArray[np.int64], q: float, confidence: float = CONFIDENCE
) -> Interval:
    """The interval between two order statistics that holds the true q-quantile, whatever the distribution.

    The number of samples below the true quantile is Binomial(n, q), so the ranks that hold it come from that
    distribution alone. With too few samples no rank is far enough out and that end is infinite: a 95 % interval of
    the 90th percentile needs 36 samples to be bounded above, that of the 99th 368. Assumes independent samples.

    Raises:
        ValueError: no samples, or q or confidence outside (0, 1).

    Source: David and Nagaraja 2003, Order Statistics, section 7.1; Hahn and Meeker 1991, section 5.2.
    """
    from scipy.stats import binom

    check_fraction("q", q)
    check_fraction("confidence", confidence)
    n = len(samples)
    if n == 0:
        raise ValueError("no samples; expected at least one")
    ordered = np.sort(np.asarray(samples))
    tail = (1 - confidence) / 2
    lower, upper = int(binom.ppf(tail, n, q)), int(binom.ppf(1 - tail, n, q)) + 1  # ranks, counted from 1
    return Interval(
        low=float(ordered[lower - 1]) if lower >= 1 else -math.inf,
        high=float(ordered[upper - 1]) if upper <= n else math.inf,
    )


def summarise_quantile(samples_by_round: Sequence[Sequence[int]], q: float) -> tuple[float, float, float]:
    """The q-quantile of the pooled samples, and the low and high end of its interval, in the samples' unit.

    The interval is the union of two: the 95 % order-statistic interval of the pooled samples, and the range of the
    rounds' own quantiles. Pooling alone would be over-confident: samples of one process share its memory layout,
    its core and the machine's mood of that second, so thousands of them agree closely with each other and still
    not with the next process. Rounds are fresh processes; their spread is the noise that pooled samples hide.

    Raises:
        ValueError: no rounds, a round without samples, q outside (0, 1), or q >= 0.99 from fewer than 1,000 samples.
    """
    if not samples_by_round or not all(len(samples) for samples in samples_by_round):
        raise ValueError("no samples in a round; expected at least one in each")
    pooled = np.concatenate([np.asarray(samples, dtype=np.int64) for samples in samples_by_round])
    if q >= 0.99 and len(pooled) < P99_MIN_SAMPLES:
        raise ValueError(f"the {q:g} quantile needs {P99_MIN_SAMPLES:,} samples, got {len(pooled):,}")
    value = float(np.quantile(pooled, q))
    interval = quantile_interval(pooled, q)
    by_round = [float(np.quantile(samples, q)) for samples in samples_by_round]
    return value, min(interval.low, value, *by_round), max(interval.high, value, *by_round)


def latency_quantiles(samples_ns: Sequence[Sequence[int]]) -> dict[str, float | None]:
    """p50, p90 and p99 of raw samples, as the report keeps them: `p50_ms`, `p50_low`, `p50_high`, and so on, in ms.

    None where there is no number: all of p99 below 1,000 samples, and an end that too few samples cannot bound.

    Args:
        samples_ns: one list a round, nanoseconds.

    Raises:
        ValueError: no rounds, or a round without samples.
    """
    n = sum(len(samples) for samples in samples_ns)
    summary: dict[str, float | None] = {}
    for name, q in QUANTILES.items():
        known = q < 0.99 or n >= P99_MIN_SAMPLES
        numbers = summarise_quantile(samples_ns, q) if known else (math.nan,) * 3
        for key, value in zip((f"{name}_ms", f"{name}_low", f"{name}_high"), numbers, strict=True):
            summary[key] = value / NS_PER_MS if math.isfinite(value) else None
    return summary


def normal_quantile(confidence: float) -> float:
    """The two-sided one: 1.96 for 0.95."""
    check_fraction("confidence", confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def check_fraction(name: str, value: float) -> None:
    """Refuses what is not strictly between 0 and 1, as a ValueError."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; expected a number between 0 and 1, both excluded")
