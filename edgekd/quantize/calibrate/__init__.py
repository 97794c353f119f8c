"""Calibration data -> the ranges of a network's activations, in one streaming pass over public ONNX Runtime API."""

from edgekd.quantize.calibrate.histogram import Histogram
from edgekd.quantize.calibrate.observe import observe
from edgekd.quantize.calibrate.ranges import ranges

__all__ = ["Histogram", "observe", "ranges"]
