"""Measurements x limits -> verdicts; only a number whose whole interval is inside the limit passes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekd.errors import BadInputError, ExitCode, nearest
from edgekd.recheck import number, objects, part, trusted_variant
from edgekd.statistics import P99_MIN_SAMPLES

Verdict = Literal["pass", "inconclusive", "fail"]
Section = Literal["accuracy", "latency", "file", "portability"]

EXIT_CODES: dict[Verdict, ExitCode] = {
    "pass": ExitCode.PASS,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "fail": ExitCode.GATE_FAILED,
}
WORST_FIRST: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a limit is compared with. `interval`: the stem of the keys STEM_low and STEM_high, None when exact."""

    section: Section
    metric: str
    interval: str | None
    unit: Literal["ms", "bytes", "fraction", "dB"]
    at_most: bool


RULES: dict[str, Rule] = {
    "max_p50_ms": Rule(section="latency", metric="p50_ms", interval="p50", unit="ms", at_most=True),
    "max_p90_ms": Rule(section="latency", metric="p90_ms", interval="p90", unit="ms", at_most=True),
    "max_p99_ms": Rule(section="latency", metric="p99_ms", interval="p99", unit="ms", at_most=True),
    "max_size_bytes": Rule(section="file", metric="size_bytes", interval=None, unit="bytes", at_most=True),
    "max_peak_rss_bytes": Rule(section="latency", metric="peak_rss_bytes", interval=None, unit="bytes", at_most=True),
    "max_load_ms": Rule(section="latency", metric="load_ms", interval="load", unit="ms", at_most=True),
    "min_top1": Rule(section="accuracy", metric="top1", interval="top1", unit="fraction", at_most=False),
    "max_top1_drop": Rule(section="accuracy", metric="top1_drop", interval="top1_drop", unit="fraction", at_most=True),
    "min_agreement": Rule(
        section="accuracy", metric="agreement_teacher", interval="agreement_teacher", unit="fraction", at_most=False
    ),
    "min_isa_agreement": Rule(
        section="portability", metric="top1_agreement", interval=None, unit="fraction", at_most=False
    ),
    "min_sqnr_db": Rule(section="accuracy", metric="sqnr_db", interval=None, unit="dB", at_most=False),
}
# Where no teacher was given, agreement with the fp32 file stands in.
AGREEMENT_FP32 = Rule(
    section="accuracy", metric="agreement_fp32", interval="agreement_fp32", unit="fraction", at_most=False
)
SIGNED = {"top1_drop": 1.0, "sqnr_db": 200.0}
"""Metrics that may be negative, and the largest magnitude that they can have."""

MORE = {
    "latency": "measure longer",
    "accuracy": "test on more samples",
    "file": "measure again",
    "portability": "compare more samples",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One limit judged. low, high: None where exact or not bounded by the data. source: who set the limit."""

    name: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    limit: float
    unit: str
    verdict: Verdict
    source: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The worst verdict of all checks. message: one line for people."""

    verdict: Verdict
    checks: tuple[Check, ...]
    message: str


def judge(
    *,
    accuracy: Mapping[str, Any] | None,
    latency: Mapping[str, Any] | None,
    size_bytes: int | None,
    limits: Mapping[str, float],
    sources: Mapping[str, str],
    portability: Mapping[str, Any] | None = None,
) -> Gate:
    """Each limit as a check, and the worst of their verdicts.

    Pass: the whole interval is inside the limit, which itself is inside. Fail: wholly outside. Else inconclusive, and
    so is every number that is missing or NaN. A model that gives one answer to all fails every accuracy limit.

    Args:
        accuracy, latency: in the form of report.json, None where not measured.
        size_bytes: size of the ONNX file.
        limits: name -> limit, in the unit its name says.
        sources: name -> "recipe" or "target", one for each limit.
        portability: the outputs on another instruction set beside the machine's own, None where not compared.

    Raises:
        BadInputError: a limit is unknown or no number, or a measurement is impossible (negative, text, outside its
            own interval).
    """
    known = _known_limits(limits)
    measured: dict[Section, Mapping[str, Any] | None] = {
        "accuracy": accuracy,
        "latency": latency,
        "file": {"size_bytes": size_bytes},
        "portability": portability,
    }
    checks = tuple(
        _check(name, limit=known[name], source=sources[name], measured=measured) for name in RULES if name in known
    )
    if not checks:
        return Gate(verdict="inconclusive", checks=(), message="no limit was set")
    verdict = next(verdict for verdict in WORST_FIRST if any(check.verdict == verdict for check in checks))
    named = [check.name for check in checks if check.verdict == verdict]
    return Gate(
        verdict=verdict, checks=checks, message=f"{len(named)} of {len(checks)} limits {verdict}: {', '.join(named)}"
    )


def exit_code(verdict: Verdict) -> ExitCode:
    """What the process answers: 0 pass, 1 fail, 3 inconclusive."""
    return EXIT_CODES[verdict]


def merge_limits(
    recipe: Mapping[str, float | None], target: Mapping[str, float | None]
) -> tuple[dict[str, float], dict[str, str]]:
    """The limits that hold, and who set each: the recipe's, else the target's budget. None is a limit not set.

    Raises:
        BadInputError: a limit is unknown or no number.
    """
    limits: dict[str, float] = {}
    sources: dict[str, str] = {}
    for source, values in (("target", target), ("recipe", recipe)):
        for name, limit in _known_limits({key: value for key, value in values.items() if value is not None}).items():
            limits[name], sources[name] = limit, source
    return limits, sources


def rejudge(report: Mapping[str, Any], *, limits: Mapping[str, float] | None = None) -> Gate:
    """The gate of the report's selected variant, judged again from the numbers nearest to the measurement.

    Latency quantiles are recomputed from samples_ns, top-1 from the confusion matrix, where the report has them.

    Args:
        report: report.json, parsed.
        limits: override the recorded limit of the same name or add to them; the other recorded ones still hold.

    Raises:
        BadInputError: another schema version, no or several selected variants, a missing part, or a summary that
            does not follow from its raw numbers.
    """
    variant = trusted_variant(report)
    recorded = _recorded_limits(report)
    given = {name: (float(limit), "given") for name, limit in _known_limits(limits or {}).items()}
    merged = {**recorded, **given}
    return judge(
        accuracy=variant["accuracy"],
        latency=variant["latency"],
        size_bytes=variant.get("size_bytes"),
        portability=part(variant, "portability"),
        limits={name: limit for name, (limit, _) in merged.items()},
        sources={name: source for name, (_, source) in merged.items()},
    )


def _check(name: str, *, limit: float, source: str, measured: Mapping[Section, Mapping[str, Any] | None]) -> Check:
    rule = RULES[name]
    section = measured[rule.section]
    numbers: Mapping[str, Any] = {} if section is None else section
    if name == "min_agreement" and numbers.get("agreement_teacher") is None:
        rule = AGREEMENT_FP32
    value, low, high = _measurement(rule, numbers)
    if rule.section == "accuracy" and numbers.get("constant"):
        verdict: Verdict = "fail"
        note = "the model gives one and the same class for every sample: check weights and preprocessing"
    elif value is None:
        verdict, note = "inconclusive", _why_missing(rule, section)
    else:
        verdict, note = _compare(rule, value, low, high, limit)
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


def _compare(rule: Rule, value: float, low: float | None, high: float | None, limit: float) -> tuple[Verdict, str]:
    """An end that is not known is infinitely far away, so it can never make a pass."""
    exact = rule.interval is None
    bottom = value if exact else (-math.inf if low is None else low)
    top = value if exact else (math.inf if high is None else high)
    if (top <= limit) if rule.at_most else (bottom >= limit):
        return "pass", ""
    span = _text(value, rule.unit) if exact else f"interval {_text(low, rule.unit)}–{_text(high, rule.unit)}"
    span = span if rule.unit == "fraction" else f"{span} {rule.unit}"
    if (bottom > limit) if rule.at_most else (top < limit):
        return "fail", f"{span} is {'above' if rule.at_most else 'below'} the limit"
    return "inconclusive", f"{span} straddles the limit; {MORE[rule.section]}"


def _measurement(rule: Rule, numbers: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Value, low, high; None for what is missing, NaN or infinite."""
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


def _possible(rule: Rule, value: float) -> bool:
    if rule.metric in SIGNED:
        return abs(value) <= SIGNED[rule.metric]
    return 0 <= value <= 1 if rule.unit == "fraction" else value > 0


def _why_missing(rule: Rule, section: Mapping[str, Any] | None) -> str:
    if section is None:
        return f"{rule.section} was not measured"
    if section.get(rule.metric) is not None:
        return f"{rule.metric} is {section[rule.metric]}, not a number to compare"
    if rule.metric == "p99_ms":
        return f"needs {P99_MIN_SAMPLES:,} samples, got {number(section, 'n') or 0:,.0f}; measure longer"
    if rule.section == "accuracy" and rule.metric != "agreement_fp32" and not section.get("labelled", True):
        return f"{rule.metric} needs labels, the samples have none"
    return f"{rule.metric} was not measured"


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "unbounded"
    if unit == "bytes":
        return f"{value:,.0f}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def _known_limits(limits: Mapping[str, Any]) -> dict[str, float]:
    """The limits as they are, once every name is known and every value a finite number."""
    for name, limit in limits.items():
        if name not in RULES:
            raise BadInputError(f"unknown limit '{name}'{nearest(name, list(RULES))}; known: {', '.join(RULES)}")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
            raise BadInputError(f"limit {name} is {limit!r}; expected a finite number: set one or leave it out")
    return dict(limits)


def _recorded_limits(report: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    recorded: dict[str, tuple[float, str]] = {}
    for check in objects(part(report, "gate") or {"checks": []}, "checks"):
        name, source = str(check.get("name")), str(check.get("source"))
        recorded[name] = _known_limits({name: check.get("limit")})[name], source
    return recorded
