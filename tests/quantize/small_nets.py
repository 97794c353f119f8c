"""Networks of one convolution each way, small enough to read: what the quantizers are tried on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

Array = np.ndarray
CPU = SessionOptions()
Node = tuple[str, Sequence[str], str] | tuple[str, Sequence[str], str, Mapping[str, Any]]


def normal(*shape: int, seed: int = 0, size: float = 1.0) -> Array:
    return (size * np.random.default_rng(seed).normal(0, 1, shape)).astype(np.float32)


def save(
    path: Path,
    nodes: Sequence[Node],
    weights: Mapping[str, Array],
    shape: Sequence[int | str],
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
    named: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network with input `x`; each node is named as its output, the last one gives `y`."""
    made = [
        helper.make_node(op, list(inputs), [output], name=output if named else "", **(rest[0] if rest else {}))
        for op, inputs, output, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "small",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if metadata:
        helper.set_model_props(model, dict(metadata))
    inferred = onnx.shape_inference.infer_shapes(model)  # the output's shape, and no other
    del inferred.graph.value_info[:]
    path.write_bytes(inferred.SerializeToString())
    return path


def mixed(path: Path, **more: Any) -> Path:
    """conv, depthwise conv, shortcut, mean, two dense layers: (batch, 4, 10, 10) to 5 numbers; SiLU before the mean."""
    weights = {
        **{"w1": normal(8, 4, 3, 3, size=0.3), "b1": normal(8, seed=1)},
        **{"w2": normal(8, 1, 3, 3, seed=2, size=0.4), "b2": normal(8, seed=3)},
        **{"w3": normal(6, 8, seed=4, size=0.4), "b3": normal(6, seed=5)},
        **{"w4": normal(5, 6, seed=6, size=0.5), "b4": normal(5, seed=7)},
    }
    nodes: list[Node] = [
        ("Conv", ["x", "w1", "b1"], "first", {"pads": [1] * 4}),
        ("Relu", ["first"], "relu1"),
        ("Conv", ["relu1", "w2", "b2"], "depthwise", {"pads": [1] * 4, "group": 8}),
        ("Add", ["depthwise", "relu1"], "sum"),
        ("Sigmoid", ["sum"], "gate"),
        ("Mul", ["sum", "gate"], "silu"),
        ("GlobalAveragePool", ["silu"], "mean"),
        ("Flatten", ["mean"], "flat"),
        ("Gemm", ["flat", "w3", "b3"], "hidden", {"transB": 1}),
        ("Relu", ["hidden"], "relu2"),
        ("Gemm", ["relu2", "w4", "b4"], "last", {"transB": 1}),
    ]
    return save(path, nodes, weights, ["batch", 4, 10, 10], **more)


def samples(count: int, *shape: int, seed: int = 9) -> Array:
    return normal(count, *(shape or (4, 10, 10)), seed=seed)


def answers(path: Path, inputs: Array, options: SessionOptions = CPU) -> Array:
    session = open_session(path, options)
    return np.asarray(runner(session, facts(session, path))(inputs))


def decibels(exact: Array, other: Array) -> float:
    noise = np.square(exact.astype(np.float64) - other).sum()
    return float(10 * np.log10(np.square(exact.astype(np.float64)).sum() / max(noise, 1e-30)))


def stored(model: Path | onnx.ModelProto) -> dict[str, Array]:
    proto = onnx.load(str(model)) if isinstance(model, Path) else model
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
