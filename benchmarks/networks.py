"""The nets of the speed benchmarks, equal in every process: ResNet-56 teaches ResNet-8, random weights, seed 0."""

from pathlib import Path
from types import ModuleType

import torch
from torch import nn


def teacher_and_student(teacher: str, student: str, *, classes: int) -> tuple[nn.Module, nn.Module]:
    """Fresh networks from normalised pictures to logits; the teacher in eval mode."""
    models = edgekd_models()
    torch.manual_seed(0)
    made: list[nn.Module] = [models.build(name, num_classes=classes, in_channels=3) for name in (teacher, student)]
    settle(made[0])
    return made[0], made[1]


def settle(network: nn.Module) -> None:
    """Give batch norm the statistics of noise, as training would: without, deep random nets give huge logits."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    network.eval()


def edgekd_models() -> ModuleType:
    """`edgekd.models`, also from a checkout that is not installed, as in another tool's environment."""
    import importlib.util

    import edgekd

    if importlib.util.find_spec("edgekd.models") is None:
        edgekd.__path__.append(str(Path(__file__).resolve().parent.parent))
    from edgekd import models

    return models
