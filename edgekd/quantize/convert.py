"""Variants that need no int8 ranges of activations: fp16, dynamic int8 and int8 or int4 weights."""

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekd.quantize.prepare import quiet
from edgekd.quantize.weight_only import write_weight_only

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]
Converter = Callable[[Path, Path, Ranges, Sequence[str]], None]

LARGEST_HALF = 65_504.0
SMALLEST_HALF = 2.0**-24


def _fp16(source: Path, target: Path, ranges: Ranges, keep: Sequence[str]) -> None:
    """What does not fit into 16 bits stays in 32: the CPU provider computes in 32 bits and would hide an overflow."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    own = {node.name for node in model.graph.node}
    with quiet():
        made = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=sorted({*_too_wide(model, ranges), *keep})
        )
        _drop_round_trips(made.graph, own)
        # The converter appends the casts of its inputs at the end.
        OnnxModel.graph_topological_sort(made.graph)
    onnx.checker.check_model(made)
    onnx.save(made, str(target))


def _drop_round_trips(graph: "onnx.GraphProto", own: Container[str]) -> None:
    """Between two nodes that stay in 32 bits the converter goes through 16, where what does not fit becomes infinite.

    own: names of the network's nodes, whose casts are not the converter's.
    """
    import onnx

    casts = [node for node in graph.node if node.op_type == "Cast" and node.name not in own]
    halves = {node.output[0]: node.input[0] for node in casts if node.attribute[0].i == onnx.TensorProto.FLOAT16}
    for cast in casts:
        if cast.input[0] in halves and cast.attribute[0].i == onnx.TensorProto.FLOAT:
            cast.op_type, cast.input[0] = "Identity", halves[cast.input[0]]
            del cast.attribute[:]
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for cast in casts:
        if cast.output[0] not in read:
            graph.node.remove(cast)


def _too_wide(model: "onnx.ModelProto", ranges: Ranges) -> list[str]:
    """Names of the nodes with a number, constant or seen in calibration, that fp16 has not."""
    from onnx import numpy_helper

    bad = {name for name, (low, high) in ranges.items() if max(-low, high) > LARGEST_HALF}
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size:
            size = np.abs(values[values != 0])
            if size.size and (size.max() > LARGEST_HALF or size.max() < SMALLEST_HALF):
                bad.add(tensor.name)
    return [node.name for node in model.graph.node if bad & {*node.input, *node.output}]


def _dynamic(source: Path, target: Path, ranges: Ranges, keep: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # QUInt8 weights: ONNX Runtime's CPU provider has no ConvInteger for signed ones, and they cannot saturate on AVX2.
    with quiet():
        quantize_dynamic(
            str(source), str(target), per_channel=True, weight_type=QuantType.QUInt8, nodes_to_exclude=list(keep)
        )


def _weights(bits: int) -> Converter:
    def write(source: Path, target: Path, ranges: Ranges, keep: Sequence[str]) -> None:
        write_weight_only(source, target, bits=bits, keep=keep)

    return write


CONVERTED: Mapping[str, tuple[Converter, str]] = {
    "fp16": (_fp16, "16-bit floats inside, 32-bit inputs and outputs"),
    "int8-dynamic": (_dynamic, "uint8 weights; activations quantized as they come"),
    "int8-weight-only": (_weights(8), "8-bit weights of the matrix products, the rest in fp32"),
    "int4-weight-only": (_weights(4), "4-bit weights of the matrix products, the rest in fp32"),
}
"""Variant -> what writes it from a prepared fp32 file, its activations' ranges and the names of the nodes that stay in
32 bits, and how it is made in words."""
