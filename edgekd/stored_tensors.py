"""Every tensor that an ONNX file stores, wherever in it: the weights are not only at the top level."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def stored_tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """Initializers, sparse ones too, and tensors in attributes, of the graph, of bodies of If, Loop and Scan, and of
    the model's own functions.

    Source: the fields of type TensorProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
    """
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: "onnx.NodeProto") -> Iterator["onnx.TensorProto"]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)  # one that is not set is empty, and holds no data anywhere
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _of_graph(graph)
