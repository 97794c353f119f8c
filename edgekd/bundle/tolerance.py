"""How far the outputs of a bundle's model may be from the expected ones on another machine, and how far they are."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.bundle.manifest import OutputTolerance, Tolerance

Array = npt.NDArray[Any]
Measure = Literal["largest", "rms", "unequal"]

FLOAT_SHARE = 1e-3
"""Of the outputs' range: the order of float sums differs between kernels, and fp16 may be computed in fp32 or fp16."""
INTEGER_SHARE = 0.05
"""Of the outputs' range: int8 kernels of other instruction sets saturate and round otherwise, by a step or a few."""
INTEGER_RMS_SHARE = 0.01
"""The same for a map or a sequence: of its many numbers a few may be far off, on the edge of a letter, but not most."""
SMALLEST_TOLERANCE = 1e-3
"""Of 1, or of the greatest number of an output where all are smaller."""
INTEGER_MISSES = 16
"""One in so many samples of an int8 file may change its class on another instruction set."""


def tolerance(outputs: Sequence[Array], *, given: float | None, integer: bool) -> Tolerance:
    """What is allowed elsewhere of the expected `outputs`, each (n, ...), of a file that computes in int8 or does not.

    given: the largest difference of any output, instead of what follows from the kind of file.
    """
    misses = len(outputs[0]) // INTEGER_MISSES if integer else 0
    return Tolerance(
        outputs=[
            _of_output(output, integer=integer) if given is None else OutputTolerance(measure="largest", allowed=given)
            for output in outputs
        ],
        top1_misses=misses if are_scores(outputs[0]) else None,
    )


def are_scores(first: Array) -> bool:
    """Whether the first output is (n, K), K > 1: a number for each class, as `edgekd.accuracy` understands it too."""
    return first.ndim == 2 and first.shape[1] > 1


def difference(measure: Measure, outputs: Array, expected: Array) -> float:
    """How far the sample that is furthest off is from what is expected of it. outputs, expected: (n, ...)."""
    apart = np.abs(outputs.astype(np.float64) - expected.astype(np.float64)).reshape(len(outputs), -1)
    if apart.size == 0:
        return 0.0
    if measure == "largest":
        return float(apart.max())
    return float(np.sqrt(np.square(apart).mean(axis=1)).max() if measure == "rms" else (apart > 0).mean(axis=1).max())


def _of_output(output: Array, *, integer: bool) -> OutputTolerance:
    if output.dtype.kind != "f":  # numbers of classes or places: no distance between them
        return OutputTolerance(measure="unequal", allowed=INTEGER_SHARE if integer else FLOAT_SHARE)
    spread, greatest = float(np.ptp(output)), float(np.abs(output).max())
    smallest = SMALLEST_TOLERANCE * min(1.0, greatest)
    if integer and output.ndim > 2:
        return OutputTolerance(measure="rms", allowed=smallest + INTEGER_RMS_SHARE * spread)
    return OutputTolerance(measure="largest", allowed=smallest + (INTEGER_SHARE if integer else FLOAT_SHARE) * spread)
