"""16-bit sums of neighbouring int8 weights, and weight ranges of which no such sum can overflow.

Where an x86 CPU lacks VNNI, ONNX Runtime multiplies uint8 activations with int8 weights by `vpmaddubsw`: the products
of two neighbours along the reduction, a[k] * w[k] + a[k+1] * w[k+1], meet in 16 bits that saturate, so the same file
gives other numbers there (onnxruntime/core/mlas/lib/x86_64/: QgemmU8S8KernelAvx2.S, QgemvU8S8KernelAvx2.S,
ConvSymKernelAvx2.S and, for AVX-512 without VNNI, their Avx512Core forms). int8 activations are moved to uint8 first,
so they share the fate. uint8 weights take kernels that multiply into 32 bits, and so do depthwise convolutions
(intrinsics/avx2/qdwconv_avx2.cpp; MlasConvSymDepthwiseKernelAvx2 in ConvSymKernelAvx2.S: vpmaddwd).
https://github.com/microsoft/onnxruntime

The usual cure is 7-bit weights: every range doubled, though only two neighbours that are both near the channel's
largest weight need that. Here each output channel gets the smallest range for which all of its pairs fit, between
max|w|, plain 8 bits, and 2 max|w|, 7 bits.

Weights come with their output channels first: (channels, K), or (channels, inputs / group, *kernel) of a Conv.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

ACTIVATION_MAX = 255
PAIR_MAX = 32_767
WEIGHT_PAIR_MAX = PAIR_MAX // ACTIVATION_MAX
"""128: two neighbouring integer weights of one sign may weigh so much together. 255 * 128 fits 16 bits, 255 * 129 does
not; neighbours of different signs never add up."""

INTEGER_MAX = 127

CONVOLUTIONS = ("Conv", "QLinearConv", "ConvInteger")

Pairing = Literal["any", "kernel"]
"""Which weights count as neighbours. "kernel": those that ONNX Runtime 1.32 multiplies together, at even places of K,
a convolution's K in the order (*kernel, inputs) (`ReorderFilter` in
onnxruntime/core/providers/cpu/quantization/qlinearconv.cc). "any": at odd places too, and in the order
(inputs, *kernel) as well, so that it holds for kernels which pack their weights in another way."""

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def weight_pair_sum(integers: Array, *, op_type: str, group: int = 1, pairing: Pairing = "any") -> int:
    """The largest magnitude of a pair sum that any uint8 activations can cause with these integer weights.

    integers: within -128..127, of any number type. 0 where the kernels take no 16-bit sums.
    """
    return int(channel_pair_sums(integers, op_type=op_type, group=group, pairing=pairing).max(initial=0))


def channel_pair_sums(
    integers: Array, *, op_type: str, group: int = 1, pairing: Pairing = "any"
) -> npt.NDArray[np.int64]:
    """(channels,): the same for each output channel."""
    worst = np.zeros(len(integers), dtype=np.int64)
    if takes_pairs(integers.shape, op_type=op_type, group=group):
        for left, right in neighbours(integers.astype(np.int64), op_type=op_type, pairing=pairing):
            worst = np.maximum(worst, weigh(left, right).max(axis=1, initial=0))
    return ACTIVATION_MAX * worst


def safe_ranges(weight: Array, *, op_type: str, group: int = 1, pairing: Pairing = "any") -> Floats:
    """(channels,) float32: the smallest r >= max|w| such that int8 weights of scale r / 127 cannot saturate.

    weight: float. Layers whose kernels take no 16-bit sums, and K = 1, keep max|w|. One range for a whole tensor is the
    largest of these. The sum of a pair of rounded weights never rises with r, so bisection over the float32 numbers
    finds the very smallest; 2 max|w| always does, because both integers are then at most 64.
    """
    weight = np.asarray(weight, dtype=np.float32)
    largest: Floats = np.abs(weight.reshape(len(weight), -1)).max(axis=1, initial=0)
    if not takes_pairs(weight.shape, op_type=op_type, group=group):
        return largest
    channel, one, other = _heavy_pairs(neighbours(weight, op_type=op_type, pairing=pairing), largest)
    # Positive float32 numbers are ordered as the integers of their bits.
    low, high = largest.view(np.int32).astype(np.int64), (2 * largest).view(np.int32).astype(np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        ranges = middle.astype(np.int32).view(np.float32)[channel]
        too_heavy = to_integers(one, ranges) + to_integers(other, ranges) > WEIGHT_PAIR_MAX
        bad = np.bincount(channel, weights=too_heavy, minlength=len(largest)) > 0
        low, high = np.where(bad, middle + 1, low), np.where(bad, high, middle)
    found: Floats = high.astype(np.int32).view(np.float32)
    return found


def to_integers(weight: Floats, ranges: Floats) -> npt.NDArray[np.int32]:
    """Symmetric int8 integers of weights, rounded as onnxruntime.quantization rounds them.

    That is scale = float32(2 r / 254) and halves to even, in float32; ranges too small for a scale take scale 1
    (`compute_scale_zp` and `quantize_nparray` in onnxruntime/quantization/quant_utils.py). ranges: broadcast to weight.
    """
    exact = 2 * np.asarray(ranges, dtype=np.float64) / (2 * INTEGER_MAX)
    scale = np.where(exact < np.finfo(np.float32).tiny, 1.0, exact).astype(np.float32)
    integers: npt.NDArray[np.int32] = np.clip(np.rint(weight / scale), -128, INTEGER_MAX).astype(np.int32)
    return integers


def takes_pairs(shape: tuple[int, ...], *, op_type: str, group: int) -> bool:
    """Whether a weight of this shape goes through 16-bit pair sums: not in a depthwise convolution, one input and one
    output channel a group, and not in a ConvTranspose, which has no int8 kernel."""
    depthwise = op_type in CONVOLUTIONS and shape[1] == 1 and shape[0] == group
    return not depthwise and op_type != "ConvTranspose"


def neighbours(weight: Array, *, op_type: str, pairing: Pairing) -> Iterator[tuple[Array, Array]]:
    """Weights and their neighbours along K, each (channels, pairs); beyond the end stands 0."""
    for rows in orders(weight, op_type=op_type):
        ended = np.pad(rows, ((0, 0), (0, 1)))
        if pairing == "kernel":
            yield ended[:, :-1:2], ended[:, 1::2]
            return
        yield ended[:, :-1], ended[:, 1:]


def orders(weight: Array, *, op_type: str) -> Iterator[Array]:
    """The weight as (channels, K), once for each order that K can have, that of ONNX Runtime's kernels first."""
    flat = weight.reshape(len(weight), -1)
    if op_type in CONVOLUTIONS and weight.shape[1] > 1 and weight.shape[1] != flat.shape[1]:
        yield np.moveaxis(weight, 1, -1).reshape(flat.shape)
    yield flat


def weigh(one: Array, other: Array) -> Array:
    """The weight with which two neighbours pull one way: of one sign both together, else the heavier alone."""
    up = np.maximum(one, 0) + np.maximum(other, 0)
    down = np.maximum(-one, 0) + np.maximum(-other, 0)
    joined: Array = np.maximum(up, down)
    return joined


def _heavy_pairs(pairs: Iterable[tuple[Array, Array]], largest: Floats) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """(channel, |w|, |its neighbour|) of the neighbours of one sign that weigh more than the channel's largest alone.

    No others count: with a + b <= max|w| the integers add up to at most 127 + 1, the 1 from rounding both up. A hair
    less than max|w|, because the sum here is rounded.
    """
    found = []
    for left, right in pairs:
        together = np.where(np.sign(left) == np.sign(right), np.abs(left) + np.abs(right), 0)
        channel, place = np.nonzero(together > np.float32(0.999) * largest[:, None])
        found.append((channel, np.abs(left[channel, place]), np.abs(right[channel, place])))
    channels, ones, others = zip(*found, strict=True)
    return np.concatenate(channels), np.concatenate(ones), np.concatenate(others)
