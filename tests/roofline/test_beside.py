"""Two files side by side, and the nodes of an optimized graph, on networks that ONNX Runtime really ran."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgekd.roofline import beside
from edgekd.roofline.beside import owner

from .nets import draw, profiled, write

FEEDS = {"x": draw(1, 16)}


def dense(path: Path, names: tuple[str, str]) -> Path:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name=names[0]),
        helper.make_node("Sigmoid", ["h"], ["s"], name=names[1]),
        helper.make_node("Gemm", ["s", "w"], ["y"], name=f"{names[0]}2" if names[0] else ""),
    ]
    return write(path, nodes, {"w": draw(16, 16)}, FEEDS)


def test_kernels_belong_to_the_node_that_they_are_called_after() -> None:
    makers = {"conv": "conv", "conv_2": "conv_2", "c": "conv", "/a/b": "/a/b"}
    assert owner("conv", makers) == "conv"
    assert owner("conv_quant_scales_mul", makers) == "conv"
    assert owner("conv_2_quant", makers) == "conv_2"
    assert owner("c_QuantizeLinear", makers) == "conv"
    assert owner("/a/b/Fusion/", makers) == "/a/b"
    assert owner("convolution", makers) == owner("Transpose", makers) == ""


def test_a_quantized_file_stands_beside_the_file_it_came_from(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    base = dense(tmp_path / "base.onnx", ("first", "curve"))
    quantize_dynamic(str(base), str(tmp_path / "q.onnx"), weight_type=QuantType.QUInt8)
    before, after = profiled(base, FEEDS).nodes, profiled(tmp_path / "q.onnx", FEEDS).nodes
    rows = {row.name: row for row in beside(base, before, after)}
    assert list(rows) == ["first", "curve", "first2"]
    assert rows["first"].before_kernels == ("FusedGemm",)
    assert rows["first"].after_kernels == ("DynamicQuantizeMatMul",)
    assert rows["curve"].before_ms is None and rows["curve"].after_kernels == ("Sigmoid",)
    after_us = 1e3 * sum(row.after_ms or 0 for row in rows.values())
    assert after_us == pytest.approx(sum(node.total_us for node in after))


def test_what_was_fused_has_no_time_of_its_own_and_strangers_come_last(tmp_path: Path) -> None:
    base = dense(tmp_path / "base.onnx", ("first", "curve"))
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="stranger"),
        helper.make_node("Gemm", ["r", "w"], ["y"], name="first"),
    ]
    other = write(tmp_path / "other.onnx", nodes, {"w": draw(16, 16)}, FEEDS)
    rows = beside(base, profiled(base, FEEDS).nodes, profiled(other, FEEDS).nodes)
    assert [(row.name, row.before_kernels, row.after_kernels) for row in rows] == [
        ("first", ("FusedGemm",), ("Gemm",)),  # with the curve
        ("first2", ("Gemm",), ()),
        ("", (), ("Relu",)),
    ]
    assert [(row.before_ms is None, row.after_ms is None) for row in rows] == [
        (False, False),
        (False, True),
        (True, False),
    ]


def test_nodes_without_a_name_are_traced_by_their_order(tmp_path: Path) -> None:
    path = write(
        tmp_path / "net.onnx",
        [helper.make_node("Gemm", ["x", "a"], ["h"]), helper.make_node("Gemm", ["h", "b"], ["y"])],
        {"a": draw(16, 8), "b": draw(8, 4)},
        FEEDS,
    )
    found = profiled(path, FEEDS).nodes
    weights = [node.inputs[1].shape if node.inputs[1] else None for node in found if node.op_type == "Gemm"]
    assert weights == [(16, 8), (8, 4)]
    assert [node.edge for node in found] == ["input", "output"]


def test_nodes_in_a_branch_are_traced_too(tmp_path: Path) -> None:
    from onnx import TensorProto

    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branches = [
        helper.make_graph([helper.make_node(op, ["x", "w"], ["z"], name=op)], op, [], [out])
        for op in ("MatMul", "Gemm")
    ]
    picks = helper.make_node("If", ["flag"], ["y"], name="if", then_branch=branches[0], else_branch=branches[1])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "low"], ["flag"]),
        picks,
    ]
    feeds = {"x": np.ones((1, 16), np.float32)}
    path = write(tmp_path / "if.onnx", nodes, {"w": draw(16, 4), "low": np.float32(-1e9)}, feeds)
    (product,) = [node for node in profiled(path, feeds).nodes if node.op_type == "MatMul"]
    assert product.traced and [tensor and tensor.shape for tensor in product.inputs] == [(1, 16), (16, 4)]
