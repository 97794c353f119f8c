"""The verdict on two files, from the raw cycles alone, so that a stored result can be judged again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekd.cycles import checked_cycles, constant_output, spent
from edgekd.gate import Check, Gate, conclude
from edgekd.statistics import FIRST_LOOK, Ratio, Verdict, decide, ratio_of_quantiles
from edgekd.versus.accuracy import judge_accuracy

QUANTILES = {"max_regression": ("p50", 0.5), "max_p90_regression": ("p90", 0.9)}
"""Limit -> the quantile whose ratio it bounds."""

NS_PER_MS = 1e6


def judge(
    raw: Mapping[str, Any], *, limits: Mapping[str, float], sources: Mapping[str, str]
) -> tuple[dict[str, float | None], Gate]:
    """The measured numbers and the gate.

    raw: as `Timed.raw` has it, with `accuracy` where a limit asks for it. limits: fractions, 0.05 for 5 %, and a
    report's own of accuracy.

    Pass: the whole interval of the ratio is at or below 1 + limit; fail: wholly above. Each of the two is wrong in at
    most 2.5 % of the files that lie on the limit, over all looks and all limits together, and rarer the farther off.

    Raises:
        BadInputError: the raw part holds something else than cycles of positive whole nanoseconds, or an unknown limit.
    """
    cycles = checked_cycles(raw)
    error = spent(len(cycles)) / max(1, sum(name in QUANTILES for name in limits))
    new, base = [cycle["new"] for cycle in cycles], [cycle["base"] for cycle in cycles]
    measured: dict[str, float | None] = {"cycles": len(cycles), "n": sum(map(len, new)), "error": error}
    for name, samples in (("new", new), ("base", base)):
        pooled = np.concatenate([np.asarray(s, dtype=np.int64) for s in samples])
        for quantile, q in QUANTILES.values():
            measured[f"{name}_{quantile}_ms"] = float(np.quantile(pooled, q)) / NS_PER_MS
    checks = []
    for quantile, q in QUANTILES.values():
        ratio = ratio_of_quantiles(new, base, q, error=error) if len(cycles) >= FIRST_LOOK else None
        measured |= _flat(f"ratio_{quantile}", ratio)
        checks += [
            _check(name, quantile, ratio, limits[name], sources[name], len(cycles))
            for name, (its, _) in QUANTILES.items()
            if its == quantile and name in limits
        ]
    scored, more = judge_accuracy(raw, limits=limits, sources=sources)
    return measured | scored, conclude((*checks, *more, *constant_output(raw, "new")))


def look(cycles: Sequence[Any], *, limits: Mapping[str, float]) -> tuple[bool, str]:
    """Whether the verdict is clear after these cycles, and how it stands, in a line. For `time_both`."""
    timed = {name: limit for name, limit in limits.items() if name in QUANTILES}
    error = spent(len(cycles)) / max(1, len(timed))
    verdicts, note = [], ""
    for name, limit in timed.items():
        quantile, q = QUANTILES[name]
        ratio = ratio_of_quantiles([c.new for c in cycles], [c.base for c in cycles], q, error=error)
        verdicts.append(decide(ratio.low, ratio.high, 1 + limit))
        note = note or f"{quantile} {ratio.value:.3f}x ({ratio.low:.3f} to {ratio.high:.3f}), {len(cycles)} cycles"
    return "fail" in verdicts or "inconclusive" not in verdicts, note


def _check(name: str, quantile: str, ratio: Ratio | None, limit: float, source: str, cycles: int) -> Check:
    most = 1 + limit
    verdict: Verdict = "inconclusive"
    note = f"{cycles} cycles; at least {FIRST_LOOK} are needed: give it more --max-seconds"
    if ratio is not None:
        verdict = decide(ratio.low, ratio.high, most)
        note = _note(verdict, ratio, most)
    return Check(
        name=name,
        metric=f"ratio_{quantile}",
        value=None if ratio is None else ratio.value,
        low=None if ratio is None else ratio.low,
        high=None if ratio is None else ratio.high,
        limit=most,
        unit="x",
        verdict=verdict,
        source=source,
        note=note,
    )


def _note(verdict: str, ratio: Ratio, most: float) -> str:
    if verdict == "pass":
        return ""
    if verdict == "fail":
        return f"{ratio.low:.3f}x at least is above the limit"
    return (
        f"{ratio.low:.3f}x to {ratio.high:.3f}x straddles {most:.3f}x; give it more --max-seconds, or count: "
        "--metric instructions"
    )


def _flat(name: str, ratio: Ratio | None) -> dict[str, float | None]:
    if ratio is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {name: ratio.value, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
