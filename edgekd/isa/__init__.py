"""A file's outputs on another instruction set than the machine's own, and how far the two are apart. No torch here."""

from edgekd.isa.compare import Agreement, agreement, compare, output_step
from edgekd.isa.run import Isa, Outputs, run_on

__all__ = ["Agreement", "Isa", "Outputs", "agreement", "compare", "output_step", "run_on"]
