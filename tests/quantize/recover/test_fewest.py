"""The search for the fewest layers finds a small set that works, in few calls, and stops when told."""

import itertools
import math
from collections.abc import Sequence

import pytest

from edgekd.quantize.recover.fewest import affordable, by_error_for_cost, fewest

NAMES = tuple("abcdefghijklmnop")


class Works:
    """A set works when it holds all that is needed; counts how often it was asked, None after `patience` calls."""

    def __init__(self, needed: str, patience: float = math.inf) -> None:
        self.needed, self.patience, self.asked = set(needed), patience, 0

    def __call__(self, nodes: Sequence[str]) -> bool | None:
        if self.asked >= self.patience:
            return None
        self.asked += 1
        return self.needed <= set(nodes)


def one(name: str) -> float:
    return 1.0


@pytest.mark.parametrize("needed", ["a", "b", "c", "abc", "ad", "g", "cgh", "p", "", "abcdefghijklmnop"])
def test_exactly_what_is_needed_is_found_wherever_it_stands_in_the_order(needed: str) -> None:
    works = Works(needed)
    found = fewest(NAMES, works, one)
    assert found is not None
    assert set(found) == set(needed or "a")  # one is the fewest that is tried
    assert works.asked <= 2 * math.log2(len(NAMES)) + 1 + len(NAMES)


def test_a_single_culprit_at_the_front_takes_one_call() -> None:
    works = Works("a")
    assert fewest(NAMES, works, one) == ("a",)
    assert works.asked == 1


def test_none_is_found_where_not_even_all_help() -> None:
    works = Works("z")
    assert fewest(NAMES, works, one) is None
    assert works.asked == 5  # 1, 2, 4, 8 and all 16


@pytest.mark.parametrize("patience", range(1, 12))
def test_out_of_time_the_answer_is_one_that_was_seen_to_work(patience: int) -> None:
    works = Works("ce", patience)
    found = fewest(NAMES, works, one)
    assert found is None if patience < 4 else found is not None and {"c", "e"} <= set(found)
    assert works.asked <= patience


def test_of_two_that_can_replace_each_other_the_dearer_goes() -> None:
    costs = {"a": 5.0, "b": 1.0, "c": 1.0}

    def works(nodes: Sequence[str]) -> bool:
        return "c" in nodes and bool({"a", "b"} & set(nodes))

    assert fewest(("a", "b", "c"), works, costs.__getitem__) == ("b", "c")


def test_whatever_the_sets_that_work_the_answer_is_one_of_them() -> None:
    for size, answers in itertools.product((1, 2, 3), range(1 << 7)):
        subsets = [c for n in range(1, size + 1) for c in itertools.combinations("abc"[:size], n)]
        working = {frozenset(c) for i, c in enumerate(subsets) if answers >> i & 1}
        found = fewest(tuple("abc"[:size]), lambda nodes, working=working: frozenset(nodes) in working, one)
        assert found is None or frozenset(found) in working


def test_the_order_is_error_for_each_millisecond_and_what_int8_slows_down_comes_first() -> None:
    noise = {"big": 0.5, "dear": 0.5, "small": 0.1, "slowed": 0.001}
    costs = {"big": 1.0, "dear": 10.0, "small": 1.0, "slowed": -0.2}
    assert by_error_for_cost(noise, costs.__getitem__) == ("slowed", "big", "small", "dear")


def test_what_is_over_the_budget_is_left_out_and_what_int8_slows_down_earns_nothing() -> None:
    costs = {"a": 1.0, "b": 5.0, "c": 1.5, "d": -3.0, "e": 0.6}
    assert affordable(tuple(costs), costs.__getitem__, 3.0) == ("a", "c", "d")
    assert affordable(tuple(costs), costs.__getitem__, -1.0) == ()
