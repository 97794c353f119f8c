"""DIST: worked by hand, and what a correlation does not see."""

import numpy as np
import pytest
import torch

from edgekd.core.losses import correlation, cross_entropy, dist

from .example import CE, LABELS, STUDENT, TEACHER, TURNED, random_logits

SIX = torch.arange(6)


def test_dist_of_the_worked_example() -> None:
    # Rows of p and q, one class above two equal ones, correlate fully: 1 - 1 = 0. Columns of two samples correlate
    # with 1 where both fall or both rise: class 0 (2/3, 1/4) and (1/2, 1/6), class 1 (1/6, 1/2) and (1/4, 2/3); and
    # with -1 where they part, class 2 (1/6, 1/4) and (1/4, 1/6). Mean 1/3.
    loss = dist(STUDENT, TEACHER, LABELS, temperature=1.0, kd_weight=2.0)
    assert loss.item() == pytest.approx(CE + 2.0 * (0 + 2 / 3), rel=1e-5)
    # Turned: row 2 deviates (-1, -1, 2) / 12 and (-1, 2, -1) / 6, r = (1 - 2 - 2) / 6 = -1/2, so rows average 1/4;
    # class 1 is then (1/6, 1/4) and (1/4, 2/3), class 2 (1/6, 1/2) and (1/4, 1/6): columns average 1/3 as before.
    loss = dist(STUDENT, TURNED, LABELS, temperature=1.0, kd_weight=2.0)
    assert loss.item() == pytest.approx(CE + 2.0 * (3 / 4 + 2 / 3), rel=1e-5)


def test_the_correlation_is_numpys() -> None:
    a, b = random_logits(1), random_logits(2)
    wanted = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)]
    assert correlation(a, b).tolist() == pytest.approx(wanted, abs=1e-6)


def test_scale_and_shift_of_either_side_change_no_correlation_row_by_row() -> None:
    p, q = random_logits(3).softmax(-1), random_logits(4).softmax(-1)
    scale, shift = torch.tensor([0.5, 2.0, 3.0, 1.0, 0.1, 7.0])[:, None], torch.arange(6.0)[:, None]
    still = correlation(q, p)
    # A shift of 5 costs numbers below 1 two to three bits.
    torch.testing.assert_close(correlation(scale * q + shift, p), still, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(correlation(q, scale * p + shift), still, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(correlation(-q, p), -still)


def test_constant_vectors_correlate_with_nothing() -> None:
    assert correlation(torch.ones(1, 4), torch.rand(1, 4)).item() == 0.0


def test_equal_networks_are_at_no_distance_and_scaled_logits_are_at_some() -> None:
    z = random_logits(5)
    torch.testing.assert_close(dist(z, z, SIX), cross_entropy(z, SIX), rtol=1e-5, atol=1e-5)
    assert dist(z, 2 * z, SIX) > cross_entropy(z, SIX) + 0.01


def test_one_row_has_nothing_to_correlate_over_samples() -> None:
    z, label = random_logits(6, shape=(1, 10)), torch.tensor([0])
    torch.testing.assert_close(dist(z, z, label, temperature=1.0, kd_weight=2.0), cross_entropy(z, label) + 2.0)
