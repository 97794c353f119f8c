"""Exact tests of disagreement, and how many samples would decide. Newcombe's interval itself: test_intervals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from edgekd.statistics import (
    mcnemar,
    newcombe_paired,
    samples_to_decide,
    samples_to_decide_proportion,
    wilson,
)

patient = settings(deadline=None)
counts = st.integers(0, 200)


def test_one_against_nine_is_22_of_1024() -> None:
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(22 / 1024)  # 2 * (1 + 10) / 2^10
    assert mcnemar(0, 5) == pytest.approx(2 / 32)


def test_files_that_never_disagree_or_evenly_so_are_no_evidence() -> None:
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1.0


@patient
@given(counts, counts)
def test_mcnemar_is_scipys_exact_binomial_test(only_a: int, only_b: int) -> None:
    if only_a + only_b:
        assert mcnemar(only_a, only_b) == pytest.approx(binomtest(only_a, only_a + only_b).pvalue, abs=1e-12)


def test_negative_disagreements_are_refused() -> None:
    with pytest.raises(ValueError, match="expected none below 0"):
        mcnemar(-1, 3)


def test_all_right_so_far_shows_99_percent_after_381_samples() -> None:
    # Wilson's low end of n out of n is n / (n + z^2), so n >= 99 * 3.841459 = 380.3
    assert samples_to_decide_proportion(100, 100, 0.99) == 381


def test_a_rate_on_the_limit_is_never_decided() -> None:
    assert samples_to_decide_proportion(90, 100, 0.9) is None
    assert samples_to_decide(900, 30, 20, 50, 0.01) is None
    assert samples_to_decide_proportion(100, 100, 1.0) is None


def test_what_is_decided_needs_no_more_samples_than_it_has() -> None:
    assert samples_to_decide_proportion(90, 100, 0.5) == 100
    assert samples_to_decide(900, 30, 20, 50, 0.1) == 1_000


@patient
@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 100))
def test_so_many_samples_at_the_same_rate_do_decide_and_few_less_do_not(
    successes: int, failures: int, percent: int
) -> None:
    n, limit = successes + failures, percent / 100
    total = samples_to_decide_proportion(successes, n, limit)
    if total is None:
        assert abs(successes / n - limit) < 1e-6
        return
    assert total >= n
    times = -(-total // n)  # a whole multiple keeps the rate
    enough = wilson(successes * times, n * times)
    assert not enough.low < limit < enough.high
    if times > 2:
        short = wilson(successes * (times - 1), n * (times - 1))
        assert short.low < limit < short.high


@patient
@given(counts, counts, counts, counts, st.integers(-20, 20))
def test_so_many_pairs_at_the_same_rates_do_decide(a: int, b: int, c: int, d: int, percent: int) -> None:
    n, limit = a + b + c + d + 1, percent / 100
    total = samples_to_decide(a, b, c, d + 1, limit)
    if total is None:
        assert abs((b - c) / n - limit) < 1e-5
        return
    assert total >= n
    times = -(-total // n)
    enough = newcombe_paired(a * times, b * times, c * times, (d + 1) * times)
    assert not enough.low < limit < enough.high


def test_a_drop_closer_to_the_limit_needs_more_samples_by_the_square() -> None:
    # drop 1 %: to 2 % it is twice as far as to 1.5 %
    near, far = samples_to_decide(900, 30, 20, 50, 0.015), samples_to_decide(900, 30, 20, 50, 0.02)
    assert near is not None
    assert far is not None
    assert near / far == pytest.approx(4, rel=0.05)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="expected none below 0"):
        samples_to_decide(-1, 0, 0, 10, 0.01)
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        samples_to_decide_proportion(11, 10, 0.9)
    with pytest.raises(ValueError, match="confidence is 95"):
        samples_to_decide(10, 1, 1, 10, 0.01, 95)
