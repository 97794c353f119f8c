"""`edgekd ci`: exit codes, what it prints where, and that it writes nothing where it refuses."""

import json
from pathlib import Path

import pytest

from ..ci import sample  # noqa: TID252  one sample result for both
from .conftest import Edgekd

FILES = ("--junit", "--summary", "--comment", "--benchmark", "--bencher")


@pytest.fixture(autouse=True)
def outside_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite itself may run there."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("results")
    ratios = {"pass": 0.97, "inconclusive": 1.05, "fail": 1.2}
    return {name: sample.saved(sample.compared(ratio), folder / f"{name}.json") for name, ratio in ratios.items()}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("pass",), 0),
        (("fail",), 1),
        (("inconclusive",), 3),
        (("pass", "inconclusive"), 3),
        (("inconclusive", "fail", "pass"), 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst(
    names: tuple[str, ...], code: int, edgekd: Edgekd, results: dict[str, Path]
) -> None:
    answer = edgekd("ci", *(results[name] for name in names))
    assert answer.code == code
    assert all(f"{name.upper()}: net.onnx is " in answer.out for name in names)


def test_inconclusive_is_allowed_only_visibly(edgekd: Edgekd, results: dict[str, Path], tmp_path: Path) -> None:
    answer = edgekd("ci", results["inconclusive"], "--allow-inconclusive", "--summary", tmp_path / "summary.md")
    assert answer.code == 0
    assert "INCONCLUSIVE" in answer.out and "nothing was proved" in answer.err
    assert "INCONCLUSIVE" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert edgekd("ci", results["inconclusive"], results["fail"], "--allow-inconclusive").code == 1


def test_all_files_are_written(edgekd: Edgekd, results: dict[str, Path], tmp_path: Path) -> None:
    outs = {option: tmp_path / option.strip("-") for option in FILES}
    answer = edgekd("ci", results["fail"], *(part for pair in outs.items() for part in pair))
    assert answer.code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(option.strip("-") for option in FILES)


def test_an_edited_result_is_exit_2_and_nothing_is_written(
    edgekd: Edgekd, results: dict[str, Path], tmp_path: Path
) -> None:
    found = json.loads(results["fail"].read_text())
    found["gate"]["verdict"] = found["gate"]["checks"][0]["verdict"] = "pass"
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(found))
    outs = [part for option in FILES for part in (option, tmp_path / option.strip("-"))]
    answer = edgekd("ci", results["pass"], edited, "--annotations", *outs)
    assert answer.code == 2 and "edited.json" in answer.err and answer.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["edited.json"]


def test_an_unwritable_path_is_exit_4(edgekd: Edgekd, results: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = edgekd("ci", results["pass"], "--junit", tmp_path / "file" / "junit.xml")
    assert answer.code == 4 and "cannot write" in answer.err


def test_no_file_and_an_empty_path_are_exit_2(edgekd: Edgekd, results: dict[str, Path]) -> None:
    assert edgekd("ci").code == 2
    assert edgekd("ci", results["pass"], "--junit", "").code == 2


def test_json_alone_is_on_stdout(edgekd: Edgekd, results: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    answer = edgekd("ci", results["pass"], results["fail"], "--json")
    found = json.loads(answer.out)
    assert (found["verdict"], found["exit_code"], answer.code) == ("fail", 1, 1)
    assert [result["verdict"] for result in found["results"]] == ["pass", "fail"]
    assert answer.err.count("::") == 4  # the annotations


def test_annotations_come_on_github_and_where_they_are_asked_for(
    edgekd: Edgekd, results: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "::error" not in edgekd("ci", results["fail"]).out
    assert "::error" in edgekd("ci", results["fail"], "--annotations").out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error" in edgekd("ci", results["fail"]).out
    assert "::error" not in edgekd("ci", results["fail"], "--no-annotations").out


def test_the_job_summary_is_added_on_github_unless_a_file_is_named(
    edgekd: Edgekd, results: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    edgekd("ci", results["pass"])
    edgekd("ci", results["fail"], "--summary", tmp_path / "own.md")
    assert "PASS" in step.read_text(encoding="utf-8") and "FAIL" not in step.read_text(encoding="utf-8")
    assert "FAIL" in (tmp_path / "own.md").read_text(encoding="utf-8")


def test_a_name_cannot_write_workflow_commands_into_the_log(edgekd: Edgekd, tmp_path: Path) -> None:
    found = sample.compared(1.2, name="net\n::error::x ##[add-path]y")
    answer = edgekd("ci", sample.saved(found, tmp_path / "result.json"))
    assert answer.code == 1 and "##[" not in answer.out
    assert not any(line.lstrip().startswith("::") for line in answer.out.splitlines())
