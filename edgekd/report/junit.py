"""The gate as JUnit XML: one test case a check, so that a CI system lists what failed."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from edgekd.report.rows import CheckRow, check_rows

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Mapping[str, Any]) -> str:
    """The XML text. A failed check is a failure, an inconclusive one is skipped with its message."""
    rows = check_rows(report["gate"])
    counts = {
        "tests": str(len(rows)),
        "failures": str(sum(row.verdict == "fail" for row in rows)),
        "skipped": str(sum(row.verdict == "inconclusive" for row in rows)),
        "errors": "0",
    }
    root = ElementTree.Element("testsuites", {"name": "edgekd", **counts})
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _clean(report["name"]), "timestamp": _clean(report["created"]), **counts}
    )
    owner = ".".join((report["name"], str(report["gate"].get("variant"))))
    for row in rows:
        _case(suite, row, owner=_clean(owner))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, row: CheckRow, *, owner: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": owner, "name": _clean(row.name), "time": "0"})
    found = f"{row.value} {row.interval}".strip()
    message = _clean(f"{row.name}: {found}, limit {row.limit} (from the {row.source})")
    if row.verdict == "fail":
        ElementTree.SubElement(case, "failure", {"type": "gate", "message": message}).text = _clean(row.note)
    elif row.verdict == "inconclusive":
        ElementTree.SubElement(case, "skipped", {"message": _clean(f"{message}: inconclusive. {row.note}").strip()})
    else:
        ElementTree.SubElement(case, "system-out").text = message


def _clean(text: str) -> str:
    """XML 1.0 has no way to write control characters."""
    return NOT_XML.sub("\ufffd", text)
