"""Multiply-adds and bytes of kernels that ONNX Runtime really ran, against numbers worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgekd.kernels import Node
from edgekd.operators import Operator, Tensor
from edgekd.roofline import work
from edgekd.roofline.work import is_depthwise, shapes

from .nets import draw, only, profiled, whole, write


def counted(node: Node) -> tuple[int, int, str]:
    found = work(node)
    assert found is not None
    return found.operations, found.bytes_moved, found.rate


def test_a_convolution_adds_up_the_kernel_and_all_channels_for_every_value(tmp_path: Path) -> None:
    node = only(
        tmp_path, "Conv", ["x", "w", "b"], {"w": draw(16, 3, 3, 3), "b": draw(16)}, draw(1, 3, 8, 8), pads=[1] * 4
    )
    # 16 * 8 * 8 values of 3 * 3 * 3 products; floats of 4 bytes
    assert counted(node) == (16 * 64 * 27, 4 * (3 * 64 + 16 * 27 + 16 + 16 * 64), "fp32")


def test_a_grouped_convolution_adds_up_the_channels_of_one_group(tmp_path: Path) -> None:
    node = only(tmp_path, "Conv", ["x", "w"], {"w": draw(32, 8, 3, 3)}, draw(1, 32, 8, 8), pads=[1] * 4, group=4)
    assert counted(node)[0] == 32 * 64 * 8 * 9
    assert not is_depthwise(node)


def test_a_depthwise_convolution_has_nine_products_a_value(tmp_path: Path) -> None:
    node = only(tmp_path, "Conv", ["x", "w"], {"w": draw(16, 1, 3, 3)}, draw(1, 16, 8, 8), pads=[1] * 4, group=16)
    assert counted(node)[0] == 16 * 64 * 9
    assert is_depthwise(node)


def test_a_transposed_convolution_spreads_every_value_it_takes(tmp_path: Path) -> None:
    node = only(tmp_path, "ConvTranspose", ["x", "w"], {"w": draw(16, 8, 2, 2)}, draw(1, 16, 4, 4), strides=[2, 2])
    assert counted(node)[0] == 16 * 4 * 4 * 8 * 2 * 2


def test_a_gemm_whose_weights_were_packed_in_advance_is_counted_with_them(tmp_path: Path) -> None:
    node = only(tmp_path, "Gemm", ["x", "w", "b"], {"w": draw(10, 64), "b": draw(10)}, draw(2, 64), transB=1)
    assert [tensor and tensor.shape for tensor in node.inputs] == [(2, 64), (10, 64), (10,)]
    assert counted(node) == (2 * 10 * 64, 4 * (2 * 64 + 640 + 10 + 2 * 10), "fp32")


def test_a_gemm_of_a_transposed_first_matrix_adds_up_its_rows(tmp_path: Path) -> None:
    node = only(tmp_path, "Gemm", ["x", "w"], {"w": draw(64, 10)}, draw(64, 2), transA=1)
    assert counted(node)[0] == 2 * 10 * 64


def test_a_batched_product_of_matrices_counts_every_matrix(tmp_path: Path) -> None:
    node = only(tmp_path, "MatMul", ["x", "w"], {"w": draw(5, 6)}, draw(2, 3, 4, 5))
    assert counted(node) == (2 * 3 * 4 * 6 * 5, 4 * (120 + 30 + 144), "fp32")


def test_an_int8_convolution_moves_bytes_and_is_held_to_the_int8_peak(tmp_path: Path) -> None:
    stored = {"w": whole(np.int8, 16, 4, 3, 3), "s": np.float32(0.1), "z": np.uint8(128), "wz": np.int8(0)}
    nodes = [helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "s", "z"], ["y"], name="it", pads=[1] * 4)]
    feeds = {"x": whole(np.uint8, 1, 4, 8, 8)}
    path = write(tmp_path / "q.onnx", nodes, stored, feeds, made="uint8")
    (node,) = [node for node in profiled(path, feeds).nodes if node.op_type == "QLinearConv"]
    assert (node.name, node.traced) == ("it", True)
    # 16 * 64 values of 4 * 9 products; a byte a value, and three scales of 4 bytes and three zero points
    assert counted(node) == (16 * 64 * 36, 4 * 64 + 16 * 36 + 16 * 64 + 3 * 4 + 3, "int8")


def test_integer_products_of_dynamic_files_are_counted(tmp_path: Path) -> None:
    stored = {"w": whole(np.int8, 32, 6), "z": np.uint8(7)}
    node = only(tmp_path, "MatMulInteger", ["x", "w", "z"], stored, whole(np.uint8, 4, 32), made="int32")
    assert counted(node) == (4 * 6 * 32, 4 * 32 + 32 * 6 + 1 + 4 * 4 * 6, "int8")


def test_products_with_weights_of_four_bits_count_the_packed_bytes(tmp_path: Path) -> None:
    # 8 columns of depth 32 are one block each of 16 bytes, with a float scale
    stored = {"w": whole(np.uint8, 8, 1, 16), "s": draw(8)}
    facts = {"K": 32, "N": 8, "bits": 4, "block_size": 32}
    node = only(tmp_path, "MatMulNBits", ["x", "w", "s"], stored, draw(3, 32), domain="com.microsoft", **facts)
    assert counted(node) == (3 * 8 * 32, 4 * 96 + 128 + 32 + 4 * 24, "fp32")


def test_an_lstm_multiplies_by_both_of_its_matrices_at_every_step(tmp_path: Path) -> None:
    stored = {"w": draw(1, 4 * 5, 3), "r": draw(1, 4 * 5, 5)}
    node = only(tmp_path, "LSTM", ["x", "w", "r"], stored, draw(7, 2, 3), hidden_size=5)
    assert counted(node)[0] == 7 * 2 * (20 * 3 + 20 * 5)


def test_pools_and_sums_are_bytes_and_few_operations(tmp_path: Path) -> None:
    pool = only(tmp_path, "MaxPool", ["x"], {}, draw(1, 16, 8, 8), kernel_shape=[2, 2], strides=[2, 2])
    assert counted(pool) == (16 * 16 * 4, 4 * (16 * 64 + 16 * 16), "fp32")
    total = only(tmp_path, "ReduceSum", ["x"], {}, draw(4, 8))
    assert counted(total)[:2] == (32, 4 * (32 + 1))
    found = work(pool)
    assert found is not None and not found.macs


def test_what_only_looks_at_its_input_in_another_shape_moves_nothing(tmp_path: Path) -> None:
    stored = {"to": np.array([4, 8])}
    assert counted(only(tmp_path, "Reshape", ["x", "to"], stored, draw(2, 16)))[:2] == (0, 0)


def test_a_lookup_reads_what_it_writes_and_not_the_whole_table(tmp_path: Path) -> None:
    node = only(tmp_path, "Gather", ["table", "x"], {"table": draw(1000, 4)}, np.zeros(3, np.int32))
    assert counted(node)[:2] == (0, 2 * 4 * 12)


def test_an_operator_that_nobody_counted_is_unknown_and_not_free(tmp_path: Path) -> None:
    assert work(only(tmp_path, "Einsum", ["x"], {}, draw(8, 8), equation="ij->ji")) is None


def test_without_the_optimized_graph_products_are_unknown() -> None:
    x, y = Tensor(dtype="float", shape=(1, 4)), Tensor(dtype="float", shape=(1, 2))
    assert work(a_node("Gemm", (x,), (y,), traced=False)) is None


def test_attention_projects_then_scores_then_mixes() -> None:
    tensor = [Tensor(dtype="float", shape=shape) for shape in ((2, 10, 16), (16, 48), (48,))]
    out = Tensor(dtype="float", shape=(2, 10, 16))
    assert counted(a_node("Attention", tuple(tensor), (out,)))[0] == 2 * 10 * 16 * 48 + 2 * 2 * 10 * 10 * 16
    heads = [Tensor(dtype="float", shape=(1, 4, tokens, 8)) for tokens in (3, 5, 5)]
    out = Tensor(dtype="float", shape=(1, 4, 3, 8))
    assert counted(a_node("Attention", tuple(heads), (out,)))[0] == 4 * 3 * 5 * (8 + 8)


def a_node(
    op_type: str, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...], *, traced: bool = True
) -> Node:
    return Node(
        name="it", op_type=op_type, provider="CPUExecutionProvider", kind="float", calls=1.0, median_us=1.0, share=1.0,
        inputs=inputs, outputs=outputs, traced=traced,
    )  # fmt: skip


sizes = st.integers(1, 40)


@given(samples=sizes, channels=sizes, per_group=sizes, groups=st.integers(1, 8), side=sizes, kernel=st.integers(1, 7))
def test_groups_divide_the_products_of_a_convolution(
    samples: int, channels: int, per_group: int, groups: int, side: int, kernel: int
) -> None:
    def products(group: int) -> int:
        taken = Tensor(dtype="float", shape=(samples, per_group * groups, side, side))
        weight = Tensor(dtype="float", shape=(channels, per_group * groups // group, kernel, kernel))
        made = Tensor(dtype="float", shape=(samples, channels, side, side))
        return counted(a_node("Conv", (taken, weight), (made,)))[0]

    assert products(groups) * groups == products(1) == samples * channels * side**2 * per_group * groups * kernel**2


@pytest.mark.parametrize(("dtype", "size"), [("float", 20), ("int4", 3), ("uint8", 5), ("float16", 10), ("double", 40)])
def test_a_tensor_knows_its_bytes(dtype: str, size: int) -> None:
    assert Tensor(dtype=dtype, shape=(5,)).size_bytes == size


def test_stored_tensors_that_the_profile_left_out_are_put_back_in_their_places() -> None:
    weight, bias = (Tensor(dtype="float", shape=shape, constant=True) for shape in ((10, 64), (10,)))
    taken = Tensor(dtype="float", shape=(1, 64))
    operator = Operator(name="it", op_type="Gemm", inputs=("x", weight, bias), attributes={}, edge="")
    seen_bias = Tensor(dtype="float", shape=(10,))
    assert operator.fill([taken, seen_bias]) == (taken, weight, bias)
    assert operator.fill([taken, Tensor(dtype="float", shape=(10, 64)), seen_bias]) == (taken, weight, bias)
    gap = Operator(name="it", op_type="Clip", inputs=("x", "", bias), attributes={}, edge="")
    assert gap.fill([taken, seen_bias]) == (taken, None, bias)


def test_shapes_are_told_without_single_numbers() -> None:
    tensors = [Tensor(dtype="uint8", shape=(1, 2, 3)), Tensor(dtype="float", shape=()), None]
    assert shapes(tensors) == ["uint8 1x2x3"]
    assert math.prod(()) == 1
