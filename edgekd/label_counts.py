"""F1 and exact match of a multi-label network from counts of label sets, with intervals; what a report keeps of them.

The raw part is a list of [labels that hold, labels that the file names, labels that fp32 names or None, samples]: how
often each triple of sets occurred. All numbers here follow from it, so that a report can be checked.

F1 is a ratio of sums over samples, 2 TP / (2 TP + FP + FN). Its variance is that of the linearised ratio (Cochran 1977,
Sampling Techniques, section 6.3) over samples, not labels: the labels of one sample are not independent.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.class_scores import ClassScore
from edgekd.statistics import CONFIDENCE, Interval, share_interval, wilson
from edgekd.statistics.intervals import normal_quantile

Sets = npt.NDArray[np.bool_]
Outcome = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None, int]


@dataclass(frozen=True, slots=True)
class _Counted:
    """true, said, fp32: (m, K), the distinct triples; times: (m,), how often each occurred."""

    true: Sets
    said: Sets
    fp32: Sets | None
    times: npt.NDArray[np.float64]


def count_outcomes(labels: npt.NDArray[np.integer], said: Sets, fp32: Sets | None) -> tuple[Outcome, ...]:
    """How often each triple of label sets occurs, sorted. labels: (n, K) of 1, 0 and -1, unknown: left out of all."""
    known, nobody = labels >= 0, [None] * len(labels)
    true, named = _members(labels == 1), _members(said & known)
    before = nobody if fp32 is None else _members(fp32 & known)
    counts = Counter(zip(true, named, before, strict=True))
    return tuple(sorted(((*triple, times) for triple, times in counts.items()), key=lambda o: (o[0], o[1], o[2] or ())))


def _members(sets: Sets) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(row).tolist()) for row in sets]


def scores(outcomes: Sequence[Sequence[Any]], *, classes: int) -> dict[str, float | None]:
    """n, micro_f1, macro_f1, exact_match and micro_f1_drop, each with `_low` and `_high`, 95 %.

    macro_f1: over the classes that some sample has. exact_match: share of samples with every known class right. The
    drop is fp32's micro F1 less this file's, None without fp32. None where nothing is there to divide by.
    """
    counted = _counted(outcomes, classes)
    n = int(counted.times.sum())
    right = int(counted.times[(counted.true == counted.said).all(axis=1)].sum())
    return {
        "n": n,
        **_three("micro_f1", *_micro(counted)),
        **_three("macro_f1", *_macro(counted)),
        **_three("exact_match", right / n, wilson(right, n)),
        **_three("micro_f1_drop", *_drop(counted)),
    }


def is_constant(outcomes: Sequence[Sequence[Any]]) -> bool:
    """Whether one set is named for every sample though the samples have several."""
    said, true = ({tuple(outcome[place]) for outcome in outcomes} for place in (1, 0))
    return len(said) == 1 < len(true)


def per_class(outcomes: Sequence[Sequence[Any]], classes: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """One score a class; n: samples that have it."""
    counted = _counted(outcomes, len(classes))
    hits, there, named = (counted.times @ sets for sets in (counted.true & counted.said, counted.true, counted.said))
    return tuple(
        ClassScore(
            name=name,
            n=int(there[k]),
            recall=_ratio(hits[k], there[k]),
            precision=_ratio(hits[k], named[k]),
            f1=_ratio(2 * hits[k], there[k] + named[k]),
        )
        for k, name in enumerate(classes)
    )


def _counted(outcomes: Sequence[Sequence[Any]], classes: int) -> _Counted:
    def sets(place: int) -> Sets:
        made = np.zeros((len(outcomes), classes), dtype=np.bool_)
        for row, outcome in enumerate(outcomes):
            made[row, list(outcome[place])] = True
        return made

    fp32 = None if any(outcome[2] is None for outcome in outcomes) else sets(2)
    times = np.array([outcome[3] for outcome in outcomes], dtype=np.float64)
    return _Counted(true=sets(0), said=sets(1), fp32=fp32, times=times)


def _micro(counted: _Counted) -> tuple[float | None, Interval | None]:
    whole, value, residuals = _ratio_of(counted, counted.said)
    if value is None:
        return None, None
    clusters, total = float(counted.times[whole > 0].sum()), float(counted.times @ whole)
    variance = _variance(residuals, counted.times)
    return value, share_interval(value, variance=variance, alike=clusters, most=total)


def _macro(counted: _Counted) -> tuple[float | None, Interval | None]:
    times, true, said = counted.times, counted.true, counted.said
    there = times @ true
    judged = there > 0
    if not judged.any():
        return None, None
    parts, wholes = 2.0 * (true & said)[:, judged], true[:, judged] + said[:, judged].astype(np.float64)
    sums = times @ wholes
    each = times @ parts / sums
    residuals = ((parts - each * wholes) / sums).mean(axis=1)
    value = float(each.mean())
    # Of K shares with m_k samples each, the mean has as much spread as one of K^2 / sum 1 / m_k samples.
    alike, most = (float(judged.sum() ** 2 / (1.0 / m).sum()) for m in (there[judged], sums))
    return value, share_interval(value, variance=_variance(residuals, times), alike=alike, most=most)


def _drop(counted: _Counted) -> tuple[float | None, Interval | None]:
    """Paired: the residuals of both ratios on the same samples are subtracted before they are squared."""
    if counted.fp32 is None:
        return None, None
    _, after, mine = _ratio_of(counted, counted.said)
    whole, before, theirs = _ratio_of(counted, counted.fp32)
    if before is None or after is None:
        return None, None
    z = normal_quantile(CONFIDENCE)
    total = float(counted.times @ whole)
    # At least what Wilson leaves open of none in `total`: no difference on few samples is no proof.
    half = max(z * math.sqrt(_variance(theirs - mine, counted.times)), z * z / (total + z * z))
    drop = before - after
    return drop, Interval(low=max(-1.0, drop - half), high=min(1.0, drop + half))


def _ratio_of(counted: _Counted, said: Sets) -> tuple[npt.NDArray[Any], float | None, npt.NDArray[Any]]:
    """2 TP + FP + FN of each triple, F1, and each triple's residual over the sum of all; F1 None without any label."""
    part = 2.0 * (counted.true & said).sum(axis=1)
    whole = counted.true.sum(axis=1) + said.sum(axis=1).astype(np.float64)
    total = float(counted.times @ whole)
    if total == 0:
        return whole, None, np.zeros_like(whole)
    value = float(counted.times @ part) / total
    return whole, value, (part - value * whole) / total


def _variance(residuals: npt.NDArray[Any], times: npt.NDArray[np.float64]) -> float:
    n = float(times.sum())
    return float(times @ np.square(residuals)) * n / max(1.0, n - 1.0)


def _three(name: str, value: float | None, interval: Interval | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
