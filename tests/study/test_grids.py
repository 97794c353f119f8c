"""What each arm is tuned over."""

import pytest

from edgekd.errors import BadInputError
from edgekd.recipe.distill import KNOBS
from edgekd.study.grids import GRIDS, METHODS, MOST, at_edge, candidates


def test_every_method_of_the_recipe_has_a_grid_of_keys_that_are_its_own() -> None:
    assert set(METHODS) == set(KNOBS)
    assert all({grid.weight, grid.knob} <= set(KNOBS[method]) for method, grid in GRIDS.items())


def test_the_first_candidate_is_the_published_default() -> None:
    from edgekd.core import methods

    for method, grid in GRIDS.items():
        defaults = methods.defaults(method)
        assert candidates(method, 1)[0][grid.weight] == defaults[grid.weight], method
        if grid.knob in defaults:  # rho and entropy are given as a share of ln K
            assert candidates(method, 1)[0][grid.knob] == defaults[grid.knob], method


@pytest.mark.parametrize("count", [1, 3, 6, MOST])
def test_every_method_has_as_many_different_candidates_as_the_next(count: int) -> None:
    for method in GRIDS:
        found = candidates(method, count)
        assert len({tuple(knobs.items()) for knobs in found}) == count, method


def test_six_candidates_are_three_weights_three_knobs_and_a_corner() -> None:
    assert candidates("kd", 6) == (
        {"kd_weight": 0.9, "temperature": 4.0},
        {"kd_weight": 2.7, "temperature": 4.0},
        {"kd_weight": 0.9, "temperature": 8.0},
        {"kd_weight": 8.1, "temperature": 4.0},
        {"kd_weight": 2.7, "temperature": 8.0},
        {"kd_weight": 0.9, "temperature": 2.0},
    )


def test_the_weight_of_every_method_is_searched_over_the_same_relative_range() -> None:
    for method, grid in GRIDS.items():
        relative = [weight / grid.weights[0] for weight in grid.weights]
        # Two digits are kept of each weight. KD, whose default is the weakest of all, is searched upwards.
        assert relative == pytest.approx([1, 3, 9, 1 / 3] if method == "kd" else [1, 3, 1 / 3, 1 / 9], rel=0.05)


def test_labels_alone_have_nothing_to_tune() -> None:
    assert candidates("ce", 6) == ({},)


def test_an_optimum_at_the_edge_of_the_grid_is_named() -> None:
    tried = candidates("kd", 6)
    assert at_edge({"kd_weight": 8.1, "temperature": 2.0}, tried) == (
        "kd_weight 8.1 is the largest",
        "temperature 2 is the smallest",
    )
    assert at_edge({"kd_weight": 2.7, "temperature": 4.0}, tried) == ()
    assert at_edge({"kd_weight": 0.9, "temperature": 4.0}, candidates("kd", 1)) == ()


@pytest.mark.parametrize(
    ("method", "count", "message"),
    [
        ("csit", 6, "unknown method 'csit'; did you mean 'cist'?; known: ce, kd"),
        ("kd", 0, "0 candidates an arm; expected 1 (the published defaults) to 12"),
        ("ce", 13, "13 candidates an arm"),
    ],
)
def test_a_wrong_method_or_number_is_refused_by_name(method: str, count: int, message: str) -> None:
    with pytest.raises(BadInputError) as refused:
        candidates(method, count)
    assert message in str(refused.value)
