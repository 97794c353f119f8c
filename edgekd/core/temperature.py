"""What a softmax temperature must satisfy, and the temperatures that do.

CIST as in the first author's public research code; the paper's own equations were not available
("Consistently Informative Soft-Label Temperature for Knowledge Distillation", arXiv 2605.20357).
"""

import math

import torch
from torch import Tensor

from edgekd.core.solver import bisect
from edgekd.errors import BadInputError

AUTO_RHO_ENTROPY = 0.925
"""Normalised soft-label entropy H / ln K of the author's setting, rho = 3 at K = 100 classes."""


def centre(logits: Tensor) -> Tensor:
    """The logits minus their mean over the classes. logits: (..., K) any float; returns (..., K) float32.

    Float32 even under autocast: a temperature from bf16 logits would carry their three digits.
    """
    logits = logits.float()
    return logits - logits.mean(dim=-1, keepdim=True)


def max_logit_temperature(logits: Tensor, rho: float) -> Tensor:
    """The temperature max(1, max_k u_k / rho), u the centred logits: CIST's tau, for teacher and student alike.

    logits: (..., K) any float. Returns (...,) float32, at least 1. Where the floor does not clip, the largest
    scaled centred logit is exactly `rho`. Constant logits give 1.

    Raises:
        BadInputError: `rho` is not a positive finite number.
    """
    if not (rho > 0 and math.isfinite(rho)):
        raise BadInputError(
            f"rho is {rho}; expected a positive number (3.0 is the author's for 100 classes, or 'auto')"
        )
    return (centre(logits).amax(dim=-1) / rho).clamp(min=1.0)


def entropy(logits: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Entropy of softmax(logits / temperature), in nats.

    logits: (..., K); temperature: (...,) or a number. Returns (...,) float32 in [0, ln K].
    """
    tau = torch.as_tensor(temperature, dtype=torch.float32, device=logits.device)
    log_p = torch.log_softmax(centre(logits) / tau.unsqueeze(-1), dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def auto_rho(classes: int, *, normalised_entropy: float = AUTO_RHO_ENTROPY) -> float:
    """The rho whose soft label, one class at rho and the rest equal, has the wanted entropy H / ln K.

    Solved, not tabulated: rho depends on K. 100 classes give 3.0, 10 classes 1.27, 1000 classes 5.0.

    Raises:
        BadInputError: fewer than 2 classes, or an entropy outside (0, 1) or too near its ends for float64.
    """
    if classes < 2:
        raise BadInputError(f"rho = 'auto' with {classes} class(es); expected at least 2")
    if not 0.0 < normalised_entropy < 1.0:
        raise BadInputError(f"rho_entropy is {normalised_entropy}; expected a fraction of ln K between 0 and 1")

    def excess(rho: Tensor) -> Tensor:
        others = torch.full((*rho.shape, classes - 1), -1.0 / (classes - 1), dtype=torch.float64)
        scaled = torch.cat([torch.ones(*rho.shape, 1, dtype=torch.float64), others], dim=-1) * rho.unsqueeze(-1)
        log_p = torch.log_softmax(scaled, dim=-1)
        return -(log_p.exp() * log_p).sum(dim=-1) / math.log(classes) - normalised_entropy

    root = bisect(excess, low=torch.tensor([0.0]), high=torch.tensor([10.0 + 100.0 * math.log(classes)]))
    if not root.converged.all():
        raise BadInputError(
            f"rho_entropy is {normalised_entropy}, and no rho can be told from 0 for it; expected less, such as 0.925"
        )
    return float(root.value[0])
