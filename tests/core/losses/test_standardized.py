"""LSKD, NormKD and Spherical KD: worked by hand, and what they do not see."""

import math

import pytest
import torch

from edgekd.core.losses import divergence, lskd, norm_kd, spherical_kd, spherical_temperatures, standard_temperatures
from edgekd.core.losses.standardized import spread

from .example import CE, LABELS, LN2, STUDENT, TURNED, gradient, random_logits

SIX = torch.arange(6)
# A row (a, 0, 0) has mean a/3, squared deviations (4 + 1 + 1) a^2 / 9, and sigma = a / sqrt(3) with K - 1 = 2 below.
# At temperature sqrt(3) / ln 2 it is scaled to (ln 2, 0, 0), whatever a: (1/2, 1/4, 1/4).
TEMPERATURE = math.sqrt(3) / LN2
# So in row 2 p = (1/4, 1/4, 1/2) and q = (1/4, 1/2, 1/4): KL = 1/4 ln 2; in row 1 p = q.
KL = LN2 / 4 / 2


def test_the_spread_of_a_worked_row() -> None:
    assert spread(torch.tensor([[3.0, 0.0, 0.0]])).item() == pytest.approx(math.sqrt(3), rel=1e-6)


def test_lskd_of_the_worked_example() -> None:
    loss = lskd(STUDENT, TURNED, LABELS, temperature=TEMPERATURE)
    assert loss.item() == pytest.approx(0.1 * CE + 9.0 * TEMPERATURE**2 * KL, rel=1e-5)  # the floor: 3e-6 of sigma


def test_norm_kd_of_the_worked_example() -> None:
    # tau_t = sqrt(3) / ln 2 * ln 2 / sqrt(3) = 1 in row 2, so its factor is 1.
    loss = norm_kd(STUDENT, TURNED, LABELS, temperature=TEMPERATURE)
    assert loss.item() == pytest.approx(0.1 * CE + 0.9 * KL, rel=1e-5)


def test_spherical_kd_of_the_worked_example() -> None:
    # The student takes the teacher's spread: row 1 (2 ln 2, 0, 0) = the teacher's, row 2 (0, ln 2, 0). Cross-entropy
    # sees softmaxes (2/3, 1/6, 1/6) and (1/4, 1/2, 1/4): ln(3/2) + ln 4 = ln 6. KL at T = 1 is 1/4 ln 2 in row 2.
    loss = spherical_kd(STUDENT, TURNED, LABELS, temperature=1.0)
    assert loss.item() == pytest.approx(0.1 * math.log(6) / 2 + 0.9 * KL, rel=1e-5)


def test_lskd_does_not_see_the_scale_of_the_teacher_nor_its_soft_term_that_of_the_student() -> None:
    student, teacher = random_logits(1), random_logits(2)
    still = lskd(student, teacher, SIX, ce_weight=0.0)
    # The floor of 1e-3 under a spread of 5 is 2e-8 of it.
    torch.testing.assert_close(lskd(student, 7 * teacher, SIX, ce_weight=0.0), still, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lskd(7 * student, teacher, SIX, ce_weight=0.0), still, rtol=1e-5, atol=1e-5)
    # So its gradient never points along the centred logits: an update cannot mend a wrong scale.
    slopes = gradient(lambda z: lskd(z, teacher, SIX, ce_weight=0.0), student)
    along = (slopes * (student - student.mean(-1, keepdim=True))).sum(-1)
    torch.testing.assert_close(along, torch.zeros(6), rtol=0, atol=1e-4)


def test_norm_kd_weighs_lskds_divergence_with_the_teachers_temperature() -> None:
    student, teacher = random_logits(3), random_logits(4)
    tau_s, tau_t = standard_temperatures(student, teacher, temperature=2.0)
    kl = divergence(student, teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    ls, nk = lskd(student, teacher, SIX, ce_weight=0.0), norm_kd(student, teacher, SIX, ce_weight=0.0)
    torch.testing.assert_close(ls, 9.0 * 4.0 * kl.mean())
    torch.testing.assert_close(nk, 0.9 * (tau_t**2 * kl).mean())


def test_nothing_in_spherical_kd_sees_the_scale_of_the_student() -> None:
    student, teacher = random_logits(5), random_logits(6)
    still = spherical_kd(student, teacher, SIX)
    torch.testing.assert_close(spherical_kd(0.2 * student, teacher, SIX), still, rtol=1e-4, atol=1e-5)


def test_the_temperatures_of_spherical_kd_are_its_soft_labels() -> None:
    student, teacher = random_logits(7), random_logits(8)
    tau_s, tau_t = spherical_temperatures(student, teacher, temperature=3.0)
    kl = divergence(student, teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    torch.testing.assert_close(spherical_kd(student, teacher, SIX, temperature=3.0, ce_weight=0.0), 0.9 * 9 * kl.mean())


def test_the_gradient_flows_through_the_students_spread() -> None:
    student = random_logits(9).requires_grad_()
    for function in (standard_temperatures, spherical_temperatures):
        tau_s, tau_t = function(student, random_logits(10), temperature=2.0)
        assert tau_s.requires_grad
        assert not tau_t.requires_grad
