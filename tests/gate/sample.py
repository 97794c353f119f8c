"""Measurements of one file, a report that holds them, and shorthands to judge them."""

import copy
import json
from dataclasses import asdict
from typing import Any

from edgekd.gate import Check, Gate, judge
from edgekd.recheck import SCHEMA_VERSION, raw_sha256
from edgekd.statistics import latency_quantiles, mcnemar, newcombe_paired, wilson

SAMPLES_NS = [[2_000_000 + 1_000 * k for k in range(20)], [2_050_000 + 1_000 * k for k in range(20)]]
LATENCY: dict[str, Any] = {
    "n": 40,
    **latency_quantiles(SAMPLES_NS),
    "load_ms": 5.0,
    "load_low": 4.0,
    "load_high": 6.0,
    "peak_rss_bytes": 50_000_000,
    "samples_ns": SAMPLES_NS,
}
PAIRED = {"both": 178, "only_fp32": 3, "only_model": 2, "neither": 17}
DROP = newcombe_paired(*PAIRED.values())
TOP1 = wilson(180, 200)
ACCURACY: dict[str, Any] = {
    "n": 200,
    "labelled": True,
    "top1": 0.9,
    "top1_low": TOP1.low,
    "top1_high": TOP1.high,
    "per_class": [{"name": "cat", "n": 100}, {"name": "dog", "n": 100}],
    "confusion": [[95, 5], [15, 85]],
    "agreement_teacher": None,
    "agreement_fp32": 0.99,
    "agreement_fp32_low": 0.96,
    "agreement_fp32_high": 0.999,
    "top1_drop": 0.005,
    "top1_drop_low": DROP.low,
    "top1_drop_high": DROP.high,
    "paired": PAIRED,
    "mcnemar_p": mcnemar(3, 2),
    "outputs": "logits",
    "constant": False,
}
LOOSE: dict[str, float] = {
    "max_p50_ms": 3.0,
    "max_p90_ms": 3.0,
    "max_size_bytes": 1_000,
    "max_peak_rss_bytes": 60_000_000,
    "max_load_ms": 6.0,
    "min_top1": 0.8,
    "min_class_top1": 0.7,
    "max_top1_drop": 0.05,
    "min_agreement": 0.95,
    "class_floors.cat": 0.8,
}
"""One limit of each kind that ACCURACY, LATENCY and 1,000 bytes pass."""
TARGET = {"name": "x86-1t", "proxy": True, "threads": 1}


def judged(limits: dict[str, float], **numbers: Any) -> Gate:
    """The sample, with `numbers` in place of its own, under limits of the recipe."""
    measured = {"accuracy": ACCURACY, "latency": LATENCY, "size_bytes": 1_000, **numbers}
    return judge(**measured, limits=limits, sources=dict.fromkeys(limits, "recipe"))


def only(gate: Gate) -> Check:
    """The one check."""
    (check,) = gate.checks
    return check


def p50(value: float | None, low: float | None, high: float | None, *, limit: float = 2.0) -> Check:
    """The check of a median latency, milliseconds."""
    return only(judged({"max_p50_ms": limit}, latency={"n": 40, "p50_ms": value, "p50_low": low, "p50_high": high}))


def report(*, sealed: bool = True, limits: dict[str, float] | None = None, **changes: Any) -> dict[str, Any]:
    """A report.json as read from a file, its selected variant changed by `changes`, and hashed after or before that."""
    gate = asdict(judged(LOOSE if limits is None else limits)) | {"variant": "int8-u8s8"}
    plain = {"name": "int8-u8s8", "size_bytes": 1_000, "sha256": "ab" * 32, "accuracy": ACCURACY, "latency": LATENCY}
    before = plain | {"selected": True, "gate": gate}
    selected = before | changes
    selected["raw_sha256"] = raw_sha256(selected if sealed else before, gate["checks"], TARGET)
    other = {"name": "fp32", "size_bytes": 9_000, "accuracy": None, "latency": None, "selected": False}
    whole = {"schema_version": SCHEMA_VERSION, "target": TARGET, "variants": [other, selected], "gate": gate}
    loaded: dict[str, Any] = json.loads(json.dumps(copy.deepcopy(whole)))
    return loaded
