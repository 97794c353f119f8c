"""The range that a quantizer shall cover, from a histogram: all of it, or less where clipping costs less than it saves.

"percentile" leaves out the same share of elements at both ends. "entropy" takes the threshold whose quantized
distribution diverges least from the clipped one (Migacz, "8-bit inference with TensorRT", GTC 2017, S7310). "mse"
takes the two ends with the least expected squared error of rounding and clipping (Banner et al., 2019,
https://arxiv.org/abs/1810.05723, from counts instead of a fitted density).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, nearest
from edgekd.quantize.calibrate.histogram import BINS, MIDDLE, Histogram

Method = Literal["minmax", "percentile", "entropy", "mse"]
Range = tuple[float, float]
Floats = npt.NDArray[np.float64]

THRESHOLDS = 256
"""Thresholds that "entropy" tries, evenly spaced: a step is at most 1/128 of the largest magnitude."""

GRID = 64
"""Ends that "mse" tries on each side at a time; then as many again between the neighbours of the best."""

ROUNDS = 3


def ranges(
    histograms: Mapping[str, Histogram],
    method: Method,
    *,
    levels: int = 256,
    symmetric: bool = False,
    percentile: float = 99.999,
) -> dict[str, Range]:
    """Tensor -> (low, high), low <= 0 <= high, within the extremes; symmetric: low = -high.

    levels: that the quantized type has. percentile: of the elements, in percent; half of the rest goes at each end.

    Raises:
        BadInputError: the method is not known, the percentile not in (50, 100], or a histogram is empty.
    """
    methods: dict[str, Callable[[Histogram], Range]] = {
        "minmax": _extremes,
        "percentile": partial(_percentile, share=percentile / 100, symmetric=symmetric),
        "entropy": partial(_entropy, levels=levels, symmetric=symmetric),
        "mse": partial(_mse, levels=levels, symmetric=symmetric),
    }
    if method not in methods:
        raise BadInputError(
            f"unknown calibration method '{method}'{nearest(method, list(methods))}; known: {', '.join(methods)}"
        )
    if not 50 < percentile <= 100:
        raise BadInputError(f"percentile {percentile:g}; expected more than 50 and at most 100, such as 99.999")
    nothing = [name for name, histogram in histograms.items() if not histogram.n]
    if nothing:
        raise BadInputError(f"tensor '{nothing[0]}' has no elements in its histogram; expected calibration data for it")
    return {
        name: _within(_extremes(h) if _only_zeros(h) else methods[method](h), h, symmetric=symmetric)
        for name, h in histograms.items()
    }


def _only_zeros(histogram: Histogram) -> bool:
    """Nothing but about zero was sampled, so there is nothing to choose by."""
    return bool(histogram.counts[MIDDLE] == histogram.n)


def _within(found: Range, histogram: Histogram, *, symmetric: bool) -> Range:
    """Clipped to the extremes, with zero, which a quantized type must have exactly."""
    low, high = _extremes(histogram)
    low, high = max(low, min(0.0, found[0])), min(high, max(0.0, found[1]))
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    return low + 0.0, high + 0.0  # no -0.0


def _extremes(histogram: Histogram) -> Range:
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def _percentile(histogram: Histogram, *, share: float, symmetric: bool) -> Range:
    """Ends between which the share lies; a bin's elements are taken to be spread evenly over it."""
    if share >= 1:
        return _extremes(histogram)
    if symmetric:
        magnitudes = histogram.counts[MIDDLE:] + histogram.counts[MIDDLE - 1 :: -1]
        high = _quantile(magnitudes, histogram.edges[MIDDLE:], share * histogram.n)
        return -high, high
    outside = (1 - share) / 2 * histogram.n
    low = _quantile(histogram.counts, histogram.edges, outside)
    return low, -_quantile(histogram.counts[::-1], -histogram.edges[::-1], outside)


def _quantile(counts: npt.NDArray[np.int64], edges: Floats, below: float) -> float:
    """The value with `below` elements under it."""
    total = np.concatenate([[0], np.cumsum(counts)])
    index = min(int(np.searchsorted(total[1:], below, side="right")), int(np.flatnonzero(counts)[-1]))
    part = (below - total[index]) / counts[index]
    return float(edges[index] + part * (edges[index + 1] - edges[index]))


def _entropy(histogram: Histogram, *, levels: int, symmetric: bool) -> Range:
    """The divergence of all thresholds at once.

    With p the clipped counts, its outliers added to the end bins, and q each level's own counts spread over its bins
    that are not empty, sum p log(p / q) splits into sums over bins and over levels, both differences of cumulative
    sums: no candidate visits the bins again.
    """
    counts = histogram.counts
    if symmetric:  # magnitudes, on half of the levels
        counts = np.concatenate([np.zeros(MIDDLE, dtype=np.int64), counts[MIDDLE:] + counts[MIDDLE - 1 :: -1]])
        levels //= 2
    counts = _without_zeros(counts)
    starts, ends = _candidates(counts, levels)
    if not len(starts):
        return _extremes(histogram)
    best = int(np.argmin(_divergences(counts, starts, ends, levels)))
    low, high = float(histogram.edges[starts[best]]), float(histogram.edges[ends[best]])
    return (-high, high) if symmetric else (low, high)


def _candidates(counts: npt.NDArray[np.int64], levels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bins [start, end) of thresholds on both sides of zero, each moved in to a bin that is not empty.

    Else what lies outside would be added to an empty end bin, which no quantized distribution fills.
    """
    index = np.arange(BINS)
    next_used = np.minimum.accumulate(np.where(counts > 0, index, MIDDLE)[::-1])[::-1]
    last_used = np.maximum.accumulate(np.where(counts > 0, index, MIDDLE - 1))
    halves = np.linspace(1, MIDDLE, THRESHOLDS).round().astype(np.int64)
    starts = np.minimum(next_used[MIDDLE - halves], MIDDLE)
    ends = np.maximum(last_used[MIDDLE - 1 + halves] + 1, MIDDLE)
    fits = ends - starts >= levels  # with fewer bins than levels there is nothing to lose
    starts, ends = np.unique(np.stack([starts[fits], ends[fits]]), axis=1)
    return starts, ends


def _divergences(
    counts: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], levels: int
) -> Floats:
    """Kullback-Leibler divergence of each candidate range, bins [start, end); infinite where q lacks what p has."""
    real = counts.astype(np.float64)
    inner, outliers = _sum(real, starts, ends), (_sum(real, 0, starts), _sum(real, ends, BINS))
    borders = starts[:, None] + np.rint((ends - starts)[:, None] * np.arange(levels + 1) / levels).astype(np.int64)
    q = _sum(real, borders[:, :-1], borders[:, 1:])
    filled = _sum((real > 0).astype(np.float64), borders[:, :-1], borders[:, 1:])
    p = q.copy()
    p[:, 0] += outliers[0]
    p[:, -1] += outliers[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(p > 0, p * np.log(q / filled), 0.0).sum(axis=1)  # -inf where q has none
    own = _sum(_n_log_n(real), starts, ends)
    for end, extra in ((starts, outliers[0]), (ends - 1, outliers[1])):
        own += _n_log_n(real[end] + extra) - _n_log_n(real[end])
    n = real.sum()
    # sum p/n log((p/n) / (q/m)), m = elements inside
    divergence: Floats = (
        (own - spread) / n - np.log(n) + np.log(inner, where=inner > 0, out=np.full(len(inner), -np.inf))
    )
    return np.where((inner > 0) & np.isfinite(divergence), divergence, np.inf)


def _sum(values: Floats, starts: npt.NDArray[np.int64] | int, ends: npt.NDArray[np.int64] | int) -> Floats:
    """The sum of values[start:end] for each pair."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    found: Floats = total[ends] - total[starts]
    return found


def _without_zeros(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The counts with no more in the bin from zero on than beside it: zero itself is a level and never rounded."""
    level = counts.copy()
    level[MIDDLE] = min(counts[MIDDLE], max(counts[MIDDLE - 1], counts[MIDDLE + 1]))
    return level


def _n_log_n(values: Floats) -> Floats:
    """n log n, with 0 log 0 = 0."""
    logs = np.zeros_like(values)
    np.log(values, where=values > 0, out=logs)
    found: Floats = values * logs
    return found


def _mse(histogram: Histogram, *, levels: int, symmetric: bool) -> Range:
    """The best pair of ends on ever finer grids, in bins from zero."""
    unit = histogram.limit / MIDDLE
    low, high = (end / unit for end in _extremes(histogram))
    cost = _Cost(histogram, low, high, levels)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    best_low, best_high, reach_low, reach_high = low, high, -low, high
    for _ in range(ROUNDS):
        highs = _grid(best_high, reach_high, 0.0, high)
        lows = -highs if symmetric else _grid(best_low, reach_low, low, 0.0)
        errors = cost.of(lows, highs) if symmetric else cost.of(lows[:, None], highs)
        index = np.unravel_index(int(np.argmin(errors)), errors.shape)
        best_low, best_high = float(lows[index[0]]), float(highs[index[-1]])
        reach_low, reach_high = 2 * reach_low / GRID, 2 * reach_high / GRID
    return best_low * unit, best_high * unit


def _grid(middle: float, reach: float, low: float, high: float) -> Floats:
    """Values around `middle`, evenly from end to end, within [low, high]."""
    return np.linspace(max(low, middle - reach), min(high, middle + reach), GRID + 1)


class _Cost:
    """Expected squared error, times the count of elements, of ranges in bins: rounding inside and clipping outside.

    Rounding to steps of width d costs d * d / 12 an element; nothing what lies in the bin of zero.
    """

    def __init__(self, histogram: Histogram, low: float, high: float, levels: int) -> None:
        self._levels = levels
        centres = np.clip(np.arange(BINS) - MIDDLE + 0.5, low, high)
        counts = histogram.counts.astype(np.float64)
        self._zeros, self._total = counts[MIDDLE], counts.sum()
        # Moments of what lies beyond an edge, summed from the far end: where little lies there, little is lost.
        weighted = np.stack([counts, counts * centres, counts * centres**2])
        none = np.zeros((3, 1))
        self._below = np.concatenate([none, np.cumsum(weighted, axis=1)], axis=1)
        self._above = np.concatenate([np.cumsum(weighted[:, ::-1], axis=1)[:, ::-1], none], axis=1)

    def of(self, lows: Floats, highs: Floats) -> Floats:
        """The error of each pair; the two arrays broadcast."""
        below = self._beyond(self._below, lows, np.floor(lows))
        above = self._beyond(self._above, highs, np.ceil(highs))
        inside = np.maximum(self._total - self._zeros - below[0] - above[0], 0.0)
        errors: Floats = ((highs - lows) / (self._levels - 1)) ** 2 / 12 * inside + below[1] + above[1]
        return errors

    def _beyond(self, moments: Floats, ends: Floats, edges: Floats) -> tuple[Floats, Floats]:
        """Elements beyond the edge next to each end, and what clipping them to the end costs."""
        n, first, second = moments[:, edges.astype(np.int64) + MIDDLE]
        return n, second - 2 * ends * first + ends**2 * n
