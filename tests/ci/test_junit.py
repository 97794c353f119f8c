"""JUnit XML as a strict consumer reads it."""

import re
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.report import junit

from . import sample

# What Jenkins' xUnit schema, junit-10.xsd, allows; it refuses files with anything else.
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "timestamp", "time", "hostname", "id", "package"},
    "testcase": {"name", "time", "classname", "group"},
    "failure": {"type", "message"},
    "skipped": {"type", "message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"skipped", "failure", "system-out"},
}


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """A pass, an inconclusive and a failed comparison."""
    return [sample.compared(ratio, name=name) for ratio, name in ((0.97, "good"), (1.05, "open"), (1.2, "bad"))]


def test_each_file_is_a_suite_and_each_check_a_case(found: list[dict[str, Any]]) -> None:
    xml = junitparser.JUnitXml.fromstring(junit.render(*found).encode())
    assert (xml.tests, xml.failures, xml.errors) == (3, 1, 0)
    suites = list(xml)
    assert [(suite.name, suite.tests, suite.failures, suite.skipped) for suite in suites] == [
        ("good", 1, 0, 0),
        ("open", 1, 0, 1),
        ("bad", 1, 1, 0),
    ]
    cases = [next(iter(suite)) for suite in suites]
    assert {case.name for case in cases} == {"max_regression"}
    assert [case.classname for case in cases] == ["x86-1t.good", "x86-1t.open", "x86-1t.bad"]
    assert cases[0].is_passed and cases[1].is_skipped and cases[2].is_failure
    assert "inconclusive" in cases[1].result[0].message
    assert re.fullmatch(r"max_regression: 1\.20\d× \[.*\], limit ≤ \+5\u00a0% \(given\)", cases[2].result[0].message)


def test_only_what_a_strict_schema_knows_is_written(found: list[dict[str, Any]]) -> None:
    for element in ElementTree.fromstring(junit.render(*found)).iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())


def test_a_gate_without_limits_is_a_skipped_case_and_not_an_empty_suite(found: list[dict[str, Any]]) -> None:
    gate = {"verdict": "inconclusive", "message": "no limit was set", "variant": "net", "checks": []}
    (suite,) = junitparser.JUnitXml.fromstring(junit.render(found[0] | {"gate": gate}).encode())
    (case,) = suite
    assert case.is_skipped and "no limit was set" in case.result[0].message


@given(text=st.text())
def test_any_name_and_note_makes_xml_that_reads_back(text: str) -> None:
    check = {"name": text, "metric": "p50_ms", "value": 1.0, "low": None, "high": None, "limit": 2.0, "unit": "ms",
             "verdict": "fail", "source": "given", "note": text}  # fmt: skip
    gate = {"verdict": "fail", "message": "", "variant": text, "checks": [check]}
    xml = junit.render({"name": text, "created": "2026-01-01T00:00:00+00:00", "target": {}, "gate": gate})
    assert xml.encode() and len(list(ElementTree.fromstring(xml).iter("failure"))) == 1
