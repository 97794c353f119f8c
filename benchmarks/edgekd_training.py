"""edgekd's side of the training benchmarks: its settings and its trainer for a task."""

import torch
from torch import nn

from benchmarks.training_task import MEAN, PADDING, SGD, STD, TEMPERATURE, Clock, Task
from edgekd.core import methods
from edgekd.core.augment import Augmentation
from edgekd.core.forward import Targets, Teacher
from edgekd.core.optimizer import Settings
from edgekd.core.source import Source
from edgekd.core.trainer import Trainer
from edgekd.data import Samples
from edgekd.front import Pixels
from edgekd.network import Network
from edgekd.pixels import place


def loop(task: Task, teacher: nn.Module, student: nn.Module, clock: Clock) -> dict[str, str]:
    """An epoch as `edgekd distill` runs it, the teacher asked at every step."""
    asked = Teacher(network(teacher, task), precision=task.precision, compiled=task.compile)
    made = trainer(task, student, source=source(task), targets=asked)
    run_epoch(made, clock)
    return {}


def run_epoch(made: Trainer, clock: Clock) -> None:
    """An epoch that the clock watches; the trainer tells it every eighth step, and the last."""

    def note(step: int, loss: float) -> None:
        clock.note(step)

    made.run_epoch(note)


def trainer(task: Task, student: nn.Module, *, source: Source, targets: Targets) -> Trainer:
    """edgekd's trainer with plain KD."""
    return Trainer(
        network(student, task),
        source=source,
        objective=methods.build("kd", {"temperature": TEMPERATURE}),
        settings=settings(task),
        targets=targets,
    )


def settings(task: Task) -> Settings:
    """The recipe's defaults, with the task's numbers; every epoch is of one view, for the cache."""
    return Settings(
        epochs=100,
        batch_size=task.batch_size,
        learning_rate=SGD["lr"],
        momentum=SGD["momentum"],
        weight_decay=SGD["weight_decay"],
        precision=task.precision,
        compile=task.compile,
        augmentation=Augmentation(crop_padding=PADDING, flip=True),
        views=1,
    )


def network(body: nn.Module, task: Task) -> Network:
    """The net with its preprocessing, on the device."""
    return Network(body, Pixels(mean=MEAN, std=STD)).to(task.device)


def source(task: Task) -> Source:
    """The pictures where edgekd puts them: all on the device, as uint8."""
    images, labels = task.read()
    return place(Samples(inputs=images, labels=labels), torch.device(task.device))
