"""Page, Markdown and JUnit of a language run: what a user named is escaped, and each number stands in them."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgekd.language import page
from edgekd.language import report as reports

from .reports import report

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """A report with all that the page shows, named as an attacker would."""
    made = report()
    arm = {"ratio": {f"perplexity_ratio{end}": 1.0 for end in ("", "_low", "_high")}, "knobs": {}, "parameters": 10}
    made["arms"] = [one | arm | {"seconds": None, "steps": None, "history": []} for one in made["arms"]]
    made["arms"][0]["history"] = [{"step": step, "cross_entropy": 3.0 - step / 10} for step in (1, 2, 3)]
    return made | {
        "name": NASTY,
        "created": "2026-01-02T03:04:05+00:00",
        "edgekd_version": "0",
        "target": {"name": "x86-1t", "title": "x", "proxy": True, "shows": ["speed"], "does_not_show": ["heat"]},
        "recipe": {"path": NASTY, "sha256": "0", "overrides": [f"a={NASTY}"], "values": {"name": NASTY}},
        "data": {
            "sources": [f"{NASTY}.txt"], "characters": 5, "sha256": "0" * 64, "context": 4,
            "vocabulary": {"size": 3, "kind": "characters"}, "blocks": {"test": 3},
        },
        "environment": {"cpu_model": NASTY, "isa": "avx2", "packages": {}},
        "session": {"threads": 1, "provider": "CPUExecutionProvider"},
        "export": {},
        "timings": {"teacher": 1.0},
    }  # fmt: skip


def test_all_four_files_are_written_and_hold_the_verdict(whole: dict[str, Any], tmp_path: Path) -> None:
    page.write(whole, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["gate"]["verdict"] == "pass"
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert [case.get("name") for case in suite] == ["max_perplexity_ratio", "max_token_ms", "max_size_bytes"]
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg") >= 2 and "1.230" in html and "These numbers are a proxy for x86-1t" in html


def test_what_a_user_named_is_escaped_everywhere(whole: dict[str, Any], tmp_path: Path) -> None:
    page.write(whole, tmp_path)
    for name in ("report.md", "report.html", "junit.xml"):
        assert NASTY not in (tmp_path / name).read_text(encoding="utf-8"), name
    assert "&lt;script&gt;" in reports.render(whole)
