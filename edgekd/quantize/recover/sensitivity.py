"""How far each quantized layer's output is from fp32's, and how much of that is the layer's own doing.

SQNR = 10 log10(sum y^2 / sum (y' - y)^2), in decibels: 6 dB are a factor 2 of the error's size, or one bit. Over a
whole output its large channels hide that its small ones are lost, which is how depthwise layers fail; so there is also
one that counts every channel alike: -10 log10 of the mean over channels of min(1, noise / signal).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgekd.quantize.recover.joined import Joined, as_float
from edgekd.quantize.recover.layers import read

MOVERS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Slice", "Split", "Gather",
                    "Identity", "Relu", "Clip"})  # fmt: skip
"""Nodes that only move or cut values: their error is that of what they read."""

Vector = npt.NDArray[np.float64]

ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """A quantized node's output against fp32's, after the activation that alone reads it.

    sqnr_db: in the quantized network, with what the node inherits. own_sqnr_db: on fp32's activations, quantized as
    the node takes them. channel_sqnr_db: the same, every channel counted alike. Infinite where nothing differs.
    """

    node: str
    op_type: str
    sqnr_db: float
    own_sqnr_db: float
    channel_sqnr_db: float


def sensitivity(
    fp32: Path | onnx.ModelProto,
    quantized: Path | onnx.ModelProto,
    inputs: npt.NDArray[Any],
    *,
    input_name: str,
    skip: Collection[str] = MOVERS,
) -> tuple[LayerError, ...]:
    """The error of every quantized node, in the graph's order, from one pass over the samples.

    quantized: a QDQ file made of `fp32`; nodes are matched by name, which onnxruntime.quantization keeps. skip:
    operators that are left out. A node's error counts rounding of its inputs, weights and bias; that of its output is
    counted where it is read. inputs: (n, ...) in the network's own type and layout, may be a memmap.

    Raises:
        BadInputError: a node has no name of its own (`edgekd.quantize.prepare` gives one), the files do not belong
            together, or they do not take the samples.
    """
    joined, ranks = Joined(fp32, quantized), _ranks(read(fp32))
    measured: list[tuple[onnx.NodeProto, tuple[str, str, str]]] = []
    for name in joined.float_names:
        node, twin = joined.graph.nodes[name], joined.twin(name)
        if twin is not None and node.op_type not in skip and joined.is_quantized(twin):
            measured.append((node, _measure(joined, node, twin, ranks.get(node.output[0], 0))))
    if not measured:
        return ()
    sums = joined.open(input_name).totals(inputs, {})
    return tuple(_error(node, *(sums[name].reshape(-1) for name in names)) for node, names in measured)


def _measure(joined: Joined, node: onnx.NodeProto, twin: onnx.NodeProto, rank: int) -> tuple[str, str, str]:
    """Names of the sums of squares a channel: of the signal, of the whole error and of the node's own."""
    own = joined.replay(node, twin)
    reader = joined.graph.only_reader(node.output[0])
    activation = reader if reader is not None and _is_activation(reader, node, joined) else None
    signal, whole, alone = (
        as_float(joined, tensor if activation is None else joined.clone(activation, [tensor, *activation.input[1:]]))
        for tensor in (node.output[0], twin.output[0], own)
    )
    return (
        _squares(joined, signal, rank),
        _squares(joined, joined.add("Sub", whole, signal), rank),
        _squares(joined, joined.add("Sub", alone, signal), rank),
    )


def _is_activation(reader: onnx.NodeProto, node: onnx.NodeProto, joined: Joined) -> bool:
    constant = all(name in joined.graph.stored or not name for name in reader.input[1:])
    return reader.op_type in ACTIVATIONS and reader.input[0] == node.output[0] and constant


def _squares(joined: Joined, tensor: str, rank: int) -> str:
    """The output that sums squares over all but the channels: axis 1 of a map, else the last; 0: rank unknown."""
    channel = 1 if rank > 3 else rank - 1
    axes = [axis for axis in range(rank) if axis != channel]
    square = joined.add("Mul", tensor, tensor)
    where = [joined.constant(np.array(axes))] if axes else []
    return joined.give(joined.add("ReduceSum", square, *where, keepdims=0))


def _error(node: onnx.NodeProto, signal: Vector, whole: Vector, own: Vector) -> LayerError:
    live = own > 0
    part = own[live] / np.maximum(own[live], signal[live])
    return LayerError(
        node=node.name,
        op_type=node.op_type,
        sqnr_db=_decibels(signal.sum(), whole.sum()),
        own_sqnr_db=_decibels(signal.sum(), own.sum()),
        channel_sqnr_db=_decibels(1.0, float(part.sum()) / len(own)),
    )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = (value for value in (*graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape"))
    return {value.name: len(value.type.tensor_type.shape.dim) for value in known}
