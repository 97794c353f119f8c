"""Small ONNX files, and what they say of themselves."""

from pathlib import Path

import onnx
from onnx import helper

from edgekd.session import Facts, SessionOptions, facts, open_session

CPU = SessionOptions()


def known(path: Path) -> Facts:
    return facts(open_session(path, CPU), path)


def write(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: dict[str, int]) -> Path:
    def values(kinds: dict[str, int]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, kind, ["batch", 2]) for name, kind in kinds.items()]

    graph = helper.make_graph(nodes, "small", values(inputs), values(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
