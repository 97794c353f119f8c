"""ATS: worked by hand, and when it is an ordinary temperature."""

import math

import pytest
import torch

from edgekd.core.losses import ats

from .example import CE, LABELS, LN2, STUDENT, gradient, random_logits


def test_ats_of_the_worked_example() -> None:
    # Teacher rows (2 ln 2, 0, 0) and (0, 0, 2 ln 2), centred 4/3 ln 2 at the true class and -2/3 ln 2 elsewhere. At 4/3
    # and 2/3 they are ln 2 and -ln 2: 2 : 1/2 : 1/2, p = (2/3, 1/6, 1/6) and (1/6, 1/6, 2/3).
    # Against q = (1/2, 1/4, 1/4): 2/3 ln 2 + 1/3 ln 4. Against (1/6, 2/3, 1/6): 1/6 ln 6 + 1/6 ln(3/2) + 2/3 ln 6.
    teacher = torch.tensor([[2 * LN2, 0.0, 0.0], [0.0, 0.0, 2 * LN2]])
    soft = (4 / 3 * LN2 + 5 / 6 * math.log(6) + 1 / 6 * math.log(1.5)) / 2
    loss = ats(STUDENT, teacher, LABELS, temperature=4 / 3, other_temperature=2 / 3)
    assert loss.item() == pytest.approx(0.5 * CE + 0.5 * soft, rel=1e-6)


def test_with_equal_temperatures_the_teacher_is_tempered_as_ever_and_the_gradient_is_q_minus_p() -> None:
    student, teacher, labels = random_logits(1), random_logits(2), torch.arange(6)
    found = gradient(lambda z: ats(z, teacher, labels, temperature=3.0, other_temperature=3.0, ce_weight=0.0), student)
    wanted = 0.5 * (student.softmax(-1) - (teacher / 3.0).softmax(-1)) / 6
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
