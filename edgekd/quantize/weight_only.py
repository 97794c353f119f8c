"""Matrix products with weights of 8 or 4 bits in blocks, as ONNX Runtime's own operator MatMulNBits reads them.

Written here, not by onnxruntime.quantization's MatMulNBitsQuantizer: that one needs onnx_ir, which comes with torch's
exporter only, takes no Gemm, and scales each block by its largest value.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"
BLOCK_SIZE = 128
FEWEST_VALUES = 1024
"""A smaller matrix stays as it is: 4 kB at most."""

INT8_ARITHMETIC = 4
"""accuracy_level: the activations are quantized block by block as they come, and the products are int8's. The default
computes in floats: 8 bits then take 10 to 30 times as long as fp32 (onnxruntime 1.32, AVX-512 VNNI)."""

SHRINKS = {8: (1.0,), 4: tuple(np.linspace(1.0, 0.7, 13).tolist())}
"""Bits -> the parts of a block's range that are tried; the one with the least squared error stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightOnly:
    """What was quantized. layers: the names of the nodes. left: matrix products that stay in float, with the reason.

    share: of the file's float values, those that are quantized now.
    """

    layers: tuple[str, ...]
    left: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A weight matrix (K, N) as MatMulNBits stores it, B blocks of a column.

    packed: (N, B, block_size * bits / 8) uint8, the first of two 4-bit values in the low half. scales: (N, B) float32.
    A value q stands for (q - 2 ** (bits - 1)) * scale.
    """

    packed: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]


def write_weight_only(
    source: Path, target: Path, *, bits: int, block_size: int = BLOCK_SIZE, keep: Container[str] = ()
) -> WeightOnly:
    """Write `source` to `target` with the constant weights of each MatMul and Gemm in `bits` (8 or 4) bits.

    block_size: how many values of a column share a scale, a power of two from 16 on. keep: names of nodes that stay.
    Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftmatmulnbits

    Raises:
        BadInputError: there is nothing to quantize, or no such kernel.
    """
    import onnx

    _check(bits, block_size)
    model = onnx.load(str(source))
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    before = _float_values(graph.initializer)
    reasons = {node.name or node.output[0]: _obstacle(node, stored, keep) for node in graph.node if _is_product(node)}
    layers = tuple(name for name, reason in reasons.items() if not reason)
    left = tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    if not layers:
        raise BadInputError(
            f"nothing to quantize: no MatMul or Gemm has {FEWEST_VALUES:,} constant weights or more "
            f"({'; '.join(left) or 'there is none at all'})"
        )
    nodes = [new for node in graph.node for new in _converted(node, graph, stored, bits, block_size, keep)]
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph, stored)
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    target.write_bytes(model.SerializeToString(deterministic=True))
    kept = _float_values(tensor for tensor in graph.initializer if tensor.name in stored)
    return WeightOnly(layers=layers, left=left, share=1 - kept / before)


def quantize_blocks(weights: npt.NDArray[np.float32], *, bits: int, block_size: int) -> Blocks:
    """The matrix `weights`, (K, N) float32, rounded to `bits` bits around 0, each block of a column by its own scale.

    The value of largest magnitude gets the lowest number, of which there is one more than of positive ones.
    """
    rows, columns = weights.shape
    padded = np.zeros((columns, -(-rows // block_size) * block_size), dtype=np.float32)
    padded[:, :rows] = weights.T
    blocks = padded.reshape(columns, -1, block_size)
    half = 2 ** (bits - 1)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    scales = np.zeros_like(extreme)
    least = np.full(extreme.shape, np.inf, dtype=np.float32)
    for shrink in SHRINKS[bits]:
        tried = extreme * np.float32(-shrink / half)
        error = np.square(_rounded(blocks, tried, half) * tried - blocks).sum(axis=2, keepdims=True)
        scales, least = np.where(error < least, tried, scales), np.minimum(error, least)
    values = (_rounded(blocks, scales, half) + half).astype(np.uint8)
    packed = values if bits == 8 else values[..., ::2] | (values[..., 1::2] << 4)
    return Blocks(packed=packed, scales=scales[..., 0])


def _rounded(blocks: npt.NDArray[Any], scales: npt.NDArray[Any], half: int) -> npt.NDArray[np.float32]:
    divisors = np.where(scales == 0, np.float32(1), scales)  # a block of zeros
    rounded: npt.NDArray[np.float32] = np.clip(np.rint(blocks / divisors), -half, half - 1)
    return rounded


def _check(bits: int, block_size: int) -> None:
    if bits not in SHRINKS:
        raise BadInputError(f"weights of {bits} bits; ONNX Runtime's MatMulNBits is used here with 8 or 4")
    if block_size < 16 or block_size & (block_size - 1):
        raise BadInputError(f"blocks of {block_size} weights; MatMulNBits takes a power of two from 16 on, such as 128")


def _is_product(node: "onnx.NodeProto") -> bool:
    return node.op_type in ("MatMul", "Gemm") and node.domain in ("", "ai.onnx")


def _options(node: "onnx.NodeProto") -> dict[str, Any]:
    import onnx

    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **given}


def _obstacle(node: "onnx.NodeProto", stored: dict[str, "onnx.TensorProto"], keep: Container[str]) -> str:
    """Why a product stays as it is; empty where it can be quantized."""
    import onnx

    weight, options = stored.get(node.input[1]), _options(node)
    if node.name in keep:
        return "part of the front end"
    if weight is None:
        return "weights are not constant"
    if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) != 2:
        return "weights are no float32 matrix"
    if int(np.prod(weight.dims)) < FEWEST_VALUES:
        return f"fewer than {FEWEST_VALUES} values"
    if (options["alpha"], options["beta"], options["transA"]) != (1.0, 1.0, 0):
        return "a Gemm with factors or a transposed input"
    return ""


def _converted(
    node: "onnx.NodeProto",
    graph: "onnx.GraphProto",
    stored: dict[str, "onnx.TensorProto"],
    bits: int,
    block_size: int,
    keep: Container[str],
) -> Iterator["onnx.NodeProto"]:
    """The node itself, or MatMulNBits with an Add where a Gemm has a bias; its weights go into `graph`."""
    import onnx

    if not _is_product(node) or _obstacle(node, stored, keep):
        yield node
        return
    transposed = bool(_options(node)["transB"])
    name = f"{node.input[1]}_{'t' if transposed else ''}{bits}bit"
    rows, columns = stored[node.input[1]].dims[::-1] if transposed else stored[node.input[1]].dims
    if all(tensor.name != name for tensor in graph.initializer):  # else a layer before shares the weights
        weights = onnx.numpy_helper.to_array(stored[node.input[1]])
        made = quantize_blocks(weights.T if transposed else weights, bits=bits, block_size=block_size)
        graph.initializer.append(onnx.numpy_helper.from_array(made.packed, name))
        graph.initializer.append(onnx.numpy_helper.from_array(made.scales, f"{name}_scales"))
    bias = node.input[2] if len(node.input) > 2 else ""
    product = f"{node.output[0]}_product" if bias else node.output[0]
    yield onnx.helper.make_node(
        "MatMulNBits", [node.input[0], name, f"{name}_scales"], [product], name=node.name, domain=DOMAIN,
        K=rows, N=columns, bits=bits, block_size=block_size, accuracy_level=INT8_ARITHMETIC,
    )  # fmt: skip
    if bias:
        yield onnx.helper.make_node("Add", [product, bias], [node.output[0]], name=f"{node.name}_bias")


def _drop_unused(graph: "onnx.GraphProto", stored: Iterable[str]) -> None:
    """Remove those of the `stored` weights that no node reads any more, in subgraphs neither."""
    used = {value.name for value in graph.output} | set(_reads(graph))
    unused = set(stored) - used
    kept = [tensor for tensor in graph.initializer if tensor.name not in unused]
    inputs = [value for value in graph.input if value.name not in unused]  # old files list their weights there
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend(kept)
    graph.input.extend(inputs)


def _reads(graph: "onnx.GraphProto") -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _reads(inner)


def _float_values(tensors: Iterable["onnx.TensorProto"]) -> int:
    import onnx

    return sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)
