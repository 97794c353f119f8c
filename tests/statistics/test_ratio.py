"""The interval of a ratio of quantiles: what it is of, how it turns and scales, and how often it misses the truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.statistics import FEWEST_CYCLES, ratio_of_quantiles

from .simulated import Noise, cycles, missed

patient = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 10_000)
quantiles = st.sampled_from([0.5, 0.9])


def tolerated(error: float, reps: int) -> float:
    """The error, and four standard errors of a share of so many simulations."""
    return error + 4 * math.sqrt(error / reps)


def test_the_value_is_the_pooled_medians_ratio() -> None:
    # pooled medians of 10, 20, 30, 60 and of 10, 20, 40: 25 and 20
    ratio = ratio_of_quantiles([[10, 30], [60, 20]], [[10], [20, 40]], error=0.025)
    assert ratio.value == 25 / 20


def test_cycles_that_all_agree_leave_no_width() -> None:
    ratio = ratio_of_quantiles([[12, 12]] * 8, [[10, 10, 10]] * 8, error=0.025)
    assert (ratio.low, ratio.value, ratio.high) == (1.2, 1.2, 1.2)


def test_the_width_is_that_worked_by_hand_for_two_kinds_of_cycles() -> None:
    # 50 cycles of 100 ns and 50 of 121. A resample has K of the latter, K ~ Bin(100, 1/2), and its 0.75-quantile lies
    # the share 1 - 25 / K of the way from 100 to 121 in logarithms, which has the standard deviation 5 * 25 / 50^2 =
    # 0.05 ways. One way is ln 1.21 = 0.19062; t of 99 degrees of freedom is 1.98422, times sqrt(100 / 99) 1.99422:
    # 1.99422 * 0.05 * 0.19062 = 0.01901. The spread of 1,000 resamples is known to 3 %; 4 of those.
    ratio = ratio_of_quantiles([[100] * 40, [121] * 40] * 50, [[100] * 40] * 100, 0.75, error=0.025)
    assert ratio.value == 1.21
    assert math.log(ratio.high / ratio.value) == pytest.approx(0.01901, rel=0.12)
    assert math.log(ratio.value / ratio.low) == pytest.approx(0.01901, rel=0.12)


def test_fewer_than_eight_cycles_bound_nothing() -> None:
    few = ratio_of_quantiles([[100] * 50] * (FEWEST_CYCLES - 1), [[100] * 50] * (FEWEST_CYCLES - 1), error=0.025)
    assert (few.low, few.value, few.high) == (0.0, 1.0, math.inf)


@patient
@given(seeds, st.integers(8, 20), quantiles)
def test_the_interval_holds_the_value_and_widens_as_the_error_shrinks(seed: int, count: int, q: float) -> None:
    new, base = cycles(np.random.default_rng(seed), count, "disturbed")
    wide, narrow = (ratio_of_quantiles(new, base, q, error=error) for error in (0.0005, 0.025))
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high


@patient
@given(seeds, st.integers(8, 20), quantiles)
def test_files_that_change_places_give_the_reciprocal(seed: int, count: int, q: float) -> None:
    new, base = cycles(np.random.default_rng(seed), count, "half disturbed")
    ratio, turned = ratio_of_quantiles(new, base, q, error=0.01), ratio_of_quantiles(base, new, q, error=0.01)
    assert (turned.low, turned.value, turned.high) == pytest.approx((1 / ratio.high, 1 / ratio.value, 1 / ratio.low))


@patient
@given(seeds, st.integers(2, 1_000), quantiles)
def test_the_unit_of_both_does_not_matter_and_that_of_one_multiplies(seed: int, unit: int, q: float) -> None:
    new, base = cycles(np.random.default_rng(seed), 12, "disturbed")
    ratio = ratio_of_quantiles(new, base, q, error=0.01)
    same = ratio_of_quantiles(new * unit, base * unit, q, error=0.01)
    times = ratio_of_quantiles(new * unit, base, q, error=0.01)
    assert (same.low, same.value, same.high) == pytest.approx((ratio.low, ratio.value, ratio.high), rel=1e-9)
    assert (times.low / unit, times.value / unit, times.high / unit) == pytest.approx(
        (ratio.low, ratio.value, ratio.high), rel=1e-9
    )


def test_equal_arguments_give_equal_intervals_and_another_seed_nearly_so() -> None:
    new, base = cycles(np.random.default_rng(0), 30, "disturbed")
    first, again, other = (ratio_of_quantiles(new, base, error=0.025, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    # The spread of 1,000 resamples is known to 3 %; 5 of those.
    assert math.log(other.high / other.value) == pytest.approx(math.log(first.high / first.value), rel=0.15)


def test_lists_tuples_and_arrays_of_the_same_samples_are_the_same() -> None:
    new, base = cycles(np.random.default_rng(0), 10, "log-normal")
    lists = ratio_of_quantiles([list(map(int, c)) for c in new], [tuple(map(int, c)) for c in base], error=0.025)
    assert lists == ratio_of_quantiles(new, base, error=0.025)


def test_what_slows_both_files_down_in_a_cycle_does_not_widen_the_interval_as_what_hits_one_does() -> None:
    generator = np.random.default_rng(0)
    mood = generator.lognormal(0, 0.1, (30, 1))
    own = generator.lognormal(0, 0.01, (3, 30, 40)) * 1e6
    new, base, alone = ((own[k] * (mood if k < 2 else mood[::-1])).astype(np.int64) for k in range(3))
    together, apart = ratio_of_quantiles(new, base, error=0.025), ratio_of_quantiles(new, alone, error=0.025)
    assert together.high - together.low < 0.5 * (apart.high - apart.low)


@pytest.mark.parametrize(
    ("new", "base", "message"),
    [
        ([], [], "expected equally many, at least 1"),
        ([[1]], [[1], [1]], "1 cycles of new and 2 of base"),
        ([[1], []], [[1], [1]], "no samples"),
        ([[1], [0]], [[1], [1]], "not positive"),
    ],
)
def test_cycles_that_make_no_ratio_are_refused(new: list[list[int]], base: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_of_quantiles(new, base, error=0.025)


@pytest.mark.parametrize(("q", "error"), [(0.0, 0.1), (1.0, 0.1), (0.5, 0.0), (0.5, 0.5)])
def test_a_quantile_or_error_out_of_range_is_refused(q: float, error: float) -> None:
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        ratio_of_quantiles([[1]] * 8, [[1]] * 8, q, error=error)


@pytest.mark.parametrize("noise", ["log-normal", "disturbed"])
def test_each_end_misses_the_true_ratio_no_more_often_than_it_may(noise: Noise) -> None:
    for side in missed(200, 8, noise, 0.5, 0.025):
        assert side <= tolerated(0.025, 200)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["log-normal", "disturbed", "half disturbed"])
@pytest.mark.parametrize(("count", "reps"), [(8, 1_500), (27, 400)])
@pytest.mark.parametrize("q", [0.5, 0.9])
def test_the_ends_keep_their_error_from_8_cycles_on_and_for_the_quantile_on_the_edge_of_the_disturbed(
    noise: Noise, count: int, reps: int, q: float
) -> None:
    for error in (0.025, 0.004) if count == 8 else (0.025,):
        for side in missed(reps, count, noise, q, error):
            assert side <= tolerated(error, reps)


@pytest.mark.slow
def test_an_error_of_one_in_two_thousand_is_kept_with_eight_cycles() -> None:
    for side in missed(4_000, 8, "disturbed", 0.5, 0.0005):
        assert side <= tolerated(0.0005, 4_000)
