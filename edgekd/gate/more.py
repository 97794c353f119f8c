"""What would turn an inconclusive check into a verdict: how many more samples, or a longer measurement."""

import math
from collections.abc import Mapping
from typing import Any

from edgekd.gate.rules import Rule
from edgekd.recheck import number
from edgekd.statistics import CONFIDENCE, samples_to_decide, samples_to_decide_proportion

MORE = {
    "latency": "measure longer",
    "accuracy": "test on more samples",
    "file": "measure again",
    "portability": "compare more samples",
}


MEANS = ("micro_f1", "macro_f1", "map", "micro_f1_drop")
"""Metrics that are no plain proportion of the samples."""


def what_helps(rule: Rule, numbers: Mapping[str, Any], limit: float) -> str:
    """What to do, in words; for an accuracy with about how many more samples, if the rates stay as they are."""
    more = more_samples(rule, numbers, limit) if rule.section == "accuracy" else None
    if more is None:
        return MORE[rule.section]
    of = " of it" if rule.metric == "class_top1" else ""
    return f"about {_round_up(more):,} more samples{of} would decide, if the rate stays what it is"


def more_samples(rule: Rule, numbers: Mapping[str, Any], limit: float) -> int | None:
    """About how many more samples would decide; None where that cannot be told, as for a rate right at the limit."""
    n, value = number(numbers, "n"), number(numbers, rule.metric)
    if n is None or n < 1 or value is None or value == limit:
        return None
    total: float | None
    if rule.metric == "top1_drop":
        paired = numbers.get("paired")
        if paired is None:
            return None
        counts = (paired["both"], paired["only_fp32"], paired["only_model"], paired["neither"])
        total = samples_to_decide(*counts, limit, CONFIDENCE)
    elif numbers.get("outputs") == "values" or rule.metric in MEANS:
        total = _by_width(rule, numbers, value, n, limit)
    else:
        confidence = numbers.get("confidence_below", CONFIDENCE) if value < limit else CONFIDENCE
        total = samples_to_decide_proportion(round(value * n), round(n), limit, confidence)
    return None if total is None or total <= n else math.ceil(total - n)


def _by_width(rule: Rule, numbers: Mapping[str, Any], value: float, n: float, limit: float) -> float | None:
    """How many samples until the interval of a mean, which narrows with their root, no longer holds `limit`."""
    end = number(numbers, f"{rule.interval}_{'low' if limit < value else 'high'}")
    return None if end is None else n * ((end - value) / (limit - value)) ** 2


def _round_up(count: int) -> int:
    """To two digits: more would promise a precision that the estimate has not."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return math.ceil(count / step) * step
