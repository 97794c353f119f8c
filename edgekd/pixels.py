"""From a split's numpy arrays to tensors on a device, and small facts about a split."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from edgekd import front
from edgekd.core import forward
from edgekd.core.source import Resident, Source, Streamed
from edgekd.data import Dataset, Samples
from edgekd.errors import EnvironmentFault
from edgekd.label_scores import label_scores
from edgekd.rows import Inputs, Rows, places

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


def to_tensor(inputs: Inputs, device: torch.device, *, kind: str = "image") -> Tensor:
    """A split's inputs on the device, as the front of their kind takes them: images as (n, channels, height, width)."""
    if not isinstance(inputs, Rows):
        return front.of(kind).to_tensor(inputs, device)
    few = front.of(kind).to_tensor(inputs[:1], device)
    layout = torch.channels_last if few.ndim == 4 else torch.contiguous_format
    whole = torch.empty((len(inputs), *few.shape[1:]), dtype=few.dtype, device=device, memory_format=layout)
    for part in places(inputs):  # into its place: all of them twice may not fit
        whole[part] = front.of(kind).to_tensor(inputs[part], device)
    return whole


def ready(inputs: Inputs, device: torch.device, *, kind: str = "image") -> Tensor | Rows:
    """A split that is predicted on many times: on the device, or in its file where it has one."""
    return inputs if isinstance(inputs, Rows) else to_tensor(inputs, device, kind=kind)


def predict(
    net: nn.Module, inputs: Tensor | Inputs, device: torch.device, *, kind: str = "image", precision: str = "fp32"
) -> Tensor:
    """The network's logits on all samples, (n, K) float32 on the CPU, in eval mode; from a file, some at a time.

    The batches, and so the bits, are the same wherever the samples are.
    """
    told = partial(forward.predict, net, batch_size=forward.BATCH, precision=precision)
    if not isinstance(inputs, Rows):
        return told(inputs if isinstance(inputs, Tensor) else to_tensor(inputs, device, kind=kind))
    parts = places(inputs, multiple=forward.BATCH)
    return torch.cat([told(to_tensor(inputs[part], device, kind=kind)) for part in parts])


def place(samples: Samples, device: torch.device, *, kind: str = "image", workers: int | None = None) -> Source:
    """The samples as training takes them. workers: None streams only what does not fit on the device.

    On a CPU they stay where they are, in memory or in a file.
    """
    filed, fits = isinstance(samples.inputs, Rows), True
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        fits = samples.inputs.nbytes <= RESIDENT_SHARE * free
        workers = (0 if fits else STREAM_WORKERS) if workers is None else workers
    elif filed:
        fits = False
    if workers or (filed and not fits):
        return Streamed(samples.inputs, samples.labels, device=device, workers=workers or 0)
    return Resident(to_tensor(samples.inputs, device, kind=kind), torch.from_numpy(samples.labels).to(device))


def top1(logits: Tensor, samples: Samples) -> float | None:
    """Share of the labelled samples whose largest logit is their label; None where none has one, or may have several.

    logits: (n, K) on CPU.
    """
    if samples.labels.ndim == 2:
        return None
    known = samples.labels >= 0
    return float((logits.argmax(dim=-1).numpy() == samples.labels)[known].mean()) if known.any() else None


def set_scores(logits: Tensor, samples: Samples) -> tuple[float | None, float | None]:
    """Mean average precision and micro F1 at a probability of 1/2 of a multi-label task; None where it is another.

    None without labels, too. logits: (n, K) on CPU.
    """
    if samples.labels.ndim != 2 or not (samples.labels == 1).any():
        return None, None
    labels, said = samples.labels, logits.numpy() > 0
    known = labels >= 0
    true, named = labels == 1, said & known
    whole = int(true.sum() + named.sum())
    return label_scores(logits.numpy(), labels).mean_average_precision, 2 * int((true & named).sum()) / whole


def decided(logits: Tensor, *, multi_label: bool) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    """What a report keeps of logits (n, K): the class of each sample, or the classes with a probability above 1/2."""
    if multi_label:
        return tuple(tuple(row.nonzero().flatten().tolist()) for row in logits > 0)
    return tuple(logits.argmax(dim=-1).tolist())


def spread(samples: Samples, count: int) -> Samples:
    """Evenly spaced samples, at most `count`; the source's order may be sorted by class."""
    return samples.take(np.linspace(0, len(samples) - 1, min(count, len(samples)), dtype=np.int64))
