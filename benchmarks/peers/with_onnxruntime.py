"""onnxruntime's `quantize_static`, after its `quant_pre_process` as its documentation asks.

Presets: `defaults`, and `u8s8`, what an expert would set for an x86 CPU: unsigned activations, signed weights, a scale
a channel (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from typing import Any

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
    prepared = task.scratch / "prepared.onnx"
    try:
        quant_pre_process(task.model, str(prepared))
    except Exception as err:  # noqa: BLE001  # its symbolic shape inference raises bare ones, and names the cure
        print(f"quant_pre_process: {err}; once more with skip_symbolic_shape")
        quant_pre_process(task.model, str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), task.out, _Reader(task), **PRESETS[task.preset])


if __name__ == "__main__":
    answer(quantize, "onnxruntime", "onnx")
