"""report.md fits a pull-request comment; junit.xml lists the checks; numbers read well."""

from xml.etree import ElementTree

import pytest

from edgekd import report as reports
from edgekd.report.junit import render as render_junit
from edgekd.report.markdown import escape
from edgekd.report.markdown import render as render_markdown
from edgekd.report.rows import headline
from edgekd.report.wording import decibels, exact_bytes, fixed, interval, percent, points, size

from .sample import build, judged
from .tables import cells, tables


def test_the_markdown_fits_a_comment_and_its_tables_are_regular(written: reports.Written) -> None:
    markdown = written.markdown.read_text(encoding="utf-8")
    assert len(markdown.splitlines()) < 60
    gate, variants = tables(markdown)
    assert (len(gate), len(cells(gate[0]))) == (2 + 6, 5)
    assert (len(variants), len(cells(variants[0]))) == (2 + 7, 7)
    for table in (gate, variants):
        assert {len(cells(row)) for row in table} == {len(cells(table[0]))}
        assert all(set(cell.strip()) <= {":", "-"} for cell in cells(table[1]))
    assert "teacher wrn_16_2: 94.2" in markdown
    assert "onnxruntime 1.32.0" in markdown


def test_fifty_variants_still_fit_a_comment() -> None:
    report = build()
    report["variants"] = report["variants"] + [{**report["variants"][-1], "name": f"own-{i}"} for i in range(50)]
    markdown = render_markdown(report)
    assert len(markdown.splitlines()) < 60
    assert "37 variants more" in markdown


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("one\ntwo", "one two"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("max_top1_drop", "max_top1_drop"),
        ("__x__", r"\_\_x\_\_"),
        ("@all", "&#64;all"),
    ],
)
def test_markdown_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(("verdict", "failures", "skipped"), [("pass", 0, 0), ("fail", 1, 0), ("inconclusive", 0, 1)])
def test_junit_has_one_case_a_check(verdict: str, failures: int, skipped: int) -> None:
    suite = ElementTree.fromstring(render_junit(judged(build(), verdict))).find("testsuite")
    assert suite is not None
    assert [case.get("name") for case in suite.iter("testcase")][:2] == ["max_p50_ms", "max_load_ms"]
    assert suite.get("tests") == str(len(list(suite.iter("testcase")))) == "6"
    assert suite.get("failures") == str(len(list(suite.iter("failure")))) == str(failures)
    assert suite.get("skipped") == str(len(list(suite.iter("skipped")))) == str(skipped)
    for element in [*suite.iter("failure"), *suite.iter("skipped")]:
        assert "limit ≤ 5" in element.get("message", "")


def test_junit_survives_control_characters() -> None:
    report = build()
    report["name"] = "a\x00b"
    ElementTree.fromstring(render_junit(report))


def test_numbers_read_as_people_write_them() -> None:
    assert [fixed(value) for value in (0.2134, 12.34, 1234.0, 0.0, -0.5, 2.4e-6, None)] == [
        "0.213",
        "12.3",
        "1,234",
        "0.00",
        "−0.500",
        "2.4e-06",
        "–",
    ]
    assert percent(0.8731) == "87.3\u00a0%"
    assert points(-0.00001) == "0.00\u00a0pt"
    assert [size(value) for value in (999, 312_345, 71_204_864)] == ["999\u00a0B", "312\u00a0kB", "71.2\u00a0MB"]
    assert exact_bytes(312_345) == "312,345\u00a0B"
    assert interval(0.851, 0.892, scale=100, decimals=1) == "[85.1, 89.2]"
    assert interval(None, None) == ""


def test_an_interval_with_one_unknown_end_is_open() -> None:
    assert interval(0.169, None) == "[0.169, ∞]"
    assert interval(None, 0.2) == "[−∞, 0.200]"


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("pass", "int8-u8s8 ships on x86-1t"),
        ("fail", "Nothing ships on x86-1t: int8-u8s8 misses 1 limit"),
        ("inconclusive", "Undecided on x86-1t: 1 limit of int8-u8s8 cannot be told either way"),
    ],
)
def test_the_first_line_is_the_verdict(verdict: str, sentence: str) -> None:
    first = render_markdown(judged(build(), verdict)).splitlines()[0]
    assert first.endswith(f"{verdict.upper()}: {sentence}")


def test_a_file_that_was_brought_goes_by_the_name_of_the_report() -> None:
    report = build()
    report["variants"] = [report["variants"][1] | {"name": "model", "precision": "model"}]
    report |= {"name": "tinynet", "gate": report["gate"] | {"variant": "model"}}
    assert headline(report) == "tinynet ships on x86-1t"


def test_overrides_of_the_recipe_stand_in_the_footnote() -> None:
    report = build()
    report["recipe"]["overrides"] = ["distill.epochs=10", "data.source=<b>|x"]
    footnote = render_markdown(report).splitlines()[-1]
    assert r"--set distill.epochs=10 --set data.source=&lt;b&gt;\|x" in footnote
    for recipe in (None, report["recipe"] | {"overrides": []}):
        assert "--set" not in render_markdown(report | {"recipe": recipe})


def test_without_limits_nothing_is_judged() -> None:
    report = build()
    report["gate"] |= {"verdict": "inconclusive", "checks": []}
    assert headline(report) == "Undecided on x86-1t: no limit was set to judge int8-u8s8 by"
    assert "No limit was set" in render_markdown(report)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (200.0, "equal"), (37.44, "37.4 dB"), (-3.0, "−3.0 dB"), (-0.01, "0.0 dB")]
)
def test_decibels_read_well(value: float | None, text: str) -> None:
    assert decibels(value).replace("\u00a0", " ") == text
