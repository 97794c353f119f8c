"""Several processes that train one student together: who this one is, and what it says to the others.

Under `torchrun` every process sees its rank in the environment; `joined` connects them (gloo on CPU, NCCL on CUDA).
Gradients are averaged by torch's DistributedDataParallel. A batch is split, so that its size, and with it the learning
rate, means the same on one process and on eight. What batch norm sees is not the same: each process normalises its own
share of the batch, and the running statistics that end in the student are those of rank 0. DIST's correlation over the
batch, and dropout, are of each share too.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from edgekd.errors import BadInputError, EnvironmentFault

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """rank: this process, counted from 0; world: how many there are; local: its number on its own host."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes, prints and judges."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch: all of it where there is one process.

        Raises:
            BadInputError: the batch cannot be split evenly, which would weight its samples unequally.
        """
        if len(batch) % self.world:
            raise BadInputError(
                f"a batch of {len(batch)} samples cannot be split evenly over {self.world} processes; "
                f"set distill.batch_size to a multiple of {self.world}"
            )
        return batch.chunk(self.world)[self.rank]

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def average_(self, gradients: list[Tensor]) -> None:
        """Replace gradients outside the student, which DistributedDataParallel does not see, by their mean."""
        for gradient in gradients if self.world > 1 else ():
            dist.all_reduce(gradient)
            gradient.div_(self.world)

    def agreed(self, value: Value) -> Value:
        """What rank 0 has: the others' value is dropped."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()


ALONE = Ranks()

LONGEST_WAIT = timedelta(days=1)
"""The others wait while rank 0 measures the teacher or fills a cache; one that dies is noticed by torchrun at once."""


def from_environment() -> Ranks:
    """What torchrun says of this process; `ALONE` where it was not started by it."""
    try:
        world = int(os.environ.get("WORLD_SIZE", "1"))
        rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    except ValueError as err:
        raise EnvironmentFault(f"WORLD_SIZE, RANK and LOCAL_RANK must be numbers ({err}); start with torchrun") from err
    return Ranks(rank=rank, world=world, local=local) if world > 1 else ALONE


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Connected to the other processes while inside.

    Raises:
        EnvironmentFault: they cannot be reached.
    """
    if ranks.world == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(ranks.local)  # NCCL's collectives go by the current device
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=ranks.rank,
            world_size=ranks.world,
            timeout=LONGEST_WAIT,
        )
    except (RuntimeError, ValueError) as err:
        raise EnvironmentFault(
            f"process {ranks.rank} of {ranks.world} cannot reach the others ({err}); start with torchrun"
        ) from err
    try:
        yield
    finally:
        # What still holds the group, such as a DistributedDataParallel in a cycle, would keep its threads alive until
        # the interpreter ends, and C++ aborts a process whose threads are not joined.
        gc.collect()
        dist.destroy_process_group()
