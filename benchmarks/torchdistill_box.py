"""torchdistill as its own CIFAR-10 example uses it, in its own environment.

The configuration is that of the example `resnet20_from_densenet_bc_k12_depth100-final_run.yaml` with other nets, batch
size and workers (github.com/yoshitomo-matsubara/torchdistill, configs/sample/cifar10/kd); the loop does what
`train_one_epoch` in examples/torchvision/image_classification.py does.
"""

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.training_task import CE_WEIGHT, MEAN, PADDING, SGD, SIZE, STD, TEMPERATURE, Clock, Pictures, Task

_STUBS: list[torch.library.Library] = []
"""Kept alive: what a Library defines goes when it goes."""


def loop(task: Task, teacher: nn.Module, student: nn.Module, clock: Clock) -> dict[str, str]:
    """Train until the clock has enough; returns the versions of torchdistill and torchvision."""
    names = {name: version(name) for name in ("torchdistill", "torchvision")}
    if not load_operators():
        names["torchvision"] += " (Python parts)"
    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.misc.log import MetricLogger

    device = torch.device(task.device)
    data = {"train": Pictures(*task.read(), prepare=transforms())}
    box = get_distillation_box(teacher, student, data, configuration(task), device, None, False, 1)
    teacher.eval()  # the box leaves it in the mode that it finds, and edgekd's is in eval mode
    logger = MetricLogger(delimiter="  ")
    box.pre_epoch_process(epoch=0)
    batches = logger.log_every(box.train_data_loader, 100, "Epoch: [0]")
    for step, (pictures, classes, extra) in enumerate(batches, start=1):
        images, labels = pictures.to(device), classes.to(device)
        with task.autocast():
            loss = box.forward_process(images, labels, extra)
        box.post_forward_process(loss=loss)
        logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        if clock.note(step):
            break
    return names


def load_operators() -> bool:
    """Whether torchvision's compiled operators load; where they do not, the two that its import asks for get a stub.

    PyPI's torchvision is built for CUDA, and beside a CPU build of torch stops at import with "operator
    torchvision::nms does not exist". Distilling on CIFAR calls none of its operators, only its transforms.
    """
    found = find_spec("torchvision")
    assert found is not None and found.origin is not None, "torchdistill depends on torchvision"
    folder = Path(found.origin).parent
    try:
        for library in folder.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        _STUBS.append(torch.library.Library("torchvision", "DEF"))
        asked = re.findall(r'register_fake\("torchvision::(\w+)"', (folder / "_meta_registrations.py").read_text())
        for name in asked:
            _STUBS[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return False
    return True


def transforms() -> Any:
    """torchvision's transforms of the example."""
    from torchvision import transforms as of

    steps = [of.RandomCrop(SIZE, padding=PADDING), of.RandomHorizontalFlip(0.5), of.ToTensor(), of.Normalize(MEAN, STD)]
    return of.Compose(steps)


def configuration(task: Task) -> dict[str, Any]:
    """The example's `train` section."""
    loading = {
        "batch_size": task.batch_size,
        "num_workers": task.workers,
        "pin_memory": task.device == "cuda",
        "drop_last": True,
    }
    logits = {f"{who}_module_{what}": value for who in ("student", "teacher") for what, value in ends()}
    kd = {**logits, "temperature": TEMPERATURE, "alpha": CE_WEIGHT, "reduction": "batchmean"}
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": loading,
        },
        "teacher": {"forward_proc": "forward_batch_only", "wrapper": "DataParallel", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "wrapper": "DistributedDataParallel", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": dict(SGD)},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": kd}, "weight": 1.0}}},
        },
    }


def ends() -> tuple[tuple[str, str], ...]:
    """The whole net's output, in torchdistill's words."""
    return ("path", "."), ("io", "output")
