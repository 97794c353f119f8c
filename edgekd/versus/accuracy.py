"""What a new file loses in accuracy against the base, on the same samples: the same limits as a report's gate has."""

from collections.abc import Mapping
from typing import Any

from edgekd.gate import FLOORS, RULES, Check
from edgekd.gate import judge as judge_report
from edgekd.recheck import trusted_accuracy

NUMBERS = ("top1", "top1_drop", "agreement_fp32", "sqnr_db", "mcnemar_p")
OF_LABEL_SETS = ("micro_f1", "macro_f1", "map", "micro_f1_drop", "agreement_fp32", "sqnr_db")
"""Of the new file beside the base, which stands where a report has its fp32 file."""


def is_accuracy(limit: str) -> bool:
    """Whether the limit is one of accuracy."""
    return limit.startswith(f"{FLOORS}.") or (limit in RULES and RULES[limit].section == "accuracy")


def judge_accuracy(
    raw: Mapping[str, Any], *, limits: Mapping[str, float], sources: Mapping[str, str]
) -> tuple[dict[str, float | None], tuple[Check, ...]]:
    """The measured numbers and a check for each accuracy limit. raw: `accuracy`, an `Accuracy` of the new file.

    Raises:
        BadInputError: summaries that do not follow from the confusion matrix and the paired counts.
    """
    wanted = {name: limit for name, limit in limits.items() if is_accuracy(name)}
    if not wanted:
        return {}, ()
    found = trusted_accuracy(raw.get("accuracy"))
    gate = judge_report(accuracy=found, latency=None, size_bytes=None, limits=wanted, sources=sources)
    names = OF_LABEL_SETS if found is not None and found.get("task") == "multi-label" else NUMBERS
    measured: dict[str, float | None] = {} if found is None else {name: found.get(name) for name in names}
    return measured, gate.checks
