"""A matplotlib figure as inline SVG whose colours are the page's CSS variables, so that it follows dark mode."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from edgekd.errors import EnvironmentFault

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that nothing else draws with; each becomes the CSS expression beside it.
INK, MUTED, LINE, PAPER = "#010203", "#010204", "#010205", "#010206"
SERIES = ("#010207", "#010208", "#010209", "#01020a")
PASS, FAIL, INCONCLUSIVE = "#01020b", "#01020c", "#01020d"
CSS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--card)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, start=1)},
    PASS: "var(--pass)",
    FAIL: "var(--fail)",
    INCONCLUSIVE: "var(--inconclusive)",
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgekd",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


def draw(paint: Callable[["Figure"], None], *, name: str, title: str, width: float, height: float) -> str:
    """The `<svg>` element that `paint` draws on an empty figure; equal input gives equal text.

    name: unique in the page, prefixes every id. title: read out by screen readers. width, height: points.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as err:
        raise EnvironmentFault(
            'the HTML report needs matplotlib, which is not installed; pip install "edgekd[report]"'
        ) from err
    buffer = io.StringIO()
    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    with matplotlib.rc_context(settings), _quiet_glyphs():
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), name=name, title=title)


@contextmanager
def _quiet_glyphs() -> Iterator[None]:
    """The reader's browser draws the text; matplotlib's font only measures it, missing glyphs or not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def _inline(text: str, *, name: str, title: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r"(?<=font: )([^;\"]*?)'?DejaVu Sans'?(, sans-serif)?", r"\1var(--font)", text)
    for colour, css in CSS.items():
        text = text.replace(colour, css)
    head = re.search(r'viewBox="[^"]*"', text)
    assert head is not None, "matplotlib writes a viewBox"
    body = text[text.index(">") + 1 :]
    label = f"{name}-title"
    opening = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {head[0]} role="img" aria-labelledby="{label}">'
    return f'{opening}<title id="{label}">{escape(title)}</title>{body}'.strip()
