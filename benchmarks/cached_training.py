"""The processes of `teacher_cache`: one fills a cache of the teacher's logits, the others train with or without it."""

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import edgekd_training as own
from benchmarks import inside
from benchmarks.networks import teacher_and_student
from benchmarks.training_task import Clock, Task
from edgekd.core.forward import Targets
from edgekd.network import Network
from edgekd.teacher import CachePlan, answering

LIMIT_BYTES = 10**9
ASKED = 8
"""Batches on which the teacher is timed alone."""


def fill(task: Task, folder: Path) -> dict[str, Any]:
    """Images a second and bytes of a cache that is filled with every picture's logits."""
    teacher, _ = teacher_and_student(task.teacher, task.student, classes=task.classes)
    source = own.source(task)
    started = time.perf_counter()
    with opened(task, teacher, folder):
        seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in (folder / task.precision).rglob("*") if path.is_file())
    return {"images_per_second": len(source.labels) / seconds, "size_bytes": size}


def train(task: Task, folder: Path | None) -> dict[str, Any]:
    """An epoch with the cache in `folder`, or with the teacher asked at every step and its share of a step."""
    teacher, student = teacher_and_student(task.teacher, task.student, classes=task.classes)
    clock = Clock(task)
    with opened(task, None if folder else teacher, folder) as targets:
        own.run_epoch(own.trainer(task, student, source=own.source(task), targets=targets), clock)
        found = clock.result()
        if folder is None:
            step = task.batch_size / found["images_per_second"]
            found["teacher_share"] = teacher_seconds(targets, task) / step
    return found


def opened(task: Task, teacher: nn.Module | None, folder: Path | None) -> AbstractContextManager[Targets]:
    """The teacher's answers: from the cache in `folder`, or with None its own. No teacher: the cache must have all."""

    def load() -> Network:
        assert teacher is not None, "the cache lacks logits that it was filled with"
        return own.network(teacher, task).eval()

    plan = None
    if folder is not None:
        plan = CachePlan(folder=folder / task.precision, key="benchmark", top_k=None, limit_bytes=LIMIT_BYTES)
    return answering(load, own.source(task), classes=task.classes, settings=own.settings(task), cache=plan)


def teacher_seconds(targets: Targets, task: Task) -> float:
    """What asking the teacher about one batch takes, the mean over some batches."""
    device = torch.device(task.device)
    index = torch.arange(task.batch_size, device=device)
    (pixels,) = own.source(task).batches([index])
    pictures = pixels.contiguous(memory_format=torch.channels_last)
    targets(0, index, pictures)
    started = inside.now(device)
    for _ in range(ASKED):
        targets(0, index, pictures)
    return (inside.now(device) - started) / ASKED
