"""Studies that are really run, in processes of their own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd import pipeline
from edgekd import recipe as recipes
from edgekd.errors import BadInputError, EnvironmentFault, ExitCode
from edgekd.progress import Progress
from edgekd.store import locked
from edgekd.study import Outcome, run, trained_before
from edgekd.study.plan import plan

from .conftest import Place

FILES = {
    "study.json",
    "study.md",
    "accuracy.svg",
    "accuracy.png",
    "entropy.svg",
    "entropy.png",
    "recipe.lock.toml",
    "places.json",
}


@pytest.fixture(scope="module")
def home(make_place: Callable[[Path], Place], tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def done(home: Place) -> Outcome:
    """ce, kd and entropy, two seeds and two candidates: a folder to read or to copy, never to change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        return home.study(home.recipe.parent / "out", methods=("ce", "kd", "entropy"))


def cells(folder: Path) -> dict[str, int]:
    """Name -> when its student was finished."""
    return {path.parents[1].name: path.stat().st_mtime_ns for path in folder.glob("cells/*/stages/distill.json")}


@pytest.mark.slow
def test_a_study_trains_every_cell_and_leaves_its_files_and_nothing_half_written(done: Outcome) -> None:
    assert done.exit_code == ExitCode.PASS
    assert {path.name for path in done.folder.iterdir() if path.is_file()} - {".lock"} == FILES
    assert len(cells(done.folder)) == 2 + 3 + 3
    assert not [path for path in done.folder.rglob("*") if path.suffix == ".tmp"]
    assert json.loads((done.folder / "study.json").read_text()) == json.loads(json.dumps(done.study))


@pytest.mark.slow
def test_every_arm_has_every_seed_and_the_teacher_is_told(done: Outcome) -> None:
    assert done.study["teacher"]["test_top1"] > 0.6  # chance is 0.33
    for arm in done.study["arms"]:
        assert [seed["seed"] for seed in arm["seeds"]] == [0, 1]
        assert {seed["threads"] for seed in arm["seeds"]} == {1}
        assert all(0 <= seed["test_ece"] <= 1 and seed["logit_sd"] > 0 for seed in arm["seeds"])
        assert not arm["failures"]
    assert [arm["against_baseline"] is None for arm in done.study["arms"]] == [False, True, False]


@pytest.mark.slow
def test_the_chosen_candidate_is_the_best_on_validation(done: Outcome) -> None:
    for arm in done.study["arms"]:
        tops = [row["validation_top1"] for row in arm["candidates"]]
        assert arm["chosen"] == arm["candidates"][tops.index(max(tops))]["knobs"]


@pytest.mark.slow
def test_exact_entropy_has_no_spread_and_a_fixed_temperature_has(done: Outcome) -> None:
    entropies = {arm["method"]: arm["soft_entropy"] for arm in done.study["arms"]}
    assert entropies["ce"] is None
    assert entropies["entropy"]["sd"] < 1e-4 < entropies["kd"]["sd"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_cell_of_a_study_is_the_run_of_its_recipe_bit_by_bit(done: Outcome, tmp_path: Path) -> None:
    place = done.folder / "cells" / "kd-2.7-4-seed0"
    pipeline.run(recipes.load(place / "recipe.toml"), folder=tmp_path, until="distill")
    name = "student.safetensors"
    assert (tmp_path / name).read_bytes() == (place / name).read_bytes()


@pytest.mark.slow
def test_the_same_study_again_trains_nothing_and_says_the_same(home: Place, done: Outcome, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(done.folder, tmp_path / "out"))
    before = cells(folder)
    heard: list[Progress] = []
    methods = ("ce", "kd", "entropy")
    again = run(home.load(), folder=folder, methods=methods, seeds=2, candidates=2, jobs=1, listener=heard.append)
    assert cells(folder) == before
    assert [arm["test_top1"] for arm in again.study["arms"]] == [arm["test_top1"] for arm in done.study["arms"]]
    assert (heard[-1].done, heard[-1].total) == (8, 8) and "8 of 8 cells" in heard[-1].note
    assert trained_before(plan(home.load(), methods=methods, seeds=2, count=2), folder) >= {"kd-0.9-4-seed0"}
    changed = plan(home.load("distill.epochs=3"), methods=methods, seeds=2, count=2)
    assert not trained_before(changed, folder)


def test_a_folder_in_use_is_refused(place: Place, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(BadInputError, match="in use by another edgekd process"):
        place.study(tmp_path / "out")


def test_what_cannot_run_is_refused_before_anything_is_written(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for overrides, message in (
        (("student.model='resnet9000'",), "resnet9000"),
        (("teacher.weights='no.safetensors'",), "no such file"),
        (("data.source='no.npz'",), "no.npz"),
    ):
        with pytest.raises(BadInputError, match=message):
            place.study(out, *overrides)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInputError, match="without torchrun"):
        place.study(out)
    assert not out.exists()


def test_jobs_below_one_and_a_gpu_that_is_not_there_are_refused(place: Place, tmp_path: Path) -> None:
    import torch

    with pytest.raises(BadInputError, match="--jobs 0; expected at least 1"):
        place.study(tmp_path / "out", jobs=0)
    if not torch.cuda.is_available():
        with pytest.raises(EnvironmentFault, match="no CUDA device"):
            place.study(tmp_path / "out", "distill.device='cuda'")
