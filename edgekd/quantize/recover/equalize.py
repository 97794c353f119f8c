"""Cross-layer equalisation: scale a layer's channels down and the next layer's inputs up until both ranges agree.

A positively homogeneous function f between two layers, f(s x) = s f(x) for s > 0, lets a channel's scale move from one
layer to the next: W2 f(W1 x + b1) = (W2 / s) f(s W1 x + s b1). With ranges r1, r2 of the channel in both layers,
s = sqrt(r2 / r1) gives both sqrt(r1 r2) (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and
Bias Correction", section 4.1, https://arxiv.org/abs/1906.04721). The paper's other half is in `bias`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from edgekd.quantize.recover.chains import Chain, chains
from edgekd.quantize.recover.layers import Graph, Layer, bias_slot, read

SWEEPS = 200
TOLERANCE = 1e-3
"""Stops when no channel moves by more in a sweep: an eighth of a step of an 8-bit weight at its range."""

DEAD = 1 / 254
"""A channel of less than this part of the largest sqrt(r1 r2) rounds to zero however it is scaled, and scaling it up
would blow up its bias (batch norm leaves such channels): it stays as it is."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two layers whose channels were matched; max_change: largest factor, up or down, of a channel between them."""

    first: str
    second: str
    channels: int
    max_change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalized:
    """The same function with other weights; its activations have other ranges, so calibrate again.

    skipped: a sentence for every layer whose output could not be matched. sweeps: passes over all pairs. converged:
    the last one moved no channel by more than `TOLERANCE`.
    """

    model: onnx.ModelProto
    pairs: tuple[Pair, ...]
    skipped: tuple[str, ...]
    max_change: float
    sweeps: int
    converged: bool


class _Scales:
    """A layer's largest absolute weight between an input and an output channel, and the factors found for both."""

    def __init__(self, layer: Layer, graph: Graph, block: int) -> None:
        self.layer, self.block = layer, block
        weight = graph.constant(layer.weight)
        assert weight is not None, "a layer has constant weights"
        # (groups, outputs of a group, inputs of a group)
        self.ranges = np.abs(layer.canonical(weight, block=block)).max(axis=3).astype(np.float64)
        self.out: Vector = np.ones(layer.outputs)
        self.into: Vector = np.ones(layer.inputs // block)

    def scaled(self) -> Vector:
        """(groups, outputs of a group, inputs of a group)"""
        groups, outputs, inputs = self.ranges.shape
        both: Vector = self.ranges * self.out.reshape(groups, outputs, 1) * self.into.reshape(groups, 1, inputs)
        return both

    def out_range(self) -> Vector:
        """(outputs,)"""
        found: Vector = self.scaled().max(axis=2).reshape(-1)
        return found

    def in_range(self) -> Vector:
        """(input channels,)"""
        found: Vector = self.scaled().max(axis=1).reshape(-1)
        return found


def equalize(model: onnx.ModelProto | Path, *, sweeps: int = SWEEPS) -> Equalized:
    """The model with matched channel ranges, its function unchanged up to rounding.

    Layers are Conv (grouped and depthwise too), Gemm and MatMul with constant float weights; between them may stand
    what `chains` knows to commute with a positive scale. Clip(0, 6) does not, so MobileNetV2's layers around it are
    skipped, and named. The model given is left as it is. A model without such pairs comes back as it was.
    """
    changed = read(model)
    graph = Graph(changed)
    found, skipped = chains(graph)
    blocks = {id(chain.second.node): chain.block for chain in found}
    layers = {id(end.node): end for chain in found for end in (chain.first, chain.second)}
    scales = {key: _Scales(layer, graph, blocks.get(key, 1)) for key, layer in layers.items()}
    matched = [(scales[id(chain.first.node)], scales[id(chain.second.node)]) for chain in found]
    done, last = 0, np.inf if matched else 0.0
    while done < sweeps and last > TOLERANCE:
        done, last = done + 1, max(_match(first, second) for first, second in matched)
    for each in scales.values():
        _apply(each, graph)
    pairs = tuple(_pair(chain, first) for chain, (first, _) in zip(found, matched, strict=True))
    return Equalized(
        model=changed,
        pairs=pairs,
        skipped=skipped,
        max_change=max((pair.max_change for pair in pairs), default=1.0),
        sweeps=done,
        converged=last <= TOLERANCE,
    )


def _match(first: _Scales, second: _Scales) -> float:
    """Move the scales of one pair; returns the largest relative move."""
    one, two = first.out_range(), second.in_range()
    goal = np.sqrt(one) * np.sqrt(two)
    alive = goal > DEAD * goal.max()
    factor = np.ones_like(goal)
    factor[alive] = goal[alive] / one[alive]
    first.out *= factor
    second.into /= factor
    return float(np.maximum(factor, 1 / factor).max() - 1)


def _apply(scales: _Scales, graph: Graph) -> None:
    layer = scales.layer
    weight = graph.constant(layer.weight)
    assert weight is not None, "a layer has constant weights"
    groups, outputs, inputs = scales.ranges.shape
    factors = scales.out.reshape(groups, outputs, 1, 1) * scales.into.reshape(groups, 1, inputs, 1)
    values = (layer.canonical(weight, block=scales.block) * factors).astype(weight.dtype)
    flat = values.reshape(layer.outputs, -1)
    graph.replace(layer.node, 1, (flat.T if layer.transposed else flat).reshape(weight.shape), label=layer.name)
    bias = None if layer.bias is None else graph.constant(layer.bias)
    if bias is not None and np.any(scales.out != 1):
        holder = layer.node if layer.adder is None else layer.adder
        slot = 2 if layer.adder is None else bias_slot(layer.adder, layer.node.output[0])
        graph.replace(holder, slot, (bias * scales.out).astype(bias.dtype), label=layer.name)


def _pair(chain: Chain, first: _Scales) -> Pair:
    return Pair(
        first=chain.first.name,
        second=chain.second.name,
        channels=chain.first.outputs,
        max_change=float(np.maximum(first.out, 1 / first.out).max()),
    )
