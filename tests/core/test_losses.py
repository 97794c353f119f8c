"""Losses: numbers worked by hand, gradients from the formula, and an independent float64 reference."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from edgekd.core.losses import Loss, cist, cross_entropy, divergence, kd
from edgekd.core.temperature import max_logit_temperature

Array = npt.NDArray[np.float64]

LN2 = math.log(2.0)
# With logits of multiples of ln 2, every probability of the 2x3 example is a fraction.
STUDENT = torch.tensor([[LN2, 0.0, 0.0], [0.0, 2 * LN2, 0.0]])
TEACHER = torch.tensor([[2 * LN2, 0.0, 0.0], [0.0, LN2, 0.0]])
LABELS = torch.tensor([0, 2])
# Softmax rows: student (1/2, 1/4, 1/4), (1/6, 2/3, 1/6); teacher (2/3, 1/6, 1/6), (1/4, 1/2, 1/4).
# CE = (ln 2 + ln 6) / 2.
CE = math.log(12) / 2


def random_logits(seed: int, *, scale: float = 5.0, shape: tuple[int, int] = (6, 10)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def test_cross_entropy_of_the_worked_example() -> None:
    loss = cross_entropy(STUDENT, LABELS)
    assert loss.total.item() == pytest.approx(CE, rel=1e-6)
    assert loss.cross_entropy.item() == pytest.approx(CE, rel=1e-6)
    assert loss.kl is None
    assert loss.teacher_temperature is None


def test_kd_of_the_worked_example() -> None:
    # KL at T = 1. Row 1: 2/3 ln(4/3) + 1/3 ln(2/3). Row 2: 1/2 ln(3/2) + 1/2 ln(3/4).
    kl = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3) + 0.5 * math.log(9 / 8)) / 2
    loss = kd(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=0.9, ce_weight=0.1)
    assert loss.kl is not None
    assert loss.kl.item() == pytest.approx(kl, rel=1e-5)
    assert loss.total.item() == pytest.approx(0.1 * CE + 0.9 * kl, rel=1e-6)


def test_kd_carries_the_square_of_the_temperature() -> None:
    # Twice the logits at T = 2 are the same soft labels: only T^2 = 4 and the cross-entropy differ.
    one = kd(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=1.0, ce_weight=0.0)
    two = kd(2 * STUDENT, 2 * TEACHER, LABELS, temperature=2.0, kd_weight=1.0, ce_weight=0.0)
    assert two.total.item() == pytest.approx(4 * one.total.item(), rel=1e-5)


def test_cist_of_the_worked_example() -> None:
    # rho = 2/3 ln 2. Centred maxima: student (2/3, 4/3) ln 2, so tau_s = (1, 2); teacher (4/3, 2/3) ln 2, so
    # tau_t = (2, 1). Scaled, every largest logit stands ln 2 above the others: p = q = (1/2, 1/4, 1/4) and KL = 0.
    loss = cist(STUDENT, TEACHER, LABELS, rho=2 / 3 * LN2, kd_weight=8.0)
    assert loss.teacher_temperature is not None
    assert loss.teacher_temperature.tolist() == pytest.approx([2.0, 1.0])
    assert loss.kl is not None
    assert loss.kl.item() == pytest.approx(0.0, abs=1e-7)
    # Student and teacher disagree in row 2 once its teacher prefers the third class: p = (1/4, 1/4, 1/2) and
    # q = (1/4, 1/2, 1/4), KL = 1/4 ln 2, weighted with tau_t tau_s = 2 and averaged over 2 rows.
    turned = torch.tensor([[2 * LN2, 0.0, 0.0], [0.0, 0.0, LN2]])
    loss = cist(STUDENT, turned, LABELS, rho=2 / 3 * LN2, kd_weight=8.0)
    assert loss.kl is not None
    assert loss.kl.item() == pytest.approx(0.25 * LN2 / 2, rel=1e-5)
    assert loss.total.item() == pytest.approx(CE + 8.0 * 2 * 0.25 * LN2 / 2, rel=1e-6)


def kl_gradient(loss_of: Callable[[Tensor], Loss], student: Tensor, *, ce_weight: float) -> Tensor:
    """The gradient of the distillation term alone."""
    z = student.clone().requires_grad_()
    loss_of(z).total.backward()  # type: ignore[no-untyped-call]
    w = student.clone().requires_grad_()
    (ce_weight * cross_entropy(w, torch.zeros(len(w), dtype=torch.int64)).total).backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert w.grad is not None
    return z.grad - w.grad


def test_the_gradient_of_cist_is_the_weighted_difference_of_soft_labels_so_tau_s_is_detached() -> None:
    student, teacher, labels = random_logits(1), random_logits(2), torch.zeros(6, dtype=torch.int64)
    rho, weight = 1.27, 8.0
    tau_t, tau_s = max_logit_temperature(teacher, rho), max_logit_temperature(student, rho)
    assert (tau_s > 1.5).all(), "the example must not sit at the floor, where a gradient through tau_s is zero anyway"
    p, q = torch.softmax(teacher / tau_t[:, None], -1), torch.softmax(student / tau_s[:, None], -1)
    found = kl_gradient(lambda z: cist(z, teacher, labels, rho=rho, kd_weight=weight), student, ce_weight=1.0)
    # Sums of ten float32 terms of size up to weight * tau / batch.
    torch.testing.assert_close(found, weight * tau_t[:, None] * (q - p) / 6, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_kd_is_the_weighted_difference_of_soft_labels() -> None:
    student, teacher, labels = random_logits(1), random_logits(2), torch.zeros(6, dtype=torch.int64)
    p, q = torch.softmax(teacher / 3.3, -1), torch.softmax(student / 3.3, -1)
    found = kl_gradient(lambda z: kd(z, teacher, labels, temperature=3.3), student, ce_weight=0.1)
    torch.testing.assert_close(found, 0.9 * 3.3 * (q - p) / 6, rtol=1e-4, atol=1e-5)


def log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def reference(student: Array, teacher: Array, labels: Array, *, tau: Array, weight: float, ce_weight: float) -> float:
    """CE and KL at fixed temperatures in float64, from their definitions."""
    ce = -log_softmax(student)[np.arange(len(labels)), labels].mean()
    log_p, log_q = log_softmax(teacher / tau[:, None]), log_softmax(student / tau[:, None])
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    return float(ce_weight * ce + weight * (tau**2 * kl).mean())


def test_where_the_loss_is_a_true_gradient_it_is_that_of_a_float64_reference_by_finite_differences() -> None:
    # KD, and CIST at the floor, where tau_s = 1 does not move.
    student, teacher = random_logits(3, scale=0.5, shape=(4, 5)), random_logits(4, scale=0.5, shape=(4, 5))
    labels = torch.tensor([0, 1, 2, 4])
    assert (max_logit_temperature(student, 20.0) == 1).all()
    cases = (
        (lambda z: kd(z, teacher, labels, temperature=2.5), 2.5, 0.9, 0.1),
        (lambda z: cist(z, teacher, labels, rho=20.0), 1.0, 8.0, 1.0),
    )
    for loss_of, tau, weight, ce_weight in cases:
        z = student.clone().requires_grad_()
        loss = loss_of(z)
        loss.total.backward()  # type: ignore[no-untyped-call]
        fixed = partial(reference, tau=np.full(4, tau), weight=weight, ce_weight=ce_weight)
        z64, t64, y = student.double().numpy(), teacher.double().numpy(), labels.numpy()
        assert loss.total.item() == pytest.approx(fixed(z64, t64, y), rel=1e-5)
        slopes = np.zeros_like(z64)
        for index in np.ndindex(z64.shape):
            step = np.zeros_like(z64)
            step[index] = 1e-6
            slopes[index] = (fixed(z64 + step, t64, y) - fixed(z64 - step, t64, y)) / 2e-6
        assert z.grad is not None
        np.testing.assert_allclose(z.grad.numpy(), slopes, rtol=1e-3, atol=1e-5)


def test_cist_with_both_temperatures_forced_to_t_is_hinton_kd_with_t_squared() -> None:
    # Rows whose centred maximum is 4 on both sides: rho = 1 forces tau = 4.
    def forced(seed: int) -> Tensor:
        z = random_logits(seed)
        z = z - z.mean(-1, keepdim=True)
        return z * (4.0 / z.amax(-1, keepdim=True))

    student, teacher, labels = forced(5), forced(6), torch.arange(6)
    adaptive = cist(student, teacher, labels, rho=1.0, kd_weight=2.0)
    fixed = kd(student, teacher, labels, temperature=4.0, kd_weight=2.0, ce_weight=1.0)
    torch.testing.assert_close(adaptive.total, fixed.total, rtol=1e-5, atol=1e-6)
    assert torch.allclose(adaptive.teacher_temperature, torch.tensor(4.0))  # type: ignore[arg-type]


def test_offsets_of_either_network_change_nothing() -> None:
    student, teacher, labels = random_logits(7), random_logits(8), torch.arange(6)
    offsets = torch.tensor([[64.0], [-32.0], [128.0], [0.0], [16.0], [-256.0]])
    for loss in (cist, kd):
        moved = loss(student + offsets, teacher - 2 * offsets, labels)
        # 256 costs float32 six of its 24 bits.
        torch.testing.assert_close(moved.total, loss(student, teacher, labels).total, rtol=1e-4, atol=1e-4)


def test_constant_logits_give_temperature_one_and_a_finite_loss_and_gradient() -> None:
    student = torch.full((3, 4), 2.0, requires_grad=True)
    loss = cist(student, torch.full((3, 4), -5.0), torch.tensor([0, 1, 2]), rho=3.0)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert loss.teacher_temperature is not None
    assert loss.teacher_temperature.tolist() == [1.0] * 3
    assert loss.total.item() == pytest.approx(math.log(4), rel=1e-6)
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_low_precision_logits_are_computed_in_float32(dtype: torch.dtype, autocast: bool) -> None:
    student, teacher, labels = random_logits(9).to(dtype), random_logits(10).to(dtype), torch.arange(6)
    for loss in (
        lambda s, t: cist(s, t, labels, rho=1.27),
        lambda s, t: kd(s, t, labels, temperature=3.3),  # not a bf16 number
        lambda s, t: cross_entropy(s, labels),
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found = loss(student, teacher)
        wanted = loss(student.float(), teacher.float())
        assert found.total.dtype == torch.float32
        assert torch.equal(found.total, wanted.total)
        if wanted.teacher_temperature is not None:
            assert found.teacher_temperature is not None
            assert torch.equal(found.teacher_temperature, wanted.teacher_temperature)


def test_what_is_logged_carries_no_gradient() -> None:
    student = random_logits(11).requires_grad_()
    loss = cist(student, random_logits(12).requires_grad_(), torch.arange(6))
    assert loss.total.requires_grad
    assert loss.kl is not None
    assert loss.teacher_temperature is not None
    assert not any(t.requires_grad for t in (loss.cross_entropy, loss.kl, loss.teacher_temperature))


def test_the_divergence_is_zero_only_between_equal_soft_labels_and_never_negative() -> None:
    z, tau = random_logits(13), torch.full((6,), 2.0)
    same = divergence(z, z + 3.0, student_temperature=tau, teacher_temperature=tau)
    torch.testing.assert_close(same, torch.zeros(6), rtol=0, atol=1e-6)
    other = divergence(z, random_logits(14), student_temperature=tau, teacher_temperature=tau)
    assert (other > 0).all()
