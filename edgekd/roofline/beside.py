"""Two profiles side by side: the time of each node of the first file, before and after it was quantized."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.kernels import Node

SEPARATORS = "_/:."
"""What stands between a node's name and what a tool appends to it, as in `conv_quant` and `swish/QuickGeluFusion/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One node of the original file. Times in milliseconds of an inference; None: no kernel of its own.

    before_kernels, after_kernels: the operators that ran for it, each once. A node without a kernel was fused into
    another one, or left out. name: "" for all kernels that no node could be found for.
    """

    name: str
    before_ms: float | None
    after_ms: float | None
    before_kernels: tuple[str, ...]
    after_kernels: tuple[str, ...]


def beside(original: Path, before: Sequence[Node], after: Sequence[Node]) -> tuple[Beside, ...]:
    """The nodes of the file `original` that ran in either profile, in its order; last, what belongs to none.

    A kernel belongs to the node it is called after, or after whose output: quantizers keep names, and append to them.
    """
    names, makers = _names(original)
    sides = [_grouped(side, makers) for side in (before, after)]
    rows = []
    for name in (*names, ""):
        first, second = (side.get(name, []) for side in sides)
        if first or second:
            rows.append(
                Beside(
                    name=name,
                    before_ms=_milliseconds(first),
                    after_ms=_milliseconds(second),
                    before_kernels=_operators(first),
                    after_kernels=_operators(second),
                )
            )
    return tuple(rows)


def owner(name: str, makers: dict[str, str]) -> str:
    """The original node that a kernel belongs to, by the longest name it starts with; "" for none.

    makers: names of nodes and of their outputs -> the node's name.
    """
    if name in makers:
        return makers[name]
    for end in range(len(name) - 1, 0, -1):
        if name[end] in SEPARATORS and name[:end] in makers:
            return makers[name[:end]]
    return ""


def _names(original: Path) -> tuple[list[str], dict[str, str]]:
    """The nodes' names in the file's order, and what kernels may be called after -> the node."""
    import onnx

    graph = onnx.load(str(original), load_external_data=False).graph
    makers = {output: node.name for node in graph.node if node.name for output in node.output if output}
    makers |= {node.name: node.name for node in graph.node if node.name}
    return list(dict.fromkeys(node.name for node in graph.node if node.name)), makers


def _grouped(nodes: Iterable[Node], makers: dict[str, str]) -> dict[str, list[Node]]:
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[owner(node.name, makers)].append(node)
    return groups


def _milliseconds(nodes: Sequence[Node]) -> float | None:
    return sum(node.total_us for node in nodes) / 1e3 if nodes else None


def _operators(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.op_type for node in nodes))
