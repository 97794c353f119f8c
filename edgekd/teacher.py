"""The teacher: read, checked against the data, measured, and asked: itself, or a cache of what it said before."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd import network, pixels, teacher_logits
from edgekd.core.augment import View, draw
from edgekd.core.forward import Targets, Teacher, predict
from edgekd.core.optimizer import Settings
from edgekd.core.parallel import ALONE, Ranks
from edgekd.core.source import Source
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.models.count import count_macs, count_parameters
from edgekd.network import Card, Network
from edgekd.progress import Listener, silent

TRAIN_SAMPLES = 2_000
"""Training images on which the teacher is checked: enough to tell it from chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """What the teacher is worth, measured before training.

    train_top1 (on up to 2,000 training images), validation_top1, test_top1: fractions. test_predictions: (n,) class
    numbers.
    """

    model: str
    parameters: int
    macs: int
    sha256: str
    train_top1: float
    validation_top1: float
    test_top1: float
    test_predictions: tuple[int, ...]


def load_teacher(
    path: Path,
    data: Dataset,
    *,
    model: str,
    options: dict[str, float | int | str],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Network:
    """The teacher in a safetensors file, checked against the data's classes and channels.

    mean, std: of pixels / 255 a channel; None for what the file brings, else the training data's own.

    Raises:
        BadInputError: what `network.load` raises, or a mean or std that contradicts the data or the file.
    """
    own_mean, own_std = pixels.channel_statistics(data.train)
    channels = data.input_shape[2]
    for name, value in (("mean", mean), ("std", std)):
        if value is not None and len(value) != channels:
            raise BadInputError(f"teacher.{name} has {len(value)} numbers, the data {channels} channel(s)")
    card = Card(model=model, classes=data.classes, channels=channels, options=options, facts={})
    teacher, _ = network.load(path, card=card, mean=mean or own_mean, std=std or own_std)
    for name, value, used in (("mean", mean, teacher.mean), ("std", std, teacher.std)):
        if value is not None and not torch.equal(used.flatten(), torch.tensor(value)):
            raise BadInputError(
                f"teacher.{name} is {list(value)}, but {path} brings its own, {used.flatten().tolist()}; "
                f"remove teacher.{name}"
            )
    return teacher


def measure_teacher(teacher: Network, data: Dataset, *, model: str, sha256: str, device: torch.device) -> TeacherFacts:
    """The teacher's accuracy on three splits.

    Raises:
        BadInputError: the teacher is at chance on the training data, or returns NaN.
    """
    teacher = teacher.to(device)
    train = pixels.spread(data.train, TRAIN_SAMPLES)
    logits = {
        n: predict(teacher, pixels.to_tensor(s.images, device))
        for n, s in (("train", train), ("test", data.test), ("validation", data.validation))
    }
    if not all(z.isfinite().all() for z in logits.values()):
        raise BadInputError(
            f"teacher '{model}' returns NaN or infinity on this data; check its weights and its mean and std"
        )
    top1 = {
        "train": pixels.top1(logits["train"], train),
        "validation": pixels.top1(logits["validation"], data.validation),
        "test": pixels.top1(logits["test"], data.test),
    }
    majority = np.bincount(train.labels).max() / len(train)
    if top1["train"] <= majority + 3 * math.sqrt(majority * (1 - majority) / len(train)):
        raise BadInputError(
            f"teacher '{model}' is right on {top1['train']:.1%} of the training images, which is chance for "
            f"{len(data.classes)} classes; are the labels permuted, or was it trained with another mean and std?"
        )
    height, width, channels = data.input_shape
    return TeacherFacts(
        model=model,
        parameters=count_parameters(teacher),
        macs=count_macs(teacher, input_shape=(channels, height, width)),
        sha256=sha256,
        train_top1=top1["train"],
        validation_top1=top1["validation"],
        test_top1=top1["test"],
        test_predictions=tuple(logits["test"].argmax(dim=-1).tolist()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """Where the teacher's logits are kept. key: the hash of all that they depend on; top_k: None for all classes."""

    folder: Path
    key: str
    top_k: int | None
    limit_bytes: int


class Cached:
    """The teacher's logits from a cache; see `edgekd.core.forward.Targets`."""

    def __init__(self, cache: teacher_logits.TeacherLogits) -> None:
        self.cache = cache

    def __call__(self, view: int, index: Tensor, images: Tensor) -> Tensor:
        """(batch, K) float32 on the images' device."""
        return torch.from_numpy(self.cache.read(view, index.cpu().numpy())).to(images.device)


@contextmanager
def answering(
    load: Callable[[], Network],
    source: Source,
    *,
    classes: int,
    settings: Settings,
    cache: CachePlan | None = None,
    ranks: Ranks = ALONE,
    listener: Listener = silent,
) -> Iterator[Targets]:
    """The teacher's logits for the pictures that `settings` trains on, while inside.

    load: gives the network; not called where a cache has all of its answers. With a cache, what is missing in it is
    computed first, by one process a host, every view of every picture.

    Raises:
        BadInputError: the cache would be over its limit, another process fills it, or a logit does not fit.
        EnvironmentFault: the disk is full.
    """
    if cache is None:
        yield _live(load(), source, settings)
        return
    views = max(1, settings.views) if settings.augmentation.random else 1
    samples = len(source.labels)

    def opened(*, wait: bool = False) -> AbstractContextManager[teacher_logits.TeacherLogits]:
        return teacher_logits.opened(
            cache.folder,
            key=cache.key,
            views=views,
            samples=samples,
            classes=classes,
            top_k=cache.top_k,
            limit_bytes=cache.limit_bytes,
            batch_size=settings.batch_size,
            wait=wait,
        )

    answers: _Answers | None = None

    def compute(view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        nonlocal answers
        answers = answers or _Answers(load, source, settings)  # only now: a full cache never loads the teacher
        return answers(view, start, stop)

    if ranks.local == 0:  # on every host: another may not see the files
        with opened(wait=ranks.world > 1) as kept:
            kept.fill(compute, listener=listener)
    ranks.wait()
    with opened() as kept:
        yield Cached(kept)


def _live(net: Network, source: Source, settings: Settings) -> Teacher:
    return Teacher(
        net.to(source.device),
        precision=settings.precision,
        channels_last=settings.channels_last,
        compiled=settings.compile,
    )


class _Answers:
    """Computes what a cache lacks, in batches of the training's own size: so the bits are those of training live."""

    def __init__(self, load: Callable[[], Network], source: Source, settings: Settings) -> None:
        self.source, self.settings = source, settings
        self.teacher = _live(load(), source, settings)
        self.view, self.number = self._drawn(0), 0

    def __call__(self, view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Logits (stop - start, K) of these samples in a view."""
        if view != self.number:
            self.view, self.number = self._drawn(view), view
        indices = torch.split(torch.arange(start, stop, device=self.source.device), self.settings.batch_size)
        stream = zip(indices, self.source.batches(self.view.needed(index) for index in indices), strict=True)
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        answers = [
            self.teacher(view, index, self.view.pictures(images, index).contiguous(memory_format=layout))
            for index, images in stream
        ]
        return torch.cat(answers).cpu().numpy()

    def _drawn(self, number: int) -> View:
        return draw(
            self.settings.augmentation,
            seed=self.settings.view_seed,
            view=number,
            samples=len(self.source.labels),
            size=self.source.size,
            device=self.source.device,
        )
