"""Which limits hold, who set them, and what is refused as a limit."""

from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.gate import check_classes, flat, merge_limits

from .sample import judged


def test_an_unknown_limit_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInputError, match="unknown limit 'max_p50'; did you mean 'max_p50_ms'"):
        judged({"max_p50": 1.0})
    with pytest.raises(BadInputError, match="did you mean 'min_top1'"):
        merge_limits({}, {"min_top": 1.0})
    with pytest.raises(BadInputError, match="did you mean 'class_floors'"):
        merge_limits({"class_floor": {"cat": 0.5}}, {})


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), True, "2"])
@pytest.mark.parametrize("name", ["max_p50_ms", "class_floors.cat"])
def test_a_limit_that_is_no_number_is_refused(name: str, limit: Any) -> None:
    with pytest.raises(BadInputError, match="expected a finite number"):
        judged({name: limit})


@pytest.mark.parametrize("limit", [-0.1, 1.1, 80])
def test_a_floor_of_a_class_is_a_fraction(limit: float) -> None:
    with pytest.raises(BadInputError, match=r"limit class_floors\.cat is .*; expected a fraction"):
        judged({"class_floors.cat": limit})


def test_the_recipe_goes_before_the_target_and_none_is_not_a_limit() -> None:
    limits, sources = merge_limits(
        {"max_p50_ms": 2.0, "min_top1": None}, {"max_p50_ms": 9.0, "max_size_bytes": 100, "min_top1": None}
    )
    assert limits == {"max_p50_ms": 2.0, "max_size_bytes": 100}
    assert sources == {"max_p50_ms": "recipe", "max_size_bytes": "target"}


def test_a_table_of_floors_becomes_a_limit_for_each_class() -> None:
    limits, sources = merge_limits({"min_top1": 0.5, "class_floors": {"cat": 0.8, "a.b": 0.1}}, {})
    assert limits == {"min_top1": 0.5, "class_floors.cat": 0.8, "class_floors.a.b": 0.1}
    assert set(sources.values()) == {"recipe"}
    assert flat(limits) == limits
    assert flat({"class_floors": {}, "min_top1": None}) == {}
    with pytest.raises(BadInputError, match=r"class_floors is 0\.8; expected a floor for each class"):
        flat({"class_floors": 0.8})


def test_a_floor_for_a_class_that_does_not_exist_is_refused_with_the_nearest() -> None:
    check_classes(["min_top1", "class_floors.cat"], ["cat", "dog"])
    with pytest.raises(BadInputError, match=r"class_floors\.cats: no class 'cats'; did you mean 'cat'\?; .*: cat, dog"):
        check_classes(["class_floors.cat", "class_floors.cats"], ["cat", "dog"])
    with pytest.raises(BadInputError, match="and 980 more"):
        check_classes(["class_floors."], map(str, range(1_000)))
