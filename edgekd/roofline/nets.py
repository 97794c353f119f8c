"""The small ONNX networks by which ONNX Runtime shows what this machine can do at its best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

PRODUCT = 512
"""Rows, columns and depth of the matrix product: 134 million multiply-adds, some milliseconds of one core."""

CHANNELS, SIDE = 128, 28
"""Of the convolution, 3 x 3: 116 million multiply-adds."""

OPSET, IR = 18, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """One network: its file, what it is fed with, and how much it does: multiply-adds, bytes or kernels."""

    file: bytes
    feeds: Mapping[str, npt.NDArray[Any]]
    amount: int


def products(kind: str) -> tuple[Net, ...]:
    """A matrix product and a convolution, kind "fp32" or "int8" (uint8 by int8); the faster one shows the peak."""
    return (_matmul(kind), _conv(kind))


def _matmul(kind: str) -> Net:
    a, b = _draw(kind, (PRODUCT, PRODUCT), weight=False), _draw(kind, (PRODUCT, PRODUCT), weight=True)
    if kind == "fp32":
        return _net([_node("MatMul", ["x", "b"])], a, {"b": b}, PRODUCT**3)
    return _net([_node("MatMulInteger", ["x", "b", "zero"])], a, {"b": b, "zero": np.uint8(128)}, PRODUCT**3)


def _conv(kind: str) -> Net:
    x = _draw(kind, (1, CHANNELS, SIDE, SIDE), weight=False)
    w = _draw(kind, (CHANNELS, CHANNELS, 3, 3), weight=True)
    macs = 9 * CHANNELS**2 * SIDE**2
    if kind == "fp32":
        return _net([_node("Conv", ["x", "w"], pads=[1] * 4)], x, {"w": w}, macs)
    stored = {"w": w, "scale": np.float32(0.1), "zero": np.uint8(128), "none": np.int8(0)}
    places = ["x", "scale", "zero", "w", "scale", "none", "scale", "zero"]
    return _net([_node("QLinearConv", places, pads=[1] * 4)], x, stored, macs)


def stream(working_set: int, kernels: int) -> Net:
    """Sums of two float vectors, of `working_set` bytes together, in place but for the first: two reads and a write."""
    half = max(1, working_set // 8)
    x = np.ones(half, np.float32)
    names = ["x", *(f"t{index}" for index in range(1, kernels)), "y"]
    nodes = [_node("Add", [a, "other"], output=b) for a, b in pairwise(names)]
    net = _net(nodes, x, {}, 12 * half * kernels, inputs=("x", "other"))
    return Net(file=net.file, feeds={"x": x, "other": np.full(half, 1e-3, np.float32)}, amount=net.amount)


def _draw(kind: str, shape: tuple[int, ...], *, weight: bool) -> npt.NDArray[Any]:
    rng = np.random.default_rng(0)
    if kind == "fp32":
        return rng.standard_normal(shape, dtype=np.float32)
    return rng.integers(-127, 128, shape, dtype=np.int8) if weight else rng.integers(0, 256, shape, dtype=np.uint8)


def _node(op_type: str, inputs: Sequence[str], *, output: str = "y", **attributes: Any) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node(op_type, list(inputs), [output], **attributes)


def _net(
    nodes: "Sequence[onnx.NodeProto]",
    x: npt.NDArray[Any],
    stored: Mapping[str, Any],
    amount: int,
    *,
    inputs: tuple[str, ...] = ("x",),
) -> Net:
    from onnx import TensorProto, helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    made = TensorProto.INT32 if nodes[-1].op_type == "MatMulInteger" else kind
    graph = helper.make_graph(
        list(nodes),
        "peak",
        [helper.make_tensor_value_info(name, kind, x.shape) for name in inputs],
        [helper.make_tensor_value_info("y", made, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return Net(file=model.SerializeToString(), feeds={"x": x}, amount=amount)
