"""The looks, what they may err together, and how often the whole rule is wrong on files whose ratio is known."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.statistics import DESIGNED_ERROR, decide, error_at, look_after, next_look

from .simulated import Noise, verdicts


def looks(most: int) -> list[int]:
    found = [next_look(0)]
    while next_look(found[-1]) <= most:
        found.append(next_look(found[-1]))
    return found


def test_looks_come_after_8_12_18_27_cycles_and_half_as_many_again_each() -> None:
    assert looks(200) == [8, 12, 18, 27, 40, 60, 90, 135]
    assert [look_after(cycles) for cycles in (0, 1, 7, 8, 9, 12, 27, 40, 41)] == [
        None,
        None,
        None,
        1,
        None,
        2,
        4,
        5,
        None,
    ]


@given(st.integers(0, 5_000))
def test_the_next_look_is_later_and_is_a_look_and_none_lies_between(cycles: int) -> None:
    following = next_look(cycles)
    assert following > cycles
    assert look_after(following) is not None
    assert all(look_after(between) is None for between in range(cycles + 1, min(following, cycles + 200)))


def test_the_first_looks_spend_a_half_a_sixth_and_a_twelfth() -> None:
    assert [error_at(k, designed=0.024) for k in (1, 2, 3)] == pytest.approx([0.012, 0.004, 0.002])


def test_all_looks_together_never_spend_more_than_was_designed() -> None:
    # 1/(k(k+1)) telescopes: k looks spend 1 - 1/(k+1) exactly
    for count in (1, 10, 1_000):
        assert sum(Fraction(1, k * (k + 1)) for k in range(1, count + 1)) == 1 - Fraction(1, count + 1)
    assert math.fsum(error_at(k) for k in range(1, 10_000)) < DESIGNED_ERROR


@pytest.mark.parametrize(("look", "designed"), [(0, 0.025), (-1, 0.025), (1, 0.0), (1, 0.5)])
def test_a_look_zero_or_an_error_out_of_range_is_refused(look: int, designed: float) -> None:
    with pytest.raises(ValueError, match="expected a look from 1 on"):
        error_at(look, designed=designed)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.9, 1.05, "pass"),
        (1.05, 1.05, "pass"),
        (0.9, 1.06, "inconclusive"),
        (1.05, 1.2, "inconclusive"),
        (1.06, 1.2, "fail"),
        (0.0, math.inf, "inconclusive"),
        (math.nan, 1.0, "inconclusive"),
        (1.2, math.nan, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_an_interval_passes_wholly_up_to_the_limit_and_fails_wholly_above(
    low: float, high: float, verdict: str
) -> None:
    assert decide(low, high, 1.05) == verdict


def test_nothing_passes_or_fails_a_limit_that_is_no_number() -> None:
    assert decide(0.9, 1.0, math.nan) == "inconclusive"


def test_clear_cases_are_decided_rightly_within_a_few_looks() -> None:
    same, cycles = verdicts(60, "log-normal", ratio=1.0, limit=1.05, most=40)
    assert same["pass"] >= 0.95
    assert same["fail"] == 0
    assert cycles <= 12
    slower, cycles = verdicts(60, "log-normal", ratio=1.1, limit=1.05, most=40)
    assert slower["fail"] >= 0.95
    assert slower["pass"] == 0
    assert cycles <= 12


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["log-normal", "disturbed", "half disturbed"])
def test_a_file_exactly_on_the_limit_passes_and_fails_no_more_often_than_designed(noise: Noise) -> None:
    found, _ = verdicts(200, noise, ratio=1.05, limit=1.05, most=60)
    tolerance = 4 * math.sqrt(DESIGNED_ERROR / 200)
    assert found["pass"] <= DESIGNED_ERROR + tolerance
    assert found["fail"] <= DESIGNED_ERROR + tolerance


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "right", "wrong"), [(1.0, "pass", "fail"), (1.1, "fail", "pass")])
def test_files_off_the_limit_get_their_verdict_on_a_disturbed_machine(ratio: float, right: str, wrong: str) -> None:
    found, cycles = verdicts(300, "disturbed", ratio=ratio, limit=1.05, most=90)
    assert found[right] >= 0.99
    assert found[wrong] == 0
    assert cycles <= 18
