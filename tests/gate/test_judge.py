"""A number passes only with its whole interval inside the limit; what is missing never passes."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import BadInputError, ExitCode
from edgekd.gate import RULES, WORST_FIRST, Gate, conclude, exit_code

from .sample import ACCURACY, LATENCY, LOOSE, TOP1, judged, only, p50

patient = settings(deadline=None)  # a shared machine may pause at any time


def test_every_kind_of_limit_passes_when_everything_is_inside() -> None:
    gate = judged(LOOSE)
    assert (gate.verdict, gate.message.split(":")[0]) == ("pass", "10 of 10 limits pass")
    assert [check.name for check in gate.checks] == [name for name in (*RULES, "class_floors.cat") if name in LOOSE]
    assert {check.note for check in gate.checks if "class" not in check.name} == {""}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.7, 1.9, "pass"),
        (1.7, 2.0, "pass"),
        (1.7, 2.2, "inconclusive"),
        (2.0, 2.2, "inconclusive"),
        (2.1, 2.2, "fail"),
    ],
)
def test_a_latency_limit_of_2_ms_is_judged_by_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert p50((low + high) / 2, low, high).verdict == verdict


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(0.8, "pass"), (TOP1.low, "pass"), (0.9, "inconclusive"), (TOP1.high, "inconclusive"), (0.96, "fail")],
)
def test_a_least_accuracy_is_judged_from_the_other_side(limit: float, verdict: str) -> None:
    assert only(judged({"min_top1": limit})).verdict == verdict


def test_notes_say_what_the_interval_does_and_what_helps() -> None:
    assert p50(2.0, 1.9, 2.2).note == "interval 1.9–2.2 ms straddles the limit; measure longer"
    assert p50(2.3, 2.1, 2.4).note == "interval 2.1–2.4 ms is above the limit"
    assert only(judged({"max_size_bytes": 999})).note == "1,000 bytes is above the limit"


@pytest.mark.parametrize(("limit", "verdict"), [(1_000, "pass"), (999, "fail")])
def test_a_size_is_exact_and_never_inconclusive(limit: int, verdict: str) -> None:
    check = only(judged({"max_size_bytes": limit}))
    assert (check.verdict, check.value, check.low, check.high) == (verdict, 1_000, None, None)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("name", [name for name in LOOSE if "class" not in name])
def test_a_number_that_is_missing_or_nan_is_inconclusive_and_says_so(name: str, value: float | None) -> None:
    rule = RULES[name]
    broken = {"agreement_fp32" if name == "min_agreement" else rule.metric: value}
    gate = judged(
        {name: LOOSE[name]},
        accuracy={**ACCURACY, **broken},
        latency={**LATENCY, **broken},
        size_bytes=value if name == "max_size_bytes" else 1_000,
    )
    assert gate.verdict == "inconclusive"
    assert "not" in only(gate).note


@pytest.mark.parametrize("name", [*RULES, "class_floors.cat"])
def test_nothing_measured_is_inconclusive_for_every_limit(name: str) -> None:
    gate = judged({name: 0.5}, accuracy=None, latency=None, size_bytes=None)
    assert gate.verdict == "inconclusive"
    assert "not measured" in only(gate).note


def test_an_interval_open_on_the_side_of_the_limit_does_not_pass() -> None:
    assert p50(1.0, 0.9, None).verdict == "inconclusive"
    assert p50(1.0, None, 1.1).verdict == "pass"
    assert p50(3.0, 2.9, None).verdict == "fail"
    assert p50(1.0, 0.9, float("nan")).note == "interval 0.9–unbounded ms straddles the limit; measure longer"


def test_p99_without_a_thousand_samples_says_how_many_it_got() -> None:
    check = only(judged({"max_p99_ms": 100.0}))
    assert (check.verdict, check.note) == ("inconclusive", "needs 1,000 samples, got 40; measure longer")


def test_accuracy_without_labels_says_so_and_agreement_still_counts() -> None:
    unlabelled = {**ACCURACY, "labelled": False, "top1": None, "top1_drop": None, "per_class": [], "confusion": []}
    limits = {"min_top1": 0.1, "min_class_top1": 0.1, "max_top1_drop": 0.5, "min_agreement": 0.9}
    gate = judged(limits | {"class_floors.anything": 0.1}, accuracy=unlabelled)
    assert [check.verdict for check in gate.checks] == [*["inconclusive"] * 3, "pass", "inconclusive"]
    assert gate.checks[0].note == "top1 needs labels, the samples have none"
    assert gate.checks[1].note == gate.checks[4].note == "class_top1 needs labels, the samples have none"


def test_agreement_asks_the_teacher_first() -> None:
    teacher = {"agreement_teacher": 0.5, "agreement_teacher_low": 0.4, "agreement_teacher_high": 0.6}
    assert only(judged({"min_agreement": 0.9})).metric == "agreement_fp32"
    check = only(judged({"min_agreement": 0.9}, accuracy={**ACCURACY, **teacher}))
    assert (check.metric, check.verdict) == ("agreement_teacher", "fail")


@pytest.mark.parametrize("name", LOOSE)
def test_a_constant_model_fails_every_limit_however_loose(name: str) -> None:
    check = only(judged({name: 1e9 if name.startswith("max") else 0.0}, accuracy={**ACCURACY, "constant": True}))
    assert check.verdict == "fail"
    assert "one and the same answer" in check.note


def test_no_limit_at_all_is_inconclusive() -> None:
    assert judged({}) == conclude([]) == Gate(verdict="inconclusive", checks=(), message="no limit was set")


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ({"max_p50_ms": 1.0, "max_p99_ms": 9.0, "min_top1": 0.1}, "fail"),
        ({"max_p99_ms": 9.0, "min_top1": 0.1}, "inconclusive"),
        ({"min_top1": 0.1}, "pass"),
    ],
)
def test_the_verdict_is_the_worst_check(limits: dict[str, float], verdict: str) -> None:
    assert judged(limits).verdict == verdict


def test_each_verdict_has_its_exit_code() -> None:
    assert (exit_code("pass"), exit_code("fail"), exit_code("inconclusive")) == (0, 1, 3)
    assert isinstance(exit_code("pass"), ExitCode)


intervals = st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3).map(sorted)


@patient
@given(intervals, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_looser_limit_never_makes_a_verdict_worse(ends: list[float], one: float, other: float) -> None:
    low, value, high = ends
    tight, loose = sorted((one, other))
    assert WORST_FIRST.index(p50(value, low, high, limit=tight).verdict) <= WORST_FIRST.index(
        p50(value, low, high, limit=loose).verdict
    )
    accuracy = {**ACCURACY, "agreement_fp32": value, "agreement_fp32_low": low, "agreement_fp32_high": high}
    accuracy["outputs"] = "values"  # a mean over samples: its interval is not that of a proportion
    strict, lenient = (only(judged({"min_agreement": limit}, accuracy=accuracy)) for limit in (loose, tight))
    assert WORST_FIRST.index(strict.verdict) <= WORST_FIRST.index(lenient.verdict)


@patient
@given(intervals, st.floats(0.01, 0.99))
def test_a_pass_has_its_value_inside_and_a_fail_outside(ends: list[float], limit: float) -> None:
    low, value, high = ends
    verdict = p50(value, low, high, limit=limit).verdict
    assert verdict != "pass" or value <= limit
    assert verdict != "fail" or value > limit


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"latency": {**LATENCY, "p50_ms": -1.0}}, "p50_ms is -1 ms, which cannot be"),
        ({"latency": {**LATENCY, "p50_ms": "1"}}, "p50_ms is '1'; expected a number"),
        ({"latency": {**LATENCY, "p50_ms": True}}, "p50_ms is True; expected a number"),
        ({"latency": {**LATENCY, "p50_ms": 10**400}}, "p50_ms is a number of 401 digits"),
        ({"latency": {**LATENCY, "p50_ms": 1.0}}, "outside its own interval"),
        ({"accuracy": {**ACCURACY, "top1": 90.0}}, "top1 is 90 fraction, which cannot be"),
        ({"size_bytes": 0}, "size_bytes is 0 bytes, which cannot be"),
    ],
)
def test_an_impossible_measurement_is_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        judged(LOOSE, **numbers)


def test_importing_the_gate_loads_neither_torch_nor_scipy() -> None:
    code = (
        "import sys, edgekd.gate, edgekd.accuracy; print(sorted({'torch', 'scipy', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
