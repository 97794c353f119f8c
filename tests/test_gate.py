"""A number passes only with its whole interval inside the limit; what is missing or edited never passes."""

import copy
import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import BadInputError, ExitCode
from edgekd.gate import RULES, WORST_FIRST, Check, Gate, exit_code, judge, merge_limits, rejudge
from edgekd.statistics import latency_quantiles, wilson

patient = settings(deadline=None)  # a shared machine may pause at any time

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
TOP1 = wilson(180, 200)
ACCURACY: dict[str, Any] = {
    "n": 200,
    "labelled": True,
    "top1": 0.9,
    "top1_low": TOP1.low,
    "top1_high": TOP1.high,
    "confusion": [[95, 5], [15, 85]],
    "agreement_teacher": None,
    "agreement_fp32": 0.99,
    "agreement_fp32_low": 0.96,
    "agreement_fp32_high": 0.999,
    "top1_drop": 0.0,
    "top1_drop_low": -0.01,
    "top1_drop_high": 0.01,
    "constant": False,
}
# One limit of each kind that ACCURACY, LATENCY and 1,000 bytes pass.
LOOSE = {
    "max_p50_ms": 3.0,
    "max_p90_ms": 3.0,
    "max_size_bytes": 1_000,
    "max_peak_rss_bytes": 60_000_000,
    "max_load_ms": 6.0,
    "min_top1": 0.8,
    "max_top1_drop": 0.01,
    "min_agreement": 0.95,
}


def judged(limits: dict[str, float], **numbers: Any) -> Gate:
    measured = {"accuracy": ACCURACY, "latency": LATENCY, "size_bytes": 1_000, **numbers}
    return judge(**measured, limits=limits, sources=dict.fromkeys(limits, "recipe"))


def only(gate: Gate) -> Check:
    (check,) = gate.checks
    return check


def p50(value: float | None, low: float | None, high: float | None, *, limit: float = 2.0) -> Check:
    return only(judged({"max_p50_ms": limit}, latency={"n": 40, "p50_ms": value, "p50_low": low, "p50_high": high}))


def report(**changes: Any) -> dict[str, Any]:
    """A report.json as it is read from a file, its selected variant changed by `changes`."""
    checks = [asdict(check) for check in judged(LOOSE).checks]
    selected = {"name": "int8-u8s8", "size_bytes": 1_000, "accuracy": ACCURACY, "latency": LATENCY, "selected": True}
    other = {"name": "fp32", "size_bytes": 9_000, "accuracy": None, "latency": None, "selected": False}
    whole = {"schema_version": 3, "variants": [other, {**selected, **changes}], "gate": {"checks": checks}}
    loaded: dict[str, Any] = json.loads(json.dumps(whole))
    return loaded


def test_every_kind_of_limit_passes_when_everything_is_inside() -> None:
    gate = judged(LOOSE)
    assert (gate.verdict, gate.message.split(":")[0]) == ("pass", "8 of 8 limits pass")
    assert [check.name for check in gate.checks] == [name for name in RULES if name in LOOSE]
    assert {check.note for check in gate.checks} == {""}


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
    assert only(judged({"min_top1": 0.9})).note.endswith("straddles the limit; test on more samples")
    assert only(judged({"max_size_bytes": 999})).note == "1,000 bytes is above the limit"


@pytest.mark.parametrize(("limit", "verdict"), [(1_000, "pass"), (999, "fail")])
def test_a_size_is_exact_and_never_inconclusive(limit: int, verdict: str) -> None:
    check = only(judged({"max_size_bytes": limit}))
    assert (check.verdict, check.value, check.low, check.high) == (verdict, 1_000, None, None)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("name", LOOSE)
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


@pytest.mark.parametrize("name", RULES)
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
    unlabelled = {**ACCURACY, "labelled": False, "top1": None, "top1_drop": None}
    gate = judged({"min_top1": 0.1, "max_top1_drop": 0.5, "min_agreement": 0.9}, accuracy=unlabelled)
    assert [check.verdict for check in gate.checks] == ["inconclusive", "inconclusive", "pass"]
    assert gate.checks[0].note == "top1 needs labels, the samples have none"


def test_agreement_asks_the_teacher_first() -> None:
    teacher = {"agreement_teacher": 0.5, "agreement_teacher_low": 0.4, "agreement_teacher_high": 0.6}
    assert only(judged({"min_agreement": 0.9})).metric == "agreement_fp32"
    check = only(judged({"min_agreement": 0.9}, accuracy={**ACCURACY, **teacher}))
    assert (check.metric, check.verdict) == ("agreement_teacher", "fail")


@pytest.mark.parametrize("name", ["min_top1", "max_top1_drop", "min_agreement"])
def test_a_constant_model_fails_every_accuracy_limit_however_loose(name: str) -> None:
    check = only(judged({name: 1.0 if name.startswith("max") else 0.0}, accuracy={**ACCURACY, "constant": True}))
    assert check.verdict == "fail"
    assert "one and the same class" in check.note


def test_no_limit_at_all_is_inconclusive() -> None:
    assert judged({}) == Gate(verdict="inconclusive", checks=(), message="no limit was set")


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
    accuracy = {**ACCURACY, "top1": value, "top1_low": low, "top1_high": high}
    strict, lenient = (only(judged({"min_top1": limit}, accuracy=accuracy)) for limit in (loose, tight))
    assert WORST_FIRST.index(strict.verdict) <= WORST_FIRST.index(lenient.verdict)


@patient
@given(intervals, st.floats(0.01, 0.99))
def test_a_pass_has_its_value_inside_and_a_fail_outside(ends: list[float], limit: float) -> None:
    low, value, high = ends
    verdict = p50(value, low, high, limit=limit).verdict
    assert verdict != "pass" or value <= limit
    assert verdict != "fail" or value > limit


def test_an_unknown_limit_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInputError, match="unknown limit 'max_p50'; did you mean 'max_p50_ms'"):
        judged({"max_p50": 1.0})
    with pytest.raises(BadInputError, match="did you mean 'min_top1'"):
        merge_limits({}, {"min_top": 1.0})


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), True, "2"])
def test_a_limit_that_is_no_number_is_refused(limit: Any) -> None:
    with pytest.raises(BadInputError, match="expected a finite number"):
        judged({"max_p50_ms": limit})


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"latency": {**LATENCY, "p50_ms": -1.0}}, "p50_ms is -1 ms, which cannot be"),
        ({"latency": {**LATENCY, "p50_ms": "1"}}, "p50_ms is '1'; expected a number"),
        ({"latency": {**LATENCY, "p50_ms": 1.0}}, "outside its own interval"),
        ({"accuracy": {**ACCURACY, "top1": 90.0}}, "top1 is 90 fraction, which cannot be"),
        ({"size_bytes": 0}, "size_bytes is 0 bytes, which cannot be"),
    ],
)
def test_an_impossible_measurement_is_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        judged(LOOSE, **numbers)


def test_the_recipe_goes_before_the_target_and_none_is_not_a_limit() -> None:
    limits, sources = merge_limits(
        {"max_p50_ms": 2.0, "min_top1": None}, {"max_p50_ms": 9.0, "max_size_bytes": 100, "min_top1": None}
    )
    assert limits == {"max_p50_ms": 2.0, "max_size_bytes": 100}
    assert sources == {"max_p50_ms": "recipe", "max_size_bytes": "target"}


def test_a_report_is_judged_again_to_the_same_checks() -> None:
    gate = rejudge(report())
    assert gate == judged(LOOSE)


def test_a_report_that_was_never_written_may_hold_tuples() -> None:
    in_memory = report(latency=None, accuracy=None)
    rounds, table = tuple(map(tuple, SAMPLES_NS)), tuple(map(tuple, ACCURACY["confusion"]))
    measured = {"latency": {**LATENCY, "samples_ns": rounds}, "accuracy": {**ACCURACY, "confusion": table}}
    in_memory["variants"] = ({**in_memory["variants"][1], **measured},)
    assert rejudge(in_memory) == judged(LOOSE)


def test_a_given_limit_overrides_its_namesake_and_the_others_hold() -> None:
    gate = rejudge(report(), limits={"max_p50_ms": 1.0})
    assert gate.verdict == "fail"
    assert [check.name for check in gate.checks if check.verdict == "fail"] == ["max_p50_ms"]
    assert [check.source for check in gate.checks if check.name == "max_p50_ms"] == ["given"]
    assert len(gate.checks) == len(LOOSE)


@pytest.mark.parametrize("key", ["n", "p50_ms", "p50_low", "p90_ms", "p90_high"])
def test_a_latency_edited_away_from_its_samples_is_refused(key: str) -> None:
    with pytest.raises(BadInputError, match=f"the report says {key} .* but its samples_ns give"):
        rejudge(report(latency={**LATENCY, key: 1.5}))


def test_a_p99_that_the_samples_cannot_give_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"p99_ms 2\.1, but its samples_ns give None"):
        rejudge(report(latency={**LATENCY, "p99_ms": 2.1, "p99_low": 2.0, "p99_high": 2.2}))


def test_an_accuracy_edited_away_from_its_confusion_matrix_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"top1 0\.95, but its confusion give 0\.9"):
        rejudge(report(accuracy={**ACCURACY, "top1": 0.95}))


def test_a_constant_model_is_seen_in_the_confusion_matrix_whatever_the_report_says() -> None:
    interval = wilson(100, 200)
    top1 = {"top1": 0.5, "top1_low": interval.low, "top1_high": interval.high}
    gate = rejudge(report(accuracy={**ACCURACY, **top1, "confusion": [[100, 0], [100, 0]]}), limits={"min_top1": 0.1})
    assert gate.verdict == "fail"


def test_a_summary_without_raw_samples_is_judged_as_it_stands() -> None:
    latency = {**LATENCY, "samples_ns": None, "p50_ms": 2.5, "p50_low": 2.4, "p50_high": 2.6}
    assert rejudge(report(latency=latency)).checks[0].value == 2.5


@pytest.mark.parametrize("samples", [[], [[]], [[1, -1]], [[1.5]], [["1"]], [[True]], 7])
def test_raw_samples_that_are_no_durations_are_refused(samples: Any) -> None:
    with pytest.raises(BadInputError, match="rounds of positive whole nanoseconds"):
        rejudge(report(latency={**LATENCY, "samples_ns": samples}))


@pytest.mark.parametrize("confusion", [[[1, 2]], [[1], [2, 3]], [[0, 0], [0, 0]], [[1, -1], [0, 1]], "x"])
def test_a_confusion_matrix_that_is_none_is_refused(confusion: Any) -> None:
    with pytest.raises(BadInputError, match="not a square table of counts"):
        rejudge(report(accuracy={**ACCURACY, "confusion": confusion}))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "schema_version None; expected 3"),
        ({"schema_version": 1}, "schema_version 1; expected 3"),
        ({"schema_version": 3}, "variants is NoneType; expected a list"),
        ({"schema_version": 3, "variants": []}, "0 selected variants of 0; expected 1"),
        ({"schema_version": 3, "variants": [{"selected": True}] * 2}, "2 selected variants of 2"),
        ({"schema_version": 3, "variants": [{"selected": True, "latency": 3}]}, "latency is int; expected an object"),
        ({"schema_version": 3, "variants": [None]}, "variants is list; expected a list of objects"),
    ],
)
def test_a_report_without_one_selected_variant_is_refused(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        rejudge(broken)


def test_a_recorded_limit_that_is_unknown_is_refused() -> None:
    broken = report()
    broken["gate"]["checks"][0]["name"] = "max_p5_ms"
    with pytest.raises(BadInputError, match="did you mean 'max_p50_ms'"):
        rejudge(broken)


def test_a_report_without_recorded_limits_is_inconclusive() -> None:
    assert rejudge({**report(), "gate": None}).message == "no limit was set"


def test_a_selected_variant_that_was_never_measured_does_not_pass() -> None:
    gate = rejudge(report(latency=None, accuracy=None, size_bytes=None))
    assert {check.verdict for check in gate.checks} == {"inconclusive"}


def test_judging_leaves_the_report_as_it_was() -> None:
    given_report = report()
    before = copy.deepcopy(given_report)
    rejudge(given_report, limits={"max_p50_ms": 1.0})
    assert given_report == before


def test_importing_the_gate_loads_neither_torch_nor_scipy() -> None:
    code = (
        "import sys, edgekd.gate, edgekd.accuracy; print(sorted({'torch', 'scipy', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
