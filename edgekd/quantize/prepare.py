"""Any ONNX network -> the fp32 file that the quantizers start from, or a clear refusal."""

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekd.errors import BadInputError
from edgekd.session import first_line, native_errors

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 13
"""The first whose QuantizeLinear has one scale a channel (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html)."""

QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger",
                       "MatMulInteger", "QLinearMatMul", "MatMulNBits", "QGemm"})  # fmt: skip

CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""What ONNX Runtime ships operators for."""

PROTOBUF_LIMIT = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An fp32 file whose batch norms are folded, constants are initializers, nodes have names and shapes are known.

    notes: what was done to the network beyond that, one sentence each.
    """

    path: Path
    input_name: str
    notes: tuple[str, ...]


def prepare(model: Path, folder: Path) -> Prepared:
    """Write `model` into `folder` as a quantizer wants it; the function it computes stays the same.

    Raises:
        BadInputError: it is quantized already, has operators of a domain that ONNX Runtime does not ship, an opset
            that cannot be converted, or more than 2 GB of weights.
    """
    import onnx

    proto = load(model)
    converted, notes = _modern(proto, model)
    source, target = folder / "source.onnx", folder / "prepared.onnx"
    onnx.save(converted, str(source))
    with quiet():
        _optimise(source, target)
    tidy = onnx.load(str(target))
    _name_nodes(tidy)
    _pool(tidy)
    _fold_beta(tidy)
    onnx.save(tidy, str(target))
    stored = {tensor.name for tensor in tidy.graph.initializer}
    first = next(value.name for value in tidy.graph.input if value.name not in stored)
    return Prepared(path=target, input_name=first, notes=tuple(notes))


def load(model: Path) -> "onnx.ModelProto":
    """The whole network in memory, checked.

    Raises:
        BadInputError: as `prepare`.
    """
    import onnx

    outside = onnx.load(str(model), load_external_data=False)
    _check(outside, model)
    stored = sum(_external_bytes(tensor) for tensor in outside.graph.initializer)
    if stored + outside.ByteSize() >= PROTOBUF_LIMIT:
        raise BadInputError(
            f"model {model} has {stored / 1e9:.1f} GB of weights; expected less than 2 GB, the limit of a protobuf "
            "file: quantize the parts of the network as files of their own"
        )
    return onnx.load(str(model))


def failures() -> tuple[type[Exception], ...]:
    """What the quantizers raise on a graph they do not know; other variants still compete."""
    import onnx

    return (
        *(ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError, BadInputError),
        *(onnx.checker.ValidationError, onnx.shape_inference.InferenceError),
        *native_errors(),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """The quantizers advise through the root logger, and print; what they advise is done here already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _check(proto: "onnx.ModelProto", model: Path) -> None:
    kinds = {node.op_type for node in proto.graph.node}
    if kinds & QUANTIZED:
        raise BadInputError(
            f"model {model} is already quantized ({', '.join(sorted(kinds & QUANTIZED))}); bring its fp32 original"
        )
    if kinds & CONTROL_FLOW:
        raise BadInputError(
            f"model {model} has control flow ({', '.join(sorted(kinds & CONTROL_FLOW))}), whose branches cannot be "
            "calibrated; expected a plain graph: export it with the branch taken, or fold constant conditions "
            "(onnxsim, onnxruntime's offline optimisation)"
        )
    strange = sorted({f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in DOMAINS})
    if strange:
        raise BadInputError(
            f"model {model} has operators that ONNX Runtime does not ship: {', '.join(strange)}; expected standard "
            "ones (ai.onnx, com.microsoft): export the network without them"
        )


def _modern(proto: "onnx.ModelProto", model: Path) -> tuple["onnx.ModelProto", list[str]]:
    """The network at an opset that QDQ needs, and what was done."""
    import onnx
    from onnx import version_converter

    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset >= OLDEST_OPSET:
        return proto, []
    try:
        converted = version_converter.convert_version(proto, OLDEST_OPSET)
        onnx.checker.check_model(converted)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as err:
        raise BadInputError(
            f"model {model} has opset {opset}, per-channel QDQ needs {OLDEST_OPSET}, and it cannot be converted: "
            f"{first_line(err)}; export it again with a newer opset"
        ) from err
    return converted, [f"converted from opset {opset} to {OLDEST_OPSET}, the oldest with one scale a channel"]


def _optimise(source: Path, target: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)


def _name_nodes(proto: "onnx.ModelProto") -> None:
    """A name for every node: nodes are left out, and told of, by name."""
    taken = {node.name for node in proto.graph.node}
    for index, node in enumerate(proto.graph.node):
        if not node.name:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


def _pool(proto: "onnx.ModelProto") -> None:
    """A mean over all positions becomes the pooling that it is: that has an int8 kernel, ReduceMean has none."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in proto.graph.value_info}
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        rank = ranks.get(node.input[0], 0)
        if node.op_type == "ReduceMean" and rank > 2 and _spatial_mean(node, stored, rank):
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            del node.input[1:]


def _fold_beta(proto: "onnx.ModelProto") -> None:
    """A Gemm's factor of its bias goes into the bias: ONNX Runtime's QDQ writer drops it (1.32)."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        beta = next((entry for entry in node.attribute if entry.name == "beta"), None)
        constant = len(node.input) > 2 and node.input[2] in stored
        if node.op_type != "Gemm" or beta is None or beta.f == 1.0 or not constant:
            continue
        name = f"{node.name}_scaled_bias"
        scaled = numpy_helper.to_array(stored[node.input[2]]) * np.float32(beta.f)
        proto.graph.initializer.append(numpy_helper.from_array(scaled, name))
        node.input[2], beta.f = name, 1.0


def _spatial_mean(node: "onnx.NodeProto", stored: "Mapping[str, onnx.TensorProto]", rank: int) -> bool:
    """Whether a ReduceMean goes over every axis but those of samples and channels, and keeps them."""
    from onnx import helper, numpy_helper

    own = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    axes = own.get("axes", ())
    if len(node.input) > 1 and node.input[1] in stored:
        axes = numpy_helper.to_array(stored[node.input[1]]).reshape(-1).tolist()
    spatial = set(range(2, rank))
    return bool(own.get("keepdims", 1)) and {axis % rank for axis in axes} == spatial


def _external_bytes(tensor: "onnx.TensorProto") -> int:
    return sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")
