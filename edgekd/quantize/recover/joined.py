"""An fp32 network and its QDQ file as one graph on one input, so that a single pass compares them inside ONNX Runtime.

What leaves the graph are sums, a few numbers a layer: memory does not grow with the number of samples. Whatever is
compared is an output that int8 kernels cannot swallow, so the quantized half runs as QDQ arithmetic in float: it shows
the error of rounding and of ranges, the same on every CPU, and not 16-bit sums that saturate on some.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgekd.errors import BadInputError
from edgekd.quantize.recover.layers import Graph, check_names, read
from edgekd.session import SessionOptions, create_session, first_line, native_errors

INT8 = "quantized::"
"""How every name of the quantized half starts."""

BATCH = 8
"""Samples a run: all compared outputs of so many are in memory at once, twice."""

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

Sums = Mapping[str, npt.NDArray[np.float64]]


class Joined:
    """Both graphs, growing by what is to be measured; node by node they are matched by name.

    Raises:
        BadInputError: nodes of the fp32 file have no names, or the files have other opsets or inputs.
    """

    def __init__(self, fp32: onnx.ModelProto | Path, quantized: onnx.ModelProto | Path) -> None:
        self.model, other = read(fp32), read(quantized)
        check_names(self.model.graph.node)
        _check_alike(self.model, other)
        del self.model.graph.output[:]
        self.float_names = tuple(node.name for node in self.model.graph.node)
        _append(self.model, onnx.compose.add_prefix(other, INT8))
        self.graph = Graph(self.model)
        self._fresh = 0
        self.tail: list[onnx.NodeProto] = []

    def twin(self, name: str) -> onnx.NodeProto | None:
        """The quantized half's node of that name; None where the quantizer dropped it."""
        return self.graph.nodes.get(INT8 + name)

    def is_quantized(self, node: onnx.NodeProto) -> bool:
        """A node of the quantized half that reads what was quantized; a product reads both of its factors so.

        One that was left out may still read a quantized activation, because its neighbour made it.
        """
        read = [self._dequantizer(name) is not None for name in node.input]
        return all(read[:2]) if node.op_type in PRODUCTS else any(read)

    def replay(self, node: onnx.NodeProto, twin: onnx.NodeProto) -> str:
        """The tensor that the quantized node gives on the fp32 network's own activations.

        They are quantized as in the file; weights and bias are the file's. So its error is this node's alone.
        """
        inputs = [self._source(theirs, ours) for theirs, ours in zip(twin.input, node.input, strict=False)]
        return self.clone(twin, inputs)

    def clone(self, node: onnx.NodeProto, inputs: list[str]) -> str:
        """The first output of a copy of `node` on other inputs."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = self.fresh()
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(self.fresh() if name else "" for name in node.output)
        self.tail.append(copy)
        return str(copy.output[0])

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new node."""
        output = self.fresh()
        self.tail.append(helper.make_node(op_type, list(inputs), [output], name=self.fresh(), **attributes))
        return output

    def constant(self, values: npt.NDArray[Any]) -> str:
        """The name of a new constant."""
        name = self.fresh()
        self.model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return name

    def give(self, tensor: str) -> str:
        """Make a tensor an output; its type is left to ONNX Runtime."""
        self.model.graph.output.append(onnx.ValueInfoProto(name=tensor))
        return tensor

    def fresh(self) -> str:
        """A name that nothing has."""
        self._fresh += 1
        return f"measure::{self._fresh}"

    def _source(self, theirs: str, ours: str) -> str:
        dequantizer = self._dequantizer(theirs)
        if dequantizer is None:
            return theirs if theirs in self.graph.stored or not theirs else ours
        quantizer = self.graph.producers.get(dequantizer.input[0])
        if quantizer is None or quantizer.op_type != "QuantizeLinear":  # a weight
            return theirs
        return self.clone(dequantizer, [self.clone(quantizer, [ours, *quantizer.input[1:]]), *dequantizer.input[1:]])

    def _dequantizer(self, tensor: str) -> onnx.NodeProto | None:
        node = self.graph.producers.get(tensor)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def open(self, input_name: str) -> "Runs":
        """A session of the graph, which is finished by this."""
        self.model.graph.node.extend(self.tail)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "joined.onnx"
            path.write_bytes(self.model.SerializeToString())
            session = create_session(path, SessionOptions(session_config={"session.disable_quant_qdq": "1"}))
        return Runs(session, input_name)


class Runs:
    """A session that sums what it gives over a data set.

    Raises:
        BadInputError: the input is not there, there are no samples, or ONNX Runtime cannot run them.
    """

    def __init__(self, session: Any, input_name: str) -> None:
        self._session, self._name = session, input_name
        found = {value.name: value for value in session.get_inputs()}
        if input_name not in found:
            raise BadInputError(f"the network has no input '{input_name}'; it has: {', '.join(found)}")
        first = (found[input_name].shape or [None])[0]
        self._fixed = first if isinstance(first, int) else None

    def totals(self, inputs: npt.NDArray[Any], feeds: Mapping[str, npt.NDArray[Any]]) -> Sums:
        """Each output, summed over the runs.

        inputs: (n, ...), sliced, never copied whole. feeds: values of added inputs, the same each run. A network of a
        fixed batch takes whole pieces; what is left over is not used, and fewer samples than one are repeated.
        """
        names = [value.name for value in self._session.get_outputs()]
        sums = {name: np.zeros(()) for name in names}
        for batch in _pieces(inputs, self._fixed):
            try:
                values = self._session.run(names, {self._name: batch, **feeds})
            except native_errors() as err:
                raise BadInputError(f"ONNX Runtime cannot run the model on {batch.shape}: {first_line(err)}") from err
            for name, value in zip(names, values, strict=True):
                sums[name] = sums[name] + np.asarray(value, dtype=np.float64)
        return sums


def _pieces(inputs: npt.NDArray[Any], fixed: int | None) -> Iterator[npt.NDArray[Any]]:
    if len(inputs) == 0:
        raise BadInputError("there are no samples to compare the files on; expected calibration data")
    size = fixed or BATCH
    if fixed and len(inputs) < fixed:
        yield np.asarray(inputs)[np.arange(fixed) % len(inputs)]
        return
    stop = len(inputs) - len(inputs) % fixed if fixed else len(inputs)
    for start in range(0, stop, size):
        yield np.asarray(inputs[start : start + size])


def _check_alike(fp32: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    ours, theirs = _opset(fp32), _opset(quantized)
    if ours != theirs:
        raise BadInputError(
            f"the fp32 file has opset {ours}, the quantized one {theirs}; expected the same: build both from one "
            "prepared file"
        )
    names, others = ([value.name for value in model.graph.input] for model in (fp32, quantized))
    stored = {tensor.name for model in (fp32, quantized) for tensor in model.graph.initializer}
    if set(names) - stored != set(others) - stored:
        raise BadInputError(f"the fp32 file takes {names}, the quantized one {others}; expected the same inputs")


def _append(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """The nodes and constants of a prefixed model, reading the first one's inputs."""
    known = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(entry for entry in other.opset_import if entry.domain not in known)
    model.ir_version = max(model.ir_version, other.ir_version)
    stored = {tensor.name for tensor in other.graph.initializer}
    for value in other.graph.input:
        if value.name not in stored:
            model.graph.node.append(
                helper.make_node("Identity", [value.name.removeprefix(INT8)], [value.name], name=f"{value.name}::input")
            )
    model.graph.node.extend(other.graph.node)
    model.graph.initializer.extend(other.graph.initializer)


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def as_float(joined: Joined, tensor: str) -> str:
    """A tensor as float32, so that sums of half-precision values do not overflow."""
    return joined.add("Cast", tensor, to=TensorProto.FLOAT)
