"""`edgekd run` and `edgekd distill`: what a run leaves, says, keeps and answers."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgekd import recipe as recipes

from .conftest import Edgekd, Finished

FILES = {
    "recipe.lock.toml",
    "checkpoints/last.pt",
    "student.safetensors",
    "model.onnx",
    "variants/int8-u8s8.onnx",
    "report.json",
    "report.md",
    "report.html",
    "junit.xml",
    "bundle/model.onnx",
    "bundle/manifest.json",
    "bundle/infer.py",
}
STAGES = ("teacher", "distill", "export", "quantize", "validate")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_passes_and_leaves_what_the_design_names_and_nothing_half_written(finished: Finished) -> None:
    found = files(finished.folder)
    assert found >= FILES
    assert not {name for name in found if ".tmp" in name or "building" in name or "edgekd-" in name}


def test_the_json_on_stdout_is_the_report_and_progress_is_on_stderr(finished: Finished) -> None:
    report = json.loads(finished.answer.out)
    assert report == json.loads((finished.folder / "report.json").read_text())
    assert report["gate"]["verdict"] == "pass" and report["gate"]["exit_code"] == 0
    said = [line.split()[0] for line in finished.answer.err.splitlines()]
    stages = ["teacher", "distill", "export", "quantize", "calibrate", "latency", "accuracy", "report"]
    assert list(dict.fromkeys(said)) == stages


def test_the_recipe_that_is_kept_loads_back_equal(finished: Finished) -> None:
    kept = recipes.load(finished.folder / "recipe.lock.toml")
    assert kept == recipes.load(finished.recipe)


def test_a_second_run_makes_no_stage_again(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    folder = finished.copy(tmp_path / "run")
    kept = {name: (folder / name).stat().st_mtime_ns for name in FILES if not name.startswith(("b", "r", "j"))}
    answer = edgekd("run", finished.recipe, "--out", folder)
    assert answer.code == 0, answer.err
    assert f"not run again: {', '.join(STAGES)}" in answer.err
    assert "distill " not in answer.err and "latency" not in answer.err
    assert "PASS" in answer.out and f"report  {folder}/report.html" in answer.out
    assert kept == {name: (folder / name).stat().st_mtime_ns for name in kept}


def test_a_dry_run_tells_what_is_cached_and_writes_nothing(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    answer = edgekd("run", finished.recipe, "--out", tmp_path / "new", "--dry-run", "--json")
    plan = json.loads(answer.out)
    assert answer.code == 0
    assert plan["stages"] == dict.fromkeys((*STAGES, "gate", "report", "bundle"), "run")
    assert not (tmp_path / "new").exists()
    before = files(finished.folder)
    after = json.loads(edgekd("run", finished.recipe, "--out", finished.folder, "--dry-run", "--json").out)
    assert after["stages"] == dict.fromkeys(STAGES, "cached") | dict.fromkeys(("gate", "report", "bundle"), "run")
    assert files(finished.folder) == before


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("gate.min_top1=0.9", ()),
        ("validate.seconds=0.1", ("validate",)),
        ("quantize.per_channel=false", ("quantize", "validate")),
        ("export.max_difference=0.01", ("export", "quantize", "validate")),
        ("distill.epochs=1", STAGES[1:]),
        ("distill.rho=1.5", STAGES[1:]),
        ("seed=1", STAGES),
    ],
)
def test_an_override_runs_the_stages_that_depend_on_it_again(
    override: str, again: tuple[str, ...], finished: Finished, edgekd: Edgekd
) -> None:
    answer = edgekd("run", finished.recipe, "--out", finished.folder, "--dry-run", "--json", "--set", override)
    stages = json.loads(answer.out)["stages"]
    assert {name for name in STAGES if stages[name] == "run"} == set(again)


def test_the_plan_of_distill_ends_with_it(finished: Finished, edgekd: Edgekd) -> None:
    place = finished.recipe.parent
    without = edgekd("distill", place / "teacher.toml", "--out", place / "teacher", "--dry-run", "--json")
    assert json.loads(without.out)["stages"] == {"distill": "cached"}
    with_teacher = edgekd("distill", finished.recipe, "--out", finished.folder, "--dry-run")
    assert [line.split() for line in with_teacher.out.splitlines()[2:]] == [
        ["teacher", "cached"],
        ["distill", "cached"],
    ]


@pytest.mark.parametrize(
    ("limit", "code", "verdict", "junit"),
    [("gate.max_p50_ms=0.000001", 1, "fail", "failure"), ("gate.max_p99_ms=1000", 3, "inconclusive", "skipped")],
)
def test_a_change_of_the_gate_alone_judges_again(
    limit: str, code: int, verdict: str, junit: str, finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    folder = finished.copy(tmp_path / "run")
    answer = edgekd("run", finished.recipe, "--out", folder, "--set", limit)
    assert answer.code == code
    assert f"not run again: {', '.join(STAGES)}" in answer.err
    assert verdict.upper() in answer.out
    note = " (the gate failed: for inspection, not to ship)" if verdict == "fail" else ""
    assert answer.out.endswith(f"bundle  {folder / 'bundle'}{note}\n")
    report = json.loads((folder / "report.json").read_text())
    assert report["gate"]["verdict"] == verdict and report["gate"]["exit_code"] == code
    assert report["recipe"]["overrides"] == [limit]
    assert limit in (folder / "report.html").read_text()
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert suite.find(f".//testcase[@name='{limit[5:15]}']/{junit}") is not None


def test_a_path_that_looks_like_markup_is_printed_as_it_is(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    folder = finished.copy(tmp_path / "[red]a :smile: [b")
    answer = edgekd("run", finished.recipe, "--out", folder)
    assert answer.code == 0, answer.err
    assert f"report  {folder}/report.html" in answer.out
    assert str(folder) in edgekd("run", finished.recipe, "--out", folder, "--dry-run").out


def test_a_damaged_stage_file_is_made_again(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    folder = finished.copy(tmp_path / "run")
    (folder / "variants" / "int8-u8s8.onnx").write_bytes(b"half")
    (folder / "stages" / "validate.json").write_text('{"format": 1, "key"')
    plan = json.loads(edgekd("run", finished.recipe, "--out", folder, "--dry-run", "--json").out)["stages"]
    assert [plan[name] for name in STAGES] == ["cached", "cached", "cached", "run", "run"]


def test_a_folder_in_use_is_refused_by_name(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    from edgekd.store import locked

    with locked(tmp_path / "run"):
        answer = edgekd("run", finished.recipe, "--out", tmp_path / "run")
    assert answer.code == 2
    assert f"{tmp_path / 'run'} is in use by another edgekd process" in answer.err
    assert files(tmp_path / "run") == {".lock"}
