"""What a softmax temperature must satisfy, and the temperatures that do.

Two rules give each sample a temperature tau of its own, so that its soft label softmax(z / tau) says about as much as
any other sample's:

- the max-logit rule, tau = max(1, max_k u_k / rho), u the centred logits. It is CIST as in the first author's public
  research code; the paper's own equations were not available ("Consistently Informative Soft-Label Temperature for
  Knowledge Distillation", arXiv 2605.20357). One pass over the logits; the entropy is only roughly constant.
- exact entropy, H(softmax(z / tau)) = h. It has no formula, and is solved: `edgekd.core.exact_entropy` says how.
"""

import math
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from edgekd.core import exact_entropy
from edgekd.core.exact_entropy import Status
from edgekd.errors import BadInputError

__all__ = [
    "AUTO_RHO_ENTROPY",
    "Status",
    "Temperatures",
    "auto_rho",
    "centre",
    "entropy",
    "entropy_temperature",
    "fixed_entropy",
    "max_logit_temperature",
]

AUTO_RHO_ENTROPY = 0.925
"""Normalised soft-label entropy H / ln K of the author's setting, rho = 3 at K = 100 classes."""

BLOCK = {"cpu": 2**18, "cuda": 2**24}
"""Logits solved at a time: on a CPU what stays in its cache, on a GPU what bounds the working memory (200 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperatures:
    """A temperature per sample.

    temperature: (...,) float32, 1.0 where there is none.
    status: (...,) int8, a `Status`.
    evaluations: (...,) int32, entropies computed for this sample.
    """

    temperature: Tensor
    status: Tensor
    evaluations: Tensor


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
    logits = logits.float()
    # The distance to the maximum, not to the mean: it is exact for the classes that matter when tau is small.
    log_p = torch.log_softmax((logits - logits.detach().amax(dim=-1, keepdim=True)) / tau.unsqueeze(-1), dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


@torch.no_grad()
def fixed_entropy(logits: Tensor, temperature: float) -> float:
    """The mean soft-label entropy, in nats, that one fixed temperature gives: the target that matches it on average.

    logits: (..., K), all of a training set or a fair sample of it.

    Raises:
        BadInputError: the temperature is not positive and finite, there are no logits, or one is not finite.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise BadInputError(f"temperature is {temperature}; expected a positive number, such as 4.0")
    rows = logits.reshape(-1, _classes(logits))
    if len(rows) == 0:
        raise BadInputError("there are no logits to match a fixed temperature on; expected at least one sample")
    each = torch.cat([entropy(block, temperature) for block in torch.split(rows, _rows_at_once(rows))])
    if not each.isfinite().all():
        sample = int(each.isfinite().logical_not().nonzero()[0])
        raise BadInputError(f"the logits of sample {sample} are not finite; expected numbers. Check the teacher")
    return float(each.double().mean())


@torch.no_grad()
def entropy_temperature(logits: Tensor, target_nats: float, *, max_evaluations: int = 100) -> Temperatures:
    """The temperature at which each sample's soft label has exactly the wanted entropy. No gradient.

    logits: (..., K), any float dtype; computed in float32. Samples are solved independently: a sample gets the same
    temperature whatever else is in its batch. |H - target| <= 1e-5 nats, by float32 sums, where the status says
    CONVERGED; where it does not, the temperature is 1.0.

    On a GPU with Triton the whole solve is one kernel (`edgekd.core.fused`).

    Raises:
        BadInputError: fewer than two classes, or a target outside (0, ln K).
    """
    classes = _classes(logits)
    if not 0.0 < target_nats < math.log(classes):
        raise BadInputError(
            f"target entropy is {target_nats} nats; expected a number between 0 and ln K = {math.log(classes):.6g} "
            f"(K = {classes}), such as {AUTO_RHO_ENTROPY * math.log(classes):.4g}"
        )
    rows = logits.detach().reshape(-1, classes)
    if rows.is_cuda and _has_triton():
        from edgekd.core import fused

        solved = [fused.solve(rows, target_nats, max_evaluations=max_evaluations)]
    else:
        blocks = torch.split(rows, _rows_at_once(rows))
        solved = [
            exact_entropy.solve(block.float().contiguous(), target_nats, max_evaluations=max_evaluations)
            for block in blocks
        ]
    parts = [torch.cat(part) if len(part) > 1 else part[0] for part in zip(*solved, strict=True)]
    temperature, status, evaluations = (part.reshape(logits.shape[:-1]) for part in parts)
    return Temperatures(temperature=temperature, status=status, evaluations=evaluations)


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
    rho = exact_entropy.favourite_rho(classes, normalised_entropy * math.log(classes))
    if not math.isfinite(rho):
        raise BadInputError(
            f"rho_entropy is {normalised_entropy}, and no rho can be told from it in float64; expected a fraction "
            f"farther from 0 and 1, such as {AUTO_RHO_ENTROPY}"
        )
    return rho


def _classes(logits: Tensor) -> int:
    classes = logits.shape[-1] if logits.ndim else 0
    if classes < 2:
        raise BadInputError(f"the logits have shape {tuple(logits.shape)}; expected (..., K) with K >= 2 classes")
    return classes


def _rows_at_once(rows: Tensor) -> int:
    return max(1, BLOCK.get(rows.device.type, BLOCK["cuda"]) // rows.shape[-1])


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
