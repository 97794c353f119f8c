"""A prepared fp32 file, ranges and a scheme -> a standard QDQ file, by ONNX Runtime's own writer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.quantize.portable import safe_ranges, weight_pair_sum
from edgekd.quantize.prepare import quiet
from edgekd.quantize.scheme import MATRIX, PAIRS, Scheme

if TYPE_CHECKING:
    import onnx

INTO_MATRIX = ("Relu", "Clip")
LOOK_UP = "Gather"
"""Of a row of a table: it computes nothing, but an embedding is most of a text network's file."""
"""Activations that ONNX Runtime's quantizer puts into the range of the product before them."""

MOVERS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "Split")
"""They cost the same whatever they move."""

Ranges = Mapping[str, tuple[float, float]]
Weight = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A layer's weights. values: (output channels, K...) float32, a view; axis: of the channels in the file's tensor.

    group: of a Conv; else 1.
    """

    node: str
    op_type: str
    tensor: str
    values: Weight
    axis: int
    group: int


def write(source: Path, target: Path, scheme: Scheme, ranges: Ranges) -> None:
    """Write `source`, quantized as `scheme` says, to `target`.

    ranges: of each float activation, low <= 0 <= high. Metadata of the network is kept.

    Raises:
        Exception: one of `prepare.failures()` where ONNX Runtime's quantizer cannot take the graph.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    kept = list(model.metadata_props)
    activation, weight = (QuantType[name] for name in map(_quant_type, PAIRS[scheme.pair]))
    bounds = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()
    }
    with quiet():
        quantizer = QDQQuantizer(
            model,
            scheme.per_channel,
            scheme.weights == "7bit",
            weight,
            activation,
            TensorsData(CalibrationMethod.MinMax, bounds),
            [],
            list(scheme.exclude),
            list(_op_types(scheme)),
            {"TensorQuantOverrides": _overrides(matrices(model), scheme)},
        )
        quantizer.quantize_model()
    made = quantizer.model.model
    _keep_float(made, scheme.exclude)
    OnnxModel.graph_topological_sort(made.graph)  # the quantizer appends, which the standard does not allow
    del made.metadata_props[:]
    made.metadata_props.extend(kept)
    target.write_bytes(made.SerializeToString(deterministic=True))


def quantizable(source: Path) -> frozenset[str]:
    """Names of the nodes that compute, and that ONNX Runtime's quantizer takes."""
    import onnx

    kinds = set(_all_op_types()) - set(MOVERS)
    graph = onnx.load(str(source), load_external_data=False).graph
    return frozenset(node.name for node in graph.node if node.op_type in kinds)


def is_quantized(path: Path) -> bool:
    """Whether the file holds at least one value in int8."""
    import onnx

    return any(node.op_type == "QuantizeLinear" for node in onnx.load(str(path), load_external_data=False).graph.node)


def has_other_nodes(source: Path) -> bool:
    """Whether the network has more to quantize than matrix products and what vanishes into them."""
    import onnx

    kinds = {node.op_type for node in onnx.load(str(source), load_external_data=False).graph.node}
    return bool(kinds & (set(_all_op_types()) - {*MATRIX, *INTO_MATRIX, *MOVERS}))


def matrices(model: "onnx.ModelProto") -> tuple[Matrix, ...]:
    """The constant weights of every Conv, Gemm and MatMul."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type not in MATRIX or len(node.input) < 2 or node.input[1] not in stored:
            continue
        values = numpy_helper.to_array(stored[node.input[1]])
        if node.op_type == "MatMul" and values.ndim != 2:  # ONNX Runtime's quantizer knows no channels there
            continue
        axis = _channel_axis(node, values.ndim)
        found.append(
            Matrix(
                node=node.name,
                op_type=node.op_type,
                tensor=node.input[1],
                values=np.moveaxis(values, axis, 0),
                axis=axis,
                group=_attribute(node, "group", 1),
            )
        )
    return tuple(found)


def _keep_float(model: "onnx.ModelProto", names: Sequence[str]) -> None:
    """Make the nodes run in float, as they stand in the file.

    ONNX Runtime's `WeightBiasQuantization` quantizes the weights of any Conv or Gemm that it finds between a
    DequantizeLinear and a QuantizeLinear, with one scale a tensor, where the input has a single scale (onnxruntime
    pull requests 22969 and 25673). So these get a DequantizeLinear of their own, with the scale once a channel.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in [node for node in graph.node if node.name in names and node.op_type in MATRIX]:
        maker = makers.get(node.input[0])
        if maker is None or maker.op_type != "DequantizeLinear" or stored[maker.input[1]].ndim:
            continue
        channels = _input_channels(node, stored)
        own = f"{node.name}_float_input"
        repeated = [numpy_helper.from_array(np.repeat(stored[name], channels), f"{own}_{index}")
                    for index, name in enumerate(maker.input[1:])]  # fmt: skip
        graph.initializer.extend(repeated)
        inputs = [maker.input[0], *(tensor.name for tensor in repeated)]
        graph.node.insert(
            list(graph.node).index(node), helper.make_node("DequantizeLinear", inputs, [own], name=own, axis=1)
        )
        node.input[0] = own


def _input_channels(node: "onnx.NodeProto", stored: Mapping[str, npt.NDArray[Any]]) -> int:
    shape = stored[node.input[1]].shape
    if node.op_type == "Conv":
        return int(shape[1]) * _attribute(node, "group", 1)
    if node.op_type == "Gemm" and _attribute(node, "transB", 0):
        return int(shape[1])
    return int(shape[0])


def _overrides(found: Sequence[Matrix], scheme: Scheme) -> dict[str, list[dict[str, Any]]]:
    """Tensor -> what differs from the defaults (ONNX Runtime's extra option `TensorQuantOverrides`)."""
    from onnxruntime.quantization import QuantType

    overrides: dict[str, list[dict[str, Any]]] = {}
    for matrix in found:
        if matrix.node in scheme.exclude:
            continue
        if scheme.weights == "safe":
            limits = safe_ranges(matrix.values, op_type=matrix.op_type, group=matrix.group, pairing="kernel")
            if not scheme.per_channel:
                limits = limits.max(keepdims=True)
            overrides[matrix.tensor] = [_range(limit, matrix.axis, scheme.per_channel) for limit in limits.tolist()]
        elif scheme.weights in ("7bit-there", "u8u8-there") and _saturates(matrix, scheme.per_channel):
            # Without an axis the tensor would get a single scale.
            place = {"axis": matrix.axis} if scheme.per_channel else {}
            kind = (
                {"quant_type": QuantType.QInt8, "reduce_range": True}
                if scheme.weights == "7bit-there"
                else {"quant_type": QuantType.QUInt8}
            )
            overrides[matrix.tensor] = [kind | place]
    return overrides


def _range(limit: float, axis: int, per_channel: bool) -> dict[str, Any]:
    from onnxruntime.quantization import QuantType

    one = {"quant_type": QuantType.QInt8, "symmetric": True, "rmin": np.float32(-limit), "rmax": np.float32(limit)}
    return one | {"axis": axis} if per_channel else one


def _saturates(matrix: Matrix, per_channel: bool) -> bool:
    flat = np.abs(matrix.values.reshape(len(matrix.values), -1)).max(axis=1)
    scales = np.maximum(flat if per_channel else np.full_like(flat, flat.max()), np.finfo(np.float32).tiny) / 127
    integers = np.rint(matrix.values / scales.reshape(-1, *[1] * (matrix.values.ndim - 1)))
    worst = weight_pair_sum(integers, op_type=matrix.op_type, group=matrix.group, pairing="kernel")
    return worst > np.iinfo(np.int16).max


def _channel_axis(node: "onnx.NodeProto", rank: int) -> int:
    """The axis of output channels: where ONNX Runtime's quantizer keeps one scale each."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if _attribute(node, "transB", 0) else 1
    return rank - 1


def _attribute(node: "onnx.NodeProto", name: str, otherwise: int) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == name), otherwise)


def _op_types(scheme: Scheme) -> Sequence[str]:
    return (*MATRIX, *INTO_MATRIX, LOOK_UP) if scheme.nodes == "matrix" else _all_op_types()


def _all_op_types() -> tuple[str, ...]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return tuple(sorted({*QDQRegistry, *QLinearOpsRegistry}))


def _quant_type(name: str) -> str:
    return {"uint8": "QUInt8", "int8": "QInt8"}[name]
