"""The teacher: read, checked against the data, measured, and asked: itself, or a cache of what it said before."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd import network, pixels, teacher_logits
from edgekd.core.augment import Viewed, draw
from edgekd.core.forward import BATCH, Targets, Teacher, laid_out
from edgekd.core.optimizer import Settings
from edgekd.core.parallel import ALONE, Ranks
from edgekd.core.source import Source
from edgekd.data import Dataset, Samples
from edgekd.errors import BadInputError, EdgekdError
from edgekd.models.count import count_parameters
from edgekd.network import Card, Network
from edgekd.progress import Listener, silent
from edgekd.rows import Rows, places
from edgekd.teachers import OpenTeacher
from edgekd.teachers.order import chance_map, reordered, reordered_sets

TRAIN_SAMPLES = 2_000
"""Training samples on which the teacher is checked: enough to tell it from chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """What the teacher is worth, measured before training.

    train_top1 (on up to 2,000 training samples), validation_top1, test_top1: fractions, None where there are no labels
    to measure with; of a multi-label task they are None, and train_map, … are the mean average precisions,
    test_micro_f1 the micro F1 at a probability of 1/2. test_predictions: (n,) class numbers, or sets of them.
    parameters, macs: None where the teacher does not show them. outputs: what it emits, of probabilities the log is
    taken, or the log odds. class_order: `by name`, or `assumed` where nothing says what its outputs mean.
    preprocessing: what a pretrained teacher's own files declare, in words. runs_on: what answers, where that is not
    the device of the training.
    """

    model: str
    parameters: int | None
    macs: int | None
    sha256: str
    train_top1: float | None
    validation_top1: float | None
    test_top1: float | None
    test_predictions: tuple[int, ...] | tuple[tuple[int, ...], ...]
    kind: str = "network"
    outputs: str = "logits"
    class_order: str = "by name"
    preprocessing: str | None = None
    runs_on: str | None = None
    train_map: float | None = None
    validation_map: float | None = None
    test_map: float | None = None
    test_micro_f1: float | None = None


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
    own_mean, own_std = pixels.channel_statistics(data)
    for name, value in (("mean", mean), ("std", std)):
        if value is not None and len(value) != len(own_mean):
            raise BadInputError(f"teacher.{name} has {len(value)} numbers, the data {len(own_mean)} channel(s)")
    card = Card(
        model=model,
        classes=data.classes,
        channels=data.channels,
        options=options,
        facts={},
        kind=data.kind,
        front=data.front,
    )
    teacher, _ = network.load(path, card=card, mean=mean or own_mean, std=std or own_std)
    buffers = dict(teacher.front.named_buffers())
    for name, value in (("mean", mean), ("std", std)):
        if value is not None and not torch.equal(buffers[name].flatten(), torch.tensor(value)):
            raise BadInputError(
                f"teacher.{name} is {list(value)}, but {path} brings its own, {buffers[name].flatten().tolist()}; "
                f"remove teacher.{name}"
            )
    return teacher


def measure_teacher(
    teacher: Network | OpenTeacher, data: Dataset, *, model: str, sha256: str, device: torch.device
) -> TeacherFacts:
    """The teacher's accuracy on three splits, where they have labels.

    Raises:
        BadInputError: the teacher is at chance on the training data (of unlabelled one: on validation, else on test),
            or returns NaN.
    """
    answer = _answerer(teacher, data, device)
    known = np.flatnonzero(data.train.labelled)
    train = pixels.spread(data.train.take(known) if len(known) else data.train, TRAIN_SAMPLES)
    parts = {"train": train, "test": data.test, "validation": data.validation}
    logits = {name: answer(part) for name, part in parts.items()}
    if not all(z.isfinite().all() for z in logits.values()):
        raise BadInputError(
            f"teacher '{model}' returns NaN or infinity on this data; check its weights and its mean and std"
        )
    if data.multi_label:
        return _of_label_sets(teacher, data, logits, parts, model=model, sha256=sha256)
    top1 = {name: pixels.top1(logits[name], part) for name, part in parts.items()}
    for name in ("train", "validation", "test"):  # the first that has labels
        share, labels = top1[name], parts[name].known_labels
        if share is not None and labels is not None:
            _refuse_chance(logits[name], labels, share, where=name, model=model, classes=data.classes)
            break
    return TeacherFacts(
        model=model,
        sha256=sha256,
        train_top1=top1["train"],
        validation_top1=top1["validation"],
        test_top1=top1["test"],
        test_predictions=tuple(logits["test"].argmax(dim=-1).tolist()),
        **_described(teacher, data),
    )


def _of_label_sets(
    teacher: Network | OpenTeacher,
    data: Dataset,
    logits: dict[str, Tensor],
    parts: dict[str, Samples],
    *,
    model: str,
    sha256: str,
) -> TeacherFacts:
    """The facts of a multi-label teacher. Raises BadInputError where it is at chance."""
    found = {name: pixels.set_scores(logits[name], part) for name, part in parts.items()}
    for name in ("train", "validation", "test"):  # the first that has labels
        value = found[name][0]
        if value is not None:
            labels = parts[name].labels
            chance = chance_map(logits[name].numpy(), labels)
            if value <= chance:
                samples = "training" if name == "train" else name
                hint = reordered_sets(logits[name].numpy(), labels, data.classes)
                advice = "" if hint is None else f" Its outputs fit the labels in the order {_listed(hint)}"
                raise BadInputError(
                    f"teacher '{model}' has a mean average precision of {value:.1%} on the {samples} samples, and the "
                    f"same answers given to other samples reach {chance:.1%}: chance; are the labels permuted, or was "
                    f"it trained with another mean and std?{advice}"
                )
            break
    return TeacherFacts(
        model=model,
        sha256=sha256,
        train_top1=None,
        validation_top1=None,
        test_top1=None,
        test_predictions=pixels.decided(logits["test"], multi_label=True),
        train_map=found["train"][0],
        validation_map=found["validation"][0],
        test_map=found["test"][0],
        test_micro_f1=found["test"][1],
        **_described(teacher, data),
    )


def _listed(names: tuple[str, ...]) -> str:
    return f"{json.dumps(names, ensure_ascii=False)}: name its classes so"


def _refuse_chance(
    logits: Tensor,
    labels: npt.NDArray[np.int64],
    top1: float,
    *,
    where: str,
    model: str,
    classes: tuple[str, ...],
) -> None:
    majority = np.bincount(labels).max() / len(labels)
    if top1 <= majority + 3 * math.sqrt(majority * (1 - majority) / len(labels)):
        samples = "training" if where == "train" else where
        raise BadInputError(
            f"teacher '{model}' is right on {top1:.1%} of the {samples} samples, which is chance for "
            f"{len(classes)} classes; are the labels permuted, or was it trained with another mean and std?"
            f"{_hint(logits, labels, classes)}"
        )


def _described(teacher: Network | OpenTeacher, data: Dataset) -> dict[str, Any]:
    """What is known of the teacher itself."""
    if isinstance(teacher, OpenTeacher):
        names = ("parameters", "macs", "kind", "outputs", "class_order", "preprocessing", "runs_on")
        return {name: getattr(teacher, name) for name in names}
    macs = network.macs(teacher, data.train.inputs[:1], kind=data.kind)
    return {"parameters": count_parameters(teacher), "macs": macs}


def _answerer(teacher: Network | OpenTeacher, data: Dataset, device: torch.device) -> Callable[[Samples], Tensor]:
    """A function from samples to the teacher's logits (n, K) float32 on the CPU."""
    if isinstance(teacher, OpenTeacher):
        opened = teacher
        return lambda samples: torch.from_numpy(_ask(opened, samples))
    net = teacher.to(device)
    return lambda samples: pixels.predict(net, samples.inputs, device, kind=data.kind)


def _ask(teacher: OpenTeacher, samples: Samples) -> npt.NDArray[np.float32]:
    """Logits (n, K) of samples as they are in the source; of those in a file, some at a time."""
    if not isinstance(samples.inputs, Rows):
        return teacher.predict(samples.inputs, samples.ids)
    ids = samples.ids
    parts = places(samples.inputs, multiple=BATCH)
    return np.concatenate([teacher.predict(samples.inputs[p], None if ids is None else ids[p]) for p in parts])


def _hint(logits: Tensor, labels: npt.NDArray[np.int64], classes: tuple[str, ...]) -> str:
    """What to do where the classes are merely in another order."""
    order = reordered(logits.argmax(dim=-1).numpy(), labels, classes)
    if order is None:
        return ""
    return f" Its outputs fit the labels in the order {json.dumps(order, ensure_ascii=False)}: name its classes so"


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

    def __call__(self, view: int, index: Tensor, inputs: Tensor) -> Tensor:
        """(batch, K) float32 on the inputs' device."""
        return torch.from_numpy(self.cache.read(view, index.cpu().numpy())).to(inputs.device)


class Asked:
    """A teacher that is no network of edgekd's, asked about each batch; see `edgekd.core.forward.Targets`.

    Its logits are rounded to fp16, as those of `edgekd.core.forward.Teacher`.
    """

    def __init__(self, teacher: OpenTeacher) -> None:
        assert teacher.on_device is not None, "a teacher that sees views takes tensors; others are `Fixed`"
        self.teacher, self.predict = teacher, teacher.on_device

    @torch.no_grad()
    def __call__(self, view: int, index: Tensor, inputs: Tensor) -> Tensor:
        """(batch, K) float32 on the inputs' device. Raises what the teacher raises; the checkpoint stays."""
        try:
            return self.predict(inputs).to(inputs.device).half().float()
        except EdgekdError as err:
            raise type(err)(
                f"{err}. Nothing is lost: the same command goes on from the last checkpoint once the teacher answers"
            ) from err


class Fixed:
    """What a teacher said of each training sample as it is in the source, whatever the view; see `Targets`."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.half().float()

    def __call__(self, view: int, index: Tensor, inputs: Tensor) -> Tensor:
        """(batch, K) float32 on the inputs' device."""
        return self.logits[index.to(self.logits.device)].to(inputs.device)


@contextmanager
def answering(
    load: Callable[[], Network | OpenTeacher],
    source: Source,
    *,
    samples: Samples | None = None,
    classes: int,
    settings: Settings,
    cache: CachePlan | None = None,
    ranks: Ranks = ALONE,
    listener: Listener = silent,
) -> Iterator[Targets]:
    """The teacher's logits for the samples that `settings` trains on, while inside.

    load: gives the teacher; not called where a cache has all of its answers. With a cache, what is missing in it is
    computed first, by one process a host, every view of every sample. samples: the training split, for a teacher that
    answers for samples as they are in the source: it is asked once about each, before the first step.

    Raises:
        BadInputError: the cache would be over its limit, another process fills it, or a logit does not fit.
        EnvironmentFault: the disk is full.
    """
    if cache is None:
        yield _live(load(), source, settings) if samples is None else _fixed(load, samples, ranks)
        return
    views = max(1, settings.views) if settings.augmentation.random and samples is None else 1
    count = len(source.labels)

    def opened(*, wait: bool = False) -> AbstractContextManager[teacher_logits.TeacherLogits]:
        return teacher_logits.opened(
            cache.folder,
            key=cache.key,
            views=views,
            samples=count,
            classes=classes,
            top_k=cache.top_k,
            limit_bytes=cache.limit_bytes,
            batch_size=settings.batch_size,
            wait=wait,
        )

    answers: _Answers | _OfSamples | None = None

    def compute(view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        nonlocal answers
        if answers is None:  # only now: a full cache never loads the teacher
            answers = _Answers(load, source, settings) if samples is None else _OfSamples(load, samples)
        return answers(view, start, stop)

    if ranks.local == 0:  # on every host: another may not see the files
        with opened(wait=ranks.world > 1) as kept:
            kept.fill(compute, listener=listener)
    ranks.wait()
    with opened() as kept:
        yield Cached(kept) if samples is None else Fixed(_whole(kept, count))


def _whole(kept: teacher_logits.TeacherLogits, count: int) -> Tensor:
    return torch.from_numpy(kept.read(0, np.arange(count, dtype=np.int64)))


def _fixed(load: Callable[[], Network | OpenTeacher], samples: Samples, ranks: Ranks) -> Fixed:
    """One process a host asks first: what it was told may be kept by the teacher, and the others find it there."""
    if ranks.local == 0:
        told = _OfSamples(load, samples)(0, 0, len(samples))
    ranks.wait()
    if ranks.local != 0:
        told = _OfSamples(load, samples)(0, 0, len(samples))
    return Fixed(torch.from_numpy(told))


class _OfSamples:
    """What the teacher says of samples as they are in the source."""

    def __init__(self, load: Callable[[], Network | OpenTeacher], samples: Samples) -> None:
        teacher = load()
        assert isinstance(teacher, OpenTeacher), "a network sees every view itself"
        self.teacher, self.samples = teacher, samples

    def __call__(self, view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Logits (stop - start, K) of these samples."""
        return _ask(self.teacher, self.samples.take(np.arange(start, stop, dtype=np.int64)))


def _live(net: Network | OpenTeacher, source: Source, settings: Settings) -> Teacher | Asked:
    if isinstance(net, OpenTeacher):
        return Asked(net)
    return Teacher(
        net.to(source.device),
        precision=settings.precision,
        channels_last=settings.channels_last,
        compiled=settings.compile,
    )


class _Answers:
    """Computes what a cache lacks, in batches of the training's own size: so the bits are those of training live."""

    def __init__(self, load: Callable[[], Network | OpenTeacher], source: Source, settings: Settings) -> None:
        self.source, self.settings = source, settings
        self.teacher = _live(load(), source, settings)
        self.view, self.number = self._drawn(0), 0

    def __call__(self, view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Logits (stop - start, K) of these samples in a view."""
        if view != self.number:
            self.view, self.number = self._drawn(view), view
        indices = torch.split(torch.arange(start, stop, device=self.source.device), self.settings.batch_size)
        stream = zip(indices, self.source.batches(self.view.needed(index) for index in indices), strict=True)
        answers = [
            self.teacher(view, index, laid_out(self.view.inputs(raw, index), channels_last=self.settings.channels_last))
            for index, raw in stream
        ]
        return torch.cat(answers).cpu().numpy()

    def _drawn(self, number: int) -> Viewed:
        return draw(
            self.settings.augmentation,
            seed=self.settings.view_seed,
            view=number,
            samples=len(self.source.labels),
            size=self.source.size,
            device=self.source.device,
        )
