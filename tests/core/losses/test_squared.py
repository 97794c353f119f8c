"""The squared error of logits: worked by hand, and as the far end of KD."""

import pytest
import torch

from edgekd.core.losses import kd, mse
from edgekd.core.temperature import centre

from .example import CE, LABELS, LN2, STUDENT, TEACHER, random_logits


def test_mse_of_the_worked_example() -> None:
    # Differences -ln 2 and ln 2 in 2 of 6 places; no cross-entropy unless asked for.
    assert mse(STUDENT, TEACHER, LABELS).item() == pytest.approx(LN2**2 / 3, rel=1e-6)
    assert mse(STUDENT, TEACHER, LABELS, kd_weight=3.0, ce_weight=0.5).item() == pytest.approx(0.5 * CE + LN2**2)


def test_twice_kd_at_a_very_high_temperature_is_the_error_of_centred_logits() -> None:
    student, teacher = random_logits(1, scale=1.0), random_logits(2, scale=1.0)
    labels, t = torch.arange(6), 50.0
    far = 2 * kd(student, teacher, labels, temperature=t, kd_weight=1.0, ce_weight=0.0)
    # The next term is of relative size 1/T; float32 keeps four digits of a divergence of 1e-4.
    torch.testing.assert_close(far, mse(centre(student), centre(teacher), labels), rtol=3 / t, atol=0)
