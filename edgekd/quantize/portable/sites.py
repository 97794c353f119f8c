"""The places in a quantized graph where two 8-bit operands are multiplied, with the integers that stand there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

OPERANDS = {
    "QLinearConv": (0, 2, 3, 5),
    "QLinearMatMul": (0, 2, 3, 5),
    "QGemm": (0, 2, 3, 5),
    "ConvInteger": (0, 2, 1, 3),
    "MatMulInteger": (0, 2, 1, 3),
    "MatMulIntegerToFloat": (0, 4, 1, 5),
    "DynamicQuantizeMatMul": (0, -1, 1, 3),
}
"""QOperator -> places of activation, its zero point, weight, its zero point; -1 for what it lacks."""

FLOAT_OPS = ("Conv", "Gemm", "MatMul")
"""What runs on integers when both operands come from a DequantizeLinear."""

EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One multiplication. activation: the tensor of its integers, None where only the kernel itself sees them.

    weight: its integers, output channels first, (channels, K) or (channels, inputs / group, *kernel); None where the
    second operand is no constant. zero_point: the activations', what padding is filled with. attributes: the node's.
    """

    node: str
    op_type: str
    group: int
    activation: str | None
    activation_type: str
    zero_point: int
    weight: npt.NDArray[Any] | None
    weight_type: str
    attributes: dict[str, Any]


def sites(model: "Path | onnx.ModelProto") -> tuple[Site, ...]:
    """Every 8-bit Conv, Gemm and MatMul of a graph, in the file's order; layers in float or 16 bits are not listed."""
    import onnx

    graph = _Graph((onnx.load(str(model)) if isinstance(model, Path) else model).graph)
    found = (_site(graph, node, index) for index, node in enumerate(graph.nodes))
    return tuple(site for site in found if site is not None and site.weight_type in EIGHT_BITS)


class _Graph:
    """A graph with its constants and the maker of each tensor at hand."""

    def __init__(self, graph: "onnx.GraphProto") -> None:
        self.nodes = list(graph.node)
        self.made_by = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input}

    def maker(self, name: str, *op_types: str) -> "onnx.NodeProto | None":
        """The node of one of these types that makes a tensor."""
        node = self.made_by.get(name)
        return node if node is not None and node.op_type in op_types else None

    def value(self, name: str) -> npt.NDArray[Any] | None:
        """A constant's numbers, that of a QuantizeLinear or a Transpose of a constant too."""
        from onnx import numpy_helper

        if name in self.constants:
            return numpy_helper.to_array(self.constants[name])
        node = self.maker(name, "Constant", "QuantizeLinear", "Transpose")
        if node is None:
            return None
        if node.op_type == "Constant":
            tensor = attributes(node).get("value")
            return None if tensor is None else numpy_helper.to_array(tensor)
        inner = self.value(node.input[0])
        if inner is None or node.op_type == "QuantizeLinear":
            return None if inner is None else self._quantize(node, inner)
        turned: npt.NDArray[Any] = np.transpose(inner, attributes(node).get("perm"))
        return turned

    def _quantize(self, node: "onnx.NodeProto", numbers: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        scale, zero = self.value(node.input[1]), self.value(_input(node, 2))
        if scale is None:
            return None
        zero = np.zeros(scale.shape, np.uint8) if zero is None else zero
        shape = [-1 if i == attributes(node).get("axis", 1) % numbers.ndim else 1 for i in range(numbers.ndim)]
        if scale.ndim == 1 and scale.size > 1:
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        limits = np.iinfo(zero.dtype)
        integers: npt.NDArray[Any] = np.clip(np.rint(numbers / scale) + zero, limits.min, limits.max).astype(zero.dtype)
        return integers

    def type_of(self, tensor: str, zero_point: str) -> str:
        """numpy's name of the type of an integer tensor: its zero point's, else what is known of itself."""
        from onnx import helper

        for name in (zero_point, tensor):
            if name in self.constants:
                return str(helper.tensor_dtype_to_np_dtype(self.constants[name].data_type))
            if name in self.inputs:
                return str(helper.tensor_dtype_to_np_dtype(self.inputs[name]))
            if name in self.made_by and (constant := self.value(name)) is not None:
                return str(constant.dtype)
        maker = self.maker(tensor, "QuantizeLinear")
        return self.type_of("", _input(maker, 2)) if maker is not None and _input(maker, 2) else "uint8"


def attributes(node: "onnx.NodeProto") -> dict[str, Any]:
    """A node's attributes as Python values."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _site(graph: _Graph, node: "onnx.NodeProto", index: int) -> Site | None:
    places = _float_operands(graph, node) if node.op_type in FLOAT_OPS else _integer_operands(node)
    if places is None:
        return None
    activation, activation_zero, weight, weight_zero, turned = places
    numbers = graph.value(weight)
    own = attributes(node)
    if numbers is not None:
        numbers = np.transpose(numbers, attributes(turned).get("perm")) if turned is not None else numbers
        numbers = _channels_first(numbers, node.op_type, transposed=bool(own.get("transB", 0)))
    zero = graph.value(activation_zero)
    return Site(
        node=node.name or f"{node.op_type}_{index}",
        op_type=node.op_type,
        group=int(own.get("group", 1)),
        activation=activation or None,
        activation_type=graph.type_of(activation, activation_zero) if activation else "uint8",
        zero_point=0 if zero is None else int(zero.reshape(-1)[0]),
        weight=numbers,
        weight_type=graph.type_of(weight, weight_zero) if numbers is None else str(numbers.dtype),
        attributes=own,
    )


Operands = tuple[str, str, str, str, "onnx.NodeProto | None"]


def _float_operands(graph: _Graph, node: "onnx.NodeProto") -> Operands | None:
    turned = graph.maker(node.input[1], "Transpose")
    first = graph.maker(node.input[0], "DequantizeLinear")
    second = graph.maker(turned.input[0] if turned is not None else node.input[1], "DequantizeLinear")
    if first is None or second is None:
        return None
    return first.input[0], _input(first, 2), second.input[0], _input(second, 2), turned


def _integer_operands(node: "onnx.NodeProto") -> Operands | None:
    if node.op_type not in OPERANDS:
        return None
    names = [_input(node, place) if place >= 0 else "" for place in OPERANDS[node.op_type]]
    activation = "" if node.op_type == "DynamicQuantizeMatMul" else names[0]
    return activation, names[1], names[2], names[3], None


def _input(node: "onnx.NodeProto", place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _channels_first(weight: npt.NDArray[Any], op_type: str, *, transposed: bool) -> npt.NDArray[Any]:
    """A Conv's and a transposed Gemm's are so in the file; (..., K, channels) of the others become (channels, K)."""
    if "Conv" in op_type or transposed:
        return weight
    columns = weight[:, None] if weight.ndim == 1 else weight
    return np.swapaxes(columns, -1, -2).reshape(-1, columns.shape[-2])
