"""A new file against the one before it: cycles of interleaved blocks until the verdict is clear, or the time is over.

`timed` measures, `judge` makes the verdict of what was measured, and makes it again from a stored result.
"""

from edgekd.versus.accuracy import is_accuracy, judge_accuracy
from edgekd.versus.judge import QUANTILES, judge, look
from edgekd.versus.timed import Timed, time_both

__all__ = ["QUANTILES", "Timed", "is_accuracy", "judge", "judge_accuracy", "look", "time_both"]
