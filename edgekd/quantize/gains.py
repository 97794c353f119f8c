"""What int8 saves at each node, by ONNX Runtime's profile of both files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekd import kernels
from edgekd.session import SessionOptions

PROFILED = 8
"""Samples that the profile goes through in turn; time may depend on the data."""


def gains_ms(fp32: Path, quantized: Path, inputs: npt.NDArray[Any], options: SessionOptions) -> Mapping[str, float]:
    """Node of the fp32 file -> milliseconds an inference that it takes longer there; negative where int8 is slower.

    A node that the runtime fused into another one, a Relu into its Conv, is not listed.
    """
    slow, fast = (
        {
            node.name: node.calls * node.median_us / 1e3
            for node in kernels.profile(path, inputs[:PROFILED], options).nodes
        }
        for path in (fp32, quantized)
    )
    return {name: taken - fast[name] for name, taken in slow.items() if name in fast}
