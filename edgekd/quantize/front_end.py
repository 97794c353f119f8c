"""The part of a network that computes logarithms of energies: it stays in float, whatever the rest becomes.

Energies in the bands of a sound differ by ten orders of magnitude, and int8 tells two apart: all quiet bands would be
the same number before the logarithm, which is there to make them differ.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekd.quantize.scheme import MATRIX

if TYPE_CHECKING:
    import onnx

SCALING = frozenset(("Add", "Sub", "Mul", "Div", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Flatten"))
"""Between the logarithm and the first matrix product, each with constants: the product quantizes what comes out."""


def front_end(model: "onnx.ModelProto") -> tuple[str, ...]:
    """Names of the nodes, in the graph's order, that lead to a logarithm with matrix products on both sides.

    With them go the scaling and the reshaping that follow up to the next product. Empty for a network without; a
    logarithm of probabilities at the end of a network is none of these.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    kept: set[str] = set()
    for log in [node for node in graph.node if node.op_type == "Log"]:
        before = _reached(
            log, {node.name: [makers[name] for name in node.input if name in makers] for node in graph.node}
        )
        after = _reached(
            log, {node.name: [n for name in node.output for n in readers.get(name, ())] for node in graph.node}
        )
        kinds = [{node.op_type for node in side.values()} for side in (before, after)]
        if all(found & set(MATRIX) for found in kinds):
            kept |= {log.name, *before, *_scaled(log, readers, makers)}
    return tuple(node.name for node in graph.node if node.name in kept)


def _reached(start: "onnx.NodeProto", edges: Mapping[str, list["onnx.NodeProto"]]) -> dict[str, "onnx.NodeProto"]:
    found: dict[str, onnx.NodeProto] = {}
    ahead = list(edges[start.name])
    while ahead:
        node = ahead.pop()
        if node.name not in found:
            found[node.name] = node
            ahead += edges[node.name]
    return found


def _scaled(
    log: "onnx.NodeProto", readers: Mapping[str, list["onnx.NodeProto"]], makers: Mapping[str, "onnx.NodeProto"]
) -> list[str]:
    """The chain of scaling after the logarithm, as long as each result is read once."""
    names: list[str] = []
    node = log
    while True:
        following = readers.get(node.output[0], [])
        if len(following) != 1 or following[0].op_type not in SCALING:
            return names
        others = [name for name in following[0].input if name != node.output[0]]
        if any(name in makers for name in others):
            return names
        node = following[0]
        names.append(node.name)
