"""model.onnx + calibration data -> variants to compete with it. No torch here."""

from edgekd.quantize.build import Built, build_variants
from edgekd.quantize.select import Candidate, Choice, choose

__all__ = ["Built", "Candidate", "Choice", "build_variants", "choose"]
