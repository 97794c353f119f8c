"""Where pixels come from: on the device or through workers, the same batches; a dead worker is an error, not a hang."""

import os
import time
from multiprocessing import active_children
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.core import source
from edgekd.core.source import Resident, Streamed
from edgekd.errors import EnvironmentFault

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(20, dtype=np.int64) % 3
CPU = torch.device("cpu")
INDICES = [torch.tensor([3, 1, 19]), torch.tensor([0, 2]), torch.tensor([7])]


def streamed(workers: int, images: Any = PIXELS) -> Streamed:
    return Streamed(images, LABELS, device=CPU, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_the_resident_ones_in_order(workers: int) -> None:
    resident = Resident(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), torch.from_numpy(LABELS))
    other = streamed(workers)
    assert (resident.size, other.size) == ((4, 5), (4, 5))
    assert torch.equal(resident.labels, other.labels)
    for one, two in zip(resident.batches(INDICES), other.batches(INDICES), strict=True):
        assert (one.dtype, one.shape[1:]) == (torch.uint8, (3, 4, 5))
        assert torch.equal(one, two)


def test_a_memory_map_can_be_streamed(tmp_path: Any) -> None:
    np.save(tmp_path / "pixels.npy", PIXELS)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    batches = list(streamed(1, mapped).batches(INDICES))
    assert torch.equal(batches[0].permute(0, 2, 3, 1), torch.from_numpy(PIXELS[[3, 1, 19]]))


class Deadly:
    """Pictures of which one kills whoever looks at it, as the kernel does when memory is short."""

    shape = PIXELS.shape

    def __getitem__(self, index: Any) -> Any:
        if 7 in index:
            os._exit(9)
        return PIXELS[index]


def test_a_worker_that_dies_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EnvironmentFault, match=r"a worker that loads training samples died.*distill\.workers = 0"):
        list(streamed(1, Deadly()).batches(INDICES))


class Endless:
    """Pictures that are never there."""

    shape = PIXELS.shape

    def __getitem__(self, index: Any) -> Any:
        time.sleep(3600)


def test_a_worker_that_hangs_is_an_error_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "WORKER_TIMEOUT_S", 0.2)
    before = set(active_children())
    with pytest.raises(EnvironmentFault, match="died or hangs"):
        list(streamed(1, Endless()).batches(INDICES))
    for worker in set(active_children()) - before:
        worker.join(timeout=30)
        assert worker.exitcode is not None  # else the interpreter would wait for it at its end
