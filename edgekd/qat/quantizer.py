"""Where a network is rounded while it learns: at the tensors where ONNX Runtime's int8 kernels want Q/DQ pairs.

The placement follows ONNX Runtime's QDQ selectors (onnxruntime/core/optimizer/qdq_transformer/selectors_actions): a
Conv or Gemm whose input, weight and bias come from DequantizeLinear and whose output, after its ReLU, goes into
QuantizeLinear becomes one QLinearConv or QGemm. Logits stay float32: QGemm writes them so, and rounding them would
cost accuracy for nothing. Operators that are not listed here run in float32 between two pairs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import DerivedObserverOrFakeQuantize
from torchao.quantization.pt2e.fake_quantize import FakeQuantize
from torchao.quantization.pt2e.observer import MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    DerivedQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

aten = torch.ops.aten

WEIGHTED = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}
"""Input, weight, bias: the operators that are worth an int8 kernel."""

JOINING = {aten.add.Tensor, aten.add_.Tensor, aten.mul.Tensor, aten.mul_.Tensor}
POOLING = {aten.avg_pool2d.default}

CLIPPING = {
    aten.relu.default,
    aten.relu_.default,
    aten.relu6.default,
    aten.relu6_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
}
"""Activations that vanish into the operator before them: the uint8 range clips as they do."""

MOVING = {
    aten.max_pool2d.default,
    aten.flatten.using_ints,
    aten.view.default,
    aten.reshape.default,
    aten.permute.default,
    aten.transpose.int,
}
"""Operators that only choose or move values: their output has the scale of their input."""

SMALLEST_SCALE = 2.0**-20
"""Of a weight: the int32 bias is stored in units of input scale times weight scale, and would overflow below it."""

AVERAGING = 0.01
"""Share of a batch in the moving average of an activation's range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRange:
    """The whole numbers that a weight may take; low <= 0 <= high, within int8."""

    low: int
    high: int


def weight_range(*, bits: int, safe: bool) -> WeightRange:
    """The numbers of 8-bit or 4-bit weights.

    8: -127..127, as ONNX Runtime's symmetric QInt8; safe: -64..64, so that two products with uint8 stay within the 16
    bits of AVX2's vpmaddubsw (2 * 255 * 64 = 32,640). 4: -7..7, safe as they are.
    """
    largest = 7 if bits == 4 else 64 if safe else 127
    return WeightRange(low=-largest, high=largest)


class OnnxRuntimeQuantizer(Quantizer):  # type: ignore[misc]  # torchao has no types
    """Activations uint8 a tensor, asymmetric; weights int8 a channel, symmetric; biases int32."""

    def __init__(self, weights: WeightRange) -> None:
        super().__init__()
        self.activation = QuantizationSpec(
            dtype=torch.uint8,
            quant_min=0,
            quant_max=255,
            qscheme=torch.per_tensor_affine,
            observer_or_fake_quant_ctr=FakeQuantize.with_args(
                observer=MovingAverageMinMaxObserver, averaging_constant=AVERAGING
            ),
        )
        self.weight = QuantizationSpec(
            dtype=torch.int8,
            quant_min=weights.low,
            quant_max=weights.high,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
            observer_or_fake_quant_ctr=PerChannelFakeQuantize.with_args(
                observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=SMALLEST_SCALE
            ),
        )

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """A global average pool becomes a mean: with channels last, torch would export it as a Gather of every value.

        It stays float32: ONNX Runtime has no int8 ReduceMean, and a mean of 64 numbers costs nothing.
        """
        for node in model.graph.nodes:
            if node.target is aten.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
                node.target, node.args = aten.mean.dim, (node.args[0], [-2, -1], True)
        model.recompile()
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        """Write on each node what is rounded there; nodes come in the order of the data flow."""
        for node in model.graph.nodes:
            if node.op != "call_function" or not _is_float(node):
                continue
            if node.target in WEIGHTED:
                self._weighted(node)
            elif node.target in MOVING and _is_rounded(node.args[0]):
                source = node.args[0]
                shared = SharedQuantizationSpec((source, node))
                _annotate(node, {source: self.activation}, None if _is_result(node) else shared)
            elif node.target in POOLING | JOINING and all(map(_is_float, node.args[: _arity(node)])):
                self._rounded(node, dict.fromkeys(node.args[: _arity(node)], self.activation))
        return model

    def prepare_obs_or_fq_callback(self, model: GraphModule, places: dict[Any, Any]) -> None:
        """Round biases while training too: torchao only does it when it converts."""
        for place, derived in places.items():
            if isinstance(derived, DerivedObserverOrFakeQuantize):
                places[place] = BiasFakeQuantize(derived)

    def validate(self, model: GraphModule) -> None:
        """Nothing: every annotation above is one that ONNX Runtime takes."""

    def _weighted(self, node: Node) -> None:
        source, weight, *rest = node.args
        inputs: dict[Any, Any] = {source: self.activation, weight: self.weight}
        bias = rest[0] if rest else None
        if isinstance(bias, Node):
            inputs[bias] = DerivedQuantizationSpec(
                derived_from=[(source, node), (weight, node)],
                derive_qparams_fn=bias_parameters,
                dtype=torch.int32,
                quant_min=-(2**31),
                quant_max=2**31 - 1,
                qscheme=torch.per_channel_symmetric,
                ch_axis=0,
            )
        self._rounded(node, inputs)

    def _rounded(self, node: Node, inputs: dict[Node, Any]) -> None:
        """Round the inputs, and the output after the activation that vanishes into the node."""
        following = next(iter(node.users)) if len(node.users) == 1 else None
        if following is not None and following.target in CLIPPING:
            _annotate(node, inputs, None)
            _annotate(following, {}, None if _is_result(following) else self.activation)
        else:
            _annotate(node, inputs, None if _is_result(node) else self.activation)


class PerChannelFakeQuantize(FakeQuantize):  # type: ignore[misc]  # torchao has no types
    """torchao's FakeQuantize by a name that holds "PerChannel": else prepare_pt2e drops the axis of the spec."""


class BiasFakeQuantize(DerivedObserverOrFakeQuantize):  # type: ignore[misc]  # torchao has no types
    """Rounds a bias to whole accumulator units; the gradient passes through."""

    def __init__(self, derived: DerivedObserverOrFakeQuantize) -> None:
        names = ("dtype", "obs_or_fqs", "derive_qparams_fn", "quant_min", "quant_max", "qscheme", "ch_axis")
        super().__init__(**{name: getattr(derived, name) for name in names})

    def forward(self, bias: Tensor) -> Tensor:
        """(channels,) float32, both; unchanged while its input is not rounded, as in calibration."""
        if not self.obs_or_fqs[0].fake_quant_enabled[0]:
            return bias
        scale, _ = self.calculate_qparams()
        rounded = (bias.detach() / scale).round() * scale
        straight: Tensor = rounded + (bias - bias.detach())
        return straight


def bias_parameters(parts: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Scale and zero point of a bias, (channels,): the product of the input's and the weight's scale, and 0."""
    activation, weight = (part.calculate_qparams()[0] for part in parts)  # type: ignore[operator]
    scale = activation * weight
    return scale, torch.zeros_like(scale, dtype=torch.int64)


def _arity(node: Node) -> int:
    return 2 if node.target in JOINING else 1


def _is_float(node: object) -> bool:
    """Whether the node is a tensor of floating-point numbers."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_rounded(node: Node) -> bool:
    """Whether the node's output is rounded."""
    annotation = node.meta.get(Q_ANNOTATION_KEY)
    return annotation is not None and annotation.output_qspec is not None


def _is_result(node: Node) -> bool:
    return any(user.op == "output" for user in node.users)


def _annotate(node: Node, inputs: dict[Node, Any], output: Any) -> None:
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=output, _annotated=True)


def fake_quantizers(model: nn.Module) -> tuple[FakeQuantize, ...]:
    """All places of a prepared network where inputs, outputs and weights are rounded."""
    return tuple(module for module in model.modules() if isinstance(module, FakeQuantize))
