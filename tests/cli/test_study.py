"""`edgekd study`: its plan, its answers and codes, and Ctrl-C."""

import json
import signal
from pathlib import Path

import pytest

from .conftest import Edgekd, Finished, command
from .test_interrupt import heeds_ctrl_c, interrupted  # noqa: F401  a fixture that each test here uses by itself
from .test_run import files

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--seeds", "1", "--candidates", "1", "--jobs", "1")


def test_the_plan_names_every_candidate_and_writes_nothing(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    arguments = ("study", finished.recipe, "--methods", "ce,kd", "--out", tmp_path / "out", "--dry-run")
    answer = edgekd(*arguments)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[2].split() == ["ce", "–", "0", "train"]
    assert "kd_weight 0.9, temperature 4" in answer.out
    assert answer.out.endswith("then 2 more seed(s) of the best candidate of each method: 11 students in all\n")
    plan = json.loads(edgekd(*arguments, "--json").out)
    assert (plan["cells"], len(plan["tuning"]), plan["seeds"]) == (11, 7, [0, 1, 2])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_study_answers_with_a_table_then_with_json_and_trains_nothing_twice(
    finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    out = tmp_path / "out"
    arguments = ("study", finished.recipe, "--methods", "ce, kd", *TINY, "--out", out)
    answer = edgekd(*arguments)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("Teacher resnet8: ")
    assert f"study  {out / 'study.md'}" in answer.out
    assert [line.split()[0] for line in answer.err.splitlines()] == ["study"] * len(answer.err.splitlines())
    trained = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/student.safetensors")}
    again = edgekd(*arguments, "--json")
    assert json.loads(again.out) == json.loads((out / "study.json").read_text())
    assert len(trained) == 2 and trained == {path: path.stat().st_mtime_ns for path in trained}
    states = [row["state"] for row in json.loads(edgekd(*arguments, "--dry-run", "--json").out)["tuning"]]
    assert states == ["there", "there"]
    assert not {name for name in files(out) if ".tmp" in name}


@pytest.mark.slow
def test_a_study_whose_students_diverge_says_so_and_ends_with_2(
    finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    wild = ("--set", "distill.learning_rate=1e30")
    answer = edgekd("study", finished.recipe, "--methods", "ce", *TINY, *wild, "--out", tmp_path / "out")
    assert answer.code == 2
    assert "error: ce-seed0: " in answer.err
    assert "ce has no result: 1 cell failed" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "ce,kdd"), "unknown method 'kdd'; did you mean 'kd'?"),
        (("--methods", ""), "0 methods and 3 seeds"),
        (("--candidates", "99"), "99 candidates an arm; expected 1 (the published defaults) to 12"),
        (("--jobs", "0"), "--jobs 0; expected at least 1"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    arguments: tuple[str, ...], message: str, finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    answer = edgekd("study", finished.recipe, *arguments, "--out", tmp_path / "out")
    assert answer.code == 2
    assert message in answer.err


@pytest.mark.slow
def test_the_quick_study_s_recipe_runs_as_its_comment_says(tmp_path: Path) -> None:
    recipe = ROOT / "recipes" / "study-quick.toml"
    assert "edgekd study recipes/study-quick.toml" in recipe.read_text()
    short = ("--seeds", "1", "--candidates", "1", "--set", "distill.epochs=1", "--set", "data.train_samples=600")
    own = ("--set", f"distill.cache_folder={tmp_path / 'cache'}", "--out", tmp_path / "out", "--json")
    answer = command("study", recipe, *short, *own)
    assert answer.code == 0, answer.err
    study = json.loads(answer.out)
    assert [arm["method"] for arm in study["arms"]] == ["ce", "kd", "cist", "entropy", "dkd", "lskd"]
    assert study["teacher"]["test_top1"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_study_and_its_processes_and_the_same_command_goes_on(
    number: signal.Signals, finished: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    long = ("--set", "distill.epochs=40")
    arguments = ("study", finished.recipe, "--methods", "ce,kd", *TINY, *long, "--out", out)
    first = out / "cells" / "ce-seed0" / "checkpoints" / "last.pt"
    assert interrupted(*arguments, at="study", after=first, number=number) == 130
    assert not (out / "study.json").exists()
    answer = command(*arguments)
    assert answer.code == 0, answer.err
    assert (out / "study.json").exists()
