"""What every training of the speed benchmarks has in common: the task, the clock, pictures one at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks import inside

TEMPERATURE, CE_WEIGHT = 4.0, 0.1
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
SIZE, PADDING = 32, 4
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to train. pictures: .npz with images (n, 32, 32, 3) uint8, labels (n,) int64; `steps` follow `warm_up`."""

    loop: str
    pictures: str
    classes: int
    precision: str
    compile: bool = False
    device: str = "cpu"
    teacher: str = "resnet56"
    student: str = "resnet8"
    batch_size: int = 128
    workers: int = 2
    warm_up: int = 8
    steps: int = 24

    def read(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The pictures and their labels."""
        with np.load(self.pictures) as file:
            return file["images"], file["labels"]

    def autocast(self) -> torch.autocast:
        """What a user writes around the forward passes."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")


class Clock:
    """Notes when the warm-up and when the measured steps were done, and the memory by then, its workers alive."""

    def __init__(self, task: Task) -> None:
        self.task, self.notes = task, list[tuple[int, float]]()
        self.peaks: dict[str, int] = {}

    def note(self, step: int) -> bool:
        """`step` steps are done; whether that is enough."""
        enough = step >= self.task.warm_up + self.task.steps
        # Not every step: a note waits for the device, and a loop may run ahead of it.
        if enough or (step >= self.task.warm_up and not self.notes):
            self.notes.append((step, inside.now(torch.device(self.task.device))))
        if enough:
            self.peaks = inside.peaks()
        return enough

    def result(self) -> dict[str, Any]:
        """Images a second between the first and the last note, and peak memory."""
        (first, started), (last, ended) = self.notes[0], self.notes[-1]
        return {"images_per_second": (last - first) * self.task.batch_size / (ended - started), **self.peaks}


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures one at a time, as torchvision's CIFAR10 gives them: from the array to PIL, then `prepare`."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        *,
        prepare: Callable[[Image.Image], Tensor],
    ) -> None:
        self.images, self.labels, self.prepare = images, labels, prepare

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.prepare(Image.fromarray(self.images[index])), int(self.labels[index])
