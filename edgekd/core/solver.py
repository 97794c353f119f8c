"""Bracketed root finding on a whole batch at once; knows nothing of distillation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Where `function` changes sign, per element.

    value: (...,) float64, the midpoint of the final bracket.
    converged: (...,) bool; False where the bracket had no sign change or `max_steps` ran out.
    steps: evaluations of the function, for the whole batch.
    """

    value: Tensor
    converged: Tensor
    steps: int


def bisect(
    function: Callable[[Tensor], Tensor],
    *,
    low: Tensor,
    high: Tensor,
    tolerance: float = 1e-12,
    max_steps: int = 100,
) -> Root:
    """The root of a monotone function in each bracket, by bisection: slow, and it cannot fail to converge.

    `function` maps (...,) float64 to (...,) float64 elementwise; low < high. `tolerance` is relative to the width of
    the bracket given, so that a root at zero converges like any other.
    """
    low, high = low.double(), high.double()
    sign_low, sign_high = torch.sign(function(low)), torch.sign(function(high))
    bracketed = (sign_low * sign_high <= 0) & (low < high)
    goal = tolerance * (high - low)
    steps = 2
    while steps < max_steps and bool((high - low > goal)[bracketed].any()):
        middle = (low + high) / 2
        same = torch.sign(function(middle)) == sign_low
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
        steps += 1
    return Root(value=(low + high) / 2, converged=bracketed & (high - low <= goal), steps=steps)
