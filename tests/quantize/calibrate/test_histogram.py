"""The bins nest, so the counts depend on the elements and on nothing else."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.quantize.calibrate.histogram import BINS, MIDDLE, SMALLEST_LIMIT, Histogram, add, empty, limit_above


def of(*pieces: np.ndarray) -> Histogram:
    """The histogram of all elements of the pieces, one piece after the other."""
    histogram = empty()
    for piece in pieces:
        histogram = add(histogram, piece, low=float(piece.min()), high=float(piece.max()))
    return histogram


def assert_equal(one: Histogram, other: Histogram) -> None:
    assert (one.low, one.high, one.limit, one.n) == (other.low, other.high, other.limit, other.n)
    np.testing.assert_array_equal(one.counts, other.counts)


def test_four_values_fall_into_the_bins_worked_by_hand() -> None:
    # The largest magnitude is 3, so the limit is 4 and a bin is 4 / 4096 wide: -1 is 1,024 bins below the middle.
    histogram = of(np.array([-1.0, 0.0, 1.0, 3.0], dtype=np.float32))
    assert (histogram.low, histogram.high, histogram.limit, histogram.n) == (-1.0, 3.0, 4.0, 4)
    assert np.flatnonzero(histogram.counts).tolist() == [4096 - 1024, 4096, 4096 + 1024, 4096 + 3072]
    assert histogram.edges[4096 + 1024] == 1.0 and histogram.edges[[0, -1]].tolist() == [-4.0, 4.0]


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=40), st.randoms())
def test_the_counts_are_the_same_for_any_pieces_in_any_order(values: list[float], random: object) -> None:
    whole = np.array(values, dtype=np.float32)
    shuffled = np.random.default_rng(0).permutation(whole)
    assert_equal(of(*whole.reshape(-1, 1)), of(whole))
    assert_equal(of(*np.array_split(shuffled, min(3, len(values)))), of(whole))


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 7e4, 1e30])
def test_values_on_the_edges_of_bins_keep_their_bin_when_the_range_doubles(scale: float) -> None:
    unit = math.ldexp(1.0, math.frexp(scale)[1])
    edges = (np.arange(-64, 65) * unit / 64).astype(np.float32)
    grown = of(edges, np.array([5 * unit], dtype=np.float32), np.array([-300 * unit], dtype=np.float32))
    assert_equal(grown, of(np.append(edges, [5 * unit, -300 * unit]).astype(np.float32)))
    inside = np.digitize(np.append(edges, [5 * unit, -300 * unit]), grown.edges) - 1  # edge i <= x < edge i + 1
    np.testing.assert_array_equal(np.bincount(inside, minlength=BINS), grown.counts)


def test_a_one_sided_tensor_just_over_a_power_of_two_has_2048_bins() -> None:
    histogram = of(np.linspace(0, 1.0001, 100_000, dtype=np.float32))
    assert histogram.limit == 2.0
    assert np.count_nonzero(histogram.counts) in (2048, 2049)


@pytest.mark.parametrize(("magnitude", "limit"), [(0.75, 1.0), (1.0, 2.0), (0.0, 2.0**-100), (3e38, 2.0**128)])
def test_the_limit_is_the_next_power_of_two(magnitude: float, limit: float) -> None:
    assert limit_above(magnitude) == limit


def test_zeros_alone_are_one_bin_and_leave_room_for_what_comes() -> None:
    zeros = np.zeros(5, dtype=np.float32)
    assert of(zeros).counts[MIDDLE] == of(zeros).n == 5
    assert of(zeros).limit == SMALLEST_LIMIT
    huge = np.array([1e30, -2e30], dtype=np.float32)
    assert_equal(of(zeros, huge), of(huge, zeros))
    assert np.count_nonzero(of(zeros, huge).counts) == 3


def test_the_extremes_may_lie_beyond_the_samples() -> None:
    histogram = add(empty(), np.array([0.5], dtype=np.float32), low=-9.0, high=1.0)
    assert (histogram.low, histogram.high, histogram.limit, histogram.n) == (-9.0, 1.0, 16.0, 1)


def test_a_weight_counts_each_value_so_often() -> None:
    values = np.array([[0.5, -0.25]], dtype=np.float32)
    assert_equal(add(empty(), values, low=-0.25, high=0.5, weight=3), of(*[values] * 3))


def test_adding_leaves_the_histogram_before_as_it_was() -> None:
    before = of(np.array([1.0], dtype=np.float32))
    add(before, np.array([100.0], dtype=np.float32), low=100.0, high=100.0)
    assert_equal(before, of(np.array([1.0], dtype=np.float32)))
