"""Every method behind one small interface: a name and its numbers make an `Objective`.

A method's knobs and their defaults are the keyword arguments of its loss, so this file repeats none of them.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.core import losses
from edgekd.core.losses.inputs import not_negative, positive
from edgekd.errors import BadInputError, nearest

METHODS: dict[str, Callable[..., Tensor]] = {
    "ce": losses.cross_entropy,
    "kd": losses.kd,
    "cist": losses.cist,
    "entropy": losses.entropy_kd,
    "dkd": losses.dkd,
    "dkd+cist": losses.dkd_cist,
    "lskd": losses.lskd,
    "normkd": losses.norm_kd,
    "dtkd": losses.dtkd,
    "ctkd": losses.ctkd,
    "ats": losses.ats,
    "ttm": losses.ttm,
    "wttm": losses.wttm,
    "dist": losses.dist,
    "mse": losses.mse,
    "spherical": losses.spherical_kd,
}
"""Name -> loss(student_logits, teacher_logits, labels, *, knobs, mask, label_smoothing); `ce` takes no teacher."""

TEMPERATURES: dict[str, tuple[Callable[..., tuple[Tensor, Tensor]], tuple[str, ...]]] = {
    "kd": (losses.fixed_temperatures, ("temperature",)),
    "cist": (losses.cist_temperatures, ("rho",)),
    "entropy": (losses.entropy_temperatures, ("target_nats", "student_floor")),
    "dkd": (losses.fixed_temperatures, ("temperature",)),
    "dkd+cist": (losses.cist_temperatures, ("rho",)),
    "lskd": (losses.standard_temperatures, ("temperature",)),
    "normkd": (losses.standard_temperatures, ("temperature",)),
    "dtkd": (losses.dtkd_temperatures, ("temperature",)),
    "ctkd": (losses.learned_temperatures, ("theta",)),
    "ttm": (losses.transformed_temperatures, ("temperature",)),
    "wttm": (losses.transformed_temperatures, ("temperature",)),
    "dist": (losses.fixed_temperatures, ("temperature",)),
    "spherical": (losses.spherical_temperatures, ("temperature",)),
}
"""Name -> the function that gives (tau_s, tau_t), and the knobs it takes.

Not here: `ce` and `mse` temper nothing, and `ats` has two temperatures within a sample.
"""

BINARY: dict[str, Callable[..., Tensor]] = {
    "ce": losses.binary_cross_entropy,
    "kd": losses.binary_kd,
    "cist": losses.binary_cist,
    "entropy": losses.binary_entropy_kd,
}
"""The methods that have a form for multi-label tasks, with it: (batch, K) labels, and no mask or label smoothing."""

BINARY_TEMPERATURES: dict[str, tuple[Callable[..., tuple[Tensor, Tensor]], tuple[str, ...]]] = {
    "kd": (losses.fixed_temperatures, ("temperature",)),
    "cist": (losses.binary_cist_temperatures, ("rho",)),
    "entropy": (losses.binary_entropy_kd_temperatures, ("target_nats", "student_floor")),
}
"""As `TEMPERATURES`, of `BINARY`."""

NEED_EVERY_LABEL = ("dkd", "dkd+cist", "ats")
"""Methods that treat the true class apart, and so cannot learn from a sample without a label."""

COMMON = frozenset({"mask", "label_smoothing", "class_weights", "positive_weights", "theta", "reversal"})
"""Keyword arguments of losses that are no knobs: what a batch or the objective itself brings."""

REVERSAL_EPOCHS = 10.0
"""CTKD: epochs in which the reversed gradient grows to its full size."""


class Objective(nn.Module):
    """A method with its numbers set: what the trainer minimises. See `build`.

    name: of METHODS. knobs: every number of the method, defaults filled in. multi_label: whether a sample may have
    several classes; class_weights then count for the samples that have the class.
    """

    class_weights: Tensor | None
    multi_label: bool = False

    def __init__(
        self,
        name: str,
        knobs: Mapping[str, float],
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.knobs, self.label_smoothing = name, dict(knobs), label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)  # the recipe has them, no checkpoint needs to

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        *,
        epoch: float = 0.0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar float32 with gradient.

        logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; epoch: as
        a fraction, 2.5 is half way through the third; mask: bool (batch, tokens).

        Raises:
            BadInputError: no teacher logits for a method that learns from them, or what its loss refuses.
        """
        if self.multi_label:
            return self._binary(student_logits, teacher_logits, labels, epoch)
        if self.name == "ce":
            return losses.cross_entropy(
                student_logits,
                labels,
                mask=mask,
                label_smoothing=self.label_smoothing,
                class_weights=self.class_weights,
            )
        if teacher_logits is None:
            raise self._untaught()
        return METHODS[self.name](
            student_logits,
            teacher_logits,
            labels,
            mask=mask,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            **self.arguments(epoch),
        )

    def _binary(self, student: Tensor, teacher: Tensor | None, labels: Tensor, epoch: float) -> Tensor:
        if self.name == "ce":
            return losses.binary_cross_entropy(student, labels, positive_weights=self.class_weights)
        if teacher is None:
            raise self._untaught()
        own = self.arguments(epoch)
        return BINARY[self.name](student, teacher, labels, positive_weights=self.class_weights, **own)

    def _untaught(self) -> BadInputError:
        return BadInputError(f"method '{self.name}' learns from a teacher, and there are no teacher logits; take 'ce'")

    @torch.no_grad()
    def temperatures(self, student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor] | None:
        """(tau_s, tau_t) of each sample, for logs: (batch,) or (batch, tokens) float32, no gradient.

        None where the method has none.
        """
        known = BINARY_TEMPERATURES if self.multi_label else TEMPERATURES
        if self.name not in known:
            return None
        function, own = known[self.name]
        arguments = self.arguments(0.0)
        return function(student_logits, teacher_logits, **{knob: arguments[knob] for knob in own})

    def arguments(self, epoch: float) -> dict[str, Any]:
        """The keyword arguments of the loss at this epoch."""
        return dict(self.knobs)


class WarmedUp(Objective):
    """DKD: the distillation term grows from 0 over the first `warmup_epochs`."""

    def arguments(self, epoch: float) -> dict[str, Any]:
        """The loss's own knobs, kd_weight as far as it has grown."""
        knobs = dict(self.knobs)
        warmup = knobs.pop("warmup_epochs")
        grown = min(epoch / warmup, 1.0) if warmup > 0 else 1.0
        return knobs | {"kd_weight": knobs["kd_weight"] * grown}


class Learned(Objective):
    """CTKD: the temperature is a parameter, learned against the student by the same optimiser."""

    def __init__(
        self,
        name: str,
        knobs: Mapping[str, float],
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(name, knobs, label_smoothing=label_smoothing, class_weights=class_weights)
        self.theta = nn.Parameter(torch.ones(1))  # the authors' start: T = 1 + 20 sigmoid(1) = 15.6

    def arguments(self, epoch: float) -> dict[str, Any]:
        """The loss's own knobs, theta, and the reversal, which rises from 0 to 1 along a cosine in 10 epochs."""
        reversal = (1.0 - math.cos(math.pi * min(epoch / REVERSAL_EPOCHS, 1.0))) / 2.0
        return {**self.knobs, "theta": self.theta, "reversal": reversal}


OBJECTIVES: dict[str, type[Objective]] = {"dkd": WarmedUp, "ctkd": Learned}
"""Methods that change with the epoch."""


def build(
    name: str,
    knobs: Mapping[str, float] | None = None,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    multi_label: bool = False,
) -> Objective:
    """The objective of a method: its defaults with `knobs` over them. class_weights: of the label term, one a class.

    multi_label: in its form for samples that may have several classes, where it has one.

    Raises:
        BadInputError: an unknown method or knob, a knob without default that is not given, or a number out of range.
    """
    given, known = dict(knobs or {}), _knobs(name, multi_label)
    if multi_label and label_smoothing:
        raise BadInputError("label_smoothing spreads one class over all; of a multi-label task set it to 0")
    for knob in given:
        if knob not in known:
            taken = ", ".join(known) or "none"
            raise BadInputError(f"method '{name}' has no knob '{knob}'{nearest(knob, list(known))}; it takes: {taken}")
    missing = [knob for knob, default in known.items() if default is None and knob not in given]
    if missing:
        raise BadInputError(f"method '{name}' needs {missing[0]}, which has no default; set it")
    numbers = defaults(name, multi_label=multi_label) | given
    for knob, value in numbers.items():
        (not_negative if knob.endswith(("_weight", "_epochs", "_floor")) else positive)(**{knob: value})
    made = OBJECTIVES.get(name, Objective)
    objective = made(name, numbers, label_smoothing=label_smoothing, class_weights=class_weights)
    objective.multi_label = multi_label
    return objective


def defaults(name: str, *, multi_label: bool = False) -> dict[str, float]:
    """The knobs of a method that have a default, with it; `target_nats` of `entropy` has none.

    Raises:
        BadInputError: an unknown method.
    """
    return {knob: default for knob, default in _knobs(name, multi_label).items() if default is not None}


def check_multi_label(name: str) -> None:
    """Refuse a method without a form for multi-label tasks. Raises BadInputError."""
    if name not in BINARY:
        raise BadInputError(
            f"method '{name}' tells exclusive classes apart, and the task is multi-label; take one of: "
            f"{', '.join(BINARY)}"
        )


def _knobs(name: str, multi_label: bool) -> dict[str, float | None]:
    """Knob -> default, None where it must be given."""
    if name not in METHODS:
        raise BadInputError(f"unknown method '{name}'{nearest(name, list(METHODS))}; known: {', '.join(METHODS)}")
    if multi_label:
        check_multi_label(name)
    arguments = inspect.signature((BINARY if multi_label else METHODS)[name]).parameters.values()
    own = [a for a in arguments if a.kind is a.KEYWORD_ONLY and a.name not in COMMON]
    knobs: dict[str, float | None] = {a.name: None if a.default is a.empty else a.default for a in own}
    return knobs | ({"warmup_epochs": 0.0} if name == "dkd" else {})
