"""Bias correction: move each layer's bias until its quantized output has fp32's mean in every channel.

Rounded weights and clipped activations shift a channel's mean, worst in depthwise layers, whose channels have few
weights to average over (Nagel et al. 2019, section 4.2 and appendix D, https://arxiv.org/abs/1906.04721; Finkelstein
et al. 2019, "Fighting Quantization Bias With Bias", https://arxiv.org/abs/1906.03193).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgekd.quantize.recover.joined import INT8, Joined, Sums, as_float
from edgekd.quantize.recover.layers import Graph, Layer, attribute, bias_slot, read

PASSES = 3
"""One that measures each layer on fp32's activations, and two on what is left once all layers before are corrected."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Probe:
    """A layer and the names of what is measured of it.

    shift: input, added to the quantized output. whole, own: sums a channel of quantized minus fp32, in the network and
    on fp32's activations. power: sum of squares of fp32's output. size: numbers in it.
    """

    layer: Layer
    shift: str
    whole: str
    own: str
    power: str
    size: str


def correct_biases(
    fp32: Path | onnx.ModelProto,
    quantized: Path | onnx.ModelProto,
    inputs: npt.NDArray[Any],
    *,
    input_name: str,
    passes: int = PASSES,
) -> onnx.ModelProto:
    """`fp32` with other biases: quantized again with the same ranges, its layers have fp32's means.

    Layers are Conv and Gemm (beta 1) with constant weights, which get a bias where they have none, and MatMul followed
    by the Add of one. The first pass finds each layer's own shift, all at once; the next ones what it inherits still,
    through the activations; the last only measures. Of what was measured, no correction being the first, the best is
    kept. inputs: (n, ...) calibration samples in the network's own type and layout, may be a memmap; memory does not
    grow with n.

    Raises:
        BadInputError: as `sensitivity`.
    """
    joined = Joined(fp32, quantized)
    probes = [probe for layer in joined.graph.layers() if (probe := _probe(joined, layer)) is not None]
    if not probes:
        return read(fp32)
    tried: list[tuple[float, list[Vector]]] = []
    shifts: list[Vector] = [np.zeros(probe.layer.outputs) for probe in probes]
    runs = joined.open(input_name)
    for index in range(passes):
        feeds = {p.shift: _shaped(s, p.layer, joined.graph) for p, s in zip(probes, shifts, strict=True)}
        sums = runs.totals(inputs, feeds)
        tried.append((_error(probes, sums), shifts))
        shifts = [
            shift - _mean(sums, probe.whole if index else probe.own, probe)
            for probe, shift in zip(probes, shifts, strict=True)
        ]
    best = min(tried, key=lambda pair: pair[0])[1]
    return _corrected(read(fp32), {p.layer.name: s for p, s in zip(probes, best, strict=True)})


def _probe(joined: Joined, layer: Layer) -> _Probe | None:
    """What measures a layer of the fp32 half, None for one without a bias to move."""
    end = layer.node if layer.adder is None else layer.adder
    twin, last = joined.twin(layer.node.name), joined.twin(end.name)
    if layer.name.startswith(INT8) or twin is None or last is None or not _movable(layer, joined.graph):
        return None
    product, answer = as_float(joined, layer.node.output[0]), as_float(joined, layer.output)
    own = joined.add("Sub", as_float(joined, joined.replay(layer.node, twin)), product)
    shift = _shift(joined, last)
    whole = joined.add("Sub", as_float(joined, last.output[0]), answer)
    last.output[0], shifted = joined.fresh(), last.output[0]
    joined.tail.append(helper.make_node("Add", [last.output[0], shift], [shifted], name=joined.fresh()))
    return _Probe(
        layer=layer,
        shift=shift,
        whole=_channels(joined, whole, layer),
        own=_channels(joined, own, layer),
        power=joined.give(joined.add("ReduceSum", joined.add("Mul", answer, answer), keepdims=0)),
        size=joined.give(joined.add("Size", answer)),
    )


def _shift(joined: Joined, last: onnx.NodeProto) -> str:
    name = f"shift of {last.name}"
    joined.model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return name


def _movable(layer: Layer, graph: Graph) -> bool:
    if layer.bias is not None:
        # ONNX Runtime's quantizer forgets a Gemm's beta (1.32), so what is measured would not be what is left.
        return layer.bias in graph.stored and attribute(layer.node, "beta", 1.0) == 1.0
    return layer.node.op_type != "MatMul"


def _channels(joined: Joined, tensor: str, layer: Layer) -> str:
    """The output that sums a tensor over all but its channels."""
    if layer.spatial:
        rank = len(joined.graph.stored[layer.weight].dims)
        axes = [0, *range(2, rank)]
    else:
        tensor, axes = joined.add("Reshape", tensor, joined.constant(np.array([-1, layer.outputs]))), [0]
    return joined.give(joined.add("ReduceSum", tensor, joined.constant(np.array(axes)), keepdims=0))


def _shaped(shift: Vector, layer: Layer, graph: Graph) -> npt.NDArray[np.float32]:
    """(channels,), or (channels, 1, ...) to be added to a map."""
    positions = len(graph.stored[layer.weight].dims) - 2 if layer.spatial else 0
    return shift.astype(np.float32).reshape(-1, *[1] * positions)


def _mean(sums: Sums, name: str, probe: _Probe) -> Vector:
    """(channels,) mean of what was summed a channel."""
    mean: Vector = sums[name] * probe.layer.outputs / sums[probe.size]
    return mean


def _error(probes: list[_Probe], sums: Sums) -> float:
    """The squared shift of a layer's channels against the power of its output, averaged over layers."""
    parts = [
        np.square(_mean(sums, p.whole, p)).mean() / max(float(sums[p.power] / sums[p.size]), np.finfo(np.float32).tiny)
        for p in probes
    ]
    return float(np.mean(parts))


def _corrected(model: onnx.ModelProto, shifts: dict[str, Vector]) -> onnx.ModelProto:
    graph = Graph(model)
    for layer in graph.layers():
        if layer.name not in shifts:
            continue
        holder = layer.node if layer.adder is None else layer.adder
        slot = 2 if layer.adder is None else bias_slot(layer.adder, layer.node.output[0])
        before = None if layer.bias is None else graph.constant(layer.bias)
        kind = graph.stored[layer.weight].data_type
        dtype = helper.tensor_dtype_to_np_dtype(kind) if before is None else before.dtype
        graph.replace(
            holder, slot, ((0 if before is None else before) + shifts[layer.name]).astype(dtype), label=layer.name
        )
    return model
