"""The charts of where time goes: milliseconds by operator, one file beside another, and kernels under the roofline."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekd.report.charts import WIDTH, Chart
from edgekd.report.labels import Box, place
from edgekd.report.svg import INK, MUTED, PAPER, SERIES, draw
from edgekd.report.wording import DASH, NBSP, fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 10
"""Operators with a bar of their own; the rest share one."""

NAMED = 6
"""Kernels with a name in the roofline: the slowest."""

LEAST_SHARE = 0.004
"""Kernels below are no dot: dozens of tiny ones would stretch the axes over what takes no time."""

LONGEST_NAME = 28

FAMILIES = {
    "ConvInteger": "Conv", "FusedConv": "Conv", "NhwcFusedConv": "Conv",
    "DynamicQuantizeMatMul": "MatMul", "FusedMatMul": "MatMul", "MatMulInteger": "MatMul",
    "MatMulIntegerToFloat": "MatMul", "MatMulNBits": "MatMul", "MatMulBnb4": "MatMul", "QGemm": "Gemm",
    "FusedGemm": "Gemm", "NhwcMaxPool": "MaxPool", "QAttention": "Attention", "DynamicQuantizeLSTM": "LSTM",
    "QuantizeLinear": "Q/DQ", "DequantizeLinear": "Q/DQ", "DynamicQuantizeLinear": "Q/DQ",
    "ReorderInput": "Reorder", "ReorderOutput": "Reorder",
}  # fmt: skip
"""Operator -> what it is called where an fp32 and an int8 file stand side by side."""

COLOURS = {"compute": SERIES[0], "memory": SERIES[1], "overhead": SERIES[3]}
MARKERS = {"compute": "o", "memory": "s", "overhead": "^"}


def family(op_type: str) -> str:
    """The operator as both files know it: QLinearConv, ConvInteger and Conv are all Conv."""
    return FAMILIES.get(op_type) or op_type.removeprefix("QLinear") or op_type


def time_by_operator(sides: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], *, name: str) -> Chart | None:
    """Bars of milliseconds an inference by operator, a colour a file; hatched: in int8 kernels.

    sides: (file's name, its rows by op type), at most two. None where nothing took time.
    """
    sums = [_by_family(rows) for _, rows in sides]
    totals: dict[str, float] = defaultdict(float)
    for side in sums:
        for operator, (floats, int8) in side.items():
            totals[operator] += floats + int8
    order = sorted((operator for operator in totals if totals[operator] > 0), key=lambda one: -totals[one])
    if not order:
        return None
    shown, rest = (order, []) if len(order) <= ROWS + 1 else (order[:ROWS], order[ROWS:])
    labels = [*shown, *([f"{len(rest)} others"] if rest else [])]
    title = "Time of an inference, by operator"

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        height = 0.8 / len(sides)
        for index, ((label, _), side, colour) in enumerate(zip(sides, sums, SERIES, strict=False)):
            bars = [side.get(one, (0.0, 0.0)) for one in shown]
            bars += [tuple(sum(side.get(one, (0.0, 0.0))[k] for one in rest) for k in (0, 1))] if rest else []  # type: ignore[list-item]
            _bars(axes, bars, at=(index - (len(sides) - 1) / 2) * height, height=height, colour=colour, label=label)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set(xlabel="milliseconds", ylim=(len(labels) - 0.4, -0.6))
        axes.margins(x=0.14)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower right", fontsize=8)

    per_row = 16 if len(sides) == 1 else 25
    return Chart(
        svg=draw(paint, name=name, title=title, width=WIDTH, height=max(120.0, 62 + per_row * len(labels))),
        title=title,
        caption="The sum of the kernels' medians in ONNX Runtime's own profile. Filled: in int8 kernels; pale: all "
        "else. Q/DQ: conversions between float and int8 that run as kernels of their own.",
    )


def _by_family(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Operator -> milliseconds (in other kernels, in int8 kernels)."""
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for row in rows:
        floats, int8 = sums[family(row["op_type"])]
        is_int8 = row["kind"] == "int8"
        sums[family(row["op_type"])] = (floats + row["ms"] * (not is_int8), int8 + row["ms"] * is_int8)
    return dict(sums)


def _bars(
    axes: "Axes", bars: Sequence[tuple[float, float]], *, at: float, height: float, colour: str, label: str
) -> None:
    places = [row + at for row in range(len(bars))]
    int8, floats = [bar[1] for bar in bars], [bar[0] for bar in bars]
    total = sum(int8) + sum(floats)
    axes.barh(places, int8, height=0.86 * height, color=colour, label=f"{label}, {fixed(total)} ms")
    axes.barh(places, floats, left=int8, height=0.86 * height, color=colour, alpha=0.45)
    for where, first, second in zip(places, int8, floats, strict=True):
        if first + second > 0:
            axes.annotate(
                fixed(first + second, digits=2), (first + second, where), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize=7.5, color=MUTED,
            )  # fmt: skip


def roofline_chart(found: Mapping[str, Any], *, name: str) -> Chart | None:
    """The roofs of the machine and every kernel whose operations are known; None without either.

    found: a profile, as `edgekd.roofline.profile_file` gives it.
    """
    peaks = found["peaks"]
    dots = [node for node in found["file"]["nodes"] if _is_dot(node)]
    if not peaks or not dots:
        return None
    title = "Roofline of this machine"

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import FuncFormatter, NullFormatter

        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlabel="multiply-adds a byte", ylabel="billion multiply-adds a second")
        spread = [n["operations"] / n["bytes"] for n in dots]
        left, right = (
            min(spread) / 4,
            max([*spread, peaks["int8"]["best"] / peaks["bandwidths"][0]["peak"]["best"]]) * 6,
        )
        _roofs(axes, peaks, left, right)
        for verdict, colour in COLOURS.items():
            _dots(axes, [n for n in dots if n["verdict"] == verdict], verdict, colour)
        low = min(_rate(n) for n in dots)
        axes.set(xlim=(left, right), ylim=(low / 4, peaks["int8"]["best"] / 1e9 * 3))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.legend(loc="lower right", fontsize=8)
        figure.draw_without_rendering()
        _label(axes, list({node["name"]: node for node in reversed(dots)}.values())[::-1][:NAMED])

    return Chart(
        svg=draw(paint, name=name, title=title, width=WIDTH, height=310.0),
        title=title,
        caption="Each dot is a kernel, its area the share of time; the slowest are named. The flat lines are what ONNX "
        "Runtime reaches here in products of fp32 and of int8, the slopes what it moves in tensors that fit a cache, "
        "and in large ones. A dot on its line does all that this machine can. For what is no product, an operation "
        "counts as a multiply-add.",
    )


def _is_dot(node: Mapping[str, Any]) -> bool:
    known = node["operations"] and node["bytes"] and node["ms"] and node["verdict"] in COLOURS
    return bool(known) and node["share"] >= LEAST_SHARE


def _area(share: float) -> float:
    """Square points of a dot."""
    return 22 + 300 * share


def _rate(node: Mapping[str, Any]) -> float:
    """Billion operations a second."""
    return float(node["operations"] * node["calls"] / node["ms"] / 1e6)


def _roofs(axes: "Axes", peaks: Mapping[str, Any], left: float, right: float) -> None:
    widths = [peaks["bandwidths"][0], peaks["bandwidths"][-1]]
    top = peaks["int8"]["best"] / 1e9
    for one, style in zip(widths, ("-", "--"), strict=True):
        slope = one["peak"]["best"] / 1e9
        size = one["working_set"]
        words = f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
        label = f"{fixed(slope, digits=2)} GB/s in {words}"
        axes.plot([left, top / slope], [left * slope, top], style, color=MUTED, linewidth=1, label=label)
    fast = widths[0]["peak"]["best"] / 1e9
    for kind in ("fp32", "int8"):
        height = peaks[kind]["best"] / 1e9
        axes.plot([height / fast, right], [height, height], "-", color=INK, linewidth=1)
        axes.annotate(
            f"{kind}: {fixed(height)}", (right, height), xytext=(-3, 3), textcoords="offset points", ha="right",
            fontsize=8, color=INK,
        )  # fmt: skip


def _dots(axes: "Axes", nodes: Sequence[Mapping[str, Any]], verdict: str, colour: str) -> None:
    if nodes:
        axes.scatter(
            [n["operations"] / n["bytes"] for n in nodes],
            [_rate(n) for n in nodes],
            s=[_area(n["share"]) for n in nodes],
            color=colour,
            marker=MARKERS[verdict],
            edgecolors=PAPER,
            linewidths=0.7,
            label={"compute": "bound by compute", "memory": "bound by memory", "overhead": "overhead"}[verdict],
            zorder=3,
        )


def _label(axes: "Axes", nodes: Sequence[Mapping[str, Any]]) -> None:
    """The names beside their dots, off each other."""
    to_points = axes.figure.dpi_scale_trans.inverted()
    spots = []
    for node in nodes:
        pixel = axes.transData.transform((node["operations"] / node["bytes"], _rate(node)))
        x, y = to_points.transform(pixel) * 72
        spots.append((float(x), float(y)))
    names = [shortened(node["name"] or node["op_type"]) for node in nodes]
    frame = axes.get_window_extent().transformed(to_points)
    bounds: Box = (72 * frame.x0, 72 * frame.y0, 72 * frame.x1, 72 * frame.y1)
    obstacles: list[Box] = [
        (x - r, y - r, x + r, y + r)
        for (x, y), node in zip(spots, nodes, strict=True)
        for r in [math.sqrt(_area(node["share"])) / 2 + 1]
    ]
    for label in axes.texts:
        drawn = label.get_window_extent().transformed(to_points)
        obstacles.append((72 * drawn.x0, 72 * drawn.y0, 72 * drawn.x1, 72 * drawn.y1))
    boxes = place(spots, [(4.3 * len(text), 9.0) for text in names], obstacles=obstacles, bounds=bounds)
    for (x, y), box, text in zip(spots, boxes, names, strict=True):
        axes.annotate(
            text, (x, y), xycoords="figure points", xytext=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            textcoords="figure points", ha="center", va="center", fontsize=7.5, color=INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip


def kernel_ms(value: float | None) -> str:
    """Milliseconds of a kernel: the profile's clock counts whole microseconds."""
    return DASH if value is None else f"{value:.3f}{NBSP}ms"


def shortened(name: str) -> str:
    """The end of a long name, which tells nodes of one network apart."""
    return name if len(name) <= LONGEST_NAME else "…" + name[-(LONGEST_NAME - 1) :]
