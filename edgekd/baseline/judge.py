"""The verdict on a new measurement beside a stored one, from their raw numbers alone, so that it can be made again.

Every judge here takes the raw part of a verdict, `new` and `base`, and passes a number whose whole 95 % interval is
within its limit, fails one that is wholly beyond, and leaves what lies on the limit inconclusive. Each raises
BadInputError where the raw part holds something else than what it should.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgekd.baseline.unpaired import FLOORS, Session, drift, newcombe_unpaired, ratio_of_sessions
from edgekd.counted import recounted
from edgekd.cycles import checked_cycles, constant_output
from edgekd.errors import BadInputError
from edgekd.gate import Check, Gate, Rule, Verdict, compare, conclude
from edgekd.instructions import compare_counts
from edgekd.result import finite
from edgekd.statistics import newcombe_paired

Measured = dict[str, float | None]
Limits = Mapping[str, float]
Sources = Mapping[str, str]

QUANTILES = {"p50": 0.5, "p90": 0.9}
LONGER = "measure longer, keep the machine quiet, or time both files in turns: `edgekd compare`"
MORE_SAMPLES = (
    "test on more samples; two runs know counts, not pairs: `edgekd validate --baseline` compares sample by sample"
)


def judge_time(raw: Mapping[str, Any], *, limits: Limits, sources: Sources) -> tuple[Measured, Gate]:
    """Two results of `edgekd latency`. raw: their raw parts; `floor`, as a fraction; `normalise`, by the reference."""
    new, base = (_session(side(raw, name)) for name in ("new", "base"))
    moved = drift(new, base)
    if raw.get("normalise") is not True:
        new, base = new.alone(), base.alone()
    measured = {"reference_drift": moved} | _ratios(new, base, floor=_floor(raw, moved))
    checks = _checks(measured, limits, sources, {"max_regression": "p50"})
    return measured, conclude([*checks, *constant_output(side(raw, "new"), "new")])


def judge_instructions(raw: Mapping[str, Any], *, limits: Limits, sources: Sources) -> tuple[Measured, Gate]:
    """Two counts of instructions per inference. raw: the raw parts of two results, each with its count under `new`."""
    new, base = (recounted(side(side(raw, name), "new")) for name in ("new", "base"))
    ratio = compare_counts(new, base)
    measured: Measured = {
        "instructions": new.per_inference,
        "base_instructions": base.per_inference,
        "ratio_instructions": ratio.value,
        "ratio_instructions_low": ratio.low,
        "ratio_instructions_high": ratio.high,
    }
    checks = _checks(measured, limits, sources, {"max_regression": "instructions"})
    return measured, conclude([*checks, *constant_output(side(raw, "new"), "new")])


def judge_report(raw: Mapping[str, Any], *, limits: Limits, sources: Sources) -> tuple[Measured, Gate]:
    """The selected variants of two runs: `sha256`, `size_bytes`, `samples_ns`, `n`, `hits` and `constant` of each."""
    new, base = side(raw, "new"), side(raw, "base")
    sizes = [positive(found, "size_bytes") for found in (new, base)]
    measured: Measured = {"size_bytes": sizes[0], "base_size_bytes": sizes[1], "ratio_size": sizes[0] / sizes[1]}
    if new.get("samples_ns") and base.get("samples_ns"):
        sessions = [Session(model=_rounds(found["samples_ns"])) for found in (new, base)]
        measured |= _ratios(*sessions, floor=_floor(raw, None))
    labelled, asked = new.get("n") or base.get("n"), sources.get("max_top1_drop") == "given"
    counted = {"max_top1_drop": "top1_drop"} if labelled or asked else {}
    if new.get("n") and base.get("n"):
        measured |= _drop(new, base)
    checks = _checks(measured, limits, sources, {"max_regression": "p50", "max_size_regression": "size"} | counted)
    return measured, conclude([*checks, *constant_output({"constant": {"new": new.get("constant")}}, "new")])


Judge = Callable[..., tuple[Measured, Gate]]
JUDGES: Mapping[str, tuple[Judge, tuple[str, ...]]] = {
    "time": (judge_time, ("max_regression",)),
    "instructions": (judge_instructions, ("max_regression",)),
    "report": (judge_report, ("max_regression", "max_size_regression", "max_top1_drop")),
}
"""Metric -> its judge, and the limits that it knows, all of which are fractions: 0.05 for 5 %."""


def side(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The raw numbers of one of the two."""
    found = raw.get(name)
    if not isinstance(found, Mapping):
        raise BadInputError(f"the raw part has no '{name}'; expected that of a measurement: was it edited?")
    return found


def positive(found: Mapping[str, Any], name: str) -> float:
    """A number above 0."""
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadInputError(f"{name} is {value!r}; expected a number above 0: measure again")
    return float(value)


def _session(found: Mapping[str, Any]) -> Session:
    """found: the raw part of a result of `edgekd latency`, in which `base` is the reference workload."""
    cycles = checked_cycles(found)
    return Session(model=[cycle["new"] for cycle in cycles], reference=[cycle["base"] for cycle in cycles])


def _rounds(found: Any) -> Sequence[Sequence[int]]:
    rounds = found if isinstance(found, list | tuple) else [found]
    for samples in rounds:
        if not isinstance(samples, list | tuple) or not samples or not all(type(x) is int and x > 0 for x in samples):
            raise BadInputError("a round holds something else than positive whole nanoseconds; measure again")
    return rounds


def _floor(raw: Mapping[str, Any], moved: float | None) -> float:
    """The floor, or how far the reference moved: a machine that was 8 % slower then tells nothing finer than that."""
    floor = raw.get("floor")
    if floor not in FLOORS:
        raise BadInputError(f"floor is {floor!r}; expected one of {FLOORS}: was it edited? Compare again")
    widened = 0.0 if moved is None or raw.get("normalise") is True else math.expm1(abs(math.log1p(moved)))
    return max(float(floor), widened)


def _ratios(new: Session, base: Session, *, floor: float) -> Measured:
    measured: Measured = {"session_floor": floor}
    for name, q in QUANTILES.items():
        ratio, stem = ratio_of_sessions(new, base, q, floor=floor), f"ratio_{name}"
        measured |= {f"{name}_ms": new.quantile_ms(q), f"base_{name}_ms": base.quantile_ms(q)}
        measured |= {stem: ratio.value, f"{stem}_low": ratio.low, f"{stem}_high": finite(ratio.high)}
    return measured


def _drop(new: Mapping[str, Any], base: Mapping[str, Any]) -> Measured:
    """Top-1 of base less top-1 of new. The very same file is right on the very same samples, so those are pairs."""
    ours, theirs = _counts(new), _counts(base)
    if new.get("sha256") == base.get("sha256") and ours == theirs:
        interval = newcombe_paired(theirs[0], 0, 0, theirs[1] - theirs[0])
    else:
        interval = newcombe_unpaired(*theirs, *ours)
    drop = theirs[0] / theirs[1] - ours[0] / ours[1]
    return {"top1_drop": drop, "top1_drop_low": interval.low, "top1_drop_high": interval.high}


def _counts(found: Mapping[str, Any]) -> tuple[int, int]:
    hits, n = found.get("hits"), found.get("n")
    if type(hits) is not int or type(n) is not int or not 0 <= hits <= n:
        raise BadInputError(f"{hits!r} right of {n!r}; expected counts of samples: was it edited? Measure again")
    return hits, n


def _checks(measured: Measured, limits: Limits, sources: Sources, bounded: Mapping[str, str]) -> list[Check]:
    """A check a limit. bounded: limit -> what of `measured` it is for."""
    return [
        _check(name, what, measured, limits[name], sources[name]) for name, what in bounded.items() if name in limits
    ]


def _check(name: str, what: str, measured: Measured, limit: float, source: str) -> Check:
    if what == "top1_drop":
        rule = Rule(section="accuracy", metric=what, interval=what, unit="fraction", at_most=True)
    else:
        metric = f"ratio_{what}"
        rule = Rule(
            section="latency", metric=metric, interval=None if what == "size" else metric, unit="x", at_most=True
        )
        limit = 1 + limit
    value = measured.get(rule.metric)
    low, high = (measured.get(f"{rule.metric}_{end}") for end in ("low", "high"))
    verdict: Verdict = "inconclusive"
    note = f"{rule.metric} was not measured in both; measure it again"
    if value is not None:
        verdict, note = compare(rule, value, low, high, limit)
        more = MORE_SAMPLES if what == "top1_drop" else LONGER
        note += f"; {more}" if verdict == "inconclusive" else ""
    return Check(
        name=name,
        metric=rule.metric,
        value=value,
        low=low,
        high=high,
        limit=limit,
        unit=rule.unit,
        verdict=verdict,
        source=source,
        note=note,
    )
