"""One limit against one measured number: pass, fail or, where the interval holds the limit, inconclusive."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekd.errors import BadInputError
from edgekd.gate.more import what_helps
from edgekd.gate.rules import Rule, Unit
from edgekd.recheck import number
from edgekd.statistics import P99_MIN_SAMPLES

Verdict = Literal["pass", "inconclusive", "fail"]
WORST_FIRST: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")

SIGNED = {"top1_drop": 1.0, "micro_f1_drop": 1.0, "sqnr_db": 200.0}
"""Metrics that may be negative, and the largest magnitude that they can have."""

CONSTANT = "the model gives one and the same answer to every sample: check weights and preprocessing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One limit judged. low, high: None where exact or not bounded by the data. source: who set the limit.

    Of the unit "x", value, ends and limit are ratios: a limit of +5 % is 1.05.
    """

    name: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    limit: float
    unit: Unit
    verdict: Verdict
    source: str
    note: str


def judged(
    name: str,
    rule: Rule,
    numbers: Mapping[str, Any] | None,
    *,
    limit: float,
    source: str,
    constant: bool = False,
    about: str = "",
) -> Check:
    """The limit as a check. numbers: what was measured, None where nothing was; about: goes before the note.

    Raises:
        BadInputError: a number is impossible: negative, text, outside its own interval.
    """
    value, low, high = measurement(rule, numbers or {})
    if constant:
        verdict: Verdict = "fail"
        note = CONSTANT
    elif value is None:
        verdict, note = "inconclusive", why_missing(rule, numbers)
    else:
        verdict, note = compare(rule, value, low, high, limit)
        if verdict == "inconclusive":
            note = f"{note}; {what_helps(rule, numbers or {}, limit)}"
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
        note="; ".join(part for part in (about, note) if part),
    )


def compare(rule: Rule, value: float, low: float | None, high: float | None, limit: float) -> tuple[Verdict, str]:
    """The verdict and why. An end that is not known is infinitely far away, so it can never make a pass."""
    exact = rule.interval is None
    bottom = value if exact else (-math.inf if low is None else low)
    top = value if exact else (math.inf if high is None else high)
    if (top <= limit) if rule.at_most else (bottom >= limit):
        return "pass", ""
    span = _text(value, rule.unit) if exact else f"interval {_text(low, rule.unit)}–{_text(high, rule.unit)}"
    span = span if rule.unit in ("fraction", "x") else f"{span} {rule.unit}"
    if (bottom > limit) if rule.at_most else (top < limit):
        return "fail", f"{span} is {'above' if rule.at_most else 'below'} the limit"
    return "inconclusive", f"{span} straddles the limit"


def measurement(rule: Rule, numbers: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Value, low, high; None for what is missing, NaN or infinite.

    Raises:
        BadInputError: a number is impossible.
    """
    value = number(numbers, rule.metric)
    if value is not None and not _possible(rule, value):
        raise BadInputError(f"{rule.metric} is {value:g} {rule.unit}, which cannot be; measure it again")
    if rule.interval is None:
        return value, None, None
    low, high = number(numbers, f"{rule.interval}_low"), number(numbers, f"{rule.interval}_high")
    bottom, top = -math.inf if low is None else low, math.inf if high is None else high
    if value is not None and not bottom <= value <= top:
        raise BadInputError(
            f"{rule.metric} is {value:g}, outside its own interval {low} to {high}; expected inside: measure it again"
        )
    return value, low, high


def why_missing(rule: Rule, section: Mapping[str, Any] | None) -> str:
    """Why there is no number to compare."""
    if section is None:
        return f"{rule.section} was not measured"
    if section.get(rule.metric) is not None:
        return f"{rule.metric} is {section[rule.metric]}, not a number to compare"
    if rule.metric == "p99_ms":
        return f"needs {P99_MIN_SAMPLES:,} samples, got {number(section, 'n') or 0:,.0f}; measure longer"
    if rule.section == "accuracy" and rule.metric != "agreement_fp32" and not section.get("labelled", True):
        return f"{rule.metric} needs labels, the samples have none"
    return f"{rule.metric} was not measured"


def _possible(rule: Rule, value: float) -> bool:
    if rule.metric in SIGNED:
        return abs(value) <= SIGNED[rule.metric]
    return 0 <= value <= 1 if rule.unit == "fraction" else value > 0


def _text(value: float | None, unit: Unit) -> str:
    if value is None:
        return "unbounded"
    if unit in ("bytes", "instructions"):
        return f"{value:,.0f}"
    if unit == "x":
        return f"{value:.3f}x"
    return f"{value:,.4f}".rstrip("0").rstrip(".")
