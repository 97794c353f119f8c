"""onnxruntime's `quantize_static`, after its `quant_pre_process` as its documentation asks.

Presets: `defaults`, and `u8s8`, what an expert would set for an x86 CPU: unsigned activations, signed weights, a scale
a channel, and for that at least opset 13, below which the file that it writes does not load (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from typing import Any

import onnx
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.peers.task import Reader, Task, answer

PRESETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "u8s8": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True},
}


class _Reader(Reader, CalibrationDataReader):
    """Theirs is the class that it asks for."""


def quantize(task: Task) -> None:
    """Write the file."""
    source, prepared = task.model, task.scratch / "prepared.onnx"
    if task.preset == "u8s8":
        source = _opset_13(task)
    try:
        quant_pre_process(source, str(prepared))
    except Exception as err:  # noqa: BLE001  # its symbolic shape inference raises bare ones, and names the cure
        print(f"quant_pre_process: {err}; once more with skip_symbolic_shape")
        quant_pre_process(source, str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), task.out, _Reader(task), **PRESETS[task.preset])


def _opset_13(task: Task) -> str:
    """The model with at least the opset in which DequantizeLinear learned of channels."""
    model = onnx.load(task.model)
    if next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) >= 13:
        return task.model
    converted = task.scratch / "opset13.onnx"
    onnx.save(version_converter.convert_version(model, 13), converted)
    return str(converted)


if __name__ == "__main__":
    answer(quantize, "onnxruntime", "onnx")
