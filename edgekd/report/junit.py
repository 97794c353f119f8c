"""Gates as JUnit XML: one suite a report, one test case a check, so that a CI system lists what failed."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from edgekd.report.rows import CheckRow, check_rows

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(*reports: Mapping[str, Any]) -> str:
    """The XML text. A failed check is a failure, an inconclusive one is skipped with its message.

    CI systems show what is skipped in grey or green: it is exit code 3 that stops a job. Only names and attributes
    that Jenkins' xUnit schema knows are used, which is the strictest of the consumers:
    https://github.com/jenkinsci/xunit-plugin, junit-10.xsd.

    Args:
        reports: each with the keys name, created, target and gate of a report.json or of a result document.
    """
    root = ElementTree.Element("testsuites", {"name": "edgekd"})
    for report in reports:
        _suite(root, report)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, report: Mapping[str, Any]) -> None:
    rows = check_rows(report["gate"]) or [_no_limit(report["gate"])]
    attributes = {
        "name": _clean(report["name"]),
        "timestamp": _clean(report["created"]),
        "tests": str(len(rows)),
        "failures": str(sum(row.verdict == "fail" for row in rows)),
        "skipped": str(sum(row.verdict == "inconclusive" for row in rows)),
        "errors": "0",
    }
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    parts = (report["target"].get("name"), report["name"], report["gate"].get("variant"))
    owner = ".".join(dict.fromkeys(str(part) for part in parts))  # a result's variant is its name
    for row in rows:
        _case(suite, row, owner=_clean(owner))


def _no_limit(gate: Mapping[str, Any]) -> CheckRow:
    """A gate without a limit has decided nothing; a suite without a test case would be shown as passed."""
    note = str(gate.get("message") or "no limit was set")
    return CheckRow(
        name="gate", value="–", interval="", limit="–", source="gate", verdict=gate["verdict"], note=note
    )  # fmt: skip


def _case(suite: ElementTree.Element, row: CheckRow, *, owner: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": owner, "name": _clean(row.name), "time": "0"})
    found = f"{row.value} {row.interval}".strip()
    message = _clean(f"{row.name}: {found}, limit {row.limit} ({row.source})")
    if row.verdict == "fail":
        ElementTree.SubElement(case, "failure", {"type": "gate", "message": message}).text = _clean(row.note)
    elif row.verdict == "inconclusive":
        ElementTree.SubElement(case, "skipped", {"message": _clean(f"{message}: inconclusive. {row.note}").strip()})
    else:
        ElementTree.SubElement(case, "system-out").text = message


def _clean(text: str) -> str:
    """XML 1.0 has no way to write control characters."""
    return NOT_XML.sub("\ufffd", text)
