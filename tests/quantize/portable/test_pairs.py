"""Pair sums by hand and by brute force; safe ranges never overflow, never waste, and are what ONNX Runtime rounds."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekd.quantize.portable.pairs import (
    PAIR_MAX,
    Pairing,
    channel_pair_sums,
    neighbours,
    orders,
    safe_ranges,
    to_integers,
    weight_pair_sum,
)

EXTREMES = (0, 255)


def row(*weights: int) -> npt.NDArray[np.int8]:
    return np.array([weights], dtype=np.int8)


def test_two_neighbours_of_one_sign_count_together() -> None:
    assert weight_pair_sum(row(100, 50, -3), op_type="Gemm") == 255 * 150


def test_neighbours_of_different_signs_do_not_add_up() -> None:
    assert weight_pair_sum(row(127, -128, 127), op_type="Gemm") == 255 * 128


def test_128_is_the_most_that_two_neighbours_may_weigh() -> None:
    assert weight_pair_sum(row(64, 64), op_type="MatMul") <= PAIR_MAX < weight_pair_sum(row(64, 65), op_type="MatMul")


def test_a_single_weight_cannot_overflow() -> None:
    assert weight_pair_sum(row(-128), op_type="Gemm") == 255 * 128 <= PAIR_MAX


def test_a_convolution_is_looked_at_in_both_orders_of_its_reduction() -> None:
    kernel_first, inputs_first = np.zeros((2, 1, 2, 1, 3), dtype=np.int8)
    kernel_first[0, :, 0, 0] = 100  # neighbours when the inputs run fastest
    inputs_first[0, 0, 0, :2] = 100  # neighbours when the kernel runs fastest
    for weight in (kernel_first, inputs_first):
        assert weight_pair_sum(weight, op_type="Conv") == 255 * 200


def test_the_kernels_own_order_comes_first() -> None:
    weight = np.arange(6, dtype=np.int8).reshape(1, 2, 1, 3)
    first, second = orders(weight, op_type="Conv")
    np.testing.assert_array_equal(first, [[0, 3, 1, 4, 2, 5]])
    np.testing.assert_array_equal(second, [[0, 1, 2, 3, 4, 5]])


def test_a_depthwise_convolution_takes_no_pair_sums_but_one_with_two_outputs_a_group_does() -> None:
    weight = np.full((8, 1, 3, 3), 127, dtype=np.int8)
    assert weight_pair_sum(weight, op_type="Conv", group=8) == 0
    assert weight_pair_sum(weight, op_type="Conv", group=4) == 255 * 254


@given(arrays.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(2, 6))))
def test_no_activations_do_worse_than_the_bound_and_some_reach_it(weight: npt.NDArray[np.int8]) -> None:
    bound = channel_pair_sums(weight, op_type="Gemm")
    wide = weight.astype(int)
    reached = [
        np.abs(a * wide[:, k] + b * wide[:, k + 1])
        for k in range(weight.shape[1] - 1)
        for a, b in itertools.product(EXTREMES, EXTREMES)
    ]
    np.testing.assert_array_equal(np.max(reached, axis=0), bound)


floats = st.floats(-8, 8, width=32, allow_subnormal=False)
matrices = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=floats)
kernels = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)), elements=floats
)


def check_safe(weight: npt.NDArray[np.float32], op_type: str, pairing: Pairing) -> None:
    """Fits, at most doubled, and one float32 less would not do unless it is max|w| itself."""

    def sums(limits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        integers = to_integers(weight, limits.reshape(-1, *[1] * (weight.ndim - 1)))
        return channel_pair_sums(integers, op_type=op_type, pairing=pairing)

    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    ranges = safe_ranges(weight, op_type=op_type, pairing=pairing)
    assert ranges.dtype == np.float32
    assert (sums(ranges) <= PAIR_MAX).all()
    assert (ranges >= largest).all()
    assert (ranges <= 2 * largest).all()
    less = np.nextafter(ranges, np.float32(0))
    assert ((sums(less) > PAIR_MAX) | (ranges == largest)).all()


pairings = st.sampled_from(("any", "kernel"))


@given(matrices, pairings)
def test_a_safe_range_fits_is_at_most_doubled_and_the_smallest_that_does(
    weight: npt.NDArray[np.float32], pairing: Pairing
) -> None:
    check_safe(weight, "Gemm", pairing)


@given(kernels, pairings)
def test_so_is_that_of_a_convolution(weight: npt.NDArray[np.float32], pairing: Pairing) -> None:
    check_safe(weight, "Conv", pairing)


def test_trained_looking_weights_need_less_than_seven_bits_lose() -> None:
    weight = np.random.default_rng(0).normal(size=(64, 576)).astype(np.float32)
    widening = safe_ranges(weight, op_type="Gemm") / np.abs(weight).max(axis=1)
    assert 1 <= np.median(widening) < 1.6
    assert widening.max() < 2


def test_the_worst_weights_need_seven_bits() -> None:
    weight = np.full((1, 4), 0.3, dtype=np.float32)
    integers = to_integers(weight, safe_ranges(weight, op_type="Gemm")[:, None])
    np.testing.assert_array_equal(integers, 64)


@pytest.mark.parametrize(
    ("shape", "op_type", "group"),
    [((16, 1, 3, 3), "Conv", 16), ((4, 1), "Gemm", 1), ((4, 3, 2, 2), "ConvTranspose", 1)],
    ids=["depthwise", "K = 1", "no int8 kernel"],
)
def test_a_layer_that_cannot_saturate_keeps_its_eight_bits(shape: tuple[int, ...], op_type: str, group: int) -> None:
    weight = np.full(shape, -0.5, dtype=np.float32)
    np.testing.assert_array_equal(safe_ranges(weight, op_type=op_type, group=group), 0.5)


def test_a_channel_of_zeros_has_range_zero() -> None:
    weight = np.zeros((2, 4), dtype=np.float32)
    np.testing.assert_array_equal(safe_ranges(weight, op_type="Gemm"), 0)
    np.testing.assert_array_equal(to_integers(weight, np.zeros((2, 1), dtype=np.float32)), 0)


@given(matrices, st.floats(1, 2, width=32))
def test_integers_are_rounded_as_onnx_runtime_rounds_them(weight: npt.NDArray[np.float32], widening: float) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import quantize_data

    limit = np.float32(np.abs(weight).max() * np.float32(widening))
    _, _, expected = quantize_data(weight.ravel(), TensorProto.INT8, True, rmin_override=-limit, rmax_override=limit)
    np.testing.assert_array_equal(to_integers(weight, np.array(limit)).ravel(), expected)


def test_the_kernels_pair_only_even_places_of_their_own_order() -> None:
    weight = np.arange(1, 11, dtype=np.int8).reshape(1, 5, 1, 2)
    ((left, right),) = neighbours(weight, op_type="Conv", pairing="kernel")
    np.testing.assert_array_equal(left, [[1, 5, 9, 4, 8]])
    np.testing.assert_array_equal(right, [[3, 7, 2, 6, 10]])
    assert len(list(neighbours(weight, op_type="Conv", pairing="any"))) == 2


def test_a_last_weight_without_a_neighbour_stands_beside_zero() -> None:
    for pairing in ("any", "kernel"):
        ((left, right),) = neighbours(row(5, 6, 7), op_type="Gemm", pairing=pairing)
        assert (left[0, -1], right[0, -1]) == (7, 0)


@given(kernels)
def test_the_kernels_pairs_need_no_wider_range_than_any_pairs(weight: npt.NDArray[np.float32]) -> None:
    theirs = safe_ranges(weight, op_type="Conv", pairing="kernel")
    assert (theirs <= safe_ranges(weight, op_type="Conv")).all()
