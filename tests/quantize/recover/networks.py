"""Small ONNX networks written by hand, run and quantized with what everybody has: ONNX Runtime itself."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Node = tuple[str, list[str], str]


def network(
    nodes: Sequence[Node | tuple[str, list[str], str, Mapping[str, Any]]],
    weights: Mapping[str, np.ndarray],
    *,
    shape: Sequence[int | str],
    output: str = "y",
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model with input `x` and one output; each node is named as its output."""
    made = []
    for kind, inputs, name, *rest in nodes:
        options = rest[0] if rest else {}
        made.append(helper.make_node(kind, inputs, [name], name=name, **options))  # type: ignore[arg-type]
    graph = helper.make_graph(
        made,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(inferred)
    return inferred


def separable(*, seed: int = 0, activation: str = "Relu") -> onnx.ModelProto:
    """conv -> depthwise -> 1x1 -> mean -> dense, with biases; (batch, 2, 8, 8) to 3 numbers."""
    random = np.random.default_rng(seed)

    def normal(*shape: int, size: float = 1.0) -> np.ndarray:
        return (size * random.normal(0, 1, shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)

    weights = {
        **{"w1": normal(6, 2, 3, 3), "b1": normal(6), "w2": normal(6, 1, 3, 3), "b2": normal(6)},
        **{"w3": normal(8, 6, 1, 1), "b3": normal(8), "w4": normal(3, 8), "b4": normal(3)},
        **({"slope": np.abs(normal(6, 1, 1))} if activation == "PRelu" else {}),
    }
    act = {"PRelu": ["slope"]}.get(activation, [])
    nodes = [
        ("Conv", ["x", "w1", "b1"], "first", {"pads": [1, 1, 1, 1]}),
        (activation, ["first", *act], "a1"),
        ("Conv", ["a1", "w2", "b2"], "depthwise", {"group": 6, "pads": [1, 1, 1, 1]}),
        (activation, ["depthwise", *act], "a2"),
        ("Conv", ["a2", "w3", "b3"], "pointwise"),
        ("Relu", ["pointwise"], "a3"),
        ("GlobalAveragePool", ["a3"], "pool"),
        ("Flatten", ["pool"], "flat"),
        ("Gemm", ["flat", "w4", "b4"], "y", {"transB": 1}),
    ]
    return network(nodes, weights, shape=["batch", 2, 8, 8])


def samples(count: int, *, shape: Sequence[int] = (2, 8, 8), seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1, (count, *shape)).astype(np.float32)


def run(model: onnx.ModelProto | Path, x: np.ndarray, nodes: Iterable[str] = ()) -> list[np.ndarray]:
    """What the nodes named give, or all outputs; without int8 kernels, so that only QDQ arithmetic counts."""
    import onnxruntime as ort

    proto = onnx.ModelProto()
    proto.CopyFrom(onnx.load(str(model)) if isinstance(model, Path) else model)
    made = {node.name: node.output[0] for node in proto.graph.node}
    names = [made[name] for name in nodes]
    if names:
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names or None, {session.get_inputs()[0].name: x})


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


class _Reader:
    def __init__(self, x: np.ndarray, name: str) -> None:
        self._left = iter([{name: x}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def quantize(
    model: onnx.ModelProto | Path,
    target: Path,
    x: np.ndarray,
    *,
    exclude: Iterable[str] = (),
    per_channel: bool = False,
) -> Path:
    """U8S8 with min-max ranges from ONNX Runtime's own quantizer, one scale a tensor by default."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    proto = onnx.ModelProto()  # a copy: the quantizer moves the weights of the one it is given into files of its own
    proto.CopyFrom(onnx.load(str(model)) if isinstance(model, Path) else model)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            proto,
            str(target),
            _Reader(x, proto.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(exclude),
        )
    finally:
        logging.disable(before)
    return target
