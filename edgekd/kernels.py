"""Which kernels ONNX Runtime really runs a file on, from its own profile: int8, float, or on another device."""

import json
import re
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.operators import Edge, Operators, Tensor
from edgekd.rows import Inputs
from edgekd.runner import check_inputs, runner
from edgekd.session import SessionOptions, check_file, create_session, facts, first_line, native_errors

KNOWN = {
    "int8": {"QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention",
             "DynamicQuantizeLSTM", "QEmbedLayerNormalization", "NhwcMaxPool"},
    "weight-only": {"MatMulNBits", "MatMulBnb4", "GatherBlockQuantized"},
    "quantize": {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"},
    "copy": {"MemcpyFromHost", "MemcpyToHost"},
    "other": {"Cast", "Shape", "Size", "Range", "ConstantOfShape", "ReorderInput", "ReorderOutput"},
}  # fmt: skip
"""Kind -> operators whose name says it; what starts with QLinear or QOrdered is int8 too. Weight-only: weights of 8 or
fewer bits, floats in and out. Other: changes of type or layout and sizes, nothing that int8 could speed up. Source:
https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md"""

CONTAINERS = frozenset({"If", "Loop", "Scan"})
"""Their time is that of the nodes inside, which the profile lists too."""

MOVERS = frozenset({"Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
                    "Pad", "Reshape", "Resize", "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split",
                    "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample", "Where"})  # fmt: skip
"""They move values and compute none, so a float one is no island."""

FLOATS = frozenset({"float", "float16", "bfloat16", "double"})
BYTES = frozenset({"uint8", "int8"})
WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One kernel that ran. kind: int8 (what only moves bytes too), weight-only, float, quantize, copy or other.

    name: that of the node in the file where it can be traced, else ONNX Runtime's own for what its optimizer made.
    calls: in one run. median_us: microseconds of one call, in whole ones as the profile has them. share: of the time.
    The median, not the mean: one pre-emption is a thousand times as long as a small kernel.

    inputs, outputs: the tensors of the first call, in their places. attributes, edge: as `edgekd.operators.Operator`
    has them. `traced` says whether these are whole, which only `profile_feeds` makes them: without the optimized graph,
    weights that were packed in advance are not among the inputs, and there are no attributes.
    """

    name: str
    op_type: str
    provider: str
    kind: str
    calls: float
    median_us: float
    share: float
    inputs: tuple[Tensor | None, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    edge: Edge = ""
    traced: bool = False

    @property
    def total_us(self) -> float:
        """Microseconds of one inference."""
        return self.calls * self.median_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfused:
    """QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear that run as kernels of their own.

    A network whose input and output are floats keeps one of each at its ends.
    """

    count: int
    time_share: float
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """What ran. Shares are fractions; times on CUDA are those of the launches, which return before the work is done.

    int8_time_share, weight_only_time_share: of the time of all kernels. int8_node_share: of the nodes that int8 could
    run, which are all but (de)quantization, copies between devices, casts, reorders, sizes and single numbers.
    fp32_islands: nodes that compute in float in a file that is quantized, slowest first.
    on_cpu: "name (operator)" of what fell to the CPU when another provider was asked for.
    """

    int8_time_share: float
    int8_node_share: float
    weight_only_time_share: float
    unfused: Unfused
    fp32_islands: tuple[str, ...]
    nodes_per_provider: Mapping[str, int]
    on_cpu: tuple[str, ...]
    memory_copies: int
    nodes: tuple[Node, ...]

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """The profile's events of one node."""

    name: str
    op_type: str
    provider: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any]
    edge: Edge
    traced: bool
    microseconds: list[int]


def profile(path: Path, inputs: Inputs, options: SessionOptions, *, runs: int = 20, batch: int = 1) -> Kernels:
    """The kernels of `runs` runs after a short warm-up, in a session like the one that is measured.

    inputs: (n, ...) in the network's own layout and type; runs take `batch` samples each and start over at the end.

    Raises:
        BadInputError: the file or the data does not fit, as `session` says.
        EnvironmentFault: the provider is not there or did not start.
    """
    if runs < 1 or not len(inputs):
        raise BadInputError(f"a profile of {runs} runs on {len(inputs)} samples; expected at least one of each")
    check_file(path)

    def prepare(session: Any) -> Callable[[int], object]:
        known = facts(session, path)
        size = known.shape[0] or batch
        samples = check_inputs(inputs[: (WARM_UP_RUNS + runs) * size], known, path)
        run = runner(session, known)
        return lambda index: run(samples[np.arange(index * size, (index + 1) * size) % len(samples)])

    return _profiled(path, options, runs, prepare, trace=False)


def profile_feeds(path: Path, feeds: Mapping[str, npt.NDArray[Any]], options: SessionOptions, *, runs: int) -> Kernels:
    """As `profile`, of a network of any number of inputs, and with whole tensors and attributes of every kernel.

    feeds: input name -> (count, batch, ...), taken in turn. On a provider other than the CPU no kernel is traced: some
    compile nodes, and such a graph cannot be written.

    Raises:
        BadInputError: the file or the data does not fit.
        EnvironmentFault: the provider is not there or did not start.
    """
    if runs < 1:
        raise BadInputError(f"a profile of {runs} runs; expected at least one")
    check_file(path)
    count = min(len(batches) for batches in feeds.values())

    def prepare(session: Any) -> Callable[[int], object]:
        def run(index: int) -> object:
            try:
                return session.run(None, {name: batches[index % count] for name, batches in feeds.items()})
            except native_errors() as err:
                shapes = ", ".join(f"{name} {batches.shape[1:]}" for name, batches in feeds.items())
                raise BadInputError(f"model {path}: ONNX Runtime cannot run it on {shapes}: {first_line(err)}") from err

        return run

    return _profiled(path, options, runs, prepare, trace=options.provider == "CPUExecutionProvider")


def _profiled(
    path: Path, options: SessionOptions, runs: int, prepare: Callable[[Any], Callable[[int], object]], *, trace: bool
) -> Kernels:
    """prepare: a session -> what runs the index-th batch in it."""
    with tempfile.TemporaryDirectory(prefix="edgekd-profile-") as folder:
        optimized = Path(folder) / "optimized.onnx" if trace else None
        session = create_session(path, options, profiling=Path(folder) / "kernels", optimized=optimized)
        run = prepare(session)
        for index in range(WARM_UP_RUNS + runs):
            run(index)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        timed = _timed(events, _Origins(path), Operators(optimized) if optimized else None)
    return _summarise(timed, runs=runs, asked_for=options.provider)


def _summarise(timed: Iterable[_Timed], *, runs: int, asked_for: str) -> Kernels:
    nodes = _nodes(list(timed), runs)
    share = {kind: sum(node.share for node in nodes if node.kind == kind) for kind in KNOWN}
    kinds = Counter(node.kind for node in nodes)
    left = tuple(node.name for node in nodes if node.kind == "quantize")
    able = kinds["int8"] + kinds["weight-only"] + kinds["float"]
    floats = [node for node in nodes if node.kind == "float" and node.op_type not in MOVERS]
    islands = sorted(floats, key=lambda node: -node.share) if kinds["int8"] or left else []
    moved = [n for n in nodes if n.provider == "CPUExecutionProvider" != asked_for and n.kind != "copy"]
    return Kernels(
        int8_time_share=share["int8"],
        int8_node_share=kinds["int8"] / max(able, 1),
        weight_only_time_share=share["weight-only"],
        unfused=Unfused(count=len(left), time_share=share["quantize"], names=left),
        fp32_islands=tuple(node.name for node in islands),
        nodes_per_provider=dict(Counter(node.provider for node in nodes if node.kind != "copy")),
        on_cpu=tuple(f"{node.name} ({node.op_type})" for node in moved),
        memory_copies=kinds["copy"],
        nodes=nodes,
    )


def sentence(kernels: Kernels) -> str:
    """The profile in one line for the report, such as "97 % of the time in int8 kernels; fp32 islands: Softmax_12"."""
    left = kernels.unfused
    parts = [f"{_percent(kernels.int8_time_share)} of the time in int8 kernels"]
    if kernels.weight_only_time_share:
        parts.append(f"{_percent(kernels.weight_only_time_share)} in weight-only kernels")
    if left.count:
        parts.append(f"{left.count} unfused Q/DQ kernel{'s' * (left.count > 1)} ({_percent(left.time_share)})")
    if kernels.fp32_islands:
        parts.append(f"fp32 islands: {_shortened(kernels.fp32_islands)}")
    if kernels.on_cpu:
        parts.append(f"on the CPU: {_shortened(kernels.on_cpu)}")
    if kernels.memory_copies:
        parts.append(f"copies between devices: {kernels.memory_copies}")
    return "; ".join(parts)


def by_op_type(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Op type and kind -> kernels, milliseconds of an inference and share, slowest first."""
    groups: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in nodes:
        groups[node.op_type, node.kind].append(node)
    rows = [
        {
            "op_type": op_type,
            "kind": kind,
            "kernels": len(group),
            "ms": sum(node.total_us for node in group) / 1e3,
            "share": sum(node.share for node in group),
        }
        for (op_type, kind), group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def slowest(nodes: Sequence[Node], *, most: int = 10) -> list[dict[str, Any]]:
    """The nodes that take most of an inference, slowest first: name, op type, kind, milliseconds, share."""
    return [
        {
            "name": node.name,
            "op_type": node.op_type,
            "kind": node.kind,
            "ms": node.total_us / 1e3,
            "share": node.share,
        }
        for node in sorted(nodes, key=lambda node: -node.total_us)[:most]
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _shortened(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _nodes(timed: list[_Timed], runs: int) -> tuple[Node, ...]:
    quantized = any(_kind(node, quantized=False) in ("int8", "quantize") for node in timed)
    times = [statistics.median(node.microseconds) * len(node.microseconds) / runs for node in timed]
    return tuple(
        Node(
            name=node.name,
            op_type=node.op_type,
            provider=node.provider,
            kind=_kind(node, quantized=quantized),
            calls=len(node.microseconds) / runs,
            median_us=statistics.median(node.microseconds),
            share=time / (sum(times) or 1.0),
            inputs=node.inputs,
            outputs=node.outputs,
            attributes=node.attributes,
            edge=node.edge,
            traced=node.traced,
        )
        for node, time in zip(timed, times, strict=True)
    )


def _kind(node: _Timed, *, quantized: bool) -> str:
    """What a kernel computes in. Bytes in a file that is not quantized are pixels, on their way to floats."""
    for kind, op_types in KNOWN.items():
        if node.op_type in op_types:
            return kind
    if node.op_type.startswith(("QLinear", "QOrdered")):
        return "int8"
    tensors = (*node.outputs, *(tensor for tensor in node.inputs if tensor))
    # the output first: Where begins with a bool
    found = [tensor.dtype for tensor in (*node.outputs[:1], *node.inputs[:1]) if tensor]
    if max((tensor.elements for tensor in tensors), default=0) <= 1:
        return "other"
    if any(dtype in FLOATS for dtype in found):
        return "float"
    return "int8" if quantized and any(dtype in BYTES for dtype in found) else "other"


def _timed(events: list[dict[str, Any]], origins: "_Origins", operators: Operators | None = None) -> Iterable[_Timed]:
    """The nodes of a profile in the order in which they first ran, without the runs that warmed up.

    Source: https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html
    """
    starts = sorted(event["ts"] for event in events if event["cat"] == "Session" and event["name"] == "model_run")
    nodes: dict[tuple[str, str], _Timed] = {}
    for event in sorted(events, key=lambda event: event["ts"]):
        said, is_kernel = event.get("args", {}), event["name"].endswith("_kernel_time") and event["cat"] == "Node"
        if not is_kernel or said["op_name"] in CONTAINERS or event["ts"] < starts[WARM_UP_RUNS]:
            continue
        key = (event["name"], said["node_index"])
        if key not in nodes:
            nodes[key] = _first(event["name"].removesuffix("_kernel_time"), said, origins, operators)
        nodes[key].microseconds.append(event["dur"])
    return nodes.values()


def _first(name: str, said: dict[str, Any], origins: "_Origins", operators: Operators | None) -> _Timed:
    inputs, outputs = (_tensors(said.get(f"{end}_type_shape", [])) for end in ("input", "output"))
    operator = operators.take(name, said["op_name"]) if operators else None
    return _Timed(
        name=origins.of(name, said["op_name"]),
        op_type=said["op_name"],
        provider=said["provider"],
        inputs=operator.fill(inputs) if operator else inputs,
        outputs=outputs,
        attributes=operator.attributes if operator else {},
        edge=operator.edge if operator else "",
        traced=operator is not None,
        microseconds=[],
    )


def _tensors(said: Iterable[Mapping[str, list[int]]]) -> tuple[Tensor, ...]:
    """What the profile says of tensors: a mapping of one type to one shape each, an empty one for what is none."""
    return tuple(Tensor(dtype=dtype, shape=tuple(shape)) for typed in said for dtype, shape in typed.items())


class _Origins:
    """Finds the node of the file behind a kernel that ONNX Runtime's optimizer renamed."""

    def __init__(self, path: Path) -> None:
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
        self._names = {node.name for node in graph.node}
        self._producers = {out: node for node in graph.node for out in node.output}

    def of(self, name: str, op_type: str) -> str:
        """The file's name. A blocked-layout kernel is called after the last tensor of what it fused: Conv and Relu.

        A Gemm fused with its activation is called "fused " and its own name.
        """
        for known in (name, name.removeprefix("fused ")):
            if known in self._names:
                return known
        plain = re.sub(r"(_nchwc)?(_token_\d+)?$", "", name)
        node = self._producers.get(plain)
        while node is not None and node.op_type != op_type and node.input:
            node = self._producers.get(node.input[0])
        return node.name if node is not None and node.name else plain
