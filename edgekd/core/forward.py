"""Running a network: in which precision and layout, compiled or not, and the teacher's answers to pictures."""

import os
import shutil
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from edgekd.errors import EnvironmentFault


class Targets(Protocol):
    """Where the teacher's logits come from: the teacher itself, or a cache."""

    def __call__(self, view: int, index: Tensor, images: Tensor) -> Tensor:
        """Logits (batch, K) float32 on the images' device, each exactly an fp16 number.

        view, index: which pictures these are; images: (batch, channels, height, width) uint8.
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
    def __call__(self, view: int, index: Tensor, images: Tensor) -> Tensor:
        """See `Targets`; `view` and `index` do not matter to a network."""
        with autocast(images.device, self.precision):
            return self.forward(images).half().float()


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


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 where it is safe, for precision `bf16`; nothing for `fp32`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, *, batch_size: int = 256, precision: str = "fp32") -> Tensor:
    """The network's logits on all images, in eval mode. images: (n, c, h, w) uint8. Returns (n, K) float32 on CPU."""
    training = network.training
    network.eval()
    chunks = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].contiguous(memory_format=torch.channels_last)
        with autocast(images.device, precision):
            chunks.append(network(batch).float().cpu())
    network.train(training)
    return torch.cat(chunks)
