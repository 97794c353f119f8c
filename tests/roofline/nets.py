"""Small networks whose work is counted by hand in the tests, and their real profiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.kernels import Kernels, Node, profile_feeds
from edgekd.session import SessionOptions

CPU = SessionOptions()
TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def whole(dtype: type, *shape: int) -> np.ndarray:
    low, high = (-100, 100) if dtype == np.int8 else (0, 200)
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    stored: dict[str, Any],
    feeds: dict[str, np.ndarray],
    *,
    made: str = "float32",
    domains: Sequence[str] = (),
) -> Path:
    """A network that makes `y`; feeds: one sample of every input."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, TYPES[value.dtype.name], value.shape) for name, value in feeds.items()],
        [helper.make_tensor_value_info("y", TYPES[made], None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def profiled(path: Path, feeds: dict[str, np.ndarray]) -> Kernels:
    return profile_feeds(path, {name: value[None] for name, value in feeds.items()}, CPU, runs=2)


def only(folder: Path, op_type: str, inputs: Sequence[str], stored: dict[str, Any], x: np.ndarray, **more: Any) -> Node:
    """The kernel of a network of one node."""
    attributes = {key: value for key, value in more.items() if key not in ("made", "domain")}
    domain = more.get("domain", "")
    node = helper.make_node(op_type, list(inputs), ["y"], name="it", domain=domain, **attributes)
    feeds = {"x": x}
    made = more.get("made", "float32")
    path = write(folder / "one.onnx", [node], stored, feeds, made=made, domains=(domain,) if domain else ())
    found = [node for node in profiled(path, feeds).nodes if node.name == "it"]
    assert len(found) == 1, [node.op_type for node in found]
    return found[0]
