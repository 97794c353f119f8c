"""Pairs of layers between which a channel's scale can move without a change of the function, and why others cannot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgekd.quantize.recover.layers import Graph, Layer, attribute

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Two layers and nothing between them but what commutes with a positive scale a channel.

    block: so many neighbouring input features of the second belong to one channel of the first.
    """

    first: Layer
    second: Layer
    block: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor on the way. spatial: channels are axis 1 of a map; else they are the last axis, in blocks."""

    tensor: str
    spatial: bool
    block: int


def chains(graph: Graph) -> tuple[tuple[Chain, ...], tuple[str, ...]]:
    """The pairs in the graph's order, and a sentence for every layer that is the first of none."""
    shapes = _shapes(graph.model)
    layers = {id(layer.node): layer for layer in graph.layers()}
    found, skipped = [], []
    for layer in layers.values():
        answer = _follow(layer, layers, graph, shapes)
        if isinstance(answer, Chain):
            found.append(answer)
        elif answer:
            skipped.append(f"{layer.node.op_type} '{layer.name}' keeps its scales: {answer}")
    return tuple(found), tuple(skipped)


def _follow(layer: Layer, layers: Mapping[int, Layer], graph: Graph, shapes: Mapping[str, Shape]) -> Chain | str:
    """The chain that starts at a layer, why there is none, or nothing to say at the network's end."""
    if layer.bias is not None and not _scalable(layer, graph):
        return "its bias is computed, or not one number a channel"
    place = _Place(layer.output, layer.spatial, 1)
    while True:
        node = graph.only_reader(place.tensor)
        if node is None:
            return "" if place.tensor in graph.outputs else f"'{place.tensor}' has several readers"
        if id(node) in layers and node.input[0] == place.tensor:
            return _end(layer, layers[id(node)], place)
        step = STEPS.get(node.op_type, _stop)(node, place, graph, shapes)
        if isinstance(step, str):
            return step
        place = step


def _end(first: Layer, second: Layer, place: _Place) -> Chain | str:
    fits = place.spatial == second.spatial and first.outputs * place.block == second.inputs
    if not fits:
        return f"'{second.name}' does not read its channels one by one"
    return Chain(first=first, second=second, block=place.block)


def _scalable(layer: Layer, graph: Graph) -> bool:
    bias = graph.constant(layer.bias or "")
    return bias is not None and bias.shape[-1:] == (layer.outputs,)


def _stop(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    return f"{node.op_type} '{node.name or node.output[0]}' after it does not commute with a scale a channel"


def _elementwise(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    if node.input[0] != place.tensor:  # the slope of a PRelu
        return _stop(node, place, graph, shapes)
    return _Place(node.output[0], place.spatial, place.block)


def _clip(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    """Clip(0, no upper limit) is a Relu; a limit would have to be another one for each channel."""
    names = [*node.input[1:], "", ""][:2]
    low, high = (graph.constant(name) if name else None for name in names)
    if low is not None and float(low) == 0 and (not names[1] or (high is not None and np.isposinf(high))):
        return _Place(node.output[0], place.spatial, place.block)
    return (
        f"Clip '{node.name or node.output[0]}' after it has an upper limit (Relu6, say), which does not scale with the "
        "channel"
    )


def _pool(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    if not place.spatial or len(node.output) > 1:
        return _stop(node, place, graph, shapes)
    return _Place(node.output[0], True, place.block)


def _pad(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    """Zeros, or copies of the map itself; never across channels, never a fourth input that picks axes."""
    pads = graph.constant(node.input[1])
    value = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(())
    constant = attribute(node, "mode", b"constant") == b"constant"
    if not place.spatial or pads is None or len(node.input) > 3 or (constant and (value is None or np.any(value))):
        return _stop(node, place, graph, shapes)
    if pads.reshape(2, -1)[:, :2].any():
        return _stop(node, place, graph, shapes)
    return _Place(node.output[0], True, place.block)


def _reduce(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    """Over all of a map's positions: a global pool."""
    rank = len(shapes.get(place.tensor, ()))
    stored = graph.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "axes", None)
    axes = set() if stored is None or not rank else {int(axis) % rank for axis in np.asarray(stored).reshape(-1)}
    if not place.spatial or axes != set(range(2, rank)) or not axes:
        return _stop(node, place, graph, shapes)
    return _Place(node.output[0], bool(attribute(node, "keepdims", 1)), 1)


def _flatten(node: onnx.NodeProto, place: _Place, graph: Graph, shapes: Mapping[str, Shape]) -> _Place | str:
    """(N, C, positions...) to (N, C * positions): rows stay rows, and a channel becomes a block of features."""
    before, after = shapes.get(place.tensor, ()), shapes.get(node.output[0], ())
    sizes = before[1:]
    if not place.spatial or len(after) != 2 or after[1] is None or not sizes or None in sizes:
        return _stop(node, place, graph, shapes)
    known = [size for size in sizes if size is not None]
    if int(np.prod(known)) != after[1]:
        return _stop(node, place, graph, shapes)
    return _Place(node.output[0], False, int(np.prod(known[1:])))


Step = Callable[[onnx.NodeProto, _Place, Graph, Mapping[str, Shape]], _Place | str]

STEPS: Mapping[str, Step] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Identity", "Dropout"), _elementwise),
    "Clip": _clip,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pool),
    "Pad": _pad,
    **dict.fromkeys(("ReduceMean", "ReduceMax"), _reduce),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), _flatten),
}
"""Operator -> where it puts a scaled channel, or why it cannot."""


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
