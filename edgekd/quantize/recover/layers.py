"""What recovery sees in an ONNX graph: layers with constant weights, who reads what, and room for new weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgekd.errors import BadInputError

Weight = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A Conv, Gemm or MatMul with constant weights.

    name: the node's, else its output's. output: the tensor after the bias, which a MatMul has from an Add. adder: that
    Add. bias: None where the node has none. inputs, outputs: channels.
    """

    name: str
    node: onnx.NodeProto
    output: str
    weight: str
    bias: str | None
    adder: onnx.NodeProto | None
    group: int
    inputs: int
    outputs: int

    def canonical(self, weight: Weight, *, block: int = 1) -> Weight:
        """The weights as (groups, outputs of a group, inputs of a group, elements), a view where that is possible.

        block: so many neighbouring input features belong to one channel (a map that was flattened before a Gemm).
        """
        rows = weight.T if self.transposed else weight
        return rows.reshape(self.group, self.outputs // self.group, self.inputs // (self.group * block), -1)

    @property
    def transposed(self) -> bool:
        """The file's matrix is (inputs, outputs)."""
        return self.node.op_type == "MatMul" or (self.node.op_type == "Gemm" and not attribute(self.node, "transB", 0))

    @property
    def spatial(self) -> bool:
        """The channels are axis 1 of a map, not the last axis."""
        return self.node.op_type == "Conv"


class Graph:
    """An index of a model's graph: constants, producers and readers by tensor name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.proto = model, model.graph
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.nodes = {node.name: node for node in model.graph.node if node.name}
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def only_reader(self, tensor: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor which nobody else sees, else None."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def constant(self, tensor: str) -> Weight | None:
        """A stored tensor's values, None for one that is computed."""
        return numpy_helper.to_array(self.stored[tensor]) if tensor in self.stored else None

    def layers(self) -> tuple[Layer, ...]:
        """Every Conv, Gemm and MatMul with constant weights, in the graph's order."""
        found = (self._layer(node) for node in self.proto.node)
        return tuple(layer for layer in found if layer is not None)

    def replace(self, node: onnx.NodeProto, slot: int, values: Weight, *, label: str) -> None:
        """Give input `slot` of `node` new constant values; a constant that others read too stays as it is."""
        name = node.input[slot] if slot < len(node.input) else ""
        if name in self.stored and sum(list(reader.input).count(name) for reader in self.readers[name]) == 1:
            self.stored[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
            return
        fresh = f"{label}/{slot}"
        while fresh in self.stored or fresh in self.producers:
            fresh += "_"
        self.proto.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), fresh))
        self.stored[fresh] = self.proto.initializer[-1]
        self.readers[fresh] = [node]
        if slot < len(node.input):
            node.input[slot] = fresh
        else:
            node.input.append(fresh)

    def _layer(self, node: onnx.NodeProto) -> Layer | None:
        slots = {"Conv": 2, "Gemm": 2, "MatMul": None}
        if node.op_type not in slots or node.domain not in ("", "ai.onnx") or node.input[1] not in self.stored:
            return None
        shape = tuple(self.stored[node.input[1]].dims)
        if (len(shape) != 2 and node.op_type != "Conv") or attribute(node, "transA", 0):
            return None
        group, slot = attribute(node, "group", 1), slots[node.op_type]
        flip = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))
        outputs, inputs = (shape[1], shape[0]) if flip else (shape[0], shape[1] * group)
        adder = self._adder(node, outputs) if slot is None else None
        holder, place = (node, slot) if adder is None else (adder, bias_slot(adder, node.output[0]))
        return Layer(
            name=node.name or node.output[0],
            node=node,
            output=holder.output[0],
            weight=node.input[1],
            bias=(holder.input[place] or None) if place is not None and place < len(holder.input) else None,
            adder=adder,
            group=group,
            inputs=inputs,
            outputs=outputs,
        )

    def _adder(self, node: onnx.NodeProto, outputs: int) -> onnx.NodeProto | None:
        """The Add of a MatMul's bias: one constant a channel."""
        reader = self.only_reader(node.output[0])
        if reader is None or reader.op_type != "Add":
            return None
        other = reader.input[bias_slot(reader, node.output[0])]
        return reader if other in self.stored and tuple(self.stored[other].dims) == (outputs,) else None


def bias_slot(adder: onnx.NodeProto, product: str) -> int:
    """Which input of an Add is not the product."""
    return 1 if adder.input[0] == product else 0


def attribute(node: onnx.NodeProto, name: str, otherwise: Any) -> Any:
    """A node's attribute as a Python value."""
    return next((onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), otherwise)


def read(model: Path | onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model that may be changed."""
    if isinstance(model, Path):
        return onnx.load(str(model))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def check_names(nodes: Sequence[onnx.NodeProto]) -> None:
    """Layers of two files are told apart by their nodes' names, which ONNX Runtime's quantizer keeps.

    Raises:
        BadInputError: a node without a name, or two of one name.
    """
    names = Counter(node.name for node in nodes)
    nameless = [node.output[0] for node in nodes if not node.name]
    if nameless:
        raise BadInputError(
            f"{len(nameless)} node(s) have no name (the first gives '{nameless[0]}'); expected a name each, as "
            "edgekd.quantize.prepare gives them: name the nodes before quantizing"
        )
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise BadInputError(f"{len(twice)} name(s) belong to several nodes ('{twice[0]}'); give each node its own")
