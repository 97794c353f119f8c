"""The solver of fit-student: right on every monotone cost, in few trials, and never a size that did not fit."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.fit.search import Answer, Found, most_trials, search


def counted(answer: Callable[[int], Answer]) -> tuple[Callable[[int], Answer], list[int]]:
    """A trial that remembers what it was asked."""
    asked: list[int] = []

    def trial(index: int) -> Answer:
        asked.append(index)
        return answer(index)

    return trial, asked


def of_use(use: float) -> Answer:
    return Answer(fit="fits" if use <= 1 else "misses", use=use)


ASCENDING = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=60).map(lambda costs: sorted(set(costs)))


@given(costs=ASCENDING, uses=st.data())
def test_the_optimum_of_every_monotone_cost_is_found_in_few_trials(costs: list[float], uses: st.DataObject) -> None:
    drawn = sorted(uses.draw(st.lists(st.floats(1e-6, 1e6), min_size=len(costs), max_size=len(costs))))
    first = uses.draw(st.none() | st.integers(0, len(costs) - 1))
    trial, asked = counted(lambda index: of_use(drawn[index]))
    found = search(costs, trial, max_trials=100, first=first)
    right = max((i for i, use in enumerate(drawn) if use <= 1), default=None)
    assert found.best == right
    assert found.status == ("none" if right is None else "largest")
    assert len(asked) == len(set(asked)) <= math.ceil(math.log2(len(costs))) + 1


@given(
    costs=ASCENDING,
    fits=st.lists(st.sampled_from(["fits", "misses", "unclear"]), min_size=60, max_size=60),
    uses=st.lists(st.none() | st.floats(0, 1e6), min_size=60, max_size=60),
    most=st.integers(1, 8),
)
def test_whatever_the_trials_say_only_a_size_that_fitted_is_chosen(
    costs: list[float], fits: list[str], uses: list[float | None], most: int
) -> None:
    trial, asked = counted(lambda index: Answer(fit=fits[index], use=uses[index]))  # type: ignore[arg-type]
    found = search(costs, trial, max_trials=most)
    assert len(asked) <= most
    if found.best is None:
        assert "fits" not in [fits[i] for i in asked]
    else:
        assert found.best in asked and fits[found.best] == "fits"
    if found.status == "largest" and found.above < len(costs):
        assert found.above in asked and fits[found.above] != "fits" and found.above == found.best + 1  # type: ignore[operator]


def test_where_latency_is_a_power_of_the_cost_three_trials_are_enough_on_average() -> None:
    costs = [1.2**i for i in range(40)]
    numbers = []
    for exponent in (0.3, 0.5, 0.7, 0.9, 1.1):
        for limit in (0.1, 1.5, 4.0, 10.0, 30.0, 100.0, 1e3):
            uses = [cost**exponent / limit for cost in costs]
            trial, asked = counted(lambda index, uses=uses: of_use(uses[index]))  # type: ignore[misc]
            search(costs, trial, max_trials=100)
            numbers.append(len(asked))
    assert sum(numbers) / len(numbers) < 3.5 and max(numbers) <= most_trials(len(costs)) == 7


def test_an_unclear_trial_counts_as_not_fitting() -> None:
    trial, _ = counted(lambda index: Answer(fit="fits" if index < 3 else "unclear", use=0.99))
    assert search([1, 2, 3, 4, 5], trial, max_trials=9) == Found(best=2, above=3, status="largest")


def test_too_few_trials_leave_the_end_open_and_keep_what_fits() -> None:
    trial, asked = counted(lambda index: Answer(fit="fits" if index < 30 else "misses"))
    found = search(list(range(1, 65)), trial, max_trials=3)
    assert (found.status, len(asked)) == ("open", 3)
    assert found.best is not None and found.best < 30 <= found.above


def test_the_time_is_asked_for_before_every_trial_but_the_first() -> None:
    trial, asked = counted(lambda index: Answer(fit="misses"))
    found = search([1.0, 2.0, 3.0, 4.0], trial, max_trials=9, first=3, ended=lambda: True)
    assert asked == [3] and found == Found(best=None, above=3, status="open")


def test_the_first_size_is_tried_first_however_few_trials_there_are() -> None:
    trial, asked = counted(lambda index: Answer(fit="fits"))
    assert search(list(range(1, 41)), trial, max_trials=1, first=2) == Found(best=2, above=40, status="open")
    assert asked == [2]


@pytest.mark.parametrize(("sizes", "trials"), [(0, 0), (1, 1), (2, 2), (3, 3), (8, 4), (9, 5)])
def test_the_trials_that_suffice_by_hand(sizes: int, trials: int) -> None:
    assert most_trials(sizes) == trials
