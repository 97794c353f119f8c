"""Where training takes its samples from: all of them on the device, or streamed through worker processes."""

import ctypes
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.multiprocessing import active_children, get_context

from edgekd.errors import EnvironmentFault

WORKER_TIMEOUT_S = 300.0
"""A worker that gives no batch for so long is taken for dead: better an error than a run that hangs."""

PR_SET_PDEATHSIG = 1
"""Linux: send me this signal when my parent dies (prctl(2))."""

AHEAD = 3
"""Batches that each worker prepares before they are asked for."""


class Indexed(Protocol):
    """Samples as an array has them, wherever they lie."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)"""

    def __getitem__(self, index: Any, /) -> npt.NDArray[Any]:
        """The samples at an index (m,) int64."""


class Source(Protocol):
    """n samples with labels. labels: (n,) int64 on `device`; size: (height, width), or a sample's shape."""

    labels: Tensor
    device: torch.device
    size: tuple[int, ...]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The samples of each (m,) index tensor on `device`, in order: pictures (m, channels, height, width) uint8."""


class Resident:
    """All samples on the device: a batch is one look-up. inputs: (n, channels, height, width) uint8, or others."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        pictures = inputs.ndim == 4
        self.inputs = inputs.contiguous(memory_format=torch.channels_last) if pictures else inputs.contiguous()
        self.labels, self.device = labels, inputs.device
        self.size = tuple(inputs.shape[2:] if pictures else inputs.shape[1:])

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """See `Source`."""
        for index in indices:
            yield self.inputs[index.to(self.device)]


class Streamed:
    """Samples that stay in host memory, or in a file; worker processes, if any, collect the batches ahead of time.

    inputs: images (n, height, width, channels) uint8, or others, whatever an index array reads; labels: (n,) int64.
    """

    def __init__(self, inputs: Indexed, labels: npt.NDArray[np.int64], *, device: torch.device, workers: int) -> None:
        self.inputs, self.workers, self.device = inputs, workers, device
        self.labels = torch.from_numpy(labels).to(device)
        self.size = tuple(inputs.shape[1:3] if len(inputs.shape) == 4 else inputs.shape[1:])

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """See `Source`.

        Raises:
            EnvironmentFault: a worker died or hangs.
        """
        collected = self._through_workers(indices) if self.workers else (_collect(self.inputs, i) for i in indices)
        for batch in collected:
            pinned = batch.pin_memory() if self.device.type == "cuda" else batch
            moved = pinned.to(self.device, non_blocking=True)
            yield moved.permute(0, 3, 1, 2) if moved.ndim == 4 else moved

    def _through_workers(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        # Forked, so that the samples are shared and not copied; torch moves the batches back through shared memory.
        others = set(active_children())
        pool = ProcessPoolExecutor(self.workers, get_context("fork"), initializer=_adopt, initargs=(self.inputs,))
        ahead = deque[Future[Tensor]]()
        try:
            for index in indices:
                ahead.append(pool.submit(_collect_adopted, index.cpu()))
                if len(ahead) > AHEAD * self.workers:
                    yield ahead.popleft().result(WORKER_TIMEOUT_S)
            while ahead:
                yield ahead.popleft().result(WORKER_TIMEOUT_S)
        except (BrokenProcessPool, TimeoutError) as err:
            for worker in set(active_children()) - others:
                worker.kill()  # one that hangs would hold up the end of this process for ever
            raise EnvironmentFault(
                "a worker that loads training samples died or hangs; is memory short? Run again, it goes on from the "
                "last checkpoint; distill.workers = 0 loads without workers"
            ) from err
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collect(inputs: Indexed, index: Tensor) -> Tensor:
    return torch.from_numpy(inputs[index.cpu().numpy()])


_adopted: list[Indexed] = []
"""In a worker: the samples that it collects from."""


def _adopt(inputs: Indexed) -> None:
    if sys.platform == "linux":  # a worker that outlives a killed parent would wait for ever and hold its locks
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _adopted[:] = [inputs]


def _collect_adopted(index: Tensor) -> Tensor:
    return _collect(_adopted[0], index)
