"""Running a network: in which precision and layout, compiled or not, and the teacher's answers."""

import os
import shutil
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from edgekd.errors import EnvironmentFault

BATCH = 256
"""Samples that `predict` takes at a time."""


class Targets(Protocol):
    """Where the teacher's logits come from: the teacher itself, or a cache."""

    def __call__(self, view: int, index: Tensor, inputs: Tensor) -> Tensor:
        """Logits (batch, K) float32 on the inputs' device, each exactly an fp16 number.

        view, index: which samples these are; inputs: raw, images as (batch, channels, height, width) uint8.
        """


class Teacher:
    """A network that answers in eval mode and never learns.

    Its logits are rounded to fp16, as a cache of them stores them: targets are the same bits cached or not.
    """

    def __init__(
        self, network: nn.Module, *, precision: str, channels_last: bool = True, compiled: bool = False
    ) -> None:
        self.network = network.eval()
        self.precision = precision
        self.forward = prepared(self.network, channels_last=channels_last, compiled=compiled)

    @torch.no_grad()
    def __call__(self, view: int, index: Tensor, inputs: Tensor) -> Tensor:
        """See `Targets`; `view` and `index` do not matter to a network."""
        with autocast(inputs.device, self.precision):
            return self.forward(inputs).half().float()


def prepared(network: nn.Module, *, channels_last: bool, compiled: bool) -> Callable[[Tensor], Tensor]:
    """The network as it runs fastest; it keeps its parameters, so whoever trains or saves goes on using `network`.

    Raises:
        EnvironmentFault: it should be compiled and there is no C++ compiler for a CPU.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stub
    if not compiled:
        return network
    on_cpu = all(p.device.type == "cpu" for p in network.parameters())
    if on_cpu and not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name):
        raise EnvironmentFault(
            "distill.compile = true needs a C++ compiler on a CPU, and neither g++ nor clang++ is installed; install "
            "one (Debian: apt-get install g++), or set compile = false"
        )
    fast: Callable[[Tensor], Tensor] = torch.compile(network)
    return fast


def laid_out(batch: Tensor, *, channels_last: bool) -> Tensor:
    """The batch in one piece of memory; pictures, which alone have four axes, with their channels last where asked."""
    pictures = channels_last and batch.ndim == 4
    return batch.contiguous(memory_format=torch.channels_last if pictures else torch.contiguous_format)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 where it is safe, for precision `bf16`; nothing for `fp32`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, *, batch_size: int = BATCH, precision: str = "fp32") -> Tensor:
    """The network's logits on all samples, in eval mode. inputs: raw, on a device. Returns (n, K) float32 on CPU."""
    training = network.training
    network.eval()
    chunks = []
    for start in range(0, len(inputs), batch_size):
        batch = laid_out(inputs[start : start + batch_size], channels_last=True)
        with autocast(inputs.device, precision):
            chunks.append(network(batch).float().cpu())
    network.train(training)
    return torch.cat(chunks)
