"""Limits of F1 and mean average precision: judged by their intervals, and refused where the task is another."""

import re
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.gate import check_task, judge

MEASURED: dict[str, Any] = {
    "n": 500,
    "labelled": True,
    "task": "multi-label",
    "top1": None,
    "confusion": [],
    "per_class": [{"name": "a"}, {"name": "b"}],
    "micro_f1": 0.8, "micro_f1_low": 0.77, "micro_f1_high": 0.83,
    "macro_f1": 0.6, "macro_f1_low": 0.55, "macro_f1_high": 0.65,
    "map": 0.7, "map_low": 0.66, "map_high": 0.74,
    "micro_f1_drop": 0.005, "micro_f1_drop_low": -0.002, "micro_f1_drop_high": 0.012,
    "agreement_teacher": 0.7, "agreement_teacher_low": 0.66, "agreement_teacher_high": 0.74,
    "constant": False,
}  # fmt: skip


def verdicts(**limits: float) -> dict[str, str]:
    gate = judge(accuracy=MEASURED, latency=None, size_bytes=1, limits=limits, sources=dict.fromkeys(limits, "recipe"))
    return {check.name: check.verdict for check in gate.checks}


def test_the_whole_interval_decides() -> None:
    assert verdicts(min_micro_f1=0.75, min_macro_f1=0.7, min_map=0.7, max_micro_f1_drop=0.02, min_agreement=0.6) == {
        "min_micro_f1": "pass",
        "min_macro_f1": "fail",
        "min_map": "inconclusive",
        "max_micro_f1_drop": "pass",
        "min_agreement": "pass",
    }


def test_what_is_inconclusive_says_how_many_more_samples_would_decide() -> None:
    gate = judge(
        accuracy=MEASURED, latency=None, size_bytes=1, limits={"min_map": 0.675}, sources={"min_map": "recipe"}
    )
    # The interval reaches 0.04 below, 0.025 are wanted: 2.56 times as many samples, 780 more.
    assert re.search(r"about 7[89]0 more samples would decide", gate.checks[0].note)


def test_limits_of_the_other_task_are_refused_with_those_that_fit() -> None:
    for limits, multi_label, told in (
        (
            ["min_top1"],
            True,
            r"min_top1 \(set by the recipe\) does not fit the data, which is multi-label; .*min_micro",
        ),
        (["class_floors.cat"], True, "class_floors.cat"),
        (["min_map"], False, "min_map .* has one class a sample; expected one of: min_top1"),
    ):
        with pytest.raises(BadInputError, match=told):
            check_task(limits, {}, multi_label=multi_label)
    check_task(["min_micro_f1", "max_p50_ms", "min_agreement"], {}, multi_label=True)
    check_task(["min_top1", "class_floors.cat"], {}, multi_label=False)
