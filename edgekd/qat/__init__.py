"""Quantization-aware distillation: a trained student learns on with the rounding that ONNX Runtime will do.

Uses torchao's pt2e flow (docs.pytorch.org/ao, "PyTorch 2 Export Quantization-Aware Training"); without torchao the
functions raise EnvironmentFault.
"""

from edgekd.qat.export import ExportedQdq, export_qdq
from edgekd.qat.tune import Tuned, fine_tune, settings_for

__all__ = ["ExportedQdq", "Tuned", "export_qdq", "fine_tune", "settings_for"]
