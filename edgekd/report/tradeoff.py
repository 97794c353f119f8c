"""The chart of accuracy against latency, with intervals, gate limits and a label at every point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekd.report.charts import HEIGHT, WIDTH, Chart, latency_axis
from edgekd.report.labels import Box, place
from edgekd.report.rows import is_labelled, quality_key
from edgekd.report.svg import FAIL, INCONCLUSIVE, INK, MUTED, PAPER, PASS, draw
from edgekd.report.wording import fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

MARKS = {"pass": ("o", PASS), "fail": ("X", FAIL), "inconclusive": ("D", INCONCLUSIVE), "not judged": ("s", MUTED)}
SIDES = {
    ("x", True): ("to the right", "ms"),
    ("x", False): ("to the left", "ms"),
    ("y", True): ("above", "%"),
    ("y", False): ("below", "%"),
}
LABEL_SIZE = 8.0
LABELS = {"top1": "top-1, %", "micro_f1": "micro F1, %"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One variant; x in milliseconds, y in per cent, each as (value, low, high)."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    verdict: str
    selected: bool


def accuracy_against_latency(report: Mapping[str, Any]) -> Chart | None:
    """Every measured variant as a point; None without one."""
    labelled = is_labelled(report)
    key = quality_key(report)
    points = _points(report["variants"], measure=key if labelled else "agreement_fp32")
    if not points:
        return None
    title = "Accuracy against latency"
    limits = _limits(report, labelled=labelled)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        _marks(axes, points)
        axes.set(xlabel="median latency, ms", ylabel=LABELS[key] if labelled else "agreement with fp32, %")
        latency_axis(axes, [point.x[0] for point in points])
        _legend(figure, axes, points, _limit_lines(axes, limits))
        figure.draw_without_rendering()
        _name_limits(axes, points, limits)
        _annotate(axes, points)

    return Chart(
        svg=draw(paint, name="tradeoff", title=title, width=WIDTH, height=HEIGHT),
        title=title,
        caption="Up and left is better. Bars are 95 % intervals: vertical bars that overlap are not told apart "
        "by this test set. Dashed lines are the gate's limits; the ringed point is the one selected.",
    )


def _points(variants: Sequence[Mapping[str, Any]], *, measure: str) -> list[Point]:
    points = []
    for variant in variants:
        accuracy, latency = variant["accuracy"], variant["latency"]
        if accuracy is None or latency is None or accuracy[measure] is None:
            continue
        points.append(
            Point(
                name=variant["name"],
                x=_bounded(latency, ("p50_ms", "p50_low", "p50_high"), scale=1),
                y=_bounded(accuracy, (measure, f"{measure}_low", f"{measure}_high"), scale=100),
                verdict=variant["gate"]["verdict"] if variant["gate"] else "not judged",
                selected=variant["selected"],
            )
        )
    return points


def _bounded(values: Mapping[str, Any], keys: tuple[str, str, str], *, scale: float) -> tuple[float, float, float]:
    """Value, low, high; an end that is not known is not drawn."""
    value, low, high = (values[key] for key in keys)
    return scale * value, scale * (value if low is None else low), scale * (value if high is None else high)


def _limits(report: Mapping[str, Any], *, labelled: bool) -> dict[str, tuple[str, float]]:
    """Check name -> (axis, position) of the limits that this chart can show."""
    checks = {check["name"]: check["limit"] for check in report["gate"]["checks"]}
    limits = {name: ("x", limit) for name, limit in checks.items() if name == "max_p50_ms"}
    if not labelled:
        return limits
    key = quality_key(report)
    lowest, drop = f"min_{key}", f"max_{key}_drop"
    if lowest in checks:
        limits[lowest] = ("y", 100 * checks[lowest])
    reference = next((v["accuracy"] for v in report["variants"] if v["name"] == "fp32" and v["accuracy"]), None)
    if drop in checks and reference and reference[key] is not None:
        limits[drop] = ("y", 100 * (reference[key] - checks[drop]))
    return limits


def _marks(axes: "Axes", points: Sequence[Point]) -> None:
    for point in points:
        marker, colour = MARKS[point.verdict]
        (x, left, right), (y, bottom, top) = point.x, point.y
        axes.hlines(y, left, right, color=colour, linewidth=1, alpha=0.55)
        axes.vlines(x, bottom, top, color=colour, linewidth=1, alpha=0.55)
        if point.selected:
            axes.plot(x, y, "o", markersize=12, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.2)
        axes.plot(x, y, marker, color=colour, markersize=6, markeredgecolor=PAPER, markeredgewidth=0.6)


def _limit_lines(axes: "Axes", limits: Mapping[str, tuple[str, float]]) -> list[str]:
    """Draw the limits that lie near the points; returns a sentence for each that would squash them."""
    beyond, near = [], []
    for name, (axis, position) in limits.items():
        low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
        reach, margin = 0.6 * (high - low), 0.06 * (high - low)
        if low - reach <= position <= high + reach:
            near.append((name, axis, position))
            widen = axes.set_xlim if axis == "x" else axes.set_ylim
            widen(low if axis == "x" else min(low, position - margin), max(high, position + margin))
        else:
            side, unit = SIDES[axis, position > high]
            beyond.append(f"{name} = {fixed(position)} {unit}: far {side}")
    for name, axis, position in near:
        draw_line = axes.axvline if axis == "x" else axes.axhline
        draw_line(position, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"_{name}")
    return beyond


def _name_limits(axes: "Axes", points: Sequence[Point], limits: Mapping[str, tuple[str, float]]) -> None:
    """Each line's name where fewest points are; of two levels the upper is named above, the lower below."""
    drawn = {line.get_label() for line in axes.lines}
    near = {name: limit for name, limit in limits.items() if f"_{name}" in drawn}
    to_axes = axes.transData + axes.transAxes.inverted()
    across = [to_axes.transform((point.x[0], point.y[0]))[0] for point in points]
    free = max((0.14, 0.5, 0.84), key=lambda place: min(abs(place - x) for x in across))
    levels = [position for axis, position in near.values() if axis == "y"]
    for name, (axis, position) in near.items():
        if axis == "x":
            where, offset, align = (position, 0.0), (-4, 4), ("right", "bottom")
        else:
            above = position == max(levels)
            where, offset, align = (free, position), (0, 3 if above else -3), ("center", "bottom" if above else "top")
        axes.annotate(
            name,
            where,
            xycoords=("data", "axes fraction") if axis == "x" else ("axes fraction", "data"),
            xytext=offset,
            textcoords="offset points",
            ha=align[0],
            va=align[1],
            fontsize=7.5,
        )


def _legend(figure: "Figure", axes: "Axes", points: Sequence[Point], beyond: Sequence[str]) -> None:
    for verdict in dict.fromkeys(point.verdict for point in points):
        marker, colour = MARKS[verdict]
        axes.plot([], [], marker, color=colour, markersize=6, label=verdict)
    title = "; ".join(beyond)
    figure.legend(
        loc="outside upper left", ncols=4, fontsize=8, title=title or None, title_fontsize=7.5, alignment="left"
    )


def _annotate(axes: "Axes", points: Sequence[Point]) -> None:
    """Labels at the places that cover least, with a leader where the place is not beside the point."""
    scale = 72 / axes.figure.dpi

    def page(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y))
        return across * scale, up * scale

    centres = [page(point.x[0], point.y[0]) for point in points]
    obstacles = [_box(text, scale) for text in axes.texts]
    for point, (x, y) in zip(points, centres, strict=True):
        (left, bottom), (right, top) = page(point.x[1], point.y[1]), page(point.x[2], point.y[2])
        obstacles += [(x - 6, y - 6, x + 6, y + 6), (x - 1, bottom, x + 1, top), (left, y - 1, right, y + 1)]
    sizes = [((0.68 if p.selected else 0.6) * LABEL_SIZE * len(p.name), 1.2 * LABEL_SIZE) for p in points]
    places = place(centres, sizes, obstacles=obstacles, bounds=_box(axes, scale))
    for point, (x, y), (left, bottom, right, top) in zip(points, centres, places, strict=True):
        _label(axes, point, offset=((left + right) / 2 - x, (bottom + top) / 2 - y))


def _box(artist: "Axes | Text", scale: float) -> Box:
    extent = artist.get_window_extent()
    return extent.x0 * scale, extent.y0 * scale, extent.x1 * scale, extent.y1 * scale


def _label(axes: "Axes", point: Point, *, offset: tuple[float, float]) -> None:
    far = abs(offset[1]) > 16 or abs(offset[0]) > 0.3 * LABEL_SIZE * len(point.name) + 14
    axes.annotate(
        point.name,
        (point.x[0], point.y[0]),
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=LABEL_SIZE,
        fontweight="bold" if point.selected else "normal",
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 5} if far else None,
    ).set_in_layout(False)
