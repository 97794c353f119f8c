"""Arms, cells and their recipes."""

from pathlib import Path

import pytest

from edgekd import recipe as recipes
from edgekd.errors import BadInputError
from edgekd.recipe import Recipe
from edgekd.study import METHODS, plan
from edgekd.study.plan import Cell, cell_recipe

from .sample import ROOT, quick, whole


def changed(*overrides: str) -> Recipe:
    return recipes.load(ROOT / "recipes" / "study-quick.toml", overrides=overrides)


def test_the_cells_are_each_arm_s_candidates_and_the_other_seeds_of_the_best() -> None:
    study = whole()
    assert study.cells == (1 + 2) + 5 * (6 + 2)
    assert [len(arm.tuning) for arm in study.arms] == [1, 6, 6, 6, 6, 6]
    assert {cell.seed for arm in study.arms for cell in arm.tuning} == {0}
    assert [cell.seed for cell in study.arms[1].cells_of({"kd_weight": 0.9})] == [0, 1, 2]


def test_a_cell_differs_from_the_recipe_in_method_knobs_and_training_seed_alone() -> None:
    base = quick()
    cell = Cell(method="cist", knobs={"kd_weight": 24.0, "rho_entropy": 0.776}, seed=2)
    made = cell_recipe(base, cell)
    assert made.distill.model_dump(exclude={"method", "kd_weight", "rho_entropy", "seed"}) == base.distill.model_dump(
        exclude={"method", "kd_weight", "rho_entropy", "seed"}
    )
    assert (made.distill.method, made.distill.kd_weight, made.distill.rho_entropy) == ("cist", 24.0, 0.776)
    assert (made.distill.seed, made.seed) == (2, 0)
    assert (made.data, made.teacher, made.student) == (base.data, base.teacher, base.student)


def test_a_cell_of_labels_alone_has_no_teacher_and_no_cache() -> None:
    made = cell_recipe(quick(), Cell(method="ce", knobs={}, seed=0))
    assert made.teacher is None and made.distill.teacher_cache == "off"
    assert made.distill.n_views == quick().distill.n_views  # the same pictures as every other arm


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_s_recipe_is_a_file_that_loads_back_equal(method: str, tmp_path: Path) -> None:
    (arm,) = plan(quick(), methods=(method,), seeds=1, count=12).arms
    for cell in arm.tuning:
        path = tmp_path / "recipe.toml"
        path.write_text(recipes.dump(made := cell_recipe(quick(), cell)))
        assert recipes.load(path) == made


def test_knobs_of_the_recipe_are_set_aside_and_named() -> None:
    base = changed("distill.method='kd'", "distill.temperature=3.0", "distill.ce_weight=1.0")
    study = plan(base, methods=("kd", "lskd"), seeds=1, count=1)
    assert study.set_aside == ("temperature", "ce_weight")
    assert all(cell_recipe(base, arm.tuning[0]).distill.ce_weight is None for arm in study.arms)


def test_the_seeds_start_at_the_recipe_s() -> None:
    assert plan(changed("seed=7"), methods=("ce",), seeds=2, count=1).seeds == (7, 8)
    assert plan(changed("seed=7", "distill.seed=3"), methods=("ce",), seeds=2, count=1).seeds == (3, 4)


@pytest.mark.parametrize(
    ("methods", "baseline"), [(("ce", "cist", "kd"), "kd"), (("ce", "cist"), "ce"), (("cist",), "cist")]
)
def test_the_baseline_is_kd_and_without_it_the_first_method(methods: tuple[str, ...], baseline: str) -> None:
    assert plan(quick(), methods=methods, seeds=1, count=1).baseline == baseline


@pytest.mark.parametrize(
    ("methods", "seeds", "overrides", "message"),
    [
        ((), 3, (), "0 methods and 3 seeds; expected at least one of each"),
        (("kd",), 0, (), "1 methods and 0 seeds"),
        (("kd", "ce", "kd"), 1, (), "method kd is named twice"),
        (("kd", "cits"), 1, (), "unknown method 'cits'; did you mean 'cist'?"),
        (("ce",), 1, ("distill.early_stop_epochs=2",), "gives each student another budget"),
        (("kd", "dkd"), 1, ("distill.mixup=0.2",), "recipe of dkd-8-4-seed0"),
    ],
)
def test_a_study_that_could_not_be_run_is_refused_at_once(
    methods: tuple[str, ...], seeds: int, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BadInputError) as refused:
        plan(changed(*overrides), methods=methods, seeds=seeds, count=6)
    assert message in str(refused.value)
