"""Small ONNX files, sound and broken, for the tests of bad input."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def linear(path: Path, *, dtype: int = TensorProto.FLOAT, weight: float = 1.0, inputs: int = 1) -> Path:
    """A classifier of 4 numbers into 3 classes, `weight` times a fixed matrix; further inputs are added on."""
    matrix = weight * np.arange(12, dtype=np.float32).reshape(4, 3)
    names = [f"x{index}" for index in range(inputs)]
    nodes = [helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT) for name in names]
    nodes += [helper.make_node("Sum", [f"{name}_float" for name in names], ["sum"])]
    nodes += [helper.make_node("MatMul", ["sum", "matrix"], ["scores"])]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, dtype, ["batch", 4]) for name in names],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def external(path: Path, location: str) -> Path:
    """The same, its matrix in another file at `location`."""
    model = onnx.load(str(linear(path)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    return path
