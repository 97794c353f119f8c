"""Small QDQ networks of which every integer is known: branches side by side, each one int8 layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE = 16, 4


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One layer on the first `channels` channels of the input. weight: int8 or uint8, as the file has it."""

    name: str
    weight: npt.NDArray[Any]
    op_type: str = "Conv"
    group: int = 1
    channels: int = CHANNELS
    transposed: bool = False


def write_branches(path: Path, branches: list[Branch], *, activation: str = "uint8") -> dict[str, slice]:
    """Write the network, (n, 16, 4, 4) float pixels in, (n, all outputs) out; returns each branch's outputs.

    Pixels are their own integers, 0..255, or with int8 activations their integers plus 128.
    """
    graph = _Builder(np.dtype(activation))
    outputs, places, start = [], {}, 0
    for branch in branches:
        outputs.append(graph.add(branch))
        width = graph.width(branch)
        places[branch.name] = slice(start, start + width)
        start += width
    graph.nodes.append(helper.make_node("Concat", outputs, ["y"], axis=1))
    made = helper.make_graph(
        graph.nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", start])],
        graph.constants,
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return places


class _Builder:
    def __init__(self, activation: np.dtype[Any]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.zero = np.array(-128 if activation == np.int8 else 0, dtype=activation)

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def quantized(self, source: str, name: str, scale: float) -> str:
        """Q and DQ behind a tensor."""
        parts = [self.constant(f"{name}_scale", np.float32(scale)[()] * np.ones((), np.float32)),
                 self.constant(f"{name}_zero", self.zero)]  # fmt: skip
        self.nodes.append(helper.make_node("QuantizeLinear", [source, *parts], [f"{name}_q"], name=f"{name}_q"))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parts], [name], name=name))
        return name

    def width(self, branch: Branch) -> int:
        if branch.op_type != "Conv":
            return branch.weight.shape[0 if branch.transposed else 1]
        return len(branch.weight) * int(np.prod([SIZE - k + 1 for k in branch.weight.shape[2:]]))

    def add(self, branch: Branch) -> str:
        own = branch.name
        ends = [self.constant(f"{own}_{end}", np.array([value])) for end, value in
                (("from", 0), ("to", branch.channels), ("axis", 1))]  # fmt: skip
        self.nodes.append(helper.make_node("Slice", ["x", *ends], [f"{own}_part"]))
        source = f"{own}_part"
        if branch.op_type != "Conv":
            self.nodes.append(helper.make_node("Flatten", [source], [f"{own}_flat"]))
            source = f"{own}_flat"
        x = self.quantized(source, f"{own}_x", 1.0)
        zero = np.array(128 if branch.weight.dtype == np.uint8 else 0, branch.weight.dtype)
        parts = [self.constant(f"{own}_w_q", branch.weight), self.constant(f"{own}_one", np.ones((), np.float32)),
                 self.constant(f"{own}_w_zero", zero)]  # fmt: skip
        self.nodes.append(helper.make_node("DequantizeLinear", parts, [f"{own}_w"]))
        options = {"Conv": {"group": branch.group}, "Gemm": {"transB": int(branch.transposed)}, "MatMul": {}}
        self.nodes.append(
            helper.make_node(branch.op_type, [x, f"{own}_w"], [f"{own}_out"], name=own, **options[branch.op_type])
        )
        reduced = branch.weight.size // self._outputs(branch)
        y = self.quantized(f"{own}_out", f"{own}_y", 127.0 * reduced)
        self.nodes.append(helper.make_node("Flatten", [y], [f"{own}_end"]))
        return f"{own}_end"

    @staticmethod
    def _outputs(branch: Branch) -> int:
        return branch.weight.shape[1 if branch.op_type != "Conv" and not branch.transposed else 0]


def bright(count: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Whole numbers 200..255: what makes 16-bit sums overflow."""
    pixels = np.random.default_rng(seed).integers(200, 256, (count, CHANNELS, SIZE, SIZE))
    return pixels.astype(np.float32)
