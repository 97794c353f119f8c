"""From a split's numpy arrays to tensors on a device, and small facts about a split."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd.core.source import Resident, Source, Streamed
from edgekd.data import Samples
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


def channel_statistics(samples: Samples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels / 255 of each channel; a constant channel gets deviation 1.

    Exact, from the counts of the 256 values: a float copy of all pixels would be eight times the data.
    """
    pixels = samples.images.reshape(-1, samples.images.shape[-1])
    values = np.arange(256) / 255.0
    shares = np.stack([np.bincount(channel, minlength=256) / len(pixels) for channel in pixels.T])
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())


def to_tensor(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """(n, height, width, channels) uint8 -> the same pixels as (n, channels, height, width) on the device."""
    # Not copied: (n, h, w, c) in memory is what torch calls channels last.
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)


def place(samples: Samples, device: torch.device, *, workers: int | None = None) -> Source:
    """The samples as training takes them. workers: None streams only what does not fit on the device.

    On a CPU the pixels are in memory already, and stay there.
    """
    if workers is None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        workers = 0 if samples.images.nbytes <= RESIDENT_SHARE * free else STREAM_WORKERS
    if workers:
        return Streamed(samples.images, samples.labels, device=device, workers=workers)
    return Resident(to_tensor(samples.images, device), torch.from_numpy(samples.labels).to(device))


def top1(logits: Tensor, samples: Samples) -> float:
    """Share of the samples whose largest logit is their label. logits: (n, K) on CPU."""
    return float((logits.argmax(dim=-1).numpy() == samples.labels).mean())


def spread(samples: Samples, count: int) -> Samples:
    """Evenly spaced samples, at most `count`; the source's order may be sorted by class."""
    return samples.take(np.linspace(0, len(samples) - 1, min(count, len(samples)), dtype=np.int64))
