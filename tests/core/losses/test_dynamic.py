"""DTKD: worked by hand, its derived facts, and the cases that divide the published form by zero."""

import math

import pytest
import torch

from edgekd.core.losses import dtkd, dtkd_temperatures, kd
from edgekd.core.losses.dynamic import peak
from edgekd.core.temperature import centre

from .example import CE, LABELS, LN2, STUDENT, TEACHER, TURNED, random_logits

SIX = torch.arange(6)


def test_dtkd_of_the_worked_example() -> None:
    # Peaks: student (2/3, 4/3) ln 2, teacher (4/3, 2/3) ln 2, sum 2 ln 2. T = 3/2: tau_t = 2 * 4/3 * 3/2 / 2 = 2 and
    # tau_s = 1 in row 1, tau_t = 1 and tau_s = 2 in row 2: CIST's example, KL (0, 1/4 ln 2), factor 2.
    tau_s, tau_t = dtkd_temperatures(STUDENT, TURNED, temperature=1.5)
    assert tau_s.tolist() == pytest.approx([1.0, 2.0])
    assert tau_t.tolist() == pytest.approx([2.0, 1.0])
    loss = dtkd(STUDENT, TURNED, LABELS, temperature=1.5, fixed_weight=0.0)
    assert loss.item() == pytest.approx(CE + 3.0 * 2 * LN2 / 4 / 2, rel=1e-6)
    # The fixed term alone, at T = 1, is that of KD: 2/3 ln(4/3) + 1/3 ln(2/3) and 1/2 ln(9/8).
    kl = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3) + 0.5 * math.log(9 / 8)) / 2
    fixed = dtkd(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=0.0, fixed_weight=2.0)
    assert fixed.item() == pytest.approx(CE + 2.0 * kl, rel=1e-6)


def test_with_equal_peaks_dtkd_is_kd() -> None:
    student = centre(random_logits(1))
    teacher = centre(random_logits(2))
    teacher = teacher * (student.amax(-1, keepdim=True) / teacher.amax(-1, keepdim=True))
    found = dtkd(student, teacher, SIX, temperature=3.0, kd_weight=3.0, fixed_weight=1.0)
    plain = kd(student, teacher, SIX, temperature=3.0, kd_weight=4.0, ce_weight=1.0)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


def test_temperatures_average_to_t_and_scaled_peaks_are_equal() -> None:
    student, teacher = random_logits(3), random_logits(4)
    tau_s, tau_t = dtkd_temperatures(student, teacher, temperature=4.0)
    torch.testing.assert_close((tau_s + tau_t) / 2, torch.full((6,), 4.0))
    torch.testing.assert_close(peak(student) / tau_s, peak(teacher) / tau_t)


def test_where_raw_maxima_cancel_or_are_negative_temperatures_stay_positive() -> None:
    # Raw maxima 2 and -2: the published form divides by 0. Raw maxima 3 and -1: its student temperature is -T.
    for student, teacher in (([-2.0, -5.0], [2.0, -9.0]), ([-1.0, -4.0], [3.0, 0.0])):
        for tau in dtkd_temperatures(torch.tensor([student]), torch.tensor([teacher]), temperature=4.0):
            assert 0 < tau.item() < 8


def test_the_gradient_flows_through_both_temperatures() -> None:
    student = random_logits(5).requires_grad_()
    assert all(tau.requires_grad for tau in dtkd_temperatures(student, random_logits(6), temperature=4.0))
