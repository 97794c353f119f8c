"""What the page, the Markdown and the charts all show: the verdict in one sentence, the rows of the two tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.report.wording import (
    DASH,
    MINUS,
    NBSP,
    count,
    decibels,
    exact_bytes,
    interval,
    milliseconds,
    percent,
    plural,
    points,
    ratio,
    size,
)

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One limit and how the variant stands against it, in words."""

    name: str
    value: str
    interval: str
    limit: str
    source: str
    verdict: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One variant in words; a dash for what was not measured. `verdict` is a gate verdict or `not built`.

    accuracy: top-1 or micro F1, and drop: of the same; without labels, agreement with fp32 and SQNR, as `measures`
    names them.
    """

    name: str
    selected: bool
    size: str
    accuracy: str
    accuracy_interval: str
    drop: str
    drop_interval: str
    p50: str
    p50_interval: str
    p90: str
    p99: str
    speedup: str
    verdict: str
    reason: str


def chosen(report: Report) -> Mapping[str, Any] | None:
    """The variant that the gate judged: the selected one, else the one that the gate names."""
    variants = report["variants"]
    named = [v for v in variants if v["name"] == report["gate"].get("variant")]
    return next(iter([v for v in variants if v["selected"]] + named), None)


def is_labelled(report: Report) -> bool:
    """Whether any variant has an accuracy against labels, not only against fp32."""
    return any(v["accuracy"] and v["accuracy"][quality_key(report)] is not None for v in report["variants"])


def quality_key(report: Report) -> str:
    """What an accuracy is measured by beside labels: `top1`, or `micro_f1` where a sample may have several."""
    several = any(v["accuracy"] and v["accuracy"].get("task") == "multi-label" for v in report["variants"])
    return "micro_f1" if several else "top1"


def measures(report: Report) -> tuple[str, str]:
    """What the columns `accuracy` and `drop` hold."""
    if not is_labelled(report):
        return "Agrees with fp32", "SQNR"
    return ("Top-1" if quality_key(report) == "top1" else "Micro F1"), "Drop"


def mark(report: Report) -> str:
    """What the selected variant is called: it ships only where the gate says pass."""
    return "ships" if report["gate"]["verdict"] == "pass" else "candidate"


def headline(report: Report) -> str:
    """The verdict in one sentence: which variant ships, on which target, or why none does."""
    gate, target = report["gate"], report["target"].get("name", DASH)
    variant = chosen(report)
    if variant is None:
        return f"No variant could be judged on {target}"
    name = label(report, variant)
    if not gate["checks"]:
        return f"Undecided on {target}: no limit was set to judge {name} by"
    limits = plural(sum(check["verdict"] == gate["verdict"] for check in gate["checks"]), "limit")
    if gate["verdict"] == "pass":
        return f"{name} ships on {target}"
    if gate["verdict"] == "fail":
        return f"Nothing ships on {target}: {name} misses {limits}"
    return f"Undecided on {target}: {limits} of {name} cannot be told either way"


def label(report: Report, variant: Mapping[str, Any]) -> str:
    """The variant's name; a file that was brought, not built, goes by the name of the report."""
    return str(report["name"] if variant["precision"] == "model" else variant["name"])


def check_rows(gate: Mapping[str, Any]) -> list[CheckRow]:
    """The rows of the gate table."""
    return [
        CheckRow(
            name=check["name"],
            value=_quantity(check["value"], check),
            interval=_check_interval(check),
            limit=_limit(check),
            source=check["source"],
            verdict=check["verdict"],
            note=check.get("note") or "",
        )
        for check in gate["checks"]
    ]


def variant_rows(report: Report) -> list[VariantRow]:
    """The rows of the table of variants, in the order of the report."""
    measure = quality_key(report) if is_labelled(report) else None
    reference = next((v["latency"]["p50_ms"] for v in report["variants"] if v["name"] == "fp32" and v["latency"]), None)
    return [_variant_row(variant, measure=measure, reference_ms=reference) for variant in report["variants"]]


def _variant_row(variant: Mapping[str, Any], *, measure: str | None, reference_ms: float | None) -> VariantRow:
    accuracy, latency = variant["accuracy"] or {}, variant["latency"] or {}
    value, drop = measure or "agreement_fp32", f"{measure}_drop"
    p50 = latency.get("p50_ms")
    unjudged = "not judged" if variant["path"] else "not built"
    return VariantRow(
        name=variant["name"],
        selected=bool(variant["selected"]),
        size=size(variant["size_bytes"]),
        accuracy=percent(accuracy.get(value)),
        accuracy_interval=_ends(accuracy, value, scale=100, decimals=1),
        drop=points(accuracy.get(drop), decimals=1) if measure else decibels(accuracy.get("sqnr_db")),
        drop_interval=_ends(accuracy, drop, scale=100, decimals=1),
        p50=milliseconds(p50),
        p50_interval=_ends(latency, "p50"),
        p90=milliseconds(latency.get("p90_ms")),
        p99=milliseconds(latency.get("p99_ms")),
        speedup=f"{reference_ms / p50:.2f}×" if reference_ms and p50 else DASH,
        verdict=variant["gate"]["verdict"] if variant["gate"] else unjudged,
        reason=variant["reason"] or "",
    )


def _ends(values: Mapping[str, Any], measure: str, *, scale: float = 1.0, decimals: int | None = None) -> str:
    low, high = values.get(f"{measure}_low"), values.get(f"{measure}_high")
    return "" if low == high else interval(low, high, scale=scale, decimals=decimals)


def _quantity(value: float | None, check: Mapping[str, Any]) -> str:
    """More digits than in the table of variants: here a value stands beside its limit."""
    unit = check["unit"]
    if unit == "fraction":
        return points(value) if check["metric"].endswith("_drop") else percent(value, decimals=2)
    if unit == "ms":
        return milliseconds(value, digits=4)
    in_words = {"bytes": exact_bytes, "dB": decibels, "x": ratio}
    return in_words[unit](value) if unit in in_words else count(value, unit)


def _limit(check: Mapping[str, Any]) -> str:
    """As its author wrote it, without padding zeros; of a ratio, how much more than 1 it may be."""
    sign = "≤" if check["name"].startswith("max_") else "≥"
    if check["unit"] == "x":
        return f"{sign} {100 * (check['limit'] - 1):+.4g}{NBSP}%".replace("-", MINUS)
    scale = 100.0 if check["unit"] == "fraction" else 1.0
    unit = {"fraction": "%", "bytes": "B"}.get(check["unit"], check["unit"])
    unit = "pt" if check["metric"].endswith("_drop") else unit
    return f"{sign} {scale * check['limit']:,.12g}{NBSP}{unit}"


def _check_interval(check: Mapping[str, Any]) -> str:
    low, high, unit = check["low"], check["high"], check["unit"]
    if low == high:
        return ""
    if unit == "ms":
        return interval(low, high, digits=4)
    if unit == "fraction":
        return interval(low, high, scale=100, decimals=2)
    return interval(low, high, decimals={"x": 3, "dB": 1}.get(unit, 0))
