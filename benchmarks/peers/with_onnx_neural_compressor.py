"""onnx-neural-compressor's static quantization, defaults (its README, "Quick Start")."""

from onnx_neural_compressor import data_reader
from onnx_neural_compressor.quantization import config
from onnx_neural_compressor.quantization import quantize as write

from benchmarks.peers.task import Reader, Task, answer


class _Reader(Reader, data_reader.CalibrationDataReader):
    """Theirs is the class that it asks for."""


def quantize(task: Task) -> None:
    """Write the file."""
    write(task.model, task.out, config.StaticQuantConfig(calibration_data_reader=_Reader(task)))


if __name__ == "__main__":
    answer(quantize, "onnx-neural-compressor", "onnxruntime", "onnx")
