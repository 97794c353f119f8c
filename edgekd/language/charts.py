"""The charts of a language report: what each file costs and is worth, and how the networks learned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekd.report.charts import HEIGHT, WIDTH, Chart, latency_axis
from edgekd.report.svg import INK, SERIES, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = ("o-", "s--", "^:", "D-.")


def bits_against_time(report: Mapping[str, Any]) -> Chart | None:
    """Every file as a point: time of the next token, bits a character on the test."""
    files = [variant for variant in report["variants"] if variant["path"] is not None]
    if not files:
        return None
    title = "Bits a character against the time of the next token"

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for place, file in enumerate(files):
            time, bits = file["token"], file["test"]
            x, y, colour = time["p50_ms"], bits["bits_per_character"], SERIES[place % len(SERIES)]
            (bottom, top), (left, right) = _ends(bits, "bits_per_character", y), _ends(time, "p50", x)
            axes.vlines(x, bottom, top, color=colour, linewidth=1, alpha=0.55)
            axes.hlines(y, left, right, color=colour, linewidth=1, alpha=0.55)
            axes.plot(x, y, STYLES[place % len(STYLES)][0], color=colour, label=file["name"], markersize=6)
            if file["selected"]:
                axes.plot(x, y, "o", markersize=12, markerfacecolor="none", markeredgecolor=INK)
        axes.set(xlabel="next token, median, ms", ylabel="bits a character")
        latency_axis(axes, [file["token"]["p50_ms"] for file in files])
        axes.legend(loc="best", fontsize=8)

    return Chart(
        svg=draw(paint, name="files", title=title, width=WIDTH, height=HEIGHT),
        title=title,
        caption="Down and left is better. Bars are 95 % intervals; those of the bits are over blocks of text that are "
        "the same for all files, so the files differ by less than the bars say. The ringed one is selected.",
    )


def learning(report: Mapping[str, Any]) -> Chart | None:
    """Cross-entropy of the text by step, of each network that was trained here."""
    trained = [arm for arm in report["arms"] if arm.get("history")]
    if not trained:
        return None
    title = "Cross-entropy in training, by step"

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for place, arm in enumerate(trained):
            known = [(point["step"], point["cross_entropy"]) for point in arm["history"]]
            style, colour = STYLES[place % len(STYLES)], SERIES[place % len(SERIES)]
            axes.plot(*zip(*known, strict=True), style, color=colour, label=arm["name"], markersize=2.6, linewidth=1.4)
        axes.set(xlabel="step", ylabel="nats a token, one batch")
        axes.legend(loc="best", fontsize=8)

    return Chart(
        svg=draw(paint, name="learning", title=title, width=WIDTH, height=HEIGHT),
        title=title,
        caption="Each point is one batch of the training text. What counts is the table of networks, on text that "
        "none of them has seen.",
    )


def _ends(numbers: Mapping[str, Any], name: str, value: float) -> tuple[float, float]:
    """The ends of an interval; the value itself for one that is not known, so that nothing is drawn."""
    low, high = (numbers[f"{name}_{end}"] for end in ("low", "high"))
    return (value if low is None else float(low)), (value if high is None else float(high))
