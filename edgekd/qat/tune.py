"""Fine-tunes a trained student with fake quantization, its teacher and adaptive temperature still attached."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from edgekd import distill, pixels
from edgekd.core.epoch import EpochStats
from edgekd.core.forward import Targets
from edgekd.core.optimizer import Settings
from edgekd.core.source import Source
from edgekd.core.trainer import Trainer
from edgekd.data import Dataset
from edgekd.distill import Method
from edgekd.errors import BadInputError
from edgekd.network import Network
from edgekd.progress import Listener, Progress, silent
from edgekd.qat.fake import FakeQuantized, prepare

CLIP_NORM = 1.0
"""Of the gradient, where the recipe has none: with batch norms folded, one bad step can carry a student away."""

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A student fine-tuned with fake quantization; `edgekd.qat.export_qdq` makes a file of `network`.

    before_top1, validation_top1: on validation, fake-quantized, calibrated only and after training; a fraction, None
    without labels. before_map, validation_map: mean average precision, of a multi-label task instead.
    method: the objective with its numbers, `match_fixed` resolved.
    """

    network: Network
    weight_bits: int
    safe: bool
    method: Method
    settings: Settings
    history: tuple[EpochStats, ...]
    before_top1: float | None
    validation_top1: float | None
    before_map: float | None = None
    validation_map: float | None = None


def settings_for(training: Settings, *, epochs: int, learning_rate: float) -> Settings:
    """The student's own training settings, for a few epochs at a small rate that falls to zero along a cosine.

    In float32: fake quantization rounds values that bfloat16 cannot tell apart.
    """
    return replace(
        training,
        epochs=epochs,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup_epochs=0.0,
        milestones=(),
        clip_norm=training.clip_norm or CLIP_NORM,
        ema_decay=None,
        precision="fp32",
        compile=False,
    )


def fine_tune(
    network: Network,
    data: Dataset,
    source: Source,
    *,
    method: Method,
    settings: Settings,
    folder: Path,
    key: str,
    targets: Targets | None = None,
    weight_bits: int = 8,
    safe: bool = False,
    label_smoothing: float = 0.0,
    listener: Listener = silent,
) -> Tuned:
    """Train a copy of the trained `network` with fake quantization; checkpoints go to folder/qat, resumable.

    source: the training split on its device. method, targets, label_smoothing: as in `edgekd.distill.distill`; targets
    may be the teacher or its cached logits. settings: see `settings_for`. key: the hash of all that the result depends
    on. weight_bits: 8 or 4, stored as int8 either way. safe: 7-bit weights, see `edgekd.qat.quantizer.weight_range`.
    Ranges start from the calibration split; those of activations follow the data in the first half of the epochs and
    stay fixed in the second, so that the weights settle on the scales that ship.

    Raises:
        BadInputError: no teacher for a method that needs one, a network that cannot be captured, other weight_bits, or
            what the training loop raises.
        EnvironmentFault: torchao is missing.
    """
    if weight_bits not in (4, 8):
        raise BadInputError(f"weight_bits is {weight_bits}; expected 8 or 4")
    if method.name != "ce" and targets is None:
        raise BadInputError(f"method '{method.name}' learns from a teacher, and there is none; name one, or take 'ce'")
    if "match_fixed" in method.knobs:
        raise BadInputError(
            "method 'entropy' has match_fixed unresolved; pass the method that the student learned with"
        )
    images = pixels.to_tensor(data.calibration.inputs, CPU, kind=data.kind)
    student = prepare(network, images, weight_bits=weight_bits, safe=safe)
    raw = pixels.predict(student, data.validation.inputs, CPU, kind=data.kind)
    trainer = _Freezing(
        student.to(source.device),
        source=source,
        objective=method.objective(label_smoothing=label_smoothing),
        settings=settings,
        targets=None if method.name == "ce" else targets,
    )
    history = distill.train(trainer, data, folder=folder / "qat", key=key, patience=None, listener=_renamed(listener))
    student = student.cpu().eval()
    logits = pixels.predict(student, data.validation.inputs, CPU, kind=data.kind)
    return Tuned(
        network=student,
        weight_bits=weight_bits,
        safe=safe,
        method=method,
        settings=settings,
        history=tuple(history),
        before_top1=pixels.top1(raw, data.validation),
        validation_top1=pixels.top1(logits, data.validation),
        before_map=pixels.set_scores(raw, data.validation)[0],
        validation_map=pixels.set_scores(logits, data.validation)[0],
    )


class _Freezing(Trainer):
    """The training loop; in the second half of its epochs activations keep their ranges."""

    def run_epoch(self, on_step: Callable[[int, float], None] = lambda step, loss: None) -> EpochStats:
        """See `Trainer.run_epoch`."""
        body = self.student.body
        assert isinstance(body, FakeQuantized)
        body.freeze(self.epoch >= (self.settings.epochs + 1) // 2)
        return super().run_epoch(on_step)


def _renamed(listener: Listener) -> Listener:
    def tell(progress: Progress) -> None:
        listener(replace(progress, stage="qat"))

    return tell
