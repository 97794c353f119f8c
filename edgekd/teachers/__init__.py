"""Teachers of every kind behind one interface: inputs in, logits out, columns in the order of the data's classes.

A file a kind, each with a function that gives an `Opened`: what the kind answers, as it answers it. `complete` puts its
columns into the data's order, turns probabilities into logits, and names the teacher in every error. Which function
belongs to which `[teacher] kind` stands in `edgekd.teacher_kinds`. No torch at import.
"""

from edgekd.teachers.complete import complete
from edgekd.teachers.interface import Opened, OpenTeacher

__all__ = ["OpenTeacher", "Opened", "complete"]
