"""int8 that misses its accuracy gate -> one that meets it: other weights, other biases, or few layers in fp32."""

from edgekd.quantize.recover.bias import correct_biases
from edgekd.quantize.recover.choose import Recovered, Score, Step, recover
from edgekd.quantize.recover.equalize import Equalized, Pair, equalize
from edgekd.quantize.recover.sensitivity import LayerError, sensitivity

__all__ = [
    "Equalized",
    "LayerError",
    "Pair",
    "Recovered",
    "Score",
    "Step",
    "correct_biases",
    "equalize",
    "recover",
    "sensitivity",
]
