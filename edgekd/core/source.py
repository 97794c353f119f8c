"""Where training takes its pixels from: all of them on the device, or streamed through worker processes."""

import ctypes
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

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


class Source(Protocol):
    """n pictures with labels. labels: (n,) int64 on `device`; size: (height, width)."""

    labels: Tensor
    device: torch.device
    size: tuple[int, int]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The pictures of each (m,) index tensor, (m, channels, height, width) uint8 on `device`, in order."""


class Resident:
    """All pixels on the device: a batch is one look-up. images: (n, channels, height, width) uint8 on the device."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels, self.device = labels, images.device
        self.size = (images.shape[-2], images.shape[-1])

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """See `Source`."""
        for index in indices:
            yield self.images[index.to(self.device)]


class Streamed:
    """Pixels that stay in host memory, or on disk as a memory map; worker processes collect the batches ahead of time.

    images: (n, height, width, channels) uint8, whatever numpy can index; labels: (n,) int64.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], *, device: torch.device, workers: int
    ) -> None:
        self.images, self.workers, self.device = images, workers, device
        self.labels = torch.from_numpy(labels).to(device)
        self.size = (images.shape[1], images.shape[2])

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """See `Source`.

        Raises:
            EnvironmentFault: a worker died or hangs.
        """
        collected = self._through_workers(indices) if self.workers else (_collect(self.images, i) for i in indices)
        for batch in collected:
            pinned = batch.pin_memory() if self.device.type == "cuda" else batch
            yield pinned.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def _through_workers(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        # Forked, so that the pixels are shared and not copied; torch moves the batches back through shared memory.
        others = set(active_children())
        pool = ProcessPoolExecutor(self.workers, get_context("fork"), initializer=_adopt, initargs=(self.images,))
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
                "a worker that loads training images died or hangs; is memory short? Run again, it goes on from the "
                "last checkpoint; distill.workers = 0 loads without workers"
            ) from err
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collect(images: npt.NDArray[np.uint8], index: Tensor) -> Tensor:
    return torch.from_numpy(images[index.cpu().numpy()])


_adopted: list[npt.NDArray[np.uint8]] = []
"""In a worker: the pixels that it collects from."""


def _adopt(images: npt.NDArray[np.uint8]) -> None:
    if sys.platform == "linux":  # a worker that outlives a killed parent would wait for ever and hold its locks
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _adopted[:] = [images]


def _collect_adopted(index: Tensor) -> Tensor:
    return _collect(_adopted[0], index)
