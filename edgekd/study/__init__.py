"""Compares methods honestly: every arm tuned from as many candidates, over the same seeds and the same budget.

plan (arms, candidates, cells) -> run (cells in parallel processes) -> collect (the numbers) -> conclude, markdown,
charts.
"""

from edgekd.study.grids import METHODS
from edgekd.study.plan import Plan, plan
from edgekd.study.run import USUAL, Outcome, run, trained_before, usual_methods

__all__ = ["METHODS", "USUAL", "Outcome", "Plan", "plan", "run", "trained_before", "usual_methods"]
