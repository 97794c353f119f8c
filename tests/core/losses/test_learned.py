"""CTKD: worked by hand, and the reversed gradient of its temperature."""

import math

import numpy as np
import pytest
import torch

from edgekd.core.losses import ctkd, learned_temperature, learned_temperatures
from edgekd.core.losses.learned import reverse_gradient

from . import reference
from .example import LABELS, STUDENT, TEACHER, gradient, random_logits

TWO = torch.tensor([-math.log(19)])
"""sigmoid = 1/20, so T = 1 + 20/20 = 2."""


def test_the_learned_temperature_lies_between_1_and_21() -> None:
    assert learned_temperature(TWO).item() == pytest.approx(2.0)
    assert learned_temperature(torch.zeros(1)).item() == 11.0
    assert learned_temperature(torch.tensor(-100.0)).item() == 1.0
    assert learned_temperature(torch.tensor(100.0)).item() == 21.0


def test_ctkd_of_the_worked_example() -> None:
    # Twice the example's logits at T = 2 are its soft labels, KL as in KD's example, times T^2 = 4. Cross-entropy sees
    # twice the logits: softmaxes (2/3, 1/6, 1/6) and (1/18, 16/18, 1/18), ln(3/2) + ln 18 = ln 27.
    kl = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3) + 0.5 * math.log(9 / 8)) / 2
    loss = ctkd(2 * STUDENT, 2 * TEACHER, LABELS, theta=TWO, reversal=1.0)
    assert loss.item() == pytest.approx(0.1 * math.log(27) / 2 + 0.9 * 4 * kl, rel=1e-5)


def test_thetas_gradient_is_minus_the_reversal_times_the_plain_one() -> None:
    student, teacher, labels = random_logits(1, scale=2.0), random_logits(2, scale=2.0), torch.arange(6)
    s, t, y = student.double().numpy(), teacher.double().numpy(), labels.numpy().astype(np.float64)

    def at(theta: float) -> float:
        return reference.kd(s, t, y, s, temperature=reference.learned(theta))

    plain = (at(-1.5 + 1e-5) - at(-1.5 - 1e-5)) / 2e-5
    for reversal in (0.0, 0.25, 1.0):
        found = gradient(
            lambda theta, reversal=reversal: ctkd(student, teacher, labels, theta=theta, reversal=reversal),  # type: ignore[misc]
            torch.tensor([-1.5]),
        )
        assert found.shape == (1,)
        assert found.item() == pytest.approx(-reversal * plain, rel=1e-3)


def test_the_reversal_keeps_the_value_to_the_last_bit() -> None:
    theta = random_logits(3, shape=(100,))
    assert torch.equal(reverse_gradient(theta, 0.3), theta)


def test_both_networks_have_the_learned_temperature() -> None:
    for tau in learned_temperatures(STUDENT, TEACHER, theta=TWO):
        assert tau.tolist() == pytest.approx([2.0, 2.0])
