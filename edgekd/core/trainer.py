"""The training loop: batches in, epoch statistics out; no files, no prints.

Everything random in a step follows from (seed, epoch, step), and in a view from (view_seed, view, sample). So a run
that was stopped after any step, and goes on from `state()`, ends with the same bytes on a CPU with the same thread
count.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from edgekd.core.augment import Viewed, draw
from edgekd.core.average import Average
from edgekd.core.balance import balanced
from edgekd.core.epoch import LOOK_EVERY, EpochStats, Sums
from edgekd.core.forward import Targets, autocast, laid_out, prepared
from edgekd.core.losses import labelled
from edgekd.core.methods import Objective
from edgekd.core.optimizer import Settings, build_optimizer, learning_rate
from edgekd.core.parallel import ALONE, Ranks
from edgekd.core.source import Source
from edgekd.errors import BadInputError


@dataclass(frozen=True, slots=True)
class _Part:
    """One micro-batch after its backward pass. index: (batch,); logits, teacher: (batch, K); loss: scalar."""

    index: Tensor
    logits: Tensor
    teacher: Tensor | None
    labels: Tensor
    loss: Tensor


class Trainer:
    """Trains `student` on the samples of `source`, epoch by epoch, resumable after every step.

    student: on the device of the source, raw samples in, (batch, K) logits out. targets: the teacher's logits; None
    where the objective needs none. ranks: the processes that share each batch.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        source: Source,
        objective: Objective,
        settings: Settings,
        targets: Targets | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        prepared(student, channels_last=settings.channels_last, compiled=False)  # before anyone copies its layout
        self.student, self.source, self.targets = student, source, targets
        self.objective = objective.to(source.device)
        self.settings, self.ranks = settings, ranks
        self.samples = len(source.labels)
        self.batch_size = min(settings.batch_size, self.samples // ranks.world * ranks.world)
        self.steps_per_epoch = self.samples // self.batch_size
        self.optimizer = build_optimizer(student, settings, extra=objective.parameters())
        self.average = None if settings.ema_decay is None else Average(student, decay=settings.ema_decay)
        self.epoch = self.step = self.skipped = 0
        self.sums = Sums(source.device)
        self._shared = DistributedDataParallel(student) if ranks.world > 1 else None
        self._forward = prepared(
            self._shared or student, channels_last=settings.channels_last, compiled=settings.compile
        )
        self._buffers = list(student.buffers())
        self._kept = [buffer.clone() for buffer in self._buffers]

    @property
    def result(self) -> nn.Module:
        """The network that training makes: the average of the weights where one is kept, else the student itself."""
        return self.student if self.average is None else self.average.network

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on after the step that was done last: save it before the next one.

        The tensors are the live ones, not copies.
        """
        return {
            "epoch": self.epoch,
            "step": self.step,
            "skipped": self.skipped,
            "sums": self.sums.values,
            "student": self.student.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on after the step at which `state` was taken."""
        self.epoch, self.step, self.skipped = (int(state[name]) for name in ("epoch", "step", "skipped"))
        self.sums.values.copy_(state["sums"])
        self.student.load_state_dict(state["student"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state(state["average"])

    def run_epoch(self, on_step: Callable[[int, float], None] = lambda step, loss: None) -> EpochStats:
        """The rest of this epoch; `on_step(steps done in it, mean loss so far)` is called every few steps.

        Raises:
            BadInputError: too many steps without a finite gradient, or a teacher's logit that is not finite.
            EnvironmentFault: a worker of the source died.
        """
        self.student.train()
        number = self.settings.view(self.epoch)
        view = draw(
            self.settings.augmentation,
            seed=self.settings.view_seed,
            view=number,
            samples=self.samples,
            size=self.source.size,
            device=self.source.device,
        )
        micro = self._indices()[self.step * self.settings.accumulate :]
        stream = zip(micro, self.source.batches(view.needed(index) for index in micro), strict=True)
        rate = 0.0
        for step in range(self.step, self.steps_per_epoch):
            rate = learning_rate(self.settings, self.epoch + step / self.steps_per_epoch)
            self._step(step, rate, number, view, stream)
            self.step = step + 1
            if self.step % LOOK_EVERY == 0 or self.step == self.steps_per_epoch:
                on_step(self.step, self.sums.mean_loss())
        self.epoch, self.step = self.epoch + 1, 0
        stats = self.sums.summary(self.epoch, learning_rate=rate, ranks=self.ranks)
        self.sums = Sums(self.source.device)
        return stats

    def _indices(self) -> list[Tensor]:
        """This process's micro-batches of the epoch, `accumulate` of them a step."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.epoch)
        used = self.steps_per_epoch * self.batch_size
        if self.settings.balance:
            order = balanced(self.source.labels.cpu(), generator)[:used]
        else:
            order = torch.randperm(self.samples, generator=generator)[:used]
        shares = [self.ranks.share(batch) for batch in torch.split(order, self.batch_size)]
        return [part.to(self.source.device) for share in shares for part in self._parts(share)]

    def _parts(self, share: Tensor) -> tuple[Tensor, ...]:
        if len(share) % self.settings.accumulate:
            raise BadInputError(
                f"a batch of {len(share)} samples cannot be split evenly into distill.accumulate = "
                f"{self.settings.accumulate} parts; set distill.batch_size to a multiple of it"
            )
        return share.chunk(self.settings.accumulate)

    def _step(self, step: int, rate: float, number: int, view: Viewed, stream: Iterator[tuple[Tensor, Tensor]]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        seed = (self.settings.seed * 1_000_003 + self.epoch) * 1_000_003 + step * self.ranks.world + self.ranks.rank
        torch.manual_seed(seed % 2**63)  # dropout
        if self._kept:
            torch._foreach_copy_(self._kept, self._buffers)
        self.optimizer.zero_grad(set_to_none=True)
        epoch = self.epoch + step / self.steps_per_epoch
        parts = [
            self._backward(*next(stream), number, view, epoch=epoch, last=part == self.settings.accumulate - 1)
            for part in range(self.settings.accumulate)
        ]
        if not self._update():
            self._skip(step, parts)
            return
        for part in parts:
            size = float(len(part.index))
            self.sums.add(seen=size, loss=part.loss * size)
            if not self.objective.multi_label:
                known = labelled(part.labels)
                hit = ((part.logits.argmax(dim=-1) == _hard(part.labels)) & known).sum()
                self.sums.add(labelled=known.sum(), correct=hit)
            if step % LOOK_EVERY == 0:
                self.sums.look(self.objective, part.logits, part.teacher, part.labels)

    def _backward(self, index: Tensor, raw: Tensor, number: int, view: Viewed, *, epoch: float, last: bool) -> _Part:
        inputs = laid_out(view.inputs(raw, index), channels_last=self.settings.channels_last)
        teacher = None if self.targets is None else self.targets(number, index, inputs)
        # Gradients travel between processes once a step, with the last micro-batch.
        with nullcontext() if last or self._shared is None else self._shared.no_sync():
            with autocast(inputs.device, self.settings.precision):
                logits = self._forward(inputs)
            logits = logits.float()
            labels = view.targets(self.source.labels, index, classes=logits.shape[-1])
            loss = self.objective(logits, teacher, labels, epoch=epoch)
            (loss / self.settings.accumulate).backward()
        return _Part(index, logits.detach(), teacher, labels, loss.detach())

    def _update(self) -> bool:
        """Apply the gradient; False, and nothing changed, where it is not finite."""
        self.ranks.average_([p.grad for p in self.objective.parameters() if p.grad is not None])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        if not bool(norm.isfinite()):
            return False
        if self.settings.clip_norm is not None:
            clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.student)
        return True

    def _skip(self, step: int, parts: list[_Part]) -> None:
        """Drop a step whose gradient is not finite: weights stay, and batch norm forgets what it saw."""
        if self._kept:
            torch._foreach_copy_(self._buffers, self._kept)
        self.skipped += 1
        self.sums.add(skipped=1.0)
        place = f"epoch {self.epoch + 1}, step {step + 1}"
        for part in parts:
            if part.teacher is not None and (sample := _first_bad(part.teacher, part.index)) is not None:
                raise BadInputError(
                    f"the teacher's logits for training image {sample} are not finite in {place}; expected finite "
                    "numbers below 65,504. Check the teacher's weights, its mean and std, and that image"
                )
        if self.skipped > self.settings.max_skipped:
            bad = next((s for part in parts if (s := _first_bad(part.logits, part.index)) is not None), None)
            where = "" if bad is None else f", the student's logits first for training image {bad}"
            raise BadInputError(
                f"the gradient was not finite in {self.skipped} steps, last in {place}{where}; expected at most "
                f"distill.max_skipped_steps = {self.settings.max_skipped}. Lower distill.learning_rate or set "
                "distill.clip_norm = 5.0"
            )


def _hard(labels: Tensor) -> Tensor:
    """The class of each label; the larger share of a mixed one."""
    return labels if labels.ndim == 1 else labels.argmax(dim=-1)


def _first_bad(logits: Tensor, index: Tensor) -> int | None:
    """The number of the first sample whose logits are not finite."""
    bad = ~logits.isfinite().all(dim=-1)
    return int(index[bad][0]) if bool(bad.any()) else None
