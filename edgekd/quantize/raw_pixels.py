"""Preprocessing of raw uint8 pixels folded into the first convolution, whose int8 kernel then reads the pixels.

A network that scales its pixels itself spends casts, divisions and a quantization on them before its first int8 kernel,
a tenth of the time of a small one. But pixels are uint8 numbers with a scale and a zero point already:

    x[c] = factor[c] * p[c] + shift[c] = k[c] * (step * (p[c] - zero)) + d[c]

so `DequantizeLinear(p, step, zero)` stands for the preprocessing where the convolution's weights take k[c] and its bias
takes d[c], and the input has no rounding error at all. zero is the pixel that the padding stands for, one for all
channels: where their means differ, d[c] is not 0 and the bias is wrong in the padded border. The search measures what
that costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Row = npt.NDArray[np.float64]

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """From the graph's uint8 input to the first Conv: x = factor * p + shift, a number a channel.

    pixels: the tensor that the convolution is to read, uint8 in its layout; nodes: those that vanish.
    """

    pixels: str
    nodes: tuple["onnx.NodeProto", ...]
    conv: "onnx.NodeProto"
    factor: Row
    shift: Row


def fold_preprocessing(model: "onnx.ModelProto") -> "onnx.ModelProto | None":
    """The network whose first Conv reads dequantized pixels; None where it does not begin with such preprocessing.

    The result computes the same up to the border's bias (see above) and rounding.
    """
    import onnx
    from onnx import helper, numpy_helper

    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    chain = _find(graph, {name: numpy_helper.to_array(tensor) for name, tensor in stored.items()})
    if chain is None:
        return None
    weight = numpy_helper.to_array(stored[chain.conv.input[1]]).astype(np.float64)
    factor, shift = (np.broadcast_to(row, weight.shape[1]) for row in (chain.factor, chain.shift))
    step = float(np.abs(factor).mean())
    zero = int(np.clip(np.rint(np.mean(-shift / factor)), 0, 255))
    rest = shift + factor * zero
    bias = numpy_helper.to_array(stored[chain.conv.input[2]]) if len(chain.conv.input) > 2 else np.zeros(len(weight))
    spatial = tuple(range(2, weight.ndim))
    tensors = {
        "pixels_scale": np.float32(step),
        "pixels_zero_point": np.uint8(zero),
        "pixels_weight": _per_input(weight, factor / step).astype(np.float32),
        "pixels_bias": (bias + (weight.sum(axis=spatial) @ rest)).astype(np.float32),
    }
    names = {name: _free(name, stored) for name in tensors}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), names[name]) for name, value in tensors.items())
    output = _free("pixels_dequantized", stored)
    inputs = [chain.pixels, names["pixels_scale"], names["pixels_zero_point"]]
    dequantize = helper.make_node("DequantizeLinear", inputs, [output], name=output)
    conv_inputs = [output, names["pixels_weight"], names["pixels_bias"]]
    place = min(index for index, node in enumerate(graph.node) if node in chain.nodes)
    conv = next(node for node in graph.node if node == chain.conv)
    del conv.input[:]
    conv.input.extend(conv_inputs)
    for node in chain.nodes:
        graph.node.remove(node)
    graph.node.insert(place, dequantize)
    _drop_unused(graph)
    return folded


def _drop_unused(graph: "onnx.GraphProto") -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _per_input(weight: Row, scale: Row) -> Row:
    return weight * scale.reshape(1, -1, *[1] * (weight.ndim - 2))


def _find(graph: "onnx.GraphProto", values: Mapping[str, npt.NDArray[np.generic]]) -> _Chain | None:
    """Follow the only uint8 input to a Conv, through at most one Transpose before the Cast."""
    import onnx

    inputs = [value for value in graph.input if value.name not in values]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return None
    name, pixels, nodes = inputs[0].name, inputs[0].name, []
    factor, shift, cast = np.ones(1), np.zeros(1), False
    while True:
        readers = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
        if len(readers) != 1 or (cast and name in {output.name for output in graph.output}):
            return None
        node = readers[0]
        if node.op_type == "Transpose" and not cast:
            pixels = node.output[0]
        elif node.op_type == "Cast" and not cast:
            cast = True
            nodes.append(node)
        elif node.op_type in ARITHMETIC and cast:
            step = _affine(node, name, values, factor, shift)
            if step is None:
                return None
            factor, shift = step
            nodes.append(node)
        elif node.op_type == "Conv" and cast and node.input[1] in values and _plain(node, values):
            return _Chain(pixels=pixels, nodes=tuple(nodes), conv=node, factor=factor, shift=shift)
        else:
            return None
        name = node.output[0]


def _affine(
    node: "onnx.NodeProto", name: str, values: Mapping[str, npt.NDArray[np.generic]], factor: Row, shift: Row
) -> tuple[Row, Row] | None:
    """factor and shift after one more operation with a constant; None where that is no number a channel."""
    first = node.input[0] == name
    other = values.get(node.input[1] if first else node.input[0])
    if other is None or (other.ndim > 1 and other.size not in (1, other.shape[-3] if other.ndim >= 3 else 0)):
        return None
    if other.ndim == 1 and other.size > 1:  # along the last axis, which is no channel in (n, c, h, w)
        return None
    row = other.astype(np.float64).reshape(-1)
    if node.op_type == "Add":
        return factor + 0 * row, shift + row
    if node.op_type == "Mul":
        return factor * row, shift * row
    if node.op_type == "Sub":
        return (factor + 0 * row, shift - row) if first else (-factor + 0 * row, row - shift)
    return (factor / row, shift / row) if first and row.all() else None


def _plain(conv: "onnx.NodeProto", values: Mapping[str, npt.NDArray[np.generic]]) -> bool:
    """One group, and a bias that is a constant or not there."""
    group = next((entry.i for entry in conv.attribute if entry.name == "group"), 1)
    return group == 1 and all(name in values for name in conv.input[1:])


def _free(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name += "_"
    return name
