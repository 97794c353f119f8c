"""`edgekd gate` on a real report that passed: however it is damaged or edited, it never passes again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Edgekd, Finished

Report = dict[str, Any]


def shipped(report: Report) -> Report:
    found: Report = next(variant for variant in report["variants"] if variant["selected"])
    return found


def samples(report: Report) -> list[list[Any]]:
    found: list[list[Any]] = shipped(report)["latency"]["samples_ns"]
    return found


def limit(report: Report, name: str) -> Report:
    found: Report = next(check for check in report["gate"]["checks"] if check["name"] == name)
    return found


def select_another(report: Report) -> None:
    for variant in report["variants"]:
        variant["selected"] = not variant["selected"] and variant["latency"] is not None


EDITS: dict[str, tuple[Callable[[Report], object], str]] = {
    "empty object": (lambda r: r.clear(), "schema_version is None"),
    "schema 3": (lambda r: r.update(schema_version=3), "schema_version is 3; this edgekd reads 4"),
    "schema as text": (lambda r: r.update(schema_version="4"), "schema_version is '4'"),
    "schema true": (lambda r: r.update(schema_version=True), "schema_version is True"),
    "no gate": (lambda r: r.pop("gate"), "no gate"),
    "gate null": (lambda r: r.update(gate=None), "gate is None; expected an object"),
    "no target": (lambda r: r.pop("target"), "no target"),
    "empty target": (lambda r: r.update(target={}), "no target.name"),
    "no variants": (lambda r: r["variants"].clear(), "0 selected variants of 0"),
    "all selected": (lambda r: [v.update(selected=True) for v in r["variants"]], "selected variants of"),
    "selected by a number": (lambda r: shipped(r).update(selected=1), "0 selected variants"),
    "another selected": (select_another, "gate.variant is"),
    "another variant named": (lambda r: r["gate"].update(variant="int8-x"), "gate.variant is 'int8-x'"),
    "verdict by hand": (lambda r: r["gate"].update(verdict="perfect"), "gate.verdict is 'perfect'"),
    "verdict fail": (lambda r: r["gate"].update(verdict="fail"), "the verdict was edited"),
    "check's verdict": (lambda r: limit(r, "min_top1").update(verdict="fail"), "the verdict was edited"),
    "no checks": (lambda r: r["gate"].update(checks=[]), "limits and target give"),
    "checks null": (lambda r: r["gate"].update(checks=None), "checks is NoneType; expected a list"),
    "a check less": (lambda r: r["gate"]["checks"].pop(), "limits and target give"),
    "a looser limit": (lambda r: limit(r, "max_p50_ms").update(limit=1e6), "limits and target give"),
    "a limit of true": (lambda r: limit(r, "min_top1").update(limit=False), "limits and target give"),
    "target's name": (lambda r: r["target"].update(name="jetson"), "limits and target give"),
    "target's threads": (lambda r: r["target"].update(threads=64), "limits and target give"),
    "model's hash": (lambda r: shipped(r).update(sha256="0" * 64), "limits and target give"),
    "size": (lambda r: shipped(r).update(size_bytes=1), "limits and target give"),
    "size true": (lambda r: shipped(r).update(size_bytes=True), "limits and target give"),
    "size negative": (lambda r: shipped(r).update(size_bytes=-5), "limits and target give"),
    "peak memory": (lambda r: shipped(r)["latency"].update(peak_rss_bytes=1), "limits and target give"),
    "latency null": (lambda r: shipped(r).update(latency=None), "limits and target give"),
    "accuracy null": (lambda r: shipped(r).update(accuracy=None), "limits and target give"),
    "accuracy a list": (lambda r: shipped(r).update(accuracy=[1]), "accuracy is list; expected an object"),
    "no metric": (lambda r: shipped(r)["latency"].pop("p50_ms"), "the report says p50_ms None"),
    "p50": (lambda r: shipped(r)["latency"].update(p50_ms=1e-3), "the report says p50_ms"),
    "p50 as text": (lambda r: shipped(r)["latency"].update(p50_ms="0.1"), "p50_ms is '0.1'; expected a number"),
    "p50 true": (lambda r: shipped(r)["latency"].update(p50_ms=True), "p50_ms is True; expected a number"),
    "n": (lambda r: shipped(r)["latency"].update(n=10**9), "the report says n 1000000000"),
    "no samples": (lambda r: shipped(r)["latency"].update(samples_ns=[]), "positive whole nanoseconds"),
    "samples away": (lambda r: shipped(r)["latency"].pop("samples_ns"), "positive whole nanoseconds"),
    "an empty round": (lambda r: samples(r).append([]), "positive whole nanoseconds"),
    "clock back": (lambda r: samples(r)[0].append(-1), "positive whole nanoseconds"),
    "clock still": (lambda r: samples(r)[0].append(0), "positive whole nanoseconds"),
    "sample true": (lambda r: samples(r)[0].append(True), "positive whole nanoseconds"),
    "samples in another order": (lambda r: samples(r)[0].sort(), "limits and target give"),
    "top-1": (lambda r: shipped(r)["accuracy"].update(top1=0.5), "the report says top1"),
    "no confusion": (lambda r: shipped(r)["accuracy"].update(confusion=[]), "no confusion matrix"),
    "negative counts": (lambda r: shipped(r)["accuracy"].update(confusion=[[3, -1], [0, 2]]), "square table of counts"),
    "agreement": (lambda r: shipped(r)["accuracy"].update(agreement_teacher=1.0, agreement_teacher_high=1.0),
                  "limits and target give"),
    "constant": (lambda r: shipped(r)["accuracy"].update(constant=True), "limits and target give"),
    "no hash": (lambda r: shipped(r).pop("raw_sha256"), "raw_sha256 of"),
}  # fmt: skip


@pytest.fixture(scope="module")
def text(finished: Finished) -> str:
    return (finished.folder / "report.json").read_text()


def refused(text: str, fragment: str, tmp_path: Path, edgekd: Edgekd, *options: str | Path) -> None:
    (tmp_path / "report.json").write_text(text)
    answer = edgekd("gate", tmp_path / "report.json", *options)
    assert answer.code == 2, answer.out + answer.err
    assert answer.err.startswith("error: ") and "Traceback" not in answer.err and not answer.out
    assert fragment in answer.err, answer.err


def test_the_untouched_report_passes(finished: Finished, edgekd: Edgekd) -> None:
    assert edgekd("gate", finished.folder / "report.json").code == 0


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_report_is_refused(case: str, text: str, tmp_path: Path, edgekd: Edgekd) -> None:
    edit, fragment = EDITS[case]
    report = json.loads(text)
    edit(report)
    assert json.dumps(report) != json.dumps(json.loads(text))
    refused(json.dumps(report), fragment, tmp_path, edgekd)


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "NaN": (lambda t: re.sub(r'"p50_ms": [\d.]+', '"p50_ms": NaN', t), "NaN is no number"),
    "infinity": (lambda t: re.sub(r'"p50_ms": [\d.]+', '"p50_ms": -Infinity', t), "-Infinity is no number"),
    "too large": (lambda t: re.sub(r'"p50_ms": [\d.]+', '"p50_ms": 1e999', t), "1e999 is too large"),
    "a huge count": (lambda t: re.sub(r'"n": \d+', f'"n": 1{"0" * 5000}', t, count=1), "is too large"),
    "key twice": (lambda t: t.replace('"gate": {', '"gate": {"verdict": "pass", '), "stands twice"),
    "two documents": (lambda t: t + t, "Extra data"),
    "cut off": (lambda t: t[: len(t) // 2], "not whole JSON"),
    "empty": (lambda t: "", "is empty"),
    "a number": (lambda t: "0", "a JSON int"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_report_is_refused(case: str, text: str, tmp_path: Path, edgekd: Edgekd) -> None:
    damage, fragment = DAMAGES[case]
    assert damage(text) != text
    refused(damage(text), fragment, tmp_path, edgekd)


def test_an_edited_report_is_refused_under_other_limits_too(text: str, tmp_path: Path, edgekd: Edgekd) -> None:
    report = json.loads(text)
    report["gate"]["checks"].pop()
    refused(json.dumps(report), "limits and target give", tmp_path, edgekd, "--limit", "max_p50_ms=1000")


def test_a_report_of_the_named_file_and_target_passes_and_of_others_is_refused(
    text: str, finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    variant = shipped(json.loads(text))
    model = finished.folder / variant["path"]
    answer = edgekd("gate", finished.folder / "report.json", "--model", model, "--target", "x86-1t")
    assert answer.code == 0, answer.err
    other = tmp_path / "other.onnx"
    other.write_bytes(model.read_bytes() + b"\0")
    own = tmp_path / "own.toml"
    shown = edgekd("targets", "show", "x86-1t").out
    own.write_text(re.sub(r"(?m)^threads = 1$", "threads = 2", shown))
    refused(text, "its SHA-256 is", tmp_path, edgekd, "--model", other)
    refused(text, "no such file", tmp_path, edgekd, "--model", tmp_path / "none.onnx")
    refused(text, "is of target 'x86-1t', not of 'x86-2t'", tmp_path, edgekd, "--target", "x86-2t")
    refused(text, "unknown target 'x86'", tmp_path, edgekd, "--target", "x86")
    refused(text, "threads differ", tmp_path, edgekd, "--target", own)


def test_floors_of_classes_are_judged_from_the_command_line(text: str, tmp_path: Path, edgekd: Edgekd) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    names = [entry["name"] for entry in shipped(json.loads(text))["accuracy"]["per_class"]]
    answer = edgekd("gate", path, "--limit", f"class_floors.{names[0]}=0", "--limit", "min_class_top1=0.0", "--json")
    assert answer.code == 0, answer.err
    checks = {check["name"]: check for check in json.loads(answer.out)["checks"]}
    assert checks[f"class_floors.{names[0]}"]["verdict"] == checks["min_class_top1"]["verdict"] == "pass"
    unclear = edgekd("gate", path, "--limit", "min_class_top1=1.0")
    assert unclear.code in (1, 3) and "of 3 looked at" in unclear.out
    for option, fragment in {
        "class_floors.topp=0.1": "no class 'topp'; did you mean 'top'?; the data has: top, middle, bottom",
        "class_floors.top=1.1": "less than or equal to 1",
        "class_floors.top=true": "valid number",
        "class_floors=0.5": "--limit class_floors=0.5: input should be a valid dictionary",
        "class_floor.top=0.5": "unknown",
        "class_floors.=0.5": "no class ''",
        "min_class_top1=93": "less than or equal to 1",
        "min_class_top=0.5": "did you mean 'min_class_top1'?",
    }.items():
        refused(text, fragment, tmp_path, edgekd, "--limit", option)
