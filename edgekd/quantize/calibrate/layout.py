"""How a network's tensors are laid out: type, elements a sample, and the memory that a sample's activations take."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int | None, ...]

SMALL = 1024
"""Initializers of at most so many elements go into shape inference with their values: they may be shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """kind: ONNX's element type. elements: of one sample, None where unknown; where `shared`, of any whole batch,
    because the tensor does not grow with it."""

    kind: int
    elements: int | None
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """batch: the only one that the network takes, None where it takes any. input_kind: ONNX's type of the input.

    bytes_a_sample: the most that activations of one sample take at a time, where each is freed after its last use.
    """

    tensors: Mapping[str, Tensor]
    batch: int | None
    input_kind: int
    bytes_a_sample: int

    def is_float(self, name: str) -> bool:
        """Whether the tensor has real numbers, and any at all."""
        from onnx import TensorProto

        tensor = self.tensors.get(name)
        floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
        return tensor is not None and tensor.kind in floats and tensor.elements != 0


def read(model: "onnx.ModelProto", *, input_name: str, sample_shape: tuple[int, ...]) -> Layout:
    """The layout for inputs of (any, *sample_shape), by shape inference with two batch sizes.

    A tensor whose first axis grows with the batch has rows of samples. One that has as many elements for any batch is
    shared. For all others (another axis grows; the shape depends on data; an operator that ONNX does not know) the
    elements of a sample are unknown.

    Raises:
        BadInputError: the network has no such input, other inputs too, or takes another shape.
    """
    declared = _declared(model, input_name, sample_shape)
    batch = (declared.shape.dim[0].dim_value or None) if declared.HasField("shape") else None
    sizes = (batch, batch) if batch else (2, 3)
    light = _without_weights(model)
    small, large = (_shapes(light, input_name, (size, *sample_shape)) for size in sizes)
    tensors = {
        name: _tensor(kind, shape, large[name][1], sizes) for name, (kind, shape) in small.items() if name in large
    }
    counted = {name: t.elements for name, t in tensors.items() if t.elements is not None and not t.shared}
    return Layout(
        tensors=tensors, batch=batch, input_kind=declared.elem_type, bytes_a_sample=4 * _most_alive(model, counted)
    )


def _declared(model: "onnx.ModelProto", name: str, sample_shape: tuple[int, ...]) -> "onnx.TypeProto.Tensor":
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value.type.tensor_type for value in model.graph.input if value.name not in stored}
    if set(inputs) != {name}:
        raise BadInputError(
            f"model has the input(s) {', '.join(inputs)}; expected '{name}' alone: calibration feeds one input"
        )
    declared: onnx.TypeProto.Tensor = inputs[name]
    wanted = tuple(dim.dim_value or None for dim in declared.shape.dim)[1:]
    if not declared.elem_type:
        raise BadInputError(f"input '{name}' is no tensor; expected one of numbers")
    if declared.HasField("shape") and not _fits(sample_shape, wanted):
        shape = ", ".join("any" if size is None else str(size) for size in wanted)
        raise BadInputError(
            f"a calibration sample has shape {sample_shape}; input '{name}' takes ({shape}); bring samples in the "
            "network's own input layout"
        )
    return declared


def _fits(shape: Shape, wanted: Shape) -> bool:
    return len(wanted) == len(shape) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))


def _without_weights(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model for shape inference: large initializers became inputs, and declared shapes went, they may be stale."""
    import onnx
    from onnx import TensorProto, helper

    light = onnx.ModelProto(ir_version=max(4, model.ir_version), opset_import=model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = "shapes"
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    known = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL and tensor.data_location != TensorProto.EXTERNAL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in known:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for value in [*light.graph.output, *light.graph.value_info]:
        value.type.tensor_type.ClearField("shape")
    return light


def _shapes(model: "onnx.ModelProto", input_name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, Shape | None]]:
    """Element type and shape of each tensor when the input has `shape`; a shape of None is of unknown rank."""
    from onnx import helper, shape_inference

    for index, value in enumerate(model.graph.input):
        if value.name == input_name:
            kind = value.type.tensor_type.elem_type
            model.graph.input[index].CopyFrom(helper.make_tensor_value_info(input_name, kind, shape))
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    found: dict[str, tuple[int, Shape | None]] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
        if tensor.elem_type:
            found[value.name] = (tensor.elem_type, dims if tensor.HasField("shape") else None)
    return found


def _tensor(kind: int, small: Shape | None, large: Shape | None, sizes: tuple[int, int]) -> Tensor:
    """See `read`; small, large: the shapes for the two batch sizes, which are one where the batch is fixed."""
    first, second = _size(small), _size(large)
    if first is None or second is None or small is None or large is None:
        return Tensor(kind=kind, elements=None)
    rows = bool(small) and all(s[0] and s[0] % size == 0 for s, size in zip((small, large), sizes, strict=True))
    if first * sizes[1] == second * sizes[0] and (rows or not first) and small[1:] == large[1:]:
        return Tensor(kind=kind, elements=first // sizes[0])
    if sizes == (1, 1):
        return Tensor(kind=kind, elements=first)
    return Tensor(kind=kind, elements=first, shared=True) if first == second else Tensor(kind=kind, elements=None)


def _size(shape: Shape | None) -> int | None:
    if shape is None or None in shape:
        return None
    return math.prod(size for size in shape if size is not None)


def _most_alive(model: "onnx.ModelProto", elements: Mapping[str, int]) -> int:
    """The most elements alive at a time, each tensor from its node to its last reader."""
    last = {name: index for index, node in enumerate(model.graph.node) for name in node.input}
    alive = most = 0
    for index, node in enumerate(model.graph.node):
        alive += sum(elements.get(name, 0) for name in node.output)
        most = max(most, alive)
        ended = {name for name in [*node.input, *node.output] if last.get(name, index) == index}
        alive -= sum(elements.get(name, 0) for name in ended if name in elements)
    return most
