"""Teacher + student + data -> a trained student, checkpointed every epoch and resumable."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd import network
from edgekd.core import auto_rho, checkpoint, entropy, losses, max_logit_temperature
from edgekd.core.trainer import EpochStats, Objective, Settings, Trainer, predict
from edgekd.data import Dataset, Samples
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sha256
from edgekd.models.count import count_macs, count_parameters
from edgekd.network import Card, Network
from edgekd.progress import Listener, Progress, silent

ENTROPY_SAMPLES = 2_000
"""Training images on which the teacher's soft-label entropy is compared; enough for a histogram."""

FIXED_TEMPERATURE = 4.0
"""The field's usual fixed temperature, beside which CIST's entropies are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The objective: method `cist`, `kd` or `ce`, and the numbers that belong to it; None for the loss's default."""

    name: str
    rho: float | None = None
    temperature: float | None = None
    kd_weight: float | None = None
    ce_weight: float | None = None

    def objective(self) -> Objective:
        """The loss as a function of student logits, teacher logits and labels."""
        if self.name == "ce":
            return lambda student, teacher, labels: losses.cross_entropy(student, labels)
        loss, names = (
            (losses.kd, ("temperature", "kd_weight", "ce_weight"))
            if self.name == "kd"
            else (losses.cist, ("rho", "kd_weight"))
        )
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return partial(loss, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """What the teacher is worth, measured before training.

    train_top1, validation_top1, test_top1: fractions. entropy_fixed, entropy_cist: (n,) nats, of the soft labels of
    up to 2,000 training images under T = 4 and under CIST's temperatures. test_predictions: (n,) class numbers.
    """

    model: str
    parameters: int
    macs: int
    sha256: str
    train_top1: float
    validation_top1: float
    test_top1: float
    rho: float
    entropy_fixed: tuple[float, ...]
    entropy_cist: tuple[float, ...]
    test_predictions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """A trained student. seconds: of training in this run and the ones it resumed. weights: safetensors file."""

    weights: str
    sha256: str
    model: str
    parameters: int
    macs: int
    method: Method
    history: tuple[EpochStats, ...]
    validation_top1: float
    test_top1: float
    seconds: float
    device: str
    precision: str
    threads: int
    logit_sd: float
    logit_max: float


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`.

    Raises:
        EnvironmentFault: `cuda` was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(
            "distill.device = 'cuda', but torch sees no CUDA device; install a CUDA build of torch, or set 'auto' "
            "or 'cpu'"
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


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
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)


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
    own_mean, own_std = channel_statistics(data.train)
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


def measure_teacher(
    teacher: Network, data: Dataset, *, model: str, sha256: str, rho: float, device: torch.device
) -> TeacherFacts:
    """The teacher's accuracy on three splits and the entropy of its soft labels.

    Raises:
        BadInputError: the teacher is at chance on the training data, or returns NaN.
    """
    teacher = teacher.to(device)
    train = _subset(data.train, ENTROPY_SAMPLES)
    logits = {
        n: predict(teacher, to_tensor(s.images, device))
        for n, s in (("train", train), ("test", data.test), ("validation", data.validation))
    }
    if not all(z.isfinite().all() for z in logits.values()):
        raise BadInputError(
            f"teacher '{model}' returns NaN or infinity on this data; check its weights and its mean and std"
        )
    top1 = {
        "train": _top1(logits["train"], train),
        "validation": _top1(logits["validation"], data.validation),
        "test": _top1(logits["test"], data.test),
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
        rho=rho,
        entropy_fixed=tuple(entropy(logits["train"], FIXED_TEMPERATURE).tolist()),
        entropy_cist=tuple(entropy(logits["train"], max_logit_temperature(logits["train"], rho)).tolist()),
        test_predictions=tuple(logits["test"].argmax(dim=-1).tolist()),
    )


def distill(
    data: Dataset,
    *,
    student: str,
    options: dict[str, float | int | str],
    method: Method,
    settings: Settings,
    folder: Path,
    key: str,
    teacher: Network | None = None,
    device: torch.device | None = None,
    facts: dict[str, str | int | float] | None = None,
    listener: Listener = silent,
) -> Distilled:
    """Train the student; its weights go to folder/student.safetensors, a checkpoint an epoch to folder/checkpoints.

    The last epoch is kept, not the best one: choosing an epoch on any data is choosing on that data. `key` is the
    hash of all that the result depends on; a checkpoint of another key is not resumed. Initial weights, order and
    augmentation follow from settings.seed: on CPU the same seed and thread count give the same bytes.

    Raises:
        BadInputError: the loss is not finite, a checkpoint is unreadable, or the method lacks its teacher.
    """
    if method.name == "ce":
        teacher = None  # labels alone: its logits would be computed and dropped
    elif teacher is None:
        raise BadInputError(f"method '{method.name}' learns from a teacher, and there is none; name one, or take 'ce'")
    device = device or torch.device("cpu")
    torch.manual_seed(settings.seed)
    mean, std = channel_statistics(data.train)
    height, width, channels = data.input_shape
    card = Card(model=student, classes=data.classes, channels=channels, options=options, facts=facts or {})
    net = network.build(card, mean=mean, std=std).to(device)
    trainer = Trainer(
        net,
        images=to_tensor(data.train.images, device),
        labels=torch.from_numpy(data.train.labels).to(device),
        objective=method.objective(),
        settings=settings,
        teacher=None if teacher is None else teacher.to(device),
    )
    history, seconds = _train(trainer, data, folder=folder, key=key, listener=listener)
    weights = folder / "student.safetensors"
    network.save(net.cpu(), weights, card)
    logits = predict(net, to_tensor(data.validation.images, torch.device("cpu")))
    return Distilled(
        weights=weights.name,
        sha256=sha256(weights),
        model=student,
        parameters=count_parameters(net),
        macs=count_macs(net, input_shape=(channels, height, width)),
        method=method,
        history=tuple(history),
        validation_top1=_top1(logits, data.validation),
        test_top1=_top1(predict(net, to_tensor(data.test.images, torch.device("cpu"))), data.test),
        seconds=seconds,
        device=str(device),
        precision=settings.precision,
        threads=torch.get_num_threads(),
        logit_sd=float(logits.std(dim=-1).mean()),
        logit_max=float(logits.abs().max()),
    )


def _train(
    trainer: Trainer, data: Dataset, *, folder: Path, key: str, listener: Listener
) -> tuple[list[EpochStats], float]:
    path = folder / "checkpoints" / "last.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    history: list[EpochStats] = []
    state = checkpoint.load(path, key=key)
    if state is not None:
        trainer.load_state(state)
        history = [EpochStats(**epoch) for epoch in state["history"]]
    validation = to_tensor(data.validation.images, trainer.images.device)
    total = trainer.settings.epochs
    note = f"resumed after epoch {trainer.epoch}" if history else ""
    listener(Progress(stage="distill", done=trainer.epoch, total=total, note=note))
    while trainer.epoch < total:
        started, before = time.perf_counter(), trainer.epoch

        def on_step(step: int, loss: float, before: int = before) -> None:
            done = before + step / trainer.steps_per_epoch
            listener(Progress(stage="distill", done=done, total=total, note=_note(history, loss)))

        stats = trainer.run_epoch(on_step)
        top1 = _top1(predict(trainer.student, validation, precision=trainer.settings.precision), data.validation)
        stats = replace(stats, validation_top1=top1, seconds=time.perf_counter() - started)
        history.append(stats)
        checkpoint.save(path, {**trainer.state(), "history": [asdict(epoch) for epoch in history]}, key=key)
        listener(Progress(stage="distill", done=trainer.epoch, total=total, note=_note(history, stats.loss)))
    return history, sum(epoch.seconds for epoch in history)


def _note(history: Sequence[EpochStats], loss: float) -> str:
    parts = [f"loss {loss:.3f}"]
    if history:
        last = history[-1]
        if last.kl is not None:
            parts.append(f"KL {last.kl:.4f}")
        if last.teacher_entropy_mean is not None:
            parts.append(f"teacher entropy {last.teacher_entropy_mean:.3f} ± {last.teacher_entropy_sd:.3f}")
        parts.append(f"validation {last.validation_top1:.1%}")
    return " · ".join(parts)


def _top1(logits: Tensor, samples: Samples) -> float:
    return float((logits.argmax(dim=-1).numpy() == samples.labels).mean())


def _subset(samples: Samples, count: int) -> Samples:
    """Evenly spaced samples, at most `count`; the source's order may be sorted by class."""
    return samples.take(np.linspace(0, len(samples) - 1, min(count, len(samples)), dtype=np.int64))


def resolve_rho(rho: float | str, *, classes: int, normalised_entropy: float) -> float:
    """The number behind `rho`, solved where it is 'auto'."""
    return auto_rho(classes, normalised_entropy=normalised_entropy) if rho == "auto" else float(rho)
