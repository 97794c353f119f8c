"""The solver and the training core: tensors in, tensors out; no files, no prints, no recipe."""

from edgekd.core import losses
from edgekd.core.temperature import auto_rho, entropy, max_logit_temperature

__all__ = ["auto_rho", "entropy", "losses", "max_logit_temperature"]
