"""Session options that are faster than the target's own on this machine, measured against them. No torch.

`axes` says what is tried, `same` whether the outputs stay what they were, `race` times candidates in turns and drops
the slow ones, `sweep` goes through the axes, `confirm` compares its winner once more, `written` makes a session.json.
"""

from edgekd.tune.axes import AXES
from edgekd.tune.result import Trial, Tuned
from edgekd.tune.sweep import tune

__all__ = ["AXES", "Trial", "Tuned", "tune"]
