"""The 2x3 example that golden values are worked on, random logits, and gradients."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

LN2 = math.log(2.0)
# With logits of multiples of ln 2, every probability is a fraction.
STUDENT = torch.tensor([[LN2, 0.0, 0.0], [0.0, 2 * LN2, 0.0]])
"""Softmax rows (1/2, 1/4, 1/4) and (1/6, 2/3, 1/6)."""
TEACHER = torch.tensor([[2 * LN2, 0.0, 0.0], [0.0, LN2, 0.0]])
"""Softmax rows (2/3, 1/6, 1/6) and (1/4, 1/2, 1/4)."""
TURNED = torch.tensor([[2 * LN2, 0.0, 0.0], [0.0, 0.0, LN2]])
"""A teacher that prefers another class than the student in row 2: (2/3, 1/6, 1/6) and (1/4, 1/4, 1/2)."""
LABELS = torch.tensor([0, 2])
CE = math.log(12) / 2
"""(ln 2 + ln 6) / 2: the student gives the labels 1/2 and 1/6."""


def random_logits(seed: int, *, scale: float = 5.0, shape: tuple[int, ...] = (6, 10)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def gradient(loss_of: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient of loss_of at a point."""
    z = at.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss_of(z), z)
    return found
