"""The training loop: batches in, epoch statistics out; no files, no prints."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.core.augment import augment
from edgekd.core.losses import Loss
from edgekd.core.temperature import entropy
from edgekd.errors import BadInputError

Objective = Callable[[Tensor, Tensor | None, Tensor], Loss]
"""(student logits, teacher logits or None, labels) -> Loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train: plain numbers. learning_rate is the peak; milestones are epochs of the step schedule."""

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
    precision: str = "fp32"
    crop_padding: int = 0
    flip: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStats:
    """Means over one epoch: loss and KL (nats) per sample, and the teacher's soft-label entropy (nats)."""

    epoch: int
    loss: float
    cross_entropy: float
    kl: float | None
    teacher_entropy_mean: float | None
    teacher_entropy_sd: float | None
    train_top1: float
    learning_rate: float
    validation_top1: float | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class _Sums:
    """Running sums of one epoch, on the device: reading a number out of it waits for the device."""

    totals: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    def add(self, size: int, **values: Tensor) -> None:
        self.count += size
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, torch.zeros((), device=value.device)) + value.detach()

    def mean(self, name: str) -> float | None:
        return float(self.totals[name]) / self.count if name in self.totals else None


class Trainer:
    """Trains `student` on uint8 images held on one device, epoch by epoch, resumable between epochs.

    images: (n, channels, height, width) uint8; labels: (n,) int64, both already on the device of the networks.
    The order of the samples, their augmentation and torch's global random numbers (dropout) follow from (seed,
    epoch) alone, so a resumed run sees the same batches; on CPU, with the same thread count, it ends with the same
    bytes.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        settings: Settings,
        teacher: nn.Module | None = None,
    ) -> None:
        self.student = _channels_last(student)
        self.teacher = None if teacher is None else _channels_last(teacher.eval())
        self.images, self.labels = images, labels
        self.objective, self.settings = objective, settings
        self.steps_per_epoch = max(1, len(images) // settings.batch_size)
        self.optimizer = build_optimizer(student, settings)
        self.epoch = 0

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on after this epoch."""
        return {
            "epoch": self.epoch,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on after the epoch at which `state` was taken."""
        self.epoch = int(state["epoch"])
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])

    def run_epoch(self, on_step: Callable[[int, float], None] = lambda step, loss: None) -> EpochStats:
        """One pass over the data; `on_step(steps done in this epoch, loss)` is called every few steps.

        Raises:
            BadInputError: the loss is not finite.
        """
        torch.manual_seed(self._epoch_seed())
        self.student.train()
        sums = _Sums()
        rate = 0.0
        for step, (images, labels) in enumerate(self._batches()):
            rate = learning_rate(self.settings, (self.epoch + step / self.steps_per_epoch))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self._step(images, labels, sums)
            if step % 8 == 7 or step + 1 == self.steps_per_epoch:
                loss = sums.mean("loss") or 0.0
                if not math.isfinite(loss):
                    raise BadInputError(
                        f"the training loss is {loss} in epoch {self.epoch + 1}, step {step + 1}; expected a finite "
                        "number. Lower distill.learning_rate or set distill.clip_norm = 5.0"
                    )
                on_step(step + 1, loss)
        self.epoch += 1
        return _statistics(self.epoch, sums, rate)

    def _epoch_seed(self) -> int:
        return self.settings.seed * 1_000_003 + self.epoch

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        settings = self.settings
        generator = torch.Generator().manual_seed(self._epoch_seed())
        order = torch.randperm(len(self.images), generator=generator)
        size = min(settings.batch_size, len(order))
        for step in range(self.steps_per_epoch):
            index = order[step * size : (step + 1) * size].to(self.images.device)
            images = augment(
                self.images[index],
                crop_padding=settings.crop_padding,
                flip=settings.flip,
                generator=generator,
            )
            yield images.contiguous(memory_format=torch.channels_last), self.labels[index]

    def _step(self, images: Tensor, labels: Tensor, sums: _Sums) -> None:
        bf16 = self.settings.precision == "bf16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = self.student(images)
            with torch.no_grad():
                teacher_logits = None if self.teacher is None else self.teacher(images).float()
        loss = self.objective(logits.float(), teacher_logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        _accumulate(sums, loss, logits, teacher_logits, labels)


def _channels_last(network: nn.Module) -> nn.Module:
    """The same network, its kernels laid out as convolutions run fastest."""
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stub
    return moved


def _accumulate(sums: _Sums, loss: Loss, logits: Tensor, teacher_logits: Tensor | None, labels: Tensor) -> None:
    size = len(labels)
    values = {
        "loss": loss.total * size,
        "cross_entropy": loss.cross_entropy * size,
        "correct": (logits.argmax(dim=-1) == labels).sum(),
    }
    if loss.kl is not None:
        values["kl"] = loss.kl * size
    if teacher_logits is not None and loss.teacher_temperature is not None:
        # Float64: CIST's spread is a hundredth of the mean, and drowns in the difference of two float32 sums.
        h = entropy(teacher_logits, loss.teacher_temperature).double()
        values |= {"entropy": h.sum(), "entropy_squared": h.square().sum()}
    sums.add(size, **values)


def _statistics(epoch: int, sums: _Sums, rate: float) -> EpochStats:
    mean, square = sums.mean("entropy"), sums.mean("entropy_squared")
    spread = None if mean is None or square is None else math.sqrt(max(0.0, square - mean**2))
    return EpochStats(
        epoch=epoch,
        loss=sums.mean("loss") or 0.0,
        cross_entropy=sums.mean("cross_entropy") or 0.0,
        kl=sums.mean("kl"),
        teacher_entropy_mean=mean,
        teacher_entropy_sd=spread,
        train_top1=sums.mean("correct") or 0.0,
        learning_rate=rate,
    )


def build_optimizer(student: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; one-dimensional weights (norms, biases) take no weight decay."""
    decayed = [p for p in student.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in student.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
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


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, *, batch_size: int = 256, precision: str = "fp32") -> Tensor:
    """The network's logits on all images, in eval mode. images: (n, c, h, w) uint8. Returns (n, K) float32 on CPU."""
    training = network.training
    network.eval()
    chunks = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            chunks.append(network(batch).float().cpu())
    network.train(training)
    return torch.cat(chunks)
