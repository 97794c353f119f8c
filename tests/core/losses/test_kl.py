"""The divergence and Hinton's KD: worked by hand, and the gradient that T^2 gives back."""

import math

import pytest
import torch

from edgekd.core.losses import cross_entropy, divergence, fixed_temperatures, kd

from .example import CE, LABELS, STUDENT, TEACHER, gradient, random_logits


def test_kd_of_the_worked_example() -> None:
    # KL at T = 1. Row 1: 2/3 ln(4/3) + 1/3 ln(2/3). Row 2: 1/2 ln(3/2) + 1/2 ln(3/4) = 1/2 ln(9/8).
    kl = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3) + 0.5 * math.log(9 / 8)) / 2
    loss = kd(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=0.9, ce_weight=0.1)
    assert loss.item() == pytest.approx(0.1 * CE + 0.9 * kl, rel=1e-6)


def test_kd_carries_the_square_of_the_temperature() -> None:
    # Twice the logits at T = 2 are the same soft labels: only T^2 = 4 differs.
    one = kd(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=1.0, ce_weight=0.0)
    two = kd(2 * STUDENT, 2 * TEACHER, LABELS, temperature=2.0, kd_weight=1.0, ce_weight=0.0)
    assert two.item() == pytest.approx(4 * one.item(), rel=1e-5)


def test_the_gradient_of_kd_is_t_times_the_difference_of_soft_labels() -> None:
    student, teacher, labels = random_logits(1), random_logits(2), torch.zeros(6, dtype=torch.int64)
    p, q = torch.softmax(teacher / 3.3, -1), torch.softmax(student / 3.3, -1)
    found = gradient(lambda z: kd(z, teacher, labels, temperature=3.3, ce_weight=0.0), student)
    torch.testing.assert_close(found, 0.9 * 3.3 * (q - p) / 6, rtol=1e-4, atol=1e-6)


def test_at_weights_zero_and_one_kd_is_cross_entropy() -> None:
    found = kd(STUDENT, TEACHER, LABELS, kd_weight=0.0, ce_weight=1.0)
    assert torch.equal(found, cross_entropy(STUDENT, LABELS))


def test_the_divergence_is_zero_only_between_equal_soft_labels_and_never_negative() -> None:
    z, tau = random_logits(13), torch.full((6,), 2.0)
    same = divergence(z, z + 3.0, student_temperature=tau, teacher_temperature=tau)
    torch.testing.assert_close(same, torch.zeros(6), rtol=0, atol=1e-6)
    assert (divergence(z, random_logits(14), student_temperature=tau, teacher_temperature=tau) > 0).all()


def test_a_number_is_the_temperature_of_every_sample() -> None:
    student, teacher = random_logits(3, shape=(2, 3, 7)), random_logits(4, shape=(2, 3, 7))
    tau_s, tau_t = fixed_temperatures(student, teacher, temperature=2.5)
    assert tau_s.tolist() == tau_t.tolist() == [[2.5] * 3] * 2
    each = divergence(student, teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    assert torch.equal(each, divergence(student, teacher, student_temperature=2.5, teacher_temperature=2.5))
    assert each.shape == (2, 3)


def test_a_probability_that_underflows_leaves_the_divergence_finite() -> None:
    # Student e^-300 at the teacher's class: KL = 300 + ln of what is left, here 0.
    student, teacher = torch.tensor([[300.0, 0.0]]), torch.tensor([[0.0, 300.0]])
    assert divergence(student, teacher, student_temperature=1.0, teacher_temperature=1.0).item() == pytest.approx(300)
