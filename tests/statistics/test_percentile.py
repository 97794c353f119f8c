"""Budgets of a percentile: LoadGen's bound, both ways, and samples that are late together."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from edgekd.statistics import (
    budget_verdict,
    effective_samples,
    fewest_samples,
    percentile_bounds,
    percentile_verdict,
    quantile_interval,
)

patient = settings(deadline=None, max_examples=40)
fractions = st.sampled_from([0.5, 0.9, 0.99])
errors = st.sampled_from([0.025, 0.004, 0.0005])


def test_a_pass_needs_36_samples_of_p90_and_368_of_p99() -> None:
    # 0.9^35 = 0.0250 > 0.025 >= 0.9^36 = 0.0225; 0.99^367 = 0.02501, 0.99^368 = 0.02476
    assert (fewest_samples(0.9, error=0.025), fewest_samples(0.99, error=0.025)) == (36, 368)
    assert fewest_samples(0.5, error=1 / 32) == 5


def test_mlperfs_99_percent_confidence_of_p90_needs_44_samples_none_late_and_64_with_one() -> None:
    # its rules count 64 queries as the least of p90: one of them is left out; 0.9^64 + 64 * 0.1 * 0.9^63 = 0.0096
    assert fewest_samples(0.9, error=0.01) == 44
    assert percentile_verdict(1, 64, 0.9, error=0.01) == "pass"
    assert percentile_verdict(1, 63, 0.9, error=0.01) == "inconclusive"


@pytest.mark.parametrize(
    ("late", "n", "verdict"),
    [
        (0, 35, "inconclusive"),
        (0, 36, "pass"),
        (3, 100, "pass"),  # P(X <= 3) = 0.0078, X ~ Bin(100, 0.1)
        (4, 100, "pass"),  # 0.0237
        (5, 100, "inconclusive"),  # 0.0576
        (16, 100, "inconclusive"),  # P(X >= 16) = 0.0399
        (17, 100, "fail"),  # 0.0206
        (2, 2, "fail"),  # 0.1^2 = 0.01
        (1, 1, "inconclusive"),
    ],
)
def test_p90_is_judged_by_binomial_tails(late: int, n: int, verdict: str) -> None:
    assert percentile_verdict(late, n, 0.9, error=0.025) == verdict


@patient
@given(st.integers(1, 2_000), st.floats(0, 1), fractions, errors)
def test_verdicts_are_scipys_binomial_tails(n: int, share: float, q: float, error: float) -> None:
    late = round(share * n)
    so_few, so_many = binom.cdf(late, n, 1 - q), binom.sf(late - 1, n, 1 - q)
    expected = "pass" if so_few <= error else "fail" if so_many <= error else "inconclusive"
    assert percentile_verdict(late, n, q, error=error) == expected


@patient
@given(fractions, errors)
def test_a_pass_is_possible_from_the_fewest_samples_on_and_not_before(q: float, error: float) -> None:
    fewest = fewest_samples(q, error=error)
    assert percentile_verdict(0, fewest, q, error=error) == "pass"
    assert fewest == 1 or percentile_verdict(0, fewest - 1, q, error=error) == "inconclusive"
    assert percentile_bounds(range(fewest), q, error=error).high < math.inf
    assert fewest == 1 or percentile_bounds(range(fewest - 1), q, error=error).high == math.inf


@pytest.mark.parametrize(("late", "n"), [(-1, 10), (11, 10), (0, 0), (math.nan, 10)])
def test_impossible_counts_are_refused(late: float, n: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= late <= n"):
        percentile_verdict(late, n, 0.9, error=0.025)


@patient
@given(st.integers(1, 500), fractions)
def test_bounds_of_independent_samples_are_the_order_statistics_of_the_interval(n: int, q: float) -> None:
    samples = np.random.default_rng(n).permutation(n)
    assert percentile_bounds(samples, q, error=0.025) == quantile_interval(samples, q, 0.95)


@patient
@given(st.integers(1, 500), st.floats(0.01, 1), fractions)
def test_samples_that_are_worth_less_bound_wider(n: int, worth: float, q: float) -> None:
    samples = range(n)
    whole = percentile_bounds(samples, q, error=0.025)
    part = percentile_bounds(samples, q, error=0.025, effective=worth * n)
    assert part.low <= whole.low
    assert part.high >= whole.high


def test_samples_worth_half_as_many_take_the_ranks_of_half_as_many() -> None:
    # ranks of 100: 40 and 61 (P(Bin(100, 1/2) <= 39) = 0.0176, <= 40 = 0.0284); each
    # stands for two of 200: the outer ones are 79 and 122
    bounds = percentile_bounds(range(1, 201), 0.5, error=0.025, effective=100)
    assert (bounds.low, bounds.high) == (79, 122)


@pytest.mark.parametrize(("samples", "effective"), [([], None), ([1.0], 2.0), ([1.0], 0.0)])
def test_bounds_of_nothing_or_of_more_than_there_is_are_refused(samples: list[float], effective: float | None) -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        percentile_bounds(samples, 0.9, error=0.025, effective=effective)


def test_the_design_effect_is_that_worked_by_hand() -> None:
    # 4 blocks of 10, late 5, 5, 0, 0: share 1/4; variance between 4/3 * (4 * 2.5^2) / 40^2 = 0.0208333, of independent
    # samples 0.1875 / 40 = 0.0046875: effect 4.4444, 9 samples. Few blocks: (1.959964 / 3.182446)^2 = 0.379289
    assert effective_samples([5, 5, 0, 0], [10] * 4) == pytest.approx(9 * 0.379289, rel=1e-5)


def test_blocks_that_are_late_as_a_whole_are_worth_about_a_sample_each() -> None:
    worth = effective_samples([20] * 10 + [0] * 90, [20] * 100)
    assert 95 <= worth <= 100


def test_one_block_is_worth_one_sample_because_nothing_tells_how_its_samples_agree() -> None:
    assert effective_samples([3], [1_000]) == 1.0


@patient
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).filter(lambda b: sum(b) > 0), min_size=1, max_size=40)
)
def test_blocks_are_never_worth_more_than_their_samples(blocks: list[tuple[int, int]]) -> None:
    late, sizes = [late for late, _ in blocks], [sum(block) for block in blocks]
    assert 0 < effective_samples(late, sizes) <= sum(sizes)


@pytest.mark.parametrize(("late", "sizes"), [([], []), ([1], [2, 2]), ([3], [2]), ([-1], [2]), ([0], [0])])
def test_impossible_blocks_are_refused(late: list[int], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= late <= size"):
        effective_samples(late, sizes)


def test_a_budget_passes_and_fails_and_waits_for_samples() -> None:
    generator = np.random.default_rng(0)
    blocks = list(generator.normal(3.0, 0.1, (20, 20)))
    assert budget_verdict(blocks, 4.0, 0.9, error=0.025) == "pass"
    assert budget_verdict(blocks, 3.0, 0.9, error=0.025) == "fail"
    assert budget_verdict(blocks, float(np.quantile(blocks, 0.9)), 0.9, error=0.025) == "inconclusive"
    assert budget_verdict(blocks[:1], 4.0, 0.9, error=0.025) == "inconclusive"
    with pytest.raises(ValueError, match="no samples in a block"):
        budget_verdict([[1.0], []], 4.0, 0.9, error=0.025)


def wrong(reps: int, blocks: int, q: float, error: float, spread: float) -> tuple[float, float]:
    """The shares of passes and fails at a limit that is the true q-quantile; `spread` apart from block to block."""
    generator = np.random.default_rng(5)
    latencies = generator.normal(size=(reps, blocks, 1)) * spread + generator.normal(size=(reps, blocks, 20))
    limit = math.sqrt(1 + spread**2) * {0.5: 0.0, 0.9: 1.2815516}[q]  # the sum of two normals is one
    found = [budget_verdict(list(one), limit, q, error=error) for one in latencies]
    return found.count("pass") / reps, found.count("fail") / reps


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_limit_that_is_the_true_percentile_is_decided_as_seldom_as_designed(spread: float) -> None:
    for share in wrong(250, 20, 0.9, 0.025, spread):
        assert share <= 0.025 + 4 * math.sqrt(0.025 / 250)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("blocks", [8, 40])
@pytest.mark.parametrize("q", [0.5, 0.9])
def test_errors_are_kept_however_much_the_samples_of_a_block_agree(spread: float, blocks: int, q: float) -> None:
    for error in (0.025, 0.004):
        for share in wrong(1_500, blocks, q, error, spread):
            assert share <= error + 4 * math.sqrt(error / 1_500)
