"""What the model of a bundle answers on this machine, and what it is expected to answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from edgekd.bundle.manifest import MODEL, SAMPLES, SESSION
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.session import (
    SessionOptions,
    check_file,
    check_inputs,
    create_session,
    facts,
    first_line,
    import_onnxruntime,
    runner,
)

Outputs = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[Any]], Outputs]

REFERENCE_SAMPLES = 4
REFERENCE_OPSET = 19
"""The oldest opset whose DequantizeLinear onnx's reference evaluator knows."""


def run_each(run: Run, inputs: npt.NDArray[Any]) -> Outputs:
    """(n, K): one sample an inference, since the outputs of a dynamic int8 file depend on what shares the batch."""
    if len(inputs) == 0:
        raise BadInputError("no samples for the bundle; expected at least one real input of the network")
    return np.concatenate([run(inputs[k : k + 1]) for k in range(len(inputs))])


def read_samples(folder: Path) -> tuple[npt.NDArray[Any], Outputs]:
    """The bundle's inputs (n, ...) and the outputs (n, K) expected of them. Raises BadInputError for other arrays."""
    arrays = read_arrays(folder / SAMPLES)
    nothing = np.empty(0)
    inputs, outputs = arrays.get("inputs", nothing), arrays.get("outputs", nothing)
    if inputs.shape[:1] != outputs.shape[:1] or outputs.ndim != 2 or outputs.dtype.kind != "f":
        raise BadInputError(f"{folder / SAMPLES}: expected arrays inputs and outputs, float, one row a sample")
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
    session = create_session(path, _read_options(folder))
    known = facts(session, path)
    samples = check_inputs(inputs, known, path)
    return run_each(runner(session, known), samples), f"onnxruntime {ort.__version__}"


def _read_options(folder: Path) -> SessionOptions:
    try:
        document = json.loads((folder / SESSION).read_bytes())
        return TypeAdapter(SessionOptions).validate_python(document["options"])
    except (ValueError, TypeError, KeyError) as err:
        raise BadInputError(f"{folder / SESSION}: holds no session options ({err}); bundle again") from err


def _by_reference(path: Path, inputs: npt.NDArray[Any], why: str) -> tuple[Outputs | None, str]:
    """As `run_here`, by numpy alone: https://onnx.ai/onnx/api/reference.html."""
    from onnx.version_converter import ConvertError

    try:
        outputs = run_each(_reference_runner(path), inputs)
    except (ConvertError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as err:
        # Whatever the evaluator raises on an operator that it lacks: it has no error of its own.
        return None, f"{why}, and onnx's reference evaluator cannot run it ({first_line(err)}); install onnxruntime"
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

    def run(sample: npt.NDArray[Any]) -> Outputs:
        outputs = evaluator.run(None, {name: np.repeat(sample, batch, axis=0)})
        return np.asarray(next(iter(outputs)), dtype=np.float32)[:1]

    return run
