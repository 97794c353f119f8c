"""The study's two charts, each as SVG and PNG: accuracy with its intervals, and the entropy of the soft labels."""

import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.errors import EnvironmentFault
from edgekd.report.wording import points
from edgekd.study import metric
from edgekd.study.conclude import name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1b1f26", "#5c6675", "#e1e5ea"
BLUE, GREEN, ORANGE = "#0068a8", "#00745a", "#c65300"
TONES = {"beats": GREEN, "loses": ORANGE}
STYLE: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "edgekd",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "savefig.dpi": 160,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
}
ACCURACY, ENTROPY = "accuracy", "entropy"
Arms = Sequence[Mapping[str, Any]]


def check_package() -> None:
    """Refuse before hours of training what would fail at the charts. Raises EnvironmentFault."""
    if importlib.util.find_spec("matplotlib") is None:
        raise EnvironmentFault('a study draws charts with matplotlib; pip install "edgekd[report]"')


def draw(study: Mapping[str, Any]) -> dict[str, str | bytes]:
    """File name -> contents. A chart that has no data is left out; equal studies give equal SVG."""
    arms = [arm for arm in study["arms"] if arm[metric.of(study).test]]
    with_entropy = [arm for arm in arms if arm["soft_entropy"]]
    files: dict[str, str | bytes] = {}
    if arms:
        height = 1.25 + 0.42 * len(arms)
        files |= _saved(ACCURACY, (8.6, height), lambda figure: _accuracy(figure, arms, study))
    if with_entropy:
        height = 0.8 + 0.62 * (len(with_entropy) + len(_fixed(with_entropy, study)))
        files |= _saved(ENTROPY, (8.6, height), lambda figure: _entropy(figure, with_entropy, study))
    return files


def _saved(stem: str, size: tuple[float, float], paint: Callable[["Figure"], None]) -> dict[str, str | bytes]:
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    svg, png = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", metadata={"Software": None})
    return {f"{stem}.svg": svg.getvalue().decode(), f"{stem}.png": png.getvalue()}


def _accuracy(figure: "Figure", arms: Arms, study: Mapping[str, Any]) -> None:
    compared = any(arm["against_baseline"] for arm in arms)
    panels = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
    judged = metric.of(study)
    panels[0].set_title(f"{judged.title}, last epoch")
    panels[0].set_xlabel(f"{judged.name}, %\ndots: seeds; bar: mean and 95 % interval")
    for row, arm in enumerate(arms):
        _seeds(panels[0], arm[judged.test], [seed[judged.test] for seed in arm["seeds"]], row)
    if compared:
        base = name(next(arm for arm in study["arms"] if arm["method"] == study["baseline"]), study)
        panels[1].set_title(f"Difference to {base}, paired by seed")
        panels[1].set_xlabel(f"points of {judged.name}\nbar: mean and 95 % interval over seeds")
        panels[1].axvline(0, color=MUTED, linewidth=1)
        for row, arm in enumerate(arms):
            _difference(panels[1], arm, row, study["baseline"])
    for axes in panels:
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(range(len(arms)), [arm["method"] for arm in arms])
    panels[0].set_ylim(len(arms) - 0.4, -0.6)


def _seeds(axes: "Axes", top1: Mapping[str, Any], values: Sequence[float], row: int, colour: str = BLUE) -> None:
    if top1["low"] is not None:
        axes.hlines(row, 100 * top1["low"], 100 * top1["high"], color=colour, linewidth=2.2, alpha=0.45)
    axes.vlines(100 * top1["mean"], row - 0.26, row + 0.26, color=colour, linewidth=2.2)
    axes.plot([100 * value for value in values], [row] * len(values), "o", **_dot(colour))


def _dot(colour: str) -> dict[str, Any]:
    return {"markersize": 4.6, "markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.2}


def _difference(axes: "Axes", arm: Mapping[str, Any], row: int, baseline: str) -> None:
    found = arm["against_baseline"]
    if found is None:
        if arm["method"] == baseline:
            axes.text(0, row, " baseline", color=MUTED, va="center", fontsize=8)
        return
    summary = {"mean": found["difference"], "low": found["low"], "high": found["high"]}
    colour = TONES.get(found["verdict"], MUTED)
    _seeds(axes, summary, [seed["difference"] for seed in found["seeds"]], row, colour)
    sign = "+" if found["difference"] > 0 else ""
    axes.annotate(
        f"{sign}{points(found['difference'])}",
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        fontsize=8,
        annotation_clip=False,
    )


def _entropy(figure: "Figure", arms: Arms, study: Mapping[str, Any]) -> None:
    """A row a method, from a hard label at the left to a uniform one at the right; T = 4 above for comparison."""
    classes = metric.of(study).soft_classes or study["data"]["classes"]
    most = math.log(classes)
    rows = [*_fixed(arms, study), *((_label(arm), arm["soft_entropy"], BLUE) for arm in arms)]
    edges = np.linspace(0, most * 1.001, 121)
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, entropy, colour) in zip(panels, rows, strict=True):
        values = np.asarray(entropy["values"])
        weights = np.full(len(values), 100 / len(values))
        heights, _, _ = axes.hist(values, bins=edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.75)
        axes.set(yticks=[], ylim=(0, 1.05 * max(heights)), xlim=(0, most * 1.02))
        axes.spines["left"].set_visible(False)
        axes.axvline(most, color=MUTED, linewidth=0.9, linestyle=":")
        text = f"{label}\n{entropy['mean']:.3f} ± {entropy['sd']:.2g}"
        axes.set_ylabel(text, rotation=0, ha="right", va="center", color=INK, fontsize=8.5)
    panels[0].set_title("Entropy of the teacher's soft labels, sample by sample")
    panels[-1].set_xlabel(f"nats; dotted: ln {classes}, a uniform label; each row at its own height")


def _fixed(arms: Arms, study: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], str]]:
    """The row of the field's usual temperature, where kd has not chosen it anyway."""
    shown = any(arm["method"] == "kd" and arm["chosen"]["temperature"] == 4 for arm in arms)
    return [] if shown or not study["fixed_entropy"] else [("fixed T = 4", study["fixed_entropy"], MUTED)]


def _label(arm: Mapping[str, Any]) -> str:
    knobs = [f"{key} {value:g}" for key, value in (arm["chosen"] or {}).items() if "weight" not in key]
    return f"{arm['method']}, {', '.join(knobs)}" if knobs else str(arm["method"])
