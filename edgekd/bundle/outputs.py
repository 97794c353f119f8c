"""What the model of a bundle answers on this machine, and what it is expected to answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edgekd import machine
from edgekd.bundle.manifest import MODEL, SAMPLES, SESSION
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.recorded import Recorded
from edgekd.runner import Run, check_inputs, run_all
from edgekd.session import (
    check_file,
    create_session,
    facts,
    first_line,
    import_onnxruntime,
    read_options,
    within,
)

Outputs = tuple[npt.NDArray[Any], ...]
"""All outputs that are tensors of numbers, first to last, each (n, ...)."""

NUMBERS = "fiub"
"""numpy's letters of the types of numbers."""
REFERENCE_SAMPLES = 4
MESSAGE = 160
"""Letters of an evaluator's message: it may append all names of the network."""
REFERENCE_OPSET = 19
"""The oldest opset whose DequantizeLinear onnx's reference evaluator knows."""


def run_each(run: Run, inputs: npt.NDArray[Any]) -> list[Outputs]:
    """The outputs of every sample, each (1, ...): one an inference, as a dynamic int8 file's depend on what shares it.

    Raises:
        BadInputError: no inputs, or the network cannot run.
    """
    if len(inputs) == 0:
        raise BadInputError("no samples for the bundle; expected at least one real input of the network")
    answers = Recorded(run=run, inputs=inputs, batch_size=1, kept=None)
    return [tuple(answers.outputs(place)) for place in answers.slices()]


def joined(pieces: Sequence[Outputs]) -> Outputs:
    """The outputs of all samples, each (n, ...). Raises BadInputError where they are not of the same size for all."""
    if len({sizes(piece) for piece in pieces}) > 1:
        raise BadInputError("the outputs have other sizes for other samples; expected those of the first for all")
    return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))


def sizes(piece: Outputs) -> tuple[tuple[int, ...], ...]:
    """The shape of each output."""
    return tuple(output.shape for output in piece)


def sample_key(index: int) -> str:
    """The name of an output's array in the file of samples."""
    return f"outputs_{index}" if index else "outputs"


def read_samples(folder: Path) -> tuple[npt.NDArray[Any], Outputs]:
    """The bundle's inputs (n, ...) and the outputs expected of them. Raises BadInputError for other arrays."""
    arrays = read_arrays(folder / SAMPLES)
    inputs = arrays.get("inputs", np.empty(0))
    outputs = tuple(arrays[key] for key in map(sample_key, range(len(arrays))) if key in arrays)
    fits = all(inputs.shape[:1] == output.shape[:1] != () and output.dtype.kind in NUMBERS for output in outputs)
    if not outputs or not fits:
        raise BadInputError(f"{folder / SAMPLES}: expected arrays inputs and outputs, numbers, one row a sample")
    return inputs, outputs


def run_here(folder: Path, inputs: npt.NDArray[Any]) -> tuple[Outputs | None, str]:
    """The outputs on this machine, None where nothing here can run the file, and what ran it or why not.

    Without onnxruntime they are those of the first few inputs alone.

    Raises:
        BadInputError: the model, its session options or the inputs are not what a bundle holds.
        EnvironmentFault: the bundle's provider is not on this machine.
    """
    path = folder / MODEL
    check_file(path)
    try:
        ort = import_onnxruntime()
    except EnvironmentFault as err:
        absent = isinstance(err.__cause__, ModuleNotFoundError)
        why = "onnxruntime is not installed" if absent else str(err)
        return _by_reference(path, inputs[:REFERENCE_SAMPLES], why)
    options = within(read_options(folder / SESSION), cores=machine.cores_here())
    session = create_session(path, options)
    known = facts(session, path)
    samples = check_inputs(inputs, known, path)
    return joined(run_each(run_all(session, known), samples)), f"onnxruntime {ort.__version__}"


def _by_reference(path: Path, inputs: npt.NDArray[Any], why: str) -> tuple[Outputs | None, str]:
    """As `run_here`, by numpy alone: https://onnx.ai/onnx/api/reference.html."""
    from onnx.version_converter import ConvertError

    try:
        outputs = joined(run_each(_reference_runner(path), inputs))
    except (ConvertError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as err:
        # Whatever the evaluator raises on an operator that it lacks: it has no error of its own.
        return (
            None,
            f"{why}, and onnx's reference evaluator cannot run it ({first_line(err)[:MESSAGE]}); install onnxruntime",
        )
    return outputs, f"{why}; checked with onnx's reference evaluator, which is slow"


def _reference_runner(path: Path) -> Run:
    import onnx
    from onnx.reference import ReferenceEvaluator
    from onnx.version_converter import convert_version

    model = onnx.load(str(path))
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    evaluator = ReferenceEvaluator(convert_version(model, REFERENCE_OPSET) if opset < REFERENCE_OPSET else model)
    name = str(evaluator.input_names[0])
    batch = next(i for i in model.graph.input if i.name == name).type.tensor_type.shape.dim[0].dim_value or 1

    def run(sample: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        answers = evaluator.run(None, {name: np.repeat(sample, batch, axis=0)})
        outputs: list[npt.NDArray[Any]] = [output for output in answers if _is_numbers(output)]
        return [output[:1] for output in outputs] if batch > 1 else outputs

    return run


def _is_numbers(output: object) -> TypeGuard[npt.NDArray[Any]]:
    return isinstance(output, np.ndarray) and output.dtype.kind in NUMBERS
