"""Noise as a function of (seed, view, sample, position), kept nowhere."""

import numpy as np
import pytest
import torch
from scipy import stats

from edgekd.core import noise

KEYS = noise.keys(3, 1, torch.arange(2_000), stream=0)


def test_the_hash_is_splitmix64() -> None:
    # Vigna's splitmix64.c from state 0: 0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f.
    expected = [0xE220A8397B1DCDAF >> 40, 0x6E789E6AA1B965F4 >> 40, 0x06C45D188009454F >> 40]
    found = noise.uniform(torch.zeros(1, dtype=torch.int64), 3)
    assert (found[0].double() * 2**24).tolist() == expected


def test_a_sample_has_the_same_numbers_in_any_batch() -> None:
    some = torch.tensor([7, 1999, 0])
    assert torch.equal(noise.normal(KEYS, 9)[some], noise.normal(KEYS[some], 9))
    assert torch.equal(noise.uniform(KEYS, 9)[:, 4:], noise.uniform(KEYS, 5, skip=4))


@pytest.mark.parametrize("other", [(4, 1, 0), (3, 2, 0), (3, 1, 1)])
def test_another_seed_view_or_stream_has_other_numbers(other: tuple[int, int, int]) -> None:
    seed, view, stream = other
    changed = noise.keys(seed, view, torch.arange(2_000), stream=stream)
    correlation = np.corrcoef(noise.uniform(KEYS, 1)[:, 0], noise.uniform(changed, 1)[:, 0])[0, 1]
    assert abs(correlation) < 4 / 2_000**0.5


def test_the_numbers_are_uniform_and_normal() -> None:
    uniform, normal = noise.uniform(KEYS, 10).flatten().numpy(), noise.normal(KEYS, 11).flatten().numpy()
    assert uniform.min() >= 0 and uniform.max() < 1 and np.isfinite(normal).all()
    assert stats.kstest(uniform, "uniform").pvalue > 1e-4
    assert stats.kstest(normal, "norm").pvalue > 1e-4
