"""One file on two instruction sets: top-1, distance, and the step by which its output is rounded."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.isa.run import TIMEOUT_SECONDS, Isa, Outputs, run_on
from edgekd.progress import Listener, Progress, silent
from edgekd.session import SessionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a file's outputs are apart between the instruction set `isa` and the machine's own.

    top1_same of n: where the largest output is the same one, or of a multi-label network the set of labels.
    output_step: the quantization step of the output, None where it does not come out of a DequantizeLinear with one
    scale. seconds: of both processes.
    """

    n: int
    isa: str
    native_isa: str
    top1_same: int
    top1_agreement: float
    max_difference: float
    output_step: float | None
    bit_equal: bool
    seconds: float


def compare(
    path: Path,
    inputs: npt.NDArray[Any],
    options: SessionOptions,
    *,
    isa: Isa = "avx2",
    batch: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
    threshold: float | None = None,
    listener: Listener = silent,
) -> Agreement:
    """Run the file on the machine's own instruction set and on `isa`, on one thread each, and compare the outputs.

    inputs: (n, ...) in the network's own layout and type. threshold: of a multi-label network, as `agreement` has it.
    Raises as `run_on`.
    """
    alone = replace(options, threads=1, threads_requested=1, inter_op_threads=1, spinning=False)
    started = time.monotonic()
    names: tuple[Isa, Isa] = ("native", isa)
    runs = []
    for done, name in enumerate(names):
        listener(Progress(stage="isa", done=done, total=2, note=name))
        runs.append(run_on(path, inputs, alone, isa=name, batch=batch, timeout_seconds=timeout_seconds))
    listener(Progress(stage="isa", done=2, total=2))
    return agreement(
        runs[0], runs[1], output_step=output_step(path), seconds=time.monotonic() - started, threshold=threshold
    )


def agreement(
    native: Outputs, other: Outputs, *, output_step: float | None, seconds: float, threshold: float | None = None
) -> Agreement:
    """Two runs of one file on the same inputs, compared. threshold: of a multi-label network, whose decision is the set
    of outputs above it; None: the largest output.
    """
    count = len(native.values)
    one, two = native.values.reshape(count, -1), other.values.reshape(count, -1)
    alike = one.argmax(axis=1) == two.argmax(axis=1)
    if threshold is not None:
        alike = ((one > threshold) == (two > threshold)).all(axis=1)
    same = int(alike.sum())
    return Agreement(
        n=count,
        isa=other.isa,
        native_isa=native.isa,
        top1_same=same,
        top1_agreement=same / count,
        max_difference=float(np.abs(one - two).max()),
        output_step=output_step,
        bit_equal=one.tobytes() == two.tobytes(),
        seconds=seconds,
    )


def output_step(path: Path) -> float | None:
    """The quantization step of the first output, None where it has none or one a channel."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path), load_external_data=False).graph
    last = next((node for node in graph.node if graph.output[0].name in node.output), None)
    if last is None or last.op_type != "DequantizeLinear":
        return None
    scales = [t for t in graph.initializer if t.name == last.input[1] and not t.external_data]
    scale = numpy_helper.to_array(scales[0]) if scales else np.empty(0)
    return float(scale.reshape(-1)[0]) if scale.size == 1 else None
