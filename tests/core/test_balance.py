"""Balanced epochs and class weights."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.core.balance import balanced, inverse_frequencies


def order(labels: list[int], seed: int = 0) -> list[int]:
    return balanced(torch.tensor(labels), torch.Generator().manual_seed(seed)).tolist()


@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=6), free=st.integers(0, 20), seed=st.integers(0, 99))
def test_every_class_comes_equally_often_and_its_samples_in_turn(counts: list[int], free: int, seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)] + [-1] * free
    drawn = order(labels, seed)
    assert len(drawn) == len(labels)
    shown = Counter(labels[place] for place in drawn)
    assert shown.pop(-1, 0) == free
    assert max(shown.values(), default=0) - min(shown.values(), default=0) <= 1
    for label in range(len(counts)):
        each = Counter(place for place in drawn if labels[place] == label)
        assert not each or max(each.values()) - (min(each.values()) if len(each) == counts[label] else 0) <= 1


def test_the_order_is_the_generator_s() -> None:
    labels = [0] * 30 + [1] * 5
    assert order(labels, 1) == order(labels, 1)
    assert order(labels, 1) != order(labels, 2)
    assert sorted(order([0, 0, 1, 1])) == [0, 1, 2, 3], "balanced already: each once"


def test_weights_are_inverse_frequencies_with_mean_one_over_the_samples() -> None:
    # 6 labelled samples of 3 classes: 6 / (3 * 3) and 6 / (3 * 1) and 6 / (3 * 2).
    labels = torch.tensor([0, 0, 0, 1, 2, 2, -1])
    assert inverse_frequencies(labels, 3) == pytest.approx((2 / 3, 2.0, 1.0))
    assert inverse_frequencies(labels, 4)[3] == 1.0
