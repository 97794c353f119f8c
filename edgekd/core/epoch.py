"""What is counted while an epoch runs, and what is reported of it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.core.losses import (
    binary_cross_entropy,
    binary_divergence,
    binary_entropy,
    cross_entropy,
    divergence,
    labelled,
)
from edgekd.core.methods import Objective
from edgekd.core.parallel import Ranks
from edgekd.core.temperature import entropy

LOOK_EVERY = 8
"""Steps between two looks at what costs a little to know: cross-entropy, plain KL, soft-label entropy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStats:
    """Means over one epoch, per sample; losses and entropies in nats.

    train_top1, cross_entropy: of samples with a label, None where none has one; validation_top1 likewise. Of a
    multi-label task cross_entropy, kl and entropy are means over the classes, and validation_map stands for top-1.
    loss and train_top1 are of every step; cross_entropy, kl (plain, unweighted: the weighted terms are semi-gradients,
    their value is not what training lowers) and the teacher's soft-label entropy are of every eighth. skipped: steps
    that were dropped because their gradient was not finite.
    """

    epoch: int
    loss: float
    cross_entropy: float | None
    kl: float | None
    teacher_entropy_mean: float | None
    teacher_entropy_sd: float | None
    train_top1: float | None
    learning_rate: float
    skipped: int = 0
    validation_top1: float | None = None
    seconds: float = 0.0
    validation_map: float | None = None


def known_rows(labels: Tensor) -> Tensor:
    """Of which samples of a multi-label task something is known, (rows,) bool. labels: (rows, K), -1 for unknown."""
    return (labels >= 0).any(dim=-1)


class Sums:
    """Running sums of one epoch, float64 on the device: reading a number out of them waits for the device."""

    NAMES = (
        "seen",
        "loss",
        "labelled",
        "correct",
        "skipped",
        "looked",
        "cross_entropy",
        "kl",
        "soft",
        "entropy",
        "entropy_squared",
    )

    def __init__(self, device: torch.device) -> None:
        # Float64: CIST's entropy spread is a hundredth of the mean, and drowns in the difference of float32 sums.
        self.values = torch.zeros(len(self.NAMES), dtype=torch.float64, device=device)

    def add(self, **values: Tensor | float) -> None:
        """Add to the named sums."""
        for name, value in values.items():
            self.values[self.NAMES.index(name)] += value if isinstance(value, float) else value.detach()

    @torch.no_grad()
    def look(self, objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor) -> None:
        """Take in what is logged of every eighth step."""
        size, many = float(len(student)), objective.multi_label
        known = known_rows(labels) if many else labelled(labels)
        hard = (binary_cross_entropy if many else cross_entropy)(student, labels)
        self.add(looked=known.sum(), cross_entropy=hard * size)
        temperatures = None if teacher is None else objective.temperatures(student, teacher)
        if teacher is None or temperatures is None:
            return
        tau_s, tau_t = temperatures
        apart = binary_divergence if many else divergence
        kl = apart(student, teacher, student_temperature=tau_s, teacher_temperature=tau_t)
        h = (binary_entropy if many else entropy)(teacher, tau_t).double()
        self.add(soft=size, kl=kl.sum(), entropy=h.sum(), entropy_squared=h.square().sum())

    def mean_loss(self) -> float:
        """The mean loss so far, of this process alone."""
        seen, loss = (float(value) for value in self.values[:2])
        return loss / max(seen, 1.0)

    def summary(self, epoch: int, *, learning_rate: float, ranks: Ranks) -> EpochStats:
        """The means, over all processes."""
        of = dict(zip(self.NAMES, ranks.total(self.values).tolist(), strict=True))
        seen, looked, soft = max(of["seen"], 1.0), of["looked"], of["soft"]
        mean = of["entropy"] / soft if soft else None
        return EpochStats(
            epoch=epoch,
            loss=of["loss"] / seen,
            cross_entropy=of["cross_entropy"] / looked if looked else None,
            kl=of["kl"] / soft if soft else None,
            teacher_entropy_mean=mean,
            teacher_entropy_sd=None if mean is None else math.sqrt(max(0.0, of["entropy_squared"] / soft - mean**2)),
            train_top1=of["correct"] / of["labelled"] if of["labelled"] else None,
            learning_rate=learning_rate,
            skipped=round(of["skipped"] / ranks.world),  # all processes skip the same steps
        )
