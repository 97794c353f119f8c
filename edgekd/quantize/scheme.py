"""How a file is quantized: number types, weights, ranges and the nodes that stay in float, as one plain value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Pair = Literal["u8s8", "s8s8", "u8u8"]
Weights = Literal["full", "safe", "7bit", "7bit-there", "u8u8-there"]
Method = Literal["minmax", "percentile", "entropy", "mse"]
Nodes = Literal["all", "matrix"]
Saturation = Literal["safe", "7bit", "u8u8", "session-key", "refuse"]

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")

MATRIX = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where nearly all multiplications of a network are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A static int8 (QDQ) file.

    pair: types of activations and weights. weights: `full` 8 bits; `safe` 8 bits with as much headroom a channel as
    keeps every 16-bit pair sum of AVX2's kernels in range; `7bit` everywhere; `7bit-there` and `u8u8-there` only in
    the layers that could saturate. method: how activation ranges are chosen. nodes: `all` that ONNX Runtime has int8
    kernels for, or the `matrix` products alone. exclude: names of nodes that stay in float; front_end: those of them
    that always do (edgekd.quantize.front_end). raw_pixels: preprocessing is folded into the first layer. equalised,
    corrected: what was done to the fp32 weights and biases before.
    """

    pair: Pair = "u8s8"
    per_channel: bool = True
    weights: Weights = "full"
    method: Method = "minmax"
    nodes: Nodes = "all"
    exclude: tuple[str, ...] = ()
    front_end: tuple[str, ...] = ()
    raw_pixels: bool = False
    equalised: bool = False
    corrected: bool = False

    def sentence(self) -> str:
        """The scheme in words, for a report."""
        activation, weight = PAIRS[self.pair]
        others = [name for name in self.exclude if name not in self.front_end]
        words = [
            f"{activation} activations x {weight} weights",
            "a scale a channel" if self.per_channel else "a scale a tensor",
            WEIGHTS[self.weights],
            f"{self.method} ranges",
            "" if self.nodes == "all" else "matrix products only",
            "preprocessing folded into the first layer" if self.raw_pixels else "",
            "cross-layer equalisation" if self.equalised else "",
            "bias correction" if self.corrected else "",
            "front end in fp32" if self.front_end else "",
            f"fp32: {', '.join(others)}" if others else "",
        ]
        return ", ".join(word for word in words if word)


PAIRS: Mapping[Pair, tuple[str, str]] = {
    "u8s8": ("uint8", "int8"),
    "s8s8": ("int8", "int8"),
    "u8u8": ("uint8", "uint8"),
}

WEIGHTS: Mapping[Weights, str] = {
    "full": "",
    "safe": "headroom a channel against saturation on AVX2",
    "7bit": "7-bit weights",
    "7bit-there": "7-bit weights where a layer could saturate on AVX2",
    "u8u8-there": "uint8 weights where a layer could saturate on AVX2",
}

STATIC: Mapping[str, tuple[Pair, Weights]] = {
    "int8-u8s8": ("u8s8", "full"),
    "int8-u8s8-7bit": ("u8s8", "7bit"),
    "int8-u8u8": ("u8u8", "full"),
    "int8-s8s8": ("s8s8", "full"),
}
"""Variant -> its pair and weights. 7 bits keep the 16-bit pair sums of AVX2's vpmaddubsw from saturating
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "reduce_range")."""

FIX: Mapping[Saturation, Weights] = {
    "safe": "safe",
    "7bit": "7bit-there",
    "u8u8": "u8u8-there",
    "session-key": "full",
    "refuse": "full",
}
"""What `quantize.saturation` does to the weights of a layer that can saturate."""


def base(variant: str, *, portable: bool, saturation: Saturation) -> Scheme:
    """The scheme that a static variant starts from; portable files do not saturate on AVX2."""
    pair, weights = STATIC[variant]
    fixed = FIX[saturation] if portable and pair != "u8u8" and weights == "full" else weights
    return Scheme(pair=pair, weights=fixed)
