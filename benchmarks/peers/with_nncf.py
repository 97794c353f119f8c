"""NNCF's post-training quantization of an ONNX model, defaults (its README, "Post-Training Quantization", ONNX)."""

import nncf
import onnx

from benchmarks.peers.task import Task, answer


def quantize(task: Task) -> None:
    """Write the file."""
    name = task.input_name()
    dataset = nncf.Dataset(task.inputs(), lambda sample: {name: sample[None]})
    onnx.save(nncf.quantize(onnx.load(task.model), dataset), task.out)


if __name__ == "__main__":
    answer(quantize, "nncf", "onnxruntime", "onnx")
