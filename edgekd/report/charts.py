"""The charts of the report: each takes the report and gives a `Chart`, or None where it holds no such data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.report.rows import mark
from edgekd.report.svg import INK, LINE, MUTED, SERIES, draw
from edgekd.report.wording import fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
WIDTH, HEIGHT = 400.0, 270.0
FIXED_TEMPERATURE = 4
TOP1 = {"validation_top1": "validation", "train_top1": "training"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing, its title and what to see in it."""

    svg: str
    title: str
    caption: str


def training_curves(report: Report) -> Chart | None:
    """Loss and its parts above, accuracy below, by epoch."""
    history = (report["student"] or {}).get("history")
    if not history:
        return None
    title = "Training, by epoch"

    def paint(figure: "Figure") -> None:
        losses, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _curves(losses, history, {"loss": "loss", "cross_entropy": "cross-entropy", "kl": "KL to the teacher"})
        losses.set_ylabel("loss, nats")
        several = any(row.get("validation_map") is not None for row in history)
        tops = {"validation_map": "validation"} if several else TOP1
        _curves(accuracies, history, tops, scale=100)
        accuracies.set(xlabel="epoch", ylabel="mAP, %" if several else "top-1, %")
        accuracies.xaxis.get_major_locator().set_params(integer=True)

    return Chart(
        svg=draw(paint, name="training", title=title, width=WIDTH, height=HEIGHT),
        title=title,
        caption="A falling loss and a validation curve that has levelled off mean the budget was enough. "
        "Training accuracy is counted on augmented samples while the weights still move.",
    )


def _curves(axes: "Axes", history: Sequence[Mapping[str, Any]], names: Mapping[str, str], scale: float = 1.0) -> None:
    styles = zip(names.items(), SERIES, ("o-", "s--", "^:"), strict=False)
    for (key, label), colour, style in styles:
        known = [(row["epoch"], scale * row[key]) for row in history if row[key] is not None]
        if known:
            axes.plot(*zip(*known, strict=True), style, color=colour, label=label, markersize=2.6, linewidth=1.4)
    if axes.get_legend_handles_labels()[0]:  # none where nothing was measured: matplotlib would warn
        axes.legend(loc="best", fontsize=8)


def teacher_entropy(report: Report) -> Chart | None:
    """How informative the teacher's soft labels are, sample by sample, under two temperatures."""
    student = report["student"] or {}
    known = {
        f"fixed T = {FIXED_TEMPERATURE}": np.asarray(student.get("fixed_entropy") or []),
        f"this student's method, {(student.get('method') or {}).get('name')}": np.asarray(
            student.get("soft_entropy") or []
        ),
    }
    series = {name: values for name, values in known.items() if len(values)}
    if not series:
        return None
    title = "Entropy of the teacher's soft labels"
    data = report["data"] or {}
    classes = 2 if data.get("task") == "multi-label" else len(data.get("classes") or ())

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        everything = np.concatenate(list(series.values()))
        top = max(math.log(classes), float(everything.max())) if classes > 1 else float(everything.max())
        edges = np.linspace(0, top if top > 0 else 1, 61)
        for axes, (name, values), colour in zip(panels, series.items(), SERIES, strict=False):
            _histogram(axes, values, edges=edges, name=name, colour=colour)
            if classes > 1:
                axes.axvline(math.log(classes), color=MUTED, linewidth=1, linestyle=":")
        panels[-1].set_xlabel("nats" + (f"; dotted: ln {classes}, a uniform label" if classes > 1 else ""))

    return Chart(
        svg=draw(paint, name="entropy", title=title, width=WIDTH, height=HEIGHT),
        title=title,
        caption="Left: the soft label is almost a hard one; right: almost uniform. One fixed temperature teaches some "
        "samples much and others little; adaptive ones (cist, entropy) aim at the same entropy for all, a narrow peak.",
    )


def _histogram(axes: "Axes", values: "np.ndarray[Any, Any]", *, edges: Any, name: str, colour: str) -> None:
    weights = np.full(len(values), 100 / len(values))
    label = f"{name}\n{values.mean():.2f} ± {values.std():.2f} nats, n = {len(values):,}"
    axes.hist(values, bins=edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.75, label=label)
    axes.axvline(float(values.mean()), color=INK, linewidth=1)
    axes.set(ylabel="% of samples", xlim=(edges[0], edges[-1] * 1.02))
    axes.legend(loc="upper left", fontsize=8)


def latency_spread(report: Report) -> Chart | None:
    """Where the single inferences of each variant lie: median, middle half, 5th to 95th percentile, p99."""
    timed = [v for v in report["variants"] if v["latency"] and any(v["latency"]["samples_ns"])]
    if not timed:
        return None
    title = "Latency of single inferences"

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for row, variant in enumerate(timed):
            _spread(axes, variant, row)
        names = [f"{v['name']} ← {mark(report)}" if v["selected"] else v["name"] for v in timed]
        axes.set_yticks(range(len(timed)), names)
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set(xlabel="milliseconds", ylim=(len(timed) - 0.4, -0.6))
        axes.grid(visible=False, axis="y")
        latency_axis(axes, [v["latency"]["p50_ms"] for v in timed])

    return Chart(
        svg=draw(paint, name="latency", title=title, width=WIDTH, height=max(110.0, 60 + 30 * len(timed))),
        title=title,
        caption="Bar: the middle half of all samples, with the median as a stroke; line: 5 to 95 %; cross: p99, from "
        "1,000 samples. Dots: the median of each round, a fresh process; dots apart mean a noisy machine.",
    )


def _spread(axes: "Axes", variant: Mapping[str, Any], row: int) -> None:
    rounds = [np.asarray(samples) / 1e6 for samples in variant["latency"]["samples_ns"] if samples]
    p5, p25, p50, p75, p95, p99 = np.quantile(np.concatenate(rounds), (0.05, 0.25, 0.5, 0.75, 0.95, 0.99))
    colour = SERIES[0] if variant["selected"] else MUTED
    axes.hlines(row, p5, p95, color=colour, linewidth=1)
    axes.barh(row, p75 - p25, left=p25, height=0.42, color=colour, alpha=0.7)
    axes.vlines(p50, row - 0.27, row + 0.27, color=INK, linewidth=1.4)
    axes.plot(
        [float(np.median(samples)) for samples in rounds], [row + 0.34] * len(rounds), ".", color=INK, markersize=3
    )
    if variant["latency"]["p99_ms"] is not None:
        axes.plot(p99, row, "x", color=colour, markersize=4)


def latency_axis(axes: "Axes", medians: Sequence[float]) -> None:
    """From zero where the variants are comparable; logarithmic where one is more than six times another."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if max(medians) <= 6 * min(medians):
        axes.set_xlim(left=0)
        return
    low, high = axes.get_xlim()
    axes.set_xscale("log", subs=(2, 5))
    axes.set_xlim(max(low, min(medians) / 2.4), max(high, max(medians) * 1.3))
    axes.tick_params(axis="x", which="both", length=3, pad=3.5)
    plain = FuncFormatter(lambda value, _: fixed(value, digits=1))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(plain if high < 100 * max(low, min(medians)) else NullFormatter())
    axes.grid(visible=True, axis="x", which="minor", color=LINE, linewidth=0.4)
