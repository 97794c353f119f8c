"""A network of about a millisecond with a known amount of extra work, for benchmarks that need a true difference."""

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, CHANNELS, SIZE = 20, 16, 32


def build(extra: int = 0) -> onnx.ModelProto:
    """Twenty equal convolutions, input (1, 16, 32, 32); `extra` channels of two more in between, 0 for none."""
    widths = [CHANNELS] * (LAYERS + 1)
    if extra:
        widths[LAYERS // 2 : LAYERS // 2] = [CHANNELS, extra]
    rng = np.random.default_rng(1)
    nodes, weights, last = [], [], "x"
    for index, (taken, given) in enumerate(itertools.pairwise(widths)):
        weight = (rng.standard_normal((given, taken, 3, 3)) * np.sqrt(2 / (9 * taken))).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], f"conv{index}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"], f"relu{index}"))
        last = f"r{index}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["y"], "pool"))
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, SIZE, SIZE]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, 1, 1]),
    ]
    graph = helper.make_graph(nodes, f"chain-{extra}", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def small() -> onnx.ModelProto:
    """Four matrix products of 256x256, some 20 microseconds: where its memory lies shows in its time."""
    rng = np.random.default_rng(2)
    weights = [
        numpy_helper.from_array((rng.standard_normal((256, 256)) / 16).astype(np.float32), f"w{i}") for i in range(4)
    ]
    names = ["x", "h0", "h1", "h2", "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], f"dense{i}") for i in range(4)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 256]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(path: Path, extra: int = 0) -> Path:
    """The network as a file."""
    path.write_bytes(build(extra).SerializeToString(deterministic=True))
    return path
