"""The floor of a class: the worst one decides, and not by chance because many were looked at."""

from typing import Any

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.gate import Check
from edgekd.statistics import wilson

from .sample import ACCURACY, judged, only


def counted(*right_of_n: tuple[int, int]) -> dict[str, Any]:
    """The accuracy of as many classes, a, b, c and so on; what is wrong is taken for the next class."""
    k = len(right_of_n)
    table = np.zeros((k, k), dtype=int)
    for index, (right, n) in enumerate(right_of_n):
        table[index, index] = right
        table[index, (index + 1) % k] += n - right
    names = [{"name": "abcdefghijklmnopqrst"[index], "n": n} for index, (_, n) in enumerate(right_of_n)]
    return {**ACCURACY, "confusion": table.tolist(), "per_class": names}


def floor(limit: float, *right_of_n: tuple[int, int]) -> Check:
    return only(judged({"min_class_top1": limit}, accuracy=counted(*right_of_n)))


def test_the_worst_class_gives_the_value_and_is_named() -> None:
    check = floor(0.5, (95, 100), (80, 100), (90, 100))
    assert (check.verdict, check.value, check.metric) == ("pass", 0.8, "class_top1")
    assert check.note == "class 'b', of 3 looked at: 80 of 100 right"


def test_its_low_end_is_for_a_pass_and_its_high_end_for_a_failure_corrected_for_all_classes() -> None:
    check = floor(0.85, (95, 100), (80, 100), (90, 100))
    # Bonferroni: 1 - 0.05 / 3
    assert (check.low, check.high) == (wilson(80, 100).low, wilson(80, 100, 1 - 0.05 / 3).high)
    assert check.verdict == "inconclusive"
    assert check.note.startswith("class 'b', of 3 looked at: 80 of 100 right; interval 0.7112–")
    assert "more samples of it would decide" in check.note


def test_a_class_that_would_fail_alone_may_be_low_by_chance_among_many() -> None:
    alone, among = (8, 20), [(19, 20)] * 19
    assert wilson(8, 20).high < 0.62 < wilson(8, 20, 1 - 0.05 / 2).high
    assert floor(0.62, alone, (65, 65)).verdict == "inconclusive"
    assert floor(0.62, alone, *among).verdict == "inconclusive"
    assert only(judged({"class_floors.a": 0.62}, accuracy=counted(alone, *among))).verdict == "fail"


def test_a_failing_class_decides_although_another_is_lower_and_unsure() -> None:
    check = floor(0.9, (1_600, 2_000), (3, 5), (999, 1_000))
    assert (check.verdict, check.value) == ("fail", 0.8)
    assert "class 'a'" in check.note and "is below the limit" in check.note


def test_a_class_without_samples_is_no_pass() -> None:
    check = floor(0.1, (99, 100), (0, 0))
    assert (check.verdict, check.value) == ("inconclusive", None)
    assert check.note == "class 'b' has no sample; class_top1 was not measured"


def test_every_named_class_is_a_check_of_its_own() -> None:
    gate = judged({"class_floors.dog": 0.95, "class_floors.cat": 0.8, "min_top1": 0.5})
    assert [(check.name, check.verdict) for check in gate.checks] == [
        ("min_top1", "pass"),
        ("class_floors.dog", "fail"),
        ("class_floors.cat", "pass"),
    ]
    assert gate.checks[1].value == 0.85


def test_a_floor_for_a_class_that_was_not_measured_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"class_floors\.dogs: no class 'dogs'; did you mean 'dog'"):
        judged({"class_floors.dogs": 0.5})
    with pytest.raises(BadInputError, match="per_class names 1 classes, confusion has 2"):
        judged({"min_class_top1": 0.5}, accuracy={**ACCURACY, "per_class": [{"name": "cat"}]})


def test_sound_classes_fail_by_chance_in_at_most_five_of_a_hundred() -> None:
    """All 20 classes lie exactly on the floor; without the correction about a third of the draws would fail."""
    generator = np.random.default_rng(0)
    draws = [generator.binomial(100, 0.8, size=20) for _ in range(200)]
    failed = sum(floor(0.8, *((int(right), 100) for right in draw)).verdict == "fail" for draw in draws)
    uncorrected = sum(any(wilson(int(right), 100).high < 0.8 for right in draw) for draw in draws)
    assert failed <= 10 < uncorrected
