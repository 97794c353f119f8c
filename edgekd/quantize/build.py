"""Builds each variant of an fp32 ONNX file; one that cannot be built is a result with its reason, not an error."""

import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.progress import Listener, Progress, silent
from edgekd.session import first_line, native_errors

if TYPE_CHECKING:
    import onnx

CALIBRATION_BATCH = 50
"""At most so many images a calibration step; MinMax keeps one range a step, so the result does not depend on it."""

STATIC: Mapping[str, tuple[str, str, bool]] = {
    "int8-u8s8": ("QUInt8", "QInt8", False),
    "int8-u8s8-7bit": ("QUInt8", "QInt8", True),
    "int8-u8u8": ("QUInt8", "QUInt8", False),
    "int8-s8s8": ("QInt8", "QInt8", False),
}
"""Variant -> activation type, weight type, 7-bit weights. 7 bits keep the 16-bit pair sums of AVX2's
vpmaddubsw from saturating (ONNX Runtime docs, "Quantize ONNX models", section on reduce_range)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One variant. path: the file's name in the output folder, None where it could not be built, with the reason."""

    name: str
    path: str | None
    size_bytes: int | None
    sha256: str | None
    reason: str = ""


class _Reader:
    """Calibration batches for ONNX Runtime, one pass; it asks for None at the end.

    All of one size, because its histograms (percentile, entropy) take no other. fixed: the batch size of a network
    that takes no other; the last batch is then filled up with its last sample.
    """

    def __init__(self, inputs: npt.NDArray[Any], input_name: str, fixed: int | None) -> None:
        size = fixed or max(size for size in range(1, CALIBRATION_BATCH + 1) if len(inputs) % size == 0)
        filled = np.concatenate([inputs, np.repeat(inputs[-1:], -len(inputs) % (fixed or 1), axis=0)])
        self._batches: Iterator[dict[str, npt.NDArray[Any]]] = iter(
            {input_name: filled[i : i + size]} for i in range(0, len(filled), size)
        )

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        return next(self._batches, None)


def build_variants(
    model: Path,
    calibration: npt.NDArray[Any],
    *,
    names: tuple[str, ...],
    folder: Path,
    input_name: str,
    per_channel: bool = True,
    calibration_method: str = "minmax",
    listener: Listener = silent,
) -> tuple[Built, ...]:
    """Build the named variants of `model` into `folder`, each put in place atomically.

    calibration: (n, ...) real samples in the network's own input layout and type, n at least 2.

    Raises:
        BadInputError: the model is already quantized, too old, or the calibration data is constant.
    """
    import onnx

    proto = onnx.load(str(model))
    _check(proto, model, calibration)
    fixed = next(v.type.tensor_type.shape.dim[0].dim_value or None for v in proto.graph.input if v.name == input_name)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".building-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    built = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
        try:
            prepared = _prepare(model, Path(scratch))
        except _failures() as err:  # fp32 still competes
            reason = f"could not be prepared: {type(err).__name__}: {first_line(err)}"
            return tuple(Built(name=name, path=None, size_bytes=None, sha256=None, reason=reason) for name in names)
        for index, name in enumerate(names):
            listener(Progress(stage="quantize", done=index, total=len(names), note=name))
            reader = _Reader(calibration, input_name, fixed)
            write = _writer(name, prepared, reader, per_channel, calibration_method)
            built.append(_build(name, write, proto, scratch=Path(scratch), folder=folder))
    listener(Progress(stage="quantize", done=len(names), total=len(names)))
    return tuple(built)


def describe_file(name: str, path: Path) -> Built:
    """The facts of a file that is already there, such as fp32 itself."""
    return Built(name=name, path=path.name, size_bytes=path.stat().st_size, sha256=sha256(path))


def _build(
    name: str, write: Callable[[Path], None], source: "onnx.ModelProto", *, scratch: Path, folder: Path
) -> Built:
    import onnx

    target = scratch / f"{name}.onnx"
    try:
        with _quiet():
            write(target)
    except _failures() as err:
        reason = f"could not be built: {type(err).__name__}: {first_line(err)}"
        return Built(name=name, path=None, size_bytes=None, sha256=None, reason=reason)
    proto = onnx.load(str(target))
    del proto.metadata_props[:]
    proto.metadata_props.extend(source.metadata_props)
    target.write_bytes(proto.SerializeToString(deterministic=True))
    final = folder / f"{name}.onnx"
    target.replace(final)
    return describe_file(name, final)


def _failures() -> tuple[type[Exception], ...]:
    """What the quantizers raise on a graph they do not know; the other variants still compete."""
    import onnx

    return (
        *(ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError),
        *(onnx.checker.ValidationError, onnx.shape_inference.InferenceError),
        *native_errors(),
    )


def _writer(
    name: str,
    prepared: Path,
    reader: _Reader,
    per_channel: bool,
    method: str,
) -> Callable[[Path], None]:
    if name == "fp16":
        return lambda target: _write_fp16(prepared, target)
    if name == "int8-dynamic":
        return lambda target: _write_dynamic(prepared, target, per_channel=per_channel)
    return lambda target: _write_static(prepared, target, STATIC[name], reader, per_channel=per_channel, method=method)


def _write_static(
    source: Path, target: Path, kind: tuple[str, str, bool], reader: _Reader, *, per_channel: bool, method: str
) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    activation, weight, seven_bits = kind
    methods = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
    quantize_static(
        str(source),
        str(target),
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        reduce_range=seven_bits,
        activation_type=QuantType[activation],
        weight_type=QuantType[weight],
        calibrate_method=getattr(CalibrationMethod, methods[method]),
    )


def _write_dynamic(source: Path, target: Path, *, per_channel: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # QUInt8 weights: ONNX Runtime's CPU provider has no ConvInteger for signed ones.
    quantize_dynamic(str(source), str(target), per_channel=per_channel, weight_type=QuantType.QUInt8)


def _write_fp16(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True), str(target))


def _prepare(model: Path, scratch: Path) -> Path:
    """The model with shapes inferred and its graph tidied (batch norms folded), as the quantizers want it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = scratch / "prepared.onnx"
    with _quiet():
        quant_pre_process(str(model), str(target), skip_symbolic_shape=True)
    return target


def _check(proto: "onnx.ModelProto", model: Path, calibration: npt.NDArray[Any]) -> None:
    quantized = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"}
    found = sorted({node.op_type for node in proto.graph.node} & quantized)
    if found:
        raise BadInputError(f"model {model} is already quantized ({', '.join(found)}); bring its fp32 original")
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < 13:
        raise BadInputError(
            f"model {model} has opset {opset}; per-channel QDQ needs at least 13. Export it again with a newer opset, "
            "or convert it: onnx.version_converter.convert_version(model, 13)"
        )
    if bool(np.all(calibration == calibration[:1])):
        raise BadInputError(
            f"calibration data has {len(calibration)} sample(s), all equal; expected real, different ones "
            "(some hundreds): ranges taken from a constant are worth nothing"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizers advise through the root logger, and print; what they advise is done here already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
