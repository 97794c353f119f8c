"""model.onnx + calibration data -> variants to compete with it, found by measuring. No torch here."""

from edgekd.quantize.bench import Decision
from edgekd.quantize.built import Built, describe_file
from edgekd.quantize.portable import saturating
from edgekd.quantize.scheme import Saturation
from edgekd.quantize.search import Searched, search
from edgekd.quantize.select import Candidate, Choice, choose
from edgekd.quantize.wanted import Wanted

__all__ = [
    "Built",
    "Candidate",
    "Choice",
    "Decision",
    "Saturation",
    "Searched",
    "Wanted",
    "choose",
    "describe_file",
    "saturating",
    "search",
]
