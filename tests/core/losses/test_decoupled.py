"""DKD and DKD with CIST's temperatures: worked by hand, and that the halves add up to KD."""

import math

import pytest
import torch

from edgekd.core.losses import cist_temperatures, decoupled, divergence, dkd, dkd_cist

from .example import CE, LABELS, LN2, STUDENT, TEACHER, TURNED, random_logits

SIX = torch.tensor([0, 9, 3, 3, 5, 1])


def test_dkd_of_the_worked_example() -> None:
    # T = 1. Row 1, class 0: b_t = (2/3, 1/3), b_s = (1/2, 1/2); the rest is (1/2, 1/2) in both nets.
    # Row 2, class 2: b_t = (1/4, 3/4), b_s = (1/6, 5/6); the rest is (1/3, 2/3) and (1/5, 4/5).
    tckd = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3) + 1 / 4 * math.log(3 / 2) + 3 / 4 * math.log(9 / 10)) / 2
    nckd = (0 + 1 / 3 * math.log(5 / 3) + 2 / 3 * math.log(5 / 6)) / 2
    loss = dkd(STUDENT, TEACHER, LABELS, temperature=1.0)
    assert loss.item() == pytest.approx(CE + 1.0 * tckd + 8.0 * nckd, rel=1e-6)
    halved = dkd(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=0.5, ce_weight=2.0, tckd_weight=3.0)
    assert halved.item() == pytest.approx(2 * CE + 0.5 * (3.0 * tckd + 8.0 * nckd), rel=1e-6)


def test_dkd_cist_of_the_worked_example() -> None:
    # rho = 2/3 ln 2: tau_s = (1, 2), tau_t = (2, 1), p = q in row 1. Row 2, class 2: p = (1/4, 1/4, 1/2) and
    # q = (1/4, 1/2, 1/4), b_t = (1/2, 1/2), b_s = (1/4, 3/4): TCKD = 1/2 ln 2 + 1/2 ln(2/3) = 1/2 ln(4/3).
    # The rest is (1/2, 1/2) and (1/3, 2/3): NCKD = 1/2 ln(3/2) + 1/2 ln(3/4) = 1/2 ln(9/8). Factor tau_t tau_s = 2.
    wanted = CE + 2 * (1.0 * math.log(4 / 3) / 2 + 2.0 * 8.0 * math.log(9 / 8) / 2) / 2
    assert dkd_cist(STUDENT, TURNED, LABELS, rho=2 / 3 * LN2).item() == pytest.approx(wanted, rel=1e-6)


def test_the_divergence_is_tckd_plus_what_the_true_class_leaves_times_nckd() -> None:
    student, teacher = random_logits(1), random_logits(2)
    tau_s, tau_t = cist_temperatures(student, teacher, rho=1.27)
    tckd, nckd = decoupled(student, teacher, SIX, student_temperature=tau_s, teacher_temperature=tau_t)
    p_true = torch.softmax(teacher / tau_t[:, None], -1)[torch.arange(6), SIX]
    whole = divergence(student, teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    torch.testing.assert_close(tckd + (1 - p_true) * nckd, whole, rtol=1e-5, atol=1e-6)


def test_with_two_classes_there_is_no_rest_to_distill() -> None:
    student, teacher = random_logits(3, shape=(6, 2)), random_logits(4, shape=(6, 2))
    tckd, nckd = decoupled(student, teacher, SIX % 2, student_temperature=1.0, teacher_temperature=1.0)
    assert nckd.tolist() == [0.0] * 6
    torch.testing.assert_close(
        tckd, divergence(student, teacher, student_temperature=1.0, teacher_temperature=1.0), rtol=1e-5, atol=1e-6
    )


def test_a_teacher_that_is_sure_still_teaches_the_rest() -> None:
    # p_y = 1 - 2 e^-80 rounds to 1 in float32; NCKD does not see it: (1/2, 1/2) against (1/3, 2/3) is 1/2 ln(9/8).
    teacher, student = torch.tensor([[80.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, LN2]])
    tckd, nckd = decoupled(student, teacher, torch.tensor([0]), student_temperature=1.0, teacher_temperature=1.0)
    assert nckd.item() == pytest.approx(math.log(9 / 8) / 2, rel=1e-5)
    assert tckd.item() == pytest.approx(math.log(4), rel=1e-5)  # the student gives class 0 a quarter
