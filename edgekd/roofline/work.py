"""One kernel -> the operations it computes and the bytes it has to move, from the shapes of its tensors.

Operations are multiply-adds of the products (Conv, MatMul, LSTM, ...), as the kernel computes them: channels that
ONNX Runtime pads for its blocked layout count. For the others they are slots of one multiply-add, and rough. Bytes are
the least: every tensor once, weights too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekd.kernels import Node
from edgekd.operators import Tensor

Rate = Literal["fp32", "int8"]

CURVE_SLOTS = 10
"""exp, erf or tanh of one value: polynomials of degree 5 to 13, as in
https://github.com/microsoft/onnxruntime/tree/main/onnxruntime/core/mlas/lib (compute.cpp, erf.cpp, tanh.cpp)."""

NORM_SLOTS = 4
"""Mean, variance, subtraction and scaling of one value."""

RESIZE_SLOTS = 4
"""Four neighbours of one value."""

SLOTS_PER_OUTPUT: dict[str, int] = {
    **dict.fromkeys(
        ("Abs", "Add", "And", "BatchNormalization", "BiasAdd", "Cast", "Ceil", "Clip", "DequantizeLinear", "Div",
         "DynamicQuantizeLinear", "Equal", "Floor", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
         "LeakyRelu", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
         "QLinearAdd", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QuantizeLinear", "Reciprocal", "Relu",
         "Round", "Sign", "Sqrt", "Sub", "Sum", "ThresholdedRelu", "Where"), 1),
    **dict.fromkeys(
        ("BiasGelu", "BiasSoftmax", "Celu", "Cos", "Elu", "Erf", "Exp", "FastGelu", "Gelu", "Log", "LogSoftmax", "Mish",
         "Pow", "QLinearSoftmax", "QuickGelu", "Selu", "Sigmoid", "Sin", "Softmax", "Softplus", "Softsign", "Swish",
         "Tanh"), CURVE_SLOTS),
    **dict.fromkeys(
        ("EmbedLayerNormalization", "GroupNorm", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
         "LpNormalization", "MeanVarianceNormalization", "QEmbedLayerNormalization", "RMSNormalization",
         "RotaryEmbedding", "SimplifiedLayerNormalization", "SkipLayerNormalization",
         "SkipSimplifiedLayerNormalization"), NORM_SLOTS),
    **dict.fromkeys(("Resize", "Upsample"), RESIZE_SLOTS),
    **dict.fromkeys(("Concat", "DepthToSpace", "Expand", "MemcpyFromHost", "MemcpyToHost", "Pad", "QLinearConcat",
                     "ReorderInput", "ReorderOutput", "SpaceToDepth", "Split", "Tile", "Transpose"), 0),
}  # fmt: skip
SLOT_PER_INPUT = frozenset(
    {"ArgMax", "ArgMin", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool",
     "QLinearReduceMean", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
     "ReduceSumSquare"}
)  # fmt: skip
WINDOWS = frozenset({"AveragePool", "LpPool", "MaxPool", "NhwcMaxPool", "QLinearAveragePool"})
PICKERS = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
"""They read as much as they write, not the whole of what they pick from."""
VIEWS = frozenset({"ConstantOfShape", "Dropout", "Flatten", "Identity", "Range", "Reshape", "Shape", "Size", "Squeeze",
                   "Unsqueeze"})  # fmt: skip
"""They move nothing where ONNX Runtime lets input and output share memory, which is the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call of a kernel. operations: multiply-adds, or slots of one. macs: whether they are real multiply-adds.

    bytes_moved: the least. rate: whether the processor's fp32 or int8 multiply-adds bound it.
    """

    operations: int
    macs: bool
    bytes_moved: int
    rate: Rate


class _Unknown(Exception):  # noqa: N818  no error: an answer
    """The shapes do not say how much is computed."""


def work(node: Node) -> Work | None:
    """What one call has to do; None for an operator or for shapes that are not known well enough.

    node: of a profile that traced it; of another one only what has no weights is known.
    """
    bytes_moved = _bytes(node)
    if node.op_type in PRODUCTS:
        try:
            macs = PRODUCTS[node.op_type](node)
        except _Unknown:
            return None
        return Work(operations=macs, macs=True, bytes_moved=bytes_moved, rate=_rate(node))
    slots = _slots(node)
    return None if slots is None else Work(operations=slots, macs=False, bytes_moved=bytes_moved, rate="fp32")


def _bytes(node: Node) -> int:
    made = sum(tensor.size_bytes for tensor in node.outputs)
    if node.op_type in VIEWS:
        return 0
    if node.op_type in PICKERS:
        return 2 * made
    return made + sum(tensor.size_bytes for tensor in node.inputs if tensor)


def _rate(node: Node) -> Rate:
    """int8 for integer kernels; MatMulNBits computes in int8 at accuracy_level 4.

    Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftmatmulnbits
    """
    if node.op_type in ("MatMulNBits", "MatMulBnb4"):
        return "int8" if node.attributes.get("accuracy_level") == 4 else "fp32"
    return "int8" if node.kind == "int8" else "fp32"


def _slots(node: Node) -> int | None:
    made = sum(tensor.elements for tensor in node.outputs[:1])
    if node.op_type in VIEWS or node.op_type in PICKERS:
        return 0
    if node.op_type in SLOT_PER_INPUT:
        return sum(tensor.elements for tensor in node.inputs[:1] if tensor)
    if node.op_type in WINDOWS:
        kernel = node.attributes.get("kernel_shape")
        return made * math.prod(kernel) if kernel else None
    slots = SLOTS_PER_OUTPUT.get(node.op_type)
    return None if slots is None else slots * made


def _at(node: Node, place: int, *, rank: int | None = None) -> tuple[int, ...]:
    """The shape of the input at a place, with at least one dimension, or of exactly `rank`."""
    tensor: Tensor | None = node.inputs[place] if place < len(node.inputs) else None
    if not node.traced or tensor is None or not tensor.shape or (rank is not None and len(tensor.shape) != rank):
        raise _Unknown
    return tensor.shape


def _made(node: Node) -> int:
    if not node.outputs:
        raise _Unknown
    return node.outputs[0].elements


def _conv(weight: int) -> Callable[[Node], int]:
    """Every value made is a sum over a group's channels and the kernel. weight: its place; (out, in / groups, ...)."""
    return lambda node: _made(node) * math.prod(_at(node, weight)[1:])


def _transposed_conv(node: Node) -> int:
    """Every value taken is spread over a group's channels and the kernel; weights (in, out / groups, ...)."""
    return math.prod(_at(node, 0)) * math.prod(_at(node, 1)[1:])


def _matmul(node: Node) -> int:
    """Every value made is a sum over the last axis of the first matrix."""
    shape = _at(node, 0)
    return _made(node) * (shape[-2] if node.attributes.get("transA") and len(shape) > 1 else shape[-1])


def _recurrent(node: Node) -> int:
    """Every step of every sample multiplies by the weights of the input and of the state, in each direction.

    X (steps, samples, features), or samples first with layout 1; W and R (directions, gates * hidden, ...).
    """
    steps, samples, _ = _at(node, 0, rank=3)
    return steps * samples * (math.prod(_at(node, 1)) + math.prod(_at(node, 2)))


def _packed_attention(node: Node) -> int:
    """Projection to queries, keys and values, then scores and mixture; (batch, tokens, features), no past.

    Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftattention
    """
    batch, tokens, features = _at(node, 0, rank=3)
    projected = _at(node, 1, rank=2)[1]
    if node.attributes.get("qkv_hidden_sizes") or len(node.outputs) > 1:
        raise _Unknown
    return batch * tokens * features * projected + 2 * batch * tokens * tokens * (projected // 3)


def _attention(node: Node) -> int:
    """Scores and mixture of queries, keys and values that are projected already: all of three or all of four axes."""
    query, key, value = _at(node, 0), _at(node, 1), _at(node, 2)
    if not len(query) == len(key) == len(value) or len(query) not in (3, 4) or len(node.outputs) > 1:
        raise _Unknown
    if query[-1] != key[-1] and len(query) == 3:  # fewer heads of keys than of queries
        raise _Unknown
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _either_attention(node: Node) -> int:
    """Two operators have this name: ONNX's takes queries, keys, values; Microsoft's a matrix of weights."""
    return _packed_attention(node) if len(_at(node, 1)) == 2 else _attention(node)


PRODUCTS: dict[str, Callable[[Node], int]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "NhwcFusedConv"), _conv(1)),
    "QLinearConv": _conv(3),
    "ConvTranspose": _transposed_conv,
    **dict.fromkeys(
        ("DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulBnb4", "MatMulInteger",
         "MatMulIntegerToFloat", "MatMulNBits", "QGemm", "QLinearMatMul"), _matmul),
    **dict.fromkeys(("DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"), _recurrent),
    "QAttention": _packed_attention,
    "Attention": _either_attention,
    "MultiHeadAttention": _attention,
}  # fmt: skip
"""Operator -> its multiply-adds."""


def is_depthwise(node: Node) -> bool:
    """Whether it is a convolution with one input channel a group."""
    places = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "NhwcFusedConv": 1, "QLinearConv": 3}
    place = places.get(node.op_type)
    weight = node.inputs[place] if place is not None and place < len(node.inputs) else None
    groups = node.attributes.get("group", 1)
    return weight is not None and len(weight.shape) > 2 and weight.shape[1] == 1 and groups > 1


def shapes(tensors: Sequence[Tensor | None]) -> list[str]:
    """Types and shapes as text for people, such as `uint8 1x56x56x32`; single numbers are left out."""
    return [f"{t.dtype} {'x'.join(map(str, t.shape))}" for t in tensors if t is not None and t.elements > 1]
