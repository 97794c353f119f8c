"""The largest student of a family that meets a budget, measured before it is trained: what `edgekd fit-student` does.

`sizes` lists the family in ascending cost, `search` says which size to try next and when it is clear, `trial` makes
one as it would ship and measures it, `course` puts them together. What a recipe has to do with it is in
`edgekd.fit_student`.
"""

from edgekd.fit.course import Fitted, fit, said
from edgekd.fit.search import Answer, Found, search
from edgekd.fit.sizes import Options, Size, scales_of, sizes, steps
from edgekd.fit.trial import Conditions, Limits, Trial

__all__ = [
    "Answer",
    "Conditions",
    "Fitted",
    "Found",
    "Limits",
    "Options",
    "Size",
    "Trial",
    "fit",
    "said",
    "scales_of",
    "search",
    "sizes",
    "steps",
]
