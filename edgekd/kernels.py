"""Which kernels ONNX Runtime really runs a file on, from its own profile: int8, float, or on another device."""

import json
import math
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.runner import check_inputs, runner
from edgekd.session import SessionOptions, check_file, create_session, facts

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
    """

    name: str
    op_type: str
    provider: str
    kind: str
    calls: float
    median_us: float
    share: float


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
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    largest: int
    microseconds: list[int]


def profile(
    path: Path, inputs: npt.NDArray[Any], options: SessionOptions, *, runs: int = 20, batch: int = 1
) -> Kernels:
    """The kernels of `runs` runs after a short warm-up, in a session like the one that is measured.

    inputs: (n, ...) in the network's own layout and type; runs take `batch` samples each and start over at the end.

    Raises:
        BadInputError: the file or the data does not fit, as `session` says.
        EnvironmentFault: the provider is not there or did not start.
    """
    if runs < 1 or not len(inputs):
        raise BadInputError(f"a profile of {runs} runs on {len(inputs)} samples; expected at least one of each")
    check_file(path)
    with tempfile.TemporaryDirectory(prefix="edgekd-profile-") as folder:
        session = create_session(path, options, profiling=Path(folder) / "kernels")
        known = facts(session, path)
        size = known.shape[0] or batch
        samples = check_inputs(inputs[: (WARM_UP_RUNS + runs) * size], known, path)
        run = runner(session, known)
        for index in range(WARM_UP_RUNS + runs):
            run(samples[np.arange(index * size, (index + 1) * size) % len(samples)])
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _summarise(_timed(events, _Origins(path)), runs=runs, asked_for=options.provider)


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
    found = (*node.output_types[:1], *node.input_types[:1])  # the output first: Where begins with a bool
    if node.largest <= 1:
        return "other"
    if any(dtype in FLOATS for dtype in found):
        return "float"
    return "int8" if quantized and any(dtype in BYTES for dtype in found) else "other"


def _timed(events: list[dict[str, Any]], origins: "_Origins") -> Iterable[_Timed]:
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
            nodes[key] = _first(event["name"].removesuffix("_kernel_time"), said, origins)
        nodes[key].microseconds.append(event["dur"])
    return nodes.values()


def _first(name: str, said: dict[str, Any], origins: "_Origins") -> _Timed:
    inputs, outputs = said.get("input_type_shape", []), said.get("output_type_shape", [])
    return _Timed(
        name=origins.of(name, said["op_name"]),
        op_type=said["op_name"],
        provider=said["provider"],
        input_types=tuple(next(iter(typed), "") for typed in inputs),
        output_types=tuple(next(iter(typed), "") for typed in outputs),
        largest=max((math.prod(shape) for typed in (*inputs, *outputs) for shape in typed.values()), default=0),
        microseconds=[],
    )


class _Origins:
    """Finds the node of the file behind a kernel that ONNX Runtime's optimizer renamed."""

    def __init__(self, path: Path) -> None:
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
        self._names = {node.name for node in graph.node}
        self._producers = {out: node for node in graph.node for out in node.output}

    def of(self, name: str, op_type: str) -> str:
        """The file's name. A blocked-layout kernel is called after the last tensor of what it fused: Conv and Relu."""
        if name in self._names:
            return name
        plain = re.sub(r"(_nchwc)?(_token_\d+)?$", "", name)
        node = self._producers.get(plain)
        while node is not None and node.op_type != op_type and node.input:
            node = self._producers.get(node.input[0])
        return node.name if node is not None and node.name else plain
