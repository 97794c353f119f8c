"""A new document beside the stored one: three verdicts, and everything that may not be compared at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekd import baseline, result
from edgekd.baseline import Document, FolderStore
from edgekd.errors import BadInputError

from .documents import MACHINE, TARGET, counted, report, resealed, sealed, timed


def document(found: dict[str, Any]) -> Document:
    return baseline.parse(json.dumps(found).encode(), "new.json")


def compared(tmp_path: Path, new: dict[str, Any], base: dict[str, Any], **how: Any) -> dict[str, Any]:
    store = FolderStore(folder=tmp_path / "store")
    baseline.save(document(base), store)
    return baseline.compare(document(new), store, **how)


def refused(tmp_path: Path, new: dict[str, Any], base: dict[str, Any], match: str, **how: Any) -> None:
    with pytest.raises(BadInputError, match=match):
        compared(tmp_path, new, base, **how)


@pytest.mark.parametrize(("ms", "verdict"), [(2.0, "pass"), (1.0, "pass"), (2.1, "inconclusive"), (2.4, "fail")])
def test_a_time_passes_within_the_limit_fails_beyond_it_and_is_inconclusive_near_it(
    ms: float, verdict: str, tmp_path: Path
) -> None:
    found = compared(tmp_path, timed(ms, seed=1), timed(2.0))
    check = found["gate"]["checks"][0]
    assert found["gate"]["verdict"] == check["verdict"] == verdict
    assert check["value"] == pytest.approx(ms / 2, rel=0.005)
    assert (check["name"], check["metric"], check["limit"], check["unit"]) == ("max_regression", "ratio_p50", 1.05, "x")
    # The floor of 2.9 % and a little more: the samples vary by half a per cent.
    assert 1.029 <= check["high"] / check["value"] < 1.04
    assert found["measured"]["ratio_p90"] == pytest.approx(ms / 2, rel=0.01)


def test_the_verdict_is_a_result_document_that_is_read_back_and_judged_again(tmp_path: Path) -> None:
    found = compared(tmp_path, timed(2.4), timed(2.0), limits={"max_regression": 0.1})
    result.write(found, tmp_path / "verdict.json")
    again = result.read(tmp_path / "verdict.json")
    assert (again["kind"], again["metric"], again["name"]) == ("baseline", "time", "resnet8")
    assert (again["limits"], again["sources"]) == ({"max_regression": 0.1}, {"max_regression": "given"})
    judge, known = baseline.JUDGES[again["metric"]]
    assert set(again["limits"]) == set(known)
    measured, gate = judge(again["raw"], limits=again["limits"], sources=again["sources"])
    assert measured == again["measured"] and gate.verdict == again["gate"]["verdict"] == "fail"


def test_a_slow_machine_makes_no_failure_and_dividing_by_the_reference_finds_the_file_unchanged(tmp_path: Path) -> None:
    slow = timed(2.2, reference=1.1, seed=1)  # all is 10 % slower, the reference too
    as_measured = compared(tmp_path, slow, timed(2.0))
    assert as_measured["gate"]["verdict"] == "inconclusive"
    assert "reference workload took +10.0% more time" in as_measured["conditions"]["warnings"][0]
    assert as_measured["measured"]["session_floor"] == pytest.approx(0.1, abs=0.002)
    normalised = compared(tmp_path, slow, timed(2.0), normalise=True)
    assert normalised["gate"]["verdict"] == "pass"
    assert normalised["measured"]["ratio_p50"] == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cpu_model", "Other CPU", r"CPU model \(Other CPU, stored Quiet CPU\)"),
        ("isa", "avx2", r"ISA \(avx2, stored avx512_vnni\)"),
        ("cores_granted", 4, r"cores granted \(4, stored 2\)"),
        ("packages", {"onnxruntime": "1.33.0"}, r"ONNX Runtime \(onnxruntime 1.33.0, stored onnxruntime 1.32.0\)"),
        ("python", "3.13.0", r"Python \(3.13, stored 3.12\)"),
    ],
)
def test_another_machine_is_refused_by_the_names_of_its_differences(
    field: str, value: Any, said: str, tmp_path: Path
) -> None:
    other = timed(machine=replace(MACHINE, **{field: value}))
    refused(tmp_path, other, timed(), f"another machine: {said}.*--normalise")
    if field in ("isa", "packages"):
        refused(tmp_path, other, timed(), f"other kernels: {said}", normalise=True)
    else:
        found = compared(tmp_path, other, timed(), normalise=True)
        wide = field != "python"
        assert found["measured"]["session_floor"] == (0.10 if wide else 0.017)
        assert found["gate"]["verdict"] == ("inconclusive" if wide else "pass")
        assert "another machine" in found["conditions"]["warnings"][0]


def test_another_patch_of_python_is_the_same_machine(tmp_path: Path) -> None:
    compared(tmp_path, timed(machine=replace(MACHINE, python="3.12.9")), timed())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 4}, "batch_size is 4 in new.json, 1 in"),
        ({"threads": 2}, "threads is 2"),
        ({"provider": "CUDAExecutionProvider"}, "provider is"),
        ({"options": {"session_config": {"session.x64quantprecision": "1"}}}, "options is"),
        ({"inputs": "images.npz", "feeds": "00" * 32}, r"other inputs \(images.npz\) than .* \(random numbers\)"),
    ],
)
def test_other_conditions_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    refused(tmp_path, timed(**changes), timed(), said)


def test_real_samples_from_another_place_are_the_same_kind(tmp_path: Path) -> None:
    compared(tmp_path, timed(inputs="a.npz"), timed(inputs="b/a.npz"))


def test_another_model_target_or_reference_is_refused(tmp_path: Path) -> None:
    store = FolderStore(folder=tmp_path / "store")
    baseline.save(document(timed()), store, name="shared")
    with pytest.raises(BadInputError, match="is of model 'cnn', baseline shared on x86-1t, time of 'resnet8'"):
        baseline.compare(document(timed(name="cnn")), store, name="shared")
    edited = resealed(timed(), target=TARGET | {"sha256": "00" * 32})
    refused(tmp_path, edited, timed(), "target x86-1t is not what it was")
    reference = resealed(timed(), base={"path": "r", "sha256": "00" * 32, "size_bytes": 1})
    refused(tmp_path, reference, timed(), "not measured beside the same reference", normalise=True)


def test_what_is_not_stored_is_refused_with_what_is(tmp_path: Path) -> None:
    store = FolderStore(folder=tmp_path / "store")
    with pytest.raises(BadInputError, match=r"no baseline resnet8 on x86-1t, time in .*; stored: nothing"):
        baseline.compare(document(timed()), store)
    baseline.save(document(counted()), store)
    with pytest.raises(BadInputError, match="stored: resnet8 on x86-1t, instructions"):
        baseline.compare(document(timed()), store)


def test_an_edited_stored_document_is_refused_and_listed_as_damaged(tmp_path: Path) -> None:
    store = FolderStore(folder=tmp_path / "store")
    key, _ = baseline.save(document(timed()), store)
    found = json.loads(store.read(key) or b"")
    found["raw"]["cycles"][0]["new"][0] *= 2
    store.write(key, json.dumps(found).encode())
    with pytest.raises(BadInputError, match="the hash does not fit"):
        baseline.compare(document(timed()), store)
    assert str(baseline.entry(store, key)["state"]).startswith("damaged: ")
    store.write(key, json.dumps(counted()).encode())
    assert baseline.entry(store, key)["state"] == "misplaced: it is of resnet8 on x86-1t, instructions"
    with pytest.raises(BadInputError, match="is of metric 'time'"):
        baseline.compare(document(timed()), store)


def test_what_is_no_measurement_of_one_file_is_no_document(tmp_path: Path) -> None:
    verdict = compared(tmp_path, timed(), timed())
    other = timed()
    other["environment"]["cpu_model"] = "Quick CPU"
    other["raw_sha256"] = result.seal(other)
    nowhere = timed() | {"environment": {}}
    nowhere["raw_sha256"] = result.seal(nowhere)
    for text, said in (
        ("", "not whole JSON"),
        ("[]", "no document of edgekd's"),
        ("{}", "no document of edgekd's"),
        ('{"edgekd_result": 2}', "edgekd_result is 2; expected 1"),
        ('{"schema_version": 1}', "schema_version is 1"),
        ('{"a": NaN}', "not whole JSON"),
        (json.dumps(verdict), "kind 'baseline'"),
        (json.dumps(other), "does not fit its fingerprint"),
        (json.dumps(nowhere), "environment is not whole"),
    ):
        with pytest.raises(BadInputError, match=said):
            baseline.parse(text.encode(), "x.json")


def test_a_broken_network_is_neither_saved_nor_passed(tmp_path: Path) -> None:
    refused(tmp_path, timed(), timed(constant=True), "one and the same output")
    found = compared(tmp_path, timed(0.1, constant=True), timed())
    assert found["gate"]["verdict"] == "fail"
    assert found["gate"]["checks"][1]["name"] == "min_different_outputs"


@pytest.mark.parametrize(
    ("new", "verdict"), [(1_000_000, "pass"), (1_044_000, "pass"), (1_046_000, "inconclusive"), (1_056_000, "fail")]
)
def test_instructions_are_known_to_half_a_per_cent(new: int, verdict: str, tmp_path: Path) -> None:
    found = compared(tmp_path, counted(new), counted(1_000_000))
    check = found["gate"]["checks"][0]
    # By hand: 1.044 * 1.005 = 1.0492 < 1.05; 1.046 * 1.005 = 1.0512; 1.056 * 0.995 = 1.0507 > 1.05.
    assert (check["metric"], check["verdict"]) == ("ratio_instructions", verdict)
    assert (check["low"], check["high"]) == pytest.approx((new * 0.995e-6, new * 1.005e-6))


def test_instructions_may_be_counted_on_another_machine_with_the_same_kernels(tmp_path: Path) -> None:
    other = replace(MACHINE, cpu_model="Other CPU", isa="avx2", cores_granted=8, python="3.13.0")
    assert compared(tmp_path, counted(machine=other), counted())["gate"]["verdict"] == "pass"
    newer = replace(other, packages={"onnxruntime": "1.33.0"})
    refused(tmp_path, counted(machine=newer), counted(), "onnxruntime is '1.33.0'")
    refused(tmp_path, counted(isa="avx512_vnni"), counted(), "different instruction sets")
    refused(tmp_path, counted(method="perf"), counted(), "different methods")
    refused(tmp_path, counted(feeds="00" * 32), counted(), "different inputs")
    refused(tmp_path, counted(options={"session_config": {"a": "1"}}), counted(), "session_config is")
    refused(tmp_path, counted(), counted(), "--normalise is for times", normalise=True)


def checks(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in found["gate"]["checks"]}


def test_the_report_of_an_unchanged_file_passes_in_size_time_and_accuracy(tmp_path: Path) -> None:
    found = compared(tmp_path, report(seed=1), report())
    assert checks(found) == {"max_size_regression": "pass", "max_regression": "pass", "max_top1_drop": "pass"}
    assert (found["metric"], found["name"], found["gate"]["variant"]) == ("report", "quickstart", "int8-u8s8")
    result.write(found, tmp_path / "verdict.json")
    assert result.read(tmp_path / "verdict.json")["gate"] == found["gate"]


def test_a_report_fails_where_a_file_grew_slowed_down_or_lost_accuracy(tmp_path: Path) -> None:
    worse = report(ms=2.6, size=106_000, hits=(380, 400), sha256="ef" * 32)
    found = compared(tmp_path, worse, report())
    assert checks(found) == {"max_size_regression": "fail", "max_regression": "fail", "max_top1_drop": "fail"}
    drop = found["gate"]["checks"][2]
    # 0.90 - 0.78 of 1,000 each; Newcombe's method 10 by hand from Wilson's (0.87982, 0.91709) and (0.75327, 0.80460).
    assert (drop["value"], drop["low"], drop["high"]) == pytest.approx((0.12, 0.0882, 0.1517), abs=2e-4)
    same = compared(tmp_path, report(sha256="ef" * 32), report())  # other weights, as many right
    assert checks(same)["max_top1_drop"] == "inconclusive"


def test_a_report_on_other_samples_and_one_with_normalise_are_refused(tmp_path: Path) -> None:
    other = report()
    other["data"]["content_hash"] = "00" * 32
    refused(tmp_path, sealed(other), report(), "tested on other samples")
    refused(tmp_path, report(), report(), "a report.json has none", normalise=True)


def test_a_report_without_times_is_inconclusive(tmp_path: Path) -> None:
    untimed = report()
    next(variant for variant in untimed["variants"] if variant["selected"])["latency"] = None
    found = compared(tmp_path, sealed(untimed), report())
    assert checks(found)["max_regression"] == "inconclusive"
    assert "ratio_p50 was not measured in both" in found["gate"]["checks"][0]["note"]


def test_an_edited_report_is_refused() -> None:
    found = report()
    next(variant for variant in found["variants"] if variant["selected"])["size_bytes"] = 1
    with pytest.raises(BadInputError, match="raw_sha256"):
        document(found)


@pytest.mark.parametrize(
    ("metric", "raw", "said"),
    [
        ("time", {}, "no 'new'"),
        ("time", {"new": {"cycles": []}, "base": {}}, "holds no cycles"),
        ("time", {"new": {"cycles": [{"new": [0], "base": [1]}]}, "base": {}}, "positive whole nanoseconds"),
        ("instructions", {"new": {}, "base": {}}, "no 'new'"),
        ("instructions", {"new": {"new": {"runs": [1, 2], "counts": [[2, 1]]}}, "base": {}}, "count .* is not whole"),
        ("instructions", {"new": {"new": {"runs": [0, 0], "counts": [[1, 2]]}}, "base": {}}, "count .* is not whole"),
        ("instructions", {"new": {"new": {"runs": [1, 2], "counts": []}}, "base": {}}, "count .* is not whole"),
        ("report", {"new": {}, "base": {}}, "size_bytes is None"),
        ("report", {"new": {"size_bytes": 1, "n": 1, "hits": 2}, "base": {"size_bytes": 1, "n": 1}}, "2 right of 1"),
    ],
)
def test_raw_parts_that_are_none_are_refused(metric: str, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        baseline.JUDGES[metric][0](raw, limits={"max_regression": 0.05}, sources={"max_regression": "given"})


def test_a_floor_that_was_edited_is_refused(tmp_path: Path) -> None:
    raw = compared(tmp_path, timed(2.4), timed(2.0))["raw"] | {"floor": 0.0}
    with pytest.raises(BadInputError, match=r"floor is 0\.0; expected one of"):
        baseline.JUDGES["time"][0](raw, limits={}, sources={})
