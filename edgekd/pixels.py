"""From a split's numpy arrays to tensors on a device, and small facts about a split."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd import front
from edgekd.core.source import Resident, Source, Streamed
from edgekd.data import Dataset, Samples
from edgekd.errors import EnvironmentFault

RESIDENT_SHARE = 0.5
"""Share of a CUDA device's free memory that pixels may take; the rest is for networks and activations."""

STREAM_WORKERS = 2
"""Processes that stream pixels which do not fit: two keep up with a GPU where a batch is one numpy look-up."""


def choose_device(wanted: str, *, local: int = 0) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`. local: the process's number on this host, which takes GPU `local`.

    Raises:
        EnvironmentFault: `cuda` was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(
            "distill.device = 'cuda', but torch sees no CUDA device; install a CUDA build of torch, or set 'auto' "
            "or 'cpu'"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local) if local else torch.device("cuda")


def choose_precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 on a CUDA device that has it."""
    if wanted == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return wanted


def channel_statistics(data: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that the data's front standardises with, from its training split."""
    return front.statistics(data.kind, data.train.inputs, data.front)


def to_tensor(inputs: npt.NDArray[Any], device: torch.device, *, kind: str = "image") -> Tensor:
    """A split's inputs on the device, as the front of their kind takes them: images as (n, channels, height, width)."""
    return front.of(kind).to_tensor(inputs, device)


def place(samples: Samples, device: torch.device, *, kind: str = "image", workers: int | None = None) -> Source:
    """The samples as training takes them. workers: None streams only what does not fit on the device.

    On a CPU they are in memory already, and stay there.
    """
    if workers is None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        workers = 0 if samples.inputs.nbytes <= RESIDENT_SHARE * free else STREAM_WORKERS
    if workers:
        return Streamed(samples.inputs, samples.labels, device=device, workers=workers)
    return Resident(to_tensor(samples.inputs, device, kind=kind), torch.from_numpy(samples.labels).to(device))


def top1(logits: Tensor, samples: Samples) -> float | None:
    """Share of the labelled samples whose largest logit is their label; None where none has a label.

    logits: (n, K) on CPU.
    """
    known = samples.labels >= 0
    return float((logits.argmax(dim=-1).numpy() == samples.labels)[known].mean()) if known.any() else None


def spread(samples: Samples, count: int) -> Samples:
    """Evenly spaced samples, at most `count`; the source's order may be sorted by class."""
    return samples.take(np.linspace(0, len(samples) - 1, min(count, len(samples)), dtype=np.int64))
