"""Is at least q of all inferences within the limit? Answered by how many were late, not by a percentile of few."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.cycles import checked_cycles, constant_output, spent
from edgekd.errors import BadInputError
from edgekd.gate import Check, Gate, Verdict, conclude
from edgekd.result import finite
from edgekd.statistics import (
    P99_MIN_SAMPLES,
    QUANTILES,
    budget_verdict,
    effective_samples,
    fewest_samples,
    percentile_bounds,
)

NS_PER_MS = 1e6
LIMITS = {f"max_{name}_ms": (name, q) for name, q in QUANTILES.items()}
"""Limit -> the percentile that it bounds, as a name and as a fraction."""

UNSTEADY = 0.25
"""The reference's block medians may lie so far apart; more is a machine that changed its speed meanwhile."""


def judge(
    raw: Mapping[str, Any], *, limits: Mapping[str, float], sources: Mapping[str, str]
) -> tuple[dict[str, float | None], Gate]:
    """The measured numbers and the gate. raw: as `Timed.raw` has it, with the reference as base, and `factor`.

    factor: what the times are multiplied with, 1 where they count as measured; a baseline machine's reference time over
    this one's where they are normalised to it. floor: by which share that may be wrong; a limit then has to be met, or
    missed, by so much.

    Pass: with confidence 97.5 % no more than 1 - q of all inferences take longer than the limit; fail: with the same
    confidence more do; over all looks and limits together. Source: early stopping of MLPerf's LoadGen,
    https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc

    Raises:
        BadInputError: the raw part holds something else than cycles of positive whole nanoseconds.
    """
    cycles = checked_cycles(raw)
    error = spent(len(cycles)) / max(1, len(limits))
    factor, floor = (_number(raw, name, default) for name, default in (("factor", 1.0), ("floor", 0.0)))
    blocks = _in_ms([cycle["new"] for cycle in cycles], factor)
    reference = _in_ms([cycle["base"] for cycle in cycles], 1.0)
    pooled = np.concatenate(blocks)
    measured: dict[str, float | None] = {"cycles": len(cycles), "n": len(pooled), "error": error}
    for name, q in QUANTILES.items():
        measured |= _quantile(name, pooled, blocks, q, error, floor)
    measured["reference_p50_ms"] = float(np.median(np.concatenate(reference)))
    checks = [
        _check(name, blocks, limits[name], sources[name], error, floor, measured) for name in LIMITS if name in limits
    ]
    return measured, conclude((*checks, *constant_output(raw, "new")))


def look(
    cycles: Sequence[Any], *, limits: Mapping[str, float], factor: float = 1.0, floor: float = 0.0
) -> tuple[bool, str]:
    """Whether every limit is decided after these cycles, and how it stands, in a line. For `time_both`."""
    error = spent(len(cycles)) / max(1, len(limits))
    blocks = _in_ms([cycle.new for cycle in cycles], factor)
    verdicts = [_verdict(blocks, limit, LIMITS[name][1], error, floor) for name, limit in limits.items()]
    pooled = np.concatenate(blocks)
    note = f"p50 {np.median(pooled):.3f} ms, p90 {np.quantile(pooled, 0.9):.3f} ms, n = {len(pooled):,}"
    return "fail" in verdicts or "inconclusive" not in verdicts, note


def _verdict(blocks: Sequence[npt.NDArray[np.float64]], limit: float, q: float, error: float, floor: float) -> Verdict:
    if budget_verdict(blocks, limit / (1 + floor), q, error=error) == "pass":
        return "pass"
    return "fail" if budget_verdict(blocks, limit * (1 + floor), q, error=error) == "fail" else "inconclusive"


def _number(raw: Mapping[str, Any], name: str, default: float) -> float:
    value = raw.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BadInputError(f"{name} is {value!r}; expected a number: was it edited? Measure again")
    return float(value)


def unsteady(raw: Mapping[str, Any]) -> float | None:
    """How far apart the reference's cycle medians lie, as a fraction, where that is more than a steady machine's."""
    medians = [float(np.median(cycle["base"])) for cycle in checked_cycles(raw)]
    low, high = np.quantile(medians, [0.1, 0.9])
    spread = float(high / low - 1)
    return spread if spread > UNSTEADY else None


def _in_ms(blocks: Sequence[Sequence[int]], factor: float) -> list[npt.NDArray[np.float64]]:
    return [np.asarray(samples, dtype=np.float64) * (factor / NS_PER_MS) for samples in blocks]


def _check(
    name: str,
    blocks: Sequence[npt.NDArray[np.float64]],
    limit: float,
    source: str,
    error: float,
    floor: float,
    measured: Mapping[str, float | None],
) -> Check:
    quantile, q = LIMITS[name]
    verdict = _verdict(blocks, limit, q, error, floor)
    late, n = sum(int(np.sum(samples > limit)) for samples in blocks), sum(map(len, blocks))
    said = f"{late:,} of {n:,} inferences took longer than {limit:g} ms ({late / n:.1%}; {1 - q:.0%} may)"
    if verdict == "inconclusive":
        fewest = fewest_samples(q, error=error)
        said += f"; {fewest:,} samples are needed at least" if n < fewest else "; too close to tell"
        said += ": give it more --max-seconds"
    return Check(
        name=name,
        metric=f"{quantile}_ms",
        value=measured[f"{quantile}_ms"],
        low=measured[f"{quantile}_low"],
        high=measured[f"{quantile}_high"],
        limit=limit,
        unit="ms",
        verdict=verdict,
        source=source,
        note="" if verdict == "pass" else said,
    )


def _quantile(
    name: str,
    pooled: npt.NDArray[np.float64],
    blocks: Sequence[npt.NDArray[np.float64]],
    q: float,
    error: float,
    floor: float,
) -> dict[str, float | None]:
    """A percentile with its interval; none where so few samples lie beyond it that it would be a number by chance."""
    keys = (f"{name}_ms", f"{name}_low", f"{name}_high")
    if q >= 0.99 and len(pooled) < P99_MIN_SAMPLES:
        return dict.fromkeys(keys)
    value = float(np.quantile(pooled, q))
    late = [int(np.sum(samples > value)) for samples in blocks]
    effective = effective_samples(late, [len(samples) for samples in blocks])
    bounds = percentile_bounds(pooled, q, error=error, effective=effective)
    low, high = bounds.low / (1 + floor), bounds.high * (1 + floor)
    return dict(zip(keys, (value, finite(low), finite(high)), strict=True))
