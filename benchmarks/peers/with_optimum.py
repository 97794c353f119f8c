"""Optimum's `ORTQuantizer` with its presets for x86, static (its guide "How to apply static quantization").

Presets: `avx512_vnni` and `avx2` of `AutoQuantizationConfig`, their own defaults.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from datasets import Array3D, Dataset, Features
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig

from benchmarks.peers.task import Feed, Task, answer


def quantize(task: Task) -> None:
    """Write the file."""
    presets = {"avx512_vnni": AutoQuantizationConfig.avx512_vnni, "avx2": AutoQuantizationConfig.avx2}
    configuration = presets[task.preset](is_static=True)
    model = Path(task.model)
    quantizer = ORTQuantizer.from_pretrained(model.parent, file_name=model.name)
    samples = dataset(task)
    ranges = quantizer.fit(
        dataset=samples,
        calibration_config=AutoCalibrationConfig.minmax(samples),
        onnx_augmented_model_name=str(task.scratch / "augmented_model.onnx"),
        operators_to_quantize=configuration.operators_to_quantize,
    )
    quantizer.quantize(
        save_dir=task.scratch,
        file_suffix="quantized",
        calibration_tensors_range=ranges,
        quantization_config=configuration,
    )
    shutil.move(task.scratch / f"{model.stem}_quantized.onnx", task.out)


def dataset(task: Task) -> Dataset:
    """The samples as the only kind of data that it takes."""
    inputs, name = task.inputs(), task.input_name()
    features = Features({name: Array3D(shape=inputs.shape[1:], dtype=inputs.dtype.name)})

    def rows() -> Iterator[Feed]:
        return ({name: sample} for sample in inputs)

    cache = str(task.scratch / "datasets")
    return Dataset.from_generator(rows, features=features, cache_dir=cache).with_format("numpy")


if __name__ == "__main__":
    answer(quantize, "optimum", "optimum-onnx", "onnxruntime", "onnx")
