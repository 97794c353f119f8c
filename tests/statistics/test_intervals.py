"""Intervals agree with the literature and with scipy, hold their estimate, and cover what they claim to cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from edgekd.statistics import latency_quantiles, newcombe_paired, quantile_interval, summarise_quantile, wilson

patient = settings(deadline=None)  # a shared machine may pause at any time
counts = st.integers(0, 300)
rounds = st.lists(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), min_size=1, max_size=4)

# Newcombe 1998, Stat Med 17:2635, table III, method 10, four decimals as printed. The lower end of (1, 97, 1, 1) is
# left out: the paper prints 0.8736 there and 0.8737 for method 8, which its formulas make the same number.
NEWCOMBE_TABLE_III = {
    (36, 12, 2, 0): (0.0569, 0.3404),
    (20, 12, 2, 16): (0.0562, 0.3292),
    (18, 12, 2, 18): (0.0562, 0.3290),
    (36, 14, 0, 0): (0.1528, 0.4167),
    (35, 14, 0, 1): (0.1461, 0.4175),
    (18, 14, 0, 18): (0.1441, 0.3963),
    (2, 97, 1, 0): (0.8721, 0.9854),
    (54, 0, 0, 0): (-0.0664, 0.0664),
    (30, 0, 0, 24): (-0.0358, 0.0358),
}


def test_wilson_gives_the_limits_of_newcombes_worked_example() -> None:
    interval = wilson(81, 263)  # Newcombe 1998, Stat Med 17:857, table I, method 3
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


def test_wilson_of_no_success_in_ten_is_z_squared_over_n_plus_z_squared() -> None:
    interval = wilson(0, 10)  # at p = 0 the formula shrinks to 0 and z^2 / (n + z^2) = 3.841459 / 13.841459
    assert interval.low == 0.0
    assert interval.high == pytest.approx(0.277533, abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (950, 1000), (1000, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_equals_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    interval = wilson(successes, n, confidence)
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)


@patient
@given(counts, counts)
def test_wilson_contains_its_estimate_and_stays_a_fraction(successes: int, failures: int) -> None:
    n = successes + failures + 1
    interval = wilson(successes, n)
    assert successes / n in interval
    assert 0 <= interval.low < interval.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        wilson(successes, n)


def test_a_confidence_of_95_instead_of_0_95_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence is 95"):
        wilson(1, 2, 95)


@pytest.mark.parametrize(("cells", "expected"), NEWCOMBE_TABLE_III.items())
def test_newcombe_gives_the_limits_of_the_papers_table(
    cells: tuple[int, int, int, int], expected: tuple[float, float]
) -> None:
    interval = newcombe_paired(*cells)
    assert (round(interval.low, 4), round(interval.high, 4)) == expected


@patient
@given(counts, counts, counts, counts)
def test_newcombe_contains_the_difference_and_turns_with_its_sign(a: int, b: int, c: int, d: int) -> None:
    interval, turned = newcombe_paired(a, b, c, d + 1), newcombe_paired(a, c, b, d + 1)
    assert (b - c) / (a + b + c + d + 1) in interval
    assert -1 <= interval.low < interval.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-interval.high, -interval.low), abs=1e-12)


def test_newcombe_covers_the_true_difference_in_about_95_of_100_experiments() -> None:
    # 500 images, 90 % and 89 % right, mostly on the same ones. 2,000 experiments: standard error 0.5 points;
    # the bounds are 4 of them below nominal, and above it nothing more than the paper's own 'mildly conservative'.
    generator = np.random.default_rng(0)
    tables = generator.multinomial(500, [0.87, 0.03, 0.02, 0.08], size=2_000)
    covered = np.mean([0.01 in newcombe_paired(*(int(cell) for cell in table)) for table in tables])
    assert 0.93 <= covered <= 0.985


def test_the_median_of_ten_samples_lies_between_the_second_and_the_ninth() -> None:
    # P(Bin(10, 1/2) <= 1) = 11/1024 = 0.011 <= 0.025 < P(<= 2) = 56/1024: ranks 2 and 9, the tables' classic.
    interval = quantile_interval([30, 10, 20, 50, 40, 100, 90, 60, 80, 70], 0.5)
    assert (interval.low, interval.high) == (20.0, 90.0)


@patient
@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_ranks_leave_at_most_the_tail_on_each_side(n: int, q: float) -> None:
    interval = quantile_interval(np.arange(1, n + 1), q)  # each sample is its own rank
    if math.isfinite(interval.low):
        assert binom.cdf(interval.low - 1, n, q) <= 0.5  # the low rank is not past the quantile
        assert 1 - binom.cdf(interval.low - 1, n, q) >= 0.975  # P(X_low <= quantile)
    if math.isfinite(interval.high):
        assert binom.cdf(interval.high - 1, n, q) >= 0.975  # P(X_high >= quantile)


def test_an_end_that_few_samples_cannot_bound_is_infinite() -> None:
    # 0.9^35 = 0.0250 > 0.025 >= 0.9^36 = 0.0225: the 90th percentile needs 36 samples
    assert quantile_interval(range(1, 36), 0.9).high == math.inf
    assert quantile_interval(range(1, 37), 0.9).high == 36
    assert quantile_interval(range(1, 6), 0.5).low == -math.inf


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_the_quantile_interval_covers_the_true_quantile_of_a_skewed_distribution(q: float) -> None:
    generator = np.random.default_rng(1)
    true = -math.log(1 - q)  # of the unit exponential
    covered = np.mean([true in quantile_interval(sample, q) for sample in generator.exponential(size=(1_000, 100))])
    assert covered >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 1_000)


@patient
@given(rounds, st.sampled_from([0.5, 0.9]))
def test_a_summary_holds_its_value_the_pooled_interval_and_every_round(samples: list[list[int]], q: float) -> None:
    value, low, high = summarise_quantile(samples, q)
    together = np.concatenate(samples)
    pooled = quantile_interval(together, q)
    assert value == pytest.approx(np.quantile(together, q))
    assert low <= min(value, pooled.low) <= max(value, pooled.high) <= high
    assert all(low <= np.quantile(one, q) <= high for one in samples)


def test_rounds_that_disagree_widen_the_interval_that_pooling_would_hide() -> None:
    quiet, loud = [100] * 500, [130] * 400
    assert quantile_interval(quiet + loud, 0.5).high == 100.0
    assert summarise_quantile([quiet, loud], 0.5) == (100.0, 100.0, 130.0)


def test_p99_needs_a_thousand_pooled_samples() -> None:
    with pytest.raises(ValueError, match="needs 1,000 samples, got 999"):
        summarise_quantile([[5] * 500, [5] * 499], 0.99)
    assert summarise_quantile([[5] * 500, [5] * 500], 0.99) == (5.0, 5.0, 5.0)


@pytest.mark.parametrize("samples", [[], [[]], [[1], []]])
def test_a_round_without_samples_is_refused(samples: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise_quantile(samples, 0.5)
    with pytest.raises(ValueError, match="no samples"):
        latency_quantiles(samples)


def test_latency_quantiles_are_milliseconds_and_none_where_there_is_no_number() -> None:
    summary = latency_quantiles([[1_000_000] * 10, [3_000_000] * 10])
    assert summary["p50_ms"] == 2.0
    assert (summary["p50_low"], summary["p50_high"]) == (1.0, 3.0)
    assert summary["p90_ms"] == 3.0
    assert summary["p90_high"] is None
    assert summary["p99_ms"] is summary["p99_low"] is summary["p99_high"] is None
    assert latency_quantiles([[2_000_000] * 1_000])["p99_ms"] == 2.0
