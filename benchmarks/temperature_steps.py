"""A training step put together from the parts of `edgekd.core`, so that methods can take turns within a round."""

import torch
from torch import Tensor

from benchmarks import inside
from benchmarks.networks import teacher_and_student
from benchmarks.training_task import MEAN, PADDING, STD
from edgekd.core import methods
from edgekd.core.augment import Augmentation, draw
from edgekd.core.forward import Teacher, autocast, prepared
from edgekd.core.optimizer import Settings, build_optimizer
from edgekd.front import Pixels
from edgekd.network import Network
from edgekd.pixels import choose_precision

BATCHES = 8


class Bench:
    """One teacher, random pictures, and for each method a student of its own with the same first weights.

    knobs: method -> its numbers.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        precision: str,
        teacher: str,
        classes: int,
        batch_size: int,
        knobs: dict[str, dict[str, float]],
    ) -> None:
        self.device, self.precision, self.done = device, choose_precision(precision, device), 0
        generator = torch.Generator().manual_seed(0)
        count = BATCHES * batch_size
        self.images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator).to(device)
        self.labels = torch.randint(0, classes, (count,), generator=generator).to(device)
        self.batches = torch.arange(count, device=device).split(batch_size)
        augmentation = Augmentation(crop_padding=PADDING, flip=True)
        self.view = draw(augmentation, seed=0, view=0, samples=count, size=(32, 32), device=device)
        asked, _ = teacher_and_student(teacher, "resnet8", classes=classes)
        self.teacher = Teacher(Network(asked, Pixels(mean=MEAN, std=STD)).to(device), precision=self.precision)
        self.objectives = {name: methods.build(name, of).to(device) for name, of in knobs.items()}
        settings = Settings(
            epochs=1, precision=self.precision, learning_rate=1e-3
        )  # noise teaches nothing: stay finite
        self.forwards, self.optimizers = {}, {}
        for name in knobs:
            _, student = teacher_and_student(teacher, "resnet8", classes=classes)
            net = Network(student, Pixels(mean=MEAN, std=STD)).to(device).train()
            self.forwards[name] = prepared(net, channels_last=True, compiled=False)
            self.optimizers[name] = build_optimizer(net, settings)
        self.logits = self.some_logits()

    def some_logits(self) -> tuple[Tensor, Tensor, Tensor]:
        """Student's and teacher's logits (batch, K) and labels (batch,), for the loss alone."""
        index = self.batches[0]
        pictures = self.images[index].contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(self.device, self.precision):
            student = next(iter(self.forwards.values()))(pictures).float()
        return student.requires_grad_(), self.teacher(0, index, pictures), self.labels[index]

    def step_ms(self, name: str, steps: int) -> float:
        """Milliseconds of one training step, the mean of `steps`."""
        started = inside.now(self.device)
        for _ in range(steps):
            self.step(name)
        return 1000 * (inside.now(self.device) - started) / steps

    def step(self, name: str) -> None:
        """What `edgekd.core.trainer.Trainer` does in a step."""
        self.done += 1
        index = self.batches[self.done % BATCHES]
        pictures = self.view.inputs(self.images[index], index).contiguous(memory_format=torch.channels_last)
        teacher = self.teacher(0, index, pictures)
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            logits = self.forwards[name](pictures)
        self.objectives[name](logits.float(), teacher, self.labels[index]).backward()
        optimizer.step()

    def loss_ms(self, name: str, repeats: int) -> float:
        """Milliseconds of the loss and its gradient alone, the mean of `repeats`."""
        student, teacher, labels = self.logits
        started = inside.now(self.device)
        for _ in range(repeats):
            student.grad = None
            self.objectives[name](student, teacher, labels).backward()
        return 1000 * (inside.now(self.device) - started) / repeats
