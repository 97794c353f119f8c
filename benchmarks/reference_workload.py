"""Write the reference workload that ships with edgekd: `python -m benchmarks.reference_workload FILE`.

A fixed float32 network of 60 KB, convolutions and a matrix product, under a millisecond on one thread of a current CPU.
It is timed beside a network so that a slow hour of a machine, or another machine, can be told from a slow network. Its
bytes are fixed by a test: a baseline that was normalised with another file means nothing.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def build() -> onnx.ModelProto:
    """Input x (1, 3, 32, 32) float32, output y (1, 10)."""
    rng = np.random.default_rng(20260520)
    shapes = {"w1": (16, 3, 3, 3), "w2": (32, 16, 3, 3), "w3": (32, 32, 3, 3), "w4": (32, 10)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], "conv3", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c3"], ["r3"], "relu3"),
        helper.make_node("GlobalAveragePool", ["r3"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "w4"], ["y"], "classes"),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10]),
    ]
    graph = helper.make_graph(nodes, "reference", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="edgekd")


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(build().SerializeToString(deterministic=True))
