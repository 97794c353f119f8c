"""Adds taps to a network: for each activation its exact extremes, a trace of NaN and a sample of its elements.

A tap of a tensor with N elements a sample gives ReduceMin, ReduceMax and ReduceL1 of the whole batch and, for each
sample, k of its N elements, one out of each of k equal strata; all N where they are no more than k. ReduceMin and
ReduceMax of ONNX Runtime pass over NaN. The sum of the magnitudes does not, and overflows to infinity at worst.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, nearest
from edgekd.quantize.calibrate.layout import Layout, Tensor

if TYPE_CHECKING:
    import onnx

PREFIX = "edgekd_tap"
STRATA = f"{PREFIX}_strata"
"""The input (batch, k) float64, i + u with 0 <= u < 1: where in stratum i of each tensor the element lies."""

SAME_ELEMENTS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
"""Operators that move elements and change none: one tap serves their input and their output."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor's elements are tapped: those of `name`, clipped to [low, high].

    ReLU and Clip move the extremes as they move any element, so both sides of them are known from one tap.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf

    def clip(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The tensor's own elements, from those of the tapped one; any shape."""
        if math.isinf(self.low) and math.isinf(self.high):
            return values
        return np.clip(values, np.float32(self.low), np.float32(self.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """tensors: those tapped, in the graph's order. served: name of an observed tensor -> where it is tapped.

    single: a sample must be alone in its batch, because some tensor does not say which elements are whose.
    """

    tensors: tuple[str, ...]
    served: Mapping[str, Source]
    single: bool

    @property
    def outputs(self) -> list[str]:
        """The outputs to fetch, four for each tensor: low, high, magnitude (scalars), values (samples, up to k)."""
        return [
            f"{PREFIX}{index}_{part}"
            for index in range(len(self.tensors))
            for part in ("low", "high", "magnitude", "values")
        ]


def attach(model: "onnx.ModelProto", layout: Layout, *, tensors: Sequence[str] | None, count: int) -> Taps:
    """Add the taps to `model` in place; they become its only outputs.

    tensors: None takes every float activation. count: k, elements of a tensor that are taken from a sample.

    Raises:
        BadInputError: a name in `tensors` is no float activation of the network.
    """
    from onnx import TensorProto, helper

    floats = [name for name in _activations(model) if layout.is_float(name)]
    wanted = floats if tensors is None else list(tensors)
    for name in wanted:
        if name not in floats:
            raise BadInputError(
                f"tensor '{name}' is no float activation of the model{nearest(name, floats)}; expected "
                f"one of {len(floats)}, such as {', '.join(repr(known) for known in floats[:3])}"
            )
    served = _served(model, wanted, set(floats))
    tapped = {source.name for source in served.values()}
    order = tuple(name for name in floats if name in tapped)
    about = {name: layout.tensors[name] for name in order}
    single = layout.batch is None and any(tensor.elements is None for tensor in about.values())
    taps = Taps(tensors=order, served=served, single=single)
    taps_of = {name: list(_tap(index, name, about[name], count)) for index, name in enumerate(order)}
    _insert(model, [*_positions(about, count)], taps_of)
    model.graph.initializer.extend(_constants(about, count))
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in taps.outputs)
    model.graph.input.append(helper.make_tensor_value_info(STRATA, TensorProto.DOUBLE, ["samples", count]))
    return taps


def _activations(model: "onnx.ModelProto") -> list[str]:
    """Inputs and outputs of the nodes in the graph's order, no initializers."""
    stored = {tensor.name for tensor in model.graph.initializer} | {""}
    names = (name for node in model.graph.node for name in [*node.input, *node.output])
    return [name for name in dict.fromkeys(names) if name not in stored]


def _served(model: "onnx.ModelProto", wanted: Sequence[str], floats: set[str]) -> dict[str, Source]:
    """Each wanted tensor -> the first one that has its elements, or has them before they were clipped."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node if node.domain in ("", "ai.onnx")}
    steps = {
        name: Source(node.input[0], *bounds)
        for name, node in makers.items()
        if node.input and node.input[0] in floats and (bounds := _bounds(node, stored)) is not None
    }
    served = {}
    for name in wanted:
        source = Source(name)
        while source.name in steps:
            step = steps[source.name]  # clip(clip(x, step), source) = clip(x, both), the later one having the last word
            low, high = (min(max(bound, source.low), source.high) for bound in (step.low, step.high))
            source = Source(step.name, low, high)
        served[name] = source
    return served


def _bounds(node: "onnx.NodeProto", stored: Mapping[str, "onnx.TensorProto"]) -> tuple[float, float] | None:
    """Between what the node clips its first input, doing no more than that and moving elements; None if it does."""
    from onnx import TensorProto, numpy_helper

    if node.op_type in SAME_ELEMENTS:
        return -math.inf, math.inf
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip" or node.attribute:  # before opset 11 the bounds were attributes
        return None
    bounds = [-math.inf, math.inf]
    for index, name in enumerate(node.input[1:]):
        tensor = stored.get(name)
        if name and (tensor is None or tensor.data_location == TensorProto.EXTERNAL):
            return None
        bounds[index] = float(numpy_helper.to_array(tensor).reshape(())) if tensor is not None else bounds[index]
    return (bounds[0], bounds[1]) if bounds[0] <= bounds[1] else None


def _insert(
    model: "onnx.ModelProto", first: Sequence["onnx.NodeProto"], taps: Mapping[str, Sequence["onnx.NodeProto"]]
) -> None:
    """Put each tap right behind the node that makes its tensor, so that tensors are not kept alive for it."""
    nodes = list(model.graph.node)
    made = {name for node in nodes for name in node.output}
    del model.graph.node[:]
    model.graph.node.extend(first)
    for name in taps.keys() - made:  # the network's input
        model.graph.node.extend(taps[name])
    for node in nodes:
        model.graph.node.append(node)
        for name in node.output:
            model.graph.node.extend(taps.get(name, ()))


def _tap(index: int, name: str, tensor: Tensor, count: int) -> Iterator["onnx.NodeProto"]:
    from onnx import TensorProto

    own = f"{PREFIX}{index}_"
    if tensor.kind != TensorProto.FLOAT:  # ONNX Runtime reduces not every type
        yield _node("Cast", [name], own + "float", to=TensorProto.FLOAT)
        name = own + "float"
    for op_type, part in (("ReduceMin", "low"), ("ReduceMax", "high"), ("ReduceL1", "magnitude")):
        yield _node(op_type, [name], own + part, keepdims=0)
    if tensor.elements is None:
        yield from _sample_of_any_size(own, name)
    elif tensor.elements <= count:
        yield _node("Reshape", [name, f"{PREFIX}_rows_{_rows(tensor)}"], own + "values")
    else:
        yield _node(
            "Reshape", [name, f"{PREFIX}_flat" if tensor.shared else f"{PREFIX}_rows_{_rows(tensor)}"], own + "rows"
        )
        yield _sample(own, tensor)


def _rows(tensor: Tensor) -> str:
    return f"{tensor.elements}{'_shared' if tensor.shared else ''}"


def _positions(about: Mapping[str, Tensor], count: int) -> Iterator["onnx.NodeProto"]:
    """For each size N > k, once: the positions (samples, k) of the elements to take."""
    from onnx import TensorProto

    for size in sorted({tensor.elements for tensor in about.values() if tensor.elements is not None}):
        if size > count:
            yield _node("Mul", [STRATA, f"{PREFIX}_width_{size}"], f"{PREFIX}_exact_{size}")
            yield _node("Cast", [f"{PREFIX}_exact_{size}"], f"{PREFIX}_positions_{size}", to=TensorProto.INT64)


def _sample(own: str, tensor: Tensor) -> "onnx.NodeProto":
    """Values (samples, k) of rows (samples, N), or of a shared (N,) as many as if every sample had its own."""
    inputs = [own + "rows", f"{PREFIX}_positions_{tensor.elements}"]
    if tensor.shared:
        return _node("Gather", inputs, own + "values", axis=0)
    return _node("GatherElements", inputs, own + "values", axis=1)


def _sample_of_any_size(own: str, name: str) -> Iterator["onnx.NodeProto"]:
    """Values (1, min(k, N)) of a tensor whose size N only the running graph knows; the formula is that of `_sample`."""
    from onnx import TensorProto

    yield _node("Reshape", [name, f"{PREFIX}_row"], own + "rows")
    yield _node("Size", [name], own + "size0")
    yield _node("Reshape", [own + "size0", f"{PREFIX}_flat"], own + "size")
    yield _node("Min", [own + "size", f"{PREFIX}_count"], own + "taken")
    yield _node("Concat", [f"{PREFIX}_one", own + "taken"], own + "end", axis=0)
    yield _node("Slice", [STRATA, f"{PREFIX}_start", own + "end"], own + "strata")
    for part in ("size", "taken"):
        yield _node("Cast", [own + part], f"{own}{part}_real", to=TensorProto.DOUBLE)
    yield _node("Div", [own + "size_real", own + "taken_real"], own + "width")
    yield _node("Mul", [own + "strata", own + "width"], own + "exact")
    yield _node("Cast", [own + "exact"], own + "positions", to=TensorProto.INT64)
    yield _node("GatherElements", [own + "rows", own + "positions"], own + "values", axis=1)


def _constants(about: Mapping[str, Tensor], count: int) -> Iterator["onnx.TensorProto"]:
    """What the taps' nodes read, one for each size of tensor."""
    from onnx import numpy_helper

    made = {"row": [1, -1], "flat": [-1], "count": [count], "one": [1], "start": [0, 0]}
    values: dict[str, Any] = {name: np.array(value, dtype=np.int64) for name, value in made.items()}
    for tensor in about.values():
        if tensor.elements is not None:
            rows = [1 if tensor.shared else -1, tensor.elements]
            values[f"rows_{_rows(tensor)}"] = np.array(rows, dtype=np.int64)
            values[f"width_{tensor.elements}"] = np.array(tensor.elements / count, dtype=np.float64)
    for name, value in values.items():
        yield numpy_helper.from_array(value, f"{PREFIX}_{name}")


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node(op_type, inputs, [output], **attributes)
