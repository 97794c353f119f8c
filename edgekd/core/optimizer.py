"""How to train: the settings, the optimiser they make, and the schedule of its learning rate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from edgekd.core.augment import Augmentation, Augmenting, Viewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train: plain numbers.

    batch_size: samples a step, over all processes and micro-batches. learning_rate: the peak. milestones: epochs of the
    step schedule. clip_norm: largest L2 norm of the gradient. ema_decay: of an average of the weights that becomes the
    student; None for the last weights. accumulate: micro-batches a step, for memory; batch norm sees one at a time.
    precision: `fp32`, or `bf16` by autocast. max_skipped: steps whose gradient may be not finite, and are dropped.
    balance: each epoch shows as many samples of every class (`edgekd.core.balance`). views: after so many epochs the
    augmented samples come again; 0: never. seed: of initial weights, order and dropout; view_seed: of the views.
    """

    epochs: int
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    milestones: tuple[int, ...] = ()
    step_factor: float = 0.1
    clip_norm: float | None = None
    ema_decay: float | None = None
    accumulate: int = 1
    precision: str = "fp32"
    channels_last: bool = True
    compile: bool = False
    max_skipped: int = 10
    augmentation: Augmenting[Viewed] = field(default_factory=Augmentation)
    balance: bool = False
    views: int = 0
    seed: int = 0
    view_seed: int = 0

    def view(self, epoch: int) -> int:
        """The number of the view that an epoch, counted from 0, is trained on."""
        if not self.augmentation.random:
            return 0
        return epoch % self.views if self.views else epoch


def build_optimizer(
    student: nn.Module, settings: Settings, *, extra: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; one-dimensional weights (norms, biases) take no weight decay.

    extra: parameters of the objective, such as a learned temperature; without decay too.
    """
    decayed = [p for p in student.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in student.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": [*plain, *extra], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    nesterov = settings.momentum > 0
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=nesterov)


def learning_rate(settings: Settings, epoch: float) -> float:
    """The rate at a fractional epoch: linear warm-up, then a cosine to zero or steps at the milestones."""
    peak, warmup = settings.learning_rate, settings.warmup_epochs
    if epoch < warmup:
        return peak * min(max(epoch, 0.1) / warmup, 1.0)
    if settings.schedule == "step":
        return peak * settings.step_factor ** sum(epoch >= milestone for milestone in settings.milestones)
    progress = (epoch - warmup) / max(settings.epochs - warmup, 1e-9)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
