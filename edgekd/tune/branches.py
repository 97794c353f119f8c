"""Whether a graph has branches that could run side by side: only then can parallel execution gain anything."""

from pathlib import Path


def has_branches(path: Path) -> bool:
    """Whether two nodes of the network's own graph, subgraphs aside, could run at the same time.

    A node's depth is one more than that of the deepest node which it needs. Two nodes of one depth need neither the
    other; and where every depth has one node, each node needs the one before it. Nodes of constants alone do not count:
    ONNX Runtime computes them once, when it loads the file.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    depth = {value.name: 0 for value in graph.input if value.name not in stored}
    taken = set()
    for node in graph.node:  # in an order in which every node comes after what it needs, as ONNX demands
        needs = [depth[name] for name in node.input if name in depth]
        if not needs:
            continue
        level = 1 + max(needs)
        if level in taken:
            return True
        taken.add(level)
        depth.update({name: level for name in node.output if name})
    return False
