"""Teacher's logits + student + data -> a trained student, checkpointed as it goes and resumable."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgekd import network, pixels
from edgekd.core import checkpoint, entropy, methods
from edgekd.core.augment import draw
from edgekd.core.epoch import EpochStats
from edgekd.core.forward import Targets, predict
from edgekd.core.losses import binary_entropy
from edgekd.core.methods import Objective
from edgekd.core.optimizer import Settings
from edgekd.core.parallel import ALONE, Ranks
from edgekd.core.source import Source
from edgekd.core.temperature import fixed_entropy
from edgekd.core.trainer import Trainer
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.models.count import count_parameters
from edgekd.network import Card
from edgekd.progress import Listener, Progress, silent
from edgekd.statistics import calibration_error

SOFT_LABELS = 2_000
"""Training pictures whose soft labels are looked at; enough for a histogram and a mean."""

FIXED_TEMPERATURE = 4.0
"""The field's usual fixed temperature, beside which the method's entropies are shown."""

CPU = torch.device("cpu")

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints within an epoch: what a kill costs at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The objective: a name of `edgekd.core.methods.METHODS` and the numbers that differ from its defaults.

    class_weights: of the label term, one a class; None: all 1. multi_label: in its form for samples that may have
    several classes. `match_fixed` stands for the `target_nats` of method
    `entropy` until the teacher's logits are known.
    """

    name: str
    knobs: dict[str, float] = field(default_factory=dict)
    class_weights: Sequence[float] | None = None
    multi_label: bool = False

    def matched(self, teacher_logits: Tensor) -> "Method":
        """The same method, `match_fixed` replaced by the entropy that it stands for on these logits (n, K)."""
        if "match_fixed" not in self.knobs:
            return self
        knobs = dict(self.knobs)
        temperature = knobs.pop("match_fixed")
        if self.multi_label:
            nats = float(binary_entropy(teacher_logits, temperature).double().mean())
        else:
            nats = fixed_entropy(teacher_logits, temperature)
        return replace(self, knobs=knobs | {"target_nats": nats})

    def objective(self, *, label_smoothing: float) -> Objective:
        """The loss that the trainer minimises; `match_fixed` resolved before."""
        return methods.build(
            self.name,
            self.knobs,
            label_smoothing=label_smoothing,
            class_weights=self.class_weights,
            multi_label=self.multi_label,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """A trained student.

    weights: safetensors file. seconds: of training in this run and the ones it resumed. test_ece: expected calibration
    error, a fraction; validation_top1, test_top1, test_ece: None where those samples have no labels, or may have
    several: validation_map and test_map are then the mean average precisions, test_micro_f1 the micro F1 at a
    probability of 1/2, and test_predictions, else class numbers, sets of them. soft_entropy, fixed_entropy: nats, of
    the teacher's soft labels as this method tempers them and as T = 4 would, on up to 2,000 training pictures; None
    where it uses none. logit_sd, logit_max: of the student's logits on validation; they set the range of an int8
    output.
    """

    weights: str
    sha256: str
    model: str
    parameters: int
    macs: int
    method: Method
    history: tuple[EpochStats, ...]
    validation_top1: float | None
    test_top1: float | None
    test_ece: float | None
    test_predictions: tuple[int, ...] | tuple[tuple[int, ...], ...]
    soft_entropy: tuple[float, ...] | None
    fixed_entropy: tuple[float, ...] | None
    seconds: float
    images_per_second: float
    device: str
    processes: int
    precision: str
    threads: int
    logit_sd: float
    logit_max: float
    validation_map: float | None = None
    test_map: float | None = None
    test_micro_f1: float | None = None


def distill(
    data: Dataset,
    source: Source,
    *,
    student: str,
    options: dict[str, float | int | str],
    method: Method,
    settings: Settings,
    folder: Path,
    key: str,
    targets: Targets | None = None,
    label_smoothing: float = 0.0,
    early_stop_epochs: int | None = None,
    ranks: Ranks = ALONE,
    facts: dict[str, str | int | float] | None = None,
    listener: Listener = silent,
) -> Distilled:
    """Train the student; its weights go to folder/student.safetensors, checkpoints to folder/checkpoints.

    source: the training split on its device. The last epoch is kept, not the best one: choosing an epoch on any data is
    choosing on that data. `key` is the hash of all that the result depends on; a checkpoint of another key is not
    resumed. Initial weights and order follow from settings.seed: on CPU the same seed and thread count give the same
    bytes. Of several processes all train and rank 0 writes.

    Raises:
        BadInputError: too many steps without a finite gradient, an unreadable checkpoint, or no teacher for a method
            that needs one.
    """
    if method.name != "ce" and targets is None:
        raise BadInputError(f"method '{method.name}' learns from a teacher, and there is none; name one, or take 'ce'")
    asked = None if method.name == "ce" else targets  # for labels alone its logits would be computed and dropped
    soft = None if asked is None else _Soft(source, asked, settings)
    if soft is not None:
        method = method.matched(soft.teacher)
    torch.manual_seed(settings.seed)
    card = Card(
        model=student,
        classes=data.classes,
        channels=data.channels,
        options=options,
        facts=facts or {},
        kind=data.kind,
        front=data.front,
    )
    mean, std = pixels.channel_statistics(data)
    trainer = Trainer(
        network.build(card, mean=mean, std=std).to(source.device),
        source=source,
        objective=method.objective(label_smoothing=label_smoothing),
        settings=settings,
        targets=asked,
        ranks=ranks,
    )
    history = train(trainer, data, folder=folder, key=key, patience=early_stop_epochs, listener=listener)
    made = _describe(trainer, data, card=card, method=method, history=history, soft=soft, folder=folder)
    ranks.wait()
    return made


def _describe(
    trainer: Trainer,
    data: Dataset,
    *,
    card: Card,
    method: Method,
    history: list[EpochStats],
    soft: "_Soft | None",
    folder: Path,
) -> Distilled:
    """Save the student, and say what it is worth: on the CPU and in float32, as it will be exported."""
    soft_entropy = None if soft is None else soft.entropy(trainer.objective, trainer.result)
    net = trainer.result.cpu()
    assert isinstance(net, network.Network)
    weights = folder / "student.safetensors"
    if trainer.ranks.first:
        network.save(net, weights, card)
    logits, test = (pixels.predict(net, part.inputs, CPU, kind=data.kind) for part in (data.validation, data.test))
    seconds = sum(epoch.seconds for epoch in history)
    exclusive = None if data.multi_label else data.test.known_labels
    test_map, test_micro_f1 = pixels.set_scores(test, data.test)
    return Distilled(
        weights=weights.name,
        sha256=sha256(weights) if trainer.ranks.first else "",  # another host may not see the file
        model=card.model,
        parameters=count_parameters(net),
        macs=network.macs(net, data.train.inputs[:1], kind=data.kind),
        method=method,
        history=tuple(history),
        validation_top1=pixels.top1(logits, data.validation),
        test_top1=pixels.top1(test, data.test),
        test_ece=None if exclusive is None else _ece(test, exclusive),
        test_predictions=pixels.decided(test, multi_label=data.multi_label),
        soft_entropy=soft_entropy,
        fixed_entropy=None if soft is None else soft.nats(FIXED_TEMPERATURE),
        seconds=seconds,
        images_per_second=len(history) * trainer.steps_per_epoch * trainer.batch_size / max(seconds, 1e-9),
        device=str(trainer.source.device),
        processes=trainer.ranks.world,
        precision=trainer.settings.precision,
        threads=torch.get_num_threads(),
        logit_sd=float(logits.std(dim=-1).mean()),
        logit_max=float(logits.abs().max()),
        validation_map=pixels.set_scores(logits, data.validation)[0],
        test_map=test_map,
        test_micro_f1=test_micro_f1,
    )


def _ece(logits: Tensor, labels: npt.NDArray[np.int64]) -> float:
    return calibration_error(logits.softmax(dim=-1).numpy(), labels)


class _Soft:
    """Evenly spaced training pictures, as the first view shows them, and what the teacher says of them."""

    def __init__(self, source: Source, targets: Targets, settings: Settings) -> None:
        count, self.multi_label = len(source.labels), source.labels.ndim == 2
        chosen = torch.from_numpy(np.linspace(0, count - 1, min(SOFT_LABELS, count), dtype=np.int64))
        indices = torch.split(chosen.to(source.device), settings.batch_size)
        view = draw(
            settings.augmentation,
            seed=settings.view_seed,
            view=0,
            samples=count,
            size=source.size,
            device=source.device,
        )
        stream = zip(indices, source.batches(view.needed(index) for index in indices), strict=True)
        self.inputs = [(index, view.inputs(raw, index)) for index, raw in stream]
        self.teacher = torch.cat([targets(0, index, inputs) for index, inputs in self.inputs])

    def entropy(self, objective: Objective, student: nn.Module) -> tuple[float, ...] | None:
        """Nats of each soft label under the objective's temperatures, which may depend on the student too."""
        logits = predict(student, torch.cat([inputs for _, inputs in self.inputs]))
        temperatures = objective.temperatures(logits, self.teacher.cpu())
        return None if temperatures is None else self.nats(temperatures[1])

    def nats(self, temperature: Tensor | float) -> tuple[float, ...]:
        """Of each soft label; of several classes a sample, the mean of each class's own."""
        measure = binary_entropy if self.multi_label else entropy
        return tuple(measure(self.teacher.cpu(), temperature).tolist())


def train(
    trainer: Trainer, data: Dataset, *, folder: Path, key: str, patience: int | None, listener: Listener
) -> list[EpochStats]:
    """The statistics of every epoch of a training that goes on where folder/checkpoints/last.pt left it.

    key: the hash of all that the result depends on; patience: epochs without a better validation, None for none.
    """
    run = _Training(trainer, folder / "checkpoints" / "last.pt", key=key, listener=listener)
    device = trainer.source.device
    validation = pixels.ready(data.validation.inputs, device, kind=data.kind)
    while trainer.epoch < trainer.settings.epochs and not _stalled(run.history, patience):
        stats = run.epoch()
        # Batch norm's running statistics differ between processes: rank 0's become the student.
        precision = trainer.settings.precision
        logits = pixels.predict(trainer.result, validation, device, kind=data.kind, precision=precision)
        stats = replace(
            stats,
            validation_top1=trainer.ranks.agreed(pixels.top1(logits, data.validation)),
            validation_map=trainer.ranks.agreed(pixels.set_scores(logits, data.validation)[0]),
        )
        run.finish(stats)
    return run.history


def _stalled(history: Sequence[EpochStats], patience: int | None) -> bool:
    """Whether validation accuracy, or mean average precision, has not risen for `patience` epochs."""
    tops = [epoch.validation_top1 or epoch.validation_map or 0.0 for epoch in history]
    return patience is not None and len(tops) > patience and max(tops[-patience:]) <= max(tops[:-patience])


class _Training:
    """A trainer with its checkpoint file, its history and whoever listens."""

    def __init__(self, trainer: Trainer, path: Path, *, key: str, listener: Listener) -> None:
        self.trainer, self.path, self.key, self.listener = trainer, path, key, listener
        self.history: list[EpochStats] = []
        self.seconds_before = 0.0
        state = None
        if trainer.ranks.first:
            path.parent.mkdir(parents=True, exist_ok=True)
            state = checkpoint.load(path, key=key)
        state = trainer.ranks.agreed(state)  # another host may not see the file
        if state is not None:
            trainer.load_state(state)
            self.history = [EpochStats(**epoch) for epoch in state["history"]]
            self.seconds_before = float(state["seconds"])
        self.saved = self.started = time.perf_counter()
        within = f", step {trainer.step}" if trainer.step else ""
        note = "" if state is None else f"resumed after epoch {trainer.epoch}{within}"
        self.tell(trainer.epoch + trainer.step / trainer.steps_per_epoch, note)

    def epoch(self) -> EpochStats:
        """The rest of an epoch, its training time included, that of a run it resumed too."""
        self.saved = self.started = time.perf_counter()
        stats = self.trainer.run_epoch(self.on_step)
        return replace(stats, seconds=self.seconds_before + time.perf_counter() - self.started)

    def on_step(self, step: int, loss: float) -> None:
        """Say how far it is, and now and then write a checkpoint."""
        now = time.perf_counter()
        # Alone only: within an epoch each of several processes has sums of its own.
        if now - self.saved > CHECKPOINT_SECONDS and self.trainer.ranks.world == 1:
            self.save(seconds=self.seconds_before + now - self.started)
            self.saved = now
        self.tell(self.trainer.epoch + step / self.trainer.steps_per_epoch, _note(self.history, loss))

    def finish(self, stats: EpochStats) -> None:
        """Take in a whole epoch."""
        self.history.append(stats)
        self.seconds_before = 0.0
        self.save(seconds=0.0)
        self.tell(self.trainer.epoch, _note(self.history, stats.loss))

    def save(self, *, seconds: float) -> None:
        """Write the checkpoint; `seconds` of the epoch that is not finished."""
        if self.trainer.ranks.first:
            state: dict[str, Any] = {**self.trainer.state(), "seconds": seconds}
            checkpoint.save(self.path, {**state, "history": [asdict(epoch) for epoch in self.history]}, key=self.key)

    def tell(self, done: float, note: str) -> None:
        """Progress in epochs."""
        self.listener(Progress(stage="distill", done=done, total=self.trainer.settings.epochs, note=note))


def _note(history: Sequence[EpochStats], loss: float) -> str:
    parts = [f"loss {loss:.3f}"]
    if history:
        last = history[-1]
        if last.kl is not None:
            parts.append(f"KL {last.kl:.4f}")
        if last.teacher_entropy_mean is not None:
            parts.append(f"teacher entropy {last.teacher_entropy_mean:.3f} ± {last.teacher_entropy_sd:.3f}")
        if last.skipped:
            parts.append(f"{last.skipped} steps skipped")
        if last.validation_top1 is not None:
            parts.append(f"validation {last.validation_top1:.1%}")
        if last.validation_map is not None:
            parts.append(f"validation mAP {last.validation_map:.1%}")
    return " · ".join(parts)
