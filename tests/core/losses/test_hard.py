"""Cross-entropy: worked by hand, with smoothed and mixed labels."""

import math

import pytest
import torch

from edgekd.core.losses import cross_entropy
from edgekd.core.losses.hard import label_term

from .example import CE, LABELS, LN2, STUDENT


def test_cross_entropy_of_the_worked_example() -> None:
    # The student gives the labels 1/2 and 1/6.
    assert cross_entropy(STUDENT, LABELS).item() == pytest.approx((math.log(2) + math.log(6)) / 2, rel=1e-6)


def test_smoothed_labels_of_the_worked_example() -> None:
    # Smoothing 0.3 over 3 classes: 0.8 at the label, 0.1 elsewhere.
    # Row 1: 0.8 ln 2 + 0.2 ln 4. Row 2: 0.8 ln 6 + 0.1 ln 6 + 0.1 ln(3/2).
    wanted = (0.8 * LN2 + 0.2 * 2 * LN2 + 0.9 * math.log(6) + 0.1 * math.log(1.5)) / 2
    assert cross_entropy(STUDENT, LABELS, label_smoothing=0.3).item() == pytest.approx(wanted, rel=1e-6)


def test_mixed_labels_of_the_worked_example() -> None:
    # Row 1: half of class 0 at 1/2, half of class 1 at 1/4. Row 2: all of class 2 at 1/6.
    mixed = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    wanted = (0.5 * LN2 + 0.5 * 2 * LN2 + math.log(6)) / 2
    assert cross_entropy(STUDENT, mixed).item() == pytest.approx(wanted, rel=1e-6)


def test_the_term_is_weighted_and_left_out_at_zero() -> None:
    assert label_term(STUDENT, LABELS, weight=0.1, label_smoothing=0.0).item() == pytest.approx(0.1 * CE)
    broken = torch.full_like(STUDENT, torch.nan)
    assert label_term(broken, LABELS, weight=0.0, label_smoothing=0.0).item() == 0.0
