"""What a loss accepts: logits, labels and a token mask as rows of one class distribution each, and sane numbers.

Nothing here reads a tensor's values, so no check waits for a GPU; only a mask does, once, to know how many rows it
keeps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.errors import BadInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The samples, or kept tokens, of a batch.

    student: (rows, K) float32, with gradient. teacher: (rows, K) float32, without. labels: (rows,) int64 class numbers,
    or (rows, K) float32 class probabilities.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor


def rows(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Rows:
    """The rows that `mask` keeps, all without one: padding is dropped before any arithmetic, NaN in it does no harm.

    logits: (..., K), any float; labels: (...) int64, or (..., K) float class probabilities; mask: (...) bool. Float32
    is taken here, so autocast and half-precision logits change no temperature, maximum or divergence that follows.

    Raises:
        BadInputError: shapes or dtypes that do not belong together, fewer than 2 classes, or no row to learn from.
    """
    if student_logits.shape != teacher_logits.shape:
        raise BadInputError(
            f"the student's logits are {_shape(student_logits)}, the teacher's {_shape(teacher_logits)}; expected the "
            "same batch and classes. Give both networks the same classes in the same order"
        )
    take = _selection(student_logits, labels, mask)
    return Rows(
        student=take(student_logits).float(), teacher=take(teacher_logits.detach()).float(), labels=_taken(labels, take)
    )


def label_rows(student_logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The student's rows and their labels, for losses without a teacher; otherwise as `rows`."""
    take = _selection(student_logits, labels, mask)
    return take(student_logits).float(), _taken(labels, take)


def _taken(labels: Tensor, take: Callable[[Tensor], Tensor]) -> Tensor:
    return take(labels).float() if labels.is_floating_point() else take(labels)


def _selection(logits: Tensor, labels: Tensor, mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    """A function from (..., rest) to (rows, rest)."""
    _check(logits, labels, mask)
    leading = logits.ndim - 1
    index = None if mask is None else mask.flatten().nonzero().squeeze(-1)
    if logits[..., 0].numel() == 0 or (index is not None and len(index) == 0):
        raise BadInputError(
            "no row to learn from: the batch is empty or its mask keeps nothing; leave such batches out"
        )

    def take(values: Tensor) -> Tensor:
        flat = values.flatten(0, leading - 1)
        return flat if index is None else flat.index_select(0, index)

    return take


def _check(logits: Tensor, labels: Tensor, mask: Tensor | None) -> None:
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise BadInputError(
            f"logits are {_shape(logits)}; expected (batch, K) or (batch, tokens, K) with K of at least 2"
        )
    wanted = logits.shape if labels.is_floating_point() else logits.shape[:-1]
    if labels.shape != wanted or not (labels.is_floating_point() or labels.dtype == torch.int64):
        raise BadInputError(
            f"labels are {_shape(labels)} beside logits {_shape(logits)}; expected class numbers, int64 "
            f"{tuple(logits.shape[:-1])}, or class probabilities, float {tuple(logits.shape)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != logits.shape[:-1]):
        raise BadInputError(
            f"the mask is {_shape(mask)}; expected bool {tuple(logits.shape[:-1])}, true where to learn"
        )


def _shape(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"


def one_class(labels: Tensor) -> None:
    """Refuse class probabilities, for methods that treat the true class apart.

    Raises:
        BadInputError: the labels are not class numbers.
    """
    if labels.is_floating_point():
        raise BadInputError(
            "labels are class probabilities, and this method needs one true class a sample; switch mixup and cutmix "
            "off, or take a method such as 'kd' or 'cist'"
        )


def positive(**numbers: float) -> None:
    """Refuse what is not positive and finite; the name of the argument goes into the message.

    Raises:
        BadInputError: one of the numbers is zero, negative, infinite or NaN.
    """
    for name, value in numbers.items():
        if not (value > 0 and math.isfinite(value)):
            raise BadInputError(f"{name} is {value}; expected a positive finite number, leave it out for the default")


def not_negative(**numbers: float) -> None:
    """Refuse weights and the like that are negative or not finite.

    Raises:
        BadInputError: one of the numbers is negative, infinite or NaN.
    """
    for name, value in numbers.items():
        if not (value >= 0 and math.isfinite(value)):
            raise BadInputError(
                f"{name} is {value}; expected 0 or a positive finite number, leave it out for the default"
            )
