"""CIST and exact-entropy KD: worked by hand, and the facts that follow from their formulas."""

import math

import pytest
import torch
from torch import Tensor

from edgekd.core import entropy, entropy_temperature, fixed_entropy, max_logit_temperature
from edgekd.core.losses import cist, cist_temperatures, cross_entropy, entropy_kd, entropy_temperatures, kd
from edgekd.core.temperature import centre

from .example import CE, LABELS, LN2, STUDENT, TEACHER, TURNED, gradient, random_logits

LABELS_OF_SIX = torch.arange(6)


def test_cist_of_the_worked_example() -> None:
    # rho = 2/3 ln 2. Centred maxima: student (2/3, 4/3) ln 2, so tau_s = (1, 2); teacher (4/3, 2/3) ln 2, so
    # tau_t = (2, 1). Scaled, every largest logit stands ln 2 above the others: p = q = (1/2, 1/4, 1/4) and KL = 0.
    tau_s, tau_t = cist_temperatures(STUDENT, TEACHER, rho=2 / 3 * LN2)
    assert tau_s.tolist() == pytest.approx([1.0, 2.0])
    assert tau_t.tolist() == pytest.approx([2.0, 1.0])
    assert cist(STUDENT, TEACHER, LABELS, rho=2 / 3 * LN2).item() == pytest.approx(CE, rel=1e-6)
    # Student and teacher disagree in row 2 once its teacher prefers the third class: p = (1/4, 1/4, 1/2) and
    # q = (1/4, 1/2, 1/4), KL = 1/4 ln(1/2) + 1/2 ln 2 = 1/4 ln 2, times tau_t tau_s = 2, averaged over 2 rows.
    loss = cist(STUDENT, TURNED, LABELS, rho=2 / 3 * LN2, kd_weight=8.0)
    assert loss.item() == pytest.approx(CE + 8.0 * 2 * LN2 / 4 / 2, rel=1e-6)


def test_entropy_kd_of_the_worked_example() -> None:
    # (1/2, 1/4, 1/4) has entropy 1/2 ln 2 + 1/2 ln 4 = 3/2 ln 2. A logit that stands m ln 2 above two equal ones has it
    # at tau = m: tau_s = (1, 2), tau_t = (2, 1). So p, q and the factors are those of CIST above.
    tau_s, tau_t = entropy_temperatures(STUDENT, TURNED, target_nats=1.5 * LN2)
    assert tau_s.tolist() == pytest.approx([1.0, 2.0], rel=1e-4)  # the solver stops within 1e-5 nats
    assert tau_t.tolist() == pytest.approx([2.0, 1.0], rel=1e-4)
    loss = entropy_kd(STUDENT, TURNED, LABELS, target_nats=1.5 * LN2, kd_weight=8.0)
    assert loss.item() == pytest.approx(CE + 8.0 * 2 * LN2 / 4 / 2, rel=1e-4)


def test_the_gradient_of_cist_is_the_weighted_difference_of_soft_labels_so_tau_s_is_detached() -> None:
    student, teacher, rho, weight = random_logits(1), random_logits(2), 1.27, 8.0
    tau_t, tau_s = max_logit_temperature(teacher, rho), max_logit_temperature(student, rho)
    assert (tau_s > 1.5).all(), "the example must not sit at the floor, where a gradient through tau_s is zero anyway"
    p, q = torch.softmax(teacher / tau_t[:, None], -1), torch.softmax(student / tau_s[:, None], -1)
    found = gradient(
        lambda z: cist(z, teacher, LABELS_OF_SIX, rho=rho, kd_weight=weight) - cross_entropy(z, LABELS_OF_SIX), student
    )
    # Sums of ten float32 terms of size up to weight * tau / batch.
    torch.testing.assert_close(found, weight * tau_t[:, None] * (q - p) / 6, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_entropy_kd_is_the_weighted_difference_of_soft_labels() -> None:
    student, teacher, h, weight = random_logits(1), random_logits(2), 0.9 * math.log(10), 8.0
    tau_t, tau_s = entropy_temperature(teacher, h).temperature, entropy_temperature(student, h).temperature
    p, q = torch.softmax(teacher / tau_t[:, None], -1), torch.softmax(student / tau_s[:, None], -1)
    found = gradient(
        lambda z: (
            entropy_kd(z, teacher, LABELS_OF_SIX, target_nats=h, kd_weight=weight) - cross_entropy(z, LABELS_OF_SIX)
        ),
        student,
    )
    torch.testing.assert_close(found, weight * tau_t[:, None] * (q - p) / 6, rtol=1e-4, atol=1e-5)


def test_where_the_floor_does_not_clip_the_largest_scaled_centred_logit_is_rho() -> None:
    student, teacher = random_logits(3), random_logits(4)
    for logits, tau in zip((student, teacher), cist_temperatures(student, teacher, rho=1.27), strict=True):
        assert (tau > 1).all()
        largest = (centre(logits) / tau[:, None]).amax(-1)
        torch.testing.assert_close(largest, torch.full((6,), 1.27), rtol=1e-5, atol=0)


def test_cist_with_both_temperatures_forced_to_t_is_hinton_kd_with_t_squared() -> None:
    # Rows whose centred maximum is 4 on both sides: rho = 1 forces tau = 4.
    def forced(seed: int) -> Tensor:
        z = centre(random_logits(seed))
        return z * (4.0 / z.amax(-1, keepdim=True))

    student, teacher = forced(5), forced(6)
    adaptive = cist(student, teacher, LABELS_OF_SIX, rho=1.0, kd_weight=2.0)
    fixed = kd(student, teacher, LABELS_OF_SIX, temperature=4.0, kd_weight=2.0, ce_weight=1.0)
    torch.testing.assert_close(adaptive, fixed, rtol=1e-5, atol=1e-6)


def test_at_a_large_rho_cist_is_kd_at_temperature_one() -> None:
    student, teacher = random_logits(5), random_logits(6)
    fixed = kd(student, teacher, LABELS_OF_SIX, temperature=1.0, kd_weight=2.0, ce_weight=1.0)
    assert torch.equal(cist(student, teacher, LABELS_OF_SIX, rho=1e3, kd_weight=2.0), fixed)


def test_constant_logits_give_temperature_one_and_the_plain_loss() -> None:
    student, teacher = torch.full((3, 4), 2.0), torch.full((3, 4), -5.0)
    assert [tau.tolist() for tau in cist_temperatures(student, teacher, rho=3.0)] == [[1.0] * 3] * 2
    assert [tau.tolist() for tau in entropy_temperatures(student, teacher, target_nats=1.0)] == [[1.0] * 3] * 2
    labels = torch.tensor([0, 1, 2])
    assert cist(student, teacher, labels).item() == pytest.approx(math.log(4), rel=1e-6)
    assert entropy_kd(student, teacher, labels, target_nats=1.0).item() == pytest.approx(math.log(4), rel=1e-6)


def test_soft_labels_of_both_networks_have_the_entropy_asked_for() -> None:
    student, teacher = random_logits(7), random_logits(8)
    for logits, tau in zip((student, teacher), entropy_temperatures(student, teacher, target_nats=2.0), strict=False):
        torch.testing.assert_close(entropy(logits, tau), torch.full((6,), 2.0), rtol=0, atol=1e-4)


def test_a_student_softer_than_the_target_is_not_sharpened_unless_its_floor_is_taken_away() -> None:
    student, teacher = random_logits(7, scale=0.02), random_logits(8, scale=0.02)
    tau_s, tau_t = entropy_temperatures(student, teacher, target_nats=2.0)
    assert tau_s.tolist() == [1.0] * 6
    assert (tau_t < 1).all()  # the teacher is: its label must not say less than others'
    bare, _ = entropy_temperatures(student, teacher, target_nats=2.0, student_floor=0.0)
    torch.testing.assert_close(entropy(student, bare), torch.full((6,), 2.0), rtol=0, atol=1e-4)


def test_without_its_floor_the_loss_pushes_a_faded_student_as_hard_as_any() -> None:
    student, teacher = random_logits(7), random_logits(8)

    def push(z: Tensor, floor: float) -> Tensor:
        def term(z: Tensor) -> Tensor:
            loss = entropy_kd(z, teacher, LABELS_OF_SIX, target_nats=2.0, student_floor=floor)
            return loss - cross_entropy(z, LABELS_OF_SIX)

        return gradient(term, z)

    # q is the same for z and z / 1000, so the gradient is too, a thousand times larger beside the logits.
    torch.testing.assert_close(push(student / 1000, 0.0), push(student, 0.0), rtol=1e-2, atol=1e-2)
    assert not torch.allclose(push(student / 1000, 1.0), push(student, 1.0), rtol=0.1, atol=0.1)


def test_matched_to_a_fixed_temperature_equal_rows_make_entropy_kd_hinton_kd() -> None:
    # Every row the same numbers in another order: one entropy each, so the temperature that matches T = 4 is 4.
    row = random_logits(9, shape=(10,))
    student, teacher = (torch.stack([row.roll(i + k) for i in range(6)]) for k in (0, 3))
    found = entropy_kd(student, teacher, LABELS_OF_SIX, target_nats=fixed_entropy(teacher, 4.0), kd_weight=2.0)
    fixed = kd(student, teacher, LABELS_OF_SIX, temperature=4.0, kd_weight=2.0, ce_weight=1.0)
    torch.testing.assert_close(found, fixed, rtol=1e-4, atol=1e-5)


def test_temperatures_carry_no_gradient() -> None:
    student = random_logits(10).requires_grad_()
    taus = (
        *cist_temperatures(student, student, rho=1.27),
        *entropy_temperatures(student, student, target_nats=2.0),
    )
    assert not any(tau.requires_grad for tau in taus)
