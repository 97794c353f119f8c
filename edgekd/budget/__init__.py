"""One file against absolute limits in milliseconds, beside a fixed reference workload that tells a slow machine.

`timed` is `edgekd.versus.time_both` with the reference as the other file; `judge` makes the verdict by binomial bounds.
"""

from edgekd.budget.judge import LIMITS, judge, look, unsteady
from edgekd.budget.reference import REFERENCE, reference, there_ms

__all__ = ["LIMITS", "REFERENCE", "judge", "look", "reference", "there_ms", "unsteady"]
