"""One training of `train_throughput`, in a process of its own: edgekd's, a plain PyTorch loop, or torchdistill's.

All three train the same ResNet-8 from the same ResNet-56 on the same pictures, cropped and mirrored, with KD at T = 4
and SGD with Nesterov momentum. What differs is how pictures are prepared and how a step is run. torchdistill runs in an
environment of its own, so nothing of edgekd but its nets may be imported here.
"""

import json
import random
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import inside
from benchmarks.networks import teacher_and_student
from benchmarks.training_task import CE_WEIGHT, MEAN, PADDING, SGD, SIZE, STD, TEMPERATURE, Clock, Pictures, Task

LOOPS = {
    "edgekd": "benchmarks.edgekd_training",
    "plain": "benchmarks.training_loops",
    "torchdistill": "benchmarks.torchdistill_box",
}
"""Name -> the module whose `loop` trains until the clock has enough, and returns versions of packages it brought."""

Loop = Callable[[Task, nn.Module, nn.Module, Clock], dict[str, str]]


def measure(task: Task) -> dict[str, Any]:
    """Train, and tell speed, peak memory, the digest of the first weights, and versions."""
    teacher, student = teacher_and_student(task.teacher, task.student, classes=task.classes)
    weights, clock = inside.digest(teacher, student), Clock(task)
    train: Loop = import_module(LOOPS[task.loop]).loop
    versions = train(task, teacher.to(task.device), student.to(task.device), clock)
    return {**clock.result(), "weights": weights, **inside.about(task.device, versions)}


def loop(task: Task, teacher: nn.Module, student: nn.Module, clock: Clock) -> dict[str, str]:
    """What a competent user writes: a loader with worker processes, one picture at a time, and the KD loss."""
    device = torch.device(task.device)
    optimizer = torch.optim.SGD(student.parameters(), **SGD)
    student.train()
    for step, (pictures, classes) in enumerate(loader(task), start=1):
        images, labels = pictures.to(device, non_blocking=True), classes.to(device, non_blocking=True)
        with task.autocast():
            with torch.no_grad():
                teacher_logits = teacher(images)
            logits = student(images)
        loss = kd_loss(logits.float(), teacher_logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if clock.note(step):
            break
    return {}


def kd_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """CE and Hinton's KL, of (batch, K) logits."""
    log_p, q = F.log_softmax(student / TEMPERATURE, dim=1), F.softmax(teacher / TEMPERATURE, dim=1)
    soft = F.kl_div(log_p, q, reduction="batchmean")
    return CE_WEIGHT * F.cross_entropy(student, labels) + (1 - CE_WEIGHT) * TEMPERATURE**2 * soft


def loader(task: Task) -> DataLoader[tuple[Tensor, int]]:
    """Shuffled batches through worker processes."""
    return DataLoader(
        Pictures(*task.read(), prepare=crop_and_mirror),
        batch_size=task.batch_size,
        shuffle=True,
        num_workers=task.workers,
        drop_last=True,
        pin_memory=task.device == "cuda",
    )


def crop_and_mirror(picture: Image.Image) -> Tensor:
    """Padded, cropped, mirrored, normalised: (3, 32, 32) float32. What torchvision's transforms do, in fewer calls."""
    left, top = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)
    picture = ImageOps.expand(picture, PADDING).crop((left, top, left + SIZE, top + SIZE))
    if random.random() < 0.5:
        picture = ImageOps.mirror(picture)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(255)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return pixels.sub_(mean).div_(std)


if __name__ == "__main__":
    print(json.dumps(measure(Task(**inside.specification() or {}))))
