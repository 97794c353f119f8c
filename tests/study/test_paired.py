"""Intervals of paired differences."""

import numpy as np
import pytest
from scipy import stats

from edgekd.statistics import newcombe_paired
from edgekd.study.paired import mean_interval, on_test, paired


def test_the_interval_is_that_of_scipy_s_paired_t_test() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(0.85, 0.01, 7), draw.normal(0.84, 0.01, 7)
    ours = paired(a.tolist(), b.tolist())
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert ours.interval is not None
    assert (ours.interval.low, ours.interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert ours.pairs == 7


def test_three_seeds_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, sd 1, standard error 1/sqrt(3); t(0.975, 2) = 4.30265 by any table.
    found = paired([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])
    assert found.difference == 2 and found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((-0.48414, 4.48414), abs=1e-4)
    assert found.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((0.90, 0.91, 0.92), (0.80, 0.80, 0.81), "beats"),
        ((0.80, 0.80, 0.81), (0.90, 0.91, 0.92), "loses"),
        ((0.80, 0.85), (0.81, 0.84), "no difference shown"),
        ((0.9,), (0.8,), "not judged"),
        ((0.7, 0.8, 0.9), (0.6, 0.7, 0.8), "not judged"),  # all differ by a tenth: no spread to judge by
    ],
)
def test_a_verdict_follows_from_the_interval_alone(a: tuple[float, ...], b: tuple[float, ...], verdict: str) -> None:
    assert paired(a, b).verdict == verdict


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    intervals = [mean_interval(draw.normal(3.0, 2.0, 4).tolist()) for _ in range(1000)]
    covered = sum(interval is not None and 3.0 in interval for interval in intervals)
    assert 926 <= covered <= 974  # 950 +- 3.5 binomial standard deviations of 6.9


def test_no_values_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
    with pytest.raises(ValueError, match="shorter"):
        paired([0.5, 0.6], [0.5])


def test_one_pair_of_students_is_compared_on_its_test_samples() -> None:
    labels = np.array([0, 0, 1, 1, 2], dtype=np.int64)
    # a is right on samples 0, 1, 2, 4, b on 0, 3, 4: both on two, a alone on two, b alone on one, neither on none.
    assert on_test([0, 0, 1, 0, 2], [0, 1, 0, 1, 2], labels) == newcombe_paired(2, 2, 1, 0)
