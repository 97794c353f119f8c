"""The summary and the comment: what they say, that nothing breaks out of them, and that they fit."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import ci
from edgekd.ci.markdown import COMMENT_BYTES, comment, summary

from ..report.sample import build  # noqa: TID252  one sample report for both
from . import sample

HOSTILE = "a|b`c`<img src=x onerror=alert(1)> @maintainer [x](http://e.vil) #1\n## Injected\n| a | b |"


@pytest.fixture(scope="module")
def documents() -> list[ci.Document]:
    """A pass, an inconclusive and a failed comparison."""
    return [
        document(sample.compared(ratio, name=name)) for ratio, name in ((0.97, "good"), (1.05, "open"), (1.2, "bad"))
    ]


def document(content: dict[str, Any], kind: Any = "compare") -> ci.Document:
    return ci.Document(path=Path("result.json"), kind=kind, content=content)


def plain(text: str) -> str:
    """With ordinary blanks, to compare by eye."""
    return text.replace("\u00a0", " ")


PASSED = sample.compared(0.97, name="new")


def with_check(**changed: Any) -> dict[str, Any]:
    """A passing comparison whose one check has other numbers: golden sentences need round ones."""
    (check,) = PASSED["gate"]["checks"]
    verdict = changed.get("verdict", "pass")
    return PASSED | {"gate": {**PASSED["gate"], "verdict": verdict, "checks": [{**check, **changed}]}}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"value": 0.969, "low": 0.96, "high": 0.978},
            "PASS: new.onnx is 3.1 % faster than old.onnx (99.8 % interval −4.0 to −2.2 %), limit +5 %",
        ),
        (
            {"value": 1.2, "low": 1.19, "high": 1.21, "verdict": "fail"},
            "FAIL: new.onnx is 20.0 % slower than old.onnx (99.8 % interval +19.0 to +21.0 %), limit +5 %",
        ),
        (
            {"value": 1.0001, "low": 0.99, "high": 1.01, "limit": 1.025},
            "PASS: new.onnx is as fast as old.onnx (99.8 % interval −1.0 to +1.0 %), limit +2.5 %",
        ),
        (
            {"value": None, "low": None, "high": None, "verdict": "inconclusive"},
            "INCONCLUSIVE: new.onnx could not be compared with old.onnx",
        ),
    ],
)
def test_a_comparison_is_one_plain_sentence(changed: dict[str, Any], sentence: str) -> None:
    assert plain(ci.headline(document(with_check(**changed)))) == sentence


def test_the_check_that_decides_is_the_one_that_is_told() -> None:
    content = with_check(value=0.969, low=0.96, high=0.978)
    (p50,) = content["gate"]["checks"]
    slower = {"metric": "ratio_p90", "value": 1.2, "low": 1.19, "high": 1.21, "verdict": "fail"}
    p90 = {**p50, "name": "max_p90_regression", **slower}
    broken = {**p50, "name": "min_different_outputs", "unit": "outputs", "verdict": "fail", "note": "all outputs equal"}
    said = [
        plain(ci.headline(document(content | {"gate": {**content["gate"], "verdict": "fail", "checks": [p50, check]}})))
        for check in (p90, broken)
    ]
    assert said[0].startswith("FAIL: new.onnx is 20.0 % slower than old.onnx at p90 (99.8 % interval +19.0 to")
    assert said[1].startswith("FAIL: new.onnx is 3.1 % faster")
    assert said[1].endswith("; but min_different_outputs: all outputs equal")


def test_counted_instructions_are_called_so() -> None:
    content = with_check(metric="ratio_instructions", value=1.1, low=1.1, high=1.1, verdict="fail")
    assert plain(ci.headline(document(content))) == (
        "FAIL: new.onnx needs 10.0 % more instructions than old.onnx, limit +5 %"
    )


def test_two_files_of_one_name_are_told_apart_by_their_folders() -> None:
    content = sample.compared(0.97, name="old")
    assert re.search(r"new/old\.onnx is .* faster than base/old\.onnx", ci.headline(document(content)))


def test_a_stored_baseline_is_called_so() -> None:
    content = with_check(metric="ratio_size", value=1.1, low=None, high=None, verdict="fail") | {"kind": "baseline"}
    said = plain(ci.headline(document(content, "baseline")))
    assert said == "FAIL: new.onnx is 10.0 % bigger than its baseline, limit +5 %"


def test_a_budget_names_the_limit_that_decides() -> None:
    content = sample.budgeted(0.5, max_p50_ms=2.0)
    said = plain(ci.headline(document(content, "latency")))
    assert said.startswith("FAIL: net: max_p90_ms 1.01") and said.endswith("limit ≤ 0.5 ms; 1 more limit beside it")


def test_a_report_is_told_in_its_own_words() -> None:
    said = ci.headline(document(build(), "run"))
    assert said == "PASS: quickstart: int8-u8s8 ships on x86-1t"


def test_the_summary_has_every_result_the_worst_first(documents: list[ci.Document]) -> None:
    text = plain(summary(documents))
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert heads[0] == "## ❌ FAIL: 1 of 3 results"
    assert [head.split()[2] for head in heads[1:]] == ["FAIL:", "INCONCLUSIVE:", "PASS:"]
    assert text.count("| max_regression |") == 3
    assert "avx2, 1 thread, onnxruntime 1.32.0 (CPU), batch 1, inputs: random numbers" in text
    assert "Target x86-1t" in text


def test_what_to_do_is_said_where_nothing_is_proved_and_only_there(documents: list[ci.Document]) -> None:
    assert ["--max-seconds" in ci.advice(each) for each in documents] == [False, True, False]
    assert summary(documents).count("exit code 3") == 1


def test_a_warning_of_the_measurement_is_shown() -> None:
    assert "\n- the governor is powersave" in summary(
        [document(sample.compared(1.0, warnings=("the governor is powersave",)))]
    )


@given(text=st.one_of(st.just(HOSTILE), st.text()))
def test_no_text_of_a_document_breaks_out_of_its_line(text: str) -> None:
    content = with_check(note=text, verdict="fail", source=text, name=f"max_{text}")
    content |= {"name": text, "conditions": content["conditions"] | {"warnings": [text], "inputs": text}}
    content["model"] = content["model"] | {"path": text}
    lines = summary([document(content)]).splitlines()
    assert sum(line.startswith("#") for line in lines) == 1
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3 and len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1
    assert not re.search(r"<(?!/?sub>)", "\n".join(lines)) and "@" not in "\n".join(lines)


def test_the_comment_has_the_same_hidden_first_line_whatever_was_measured(documents: list[ci.Document]) -> None:
    first = [comment([document(sample.compared(ratio))]).split("\n", 1)[0] for ratio in (0.97, 1.2)]
    assert first[0] == first[1] and re.fullmatch(r"<!-- edgekd ci [0-9a-f]{12} -->", first[0])
    assert comment(documents).split("\n", 1)[0] != first[0]


def test_too_much_for_a_comment_is_cut_after_a_whole_section_and_counted(documents: list[ci.Document]) -> None:
    text = comment(documents * 60)
    assert len(text.encode()) <= COMMENT_BYTES
    shown = text.count("### ")
    assert text.endswith(f"… and {180 - shown} more that do not fit here.\n") and shown > 50
    assert "FAIL: 60 of 180 results" in text


def test_a_full_page_gets_nothing(documents: list[ci.Document]) -> None:
    assert summary(documents[:1], most_bytes=10) == ""


def test_of_many_checks_the_worst_are_shown_and_the_rest_is_counted() -> None:
    content = with_check()
    (check,) = content["gate"]["checks"]
    checks = [{**check, "name": f"max_{k}", "verdict": "fail" if k == 29 else "pass"} for k in range(30)]
    text = summary([document(content | {"gate": {**content["gate"], "verdict": "fail", "checks": checks}})])
    assert "| max_29 |" in text and "… and 10 checks more, none of them worse." in text
