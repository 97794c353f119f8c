"""The solver and the training core: tensors in, tensors out; no files, no prints, no recipe."""

from edgekd.core import losses
from edgekd.core.temperature import (
    Status,
    Temperatures,
    auto_rho,
    entropy,
    entropy_temperature,
    fixed_entropy,
    max_logit_temperature,
)

__all__ = [
    "Status",
    "Temperatures",
    "auto_rho",
    "entropy",
    "entropy_temperature",
    "fixed_entropy",
    "losses",
    "max_logit_temperature",
]
