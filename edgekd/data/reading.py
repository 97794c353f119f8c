"""How a source is read for a network that is there already: what a recipe's [data] says of it."""

from dataclasses import dataclass

from edgekd.data.read_picture import Resize
from edgekd.data.series_csv import Windows
from edgekd.data.text_source import TextSettings
from edgekd.data.wav_folder import Clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was said; None where nothing was, and the network's file or the usual names decide.

    task: `classes`, `multi-label`, or `auto`: as the network's file or the labels' shape says. classes: names in the
    order in which the data numbers its labels. separator: between the labels of a cell, where a sample may have
    several. resize: of pictures, for a network whose file does not say it. series, audio, text: of sources of that
    kind. given: the keys that were set, as `data.series.window`; one that the network's file contradicts is an error.
    """

    task: str = "auto"
    classes: tuple[str, ...] | None = None
    separator: str | None = None
    resize: Resize | None = None
    series: Windows | None = None
    audio: Clips | None = None
    text: TextSettings | None = None
    given: tuple[str, ...] = ()
