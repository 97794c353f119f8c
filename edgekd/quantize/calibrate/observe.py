"""One streaming pass over calibration inputs: a histogram of each activation, the same for any batch size.

Extremes are exact. The bins are filled from up to `samples_per_tensor` elements of each tensor and sample; where in
the tensor they lie depends on the sample's place in the data alone, never on the batch.
"""

import mmap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Listener, Progress, silent
from edgekd.quantize.calibrate import layout as layouts
from edgekd.quantize.calibrate.histogram import Histogram, add, empty
from edgekd.quantize.calibrate.tapped import Reading, Tapped
from edgekd.quantize.calibrate.taps import Source, attach
from edgekd.session import check_file

if TYPE_CHECKING:
    import onnx

SAMPLES_PER_TENSOR = 1024
LARGEST_BATCH = 64
DEFAULT_BYTES = 128 * 2**20
"""For the activations of a batch, where no cap is given; a larger batch is no faster."""

ARENA = 2
"""ONNX Runtime's allocator grows by doubling, so it holds up to twice of what is alive."""


def observe(
    model: Path,
    inputs: npt.NDArray[Any],
    *,
    input_name: str,
    tensors: Sequence[str] | None = None,
    samples_per_tensor: int = SAMPLES_PER_TENSOR,
    threads: int = 1,
    batch_size: int | None = None,
    max_memory_bytes: int | None = None,
    listener: Listener = silent,
) -> dict[str, Histogram]:
    """The histogram of each tensor over all inputs.

    inputs: (n, ...) in the network's own layout and type; of a memory-mapped file a piece at a time is in memory.
    tensors: None takes every float activation. samples_per_tensor: elements of a tensor that are binned for each
    sample, all where it has no more. batch_size: at most so many samples at a time; None lets memory decide.
    max_memory_bytes: what weights, activations and samples of them may take together, by estimate.

    On one thread the result is bit-equal for any batch size. On several, ONNX Runtime may cut a matrix product
    another way for another batch, which moves a number by its last bits.

    Raises:
        BadInputError: the file, the inputs or the names do not fit, or a tensor has NaN or infinity: with its name
            and the sample.
        EnvironmentFault: the smallest batch does not fit into max_memory_bytes.
    """
    check_file(model)
    network, size = _open(model, inputs, input_name, tensors, samples_per_tensor, threads, max_memory_bytes)
    found = {source: empty() for source in network.taps.served.values()}
    for first, piece in _pieces(inputs, network.batch or min(size, batch_size or size), listener):
        readings = network.measure(piece, first)
        for source, histogram in found.items():
            found[source] = _with(histogram, readings[source.name], source, len(piece))
    return {name: found[source] for name, source in network.taps.served.items()}


def _with(histogram: Histogram, reading: Reading, source: Source, samples: int) -> Histogram:
    """The histogram with one more piece. A single row of a tensor that all samples share counts for each of them."""
    values = source.clip(reading.values[:samples])
    low, high = source.clip(np.array([reading.low, reading.high], dtype=np.float32)).tolist()
    return add(histogram, values, low=low, high=high, weight=samples // len(values))


def _open(
    model: Path,
    inputs: npt.NDArray[Any],
    input_name: str,
    tensors: Sequence[str] | None,
    count: int,
    threads: int,
    cap: int | None,
) -> tuple[Tapped, int]:
    """The network with taps, and the most samples that a batch may have."""
    import onnx

    proto = onnx.load(str(model), load_external_data=False)
    known = layouts.read(proto, input_name=input_name, sample_shape=inputs.shape[1:])
    _check(inputs, known.input_kind, input_name)
    weight_bytes = _weight_bytes(proto)
    taps = attach(proto, known, tensors=tensors, count=count)
    least = known.batch or (1 if taps.single else 2)
    sample_bytes = ARENA * known.bytes_a_sample + 8 * count * (len(taps.tensors) + 4)
    size = _affordable(sample_bytes, weight_bytes, least, cap)
    network = Tapped(
        proto, model, taps, input_name=input_name, count=count, batch=known.batch, least=least, threads=threads
    )
    one = np.ascontiguousarray(inputs[:1])
    if known.batch is None and not network.runs(one):  # it says any batch, and may mean one
        network.least = 1
    return network, size if network.least > 1 else 1


def _check(inputs: npt.NDArray[Any], kind: int, name: str) -> None:
    from onnx import helper

    expected = helper.tensor_dtype_to_np_dtype(kind)
    if inputs.dtype != expected:
        raise BadInputError(f"calibration data is {inputs.dtype}; input '{name}' takes {expected}; convert it")
    if not len(inputs):
        raise BadInputError("calibration data has no samples; expected some hundreds of real ones")


def _weight_bytes(model: "onnx.ModelProto") -> int:
    """What the weights take: as a file in memory, parsed, and in the session; outside the file in the session alone."""
    from onnx import TensorProto, helper

    total = 2 * model.ByteSize()
    for tensor in model.graph.initializer:
        if tensor.data_type not in (TensorProto.STRING, TensorProto.UNDEFINED):
            total += int(np.prod(tensor.dims)) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(total)


def _affordable(sample_bytes: int, weight_bytes: int, least: int, cap: int | None) -> int:
    """The most samples that a batch may have."""
    if cap is None:
        return max(least, min(LARGEST_BATCH, DEFAULT_BYTES // sample_bytes))
    if cap < weight_bytes + least * sample_bytes:
        raise EnvironmentFault(
            f"calibration may use {cap / 1e6:,.3g} MB; it needs {weight_bytes / 1e6:,.3g} for the weights and "
            f"{least * sample_bytes / 1e6:,.3g} for {least} sample(s): raise the limit, or bring smaller samples"
        )
    return min(LARGEST_BATCH, (cap - weight_bytes) // sample_bytes)


def _pieces(inputs: npt.NDArray[Any], size: int, listener: Listener) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The index of the first sample of each piece and the piece; says how far it is and how long it will take."""
    started = time.perf_counter()
    for first in range(0, len(inputs), size):
        seconds = time.perf_counter() - started
        left = f"{seconds * (len(inputs) / first - 1):.0f} s left" if first else ""
        listener(Progress(stage="calibrate", done=first, total=len(inputs), note=left))
        yield first, np.ascontiguousarray(inputs[first : first + size])
        _release(inputs)
    listener(Progress(stage="calibrate", done=len(inputs), total=len(inputs)))


def _release(inputs: npt.NDArray[Any]) -> None:
    """Let the system take back the pages of a memory-mapped file that were read; they would count as ours."""
    array: Any = inputs
    while isinstance(array, np.ndarray):
        # A private mapping (mode "c") would lose what was written to it; the others have it in the file.
        shared = isinstance(array, np.memmap) and array.mode != "c"
        array = array.base
        if shared and isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            array.madvise(mmap.MADV_DONTNEED)
