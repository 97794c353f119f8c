"""What losses accept: which rows are kept, and what is refused with which words."""

import pytest
import torch
from torch import Tensor

from edgekd.core.losses import cross_entropy, kd
from edgekd.core.losses.inputs import label_rows, not_negative, positive, rows
from edgekd.errors import BadInputError

from .example import LABELS, STUDENT, TEACHER, random_logits


def test_without_a_mask_rows_are_the_batch_in_float32_and_the_teacher_is_detached() -> None:
    student, teacher = STUDENT.half().requires_grad_(), TEACHER.clone().requires_grad_()
    batch = rows(student, teacher, LABELS)
    assert batch.student.dtype == batch.teacher.dtype == torch.float32
    assert batch.student.requires_grad
    assert not batch.teacher.requires_grad
    assert torch.equal(batch.labels, LABELS)


def test_a_mask_keeps_tokens_in_order_and_their_class_probabilities() -> None:
    student, mask = random_logits(0, shape=(2, 3, 4)), torch.tensor([[True, False, True], [False, True, False]])
    labels = random_logits(1, shape=(2, 3, 4)).softmax(dim=-1).double()
    logits, kept = label_rows(student, labels, mask)
    assert torch.equal(logits, student[mask])
    assert torch.equal(kept, labels[mask].float())


def test_a_batch_may_be_masked_too() -> None:
    found = kd(STUDENT, TEACHER, LABELS, mask=torch.tensor([True, False]))
    assert torch.equal(found, kd(STUDENT[:1], TEACHER[:1], LABELS[:1]))


def test_a_label_of_minus_100_is_no_silent_mask() -> None:
    with pytest.raises(IndexError):
        cross_entropy(STUDENT, torch.tensor([0, -100]))


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "mask", "message"),
    [
        (
            STUDENT,
            torch.zeros(2, 4),
            LABELS,
            None,
            r"student's logits are float32 \(2, 3\), the teacher's float32 \(2, 4\)",
        ),
        (STUDENT, TEACHER[:1], LABELS, None, "expected the same batch and classes"),
        (STUDENT[0], TEACHER[0], LABELS, None, r"expected \(batch, K\)"),
        (torch.zeros(2, 1), torch.zeros(2, 1), LABELS, None, "K of at least 2"),
        (
            STUDENT,
            TEACHER,
            LABELS[:1],
            None,
            r"labels are int64 \(1,\).*int64 \(2,\), or class probabilities, float \(2, 3\)",
        ),
        (STUDENT, TEACHER, LABELS.int(), None, "labels are int32"),
        (STUDENT, TEACHER, LABELS.float(), None, r"labels are float32 \(2,\)"),
        (STUDENT, TEACHER, LABELS, torch.ones(2, 3, dtype=torch.bool), "the mask is bool"),
        (STUDENT, TEACHER, LABELS, torch.ones(2), "the mask is float32"),
        (STUDENT, TEACHER, LABELS, torch.zeros(2, dtype=torch.bool), "its mask keeps nothing"),
        (STUDENT[:0], TEACHER[:0], LABELS[:0], None, "the batch is empty"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor | None, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        kd(student, teacher, labels, mask=mask)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_number_is_refused_by_its_name(value: float) -> None:
    with pytest.raises(BadInputError, match=f"rho is {value}; expected a positive finite number"):
        positive(temperature=1.0, rho=value)
    with pytest.raises(BadInputError, match=f"kd_weight is {value}; expected 0 or a positive"):
        not_negative(ce_weight=0.0, kd_weight=value)
    with pytest.raises(BadInputError, match="temperature is 0"):
        positive(temperature=0)
