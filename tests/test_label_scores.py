"""Scores of multi-label outputs: worked by hand, and facts that follow from their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.label_scores import average_precision, label_scores

OUTPUTS = np.array([[2.0, -1.0], [1.0, 3.0], [-1.0, 1.0], [-2.0, -3.0]], dtype=np.float32)
LABELS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.int64)


def test_scores_worked_by_hand() -> None:
    found = label_scores(OUTPUTS, LABELS)
    # Class 0 ranked: 1, 0, 1, 0. Recall rises at ranks 1 and 3, precisions 1 and 2/3: (1 + 2/3) / 2 = 5/6.
    assert found.average_precision == pytest.approx((5 / 6, 1.0))
    assert found.mean_average_precision == pytest.approx(11 / 12)
    # Class 0 at 0: one hit, one false, one missed: F1 = 2 / 4. Class 1: all right.
    assert found.macro_f1 == pytest.approx(0.75)
    assert (found.exact_match, found.n) == (0.5, 4)


def test_an_unknown_label_is_left_out_of_its_class_and_its_sample_out_of_the_exact_match() -> None:
    labels = LABELS.copy()
    labels[1, 0] = -1
    found = label_scores(OUTPUTS, labels)
    assert found.average_precision == pytest.approx((1.0, 1.0))
    assert found.exact_match == pytest.approx(2 / 3)
    nothing = label_scores(OUTPUTS, np.full((4, 2), -1))
    assert (nothing.mean_average_precision, nothing.macro_f1, nothing.exact_match) == (None, None, None)


def test_equal_scores_are_one_step_whatever_their_order() -> None:
    for labels in ([1, 0, 0, 0], [0, 0, 0, 1]):
        assert average_precision(np.zeros(4, dtype=np.float32), np.array(labels)) == 0.25


@given(seed=st.integers(0, 10_000), n=st.integers(2, 40))
def test_only_the_order_of_the_scores_counts_and_the_best_order_gives_one(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=n).astype(np.float32), rng.integers(0, 2, n)
    labels[0] = 1
    found = average_precision(scores, labels)
    assert found is not None and 0 < found <= 1
    assert average_precision((2 * scores + 1).astype(np.float32), labels) == pytest.approx(found)
    assert average_precision((labels + 0.1 * rng.random(n)).astype(np.float32), labels) == pytest.approx(1.0)
    shuffled = rng.permutation(n)
    assert average_precision(scores[shuffled], labels[shuffled]) == pytest.approx(found)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (OUTPUTS, LABELS[:, 0], "expected both"),
        (OUTPUTS, LABELS + 1, "neither 1, 0 nor -1"),
        (OUTPUTS * np.nan, LABELS, "NaN or infinite"),
    ],
)
def test_what_cannot_be_scored_is_refused(outputs: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        label_scores(outputs, labels)
