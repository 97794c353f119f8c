"""Bracketed root finding on a whole batch at once; knows nothing of distillation.

Newton's method is fast near a root and lost far from it; bisection is slow and never lost. Together (Press et al.,
Numerical Recipes, section 9.4, "Newton-Raphson and bisection") they are fast and never lost: each element keeps a
bracket that holds its root, takes the proposed step where it falls inside the bracket, and halves the bracket where it
does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Look = Callable[[Tensor], tuple[Tensor, Tensor]]
"""What is evaluated at x (...,): `error` and `proposal`, both (...,), elementwise.

error: positive where the root lies above x, negative where it lies below. Its size says how good x is, in whatever unit
the caller measures that.
proposal: where the caller would look next, usually x plus a Newton step of any transform of the error. It need not be
good: one that is not strictly inside the bracket, or NaN, is replaced by the middle of the bracket.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Where the error is small enough, per element.

    value: (...,) in the dtype of `low`, the last point evaluated: what `converged` says is true of this very number.
    converged: (...,) bool, |error(value)| <= tolerance.
    evaluations: (...,) int32, how often the function was needed for this element; 0 where there was no bracket.
    """

    value: Tensor
    converged: Tensor
    evaluations: Tensor


def find_root(
    look: Look,
    *,
    low: Tensor,
    high: Tensor,
    start: Tensor | None = None,
    tolerance: float,
    max_evaluations: int = 100,
    check_every: int = 1,
) -> Root:
    """The root in each bracket, by the caller's own steps, safeguarded by bisection.

    `low`, `high`, `start`: (...,) of one float dtype. An element without a bracket (low >= high, or NaN) is not solved,
    not converged, and does not hold up the others. The ends are not evaluated: where the root is not between them, the
    bracket shrinks onto one end and the element ends unconverged. Elements never influence one another.

    start: the first guess, moved into the bracket; the middle if None.
    check_every: evaluations between two questions whether all are done; on a GPU each question waits for the device.
    """
    x = (low + high) / 2 if start is None else start.clamp(low, high)
    bracketed = low < high
    pending = bracketed.clone()
    evaluations = torch.zeros_like(pending, dtype=torch.int32)
    for count in range(1, max_evaluations + 1):
        error, proposal = look(x)
        evaluations += pending
        pending &= ~(error.abs() <= tolerance)  # a NaN error is not small
        if count == max_evaluations or (count % check_every == 0 and not pending.any()):
            break
        above = error > 0
        low, high = torch.where(above, x, low), torch.where(above, high, x)
        proposal = torch.where((proposal > low) & (proposal < high), proposal, (low + high).div_(2))
        x = torch.where(pending, proposal, x)
    return Root(value=x, converged=bracketed & ~pending, evaluations=evaluations)
