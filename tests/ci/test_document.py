"""What is read is believed only as far as its raw numbers carry it."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgekd import ci
from edgekd.errors import BadInputError

from ..report.sample import build, judged  # noqa: TID252  one sample report for both
from . import sample


@pytest.mark.parametrize(("ratio", "verdict"), [(0.97, "pass"), (1.05, "inconclusive"), (1.2, "fail")])
def test_a_comparison_keeps_its_verdict(ratio: float, verdict: str, tmp_path: Path) -> None:
    document = ci.read(sample.saved(sample.compared(ratio), tmp_path / "result.json"))
    assert (document.verdict, document.kind, document.name, document.target) == (verdict, "compare", "net", "x86-1t")


@pytest.mark.parametrize(("p90", "verdict"), [(2.0, "pass"), (0.5, "fail")])
def test_a_budget_keeps_its_verdict(p90: float, verdict: str, tmp_path: Path) -> None:
    document = ci.read(sample.saved(sample.budgeted(p90), tmp_path / "result.json"))
    assert (document.verdict, document.kind) == (verdict, "latency")


def test_the_worst_verdict_of_several_counts_and_none_is_inconclusive(tmp_path: Path) -> None:
    good, open_, bad = (
        ci.read(sample.saved(sample.compared(ratio), tmp_path / f"{ratio}.json")) for ratio in (0.97, 1.05, 1.2)
    )
    assert ci.worst([good, good]) == "pass"
    assert ci.worst([good, open_]) == "inconclusive"
    assert ci.worst([open_, bad, good]) == "fail"
    assert ci.worst([]) == "inconclusive"


def edit(found: dict[str, Any], *keys: Any, value: Any) -> dict[str, Any]:
    """A copy with one value changed."""
    copy: Any = json.loads(json.dumps(found))
    place = copy
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return dict(copy)


def passing(found: dict[str, Any]) -> dict[str, Any]:
    """A failed result with all its verdicts turned to pass."""
    found = edit(found, "gate", "verdict", value="pass")
    return edit(found, "gate", "checks", 0, "verdict", value="pass")


@pytest.mark.parametrize(
    "edited",
    [
        lambda bad: edit(bad, "gate", "verdict", value="pass"),
        lambda bad: edit(bad, "gate", "checks", value=[]),
        passing,
        lambda bad: edit(passing(bad), "limits", "max_regression", value=9.0),
        lambda bad: edit(bad, "raw", "cycles", 0, "new", 0, value=1),
        lambda bad: edit(bad, "edgekd_result", value=2),
        lambda bad: edit(bad, "model", "sha256", value="00" * 32),
        lambda bad: {key: value for key, value in bad.items() if key != "gate"},
        lambda bad: edit(bad, "kind", value="dream"),
        lambda bad: edit(bad, "gate", "checks", 0, "value", value=0.5),
        lambda bad: edit(bad, "measured", "ratio_p50", value=0.5),
        lambda bad: edit(bad, "gate", value={}),
        lambda bad: edit(bad, "gate", "checks", 0, value={"verdict": "fail"}),
        lambda bad: edit(bad, "gate", "checks", value=[None]),
    ],
    ids=[
        "verdict",
        "no checks",
        "all verdicts",
        "limit",
        "sample",
        "version",
        "model",
        "no gate",
        "kind",
        "value",
        "measured",
        "empty gate",
        "half a check",
        "no check",
    ],
)
def test_an_edited_result_is_refused(edited: Any, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(edited(sample.compared(1.2))))
    with pytest.raises(BadInputError, match=r"result\.json"):
        ci.read(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "nonsense", '{"edgekd_result": NaN}', "\x00", "[" * 100_000])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"result\.json"):
        ci.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadInputError):
            ci.read(path)


def test_a_report_that_ships_nothing_keeps_its_failure(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(judged(build(), "fail")))
    assert ci.read(path).verdict == "fail"


def test_a_report_that_says_pass_against_its_checks_is_refused(tmp_path: Path) -> None:
    report = judged(build(), "fail")
    report["gate"]["verdict"] = "pass"
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    with pytest.raises(BadInputError, match="report"):
        ci.read(path)
