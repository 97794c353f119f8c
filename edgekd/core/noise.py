"""Random numbers that are a function of (key, position) alone, so that no one has to keep them.

The noise of a whole data set would take as much memory as the data. Each number here is a hash of where it stands:
splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA), whose every output is
the mix of a counter; the same bits on every device, in any batch.
"""

import math

import torch
from torch import Tensor

GOLDEN = -7046029254386353131
"""0x9E3779B97F4A7C15, 2^64 / golden ratio, the step of splitmix64's counter, as int64."""

FIRST, SECOND = -4658895280553007687, -7723592293110705685
"""0xBF58476D1CE4E5B9 and 0x94D049BB133111EB, the multipliers of its mix, as int64."""


def keys(seed: int, view: int, index: Tensor, *, stream: int) -> Tensor:
    """(batch,) int64, a key for each sample of a view. index: (batch,) int64. stream: one for each use of noise."""
    start = torch.full_like(index, _wrapped(seed * 1_000_003 + view) ^ _wrapped(stream * GOLDEN))
    return _mixed(_mixed(start) + index * GOLDEN)


def uniform(key: Tensor, count: int, *, skip: int = 0) -> Tensor:
    """(batch, count) float32 in [0, 1), the numbers from `skip` on of each key. key: (batch,) int64."""
    position = torch.arange(skip + 1, skip + count + 1, device=key.device)
    bits = _mixed(key[:, None] + position * GOLDEN)
    return _shifted(bits, 40).float() * 2.0**-24  # the 24 bits that a float32 below 1 holds


def normal(key: Tensor, count: int) -> Tensor:
    """(batch, count) float32 of the standard normal distribution, by Box and Muller (1958). key: (batch,) int64."""
    half = (count + 1) // 2
    radius = (-2.0 * torch.log1p(-uniform(key, half))).sqrt()
    angle = 2.0 * math.pi * uniform(key, half, skip=half)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def _mixed(state: Tensor) -> Tensor:
    """The output function of splitmix64; int64 products wrap around as its uint64 ones do."""
    state = (state ^ _shifted(state, 30)) * FIRST
    state = (state ^ _shifted(state, 27)) * SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Right by `bits` with zeros from the left, which int64 has no operator for."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _wrapped(number: int) -> int:
    """The number modulo 2^64, as int64."""
    return (number + 2**63) % 2**64 - 2**63
