"""A report is judged again from its raw numbers; what was edited, cut out or never there is refused."""

import copy
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.gate import rejudge
from edgekd.recheck import raw_sha256
from edgekd.statistics import mcnemar, newcombe_paired, wilson

from .sample import ACCURACY, LATENCY, LOOSE, PAIRED, SAMPLES_NS, TARGET, judged, report


def test_a_report_is_judged_again_to_the_same_checks() -> None:
    assert rejudge(report()) == judged(LOOSE)


def test_a_report_that_was_never_written_may_hold_tuples() -> None:
    in_memory = report()
    rounds, table = tuple(map(tuple, SAMPLES_NS)), tuple(map(tuple, ACCURACY["confusion"]))
    measured = {"latency": {**LATENCY, "samples_ns": rounds}, "accuracy": {**ACCURACY, "confusion": table}}
    in_memory["variants"] = ({**in_memory["variants"][1], **measured},)
    assert rejudge(in_memory) == judged(LOOSE)


def test_a_given_limit_overrides_its_namesake_and_the_others_hold() -> None:
    gate = rejudge(report(), limits={"max_p50_ms": 1.0, "class_floors": {"dog": 0.1}})
    assert gate.verdict == "fail"
    assert [check.name for check in gate.checks if check.verdict == "fail"] == ["max_p50_ms"]
    given = [check.name for check in gate.checks if check.source == "given"]
    assert given == ["max_p50_ms", "class_floors.dog"]
    assert len(gate.checks) == len(LOOSE) + 1


@pytest.mark.parametrize("key", ["n", "p50_ms", "p50_low", "p90_ms", "p90_high"])
def test_a_latency_edited_away_from_its_samples_is_refused(key: str) -> None:
    with pytest.raises(BadInputError, match=f"the report says {key} .* but its samples_ns give"):
        rejudge(report(latency={**LATENCY, key: 1.5}))


def test_a_p99_that_the_samples_cannot_give_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"p99_ms 2\.1, but its samples_ns give None"):
        rejudge(report(latency={**LATENCY, "p99_ms": 2.1, "p99_low": 2.0, "p99_high": 2.2}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top1": 0.95}, r"top1 0\.95, but its confusion give 0\.9"),
        ({"top1_drop": 0.0}, r"top1_drop 0\.0, but its paired counts give 0\.005"),
        ({"top1_drop_high": 0.006}, r"top1_drop_high 0\.006, but its paired counts give"),
        ({"mcnemar_p": 0.01}, r"mcnemar_p 0\.01, but its paired counts give 1"),
        ({"paired": None}, r"top1_drop 0\.005, but its missing paired counts give 0\.0"),
        (
            {"paired": PAIRED | {"both": 179}},
            "expected the counts both, only_fp32, only_model, neither of the same 200",
        ),
        ({"paired": PAIRED | {"both": 179, "only_model": 1, "neither": -1}}, "expected the counts"),
        ({"paired": PAIRED | {"both": 177, "only_fp32": 4}}, "200 samples, 180 of them right"),
        ({"paired": {"both": 200}}, "expected the counts"),
        ({"confusion": []}, "has labels and no confusion matrix"),
    ],
)
def test_an_accuracy_edited_away_from_its_counts_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        rejudge(report(accuracy={**ACCURACY, **changes}))


def test_the_drop_of_fp32_itself_is_zero_and_needs_no_counts() -> None:
    zero = dict.fromkeys(("top1_drop", "top1_drop_low", "top1_drop_high"), 0.0)
    gate = rejudge(report(accuracy=ACCURACY | zero | {"paired": None, "mcnemar_p": None}))
    assert gate.verdict == "pass"


def test_a_constant_model_is_seen_in_the_confusion_matrix_whatever_the_report_says() -> None:
    interval, drop = wilson(100, 200), newcombe_paired(100, 80, 0, 20)
    changed = {
        "top1": 0.5,
        "top1_low": interval.low,
        "top1_high": interval.high,
        "confusion": [[100, 0], [100, 0]],
        "paired": {"both": 100, "only_fp32": 80, "only_model": 0, "neither": 20},
        "top1_drop": 0.4,
        "top1_drop_low": drop.low,
        "top1_drop_high": drop.high,
        "mcnemar_p": mcnemar(80, 0),
    }
    doctored = report(accuracy=ACCURACY | changed, limits={"max_p50_ms": 3.0})
    with pytest.raises(BadInputError, match="the report says pass for max_p50_ms, but its numbers give fail"):
        rejudge(doctored)


@pytest.mark.parametrize("samples", [None, [], [[]], [[1, -1]], [[0]], [[1.5]], [["1"]], [[True]], 7, [1]])
def test_raw_samples_that_are_missing_or_no_durations_are_refused(samples: Any) -> None:
    with pytest.raises(BadInputError, match="rounds of positive whole nanoseconds"):
        rejudge(report(latency={**LATENCY, "samples_ns": samples}))


@pytest.mark.parametrize("confusion", [[[1, 2]], [[1], [2, 3]], [[0, 0], [0, 0]], [[1, -1], [0, 1]], "x"])
def test_a_confusion_matrix_that_is_none_is_refused(confusion: Any) -> None:
    with pytest.raises(BadInputError, match="not a square table of counts"):
        rejudge(report(accuracy={**ACCURACY, "confusion": confusion}))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "schema_version None; expected 4"),
        ({"schema_version": 3}, "schema_version 3; expected 4"),
        ({"schema_version": True}, "schema_version True; expected 4"),
        ({"schema_version": 4}, "variants is NoneType; expected a list"),
        ({"schema_version": 4, "variants": []}, "0 selected variants of 0; expected 1"),
        ({"schema_version": 4, "variants": [{"selected": True}] * 2}, "2 selected variants of 2"),
        ({"schema_version": 4, "variants": [None]}, "variants is list; expected a list of objects"),
        ({"schema_version": 4, "variants": [{"selected": True, "name": "a"}]}, "gate.variant is None; expected 'a'"),
    ],
)
def test_a_report_without_one_selected_variant_is_refused(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        rejudge(broken)


def test_a_section_that_is_no_object_is_refused() -> None:
    with pytest.raises(BadInputError, match="latency is int; expected an object"):
        rejudge(report(latency=3))


def edited(change: str) -> dict[str, Any]:
    """A report in which one thing was edited that its summaries do not tell."""
    made = report()
    variant, gate = made["variants"][1], made["gate"]
    edits: dict[str, Any] = {
        "another sample": variant["latency"]["samples_ns"][0].reverse,
        "load": lambda: variant["latency"].update(load_high=5.5),
        "agreement": lambda: variant["accuracy"].update(agreement_fp32_low=0.97),
        "size": lambda: variant.update(size_bytes=10),
        "hash of the file": lambda: variant.update(sha256="cd" * 32),
        "portability": lambda: variant.update(portability={"top1_agreement": 1.0}),
        "a limit loosened": lambda: gate["checks"][0].update(limit=30.0),
        "a limit removed": gate["checks"].pop,
        "all limits removed": gate["checks"].clear,
        "a limit added": lambda: gate["checks"].append({"name": "max_p99_ms", "limit": 9.0, "source": "recipe"}),
        "limits in another order": gate["checks"].reverse,
        "who set a limit": lambda: gate["checks"][0].update(source="target"),
        "target": lambda: made["target"].update(threads=4),
        "no target": lambda: made.pop("target"),
        "no hash": lambda: variant.pop("raw_sha256"),
        "another hash": lambda: variant.update(raw_sha256="0" * 64),
    }
    edits[change]()
    return made


@pytest.mark.parametrize(
    "change",
    ["another sample", "load", "agreement", "size", "hash of the file", "portability", "a limit loosened",
     "a limit removed", "all limits removed", "a limit added", "limits in another order", "who set a limit", "target",
     "no target", "no hash", "another hash"],
)  # fmt: skip
def test_what_no_summary_tells_the_hash_does(change: str) -> None:
    with pytest.raises(BadInputError, match=r"raw_sha256 of 'int8-u8s8' is .*; measure again"):
        rejudge(edited(change))


@pytest.mark.parametrize("where", ["gate", "check"])
def test_an_edited_verdict_is_refused(where: str) -> None:
    bad = report(limits={"max_p50_ms": 1.0})
    place = bad["gate"] if where == "gate" else bad["gate"]["checks"][0]
    assert place["verdict"] == "fail"
    place["verdict"] = "pass"
    with pytest.raises(
        BadInputError, match=r"the report says pass.*, but its numbers give fail: the verdict was edited"
    ):
        rejudge(bad)


def test_the_hash_is_the_same_before_writing_and_after_reading() -> None:
    made = report()
    variant = made["variants"][1] | {"latency": {**LATENCY, "samples_ns": tuple(map(tuple, SAMPLES_NS))}}
    assert raw_sha256(variant, made["gate"]["checks"], TARGET) == made["variants"][1]["raw_sha256"]
    assert raw_sha256(variant, made["gate"]["checks"], TARGET | {"name": "x"}) != made["variants"][1]["raw_sha256"]


def test_a_number_that_json_does_not_know_is_refused_in_the_raw_part_too() -> None:
    broken = report()
    broken["variants"][1]["latency"]["load_ms"] = float("nan")
    with pytest.raises(BadInputError, match="no plain JSON"):
        rejudge(broken)


def test_a_recorded_limit_that_is_unknown_or_stands_twice_is_refused() -> None:
    unknown = report()
    unknown["gate"]["checks"][0]["name"] = "max_p5_ms"
    twice = report()
    twice["gate"]["checks"].append(twice["gate"]["checks"][0])
    for broken, message in ((unknown, "did you mean 'max_p50_ms'"), (twice, "judges max_p50_ms twice")):
        variant = broken["variants"][1]
        variant["raw_sha256"] = raw_sha256(variant, broken["gate"]["checks"], TARGET)
        with pytest.raises(BadInputError, match=message):
            rejudge(broken)


def test_a_report_that_was_judged_by_no_limit_is_inconclusive_and_without_a_gate_is_refused() -> None:
    assert rejudge(report(limits={})).message == "no limit was set"
    with pytest.raises(BadInputError, match=r"gate\.variant is None"):
        rejudge({**report(), "gate": None})


def test_a_selected_variant_that_was_never_measured_does_not_pass() -> None:
    nothing = report(latency=None, accuracy=None, size_bytes=None)
    for check in nothing["gate"]["checks"]:
        check["verdict"] = "inconclusive"
    nothing["gate"]["verdict"] = "inconclusive"
    assert {check.verdict for check in rejudge(nothing).checks} == {"inconclusive"}


def test_judging_leaves_the_report_as_it_was() -> None:
    given_report = report()
    before = copy.deepcopy(given_report)
    rejudge(given_report, limits={"max_p50_ms": 1.0})
    assert given_report == before


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"task": "multi-label"}, "says top1 of a task that is 'multi-label', which has none"),
        ({"task": "multi-label", "top1": None, "top1_drop": None, "paired": None}, "says confusion of a task"),
        ({"task": "several"}, "accuracy.task is 'several'; expected one of classes, multi-label"),
        ({"micro_f1": 0.9, "micro_f1_low": 0.8}, "says micro_f1 of a task that is 'classes'"),
        ({"macro_f1": 0.9, "macro_f1_low": 0.8, "macro_f1_high": 1.0}, "says macro_f1_low of a task"),
        ({"micro_f1_drop": 0.0}, "says micro_f1_drop of a task that is 'classes'"),
    ],
)
def test_numbers_of_the_other_task_are_refused_as_nothing_counts_them_again(
    numbers: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        rejudge(report(accuracy={**ACCURACY, **numbers}))
