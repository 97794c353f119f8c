"""Where the time of an inference goes, and how far each kernel is from what this machine can do.

`nets` and `peaks` measure the machine, `work` counts what a kernel has to do, `judge` places it under the roofline,
`advice` names the nodes worth changing, `beside` compares with another file, and `profile` puts it all in a document.
"""

from edgekd.roofline.advice import Advice, worth_changing
from edgekd.roofline.beside import Beside, beside
from edgekd.roofline.judge import Placed, place
from edgekd.roofline.peaks import Bandwidth, Peak, Peaks, measure, peaks_for
from edgekd.roofline.profile import profile_file
from edgekd.roofline.work import Work, work

__all__ = [
    "Advice",
    "Bandwidth",
    "Beside",
    "Peak",
    "Peaks",
    "Placed",
    "Work",
    "beside",
    "measure",
    "peaks_for",
    "place",
    "profile_file",
    "work",
    "worth_changing",
]
