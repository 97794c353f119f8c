"""TTM and WTTM: worked by hand, and TTM's relation to KD and Renyi's entropy."""

import math

import pytest
import torch

from edgekd.core import entropy
from edgekd.core.losses import cross_entropy, divergence, transformed_temperatures, ttm, wttm

from .example import CE, LABELS, LN2, STUDENT, random_logits

SIX = torch.arange(6)
# At T = 2 the teacher's rows are (1/2, 1/4, 1/4) and (1/4, 1/2, 1/4); the student's, at 1, (1/2, 1/4, 1/4) and
# (1/6, 2/3, 1/6). Row 1: KL = 0. Row 2: 2 * 1/4 ln(3/2) + 1/2 ln(3/4) = 1/2 ln(9/8).
TEACHER = torch.tensor([[2 * LN2, 0.0, 0.0], [0.0, 2 * LN2, 0.0]])
KL = math.log(9 / 8) / 2


def test_ttm_of_the_worked_example() -> None:
    loss = ttm(STUDENT, TEACHER, LABELS, temperature=2.0, kd_weight=100.0)
    assert loss.item() == pytest.approx(CE + 100.0 * KL / 2, rel=1e-5)


def test_wttm_of_the_worked_example() -> None:
    # The teacher's power sum, gamma = 1/2, in row 2: 2 sqrt(1/6) + sqrt(2/3) = 4 / sqrt(6).
    loss = wttm(STUDENT, TEACHER, LABELS, temperature=2.0, kd_weight=3.0)
    assert loss.item() == pytest.approx(CE + 3.0 * 4 / math.sqrt(6) * KL / 2, rel=1e-5)


def test_ttm_is_kd_that_also_asks_the_student_for_renyi_entropy() -> None:
    # KL(p || q) = T KL(p || q_T) + (T - 1) H(p) - (T - 1) H_gamma(q), gamma = 1/T.
    student, teacher, t = random_logits(1), random_logits(2), 4.0
    gamma = 1 / t
    renyi = student.double().softmax(-1).pow(gamma).sum(-1).log() / (1 - gamma)
    plain = divergence(student, teacher, student_temperature=t, teacher_temperature=t)
    wanted = t * plain + (t - 1) * (entropy(teacher, t) - renyi)
    found = ttm(student, teacher, SIX, temperature=t, kd_weight=1.0) - cross_entropy(student, SIX)
    torch.testing.assert_close(found, wanted.mean().float(), rtol=1e-4, atol=1e-4)


def test_at_temperature_one_both_are_the_plain_divergence() -> None:
    # The power sum is then the sum of all probabilities, 1.
    student, teacher = random_logits(3), random_logits(4)
    wanted = (
        cross_entropy(student, SIX)
        + divergence(student, teacher, student_temperature=1.0, teacher_temperature=1.0).mean()
    )
    for loss in (ttm, wttm):
        torch.testing.assert_close(loss(student, teacher, SIX, temperature=1.0, kd_weight=1.0), wanted)


def test_a_sure_teacher_weighs_one_and_an_unsure_one_weighs_more() -> None:
    # Row sure: power sum 1. Row uniform over 4 classes at gamma = 1/2: 4 * (1/4)^(1/2) = 2; KL to q = uniform is 0, so
    # the student is (1/2, 1/6, 1/6, 1/6): KL = 1/4 ln(1/2) + 3/4 ln(3/2).
    student = torch.tensor([[math.log(3), 0.0, 0.0, 0.0]])
    unsure, label = torch.zeros(1, 4), torch.tensor([0])
    kl = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    found = wttm(student, unsure, label, temperature=2.0, kd_weight=1.0)
    assert found.item() == pytest.approx(math.log(2) + 2 * kl, rel=1e-5)
    sure = torch.tensor([[200.0, 0.0, 0.0, 0.0]])
    difference = wttm(student, sure, label, temperature=2.0) - ttm(student, sure, label, temperature=2.0, kd_weight=3.0)
    assert difference.item() == pytest.approx(0.0, abs=1e-5)


def test_only_the_teacher_is_tempered() -> None:
    tau_s, tau_t = transformed_temperatures(STUDENT, TEACHER, temperature=10.0)
    assert tau_s.tolist() == [1.0, 1.0]
    assert tau_t.tolist() == [10.0, 10.0]
