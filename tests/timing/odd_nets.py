"""Networks that misbehave while they are timed: one hangs, one wants all memory, one gives one answer to everything."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def _save(path: Path, nodes: list, weights: dict, *, shape: list | None = None, out: list | None = None) -> Path:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or ["batch", 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "odd", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def dense(path: Path, *, width: int = 4, layers: int = 1, shape: list | None = None) -> Path:
    """Matrix products one after the other."""
    rng = np.random.default_rng(0)
    names = ["x", *(f"h{i}" for i in range(layers - 1)), "y"]
    weights = {f"w{i}": rng.normal(0, 0.5, (width, width)).astype(np.float32) for i in range(layers)}
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], f"dense{i}") for i in range(layers)]
    return _save(path, nodes, weights, shape=shape or ["batch", width])


def constant(path: Path) -> Path:
    """Times zero: every input gets the same output."""
    nodes = [helper.make_node("Mul", ["x", "zero"], ["y"], "mul")]
    return _save(path, nodes, {"zero": np.zeros(4, np.float32)})


def endless(path: Path) -> Path:
    """A Loop whose condition never turns false."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"], "still"),
            helper.make_node("Sin", ["state"], ["next"], "sin"),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [helper.make_node("Loop", ["turns", "yes", "x"], ["y"], "loop", body=body)]
    return _save(path, nodes, {"turns": np.int64(2**62), "yes": np.bool_(True)})


def greedy(path: Path, *, gigabytes: int) -> Path:
    """Expands its input to so many gigabytes before it sums it up."""
    rows = gigabytes * 2**30 // (4 * 4)
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["much"], "expand"),
        helper.make_node("Exp", ["much"], ["more"], "exp"),
        helper.make_node("ReduceSum", ["more"], ["y"], "sum", keepdims=0),
    ]
    return _save(path, nodes, {"shape": np.array([rows, 4], np.int64)}, shape=[1, 4], out=[])


def two_inputs(path: Path) -> Path:
    """Token numbers and a mask of open length, as language models take them."""
    kinds = {"tokens": TensorProto.INT64, "mask": TensorProto.FLOAT}
    inputs = [helper.make_tensor_value_info(name, kind, ["batch", "length"]) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"], "gather"),
        helper.make_node("Mul", ["rows", "mask"], ["y"], "mul"),
    ]
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32), "table")
    graph = helper.make_graph(nodes, "two", inputs, outputs, [table])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path
