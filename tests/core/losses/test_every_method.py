"""What holds for all losses: values and gradients of a float64 reference, masks, precision, refusals."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekd.core import losses
from edgekd.errors import BadInputError

from . import reference
from .example import gradient, random_logits
from .reference import Reference

Loss = Callable[..., Tensor]


def without_teacher(student: Tensor, teacher: Tensor, labels: Tensor, **common: object) -> Tensor:
    return losses.cross_entropy(student, labels, **common)  # type: ignore[arg-type]


CASES: dict[str, tuple[Loss, Reference]] = {
    "ce": (without_teacher, reference.ce),
    "kd": (partial(losses.kd, temperature=2.5), reference.kd),
    "cist": (partial(losses.cist, rho=1.3), reference.cist),
    "entropy": (partial(losses.entropy_kd, target_nats=1.1, student_floor=0.0), reference.entropy_kd),
    "dkd": (partial(losses.dkd, temperature=2.5), reference.dkd),
    "dkd+cist": (partial(losses.dkd_cist, rho=1.3), reference.dkd_cist),
    "lskd": (losses.lskd, reference.lskd),
    "normkd": (losses.norm_kd, reference.norm_kd),
    "dtkd": (partial(losses.dtkd, temperature=2.5), reference.dtkd),
    "ctkd": (partial(losses.ctkd, theta=torch.tensor([reference.THETA]), reversal=1.0), reference.ctkd),
    "ats": (losses.ats, reference.ats),
    "ttm": (losses.ttm, reference.ttm),
    "wttm": (losses.wttm, reference.wttm),
    "dist": (partial(losses.dist, temperature=2.5), reference.dist),
    "mse": (partial(losses.mse, ce_weight=0.3), reference.mse),
    "spherical": (partial(losses.spherical_kd, temperature=2.5), reference.spherical),
}
ONE_CLASS = {"dkd", "dkd+cist", "ats"}
every = pytest.mark.parametrize(("loss", "wanted"), CASES.values(), ids=CASES)
each = pytest.mark.parametrize("name", CASES)
# Rows of different width, so that some lie at CIST's floor.
WIDTH = torch.tensor([0.2, 2.0, 1.0, 2.0, 0.3, 3.0])[:, None]
STUDENT, TEACHER = random_logits(1, scale=1.5, shape=(6, 5)) * WIDTH, random_logits(2, scale=1.5, shape=(6, 5)) * WIDTH
LABELS = torch.tensor([0, 1, 2, 4, 3, 0])


@every
def test_the_value_is_that_of_the_float64_reference(loss: Loss, wanted: Reference) -> None:
    s, t, y = STUDENT.double().numpy(), TEACHER.double().numpy(), LABELS.numpy().astype(np.float64)
    # Float32 sums; entropy_kd's temperatures are solved to 1e-5 nats.
    assert loss(STUDENT, TEACHER, LABELS).item() == pytest.approx(wanted(s, t, y, s), rel=1e-4)


@every
def test_the_gradient_is_the_reference_by_finite_differences(loss: Loss, wanted: Reference) -> None:
    s, t, y = STUDENT.double().numpy(), TEACHER.double().numpy(), LABELS.numpy().astype(np.float64)
    slopes = reference.slopes(wanted, s, t, y)
    found = gradient(lambda z: loss(z, TEACHER, LABELS), STUDENT)
    # Float32 sums of terms as large as the largest slope.
    np.testing.assert_allclose(found.numpy(), slopes, rtol=1e-3, atol=5e-5 * np.abs(slopes).max())


def test_the_example_has_samples_on_and_off_the_floor_of_cist() -> None:
    for logits in (STUDENT, TEACHER):
        tau = reference.ratio(logits.double().numpy(), 1.3)
        assert tau.min() == 1.0
        assert tau.max() > 1.5


@each
def test_tokens_with_a_mask_are_the_kept_rows_and_padding_may_hold_anything(name: str) -> None:
    loss, _ = CASES[name]
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    student, teacher = torch.full((3, 3, 5), torch.nan), torch.full((3, 3, 5), torch.inf)
    labels = torch.full((3, 3), -100)
    student[mask], teacher[mask], labels[mask] = STUDENT, TEACHER, LABELS
    found = loss(student, teacher, labels, mask=mask, label_smoothing=0.1)
    assert torch.equal(found, loss(STUDENT, TEACHER, LABELS, label_smoothing=0.1))
    slopes = gradient(lambda z: loss(z, teacher, labels, mask=mask), student)
    assert torch.equal(slopes[mask], gradient(lambda z: loss(z, TEACHER, LABELS), STUDENT))
    assert not slopes[~mask].any()


@each
def test_tokens_without_a_mask_are_rows(name: str) -> None:
    loss, _ = CASES[name]
    found = loss(STUDENT.reshape(2, 3, 5), TEACHER.reshape(2, 3, 5), LABELS.reshape(2, 3))
    assert torch.equal(found, loss(STUDENT, TEACHER, LABELS))


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_low_precision_logits_are_computed_in_float32(name: str, dtype: torch.dtype, autocast: bool) -> None:
    loss, _ = CASES[name]
    student, teacher = STUDENT.to(dtype), TEACHER.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = loss(student, teacher, LABELS)
    assert found.dtype == torch.float32
    assert found.shape == ()
    assert torch.equal(found, loss(student.float(), teacher.float(), LABELS))


@each
def test_the_teacher_gets_no_gradient(name: str) -> None:
    loss, _ = CASES[name]
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    loss(student, teacher, LABELS).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert teacher.grad is None


@each
def test_offsets_of_either_network_change_nothing_but_the_error_between_logits(name: str) -> None:
    loss, _ = CASES[name]
    offsets = torch.tensor([[64.0], [-32.0], [128.0], [0.0], [16.0], [-256.0]])
    moved, still = loss(STUDENT + offsets, TEACHER - 2 * offsets, LABELS), loss(STUDENT, TEACHER, LABELS)
    if name == "mse":
        assert moved > 100 * still
    else:
        # An offset of 512 costs a float32 logit nine of its 24 bits: an error of 3e-5 a logit.
        torch.testing.assert_close(moved, still, rtol=1e-3, atol=1e-3)


@each
def test_constant_and_extreme_logits_give_a_finite_loss_and_gradient(name: str) -> None:
    loss, _ = CASES[name]
    constant, sure = torch.full((6, 5), 2.0), torch.eye(5)[[0, 1, 2, 3, 4, 0]] * 3e3
    pairs = ((constant, TEACHER), (STUDENT, constant), (constant, constant), (sure, -sure), (-sure, sure))
    for student, teacher in pairs:
        assert loss(student, teacher, LABELS).isfinite()
        assert gradient(lambda z, teacher=teacher: loss(z, teacher, LABELS), student).isfinite().all()  # type: ignore[misc]


@each
def test_one_hot_probabilities_are_class_numbers_unless_the_method_needs_one_class(name: str) -> None:
    loss, _ = CASES[name]
    one_hot = torch.eye(5)[LABELS]
    if name in ONE_CLASS:
        with pytest.raises(BadInputError, match="one true class"):
            loss(STUDENT, TEACHER, one_hot)
    else:
        torch.testing.assert_close(loss(STUDENT, TEACHER, one_hot), loss(STUDENT, TEACHER, LABELS))
        mixed = 0.3 * one_hot + 0.7 * one_hot.flip(0)
        whole = 0.3 * loss(STUDENT, TEACHER, LABELS) + 0.7 * loss(STUDENT, TEACHER, LABELS.flip(0))
        torch.testing.assert_close(loss(STUDENT, TEACHER, mixed), whole, rtol=1e-4, atol=1e-5)


@each
def test_label_smoothing_is_the_smoothed_label(name: str) -> None:
    loss, _ = CASES[name]
    if name in ONE_CLASS:
        moved = loss(STUDENT, TEACHER, LABELS, label_smoothing=0.2) - loss(STUDENT, TEACHER, LABELS)
        smooth, sharp = (losses.cross_entropy(STUDENT, LABELS, label_smoothing=s) for s in (0.2, 0.0))
        torch.testing.assert_close(moved, (0.5 if name == "ats" else 1.0) * (smooth - sharp), rtol=1e-3, atol=1e-4)
    else:
        smoothed = 0.8 * torch.eye(5)[LABELS] + 0.2 / 5
        found = loss(STUDENT, TEACHER, LABELS, label_smoothing=0.2)
        torch.testing.assert_close(found, loss(STUDENT, TEACHER, smoothed), rtol=1e-5, atol=1e-5)


BAD_NUMBERS = [
    (losses.kd, {"temperature": 0.0}),
    (losses.kd, {"temperature": float("nan")}),
    (losses.kd, {"kd_weight": -1.0}),
    (losses.kd, {"ce_weight": -0.1}),
    (losses.cist, {"rho": 0.0}),
    (losses.cist, {"rho": float("inf")}),
    (losses.cist, {"kd_weight": -8.0}),
    (losses.entropy_kd, {"target_nats": 0.0}),
    (losses.entropy_kd, {"target_nats": 2.0}),  # above ln 5
    (losses.entropy_kd, {"target_nats": 1.0, "kd_weight": -1.0}),
    (losses.dkd, {"temperature": -4.0}),
    (losses.dkd, {"tckd_weight": -1.0}),
    (losses.dkd, {"nckd_weight": float("inf")}),
    (losses.dkd, {"kd_weight": float("nan")}),
    (losses.dkd_cist, {"rho": -1.0}),
    (losses.dkd_cist, {"nckd_weight": -1.0}),
    (losses.lskd, {"temperature": 0.0}),
    (losses.lskd, {"kd_weight": -1.0}),
    (losses.norm_kd, {"temperature": 0.0}),
    (losses.norm_kd, {"kd_weight": -1.0}),
    (losses.dtkd, {"temperature": 0.0}),
    (losses.dtkd, {"fixed_weight": -1.0}),
    (losses.ctkd, {"theta": torch.ones(1), "reversal": -1.0}),
    (losses.ctkd, {"theta": torch.ones(2), "reversal": 1.0}),
    (losses.ats, {"temperature": 0.0}),
    (losses.ats, {"other_temperature": -2.0}),
    (losses.ttm, {"temperature": 0.0}),
    (losses.wttm, {"kd_weight": -1.0}),
    (losses.dist, {"temperature": 0.0}),
    (losses.mse, {"kd_weight": -1.0}),
    (losses.spherical_kd, {"temperature": 0.0}),
    (losses.kd, {"label_smoothing": 1.0}),
    (losses.cist, {"label_smoothing": -0.1}),
]


@pytest.mark.parametrize(("loss", "knobs"), BAD_NUMBERS)
def test_numbers_out_of_range_are_refused(loss: Loss, knobs: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match="expected"):
        loss(STUDENT, TEACHER, LABELS, **knobs)
