"""The operators of a graph as ONNX Runtime has optimized it: what its profile leaves out of a kernel.

The profile names the types and shapes of a kernel's tensors, but no attributes, and no weights that were packed in
advance (those of QLinearConv, Gemm, DynamicQuantizeMatMul and others, seen with ONNX Runtime 1.32). The optimized graph
has both.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import onnx

Edge = Literal["input", "output", ""]

BITS = {"float": 32, "double": 64, "float16": 16, "bfloat16": 16, "int4": 4, "uint4": 4, "bool": 8, "string": 0,
        "float8e4m3fn": 8, "float8e4m3fnuz": 8, "float8e5m2": 8, "float8e5m2fnuz": 8,
        **{f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}}  # fmt: skip
"""ONNX Runtime's name of a type -> bits a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Type and shape of one tensor. dtype: as ONNX Runtime's profile spells it. constant: stored in the file."""

    dtype: str
    shape: tuple[int, ...]
    constant: bool = False

    @property
    def elements(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its values, without padding."""
        return -(-self.elements * BITS.get(self.dtype, 0) // 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One node of the optimized graph.

    inputs: an entry a place; "" where one is left out; a `Tensor` where it is stored in the file, else its name.
    attributes: numbers, lists of numbers and text. edge: whether it reads the network's input or makes its output.
    """

    name: str
    op_type: str
    inputs: tuple[Tensor | str, ...]
    attributes: dict[str, Any]
    edge: Edge

    def fill(self, seen: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The tensors of all inputs, from those that the profile has `seen`, which lacks some that are stored.

        None: an input that is left out, or that cannot be told.
        """
        left = deque(seen)
        found: list[Tensor | None] = []
        for given in self.inputs:
            if isinstance(given, Tensor):
                if left and (left[0].dtype, left[0].shape) == (given.dtype, given.shape):
                    left.popleft()
                found.append(given)
            else:
                found.append(left.popleft() if given and left else None)
        return tuple(found)


class Operators:
    """Finds the node of the optimized graph behind a kernel of the profile."""

    def __init__(self, path: Path) -> None:
        """path: the graph that ONNX Runtime wrote with `optimized_model_filepath`; its weights need not be there."""
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
        edges = ({value.name for value in graph.input}, {value.name for value in graph.output})
        self._waiting: dict[tuple[str, str], deque[Operator]] = defaultdict(deque)
        for one in _operators(graph, {}, edges):
            self._waiting[one.name, one.op_type].append(one)

    def take(self, name: str, op_type: str) -> Operator | None:
        """The next node of that name and type; call it once a kernel, in the order in which they first ran.

        Nodes without a name, which the profile calls after their type and a number, are told apart by that order, which
        is the file's.
        """
        waiting = self._waiting.get((name, op_type)) or self._waiting.get(("", op_type))
        return waiting.popleft() if waiting else None


def _operators(
    graph: "onnx.GraphProto", outer: dict[str, Tensor], edges: tuple[set[str], set[str]]
) -> Iterator[Operator]:
    """The nodes in the file's order, those of subgraphs too. outer: stored tensors that the graph sees from outside."""
    from onnx import AttributeProto

    stored = outer | {tensor.name: _stored(tensor.data_type, tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        inner = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
        for subgraph in inner:
            yield from _operators(subgraph, stored, edges)
        reads, makes = edges[0] & set(node.input), edges[1] & set(node.output)
        yield Operator(
            name=node.name,
            op_type=node.op_type,
            inputs=tuple(stored.get(name, name) for name in node.input),
            attributes=dict(_attributes(node)),
            edge="input" if reads else "output" if makes else "",
        )


def _attributes(node: "onnx.NodeProto") -> Iterator[tuple[str, Any]]:
    from onnx import AttributeProto, helper

    plain = {AttributeProto.INT, AttributeProto.INTS, AttributeProto.FLOAT, AttributeProto.STRING}
    for attribute in node.attribute:
        if attribute.type in plain:
            value = helper.get_attribute_value(attribute)
            yield attribute.name, value.decode(errors="replace") if isinstance(value, bytes) else value


def _stored(data_type: int, dims: Sequence[int]) -> Tensor:
    from onnx import TensorProto

    name = TensorProto.DataType.Name(data_type).lower()
    return Tensor(dtype=name, shape=tuple(dims), constant=True)
