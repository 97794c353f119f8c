"""`fit-student`: what it refuses at once, and the student that it finds by real trials."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from edgekd import recipe as recipes
from edgekd import targets

from .conftest import RECIPE, Edgekd, command
from .test_interrupt import heeds_ctrl_c, interrupted

__all__ = ["heeds_ctrl_c"]

QUICK = ("--max-seconds", "600", "--json")
SERIES = """
name = "motion"
[data]
source = "motion.npz"
calibration_samples = 16
[student]
model = "ds_cnn_1d"
options = { width = 0.5 }
[distill]
method = "ce"
"""


@pytest.fixture
def recipe(tmp_path: Path, draw) -> Path:  # type: ignore[no-untyped-def]
    """A recipe whose teacher is not trained yet: fitting its student needs none."""
    train, test = draw(120), draw(60, seed=1)
    arrays = {"x_train": train.inputs, "y_train": train.labels, "x_test": test.inputs, "y_test": test.labels}
    np.savez(tmp_path / "bars.npz", classes=np.array(["top", "middle", "bottom"]), **arrays)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--limit", "min_top1=0.9"], "--limit min_top1: a network's size does not decide it; expected one of max_p50"),
        (["--limit", "max_p50=3"], "--limit max_p50: unknown; did you mean 'max_p50_ms'"),
        (["--scale", "depth=1,2"], "--scale depth: model 'resnet8' has no such option; known: width, blocks"),
        (["--scale", "width"], "--scale width: expected an option and its values"),
        (["--scale", "width=1,two"], "--scale width=1,two: expected an option and its values"),
        (["--scale", "width=0"], "all above 0"),
        (["--scale", "width=1", "--scale", "blocks=1", "--scale", "depth=1"], "expected at most two"),
        (["--margin", "-5%"], "--margin -5%: expected 0% or more"),
        (["--target", "pi9"], "unknown target 'pi9'"),
        (["--out", "recipe.toml"], "is the recipe itself"),
        (["--out", "there.toml"], "there.toml exists; choose another --out, or --force"),
        (["--max-trials", "0"], "max-trials"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    options: list[str], fragment: str, recipe: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    (recipe.parent / "there.toml").touch()
    answer = edgekd("fit-student", recipe, *options)
    assert (answer.code, answer.out) == (2, ""), answer.out
    assert fragment in answer.err
    assert not (recipe.parent / "fitted.toml").exists()


def test_without_any_limit_every_student_fits_so_that_is_refused(recipe: Path, edgekd: Edgekd) -> None:
    free = targets.load("x86-1t").model_copy(update={"budgets": targets.Budgets()})
    (recipe.parent / "free.toml").write_text(targets.dump(free))
    recipe.write_text(RECIPE.partition("[gate]")[0] + "[gate]\nmin_top1 = 0.2\n")
    answer = edgekd("fit-student", recipe, "--target", recipe.parent / "free.toml")
    assert answer.code == 2 and "limits latency, size or memory, so every student fits" in answer.err


def test_a_network_for_other_data_is_refused_with_those_that_fit(recipe: Path, edgekd: Edgekd) -> None:
    recipe.write_text(RECIPE.replace('[student]\nmodel = "resnet8"', '[student]\nmodel = "ds_cnn_1d"'))
    answer = edgekd("fit-student", recipe)
    assert answer.code == 2 and "takes data of kind series, and the data is of kind image" in answer.err


@pytest.mark.slow
def test_the_largest_student_within_a_size_is_written_as_a_recipe_that_loads(recipe: Path, edgekd: Edgekd) -> None:
    out = recipe.parent / "elsewhere" / "fitted.toml"
    scale = ("--scale", "width=0.25,0.5,1")
    answer = edgekd("fit-student", recipe, "--limit", "max_size_bytes=40000", *scale, "--out", out, *QUICK)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["edgekd_fit"], found["exit_code"], found["status"]) == (1, 0, "largest")
    best, trials = found["best"], found["trials"]
    assert best in trials and best["fit"] == "fits" and best["size_bytes"] <= 0.98 * 40000
    assert all(trial["size_bytes"] > 0.98 * 40000 for trial in trials if trial["fit"] == "misses")
    assert trials[0]["size"]["options"] == {"width": 1.0} or found["too_large"]
    assert found["unjudged"] == ["min_top1"]
    old, new = recipes.load(recipe), recipes.load(out)
    assert new.student.options == best["size"]["options"] and new.name == "tiny-fitted"
    assert new.gate.max_size_bytes == 40000 and new.gate.min_top1 == old.gate.min_top1
    assert Path(new.data.source).samefile(old.data.source)


@pytest.mark.slow
def test_a_family_whose_smallest_is_too_large_is_a_failed_gate_that_says_by_how_much(
    recipe: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    answer = edgekd("fit-student", recipe, "--limit", "max_size_bytes=1000")
    assert answer.code == 1, answer.err
    assert "none    of resnet8 fits x86-1t" in answer.out and "times max_size_bytes less its margin" in answer.out
    assert not (recipe.parent / "fitted.toml").exists()


@pytest.mark.slow
def test_a_window_networks_width_is_found_and_one_trial_leaves_the_rest_open(tmp_path: Path, edgekd: Edgekd) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 2
    x = (generator.standard_normal((120, 32, 2)) + labels[:, None, None]).astype(np.float32)
    np.savez(tmp_path / "motion.npz", x=x, y=labels)
    (tmp_path / "recipe.toml").write_text(SERIES)
    out = tmp_path / "fitted.toml"
    answer = edgekd(
        "fit-student", tmp_path / "recipe.toml", "--limit", "max_p50_ms=1000", "--max-trials", "1", "--out", out
    )
    assert answer.code == 0, answer.err
    assert "width = 0.5" in answer.out and "a larger one may fit: give it more" in answer.out
    assert recipes.load(out).student.options == {"width": 0.5}


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_found(recipe: Path) -> None:
    out = recipe.parent / "fitted.toml"
    arguments = ("fit-student", recipe, "--limit", "max_p50_ms=1000", "--out", out)
    # The second line of the stage: one trial is over, and the next has begun.
    code = interrupted(*arguments, at="fit        1", number=signal.SIGINT)
    assert code == 130
    assert recipes.load(out).student.options == {"width": 1.0}


@pytest.mark.slow
def test_help_names_it_without_torch() -> None:
    assert "fit-student" in command("--help").out
