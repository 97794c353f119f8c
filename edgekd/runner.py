"""What runs a network on a batch of any size, and the check that samples fit its input. No torch here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.rows import Inputs, places
from edgekd.session import Facts, first_line, is_numbers, native_errors

if TYPE_CHECKING:
    import onnxruntime

Run = Callable[[npt.NDArray[Any]], list[npt.NDArray[Any]]]
"""A batch of inputs -> the outputs, each (batch, ...)."""


def runner(session: "onnxruntime.InferenceSession", known: Facts) -> Any:
    """A function from a batch of inputs to the first output, (batch, ...) float32; else as `run_all`."""
    run = _in_pieces(session, known, [known.output_name])

    def first(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(run(batch)[0], dtype=np.float32)

    return first


def run_all(session: "onnxruntime.InferenceSession", known: Facts) -> Run:
    """A function from a batch of inputs to all outputs that are tensors of numbers, in their own types, first to last.

    A network whose batch is fixed gets pieces of that size, the last one filled up with its own last sample. The
    function raises BadInputError where ONNX Runtime cannot run the network, or where the pieces' outputs cannot be put
    together, because they have no row for each sample.
    """
    return _in_pieces(session, known, [output.name for output in session.get_outputs() if is_numbers(output.type)])


def _in_pieces(session: "onnxruntime.InferenceSession", known: Facts, names: list[str]) -> Run:
    fixed, failures = known.shape[0], native_errors()

    def once(batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        try:
            outputs = session.run(names, {known.input_name: batch})
        except failures as err:
            raise BadInputError(f"ONNX Runtime cannot run the model on {batch.shape}: {first_line(err)}") from err
        return [np.asarray(output) for output in outputs]

    def run(batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        if fixed is None or len(batch) == fixed:
            return once(batch)
        filled = np.concatenate([batch, np.repeat(batch[-1:], -len(batch) % fixed, axis=0)])
        pieces = [once(filled[i : i + fixed]) for i in range(0, len(filled), fixed)]
        return [_joined(list(parts), fixed, name)[: len(batch)] for name, *parts in zip(names, *pieces, strict=True)]

    return run


def _joined(parts: list[npt.NDArray[Any]], rows: int, name: str) -> npt.NDArray[Any]:
    """The outputs of several pieces as one; each has `rows` rows, and all have the same further sizes."""
    for part in parts:
        if part.shape[:1] != (rows,) or part.shape != parts[0].shape:
            raise BadInputError(
                f"output '{name}' has shape {part.shape} for {rows} sample(s); expected ({rows}, ...), the same for "
                "every piece: the batch of this model is fixed, run it on as many samples at a time"
            )
    return np.concatenate(parts)


@overload
def check_inputs(inputs: npt.NDArray[Any], known: Facts, path: Path) -> npt.NDArray[Any]: ...
@overload
def check_inputs(inputs: Inputs, known: Facts, path: Path) -> Inputs: ...
def check_inputs(inputs: Inputs, known: Facts, path: Path) -> Inputs:
    """The inputs in the network's own type, checked against its shape; uint8 and float are not mixed silently.

    What has the type already comes back itself, in its file where it was.

    inputs: (n, ...) in the network's own layout. Raises BadInputError on another shape or type, NaN or infinity.
    """
    expected = known.shape[1:]
    fits = inputs.ndim == len(known.shape) and all(
        want is None or want == got for want, got in zip(expected, inputs.shape[1:], strict=True)
    )
    floats = {"float16", "float32", "float64"}
    same_type = inputs.dtype.name == known.dtype or (inputs.dtype.name in floats and known.dtype in floats)
    if not fits or not same_type:
        shape = ", ".join("any" if size is None else str(size) for size in expected)
        raise BadInputError(
            f"data is {inputs.dtype.name} of shape {inputs.shape[1:]} a sample; model {path} expects {known.dtype} of "
            f"({shape}); bring x in the network's own input layout and type"
        )
    with np.errstate(over="ignore"):  # what overflows in the network's type is found below
        converted = inputs if inputs.dtype == known.dtype else np.asarray(inputs).astype(known.dtype)
    if converted.dtype.kind == "f":
        _check_finite(converted)
    return converted


def _check_finite(inputs: Inputs) -> None:
    """In chunks: a mask of all inputs would be a quarter of their size."""
    for place in places(inputs):
        start, chunk = place.start, inputs[place]
        bad = np.flatnonzero(~np.isfinite(chunk).all(axis=tuple(range(1, chunk.ndim))))
        if len(bad):
            raise BadInputError(
                f"data holds NaN or infinity as {inputs.dtype} in sample {start + bad[0]}; expected finite numbers: "
                "repair or leave out that sample"
            )
