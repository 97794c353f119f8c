"""Whether options leave the outputs what they were: faster answers that are others are no tuning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.session import SessionOptions, create_session, first_line, native_errors
from edgekd.timing import Feeds

Outputs = list[list[Any]]
"""Batch by batch, all outputs of the network."""

BATCHES = 8

SHARE = 1e-4
"""Of an output's greatest number: about 800 roundings of float32. Kernels that sum in another order stay far below it;
one step of an int8 output, 1/256 of its range, is far above."""


def outputs_of(path: Path, options: SessionOptions, feeds: Feeds) -> Outputs:
    """All outputs of the first few batches, from a session in this process that is closed again.

    Raises:
        BadInputError: ONNX Runtime cannot load or run it.
        EnvironmentFault: the provider is not there.
    """
    session = create_session(path, options)
    count = min(BATCHES, len(next(iter(feeds.values()))))
    try:
        return [session.run(None, {name: batches[k] for name, batches in feeds.items()}) for k in range(count)]
    except native_errors() as err:
        raise BadInputError(f"model {path}: ONNX Runtime cannot run it: {first_line(err)}") from err


def difference(found: Outputs, expected: Outputs) -> str | None:
    """How far apart two files of outputs are, in words; None where they are equal within float tolerance."""
    for these, those in zip(found, expected, strict=True):
        for index, (this, other) in enumerate(zip(these, those, strict=True)):
            said = _apart(this, other)
            if said is not None:
                return f"output {index} {said}"
    return None


def _apart(found: Any, expected: Any) -> str | None:
    if not isinstance(found, np.ndarray):  # sequences and maps
        return None if _plain(found) == _plain(expected) else "is another"
    if found.shape != expected.shape:
        return f"has shape {found.shape}, with the target's own options {expected.shape}"
    if found.dtype.kind != "f":
        return None if np.array_equal(found, expected) else "has other values"
    return _apart_floats(found.astype(np.float64), expected.astype(np.float64))


def _apart_floats(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> str | None:
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        return "is not finite in other places"
    if not finite.any():
        return None
    apart, greatest = float(np.abs(found[finite] - expected[finite]).max()), float(np.abs(expected[finite]).max())
    return None if apart <= SHARE * greatest else f"differs by up to {apart:.3g}, numbers reach {greatest:.3g}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
