"""Olive.

Presets: `quantize`, its command `olive quantize` for int8 with ONNX Runtime; `static`, its pass OnnxStaticQuantization
with defaults as a workflow, since the command takes only data sets of the Hugging Face hub.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.task import Task, answer

CPU = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}


def quantize(task: Task) -> None:
    """Write the file."""
    {"quantize": _command, "static": _workflow}[task.preset](task)
    found = sorted((task.scratch / "out").rglob("*.onnx"))
    if not found:
        raise FileNotFoundError(f"Olive left no .onnx file in {task.scratch / 'out'}")
    shutil.move(found[0], task.out)


def _command(task: Task) -> None:
    olive = Path(sys.executable).with_name("olive")
    # Without --implementation ort: "Quantization for precision int8, algorithm rtn and implementation olive with QDQ
    # False is not supported".
    options = ["--precision", "int8", "--implementation", "ort", "--disable_telemetry"]
    subprocess.run([olive, "quantize", "-m", task.model, "-o", str(task.scratch / "out"), *options], check=True)


def _workflow(task: Task) -> None:
    import olive
    from olive.data.registry import Registry

    name, inputs = task.input_name(), task.inputs()

    @Registry.register_dataset("samples")
    def samples(**_: Any) -> "Samples":
        return Samples(name, inputs)

    olive.run(
        {
            "input_model": {"type": "ONNXModel", "model_path": task.model},
            "systems": {"local": {"type": "LocalSystem", "accelerators": [CPU]}},
            "data_configs": [{"name": "calibration", "load_dataset_config": {"type": "samples"}}],
            "passes": {"quantize": {"type": "OnnxStaticQuantization", "data_config": "calibration"}},
            "host": "local",
            "target": "local",
            "evaluate_input_model": False,
            "cache_dir": str(task.scratch / "cache"),
            "output_dir": str(task.scratch / "out"),
        }
    )


class Samples:
    """The data set that its data loader takes: ({input name: sample}, label)."""

    def __init__(self, name: str, inputs: Any) -> None:
        self._name = name
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Mapping[str, Any], int]:
        return {self._name: self._inputs[index]}, 0


if __name__ == "__main__":
    answer(quantize, "olive-ai", "onnxruntime", "onnx")
