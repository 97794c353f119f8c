"""Small networks to tune, and targets that leave something to gain."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.targets import Target, load


def save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], *, out: str = "y") -> Path:
    """A network from x, (batch, 16) float, to `out`."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def chain(path: Path, *, width: int = 16) -> Path:
    """Two dense layers, one after the other."""
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    return save(path, nodes, {"a": draw.normal(size=(16, width)), "b": draw.normal(size=(width, 3))})


def branched(path: Path) -> Path:
    """Two dense layers side by side, added."""
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["left"]),
        helper.make_node("MatMul", ["x", "b"], ["right"]),
        helper.make_node("Add", ["left", "right"], ["y"]),
    ]
    return save(path, nodes, {"a": draw.normal(size=(16, 3)), "b": draw.normal(size=(16, 3))})


def gelu(path: Path) -> Path:
    """What GELU and ReLU differ by: small numbers, so that an approximation of GELU shows."""
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Sub", ["g", "r"], ["y"]),
    ]
    return save(path, nodes, {})


def target(**changed: object) -> Target:
    """x86-2t with some fields changed."""
    return load("x86-2t").model_copy(update=changed)
