"""The average of the weights, by hand."""

import pytest
import torch
from torch import nn

from edgekd.core.average import Average


def test_the_first_steps_count_more_than_the_decay_says_and_later_ones_as_it_says() -> None:
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
    average = Average(net, decay=0.15)
    with torch.no_grad():
        net.weight.fill_(1.0)
    average.update(net)  # step 0: d = 1 / 10
    assert float(average.network.weight) == pytest.approx(0.9)  # type: ignore[arg-type]
    average.update(net)  # step 1: d = min(0.15, 2 / 11)
    assert float(average.network.weight) == pytest.approx(0.15 * 0.9 + 0.85)  # type: ignore[arg-type]


def test_counters_are_copied_and_the_network_itself_is_left_alone() -> None:
    net = nn.BatchNorm1d(2)
    average = Average(net, decay=0.9)
    net(torch.randn(4, 2))
    before = net.running_mean.clone()  # type: ignore[union-attr]
    average.update(net)
    assert int(average.network.num_batches_tracked) == 1  # type: ignore[arg-type]
    assert torch.equal(net.running_mean, before)  # type: ignore[arg-type]
    assert not any(p.requires_grad for p in average.network.parameters())


def test_a_state_goes_on_where_it_was_taken() -> None:
    net = nn.Linear(2, 2)
    first, second = Average(net, decay=0.9), Average(nn.Linear(2, 2), decay=0.9)
    first.update(net)
    second.load_state(first.state())
    assert second.steps == 1
    assert torch.equal(second.network.weight, first.network.weight)  # type: ignore[arg-type]
